//! `DNS-01`: only internal clients are answered.
//!
//! Proven from outside at every address that leads to a DNS pod, over every transport, with names that are fresh, names
//! that are cached, type ANY and class CHAOS; and from inside, because a resolver that answers nobody is no success.
//! Versions differ in what `acl` guards: see `plugin.cfg` of CoreDNS 1.14.1, 1.14.2 and 1.14.7.

use std::collections::{BTreeMap, BTreeSet};

use tsutsumi_model::{ClientAddress, ControlId, Endpoint, Failure, Rcode, Saw, Transport, Vantage};

use crate::{
    Control, Dossier, Judgement, Level, Others,
    dossier::{Joined, exposure_cells, pod_cells},
    ledger::{Ledger, not_asked},
    outcome::{Outside, brief, outside, reached, served},
    round::{Aim, Place, Warmed},
    text::counted,
};

/// The control.
pub const CONTROL: Control = Control {
    id: ControlId::Dns01,
    title_en: "Only internal clients are answered",
    title_ja: "内部の利用者からの問合せだけに応答する",
    clause: "MIC guideline 6.5 (1) note 2",
    requirement: &["R5", "R6"],
    level: Level::Mandatory,
    enforced_by: "`acl` in every server block, ending in `block` or `drop`",
    proven_by: "questions from outside at every pod and exposed address, with fresh and cached names, ANY and CHAOS; \
                and from inside at every pod",
    remedy: "Enforce the policy's `clients`, close or repair the exposure that is named, update CoreDNS.",
};

/// What the outside asks at every address.
const OUTSIDE: [Aim; 4] = [
    Aim::OutsideFresh,
    Aim::OutsideWarmed(Warmed::Cluster),
    Aim::OutsideAny,
    Aim::OutsideChaos,
];

/// Judges it.
#[must_use]
pub fn judge(dossier: &Dossier) -> Judgement {
    let Some(others) = dossier.asked.clients else {
        return not_asked(&CONTROL, "clients");
    };
    let mut ledger = Ledger::new(&CONTROL, dossier);
    let joined = dossier.joined();

    if ledger.has_vantage(Vantage::Outside) {
        let both = OUTSIDE.map(|aim| [(aim, Transport::Udp), (aim, Transport::Tcp)]);
        ledger.uncovered(&pod_cells(&dossier.pods, both.as_flattened()), &joined);
        ledger.uncovered(&exposure_cells(&dossier.exposures, &OUTSIDE), &joined);
    }
    let turned = judge_outside(&mut ledger, dossier, &joined);
    judge_reach(&mut ledger, dossier, &joined);
    if ledger.has_vantage(Vantage::Inside) {
        let served = [
            (Aim::InsideServed, Transport::Udp),
            (Aim::InsideServed, Transport::Tcp),
        ];
        ledger.uncovered(&pod_cells(&dossier.pods, &served), &joined);
    }
    judge_inside(&mut ledger, dossier, &joined);
    judge_warmth(&mut ledger, dossier, &joined);
    judge_exposures(&mut ledger, dossier);
    judge_versions(&mut ledger, dossier);

    let expected = format!(
        "from outside {} to every question at every DNS pod and exposed address, for fresh and cached names, ANY and \
         CH TXT, over UDP and TCP; from inside an answer at every pod",
        match others {
            Others::Refuse => "REFUSED (or silence)",
            Others::Drop => "silence (or REFUSED)",
        }
    );
    let well = format!(
        "{} from outside at {} and {}: {} REFUSED, {} without an answer; every pod answers from inside",
        counted(turned.refused + turned.silent, "question"),
        counted(dossier.pods.len(), "pod"),
        counted(dossier.exposures.len(), "exposure"),
        turned.refused,
        turned.silent,
    );
    ledger.close(
        &expected,
        &well,
        "Nobody outside the policy's `clients` is answered.",
    )
}

/// How often the outside was turned away, and how.
#[derive(Default)]
struct TurnedAway {
    refused: usize,
    silent: usize,
}

/// Whether somebody outside asks cluster DNS, and not another resolver.
fn is_asked_by_outsiders(step: &Joined<'_>) -> bool {
    step.purpose.aim.vantage() == Vantage::Outside && !matches!(step.purpose.place, Place::Foreign(_))
}

fn judge_outside(ledger: &mut Ledger<'_>, dossier: &Dossier, joined: &[Joined<'_>]) -> TurnedAway {
    let mut count = TurnedAway::default();
    let asked = || joined.iter().filter(|step| is_asked_by_outsiders(step));
    let open: BTreeSet<&Place> = asked()
        .filter(|step| !matches!(step.purpose.aim, Aim::OutsideAny | Aim::OutsideChaos))
        .filter(|step| {
            let mut fared = step
                .seen
                .iter()
                .map(|(_, seen)| outside(&step.purpose.place, &seen.saw));
            fared.any(|fared| matches!(fared, Outside::Answered(_)))
        })
        .map(|step| &step.purpose.place)
        .collect();
    for step in asked() {
        if !ledger.was_made(step) {
            continue;
        }
        for (index, observation) in &step.seen {
            match outside(&step.purpose.place, &observation.saw) {
                Outside::Refused => {
                    count.refused += 1;
                    ledger.good(*index);
                }
                Outside::Silent => {
                    count.silent += 1;
                    ledger.good(*index);
                }
                Outside::Answered(words) => {
                    let fact = format!("{words} to {} {}", step.purpose.aim, step.at());
                    let open = open.contains(&step.purpose.place);
                    ledger.fail(fact, cure(dossier, step, open), Some(*index));
                }
                Outside::Unclear(failure) => ledger.silent(step, *index, failure),
            }
        }
    }
    count
}

/// Silence proves something only from a prober that gets there: every exposure must show at one of its addresses that it
/// was reached. The addresses of pods are rarely routed; where nothing leads in from outside, not to reach them is how it
/// should be, and it is said.
fn judge_reach(ledger: &mut Ledger<'_>, dossier: &Dossier, joined: &[Joined<'_>]) {
    let mut seen: BTreeMap<&Place, Vec<(usize, bool)>> = BTreeMap::new();
    for step in joined {
        if is_asked_by_outsiders(step) {
            let found = step.seen.iter().map(|(index, seen)| (*index, reached(&seen.saw)));
            seen.entry(&step.purpose.place).or_default().extend(found);
        }
    }
    let nowhere = !seen.values().flatten().any(|(_, reached)| *reached);
    if nowhere && !seen.is_empty() && dossier.exposures.is_empty() {
        ledger.note(
            "Nothing leads in from outside, and the prober there reaches no pod: what keeps it away is the network, \
             and `acl` was not put to the test from outside."
                .to_owned(),
        );
    }
    for (place, found) in &seen {
        let Place::Exposure(object) = place else { continue };
        if found.iter().any(|(_, reached)| *reached) {
            continue;
        }
        let fact = format!("nothing shows that the prober outside reaches {object}");
        for (index, _) in found {
            ledger.doubt(fact.clone(), unreached(dossier, object), Some(*index));
        }
    }
}

/// What to do where no address of an exposure gave a sign.
fn unreached(dossier: &Dossier, object: &str) -> String {
    let mut transports = dossier
        .exposures
        .iter()
        .filter(|exposure| exposure.object == object)
        .flat_map(|exposure| &exposure.transports);
    let hint = match dossier.asked.clients {
        Some(Others::Drop) if !transports.any(|transport| *transport == Transport::Tcp) => {
            " Over UDP alone `others: Drop` leaves no sign by which to tell: `others: Refuse` does."
        }
        _ => "",
    };
    format!(
        "At no address of {object} anything came back and no connection was taken, so that its silence proves nothing: \
         look at the routes and the firewalls between the prober's host and these addresses, or remove {object} if \
         nobody is to reach it.{hint}"
    )
}

/// What to do where the outside was answered; `open` says that it is answered to ordinary questions there.
fn cure(dossier: &Dossier, step: &Joined<'_>, open: bool) -> String {
    let target = &dossier.target;
    let leak = dossier
        .versions
        .iter()
        .find_map(|known| known.acl_leak.as_ref().map(|leak| (known, leak)));
    match (step.purpose.aim, leak) {
        (Aim::OutsideWarmed(_), Some((known, leak))) => format!(
            "CoreDNS {} leaks although `acl` is there: {}. Fixed in {}: `kubectl -n {} set image {} '*=IMAGE'` with an \
             image of that version or a later one.",
            known.running, leak.how, leak.fixed_in, target.namespace, target.workload
        ),
        (aim @ (Aim::OutsideAny | Aim::OutsideChaos), _) if !open => format!(
            "Only {aim} is answered: the plugin `{}` answers before `acl` is asked (CoreDNS 1.14.2 and later). Remove \
             it with `kubectl -n {} edit configmap {}`.",
            if aim == Aim::OutsideAny { "any" } else { "chaos" },
            target.namespace,
            target.config_map
        ),
        _ => format!(
            "Anybody is answered. With `mode: Enforce` the policy writes `acl` into configmap {}/{}; `kubectl describe \
             resolverpolicy` shows what is yet to be written and why. If the prober's own address is among `clients`, \
             it is not outside: move it.",
            target.namespace, target.config_map
        ),
    }
}

/// A pod that refuses a client inside locks it out; one that answers nothing at an address does not serve it. A single
/// lost question is only a doubt.
fn judge_inside(ledger: &mut Ledger<'_>, dossier: &Dossier, joined: &[Joined<'_>]) {
    let mut silent: BTreeMap<(&Place, Endpoint), (usize, usize)> = BTreeMap::new();
    for step in joined.iter().filter(|step| step.purpose.aim == Aim::InsideServed) {
        let address = step.cell().map(|cell| (&step.purpose.place, cell.endpoint));
        let tally = address.map(|address| silent.entry(address).or_default());
        let lost = !step.seen.is_empty()
            && step.seen.iter().all(|(_, seen)| {
                matches!(
                    seen.saw,
                    Saw::Nothing(
                        Failure::Closed | Failure::ConnectionRefused | Failure::Timeout | Failure::Unanswered
                    )
                )
            });
        if let Some((asked, unanswered)) = tally {
            *asked += 1;
            *unanswered += usize::from(lost);
        }
        if !ledger.was_made(step) {
            continue;
        }
        for (index, observation) in &step.seen {
            match &observation.saw {
                Saw::Answer(answer) if served(answer) => ledger.good(*index),
                Saw::Answer(answer) if answer.rcode == Rcode::REFUSED => ledger.fail(
                    format!("REFUSED to {} from inside, {}", step.purpose.aim, step.at()),
                    format!(
                        "A client inside is locked out: add the prober's range to `clients.cidrs`, or see the rules with \
                         `kubectl -n {} get configmap {} -o yaml`.",
                        dossier.target.namespace, dossier.target.config_map
                    ),
                    Some(*index),
                ),
                Saw::Answer(answer) => ledger.doubt(
                    format!("{} to {} from inside, {}", brief(answer), step.purpose.aim, step.at()),
                    format!(
                        "The name of the cluster's own API does not resolve: `kubectl -n {} logs {}`.",
                        dossier.target.namespace, dossier.target.workload
                    ),
                    Some(*index),
                ),
                Saw::Nothing(failure) => ledger.silent(step, *index, *failure),
                Saw::Metrics(_) | Saw::Root(_) | Saw::Series(_) => ledger.silent(step, *index, Failure::Malformed),
            }
        }
    }
    for ((place, endpoint), (asked, unanswered)) in silent {
        if asked == unanswered && !dossier.is_not_ready(place) {
            ledger.fail(
                format!("{place} ({endpoint}) answers nobody inside, though it counts as ready"),
                format!(
                    "Look at `kubectl -n {} logs {}`, and whether a NetworkPolicy keeps the prober away.",
                    dossier.target.namespace, dossier.target.workload
                ),
                None,
            );
        }
    }
}

/// Questions for cached names prove something only where the cache was filled.
fn judge_warmth(ledger: &mut Ledger<'_>, dossier: &Dossier, joined: &[Joined<'_>]) {
    let warm: BTreeSet<&Place> = joined
        .iter()
        .filter(|step| matches!(step.purpose.aim, Aim::WarmUp(_)))
        .filter(|step| {
            step.seen
                .iter()
                .any(|(_, seen)| matches!(&seen.saw, Saw::Answer(a) if served(a)))
        })
        .map(|step| &step.purpose.place)
        .collect();
    for pod in &dossier.pods {
        if !warm.contains(&Place::Pod(pod.label.clone())) {
            ledger.doubt(
                format!("no name could be put into the cache of pod {}", pod.label),
                "Whether cached answers leak was not tested there; a pod that is ready and answers inside is needed."
                    .to_owned(),
                None,
            );
        }
    }
}

fn judge_exposures(ledger: &mut Ledger<'_>, dossier: &Dossier) {
    for exposure in &dossier.exposures {
        if let ClientAddress::Hidden { why, cure } = &exposure.client_address {
            ledger.fail(
                format!("{} hides who asks: {why}", exposure.object),
                format!(
                    "No rule by address can hold behind {}: `{}`.",
                    exposure.object,
                    cure.trim_matches('`')
                ),
                None,
            );
        }
        if exposure.endpoints.is_empty() || exposure.transports.is_empty() {
            ledger.doubt(
                format!(
                    "{} leads to the DNS pods by an address that is not known",
                    exposure.object
                ),
                format!(
                    "{} was not probed: see its status for an address, or remove it if it is not needed.",
                    exposure.object
                ),
                None,
            );
        }
    }
}

/// A leak that this round did not see is one all the same: what is in the cache changes by the second.
fn judge_versions(ledger: &mut Ledger<'_>, dossier: &Dossier) {
    for running in dossier.running_versions() {
        let Some(leak) = dossier.known(&running).and_then(|known| known.acl_leak.as_ref()) else {
            continue;
        };
        ledger.doubt(
            format!("CoreDNS {running} does not keep `acl` in every case"),
            format!(
                "{}. Fixed in CoreDNS {}: `kubectl -n {} set image {} '*=IMAGE'` with an image of that version or a \
                 later one.",
                leak.how.trim_end_matches('.'),
                leak.fixed_in,
                dossier.target.namespace,
                dossier.target.workload
            ),
            None,
        );
    }
}

#[cfg(test)]
mod tests;
