//! How a judge adds up: what failed, what is in doubt, what was well.
//!
//! One failure decides, else one doubt does, and only what is left is a pass. A control without a single good
//! observation is in doubt, whatever else is true.

use std::collections::BTreeSet;

use tsutsumi_model::{ControlState, Failure, Verdict};

use crate::{
    Availability, Control, Dossier,
    dossier::{Cell, Joined},
    round::{Aim, Place},
    text::{EXPECTED_MAX, MESSAGE_MAX, OBSERVED_MAX, bounded, listed},
};

/// How many observations a verdict refers to at most: evidence is kept in a ConfigMap, which holds 1 MiB.
pub const MAX_DECIDING: usize = 128;

/// What to do where a round does not reach.
const BOUNDED: &str = "A round probes a bounded number of addresses; what is beyond it stays unproven. Serve DNS from \
                       fewer pods and addresses, or wait for the next round if one was just added.";

/// A verdict and the observations that decided it.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    /// The verdict.
    pub verdict: Verdict,
    /// Indexes into the dossier's observations, sorted; at most [`MAX_DECIDING`].
    pub deciding: Vec<usize>,
}

/// The observations of a step: the probe's number first, so that the order of the observations plays no part.
type Seen = BTreeSet<(u32, usize)>;

#[derive(Default)]
struct Side {
    facts: BTreeSet<String>,
    cures: BTreeSet<String>,
    seen: Seen,
}

/// The findings of one judge.
pub(crate) struct Ledger<'a> {
    control: &'static Control,
    dossier: &'a Dossier,
    fails: Side,
    doubts: Side,
    good: Seen,
    notes: BTreeSet<String>,
}

impl<'a> Ledger<'a> {
    pub(crate) fn new(control: &'static Control, dossier: &'a Dossier) -> Self {
        Self {
            control,
            dossier,
            fails: Side::default(),
            doubts: Side::default(),
            good: Seen::new(),
            notes: BTreeSet::new(),
        }
    }

    /// The property was seen violated.
    pub(crate) fn fail(&mut self, fact: String, cure: String, seen: Option<usize>) {
        Self::add(self.dossier, &mut self.fails, fact, cure, seen);
    }

    /// It cannot be told.
    pub(crate) fn doubt(&mut self, fact: String, cure: String, seen: Option<usize>) {
        Self::add(self.dossier, &mut self.doubts, fact, cure, seen);
    }

    /// The property was seen to hold.
    pub(crate) fn good(&mut self, seen: usize) {
        self.good.extend(key(self.dossier, seen));
    }

    /// Something worth reading beside whatever was seen.
    pub(crate) fn note(&mut self, note: String) {
        self.notes.insert(note);
    }

    /// A step without an observation. True if there is one.
    pub(crate) fn was_made(&mut self, joined: &Joined<'_>) -> bool {
        if joined.seen.is_empty() {
            self.doubt(
                format!("{} {} was not seen", joined.purpose.aim, joined.at()),
                "The round was cut short; the next one asks again. If this stays, look at the prober: \
                 `kubectl get pods -A -l app.kubernetes.io/component=prober`."
                    .to_owned(),
                None,
            );
        }
        !joined.seen.is_empty()
    }

    /// Cells that no step covers: the round holds a bounded number of probes, or the cluster changed meanwhile.
    pub(crate) fn uncovered(&mut self, needed: &[Cell], joined: &[Joined<'_>]) {
        let planned: BTreeSet<Cell> = joined.iter().filter_map(Joined::cell).collect();
        for cell in needed.iter().filter(|cell| !planned.contains(cell)) {
            self.doubt(
                format!("{} ({}) was not part of the round", cell.place, cell.endpoint),
                BOUNDED.to_owned(),
                None,
            );
        }
    }

    /// A probe that no step makes: the round holds a bounded number, or the cluster changed meanwhile.
    pub(crate) fn unplanned(&mut self, aim: Aim, place: &Place) {
        self.doubt(
            format!("{aim} was not part of the round at {place}"),
            BOUNDED.to_owned(),
            None,
        );
    }

    /// Whether there is a prober at the vantage; a doubt if not.
    pub(crate) fn has_vantage(&mut self, vantage: tsutsumi_model::Vantage) -> bool {
        let Availability::Missing(why) = self.dossier.availability(vantage) else {
            return true;
        };
        self.doubt(format!("nothing was seen from {vantage}"), sentence(why), None);
        false
    }

    /// No answer where one was expected, at a pod that may not be ready.
    pub(crate) fn silent(&mut self, joined: &Joined<'_>, index: usize, failure: Failure) {
        let place = &joined.purpose.place;
        let cure = match failure {
            Failure::NotPermitted => {
                "The prober's egress rules do not let it go there: allow the address in the chart's values."
                    .to_owned()
            }
            Failure::Unfinished => {
                "The round had too little time; the next one asks again. If this stays, lengthen \
                 `verification.interval`."
                    .to_owned()
            }
            Failure::Unreachable => {
                format!(
                    "Give the prober a route to the addresses of {place}, of both families where there are two."
                )
            }
            _ if self.dossier.is_not_ready(place) => format!(
                "{place} is not ready, so it says nothing about the others: `kubectl -n {} describe {}`.",
                self.dossier.target.namespace, self.dossier.target.workload
            ),
            _ => format!(
                "One question is asked once; if the next round sees the same, look at `kubectl -n {} logs {}`.",
                self.dossier.target.namespace, self.dossier.target.workload
            ),
        };
        self.doubt(
            format!(
                "no answer to {} {}: {}",
                joined.purpose.aim,
                joined.at(),
                failure_words(failure)
            ),
            cure,
            Some(index),
        );
    }

    /// The judgement, with what to say where all was well.
    pub(crate) fn close(self, expected: &str, well: &str, message: &str) -> Judgement {
        let (state, side) = if !self.fails.facts.is_empty() {
            (ControlState::Fail, &self.fails)
        } else if self.doubts.facts.is_empty() && !self.good.is_empty() {
            (
                ControlState::Pass,
                &Side {
                    seen: self.good.clone(),
                    ..Side::default()
                },
            )
        } else {
            (ControlState::Indeterminate, &self.doubts)
        };
        let (mut observed, mut message) = match state {
            ControlState::Pass => (well.to_owned(), message.to_owned()),
            _ if side.facts.is_empty() => (
                "nothing was observed".to_owned(),
                "No DNS pod was found that could be probed; the policy's conditions say why.".to_owned(),
            ),
            _ => (listed(&side.facts), join(&side.cures)),
        };
        if state == ControlState::Fail && !self.doubts.facts.is_empty() {
            observed = format!("{observed}. In doubt: {}", listed(&self.doubts.facts));
        }
        if !self.notes.is_empty() {
            message = format!("{message} {}", join(&self.notes));
        }
        let mut deciding: Vec<usize> = side
            .seen
            .iter()
            .take(MAX_DECIDING)
            .map(|(_, index)| *index)
            .collect();
        deciding.sort_unstable();
        let vantages: BTreeSet<_> = deciding
            .iter()
            .filter_map(|index| self.dossier.observations.get(*index))
            .map(|observation| observation.vantage)
            .collect();
        Judgement {
            verdict: Verdict {
                control: self.control.id,
                state,
                expected: bounded(expected, EXPECTED_MAX),
                observed: bounded(&observed, OBSERVED_MAX),
                message: bounded(&message, MESSAGE_MAX),
                vantages: vantages.into_iter().collect(),
            },
            deciding,
        }
    }

    fn add(dossier: &Dossier, side: &mut Side, fact: String, cure: String, seen: Option<usize>) {
        side.facts.insert(fact);
        side.cures.insert(cure);
        side.seen.extend(seen.and_then(|index| key(dossier, index)));
    }
}

/// The result of a control that the policy does not ask for.
pub(crate) fn not_asked(control: &'static Control, section: &str) -> Judgement {
    Judgement {
        verdict: Verdict {
            control: control.id,
            state: ControlState::NotApplicable,
            expected: "nothing: nobody asked for it".to_owned(),
            observed: format!("the policy has no `{section}`"),
            message: format!("Add `{section}` to the policy to have this enforced and proven."),
            vantages: Vec::new(),
        },
        deciding: Vec::new(),
    }
}

/// Why nothing came, in words.
const fn failure_words(failure: Failure) -> &'static str {
    match failure {
        Failure::Closed => "the connection was closed without an answer",
        Failure::ConnectionRefused => "connection refused",
        Failure::Malformed => "what came back was no answer to the question",
        Failure::NotPermitted => "the prober may not go there",
        Failure::Timeout => "silence",
        Failure::Unanswered => "the connection was taken, and silence followed",
        Failure::Unfinished => "the time for the round ran out",
        Failure::Unreachable => "unreachable for the prober",
    }
}

fn key(dossier: &Dossier, index: usize) -> Option<(u32, usize)> {
    dossier
        .observations
        .get(index)
        .map(|observation| (observation.probe.id, index))
}

fn join(sentences: &BTreeSet<String>) -> String {
    sentences.iter().map(String::as_str).collect::<Vec<_>>().join(" ")
}

/// The text as a sentence of its own.
pub(crate) fn sentence(text: &str) -> String {
    let text = text.trim_end_matches('.');
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| {
        format!("{}{}.", first.to_uppercase(), chars.as_str())
    })
}
