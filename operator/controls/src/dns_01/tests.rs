//! The rules of `DNS-01`, each both ways.

use tsutsumi_model::{ControlState, Rcode, Saw};

use super::*;
use crate::{
    AclLeak, Availability, MAX_DECIDING,
    scene::{PODS, SERVICE, VERSION, answer, answer_outside, drop_outside, holding, see},
};

fn pod() -> Place {
    Place::Pod(PODS[0].into())
}

fn service() -> Place {
    Place::Exposure(SERVICE.into())
}

/// Changes what one place saw for one aim, and looks at the state and the words that come of it.
fn check(aim: Aim, place: &Place, saw: &Saw, state: ControlState, observed: &str) {
    let mut dossier = holding();
    see(&mut dossier, aim, Some(place), saw);
    let verdict = judge(&dossier).verdict;
    assert_eq!(verdict.state, state, "{aim:?} {saw:?}: {verdict:?}");
    assert!(
        verdict.observed.contains(observed),
        "{aim:?} {saw:?}: {}",
        verdict.observed
    );
}

#[test]
fn answers_from_outside() {
    use ControlState::{Fail, Pass};
    let fresh = Aim::OutsideFresh;
    let cached = Aim::OutsideWarmed(Warmed::Cluster);
    let noerror = answer(Rcode::NOERROR, 1, 80, false);
    let empty = answer(Rcode::NOERROR, 0, 60, false);
    let words = "NOERROR with 1 record to a fresh name over TCP at pod kube-system/coredns-a (10.0.0.1:53)";
    check(
        fresh,
        &pod(),
        &answer(Rcode::REFUSED, 0, 50, false),
        Pass,
        "REFUSED",
    );
    check(fresh, &pod(), &noerror, Fail, words);
    check(
        fresh,
        &pod(),
        &answer(Rcode::NXDOMAIN, 0, 90, false),
        Fail,
        "NXDOMAIN",
    );
    check(
        fresh,
        &service(),
        &answer(Rcode::SERVFAIL, 0, 50, false),
        Fail,
        "SERVFAIL",
    );
    check(
        Aim::OutsideAny,
        &pod(),
        &empty,
        Fail,
        "NOERROR with 0 records to type ANY",
    );
    check(cached, &service(), &noerror, Fail, "a cached cluster name");
    check(Aim::OutsideChaos, &pod(), &noerror, Fail, "version.bind");
}

#[test]
fn silence_outside() {
    use ControlState::{Indeterminate, Pass};
    let fresh = Aim::OutsideFresh;
    let table = [
        (pod(), Failure::Timeout, Pass, "4 without an answer"),
        (service(), Failure::Closed, Pass, "2 without an answer"),
        (service(), Failure::ConnectionRefused, Pass, "2 without an answer"),
        (pod(), Failure::Unreachable, Pass, "4 without an answer"),
        (
            service(),
            Failure::Unreachable,
            Indeterminate,
            "unreachable for the prober",
        ),
        (pod(), Failure::NotPermitted, Indeterminate, "may not go there"),
        (pod(), Failure::Unfinished, Indeterminate, "ran out"),
        (
            pod(),
            Failure::Malformed,
            Indeterminate,
            "no answer to the question",
        ),
    ];
    for (place, failure, state, observed) in table {
        check(fresh, &place, &Saw::Nothing(failure), state, observed);
    }
}

#[test]
fn answers_from_inside() {
    use ControlState::{Fail, Indeterminate, Pass};
    let served = Aim::InsideServed;
    let servfail = answer(Rcode::SERVFAIL, 0, 50, false);
    let cold = "no name could be put into the cache of pod kube-system/coredns-a";
    check(
        served,
        &pod(),
        &answer(Rcode::NXDOMAIN, 0, 90, false),
        Pass,
        "every pod answers from inside",
    );
    check(
        served,
        &pod(),
        &answer(Rcode::REFUSED, 0, 50, false),
        Fail,
        "REFUSED to a cluster name from inside",
    );
    check(served, &pod(), &servfail, Indeterminate, "SERVFAIL");
    check(
        served,
        &pod(),
        &Saw::Nothing(Failure::Timeout),
        Fail,
        "answers nobody inside",
    );
    check(
        served,
        &pod(),
        &Saw::Nothing(Failure::Unfinished),
        Indeterminate,
        "ran out",
    );
    check(
        Aim::WarmUp(Warmed::Cluster),
        &pod(),
        &servfail,
        Indeterminate,
        cold,
    );
}

#[test]
fn one_lost_question_is_a_doubt() {
    let mut dossier = holding();
    let index = dossier
        .steps
        .iter()
        .position(|(purpose, _)| purpose.aim == Aim::InsideServed)
        .unwrap();
    dossier.observations[index].saw = Saw::Nothing(Failure::Timeout);
    assert_eq!(judge(&dossier).verdict.state, ControlState::Indeterminate);
}

#[test]
fn a_pod_that_is_not_ready_is_in_doubt_and_still_must_not_be_open() {
    let mut dossier = holding();
    dossier.pods[0].ready = false;
    see(
        &mut dossier,
        Aim::InsideServed,
        Some(&pod()),
        &Saw::Nothing(Failure::Timeout),
    );
    let verdict = judge(&dossier).verdict;
    assert_eq!(verdict.state, ControlState::Indeterminate);
    assert!(
        verdict.message.contains("pod kube-system/coredns-a is not ready"),
        "{}",
        verdict.message
    );
    see(
        &mut dossier,
        Aim::OutsideFresh,
        Some(&pod()),
        &answer(Rcode::NOERROR, 1, 80, false),
    );
    assert_eq!(judge(&dossier).verdict.state, ControlState::Fail);
}

#[test]
fn an_exposure_that_hides_who_asks_fails_with_its_cure_even_unseen() {
    let mut dossier = holding();
    let cure = "kubectl -n kube-system patch service dns-nodeport -p '{\"spec\":{\"externalTrafficPolicy\":\"Local\"}}'";
    dossier.exposures[0].client_address = ClientAddress::Hidden {
        why: "externalTrafficPolicy is Cluster".into(),
        cure: cure.into(),
    };
    dossier.outside = Availability::Missing("no outside vantage is configured".into());
    let verdict = judge(&dossier).verdict;
    assert_eq!(verdict.state, ControlState::Fail);
    assert!(verdict.observed.contains(SERVICE), "{}", verdict.observed);
    assert!(verdict.message.contains(cure), "{}", verdict.message);
}

#[test]
fn an_exposure_without_an_address_is_in_doubt() {
    let mut dossier = holding();
    dossier.exposures[0].endpoints.clear();
    let verdict = judge(&dossier).verdict;
    assert_eq!(verdict.state, ControlState::Indeterminate);
    assert!(verdict.observed.contains(SERVICE), "{}", verdict.observed);
}

#[test]
fn a_leaking_version_is_in_doubt_until_the_leak_is_seen() {
    let mut dossier = holding();
    dossier.versions[0].acl_leak = Some(AclLeak {
        fixed_in: "9.9.9".into(),
        how: "cached answers reach blocked clients".into(),
    });
    let verdict = judge(&dossier).verdict;
    assert_eq!(verdict.state, ControlState::Indeterminate);
    assert!(
        verdict.message.contains("Fixed in CoreDNS 9.9.9"),
        "{}",
        verdict.message
    );

    see(
        &mut dossier,
        Aim::OutsideWarmed(Warmed::Cluster),
        None,
        &answer(Rcode::NOERROR, 1, 80, false),
    );
    let verdict = judge(&dossier).verdict;
    assert_eq!(verdict.state, ControlState::Fail);
    assert!(
        verdict.message.contains(VERSION) && verdict.message.contains("9.9.9"),
        "{}",
        verdict.message
    );
}

#[test]
fn a_vantage_that_is_missing_is_named_with_its_cure() {
    let mut dossier = holding();
    dossier.outside = Availability::Missing(
        "no outside vantage is configured: set `vantages` in the chart's values".into(),
    );
    dossier
        .steps
        .retain(|(purpose, _)| purpose.aim.vantage() == Vantage::Inside);
    let verdict = judge(&dossier).verdict;
    assert_eq!(verdict.state, ControlState::Indeterminate);
    assert!(
        verdict.message.contains("set `vantages` in the chart's values"),
        "{}",
        verdict.message
    );
    assert_eq!(verdict.observed, "nothing was seen from outside");
}

#[test]
fn the_answers_from_inside_never_count_as_seen_from_outside() {
    let mut dossier = holding();
    for observation in &mut dossier.observations {
        observation.vantage = Vantage::Inside;
    }
    assert_eq!(judge(&dossier).verdict.state, ControlState::Indeterminate);
}

#[test]
fn an_address_beyond_the_plan_is_in_doubt() {
    let mut dossier = holding();
    dossier.pods.push(crate::PodFacts {
        label: "kube-system/coredns-c".into(),
        endpoints: vec![crate::scene::endpoint("10.0.0.3:53")],
        ready: true,
        image_version: None,
    });
    let verdict = judge(&dossier).verdict;
    assert_eq!(verdict.state, ControlState::Indeterminate);
    assert!(
        verdict
            .observed
            .contains("coredns-c (10.0.0.3:53) was not part of the round"),
        "{}",
        verdict.observed
    );
}

#[test]
fn nobody_asked() {
    let mut dossier = holding();
    dossier.asked.clients = None;
    assert_eq!(judge(&dossier).verdict.state, ControlState::NotApplicable);
}

#[test]
fn silence_is_what_a_dropping_policy_wants() {
    let mut dossier = holding();
    dossier.asked.clients = Some(Others::Drop);
    drop_outside(&mut dossier);
    let verdict = judge(&dossier).verdict;
    assert_eq!(verdict.state, ControlState::Pass);
    assert!(
        verdict.expected.contains("silence (or REFUSED)"),
        "{}",
        verdict.expected
    );
    assert_eq!(verdict.vantages, [Vantage::Inside, Vantage::Outside]);
}

/// What every question from outside met, at the places that fit.
fn meet(dossier: &mut Dossier, fits: impl Fn(&Place) -> bool, failure: Failure) {
    for ((purpose, _), observation) in dossier.steps.iter().zip(&mut dossier.observations) {
        if purpose.aim.vantage() == Vantage::Outside && fits(&purpose.place) {
            observation.saw = Saw::Nothing(failure);
        }
    }
}

#[test]
fn silence_everywhere_is_what_a_prober_sees_that_is_cut_off() {
    for failure in [Failure::Timeout, Failure::Unreachable] {
        let mut dossier = holding();
        meet(&mut dossier, |_| true, failure);
        let judgement = judge(&dossier);
        let verdict = judgement.verdict;
        assert_eq!(verdict.state, ControlState::Indeterminate, "{failure:?}");
        if failure == Failure::Timeout {
            assert_eq!(
                verdict.observed,
                "nothing shows that the prober outside reaches Service kube-system/dns-nodeport"
            );
        }
        for word in ["routes", "firewalls", "host"] {
            assert!(verdict.message.contains(word), "{}", verdict.message);
        }
        assert_eq!(verdict.vantages, [Vantage::Outside]);
    }
}

#[test]
fn any_sign_that_the_target_was_reached_makes_silence_count() {
    for failure in [Failure::Closed, Failure::ConnectionRefused, Failure::Unanswered] {
        let mut dossier = holding();
        meet(&mut dossier, |_| true, Failure::Timeout);
        let at_the_exposure = dossier
            .steps
            .iter()
            .position(|(purpose, _)| purpose.aim == Aim::OutsideFresh && purpose.place == service())
            .unwrap();
        dossier.observations[at_the_exposure].saw = Saw::Nothing(failure);
        let verdict = judge(&dossier).verdict;
        assert_eq!(
            verdict.state,
            ControlState::Pass,
            "{failure:?}: {}",
            verdict.observed
        );
    }
}

#[test]
fn an_exposure_must_be_reached_and_a_pod_need_not() {
    let mut dossier = holding();
    meet(
        &mut dossier,
        |place| matches!(place, Place::Pod(_)),
        Failure::Timeout,
    );
    assert_eq!(judge(&dossier).verdict.state, ControlState::Pass);

    let mut dossier = holding();
    meet(&mut dossier, |place| *place == service(), Failure::Timeout);
    let verdict = judge(&dossier).verdict;
    assert_eq!(verdict.state, ControlState::Indeterminate);
    assert!(
        verdict
            .observed
            .contains("nothing shows that the prober outside reaches Service kube-system/dns-nodeport"),
        "{}",
        verdict.observed
    );
    assert!(!verdict.message.contains("others"), "{}", verdict.message);

    dossier.asked.clients = Some(Others::Drop);
    dossier.exposures[0].transports = vec![Transport::Udp];
    let message = judge(&dossier).verdict.message;
    assert!(message.contains("`others: Refuse` does"), "{message}");
}

#[test]
fn where_nothing_leads_in_no_pod_need_be_reached_and_it_is_said() {
    let mut dossier = holding();
    dossier.exposures.clear();
    let (steps, observations) = dossier
        .steps
        .into_iter()
        .zip(dossier.observations)
        .filter(|((purpose, _), _)| matches!(purpose.place, Place::Pod(_)))
        .unzip();
    (dossier.steps, dossier.observations) = (steps, observations);
    assert!(!judge(&dossier).verdict.message.contains("not put to the test"));

    meet(&mut dossier, |_| true, Failure::Timeout);
    let verdict = judge(&dossier).verdict;
    assert_eq!(verdict.state, ControlState::Pass, "{}", verdict.observed);
    assert!(
        verdict.message.contains("not put to the test"),
        "{}",
        verdict.message
    );
}

#[test]
fn what_decides_is_shown_and_bounded() {
    let mut dossier = holding();
    answer_outside(&mut dossier);
    let judgement = judge(&dossier);
    assert!(judgement.deciding.len() <= MAX_DECIDING);
    assert!(
        judgement
            .deciding
            .iter()
            .all(|index| dossier.observations[*index].vantage == Vantage::Outside)
    );
    assert_eq!(judgement.verdict.vantages, [Vantage::Outside]);
    let message = &judgement.verdict.message;
    assert!(
        message.contains("the policy writes `acl` into configmap kube-system/coredns"),
        "{message}"
    );
}

#[test]
fn a_plugin_that_answers_before_acl_is_named_only_where_nothing_else_is_answered() {
    let noerror = answer(Rcode::NOERROR, 1, 80, false);
    let mut dossier = holding();
    see(&mut dossier, Aim::OutsideAny, Some(&service()), &noerror);
    let message = judge(&dossier).verdict.message;
    assert!(
        message.starts_with("Only type ANY is answered: the plugin `any`"),
        "{message}"
    );

    see(&mut dossier, Aim::OutsideFresh, Some(&service()), &noerror);
    let message = judge(&dossier).verdict.message;
    assert!(message.starts_with("Anybody is answered."), "{message}");
    assert!(!message.contains("plugin"), "{message}");
}
