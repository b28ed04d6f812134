//! `DNS-09`: no amplification.
//!
//! What makes a resolver a weapon is an answer much larger than its question, sent to an address that was forged. So
//! ANY is answered without records inside and not at all outside (RFC 8482), and the largest answer over UDP is bounded,
//! whatever is asked for.

mod levers;

use tsutsumi_model::{ControlId, Failure, Saw, Transport, Vantage};

use crate::{
    Control, Dossier, Judgement, Level,
    dossier::{Joined, exposure_cells, pod_cells},
    ledger::{Ledger, not_asked},
    outcome::{Outside, brief, outside},
    round::{Aim, Lever},
    text::counted,
};

use levers::Gain;

/// The control.
pub const CONTROL: Control = Control {
    id: ControlId::Dns09,
    title_en: "No amplification",
    title_ja: "応答を増幅に使わせない",
    clause: "MIC guideline 6.5 (1) note 2; 6.5 (6)",
    requirement: &["R6", "R18"],
    level: Level::Expected,
    enforced_by: "`acl` with `filter type ANY` for internal clients, `block` or `drop` for others, and `bufsize`",
    proven_by: "type ANY from inside and from outside at every pod and exposed address, and the sizes of the big answer, \
                of a long TXT and of DNSKEY over UDP compared with their questions",
    remedy: "Enforce the policy's `anyQueries: Empty` and `udp`, and remove the plugin `any`.",
};

const INSIDE: [(Aim, Transport); 3] = [
    (Aim::InsideAny, Transport::Udp),
    (Aim::InsideAny, Transport::Tcp),
    (Aim::SizeWith4096, Transport::Udp),
];
const OUTSIDE: [(Aim, Transport); 2] = [
    (Aim::OutsideAny, Transport::Udp),
    (Aim::OutsideAny, Transport::Tcp),
];

/// Extended error "Filtered" (RFC 8914, 4.18): `acl` itself removed the records.
const FILTERED: u16 = 17;

/// Judges it.
#[must_use]
pub fn judge(dossier: &Dossier) -> Judgement {
    if !dossier.asked.any_empty {
        return not_asked(&CONTROL, "anyQueries");
    }
    let mut ledger = Ledger::new(&CONTROL, dossier);
    let joined = dossier.joined();
    if ledger.has_vantage(Vantage::Outside) {
        ledger.uncovered(&pod_cells(&dossier.pods, &OUTSIDE), &joined);
        ledger.uncovered(&exposure_cells(&dossier.exposures, &[Aim::OutsideAny]), &joined);
    }
    let mut gains = String::new();
    if ledger.has_vantage(Vantage::Inside) {
        ledger.uncovered(&pod_cells(&dossier.pods, &INSIDE), &joined);
        gains = levers::judge(&mut ledger, dossier, &joined);
    }

    let mut any = Gain::default();
    let mut big = Gain::default();
    let mut filtered = 0;
    for step in &joined {
        match step.purpose.aim {
            Aim::OutsideAny => judge_outside(&mut ledger, dossier, step),
            Aim::InsideAny | Aim::Lever(Lever::Any) => {
                filtered += judge_inside(&mut ledger, dossier, step, &mut any);
            }
            Aim::SizeWith4096 => judge_big(&mut ledger, dossier, step, &mut big),
            _ => {}
        }
    }
    if filtered > 0 {
        ledger.note(format!(
            "{} to ANY say that a rule filtered them.",
            counted(filtered, "answer")
        ));
    }

    let limit = dossier.asked.udp_max_bytes.map_or_else(String::new, |max| {
        format!("; no answer over UDP above {max} bytes, whatever is asked for")
    });
    let expected = format!(
        "ANY from inside gets an answer without records, ANY from outside gets REFUSED or silence{limit}"
    );
    let well = format!(
        "ANY from inside: no records, {any}; ANY from outside: not answered; over UDP, the big answer: {big}{gains}"
    );
    ledger.close(
        &expected,
        &well,
        "A forged question gains an attacker no more than the sizes shown.",
    )
}

fn judge_outside(ledger: &mut Ledger<'_>, dossier: &Dossier, step: &Joined<'_>) {
    if !ledger.was_made(step) {
        return;
    }
    for (index, observation) in &step.seen {
        match outside(&step.purpose.place, &observation.saw) {
            Outside::Refused | Outside::Silent => ledger.good(*index),
            Outside::Answered(words) => ledger.fail(
                format!("{words} to ANY from outside, {}", step.at()),
                format!(
                    "Enforce `clients`; if other questions from outside are refused, remove the plugin `any`, which \
                     answers before `acl` is asked: `kubectl -n {} edit configmap {}`.",
                    dossier.target.namespace, dossier.target.config_map
                ),
                Some(*index),
            ),
            Outside::Unclear(failure) => ledger.silent(step, *index, failure),
        }
    }
}

/// Judges the answers to ANY from inside and returns how many name the filter.
fn judge_inside(ledger: &mut Ledger<'_>, dossier: &Dossier, step: &Joined<'_>, worst: &mut Gain) -> usize {
    let mut filtered = 0;
    if !ledger.was_made(step) {
        return filtered;
    }
    for (index, observation) in &step.seen {
        match &observation.saw {
            Saw::Answer(answer) if answer.answers > 0 || answer.truncated => ledger.fail(
                format!(
                    "{}{} to ANY from inside, {}",
                    brief(answer),
                    if answer.truncated { ", truncated," } else { "" },
                    step.at()
                ),
                format!(
                    "With `mode: Enforce` the policy writes `filter type ANY` into configmap {}/{}; the plugin `any` \
                     answers with a record of its own and has to go.",
                    dossier.target.namespace, dossier.target.config_map
                ),
                Some(*index),
            ),
            Saw::Answer(answer) => {
                worst.take(answer);
                filtered += usize::from(answer.extended_errors.contains(&FILTERED));
                ledger.good(*index);
            }
            Saw::Nothing(failure) => ledger.silent(step, *index, *failure),
            Saw::Metrics(_) | Saw::Root(_) | Saw::Series(_) => ledger.silent(step, *index, Failure::Malformed),
        }
    }
    filtered
}

fn judge_big(ledger: &mut Ledger<'_>, dossier: &Dossier, step: &Joined<'_>, worst: &mut Gain) {
    if !ledger.was_made(step) {
        return;
    }
    for (index, observation) in &step.seen {
        match (&observation.saw, dossier.asked.udp_max_bytes) {
            (Saw::Answer(answer), Some(max)) if answer.answer_bytes > u32::from(max) => ledger.fail(
                format!(
                    "{} bytes for a question of {}, {}",
                    answer.answer_bytes,
                    answer.query_bytes,
                    step.at()
                ),
                format!(
                    "A server block lacks `bufsize {max}`: see DNS-02 and configmap {}/{}.",
                    dossier.target.namespace, dossier.target.config_map
                ),
                Some(*index),
            ),
            (Saw::Answer(answer), _) => {
                worst.take(answer);
                ledger.good(*index);
            }
            (Saw::Nothing(failure), _) => ledger.silent(step, *index, *failure),
            (Saw::Metrics(_) | Saw::Root(_) | Saw::Series(_), _) => {
                ledger.silent(step, *index, Failure::Malformed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tsutsumi_model::{ControlState, Rcode};

    use super::*;
    use crate::{
        Availability, Place,
        scene::{PODS, SERVICE, answer, holding, see},
    };

    #[test]
    fn each_rule_both_ways() {
        use ControlState::{Fail, Indeterminate, Pass};
        let pod = Place::Pod(PODS[0].into());
        let service = Place::Exposure(SERVICE.into());
        let silence = Saw::Nothing(Failure::Timeout);
        let table = [
            (
                "empty",
                Aim::InsideAny,
                &pod,
                answer(Rcode::NOERROR, 0, 60, false),
                Pass,
                "60 bytes for a question of 50",
            ),
            (
                "a record",
                Aim::InsideAny,
                &pod,
                answer(Rcode::NOERROR, 1, 90, false),
                Fail,
                "1 record",
            ),
            (
                "cut, hence more",
                Aim::InsideAny,
                &pod,
                answer(Rcode::NOERROR, 0, 60, true),
                Fail,
                "truncated",
            ),
            (
                "inside silence",
                Aim::InsideAny,
                &pod,
                silence.clone(),
                Indeterminate,
                "silence",
            ),
            (
                "outside empty",
                Aim::OutsideAny,
                &service,
                answer(Rcode::NOERROR, 0, 60, false),
                Fail,
                "from outside",
            ),
            ("outside silence", Aim::OutsideAny, &service, silence, Pass, ""),
            (
                "no route to what is exposed",
                Aim::OutsideAny,
                &service,
                Saw::Nothing(Failure::Unreachable),
                Indeterminate,
                "unreachable",
            ),
            (
                "no route to a pod",
                Aim::OutsideAny,
                &pod,
                Saw::Nothing(Failure::Unreachable),
                Pass,
                "",
            ),
            (
                "big",
                Aim::SizeWith4096,
                &pod,
                answer(Rcode::NOERROR, 120, 3238, false),
                Fail,
                "3238 bytes for a question",
            ),
            (
                "bounded",
                Aim::SizeWith4096,
                &pod,
                answer(Rcode::NOERROR, 60, 1232, true),
                Pass,
                "24.6 times",
            ),
        ];
        for (what, aim, place, saw, state, observed) in table {
            let mut dossier = holding();
            see(&mut dossier, aim, Some(place), &saw);
            let verdict = judge(&dossier).verdict;
            assert_eq!(verdict.state, state, "{what}: {verdict:?}");
            assert!(
                verdict.observed.contains(observed),
                "{what}: {}",
                verdict.observed
            );
        }
    }

    #[test]
    fn a_size_nobody_asked_for_is_reported_and_not_judged() {
        let mut dossier = holding();
        dossier.asked.udp_max_bytes = None;
        see(
            &mut dossier,
            Aim::SizeWith4096,
            None,
            &answer(Rcode::NOERROR, 120, 3238, false),
        );
        let verdict = judge(&dossier).verdict;
        assert_eq!(verdict.state, ControlState::Pass);
        assert!(verdict.observed.contains("64.7 times"), "{}", verdict.observed);
    }

    #[test]
    fn who_filtered_is_told() {
        let mut dossier = holding();
        let mut filtered = answer(Rcode::NOERROR, 0, 60, false);
        if let Saw::Answer(answer) = &mut filtered {
            answer.extended_errors = vec![FILTERED];
        }
        see(&mut dossier, Aim::InsideAny, None, &filtered);
        let verdict = judge(&dossier).verdict;
        assert_eq!(verdict.state, ControlState::Pass);
        assert!(
            verdict
                .message
                .contains("8 answers to ANY say that a rule filtered them"),
            "{}",
            verdict.message
        );
    }

    #[test]
    fn no_prober_outside_or_nobody_asked() {
        let mut dossier = holding();
        dossier.outside = Availability::Missing("no outside vantage is configured".into());
        assert_eq!(judge(&dossier).verdict.state, ControlState::Indeterminate);
        dossier.asked.any_empty = false;
        assert_eq!(judge(&dossier).verdict.state, ControlState::NotApplicable);
    }
}
