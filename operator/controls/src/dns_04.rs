//! `DNS-04`: source ports cannot be guessed after NAT.
//!
//! A probe zone outside hears from which ports the pods' questions arrive, behind whatever translates addresses on the
//! way (RFC 5452, 10). Its list must pass the tests of `DNS-03`, and it is compared with what the zone inside heard of
//! the same pod, be it one of cluster DNS or of the managed resolver behind it. Questions that are lost are counted and not
//! asked again: a NAT without free ports loses them.

use std::{collections::BTreeSet, net::IpAddr};

use tsutsumi_model::{Asker, ControlId, Failure, Heard, Saw, Tally, Vantage};

use crate::{
    Availability, Control, Dossier, Judgement, Level,
    dossier::Joined,
    ledger::{Ledger, not_asked, sentence},
    randomness::{Flaw, Passage, Randomness, Sample, compare, lost_too_many, small_block},
    round::{Aim, Place},
};

/// The control.
pub const CONTROL: Control = Control {
    id: ControlId::Dns04,
    title_en: "Source ports cannot be guessed after NAT",
    title_ja: "NAT通過後も送信元UDPポート番号をランダムに保つ",
    clause: "MIC guideline 6.5 (1) note 2",
    requirement: &["R10"],
    level: Level::Informative,
    enforced_by: "nothing of ours: a NAT belongs to whoever runs it",
    proven_by: "the ports from which a probe zone outside the cluster hears every pod of cluster DNS, or of the managed \
                resolver behind it, ask 256 names, compared with those that the zone inside hears",
    remedy: "Let the NAT keep the ports or choose them at random from a range as wide (`masquerade fully-random` in \
             nftables, `--random-fully` in iptables), or let resolvers go out without it.",
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
        let outside = is_there(
            &mut ledger,
            &dossier.zone_outside,
            "no probe zone outside hears the pods ask",
        );
        let inside = is_there(
            &mut ledger,
            &dossier.zone,
            "no probe zone inside hears the pods ask, so nothing can be compared",
        );
        if outside && inside {
            let resolvers = Resolvers {
                inside: dossier.askers_for_resolvers(Aim::Ports),
                outside: dossier.askers_for_resolvers(Aim::PortsOutside),
            };
            for place in dossier.resolving() {
                judge_place(&mut ledger, dossier, &joined, &place, &resolvers, &mut found);
            }
        }
    }
    ledger.close(
        "from every pod, heard outside: ports that differ and neither step, repeat nor follow each other, over at least 10 \
         bits and less than 2 bits fewer than inside; at most 1 in 20 questions lost",
        &found.to_string(),
        "What lies between the pods and the zone outside leaves the ports as hard to guess as they were.",
    )
}

/// Whether there is a zone; a doubt if not.
fn is_there(ledger: &mut Ledger<'_>, zone: &Availability, fact: &str) -> bool {
    match zone {
        Availability::Present => true,
        Availability::Missing(why) => {
            ledger.doubt(fact.to_owned(), sentence(why), None);
            false
        }
    }
}

/// Who asks the zones for the managed resolver and is judged by its own series.
struct Resolvers {
    inside: BTreeSet<IpAddr>,
    outside: BTreeSet<IpAddr>,
}

fn judge_place(
    ledger: &mut Ledger<'_>,
    dossier: &Dossier,
    joined: &[Joined<'_>],
    place: &Place,
    resolvers: &Resolvers,
    found: &mut Found,
) {
    let inside = series(ledger, dossier, joined, place, Aim::Ports);
    let outside = series(ledger, dossier, joined, place, Aim::PortsOutside);
    let (Some(inside), Some(outside)) = (inside, outside) else {
        return;
    };
    found.lost += u32::from(outside.tally.failed());
    lost(ledger, place, &inside, &outside);
    let before = inside.narrowest();
    // An address outside tells nothing of who asks: only where others are heard to ask for the pod may it be theirs.
    let judged = inside.is_of(&resolvers.inside).then_some(&resolvers.outside);
    if before.is_none() && judged.is_none() {
        return ledger.doubt(
            format!("too few questions of {place} reached the probe zone inside to compare with"),
            "DNS-03 says what is missing there.".to_owned(),
            Some(inside.index),
        );
    }
    if outside.heard.askers.is_empty() {
        ledger.doubt(
            format!("no question of {place} reached the probe zone outside"),
            "The Corefile has to lead the zone to its address: `mode: Enforce` writes that, and a pod needs up to two \
             minutes to load it. If this stays, look at the firewalls on the way, and at `--allow` of the zone outside: \
             it has to name the address behind the NAT."
                .to_owned(),
            Some(outside.index),
        );
    }
    for asker in &outside.heard.askers {
        judge_asker(ledger, place, &outside, asker, (before.as_ref(), judged), found);
    }
}

/// A series of a pod and what the zone heard of it.
struct Told<'a> {
    index: usize,
    tally: &'a Tally,
    heard: &'a Heard,
}

impl Told<'_> {
    /// Whether all who ask for the pod are among these.
    fn is_of(&self, known: &BTreeSet<IpAddr>) -> bool {
        let mut askers = self.heard.askers.iter();
        !self.heard.askers.is_empty() && askers.all(|asker| known.contains(&asker.address))
    }

    /// Of those who ask for the pod, whoever uses the fewest ports: nothing tells which of them is heard outside.
    fn narrowest(&self) -> Option<Randomness> {
        let askers = self.heard.askers.iter();
        let samples = askers.filter_map(|asker| Sample::new(&asker.ports, 0).ok());
        samples
            .map(|sample| sample.randomness())
            .min_by(|one, other| one.bits.total_cmp(&other.bits))
    }
}

/// The series of a pod with this aim; a doubt where it or what was heard of it is missing.
fn series<'a>(
    ledger: &mut Ledger<'_>,
    dossier: &'a Dossier,
    joined: &[Joined<'a>],
    place: &Place,
    aim: Aim,
) -> Option<Told<'a>> {
    let step = joined
        .iter()
        .find(|step| step.purpose.aim == aim && step.purpose.place == *place);
    let Some(step) = step else {
        ledger.unplanned(aim, place);
        return None;
    };
    if !ledger.was_made(step) {
        return None;
    }
    let (index, observation) = *step.seen.first()?;
    let failure = match &observation.saw {
        Saw::Series(tally) => {
            if let Some(heard) = dossier.heard.get(&step.probe.id) {
                return Some(Told { index, tally, heard });
            }
            ledger.doubt(
                format!("what was heard of {aim} of {place} is not known"),
                "It is asked for once after a series; the next round asks again.".to_owned(),
                Some(index),
            );
            return None;
        }
        Saw::Nothing(failure) => *failure,
        Saw::Answer(_) | Saw::Metrics(_) | Saw::Root(_) => Failure::Malformed,
    };
    ledger.silent(step, index, failure);
    None
}

/// Questions to the zone outside that came to nothing.
fn lost(ledger: &mut Ledger<'_>, place: &Place, inside: &Told<'_>, outside: &Told<'_>) {
    if !lost_too_many(outside.tally) {
        return;
    }
    ledger.doubt(
        format!(
            "{} of {} questions of {place} to the zone outside failed, {} of {} to the zone inside",
            outside.tally.failed(),
            outside.tally.asked(),
            inside.tally.failed(),
            inside.tally.asked()
        ),
        "A NAT without free ports loses questions: give it more ports or addresses. Look also for what else drops them on \
         the way: a firewall, a rate limit, or a Corefile that does not lead the zone there yet."
            .to_owned(),
        Some(outside.index),
    );
}

fn judge_asker(
    ledger: &mut Ledger<'_>,
    place: &Place,
    outside: &Told<'_>,
    asker: &Asker,
    (before, judged): (Option<&Randomness>, Option<&BTreeSet<IpAddr>>),
    found: &mut Found,
) {
    let index = Some(outside.index);
    let from = format!("{place}, heard outside as {}", asker.address);
    let failures = outside.tally.failed();
    let lost = match failures {
        0 => String::new(),
        count => format!(", {count} of {} questions failed", outside.tally.asked()),
    };
    let seen = match Sample::new(&asker.ports, usize::from(failures)) {
        Ok(sample) => sample.randomness(),
        Err(inconclusive) => {
            return match small_block(&asker.ports) {
                Some((lowest, highest)) => ledger.fail(
                    format!(
                        "{from}: all {} ports that arrived lie in {lowest} to {highest}{lost}",
                        asker.ports.len()
                    ),
                    cure(Flaw::NarrowSpread).to_owned(),
                    index,
                ),
                None if judged.is_some_and(|judged| judged.contains(&asker.address)) => {
                    ledger.good(outside.index);
                }
                None => ledger.doubt(
                    format!("{from}: {inconclusive}"),
                    "Too few questions over UDP arrived to judge their ports; the next round asks again."
                        .to_owned(),
                    index,
                ),
            };
        }
    };
    let passage = before.map(|before| (before, compare(before, &seen)));
    let flaws = seen.flaws();
    for flaw in &flaws {
        ledger.fail(
            format!("{from}: {}{lost}", seen.sentence(*flaw)),
            match passage {
                Some((_, Passage::BadInside)) => {
                    "The ports are bad at the resolver already: mend DNS-03 first."
                }
                Some((_, Passage::Preserved | Passage::Undone)) | None => cure(*flaw),
            }
            .to_owned(),
            index,
        );
    }
    if let Some((before, Passage::Undone)) = passage
        && flaws.is_empty()
    {
        ledger.fail(
            format!(
                "{from}: ports spread over {:.1} bits, and over {:.1} inside",
                seen.bits, before.bits
            ),
            format!("The NAT undoes the randomisation. {}", cure(Flaw::NarrowSpread)),
            index,
        );
    }
    ledger.good(outside.index);
    found.add(seen, before.copied());
}

const fn cure(flaw: Flaw) -> &'static str {
    match flaw {
        Flaw::NarrowSpread | Flaw::FewDistinct => {
            "The NAT draws from too few ports: give it a block as wide as the resolver's own range, or let resolvers go out \
             without it. Cloud NATs have a setting for the ports of each machine."
        }
        Flaw::ConstantStep | Flaw::ClusteredStep | Flaw::Correlated => {
            "A port tells the next one: the NAT counts. Let it choose at random: `masquerade fully-random` in nftables, \
             `--random-fully` in iptables, or the setting of your network plugin."
        }
        Flaw::Repeats => {
            "The NAT gives one port again and again: let it map each question by itself, at random."
        }
    }
}

/// The worst of what was heard outside, with what was heard inside of the same pod.
#[derive(Default)]
struct Found {
    heard: usize,
    lost: u32,
    worst: Option<(Randomness, Option<Randomness>)>,
}

impl Found {
    fn add(&mut self, seen: Randomness, before: Option<Randomness>) {
        self.heard += seen.n;
        let worse =
            |kept: &Randomness| (seen.distinct * kept.n, seen.bits) < (kept.distinct * seen.n, kept.bits);
        if self.worst.as_ref().is_none_or(|(kept, _)| worse(kept)) {
            self.worst = Some((seen, before));
        }
    }
}

impl std::fmt::Display for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} questions heard outside, {} lost", self.heard, self.lost)?;
        if let Some((seen, before)) = &self.worst {
            write!(
                f,
                "; at worst {} of {} ports differ, spread over {:.1} bits",
                seen.distinct, seen.n, seen.bits
            )?;
            if let Some(before) = before {
                write!(f, ", and over {:.1} inside", before.bits)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
