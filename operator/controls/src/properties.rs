//! What holds for every control, whatever was seen.

use proptest::prelude::*;
use tsutsumi_model::{ControlId, ControlState, Failure, Rcode, Saw, Vantage};

use crate::{
    AclLeak, Aim, Availability, Dossier, EXPECTED_MAX, Hole, MESSAGE_MAX, OBSERVED_MAX, judge, judge_all,
    scene::{answer, holding, version},
};

/// Anything that a prober can send back.
fn saw() -> impl Strategy<Value = Saw> {
    prop_oneof![
        (0_u16..6, 0_u16..3, 12_u32..5000, any::<bool>()).prop_map(|(rcode, answers, bytes, tc)| answer(
            Rcode(rcode),
            answers,
            bytes,
            tc
        )),
        prop::sample::select(vec![
            Failure::Closed,
            Failure::ConnectionRefused,
            Failure::Malformed,
            Failure::NotPermitted,
            Failure::Timeout,
            Failure::Unanswered,
            Failure::Unfinished,
            Failure::Unreachable,
        ])
        .prop_map(Saw::Nothing),
        "1\\.14\\.[67]|own".prop_map(|text| version(&text)),
    ]
}

/// A cluster in which a few things are not as they should be.
fn dossier() -> impl Strategy<Value = Dossier> {
    let changes = prop::collection::vec((any::<prop::sample::Index>(), saw()), 0..4);
    (changes, any::<bool>(), any::<bool>(), any::<bool>(), 0_u8..6).prop_map(
        |(changes, second_ready, leaks, holes, outside)| {
            let mut dossier = holding();
            for (index, saw) in changes {
                let index = index.index(dossier.observations.len());
                dossier.observations[index].saw = saw;
            }
            dossier.pods[1].ready = second_ready;
            if leaks && outside == 1 {
                dossier.versions[0].acl_leak = Some(AclLeak {
                    fixed_in: "1.14.7".into(),
                    how: "cached answers".into(),
                });
            }
            if holes {
                dossier.versions.push(crate::KnownVersion {
                    running: "1.14.6".into(),
                    acl_leak: None,
                    holes: vec![Hole {
                        id: "CVE-0000-1".into(),
                        fixed_in: "1.14.7".into(),
                        what: "crash".into(),
                    }],
                });
            }
            if outside == 0 {
                dossier.outside = Availability::Missing("no vantage is configured".into());
            }
            dossier
        },
    )
}

proptest! {
    #[test]
    fn nothing_seen_is_never_a_pass(dossier in dossier()) {
        let blind = Dossier { observations: vec![], ..dossier };
        for judgement in judge_all(&blind) {
            prop_assert_ne!(judgement.verdict.state, ControlState::Pass);
        }
        let unplanned = Dossier { steps: vec![], ..blind };
        for judgement in judge_all(&unplanned) {
            prop_assert_ne!(judgement.verdict.state, ControlState::Pass);
        }
    }

    #[test]
    fn seeing_less_never_makes_a_pass(dossier in dossier(), index in any::<prop::sample::Index>()) {
        let mut less = dossier.clone();
        less.observations.remove(index.index(dossier.observations.len()));
        for id in ControlId::ALL {
            let before = judge(id, &dossier).verdict.state;
            let after = judge(id, &less).verdict.state;
            prop_assert!(before == ControlState::Pass || after != ControlState::Pass, "{}: {}", id, before);
        }
    }

    #[test]
    fn removing_the_signs_of_reach_never_makes_a_pass(dossier in dossier(), taken in prop::collection::vec(any::<bool>(), 256)) {
        let good = |saw: &Saw| match saw {
            Saw::Answer(answer) => answer.rcode == Rcode::REFUSED,
            Saw::Nothing(failure) => {
                matches!(failure, Failure::Closed | Failure::ConnectionRefused | Failure::Unanswered)
            }
            Saw::Metrics(_) | Saw::Root(_) | Saw::Series(_) => false,
        };
        let without = |taken: &dyn Fn(usize) -> bool| {
            let mut less = dossier.clone();
            for (index, observation) in less.observations.iter_mut().enumerate() {
                if observation.vantage == Vantage::Outside && taken(index) && good(&observation.saw) {
                    observation.saw = Saw::Nothing(Failure::Timeout);
                }
            }
            judge(ControlId::Dns01, &less).verdict.state
        };
        let before = without(&|_| false);
        let after = without(&|index| taken[index % taken.len()]);
        prop_assert!(before == ControlState::Pass || after != ControlState::Pass, "{} became a pass", before);
        prop_assert!(dossier.exposures.is_empty() || without(&|_| true) != ControlState::Pass);
    }

    #[test]
    fn the_order_of_what_was_seen_changes_nothing(
        (dossier, order) in dossier().prop_flat_map(|dossier| {
            let order = Just((0..dossier.observations.len()).collect::<Vec<_>>()).prop_shuffle();
            (Just(dossier), order)
        })
    ) {
        let mut shuffled = dossier.clone();
        shuffled.observations = order.iter().map(|index| dossier.observations[*index].clone()).collect();
        for (one, other) in judge_all(&dossier).into_iter().zip(judge_all(&shuffled)) {
            prop_assert_eq!(&one.verdict, &other.verdict);
            let probes = |dossier: &Dossier, deciding: &[usize]| {
                let mut ids: Vec<u32> =
                    deciding.iter().map(|index| dossier.observations[*index].probe.id).collect();
                ids.sort_unstable();
                ids
            };
            prop_assert_eq!(probes(&dossier, &one.deciding), probes(&shuffled, &other.deciding));
        }
    }

    #[test]
    fn every_text_fits_the_status(dossier in dossier()) {
        for judgement in judge_all(&dossier) {
            let verdict = judgement.verdict;
            prop_assert!(verdict.expected.chars().count() <= EXPECTED_MAX);
            prop_assert!(verdict.observed.chars().count() <= OBSERVED_MAX);
            prop_assert!(verdict.message.chars().count() <= MESSAGE_MAX);
            prop_assert!(!verdict.expected.is_empty() && !verdict.observed.is_empty() && !verdict.message.is_empty());
        }
    }
}

#[test]
fn every_planned_question_is_needed_by_a_control() {
    let whole = holding();
    for (index, (purpose, probe)) in whole.steps.iter().enumerate() {
        // A pod is warm once it was asked at one of its addresses.
        if matches!(purpose.aim, Aim::WarmUp(_)) {
            continue;
        }
        let mut less = whole.clone();
        less.steps.remove(index);
        let doubted = judge_all(&less)
            .iter()
            .any(|judgement| judgement.verdict.state == ControlState::Indeterminate);
        assert!(doubted, "nobody misses {purpose:?} {probe:?}");
    }
}

#[test]
fn where_all_is_well_everything_passes() {
    for judgement in judge_all(&holding()) {
        assert_eq!(
            judgement.verdict.state,
            ControlState::Pass,
            "{:?}",
            judgement.verdict
        );
    }
}
