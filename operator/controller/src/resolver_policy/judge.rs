//! Judges a candidate: sees to it that both canaries run, asks both the same, and compares.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::{Api, ResourceExt};
use tsutsumi_engine::{cluster::Cluster, resolver::Change, switch};
use tsutsumi_model::{Endpoint, Observation, Vantage};

use super::{
    Ctx,
    apply::Scene,
    canary::{self, Files, Role},
    compare,
    error::Error,
    switch::{Asking, demand},
};
use crate::runtime::writer::{WriteError, Writer};

/// What the canaries showed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Judgement {
    /// They are not up yet.
    Pending,
    /// The candidate answers no worse.
    NoWorse,
    /// The candidate does worse; for a person.
    Worse(String),
    /// It runs as well as the present text, but names would be answered worse.
    WouldGetWorse(Vec<switch::Worse>),
    /// Even the present text could not be judged; for a person.
    Inconclusive(String),
}

/// How long a canary may take to answer for the cluster's API.
const UP_WITHIN: SignedDuration = SignedDuration::from_secs(60);
/// How long a difference must last before it counts: an upstream may lose a datagram.
const WORSE_FOR: SignedDuration = SignedDuration::from_secs(15);
/// Fault switch for tests: puts an unknown directive into every candidate.
const FAULT: &str = "TSUTSUMI_FAULT_CANARY";

/// One look at the canaries; creates what is missing. They stay until the judgement is recorded: it would be lost with
/// them if this process ended between. Only what could not be judged goes at once, to be tried anew.
pub(crate) async fn judge(
    scene: &Scene<'_>,
    change: &Change,
    asking: &mut Option<Asking>,
) -> Result<Judgement, Error> {
    let files = |text: &str| Files::of(scene.target, scene.cluster, &change.slot, text);
    let (present, candidate) = (files(&change.present), files(&faulty(&change.candidate)));
    match look(scene, &present, Role::Present).await? {
        Look::Pending => Ok(Judgement::Pending),
        Look::Down(why) => {
            sweep(scene.ctx, scene.writer, scene.cluster, scene.policy()).await?;
            let message = format!("the present text could not be run in a canary: {why}");
            Ok(Judgement::Inconclusive(message))
        }
        Look::Up(before) => match look(scene, &candidate, Role::Candidate).await? {
            Look::Pending => Ok(Judgement::Pending),
            Look::Down(why) => {
                let message = format!("the candidate did not run in a canary: {why}");
                Ok(Judgement::Worse(message))
            }
            Look::Up(after) => match compare::worse(&before.observations, &after.observations) {
                Some(_) if after.age < WORSE_FOR => Ok(Judgement::Pending),
                Some(worse) => {
                    let message = format!("the candidate did worse in a canary: {worse}");
                    Ok(Judgement::Worse(message))
                }
                None if change.leads_elsewhere => {
                    let mut under_way = Asking::of(asking.take(), change.label(), scene.names);
                    let compared = names(scene, &mut under_way, before.server, after.server);
                    let judgement = Box::pin(compared).await;
                    *asking = Some(under_way).filter(|_| judgement == Judgement::Pending);
                    Ok(judgement)
                }
                None => Ok(Judgement::NoWorse),
            },
        },
    }
}

/// Compares what both canaries answer for names that the cluster does not know.
async fn names(scene: &Scene<'_>, asking: &mut Asking, before: Endpoint, after: Endpoint) -> Judgement {
    let Some(questions) = asking.due() else {
        return Judgement::Pending;
    };
    let ask = async |server| {
        let probes = switch::probes(server, questions);
        let asked = scene
            .ctx
            .vantages
            .ask(&scene.cluster.pods, Vantage::Inside, probes);
        asked.await.ok()
    };
    let (Some(old), Some(new)) = tokio::join!(ask(before), ask(after)) else {
        // The prober is busy, or not there; the canaries wait.
        return Judgement::Pending;
    };
    let found = switch::worse(&old, &new, demand(scene.checked));
    if found.is_empty() {
        Judgement::NoWorse
    } else if asking.counts(&found) {
        Judgement::WouldGetWorse(found)
    } else {
        Judgement::Pending
    }
}

/// A canary as it is now.
enum Look {
    Pending,
    Down(String),
    Up(Seen),
}

struct Seen {
    server: Endpoint,
    observations: Vec<Observation>,
    age: SignedDuration,
}

async fn look(scene: &Scene<'_>, files: &Files, role: Role) -> Result<Look, Error> {
    let name = files.name(role, scene.policy());
    let Some(pod) = scene.cluster.pod(&scene.ctx.scope.own_namespace, &name) else {
        create(scene, files, role).await?;
        return Ok(Look::Pending);
    };
    if pod.metadata.deletion_timestamp.is_some() {
        // Of an earlier judgement of the same text, or evicted: that it ends says nothing of the text.
        return Ok(Look::Pending);
    }
    let age = pod
        .metadata
        .creation_timestamp
        .as_ref()
        .map_or(SignedDuration::ZERO, |created| {
            Timestamp::now().duration_since(created.0)
        });
    if pod.finished {
        return Ok(Look::Down(compare::last_words(pod)));
    }
    let late = |what: &str| {
        if age > UP_WITHIN {
            Look::Down(format!("{what} within {} s", UP_WITHIN.as_secs()))
        } else {
            Look::Pending
        }
    };
    let Some(&address) = pod.addresses.first() else {
        return Ok(late("it got no address"));
    };
    let Some(port) = scene.target.pods.first().map(|pod| pod.dns_port) else {
        return Ok(Look::Down(
            "no pod of cluster DNS shows on which port to ask".into(),
        ));
    };
    let server = Endpoint { address, port };
    let probes = compare::questions(server, 0, &scene.ctx.cluster_domain);
    match scene
        .ctx
        .vantages
        .ask(&scene.cluster.pods, Vantage::Inside, probes)
        .await
    {
        Ok(observations) if compare::serves(&observations) => Ok(Look::Up(Seen {
            server,
            observations,
            age,
        })),
        Ok(_) => Ok(late("it did not answer for the cluster's API")),
        Err(error) if age > UP_WITHIN => Ok(Look::Down(error.to_string())),
        Err(_) => Ok(Look::Pending),
    }
}

async fn create(scene: &Scene<'_>, files: &Files, role: Role) -> Result<(), Error> {
    let failed = |source| Error::Apply {
        operation: "start a canary",
        source,
    };
    let own = &scene.ctx.scope.own_namespace;
    let config_maps: Api<ConfigMap> = Api::namespaced(scene.ctx.client.clone(), own);
    let pods: Api<Pod> = Api::namespaced(scene.ctx.client.clone(), own);
    let config_map = canary::config_map(files, role, scene.checked.policy);
    let name = files.name(role, scene.policy());
    scene
        .writer
        .apply_owned(&config_maps, &name, &config_map)
        .await
        .map_err(failed)?;
    let pod = canary::pod(
        files,
        role,
        scene.checked.policy,
        scene.target,
        &scene.ctx.canary_service_account,
    )
    .map_err(|source| Error::Describe {
        what: "a canary",
        source,
    })?;
    match scene.writer.create(&pods, &pod).await {
        // Ours from before, not yet in the cache.
        Ok(_) | Err(WriteError::Conflict { .. }) => Ok(()),
        Err(source) => Err(failed(source)),
    }
}

/// Removes every canary of a policy: judged, given up, or left behind by a crash.
pub(crate) async fn sweep(ctx: &Ctx, writer: &Writer, cluster: &Cluster, policy: &str) -> Result<(), Error> {
    let failed = |source| Error::Apply {
        operation: "remove a canary",
        source,
    };
    let own = &ctx.scope.own_namespace;
    let config_maps: Api<ConfigMap> = Api::namespaced(ctx.client.clone(), own);
    let pods: Api<Pod> = Api::namespaced(ctx.client.clone(), own);
    for pod in cluster.pods.iter().filter(|pod| canary::is_of(pod, own, policy)) {
        let (name, uid) = (pod.name_any(), pod.metadata.uid.as_deref());
        // The pod and its files go by one name; the pod goes last, since it is by the pod that both are found.
        writer.delete(&config_maps, &name, None).await.map_err(failed)?;
        writer.delete(&pods, &name, uid).await.map_err(failed)?;
    }
    Ok(())
}

fn faulty(candidate: &str) -> String {
    match std::env::var(FAULT).as_deref() {
        Ok("unknown-directive") => candidate.replacen('{', "{\n    tsutsumi-fault\n", 1),
        _ => candidate.to_owned(),
    }
}
