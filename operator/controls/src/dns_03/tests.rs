use tsutsumi_model::{Asker, ControlState, Failure, Rcode, Saw, Tally};

use super::*;
use crate::scene::{
    self, ASKER, PODS, counts, counts_over, heard, heard_as, holding, ids, mixed, see, tally,
};

use ControlState::{Fail, Indeterminate, Pass};

fn second() -> Place {
    Place::Pod(PODS[1].into())
}

/// The scene, but the second pod was heard to ask like this.
fn hearing(ports: Vec<u16>) -> Dossier {
    let mut dossier = holding();
    let id = ids(&dossier, Aim::Ports).last().unwrap();
    dossier.heard.insert(id, heard(ports));
    dossier
}

fn assert_says(dossier: &Dossier, state: ControlState, observed: &str) {
    let verdict = judge(dossier).verdict;
    assert_eq!(verdict.state, state, "{verdict:?}");
    assert!(verdict.observed.contains(observed), "{}", verdict.observed);
}

#[test]
fn the_numbers_stand_in_the_status() {
    assert_says(
        &holding(),
        Pass,
        "768 questions heard at the probe zone; at worst 256 of 256 ports differ",
    );
    assert_says(
        &holding(),
        Pass,
        "64 questions to upstreams, each from a fresh socket",
    );
}

#[test]
fn what_is_heard_decides() {
    let pool = |size: usize| {
        mixed(256)
            .iter()
            .cycle()
            .take(size)
            .copied()
            .cycle()
            .take(256)
            .collect()
    };
    for (ports, state, observed) in [
        (mixed(256), Pass, ""),
        (mixed(64), Pass, ""),
        (pool(100), Fail, "only 100 of 256 ports differ"),
        (vec![5353; 256], Fail, "one port came 256 times in a row"),
        ((0..256).map(|n| 40_000 + n).collect(), Fail, "steps are the same"),
        ((0..256).map(|n| 40_000 + n % 64).collect(), Fail, "10 are needed"),
        (mixed(63), Indeterminate, "at least 64 ports are needed"),
        (vec![], Indeterminate, "at least 64 ports are needed"),
    ] {
        assert_says(&hearing(ports), state, observed);
    }
    let verdict = judge(&hearing(pool(100))).verdict;
    assert!(verdict.observed.contains("coredns-b"), "{}", verdict.observed);
    assert!(verdict.message.contains("expire 0s"), "{}", verdict.message);
}

#[test]
fn ids_count_as_well() {
    let mut dossier = holding();
    let heard = dossier.heard.values_mut().next().unwrap();
    heard.askers[0].ids = (0..256).collect();
    assert_says(&dossier, Fail, "ids' steps are the same");
    assert!(
        judge(&dossier)
            .verdict
            .message
            .contains("ids of questions can be guessed")
    );
}

#[test]
fn every_address_that_asks_is_judged_by_itself() {
    let mut dossier = holding();
    let id = ids(&dossier, Aim::Ports).next().unwrap();
    let asker = |last: u8, ports: Vec<u16>| Asker {
        address: [10, 0, 0, last].into(),
        ..heard(ports).askers.remove(0)
    };
    let both = vec![asker(1, mixed(128)), asker(2, vec![7; 128])];
    dossier.heard.get_mut(&id).unwrap().askers = both;
    assert_says(&dossier, Fail, "heard as 10.0.0.2: one port came 128 times");
}

#[test]
fn a_resolver_is_judged_by_its_own_series_however_few_it_gets_from_a_pod() {
    for (own, state, observed) in [
        (
            mixed(256),
            Pass,
            "heard at the probe zone; at worst 256 of 256 ports differ",
        ),
        (
            vec![7; 256],
            Fail,
            "resolver tsutsumi/unbound-a, heard as 10.0.0.9: one port",
        ),
        (
            mixed(63),
            Indeterminate,
            "pod kube-system/coredns-b, heard as 10.0.0.9",
        ),
    ] {
        let mut dossier = holding();
        let (first, last) = (
            ids(&dossier, Aim::Ports).next().unwrap(),
            ids(&dossier, Aim::Ports).last().unwrap(),
        );
        dossier.heard.insert(first, heard_as(ASKER, own));
        dossier.heard.insert(last, heard_as(ASKER, mixed(20)));
        assert_says(&dossier, state, observed);
    }

    let mut dossier = holding();
    dossier
        .steps
        .retain(|(purpose, _)| !matches!(purpose.place, Place::Resolver(_)));
    assert_says(
        &dossier,
        Indeterminate,
        "the series for the probe zone was not part of the round at resolver tsutsumi/unbound-a",
    );
}

#[test]
fn nothing_that_arrives_is_no_proof() {
    let mut dossier = holding();
    dossier.heard.clear();
    assert_says(&dossier, Indeterminate, "is not known");

    let mut dossier = holding();
    for heard in dossier.heard.values_mut() {
        heard.askers.clear();
    }
    assert_says(
        &dossier,
        Indeterminate,
        "no question of pod kube-system/coredns-a reached",
    );

    let mut dossier = holding();
    dossier.zone = Availability::Missing("set `probeZone.enabled=true`".into());
    assert_says(&dossier, Indeterminate, "no probe zone hears");
    assert!(
        judge(&dossier)
            .verdict
            .message
            .contains("Set `probeZone.enabled=true`.")
    );
}

#[test]
fn failures_are_counted() {
    let failed = |count| {
        Saw::Series(Tally {
            answers: [(Rcode::NOERROR, 256 - count)].into(),
            failures: [(Failure::Timeout, count)].into(),
        })
    };
    for (count, state) in [(12, Pass), (13, Indeterminate)] {
        let mut dossier = holding();
        see(&mut dossier, Aim::Ports, Some(&second()), &failed(count));
        assert_eq!(judge(&dossier).verdict.state, state, "{count}");
    }
}

#[test]
fn used_sockets_towards_an_upstream_fail() {
    for (after, state, observed) in [
        (counts(1, 131), Pass, ""),
        (
            counts(2, 130),
            Fail,
            "2 of 32 questions to 192.0.2.53:53 left from a used socket",
        ),
        (counts(32, 100), Fail, "32 of 32"),
        (counts(0, 115), Indeterminate, "counted no questions"),
        (counts(0, 99), Indeterminate, "began to count anew"),
        (scene::version("1.14.7"), Indeterminate, "counted no questions"),
        (
            Saw::Nothing(Failure::Timeout),
            Indeterminate,
            "the metrics after the series",
        ),
    ] {
        let mut dossier = holding();
        see(&mut dossier, Aim::MetricsAfter, Some(&second()), &after);
        assert_says(&dossier, state, observed);
    }
}

#[test]
fn an_encrypted_upstream_has_no_port_to_guess() {
    let mut dossier = holding();
    see(&mut dossier, Aim::Metrics, None, &counts_over("tcp", 40, 2));
    see(&mut dossier, Aim::MetricsAfter, None, &counts_over("tcp", 72, 2));
    let verdict = judge(&dossier).verdict;
    assert_eq!(verdict.state, Pass, "{verdict:?}");
    assert!(verdict.message.contains("over TCP or TLS"), "{}", verdict.message);
    let observed = "64 questions to upstreams over TCP or TLS; none to them over UDP";
    assert!(verdict.observed.contains(observed), "{}", verdict.observed);
}

#[test]
fn questions_to_the_probe_zone_are_no_questions_to_an_upstream() {
    let mut dossier = holding();
    dossier.zone_server = Some(scene::endpoint(scene::UPSTREAM));
    assert_says(&dossier, Indeterminate, "counted no questions");
}

#[test]
fn a_pod_that_shows_no_metrics_is_in_doubt_with_the_line_to_write() {
    let mut dossier = holding();
    dossier
        .steps
        .retain(|(purpose, _)| !matches!(purpose.aim, Aim::Metrics | Aim::MetricsAfter));
    let verdict = judge(&dossier).verdict;
    assert_eq!(verdict.state, Indeterminate);
    assert!(
        verdict.message.contains("prometheus :9153"),
        "{}",
        verdict.message
    );
}

#[test]
fn nobody_asked() {
    let mut dossier = holding();
    dossier.asked.random_ports = false;
    assert_eq!(judge(&dossier).verdict.state, ControlState::NotApplicable);
}

#[test]
fn a_series_that_was_not_asked_is_told() {
    let mut dossier = holding();
    see(
        &mut dossier,
        Aim::Upstreams,
        Some(&second()),
        &Saw::Nothing(Failure::Unfinished),
    );
    assert_says(&dossier, Indeterminate, "the time for the round ran out");
    see(&mut dossier, Aim::Upstreams, Some(&second()), &tally(0, 32));
    assert_says(&dossier, Pass, "");
}

#[test]
fn a_resolver_behind_the_pod_is_told_what_is_its_own() {
    let mut dossier = hearing(vec![5353; 256]);
    for asker in dossier.heard.values_mut().flat_map(|heard| &mut heard.askers) {
        asker.address = ASKER.parse().unwrap();
    }
    let verdict = judge(&dossier).verdict;
    assert_eq!(verdict.state, Fail);
    assert!(verdict.message.contains("query-source"), "{}", verdict.message);
    assert!(!verdict.message.contains("expire 0s"), "{}", verdict.message);
}
