//! One round of live verification: asked in its order, heard by the probe zones while they remember, and judged.

use std::{
    collections::BTreeMap,
    hash::{BuildHasher, RandomState},
};

use jiff::Timestamp;
use tsutsumi_engine::{
    resolver::status::Verified,
    verify::{
        Availability, Judged, RoundInput, Step,
        evidence::{self, Kept},
        judge_round, plan_round,
    },
};
use tsutsumi_model::{Heard, MetricName, Observation, Saw, Vantage};
use tsutsumi_probes::MAX_SERIES;
use tsutsumi_zone::MAX_SAMPLES;

use super::{
    observe::Caches,
    refusals::Refusals,
    request::Request,
    vantage::Vantages,
    zone::{Listening, Zone},
};
use crate::runtime::{logging::Chain, metrics::Metrics};

// With room for questions of the series before that come late.
const _: () = assert!(
    2 * MAX_SERIES <= MAX_SAMPLES,
    "a zone remembers all that is asked at once"
);

/// What one round came to.
#[derive(Clone, Debug)]
pub(super) struct Round {
    pub(super) verified: Verified,
    pub(super) kept: Vec<Kept>,
    /// Of which change it speaks.
    pub(super) epoch: String,
}

/// Asks and judges rounds.
#[derive(Clone)]
pub(super) struct Examiner {
    pub(super) vantages: Vantages,
    pub(super) zone: Zone,
    pub(super) caches: Caches,
    pub(super) metrics: Metrics,
}

impl Examiner {
    /// Asks one round and judges it; none where it cannot be planned, which the log says.
    pub(super) async fn examine(&self, request: &Request, refusals: &mut Refusals) -> Option<Round> {
        let checked_at = Timestamp::now();
        let mut input = request.input.clone();
        let listening = self.listen(&mut input, checked_at).await;
        let nonce = format!("t{:x}", RandomState::new().hash_one(checked_at.as_nanosecond()));
        let marks = listening.as_ref().map(|listening| &listening.marks);
        let planned = match plan_round(&input, &nonce, marks) {
            Ok(planned) => planned,
            Err(error) => {
                tracing::error!(policy = request.policy, error = %Chain(&error), "a round of probes cannot be planned");
                return None;
            }
        };
        let mut course = Course {
            examiner: self,
            listening: listening.as_ref(),
            input,
            observations: Vec::new(),
            heard: BTreeMap::new(),
        };
        // What warms the caches, then outside while they are warm, then the rest.
        course.ask(Vantage::Inside, &planned.warm).await;
        course.ask(Vantage::Outside, &planned.outside).await;
        course.ask(Vantage::Inside, &planned.inside).await;
        course.series(Vantage::Inside, &planned.series).await;
        course.ask(Vantage::Inside, &planned.after).await;
        course.series(Vantage::Outside, &planned.series_outside).await;
        let Course {
            input,
            observations,
            heard,
            ..
        } = course;

        let refused = refusals.since_last(&observations);
        if input.exposures.is_empty() {
            self.metrics.add_refused_in_cluster(&request.policy, refused);
        }
        let version = version(&observations);
        let judged = judge_round(&input, &planned, observations, heard);
        Some(told(request, checked_at, version, judged))
    }

    /// Gets the probe zones ready to hear the round; says in the input which of them cannot.
    async fn listen(&self, input: &mut RoundInput, now: Timestamp) -> Option<Listening> {
        if input.zone != Availability::Present {
            return None;
        }
        let listening = match self.zone.listen(&self.caches.pods(), now) {
            Ok(listening) => listening,
            Err(why) => {
                input.zone = Availability::Missing(Chain(&why).to_string());
                return None;
            }
        };
        if input.zone_outside == Availability::Present
            && let Err(why) = listening.outside_tells().await
        {
            input.zone_outside = Availability::Missing(Chain(&why).to_string());
        }
        Some(listening)
    }
}

/// A round under way: what was seen and heard so far. The input says who turned out to be missing.
struct Course<'a> {
    examiner: &'a Examiner,
    listening: Option<&'a Listening>,
    input: RoundInput,
    observations: Vec<Observation>,
    heard: BTreeMap<u32, Heard>,
}

impl Course<'_> {
    async fn ask(&mut self, vantage: Vantage, steps: &[Step]) {
        let probes = steps.iter().map(|(_, probe)| probe.clone()).collect();
        let Examiner { vantages, caches, .. } = self.examiner;
        match vantages.ask(&caches.pods(), vantage, probes).await {
            Ok(seen) => self.observations.extend(seen),
            Err(why) => {
                let missing = Availability::Missing(Chain(&why).to_string());
                match vantage {
                    Vantage::Inside => self.input.inside = missing,
                    Vantage::Outside => self.input.outside = missing,
                }
            }
        }
    }

    /// Asks series from inside, as many at once as the prober takes, and has the zone at `place` tell what it heard of those
    /// before it forgets them for the next.
    async fn series(&mut self, place: Vantage, steps: &[Step]) {
        for chunk in steps.chunks(MAX_SERIES) {
            self.ask(Vantage::Inside, chunk).await;
            let Some(listening) = self.listening else {
                continue;
            };
            match listening.heard(place, chunk).await {
                Ok(told) => self.heard.extend(told),
                Err(why) => {
                    let missing = Availability::Missing(Chain(&why).to_string());
                    match place {
                        Vantage::Inside => self.input.zone = missing,
                        Vantage::Outside => self.input.zone_outside = missing,
                    }
                }
            }
        }
    }
}

/// The verdicts with the evidence behind them; one whose evidence cannot be kept is left out, which the log says.
fn told(request: &Request, checked_at: Timestamp, version: Option<String>, judged: Vec<Judged>) -> Round {
    let valid_until = checked_at + jiff::SignedDuration::try_from(request.validity).unwrap_or_default();
    let mut verdicts = Vec::new();
    let mut kept = Vec::new();
    for Judged { verdict, behind } in judged {
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
    let beside = request.beside.iter();
    kept.extend(beside.map(|(key, text)| evidence::beside(key, text)));
    Round {
        verified: Verified {
            checked_at,
            valid_until,
            verdicts,
            version,
            of_this_change: true,
        },
        kept,
        epoch: request.epoch.clone(),
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
