//! `DNS-03`: source ports cannot be guessed at the resolver.
//!
//! Seen twice. A probe zone hears from which ports every pod asks it, which is what an attacker would have to guess
//! (RFC 5452, 9.2); and the pods of cluster DNS count how many of their questions to upstreams left from a socket that was
//! used before, since the way to the probe zone is ours and the ways to the upstreams are not. A managed resolver is asked
//! for series of its own: the few connections that lead to it may give one of its pods a small share of another's.

mod sockets;

use std::{collections::BTreeSet, net::IpAddr};

use tsutsumi_model::{Asker, ControlId, Failure, Heard, Saw, Tally, Vantage};

use crate::{
    Availability, Control, Dossier, Judgement, Level,
    dossier::Joined,
    ledger::{Ledger, not_asked, sentence},
    randomness::{Flaw, Ids, MINIMUM, Randomness, Sample, lost_too_many},
    round::{Aim, Place},
    text::counted,
};

/// The control.
pub const CONTROL: Control = Control {
    id: ControlId::Dns03,
    title_en: "Source ports cannot be guessed at the resolver",
    title_ja: "リゾルバの送信元UDPポート番号をランダムにする",
    clause: "MIC guideline 6.5 (1) note 2",
    requirement: &["R10"],
    level: Level::Informative,
    enforced_by: "`expire 0s` in every `forward` over UDP, so that each question leaves from a socket of its own",
    proven_by: "the ports from which every pod of cluster DNS, or of the managed resolver behind it, asks a probe zone \
                256 names, and the former's own count of questions to upstreams that left from a used socket",
    remedy: "Enforce the policy's `recursion.sourcePorts`; where ports are still few, look for what translates addresses \
             between the pods and the probe zone.",
};

/// Judges it.
#[must_use]
pub fn judge(dossier: &Dossier) -> Judgement {
    if !dossier.asked.random_ports {
        return not_asked(&CONTROL, "recursion");
    }
    let mut ledger = Ledger::new(&CONTROL, dossier);
    let joined = dossier.joined();
    let mut found = Found::default();
    if ledger.has_vantage(Vantage::Inside) {
        if let Availability::Missing(why) = &dossier.zone {
            ledger.doubt("no probe zone hears the pods ask".to_owned(), sentence(why), None);
        }
        uncovered(&mut ledger, dossier, &joined);
        let resolvers = dossier.askers_for_resolvers(Aim::Ports);
        for step in joined.iter().filter(|step| step.purpose.aim == Aim::Ports) {
            judge_series(&mut ledger, dossier, step, &resolvers, &mut found);
        }
        for pod in &dossier.pods {
            let counted = sockets::judge(&mut ledger, dossier, &joined, pod);
            found.fresh += counted.fresh;
            found.connected += counted.connected;
        }
    }
    let expected = "from every pod, ports and ids that differ and neither step, repeat nor follow each other, ports over \
                    at least 10 bits; to upstreams, at most 1 in 20 questions over UDP from a used socket";
    ledger.close(
        expected,
        &found.to_string(),
        "Whoever forges an answer has to guess the port of each question anew.",
    )
}

/// The worst of what was heard.
#[derive(Default)]
struct Found {
    heard: usize,
    worst: Option<Randomness>,
    fresh: u64,
    connected: u64,
}

impl Found {
    fn add(&mut self, seen: Randomness) {
        self.heard += seen.n;
        let worse =
            |kept: &Randomness| (seen.distinct * kept.n, seen.bits) < (kept.distinct * seen.n, kept.bits);
        if self.worst.as_ref().is_none_or(worse) {
            self.worst = Some(seen);
        }
    }
}

impl std::fmt::Display for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(worst) = &self.worst {
            write!(
                f,
                "{} questions heard at the probe zone; at worst {} of {} ports differ, spread over {:.1} bits; ",
                self.heard, worst.distinct, worst.n, worst.bits
            )?;
        }
        if self.connected > 0 {
            write!(f, "{} questions to upstreams over TCP or TLS; ", self.connected)?;
        }
        if self.connected > 0 && self.fresh == 0 {
            return f.write_str("none to them over UDP");
        }
        write!(
            f,
            "{} questions to upstreams, each from a fresh socket",
            self.fresh
        )
    }
}

/// Probes that were not planned: the round is bounded, or the pod shows no metrics.
fn uncovered(ledger: &mut Ledger<'_>, dossier: &Dossier, joined: &[Joined<'_>]) {
    let planned = |aim: Aim, place: &Place| {
        let mut steps = joined.iter();
        steps.any(|step| step.purpose.aim == aim && step.purpose.place == *place)
    };
    for pod in &dossier.pods {
        let place = Place::Pod(pod.label.clone());
        if !planned(Aim::Upstreams, &place) {
            ledger.unplanned(Aim::Upstreams, &place);
        }
        for aim in [Aim::Metrics, Aim::MetricsAfter] {
            if !planned(aim, &place) {
                ledger.doubt(
                    format!("{aim} of {place} were not part of the round"),
                    dossier.open_metrics(),
                    None,
                );
            }
        }
    }
    if matches!(dossier.zone, Availability::Present) {
        for place in dossier.resolving() {
            if !planned(Aim::Ports, &place) {
                ledger.unplanned(Aim::Ports, &place);
            }
        }
    }
}

fn judge_series(
    ledger: &mut Ledger<'_>,
    dossier: &Dossier,
    step: &Joined<'_>,
    resolvers: &BTreeSet<IpAddr>,
    found: &mut Found,
) {
    if !ledger.was_made(step) {
        return;
    }
    for (index, observation) in &step.seen {
        match &observation.saw {
            Saw::Series(tally) => match dossier.heard.get(&step.probe.id) {
                Some(heard) => judge_heard(ledger, dossier, step, *index, (tally, heard), resolvers, found),
                None => ledger.doubt(
                    format!("what the probe zone heard of {} is not known", step.purpose.place),
                    "It is asked for once after a series; the next round asks again.".to_owned(),
                    Some(*index),
                ),
            },
            Saw::Nothing(failure) => ledger.silent(step, *index, *failure),
            Saw::Answer(_) | Saw::Metrics(_) | Saw::Root(_) => {
                ledger.silent(step, *index, Failure::Malformed);
            }
        }
    }
}

fn judge_heard(
    ledger: &mut Ledger<'_>,
    dossier: &Dossier,
    step: &Joined<'_>,
    index: usize,
    (tally, heard): (&Tally, &Heard),
    resolvers: &BTreeSet<IpAddr>,
    found: &mut Found,
) {
    let place = &step.purpose.place;
    if lost_too_many(tally) {
        ledger.doubt(
            format!(
                "{} of {} questions {} failed",
                tally.failed(),
                tally.asked(),
                step.at()
            ),
            "Look for what drops questions between the pod and the probe zone: a NAT without free ports, \
             `max_concurrent`, a rate limit, or a Corefile that does not lead the zone there yet."
                .to_owned(),
            Some(index),
        );
    }
    if heard.askers.is_empty() {
        ledger.doubt(
            format!("no question of {place} reached the probe zone"),
            format!(
                "{} If this stays, look at the flow from the pods to the Service tsutsumi-probe-zone.",
                led_there(place)
            ),
            Some(index),
        );
    }
    for asker in &heard.askers {
        if asker.ports.len() < MINIMUM && resolvers.contains(&asker.address) {
            ledger.good(index);
            continue;
        }
        let whose = if dossier.is_pod(asker.address) {
            Whose::Pod
        } else {
            Whose::Other
        };
        judge_asker(
            ledger,
            (place, whose),
            index,
            usize::from(tally.failed()),
            asker,
            found,
        );
    }
}

/// What leads the probe zone's names there, and when.
const fn led_there(place: &Place) -> &'static str {
    match place {
        Place::Resolver(_) => {
            "A managed resolver is started with the zone's address; one that is older is replaced."
        }
        _ => {
            "The Corefile has to lead the zone to its server: `mode: Enforce` writes that, and a pod needs up to two \
             minutes to load it."
        }
    }
}

/// Who chose a port that the zone heard.
#[derive(Clone, Copy)]
enum Whose {
    /// The pod itself.
    Pod,
    /// A resolver behind it, or what translates addresses.
    Other,
}

fn judge_asker(
    ledger: &mut Ledger<'_>,
    (place, whose): (&Place, Whose),
    index: usize,
    failures: usize,
    asker: &Asker,
    found: &mut Found,
) {
    let from = format!("{place}, heard as {}", asker.address);
    let seen = match Sample::new(&asker.ports, failures) {
        Ok(sample) => sample.randomness(),
        Err(inconclusive) => {
            let over = match asker.over_tcp {
                0 => String::new(),
                count => format!(", and {} over TCP", counted(usize::from(count), "question")),
            };
            return ledger.doubt(
                format!("{from}: {inconclusive}{over}"),
                "Too few questions over UDP arrived to judge their ports; the next round asks again."
                    .to_owned(),
                Some(index),
            );
        }
    };
    // As many as the ports, so that they can be judged where those can.
    let ids = Ids::of(&asker.ids, failures).ok();
    for (ids, flaw) in ids
        .iter()
        .flat_map(|ids| ids.flaws().into_iter().map(move |flaw| (ids, flaw)))
    {
        ledger.fail(
            format!("{from}: {}", ids.sentence(flaw)),
            "The ids of questions can be guessed: update the resolver, or take away what rewrites them on the way."
                .to_owned(),
            Some(index),
        );
    }
    for flaw in seen.flaws() {
        ledger.fail(
            format!("{from}: {}", seen.sentence(flaw)),
            cure(flaw, whose).to_owned(),
            Some(index),
        );
    }
    ledger.good(index);
    found.add(seen);
}

const fn cure(flaw: Flaw, whose: Whose) -> &'static str {
    match (flaw, whose) {
        (Flaw::FewDistinct | Flaw::Repeats, Whose::Other) => {
            "Ports are used again, so one once seen can be used against the next question. Whoever asks there is no pod \
             of cluster DNS: let the resolver behind it choose a port for each question (no `query-source … port`, no small \
             range of ports), and give a NAT on the way more of them."
        }
        (Flaw::FewDistinct | Flaw::Repeats, Whose::Pod) => {
            "Sockets are used again, so a port once seen can be used against the next question. With `mode: Enforce` \
             the policy writes `expire 0s` into every `forward`; where that stands, a NAT on the way gives few ports."
        }
        (Flaw::NarrowSpread, Whose::Other) => {
            "The range of ports is too small to be hard to guess: widen that of the resolver behind the pod, or the block \
             of ports that a NAT on the way may use."
        }
        (Flaw::NarrowSpread, Whose::Pod) => {
            "The range of ports is too small to be hard to guess: widen `net.ipv4.ip_local_port_range` where the pod \
             runs, or the block of ports that a NAT on the way may use."
        }
        (Flaw::ConstantStep | Flaw::ClusteredStep | Flaw::Correlated, _) => {
            "A port tells the next one: something on the way counts. Look for a NAT without random ports, for example \
             masquerading without `--random-fully`."
        }
    }
}

#[cfg(test)]
mod tests;
