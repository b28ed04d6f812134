//! Live verification beside the reconciler, on the leader only: one task per policy asks a round of questions when its
//! interval is over or something that matters has changed, and feeds the results back by a trigger.

use std::{
    collections::{BTreeMap, HashMap},
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use tokio::{sync::watch, task::JoinHandle, time::Instant};
use tsutsumi_engine::{
    resolver::status::Verified,
    verify::{
        Availability, Judged, Step,
        evidence::{self, Kept},
        judge_round, plan_round,
    },
};
use tsutsumi_model::{MetricName, Observation, Saw, Vantage};
use tsutsumi_probes::MAX_SERIES;

use super::{observe::Caches, refusals::Refusals, request::Request, vantage::Vantages, zone::Zone};
use crate::runtime::{logging::Chain, metrics::Metrics};

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
    zone: Zone,
    caches: Caches,
    metrics: Metrics,
    trigger: tokio::sync::mpsc::Sender<()>,
    /// One round at a time: each has its rate, and two would have twice of it.
    turn: Arc<tokio::sync::Mutex<()>>,
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

/// How long to wait for the next round about something that has been so for `age`.
///
/// Pods load a text when kubelet and `reload` come to it, up to two minutes after it was written, so a round right after
/// a change may still see what was before. Each pause is about as long as all that went before, up to the interval.
fn pause(age: Duration, interval: Duration) -> Duration {
    age.max(SOON).min(interval)
}

impl Verifier {
    pub(super) fn new(
        vantages: Vantages,
        zone: Zone,
        caches: Caches,
        metrics: Metrics,
        trigger: tokio::sync::mpsc::Sender<()>,
    ) -> Self {
        Self {
            vantages,
            zone,
            caches,
            metrics,
            trigger,
            turn: Arc::default(),
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
        let _turn = self.turn.lock().await;
        let mut input = request.input.clone();
        let checked_at = Timestamp::now();
        let listening = match (self.zone.listen(&self.caches.pods(), checked_at), &input.zone) {
            (Ok(listening), Availability::Present) => Some(listening),
            (Err(why), Availability::Present) => {
                input.zone = Availability::Missing(Chain(&why).to_string());
                None
            }
            (_, Availability::Missing(_)) => None,
        };
        if let (Some(listening), Availability::Present) = (&listening, &input.zone_outside)
            && let Err(why) = listening.outside_tells().await
        {
            input.zone_outside = Availability::Missing(Chain(&why).to_string());
        }
        let nonce = format!("t{:x}", RandomState::new().hash_one(checked_at.as_nanosecond()));
        let marks = listening.as_ref().map(|listening| &listening.marks);
        let planned = match plan_round(&input, &nonce, marks) {
            Ok(planned) => planned,
            Err(error) => {
                tracing::error!(policy = request.policy, error = %Chain(&error), "a round of probes cannot be planned");
                return None;
            }
        };
        let mut observations = Vec::new();
        let early = [
            (Vantage::Inside, &planned.warm[..]),
            (Vantage::Outside, &planned.outside[..]),
            (Vantage::Inside, &planned.inside[..]),
        ];
        let chunks = |series| <[Step]>::chunks(series, MAX_SERIES).map(|chunk| (Vantage::Inside, chunk));
        let after = [(Vantage::Inside, &planned.after[..])];
        let late = chunks(&planned.series)
            .chain(after)
            .chain(chunks(&planned.series_outside));
        for (vantage, steps) in early.into_iter().chain(late) {
            match self.ask(vantage, steps).await {
                Ok(seen) => observations.extend(seen),
                Err(why) => match vantage {
                    Vantage::Inside => input.inside = Availability::Missing(why),
                    Vantage::Outside => input.outside = Availability::Missing(why),
                },
            }
        }
        let mut heard = BTreeMap::new();
        if let Some(listening) = listening {
            match listening.heard(&planned.series).await {
                Ok(told) => heard = told,
                Err(why) => input.zone = Availability::Missing(Chain(&why).to_string()),
            }
            match listening.heard_outside(&planned.series_outside).await {
                Ok(told) => heard.extend(told),
                Err(why) => input.zone_outside = Availability::Missing(Chain(&why).to_string()),
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
        for Judged { verdict, behind } in judge_round(&input, &planned, observations, heard) {
            match evidence::keep(verdict.clone(), behind, checked_at, valid_until) {
                Ok(evidence) => {
                    verdicts.push((verdict, evidence.digest.clone()));
                    kept.push(evidence);
                }
                Err(error) => {
                    tracing::error!(policy = request.policy, error = %Chain(&error), "evidence is lost");
                }
            }
        }
        kept.extend(
            request
                .beside
                .iter()
                .map(|(key, text)| evidence::beside(key, text)),
        );
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
            Saw::Answer(_) | Saw::Nothing(_) | Saw::Root(_) | Saw::Series(_) => None,
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
