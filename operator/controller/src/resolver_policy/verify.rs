//! Live verification beside the reconciler, on the leader only: one task per policy asks a round of questions when its
//! interval is over or something that matters has changed, and feeds the results back by a trigger.

use std::{
    collections::{BTreeMap, HashMap},
    hash::{BuildHasher, DefaultHasher, Hash, Hasher, RandomState},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use tokio::{sync::watch, task::JoinHandle, time::Instant};
use tsutsumi_api::resolver_policy::{Rollout, RolloutState, WorkloadKind};
use tsutsumi_engine::{
    platform::Channel,
    resolver::{Checked, status::Verified},
    target::Target,
    verify::{
        Availability, RoundInput, RoundPod, Step, TargetNames, asked,
        evidence::{self, Kept},
        judge_round, plan_round, zones_of_keys,
    },
};
use tsutsumi_model::{ControlId, Endpoint, MetricName, Observation, Saw, Vantage};
use tsutsumi_providers::coredns::corefile::Corefile;

use super::{Ctx, observe::Caches, refusals::Refusals, vantage::Vantages};
use crate::runtime::{logging::Chain, metrics::Metrics};

/// What a policy wants to have verified, and when.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Request {
    policy: String,
    input: RoundInput,
    interval: Duration,
    validity: Duration,
    /// The change that is in force; results from before it do not speak of it.
    epoch: String,
    /// The live text, as a hash: whoever changed it, what was seen before says little.
    live: u64,
}

/// What one round came to.
#[derive(Clone, Debug)]
pub(super) struct Round {
    pub(super) verified: Verified,
    pub(super) kept: Vec<Kept>,
    epoch: String,
}

/// Runs the rounds; clones share the results.
#[derive(Clone)]
pub(super) struct Verifier {
    vantages: Vantages,
    caches: Caches,
    metrics: Metrics,
    trigger: tokio::sync::mpsc::Sender<()>,
    tasks: Arc<Mutex<HashMap<String, Task>>>,
}

struct Task {
    request: watch::Sender<Request>,
    newest: Arc<Mutex<Option<Round>>>,
    handle: JoinHandle<()>,
}

/// Changes that come in bursts, such as pods that restart one by one, share a round.
const SETTLING: Duration = Duration::from_secs(1);
/// The shortest time between two rounds about the same.
const SOON: Duration = Duration::from_secs(10);

/// What the policy wants to have verified; none without a target.
pub(super) fn request(ctx: &Ctx, checked: &Checked<'_>, rollout: Option<&Rollout>) -> Option<Request> {
    let target = checked.target.as_ref().ok()?;
    let spec = &checked.policy.spec;
    let outside = if !spec.verification.vantages.contains(&Vantage::Outside) {
        Availability::Missing("add `outside` to spec.verification.vantages".to_owned())
    } else if ctx.vantages.has_outside() {
        Availability::Present
    } else {
        Availability::Missing(
            "no outside vantage is configured: run `tsutsumi prober` outside and name it under `vantages` in the \
             chart's values"
                .to_owned(),
        )
    };
    let inside = if spec.verification.vantages.contains(&Vantage::Inside) {
        Availability::Present
    } else {
        Availability::Missing("add `inside` to spec.verification.vantages".to_owned())
    };
    let kind = match target.workload.kind {
        WorkloadKind::DaemonSet => "daemonset",
        WorkloadKind::Deployment => "deployment",
    };
    let keys = target
        .corefile
        .as_deref()
        .and_then(|text| Corefile::parse(text).ok());
    let zones = keys
        .iter()
        .flat_map(Corefile::blocks)
        .flat_map(|block| block.keys().iter())
        .map(String::as_str);
    let pods = target.pods.iter().map(|pod| RoundPod {
        label: format!("{}/{}", target.workload.namespace, pod.name),
        endpoints: pod.endpoints().collect(),
        metrics: pod
            .addresses
            .first()
            .zip(pod.metrics_port)
            .map(|(address, port)| Endpoint {
                address: *address,
                port,
            }),
        ready: pod.ready,
        image_version: target.image_version.clone(),
    });
    Some(Request {
        policy: checked.policy.metadata.name.clone()?,
        input: RoundInput {
            asked: asked(spec),
            target: TargetNames {
                namespace: target.workload.namespace.clone(),
                workload: format!("{kind}/{}", target.workload.name),
                config_map: written_to(target),
            },
            pods: pods.collect(),
            exposures: checked.reach.exposures.clone(),
            cluster_domain: ctx.cluster_domain.clone(),
            namespace: ctx.scope.own_namespace.clone(),
            forwarded_name: None,
            zones: zones_of_keys(zones),
            inside,
            outside,
            unsupported: unsupported(&target.channel),
        },
        interval: spec.verification.interval.get(),
        validity: spec.verification.validity(),
        epoch: rollout
            .filter(|rollout| rollout.state == RolloutState::Settled)
            .map(|rollout| rollout.identity.clone())
            .unwrap_or_default(),
        live: hash(target.corefile.as_deref().unwrap_or_default()),
    })
}

/// The same for the same text, within one process.
fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

/// How long to wait for the next round about something that has been so for `age`.
///
/// Pods load a text when kubelet and `reload` come to it, up to two minutes after it was written, so a round right after
/// a change may still see what was before. Each pause is about as long as all that went before, up to the interval.
fn pause(age: Duration, interval: Duration) -> Duration {
    age.max(SOON).min(interval)
}

/// The ConfigMap that a person or a policy would change.
fn written_to(target: &Target) -> String {
    match &target.channel {
        Channel::Custom { config_map, .. } => config_map.clone(),
        Channel::AuditOnly { .. } | Channel::WholeCorefile => target
            .config_map
            .as_ref()
            .map(|source| source.config_map.clone())
            .unwrap_or_default(),
    }
}

/// Where nothing may be written, what cannot be told is beyond the platform's levers; its own setting is named.
fn unsupported(channel: &Channel) -> BTreeMap<ControlId, String> {
    match channel {
        Channel::AuditOnly { reason, advice } => [ControlId::Dns01, ControlId::Dns02, ControlId::Dns09]
            .map(|control| (control, format!("{reason}; {advice}")))
            .into(),
        Channel::Custom { .. } | Channel::WholeCorefile => BTreeMap::new(),
    }
}

impl Verifier {
    pub(super) fn new(
        vantages: Vantages,
        caches: Caches,
        metrics: Metrics,
        trigger: tokio::sync::mpsc::Sender<()>,
    ) -> Self {
        Self {
            vantages,
            caches,
            metrics,
            trigger,
            tasks: Arc::default(),
        }
    }

    /// Sees to it that the request is verified, and hands out the newest round.
    pub(super) fn newest(&self, request: Option<&Request>) -> Option<Round> {
        let request = request?;
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        let task = tasks
            .entry(request.policy.clone())
            .or_insert_with(|| self.spawn(request.clone()));
        task.request.send_if_modified(|known| {
            let changed = known != request;
            if changed {
                known.clone_from(request);
            }
            changed
        });
        let mut round = task
            .newest
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()?;
        round.verified.of_this_change = round.epoch == request.epoch;
        Some(round)
    }

    /// Ends the rounds of a policy.
    pub(super) fn stop(&self, policy: &str) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(task) = tasks.remove(policy) {
            task.handle.abort();
        }
    }

    /// Ends all rounds: the lease is lost.
    pub(super) fn stop_all(&self) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.drain().for_each(|(_, task)| task.handle.abort());
    }

    fn spawn(&self, request: Request) -> Task {
        let (sender, receiver) = watch::channel(request);
        let newest = Arc::default();
        let handle = tokio::spawn(self.clone().rounds(receiver, Arc::clone(&newest)));
        Task {
            request: sender,
            newest,
            handle,
        }
    }

    async fn rounds(self, mut wanted: watch::Receiver<Request>, newest: Arc<Mutex<Option<Round>>>) {
        let mut refusals = Refusals::default();
        let mut since = Instant::now();
        loop {
            let request = wanted.borrow_and_update().clone();
            let begun = Instant::now();
            if let Some(round) = self.round(&request, &mut refusals).await {
                *newest.lock().unwrap_or_else(PoisonError::into_inner) = Some(round);
                // A full channel means that a reconcile is due anyway.
                let _ = self.trigger.try_send(());
            }
            tokio::select! {
                () = tokio::time::sleep_until(begun + pause(begun - since, request.interval)) => {}
                changed = wanted.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    tokio::time::sleep(SETTLING).await;
                    since = Instant::now();
                }
            }
        }
    }

    /// Asks one round, in order: what warms the caches, then outside while they are warm, then the rest.
    async fn round(&self, request: &Request, refusals: &mut Refusals) -> Option<Round> {
        let mut input = request.input.clone();
        let checked_at = Timestamp::now();
        let nonce = format!("t{:x}", RandomState::new().hash_one(checked_at.as_nanosecond()));
        let planned = match plan_round(&input, &nonce) {
            Ok(planned) => planned,
            Err(error) => {
                tracing::error!(policy = request.policy, error = %Chain(&error), "a round of probes cannot be planned");
                return None;
            }
        };
        let mut observations = Vec::new();
        for (vantage, steps) in [
            (Vantage::Inside, &planned.warm),
            (Vantage::Outside, &planned.outside),
            (Vantage::Inside, &planned.inside),
        ] {
            match self.ask(vantage, steps).await {
                Ok(seen) => observations.extend(seen),
                Err(why) => match vantage {
                    Vantage::Inside => input.inside = Availability::Missing(why),
                    Vantage::Outside => input.outside = Availability::Missing(why),
                },
            }
        }
        let valid_until = checked_at + jiff::SignedDuration::try_from(request.validity).unwrap_or_default();
        let refused = refusals.since_last(&observations);
        if input.exposures.is_empty() {
            self.metrics.add_refused_in_cluster(&request.policy, refused);
        }
        let version = version(&observations);
        let mut verdicts = Vec::new();
        let mut kept = Vec::new();
        for (verdict, seen) in judge_round(&input, &planned, observations) {
            match evidence::keep(verdict.clone(), seen, checked_at, valid_until) {
                Ok(evidence) => {
                    verdicts.push((verdict, evidence.digest.clone()));
                    kept.push(evidence);
                }
                Err(error) => {
                    tracing::error!(policy = request.policy, error = %Chain(&error), "evidence is lost");
                }
            }
        }
        let verified = Verified {
            checked_at,
            valid_until,
            verdicts,
            version,
            of_this_change: true,
        };
        Some(Round {
            verified,
            kept,
            epoch: request.epoch.clone(),
        })
    }

    async fn ask(&self, vantage: Vantage, steps: &[Step]) -> Result<Vec<Observation>, String> {
        let probes = steps.iter().map(|(_, probe)| probe.clone()).collect();
        self.vantages
            .ask(&self.caches.pods(), vantage, probes)
            .await
            .map_err(|error| Chain(&error).to_string())
    }
}

/// The version that a process tells of itself.
fn version(observations: &[Observation]) -> Option<String> {
    observations
        .iter()
        .find_map(|observation| match &observation.saw {
            Saw::Metrics(samples) => samples
                .iter()
                .find(|sample| sample.name == MetricName::CorednsBuildInfo)
                .and_then(|sample| sample.labels.get("version").cloned()),
            Saw::Answer(_) | Saw::Nothing(_) | Saw::Series(_) => None,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_just_changed_is_asked_again_soon_and_then_ever_more_rarely() {
        let interval = Duration::from_mins(5);
        let mut age = Duration::ZERO;
        let mut pauses = Vec::new();
        for _ in 0..8 {
            let next = pause(age, interval);
            pauses.push(next.as_secs());
            age += next;
        }
        assert_eq!(pauses, [10, 10, 20, 40, 80, 160, 300, 300]);
        assert_eq!(
            pause(Duration::ZERO, Duration::from_secs(5)),
            Duration::from_secs(5)
        );
    }
}
