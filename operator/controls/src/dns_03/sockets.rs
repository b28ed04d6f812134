//! What the pods count of their own sockets: `coredns_proxy_conn_cache_{hits,misses}_total`, by upstream and protocol.

use std::collections::BTreeMap;

use tsutsumi_model::{Failure, MetricName, MetricSample, Saw};

use crate::{
    Dossier, PodFacts,
    dossier::Joined,
    ledger::Ledger,
    round::{Aim, Place},
};

/// More than one question in so many from a used socket is a failure: one may be shared by chance of timing.
const USED_SHARE: u64 = 20;

/// Fewest questions to upstreams between the two readings that prove anything.
const FEWEST: u64 = 16;

/// How many questions of a pod went to upstreams between the two readings.
#[derive(Clone, Copy, Default)]
pub(super) struct Counted {
    /// Over UDP, each from a fresh socket.
    pub(super) fresh: u64,
    /// Over TCP or TLS.
    pub(super) connected: u64,
}

/// Judges one pod, and returns how it asked its upstreams.
pub(super) fn judge(
    ledger: &mut Ledger<'_>,
    dossier: &Dossier,
    joined: &[Joined<'_>],
    pod: &PodFacts,
) -> Counted {
    let place = Place::Pod(pod.label.clone());
    series_were_made(ledger, joined, &place);
    let before = reading(ledger, joined, &place, Aim::Metrics);
    let after = reading(ledger, joined, &place, Aim::MetricsAfter);
    let (Some((_, before)), Some((index, after))) = (before, after) else {
        return Counted::default();
    };
    let mut fresh = 0;
    let mut connected = 0;
    for (way, now) in &after {
        let then = before.get(way).copied().unwrap_or_default();
        let (Some(used), Some(new)) = (now.used.checked_sub(then.used), now.new.checked_sub(then.new)) else {
            ledger.doubt(
                format!("{place} began to count anew during the round"),
                "It was started again; the next round asks again.".to_owned(),
                Some(index),
            );
            return Counted::default();
        };
        if way.proto != "udp" {
            connected += used + new;
            continue;
        }
        if used > (used + new) / USED_SHARE {
            ledger.fail(
                format!("{place}: {used} of {} questions to {} left from a used socket", used + new, way.to),
                "The `forward` to it keeps its sockets. With `mode: Enforce` the policy writes `expire 0s` there; where \
                 somebody else wrote another `expire`, the policy's plan names it."
                    .to_owned(),
                Some(index),
            );
        }
        if dossier.zone_server.is_none_or(|zone| zone.to_string() != way.to) {
            fresh += new;
        }
    }
    match (fresh, connected) {
        (FEWEST.., _) => ledger.good(index),
        (_, FEWEST..) => {
            ledger.good(index);
            ledger.note("Upstreams that are asked over TCP or TLS have no port to guess.".to_owned());
        }
        _ => ledger.doubt(
            format!("{place} counted no questions to upstreams"),
            "The series asks for names that are forwarded; CoreDNS counts them from 1.11 on. Look at `forward` in the \
             server block of the root, and at the pod's version."
                .to_owned(),
            Some(index),
        ),
    }
    Counted { fresh, connected }
}

/// Towards which address, and over what, as the labels say it.
#[derive(Eq, Ord, PartialEq, PartialOrd)]
struct Way<'a> {
    to: &'a str,
    proto: &'a str,
}

#[derive(Clone, Copy, Default)]
struct Count {
    used: u64,
    new: u64,
}

type Counts<'a> = BTreeMap<Way<'a>, Count>;

/// The series itself says nothing here, unless it could not be asked.
fn series_were_made(ledger: &mut Ledger<'_>, joined: &[Joined<'_>], place: &Place) {
    let series = joined
        .iter()
        .filter(|step| step.purpose.aim == Aim::Upstreams && step.purpose.place == *place);
    for step in series {
        if !ledger.was_made(step) {
            continue;
        }
        for (index, observation) in &step.seen {
            match &observation.saw {
                Saw::Series(_) => {}
                Saw::Nothing(failure) => ledger.silent(step, *index, *failure),
                Saw::Answer(_) | Saw::Metrics(_) | Saw::Root(_) => {
                    ledger.silent(step, *index, Failure::Malformed);
                }
            }
        }
    }
}

/// What a pod counted at one time, with the observation that tells it.
fn reading<'a>(
    ledger: &mut Ledger<'_>,
    joined: &[Joined<'a>],
    place: &Place,
    aim: Aim,
) -> Option<(usize, Counts<'a>)> {
    let step = joined
        .iter()
        .find(|step| step.purpose.aim == aim && step.purpose.place == *place)?;
    if !ledger.was_made(step) {
        return None;
    }
    let (index, observation) = step.seen.first()?;
    match &observation.saw {
        Saw::Metrics(samples) => Some((*index, counts(samples))),
        Saw::Nothing(failure) => {
            ledger.silent(step, *index, *failure);
            None
        }
        Saw::Answer(_) | Saw::Root(_) | Saw::Series(_) => {
            ledger.silent(step, *index, Failure::Malformed);
            None
        }
    }
}

fn counts(samples: &[MetricSample]) -> Counts<'_> {
    let mut counts = Counts::new();
    for sample in samples {
        let label = |name: &str| sample.labels.get(name).map_or("", String::as_str);
        let count = counts
            .entry(Way {
                to: label("to"),
                proto: label("proto"),
            })
            .or_default();
        match sample.name {
            MetricName::CorednsProxyConnCacheHitsTotal => count.used += whole(sample.value),
            MetricName::CorednsProxyConnCacheMissesTotal => count.new += whole(sample.value),
            _ => {}
        }
    }
    counts.retain(|way, _| !way.to.is_empty());
    counts
}

/// A counter's value. Counters are whole, and far below 2^53.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "negative and broken values become 0, huge ones the largest number"
)]
const fn whole(value: f64) -> u64 {
    value as u64
}
