use tsutsumi_model::{
    ControlState::{self, Fail, Indeterminate, NotApplicable, Pass},
    Rcode,
};

use super::*;
use crate::{
    Availability,
    scene::{answer, holding},
};

/// Everything as it should be, but for what an aim sees over a way.
fn with(aim: Aim, way: (Transport, u16), saw: &Saw) -> Dossier {
    let mut dossier = holding();
    set(&mut dossier, aim, way, saw);
    dossier
}

fn set(dossier: &mut Dossier, aim: Aim, (transport, port): (Transport, u16), saw: &Saw) {
    for ((purpose, probe), observation) in dossier.steps.iter().zip(&mut dossier.observations) {
        let it = matches!(&probe.ask, Ask::Dns(question)
            if question.transport == transport && question.server.port.get() == port);
        if purpose.aim == aim && it {
            observation.saw = saw.clone();
        }
    }
}

fn around(dossier: &mut Dossier) -> &mut Around {
    dossier.around.as_mut().unwrap()
}

fn nothing(failure: Failure) -> Saw {
    Saw::Nothing(failure)
}

#[test]
fn a_way_is_open_if_anything_came_back_and_closed_if_nothing_did() {
    let refusal = answer(Rcode::REFUSED, 0, 40, false);
    for way in WAYS {
        for (saw, state) in [
            (refusal.clone(), Fail),
            (nothing(Failure::Closed), Fail),
            (nothing(Failure::Unanswered), Fail),
            (nothing(Failure::Malformed), Fail),
            (nothing(Failure::Timeout), Pass),
            (nothing(Failure::ConnectionRefused), Pass),
            (nothing(Failure::Unreachable), Indeterminate),
            (nothing(Failure::NotPermitted), Indeterminate),
            (nothing(Failure::Unfinished), Indeterminate),
        ] {
            let verdict = judge(&with(Aim::PastClusterDns, way, &saw)).verdict;
            assert_eq!(verdict.state, state, "{way:?} {saw:?}: {verdict:?}");
            let told = format!("198.51.100.53 over {} on port {}", way.0, way.1);
            assert!(
                state != Fail || verdict.observed.contains(&told),
                "{}",
                verdict.observed
            );
        }
    }
}

#[test]
fn the_silence_of_a_resolver_that_answers_nobody_proves_nothing() {
    for way in WAYS {
        let verdict = judge(&with(Aim::ForeignAlive, way, &nothing(Failure::Timeout))).verdict;
        assert_eq!(verdict.state, Indeterminate, "{way:?}");
        assert!(
            verdict.observed.contains("not even outside"),
            "{}",
            verdict.observed
        );
    }
}

#[test]
fn who_offers_no_dns_over_tls_is_not_tried_there() {
    let way = (Transport::Tcp, 853);
    let refused = nothing(Failure::ConnectionRefused);
    let mut dossier = with(Aim::ForeignAlive, way, &refused);
    let verdict = judge(&dossier).verdict;
    assert_eq!(verdict.state, Pass);
    assert!(
        verdict.message.contains("that way was not tried"),
        "{}",
        verdict.message
    );
    // On port 53 the same is a doubt.
    set(&mut dossier, Aim::ForeignAlive, (Transport::Tcp, 53), &refused);
    assert_eq!(judge(&dossier).verdict.state, Indeterminate);
}

#[test]
fn every_kind_of_detour_is_named_with_its_cure() {
    let named = Bypass::AsksNamed(vec!["192.0.2.53".parse().unwrap()]);
    for (how, observed, message) in [
        (
            Bypass::AnswersOnNode,
            "answers in place of cluster DNS",
            "its own Corefile",
        ),
        (
            named,
            "asks 192.0.2.53 by `dnsConfig`",
            "kubectl get the policies",
        ),
        (
            Bypass::AsksAsNode,
            "by `dnsPolicy: Default`",
            "kubectl get the policies",
        ),
        (Bypass::InNodeNetwork, "in its network", "ClusterFirstWithHostNet"),
    ] {
        let mut dossier = holding();
        around(&mut dossier).cure = Some("kubectl get the policies".into());
        around(&mut dossier).detours.push(Detour {
            workload: "Deployment town/web".into(),
            how,
            pods: 3,
        });
        let verdict = judge(&dossier).verdict;
        assert_eq!(verdict.state, Fail, "{verdict:?}");
        assert!(
            verdict.observed.starts_with("Deployment town/web (3 pods)")
                && verdict.observed.contains(observed),
            "{}",
            verdict.observed
        );
        assert!(verdict.message.contains(message), "{}", verdict.message);
    }
}

#[test]
fn who_is_exempt_is_told() {
    let mut dossier = holding();
    around(&mut dossier)
        .exempt
        .insert("of cluster DNS itself".into(), 2);
    let verdict = judge(&dossier).verdict;
    assert_eq!(verdict.state, Pass);
    assert!(
        verdict.message.contains("Exempt: 2 pods of cluster DNS itself."),
        "{}",
        verdict.message
    );
}

#[test]
fn what_is_closed_by_an_object_is_told_and_decides_nothing() {
    let closing = |state: Closure, left: &[&str]| Closing {
        namespace: "town".into(),
        state,
        left: left.iter().map(|&name| name.to_owned()).collect(),
    };
    let held = Closure::Held {
        why: "Deployment town/web would lose its DNS".into(),
        cure: "Set `dnsPolicy: ClusterFirst` there.".into(),
    };
    let way = (Transport::Udp, 53);
    let answered = answer(Rcode::REFUSED, 0, 40, false);
    for (closing, message) in [
        (closing(Closure::Written, &[]), "nothing has shown"),
        (
            closing(Closure::Written, &["db"]),
            "but of those that NetworkPolicy db picks",
        ),
        (closing(Closure::Planned, &[]), "`status.plan` tells"),
        (
            closing(held, &[]),
            "would lose its DNS. Set `dnsPolicy: ClusterFirst` there.",
        ),
    ] {
        for (saw, state) in [(nothing(Failure::Timeout), Pass), (answered.clone(), Fail)] {
            let mut dossier = with(Aim::PastClusterDns, way, &saw);
            around(&mut dossier).closings.push(closing.clone());
            let verdict = judge(&dossier).verdict;
            assert_eq!(verdict.state, state, "{verdict:?}");
            assert!(verdict.message.contains(message), "{}", verdict.message);
            // Without an outside to compare with there is no pass, whatever stands in a namespace.
            dossier.outside = Availability::Missing("there is none".into());
            assert_ne!(judge(&dossier).verdict.state, Pass);
        }
    }
}

#[test]
fn objects_alone_are_no_proof() {
    let state = |change: fn(&mut Dossier)| -> ControlState {
        let mut dossier = holding();
        change(&mut dossier);
        judge(&dossier).verdict.state
    };
    let missing = || Availability::Missing("there is none".into());
    assert_eq!(state(|dossier| around(dossier).resolvers.clear()), Indeterminate);
    assert_eq!(
        state(|dossier| dossier.outside = Availability::Missing("there is none".into())),
        Indeterminate
    );
    let inner = "10.96.0.1".parse().unwrap();
    let mut within = holding();
    around(&mut within).not_outside.push(inner);
    let verdict = judge(&within).verdict;
    assert_eq!(verdict.state, Indeterminate);
    assert!(
        verdict
            .observed
            .contains("10.96.0.1 is an address of this cluster"),
        "{}",
        verdict.observed
    );
    let mut deaf = holding();
    deaf.inside = missing();
    assert_eq!(judge(&deaf).verdict.state, Indeterminate);
    assert_eq!(state(|dossier| dossier.around = None), NotApplicable);
}
