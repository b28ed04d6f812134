//! What a change takes up to the last pod: kubelet and CoreDNS have the largest part, so this says what a person waits for.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result, bail};
use kube::{
    Api, Client, ResourceExt as _,
    api::{ListParams, Patch, PatchParams},
    runtime::{WatchStreamExt as _, watcher},
};
use serde_json::json;
use tokio::time::{Instant, timeout};
use tsutsumi_api::{ResolverPolicy, resolver_policy::RolloutState};

use crate::report;

/// How to measure on a cluster that `KUBECONFIG` names.
#[derive(clap::Args)]
pub(crate) struct OnRig {
    /// How many changes to make
    #[arg(long, default_value_t = 10)]
    changes: usize,
    /// The machine and the versions, one a line
    #[arg(long)]
    setting: Vec<String>,
    /// The report
    #[arg(long)]
    report: PathBuf,
}

/// More than the intervals of kubelet and CoreDNS together.
const PATIENCE: Duration = Duration::from_secs(400);

/// Milliseconds from a change of the policy to two moments after it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// Every pod shows the new text.
    pub(crate) settled: f64,
    /// A round of probes has passed after that.
    pub(crate) verified: f64,
}

/// Changes the only policy's message size again and again, and waits each time until it is Ready.
pub(crate) async fn measure(on_rig: OnRig) -> Result<()> {
    let client = Client::try_default()
        .await
        .context("set KUBECONFIG to the cluster's")?;
    let api = Api::<ResolverPolicy>::all(client);
    let policies = api.list(&ListParams::default()).await?.items;
    let [policy] = &policies[..] else {
        bail!(
            "there are {} policies where one is needed: apply docs/examples/cluster-dns.yaml",
            policies.len()
        );
    };
    let name = policy.name_any();
    let first = policy.spec.udp.map_or(1232, |udp| udp.max_message_bytes);
    let other = if first == 1232 { 1280 } else { 1232 };
    let mut samples = Vec::new();
    for number in 0..on_rig.changes {
        let bytes = if number % 2 == 0 { other } else { first };
        let sample = change(&api, &name, json!(bytes))
            .await
            .with_context(|| format!("change {}", number + 1))?;
        println!(
            "change {}: verified after {:.1} s",
            number + 1,
            sample.verified / 1000.0
        );
        samples.push(sample);
    }
    change(&api, &name, json!(first))
        .await
        .context("putting the first size back")
        .ok();
    report::on_rig(&on_rig.report, &samples, &on_rig.setting)
}

async fn change(api: &Api<ResolverPolicy>, name: &str, bytes: serde_json::Value) -> Result<Sample> {
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let mut objects = std::pin::pin!(watcher(api.clone(), config).default_backoff().applied_objects());
    let patch = Patch::Merge(json!({"spec": {"udp": {"maxMessageBytes": bytes}}}));
    let changed = api.patch(name, &PatchParams::default(), &patch).await?;
    let (begun, generation) = (Instant::now(), changed.metadata.generation);
    let mut settled = None;
    let seen = timeout(PATIENCE, async {
        while let Some(object) = futures::StreamExt::next(&mut objects).await {
            let Some(status) = object.ok().and_then(|policy| policy.status) else {
                continue;
            };
            let elapsed = begun.elapsed().as_secs_f64() * 1000.0;
            let is = |type_: &str| {
                status.conditions.iter().any(|condition| {
                    condition.type_ == type_
                        && condition.status == "True"
                        && condition.observed_generation == generation
                })
            };
            let rests = status.rollout.as_ref().is_some_and(|rollout| {
                rollout.state == RolloutState::Settled && Some(rollout.generation) == generation
            });
            if rests && is("Programmed") {
                let settled = *settled.get_or_insert(elapsed);
                if is("Verified") {
                    return Some(Sample {
                        settled,
                        verified: elapsed,
                    });
                }
            }
        }
        None
    });
    seen.await
        .context("it was not verified in time")?
        .context("the watch ended")
}
