//! `DNS-05`: signatures are validated.
//!
//! Asked at the address that pods ask, at every pod of cluster DNS and at every pod of the resolver behind it, with names
//! of the probe zone whose signatures are known to be good or bad. A failure to answer what is bad proves validation only where what is good is
//! answered, and said to be validated (AD).

use std::collections::BTreeMap;

use tsutsumi_model::{ControlId, DnsAnswer, Failure, Rcode, Saw, Vantage};

use crate::{
    Availability, Control, Dossier, Judgement, Level,
    dossier::Joined,
    ledger::{Ledger, not_asked, sentence},
    outcome::brief,
    round::{Aim, Place, Trial},
    text::counted,
};

/// The control.
pub const CONTROL: Control = Control {
    id: ControlId::Dns05,
    title_en: "Signatures are validated",
    title_ja: "DNSSECにより応答の改ざんの有無を検証する",
    clause: "MIC guideline 6.5 (1) note 2",
    requirement: &["R12"],
    level: Level::Informative,
    enforced_by: "a `forward` that leads to a resolver which validates alone: the managed one, or the user's",
    proven_by: "names of a probe zone, asked at the Service that pods ask, of every pod of cluster DNS and of the resolver: good ones are answered and \
                marked as validated, wrong, expired, early and stripped ones are not answered",
    remedy: "Set `recursion.via: Managed`, whose resolver validates unless `recursion.dnssec` is `Off`.",
};

/// Judges it.
#[must_use]
pub fn judge(dossier: &Dossier) -> Judgement {
    if !dossier.asked.validation {
        return not_asked(
            &CONTROL,
            "recursion.via: Managed` or, beside `via: Upstreams`, `recursion.dnssec",
        );
    }
    let mut ledger = Ledger::new(&CONTROL, dossier);
    let joined = dossier.joined();
    if ledger.has_vantage(Vantage::Inside) {
        if let Availability::Missing(why) = &dossier.zone {
            ledger.doubt("no probe zone has names to try".to_owned(), sentence(why), None);
        } else {
            for place in dossier.resolving().chain(service(dossier)) {
                judge_place(&mut ledger, &joined, &place);
            }
        }
    }
    let service = service(dossier).map_or("", |_| " and at their Service");
    let well = format!(
        "at {}{service}, good names are marked as validated, and names with wrong, expired, early or missing signatures fail",
        counted(dossier.resolving().count(), "pod")
    );
    ledger.close(
        "good names are answered and marked as validated (AD), also what is proven to be absent; bad ones are not \
         answered (SERVFAIL); an unsigned zone is answered without the mark",
        &well,
        "A forged answer to a signed name reaches nobody.",
    )
}

/// Where pods ask, if it is one address for all.
fn service(dossier: &Dossier) -> Option<Place> {
    dossier.service.map(|_| Place::Service)
}

fn judge_place(ledger: &mut Ledger<'_>, joined: &[Joined<'_>], place: &Place) {
    let mut answers: BTreeMap<Trial, Vec<(usize, &DnsAnswer)>> = BTreeMap::new();
    for trial in Trial::ALL {
        let aim = Aim::Validation(trial);
        let mut steps = joined
            .iter()
            .filter(|step| step.purpose.aim == aim && step.purpose.place == *place)
            .peekable();
        if steps.peek().is_none() {
            ledger.unplanned(aim, place);
        }
        for step in steps {
            if !ledger.was_made(step) {
                continue;
            }
            for (index, observation) in &step.seen {
                match &observation.saw {
                    Saw::Answer(answer) => answers.entry(trial).or_default().push((*index, answer)),
                    Saw::Nothing(failure) => ledger.silent(step, *index, *failure),
                    Saw::Metrics(_) | Saw::Root(_) | Saw::Series(_) => {
                        ledger.silent(step, *index, Failure::Malformed);
                    }
                }
            }
        }
    }
    let answers: Vec<(Trial, usize, &DnsAnswer)> = answers
        .into_iter()
        .flat_map(|(trial, seen)| {
            seen.into_iter()
                .map(move |(index, answer)| (trial, index, answer))
        })
        .collect();
    let resolves = answers
        .iter()
        .any(|(trial, _, answer)| *trial == Trial::Good && answer.rcode == Rcode::NOERROR);
    for (trial, index, answer) in answers {
        judge_answer(ledger, place, trial, index, answer, resolves);
    }
}

fn judge_answer(
    ledger: &mut Ledger<'_>,
    place: &Place,
    trial: Trial,
    index: usize,
    answer: &DnsAnswer,
    resolves: bool,
) {
    let fact = || {
        let mark = if answer.authentic {
            ", marked as validated"
        } else {
            ""
        };
        format!(
            "{place} answers {} with {}{mark}",
            Aim::Validation(trial),
            brief(answer)
        )
    };
    match meaning(trial, answer) {
        Meaning::Right if resolves => ledger.good(index),
        Meaning::Unchecked => {
            ledger.good(index);
            ledger.note(
                "A client that disables checking (CD) gets what could not be validated; `ignore-cd-flag` in the \
                 resolver ends that."
                    .to_owned(),
            );
        }
        Meaning::Wrong(cure) => ledger.fail(fact(), cure.to_owned(), Some(index)),
        Meaning::Right | Meaning::Unclear => ledger.doubt(
            fact(),
            "Names of the probe zone are not resolved here, so that nothing is proven: a resolver behind cluster DNS has \
             to know the zone's server and trust its key. One of yours has to be told so: docs/how-to/own-resolver.md."
                .to_owned(),
            Some(index),
        ),
    }
}

/// What an answer says of whoever gave it.
enum Meaning {
    /// As a validating resolver answers.
    Right,
    /// As a validating resolver may answer whoever disables checking.
    Unchecked,
    /// As nobody may answer, and what to do.
    Wrong(&'static str),
    /// It says nothing about validation.
    Unclear,
}

const NOT_VALIDATED: &str = "Nobody on this path validates: switch validation on in the resolver behind cluster DNS, or set `recursion.via: Managed`, whose resolver validates unless `recursion.dnssec` is `Off`.";

const fn meaning(trial: Trial, answer: &DnsAnswer) -> Meaning {
    use Meaning::{Right, Unchecked, Unclear, Wrong};
    let unvalidated = match (trial, answer.rcode, answer.authentic) {
        (Trial::Good | Trial::Chain, Rcode::NOERROR, true)
        | (Trial::Absent, Rcode::NXDOMAIN, true)
        | (Trial::Insecure, Rcode::NOERROR, false)
        | (
            Trial::Bogus | Trial::Expired | Trial::Early | Trial::Stripped | Trial::Unchecked,
            Rcode::SERVFAIL,
            _,
        ) => return Right,
        (Trial::Unchecked, Rcode::NOERROR, false) => return Unchecked,
        (Trial::Insecure, Rcode::NOERROR, true) => {
            return Wrong("What is not signed cannot be validated: something on the path sets AD by itself.");
        }
        (
            Trial::Good | Trial::Chain | Trial::Bogus | Trial::Expired | Trial::Early | Trial::Stripped,
            Rcode::NOERROR,
            _,
        )
        | (Trial::Absent, Rcode::NXDOMAIN, false)
        | (Trial::Unchecked, Rcode::NOERROR, true) => true,
        _ => false,
    };
    if unvalidated {
        Wrong(NOT_VALIDATED)
    } else {
        Unclear
    }
}

#[cfg(test)]
mod tests {
    use tsutsumi_model::ControlState;

    use super::*;
    use crate::scene::{PODS, RESOLVER, answer, holding, see, validated};

    use ControlState::{Fail, Indeterminate, Pass};

    fn at(trial: Trial, saw: &Saw) -> Dossier {
        let mut dossier = holding();
        see(
            &mut dossier,
            Aim::Validation(trial),
            Some(&Place::Resolver(RESOLVER.into())),
            saw,
        );
        dossier
    }

    #[test]
    fn each_trial_both_ways() {
        let plain = |rcode, answers| answer(rcode, answers, 80, false);
        let nothing = Saw::Nothing(Failure::Timeout);
        for (trial, saw, state, observed) in [
            (
                Trial::Good,
                plain(Rcode::NOERROR, 1),
                Fail,
                "well signed name with NOERROR",
            ),
            (Trial::Good, plain(Rcode::SERVFAIL, 0), Indeterminate, "SERVFAIL"),
            (Trial::Good, plain(Rcode::NXDOMAIN, 0), Indeterminate, "NXDOMAIN"),
            (Trial::Good, nothing.clone(), Indeterminate, "silence"),
            (Trial::Chain, plain(Rcode::NOERROR, 3), Fail, "behind aliases"),
            (
                Trial::Absent,
                plain(Rcode::NXDOMAIN, 0),
                Fail,
                "proven to be absent",
            ),
            (Trial::Absent, plain(Rcode::NOERROR, 1), Indeterminate, "NOERROR"),
            (
                Trial::Insecure,
                validated(Rcode::NOERROR, 1),
                Fail,
                "marked as validated",
            ),
            (
                Trial::Insecure,
                plain(Rcode::SERVFAIL, 0),
                Indeterminate,
                "unsigned zone",
            ),
            (Trial::Bogus, plain(Rcode::NOERROR, 1), Fail, "wrong signature"),
            (Trial::Bogus, plain(Rcode::REFUSED, 0), Indeterminate, "REFUSED"),
            (Trial::Expired, plain(Rcode::NOERROR, 1), Fail, "is over"),
            (Trial::Early, plain(Rcode::NOERROR, 1), Fail, "of the future"),
            (Trial::Stripped, plain(Rcode::NOERROR, 1), Fail, "missing"),
            (Trial::Unchecked, plain(Rcode::NOERROR, 1), Pass, ""),
            (
                Trial::Unchecked,
                validated(Rcode::NOERROR, 1),
                Fail,
                "checking disabled",
            ),
        ] {
            let verdict = judge(&at(trial, &saw)).verdict;
            assert_eq!(verdict.state, state, "{trial:?}: {verdict:?}");
            assert!(
                verdict.observed.contains(observed),
                "{trial:?}: {}",
                verdict.observed
            );
        }
    }

    #[test]
    fn a_client_that_disables_checking_is_told_of() {
        let verdict = judge(&at(Trial::Unchecked, &answer(Rcode::NOERROR, 1, 80, false))).verdict;
        assert!(verdict.message.contains("ignore-cd-flag"), "{}", verdict.message);
        assert!(!judge(&holding()).verdict.message.contains("ignore-cd-flag"));
    }

    #[test]
    fn failing_at_everything_is_not_validation() {
        let mut dossier = holding();
        for trial in Trial::ALL {
            see(
                &mut dossier,
                Aim::Validation(trial),
                None,
                &answer(Rcode::SERVFAIL, 0, 60, false),
            );
        }
        assert_eq!(judge(&dossier).verdict.state, Indeterminate);
    }

    #[test]
    fn every_pod_and_every_resolver_counts() {
        let mut dossier = holding();
        let well = judge(&dossier).verdict.observed;
        assert!(well.starts_with("at 3 pods and at their Service"), "{well}");
        let bogus = Aim::Validation(Trial::Bogus);
        see(
            &mut dossier,
            bogus,
            Some(&Place::Pod(PODS[1].into())),
            &answer(Rcode::NOERROR, 1, 80, false),
        );
        let verdict = judge(&dossier).verdict;
        assert_eq!(verdict.state, Fail);
        assert!(
            verdict.observed.contains("coredns-b answers"),
            "{}",
            verdict.observed
        );
        assert!(verdict.message.contains("via: Managed"), "{}", verdict.message);

        for place in [Place::Resolver(RESOLVER.into()), Place::Service] {
            let mut dossier = holding();
            dossier.steps.retain(|(purpose, _)| purpose.place != place);
            assert_eq!(judge(&dossier).verdict.state, Indeterminate, "{place}");
        }
    }

    #[test]
    fn what_a_pod_gets_counts_although_every_server_does_right() {
        let mut dossier = holding();
        let forged = answer(Rcode::NOERROR, 1, 80, false);
        see(
            &mut dossier,
            Aim::Validation(Trial::Bogus),
            Some(&Place::Service),
            &forged,
        );
        let verdict = judge(&dossier).verdict;
        assert_eq!(verdict.state, Fail);
        assert!(
            verdict.observed.contains("the Service that pods ask answers"),
            "{}",
            verdict.observed
        );
        dossier.service = None;
        dossier
            .steps
            .retain(|(purpose, _)| purpose.place != Place::Service);
        assert_eq!(
            judge(&dossier).verdict.state,
            Pass,
            "one without a Service is none's"
        );
    }

    #[test]
    fn without_a_zone_nothing_is_known_and_without_a_wish_nothing_is_asked() {
        let mut dossier = holding();
        dossier.zone = Availability::Missing("it does not run".into());
        assert_eq!(judge(&dossier).verdict.state, Indeterminate);
        dossier.asked.validation = false;
        assert_eq!(judge(&dossier).verdict.state, ControlState::NotApplicable);
    }
}
