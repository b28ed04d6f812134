//! From what a round saw to verdicts, each with the observations that decided it.
//!
//! The controls do the judging; here their dossier is filled, with what is known of the versions that run.

use std::collections::BTreeMap;

use tsutsumi_controls::{AclLeak, Dossier, Hole, Judgement, KnownVersion, PodFacts, Round, Step, judge_all};
use tsutsumi_model::{Ask, ControlId, Heard, MetricName, Observation, Saw, Verdict};
use tsutsumi_providers::{
    coredns::version::{AclProtection, CoreDnsVersion},
    unbound::version::UnboundVersion,
};

use super::{RoundInput, RoundPod, evidence::Behind};

/// A verdict with what it rests on.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    /// The verdict.
    pub verdict: Verdict,
    /// What was seen and heard.
    pub behind: Behind,
}

/// Judges a round, with what the probe zone heard of it by the number of the probe: one verdict per control, in the
/// order of the catalogue, with its observations sorted by vantage and number.
#[must_use]
pub fn judge_round(
    input: &RoundInput,
    round: &Round,
    observations: Vec<Observation>,
    heard: BTreeMap<u32, Heard>,
) -> Vec<Judged> {
    let dossier = dossier(input, round, observations, heard);
    judge_all(&dossier)
        .into_iter()
        .map(|Judgement { verdict, deciding }| {
            let mut observations: Vec<Observation> = deciding
                .into_iter()
                .filter_map(|index| dossier.observations.get(index))
                .map(|observation| slim(verdict.control, observation))
                .collect();
            observations.sort_by_key(|observation| (observation.vantage, observation.probe.id));
            let numbers = observations.iter().map(|observation| observation.probe.id);
            let heard = numbers
                .filter_map(|id| Some((id, dossier.heard.get(&id)?.clone())))
                .collect();
            Judged {
                verdict,
                behind: Behind { observations, heard },
            }
        })
        .collect()
}

fn dossier(
    input: &RoundInput,
    round: &Round,
    observations: Vec<Observation>,
    heard: BTreeMap<u32, Heard>,
) -> Dossier {
    let steps: Vec<Step> = round.steps().cloned().collect();
    let facts = |pods: &[RoundPod]| -> Vec<PodFacts> {
        let mut pods: Vec<&RoundPod> = pods.iter().collect();
        pods.sort_by_key(|pod| &pod.label);
        pods.into_iter()
            .map(|pod| PodFacts {
                label: pod.label.clone(),
                endpoints: pod.endpoints.clone(),
                ready: pod.ready,
                image_version: pod.image_version.clone(),
            })
            .collect()
    };
    let mut dossier = Dossier {
        asked: input.asked,
        target: input.target.clone(),
        pods: facts(&input.pods),
        service: input.service,
        resolvers: facts(&input.resolvers),
        exposures: input.exposures.clone(),
        around: input.around.clone(),
        inside: input.inside.clone(),
        outside: input.outside.clone(),
        zone: input.zone.clone(),
        zone_outside: input.zone_outside.clone(),
        zone_server: input.zone_server,
        root: input.root.clone(),
        unsupported: input.unsupported.clone(),
        versions: Vec::new(),
        resolver_versions: Vec::new(),
        steps,
        observations,
        heard,
    };
    dossier.versions = dossier
        .running_versions()
        .iter()
        .filter_map(|version| known(version))
        .collect();
    dossier.resolver_versions = dossier
        .resolver_tags()
        .iter()
        .filter_map(|version| known_unbound(version))
        .collect();
    dossier
}

/// What is known of a version; `None` if it is none.
fn known(running: &str) -> Option<KnownVersion> {
    let version: CoreDnsVersion = running.parse().ok()?;
    let acl_leak = match version.acl_protection() {
        AclProtection::Sound => None,
        AclProtection::CacheLeaks { fixed_in } => Some(AclLeak {
            fixed_in: fixed_in.to_string(),
            how: "clients that `acl` blocks read cached answers".to_owned(),
        }),
        AclProtection::RewriteBypass { fixed_in } => Some(AclLeak {
            fixed_in: fixed_in.to_string(),
            how: "what `rewrite` makes of a question is not judged by `acl`".to_owned(),
        }),
    };
    let holes = version
        .known_holes()
        .into_iter()
        .map(|hole| Hole {
            id: hole.id.to_owned(),
            fixed_in: hole.fixed_in.to_string(),
            what: hole.what.to_owned(),
        })
        .collect();
    Some(KnownVersion {
        running: running.to_owned(),
        acl_leak,
        holes,
    })
}

/// What is known of a version of Unbound; `None` if it is none.
fn known_unbound(running: &str) -> Option<KnownVersion> {
    let version: UnboundVersion = running.parse().ok()?;
    let holes = version.known_holes().into_iter().map(|hole| Hole {
        id: hole.id.to_owned(),
        fixed_in: hole.fixed_in.to_string(),
        what: hole.what.to_owned(),
    });
    Some(KnownVersion {
        running: running.to_owned(),
        acl_leak: None,
        holes: holes.collect(),
    })
}

/// An observation as evidence: of metrics only what the control looks at, of a series its server and its tally. The
/// names of a series carry seals that are over by then, and there are hundreds.
fn slim(control: ControlId, observation: &Observation) -> Observation {
    let mut observation = observation.clone();
    let looked_at: &[MetricName] = match control {
        ControlId::Dns03 => &[
            MetricName::CorednsProxyConnCacheHitsTotal,
            MetricName::CorednsProxyConnCacheMissesTotal,
        ],
        ControlId::Dns01
        | ControlId::Dns02
        | ControlId::Dns04
        | ControlId::Dns05
        | ControlId::Dns06
        | ControlId::Dns07
        | ControlId::Dns09
        | ControlId::Dns11
        | ControlId::Dns12 => &[MetricName::CorednsBuildInfo],
    };
    if let Saw::Metrics(samples) = &mut observation.saw {
        samples.retain(|sample| looked_at.contains(&sample.name));
    }
    if let Ask::Series(series) = &mut observation.probe.ask {
        series.names.truncate(1);
    }
    observation
}
