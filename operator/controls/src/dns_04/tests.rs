use tsutsumi_model::{ControlState, Rcode};

use super::*;
use crate::scene::{ASKER, PODS, heard, heard_as, holding, ids, mixed, see};

use ControlState::{Fail, Indeterminate, NotApplicable, Pass};

/// The scene, but the second pod was heard outside to ask like this.
fn hearing(ports: Vec<u16>) -> Dossier {
    let mut dossier = holding();
    hear(&mut dossier, Aim::PortsOutside, ports);
    dossier
}

fn hear(dossier: &mut Dossier, aim: Aim, ports: Vec<u16>) {
    hear_as(dossier, aim, "10.0.0.1", ports);
}

fn hear_as(dossier: &mut Dossier, aim: Aim, address: &str, ports: Vec<u16>) {
    let id = ids(dossier, aim).last().unwrap();
    dossier.heard.insert(id, heard_as(address, ports));
}

/// So many of 256 questions failed.
fn failed(count: u16) -> Saw {
    Saw::Series(Tally {
        answers: [(Rcode::NOERROR, 256 - count), (Rcode::SERVFAIL, count)].into(),
        ..Tally::default()
    })
}

/// Ports as wide as they may be: those of 1024–65535, at random.
fn wide(count: usize) -> Vec<u16> {
    mixed(count)
        .into_iter()
        .map(|port| 1024 + u16::try_from(u32::from(port - 32_768) * 64_512 / 27_239).unwrap())
        .collect()
}

fn assert_says(dossier: &Dossier, state: ControlState, observed: &str, message: &str) {
    let verdict = judge(dossier).verdict;
    assert_eq!(verdict.state, state, "{verdict:?}");
    assert!(verdict.observed.contains(observed), "{}", verdict.observed);
    assert!(verdict.message.contains(message), "{}", verdict.message);
}

#[test]
fn the_numbers_of_both_sides_stand_in_the_status() {
    let observed = "768 questions heard outside, 0 lost; at worst 256 of 256 ports differ, spread over 14.7 bits, and over \
                    14.7 inside";
    assert_says(&holding(), Pass, observed, "as hard to guess");
}

#[test]
fn what_is_heard_outside_decides() {
    let counter = |step: u32| {
        (0..256)
            .map(|n| u16::try_from(1024 + n * step % 64_512).unwrap())
            .collect()
    };
    for (ports, state, observed, message) in [
        (mixed(256), Pass, "", ""),
        (wide(256), Pass, "", ""),
        (mixed(64), Pass, "", ""),
        (
            (0..256).map(|n| 40_000 + n * 37 % 64).collect(),
            Fail,
            "only 64 of 256 ports differ",
            "too few ports",
        ),
        (counter(1), Fail, "steps are the same", "the NAT counts"),
        (counter(12_345), Fail, "steps are the same", "the NAT counts"),
        (
            vec![5353; 256],
            Fail,
            "one port came 256 times",
            "again and again",
        ),
        (
            mixed(63),
            Indeterminate,
            "at least 64 ports are needed",
            "the next round",
        ),
        (
            (40_000..40_016).collect(),
            Fail,
            "all 16 ports that arrived lie in 40000 to 40015",
            "too few ports",
        ),
        (mixed(16), Indeterminate, "at least 64 ports are needed", ""),
        (vec![], Indeterminate, "at least 64 ports are needed", ""),
    ] {
        assert_says(&hearing(ports), state, observed, message);
    }
    let verdict = judge(&hearing(counter(1))).verdict;
    assert!(verdict.observed.contains("coredns-b"), "{}", verdict.observed);
    assert!(!verdict.observed.contains("coredns-a"), "{}", verdict.observed);
}

#[test]
fn a_range_that_is_much_narrower_outside_is_the_nat_s() {
    let quarter = |ports: Vec<u16>| ports.into_iter().map(|port| port / 5).collect::<Vec<_>>();
    let mut dossier = hearing(quarter(wide(256)));
    hear(&mut dossier, Aim::Ports, wide(256));
    assert_says(
        &dossier,
        Fail,
        "spread over 13.6 bits, and over 15.9 inside",
        "undoes the randomisation",
    );

    // As wide as Linux's range, whatever the resolver has: chance and custom are no NAT's fault.
    let mut dossier = hearing(mixed(256));
    hear(&mut dossier, Aim::Ports, wide(256));
    assert_says(&dossier, Pass, "", "");
}

#[test]
fn ports_that_are_bad_at_the_resolver_are_not_the_nat_s() {
    let pool: Vec<u16> = mixed(20).into_iter().cycle().take(256).collect();
    let mut dossier = hearing(pool.clone());
    hear(&mut dossier, Aim::Ports, pool.clone());
    assert_says(&dossier, Fail, "only 20 of 256", "mend DNS-03 first");
    let mut mended = holding();
    hear(&mut mended, Aim::Ports, pool);
    assert_says(&mended, Pass, "", "");
}

#[test]
fn what_is_lost_is_counted() {
    let second = Place::Pod(PODS[1].into());
    for (count, state, observed) in [
        (12, Pass, "768 questions heard outside, 12 lost"),
        (
            13,
            Indeterminate,
            "13 of 256 questions of pod kube-system/coredns-b to the zone outside failed, 0 of 256 to",
        ),
    ] {
        let mut dossier = holding();
        see(&mut dossier, Aim::PortsOutside, Some(&second), &failed(count));
        assert_says(&dossier, state, observed, "");
    }
    let mut exhausted = hearing((40_000..40_064).collect());
    see(&mut exhausted, Aim::PortsOutside, Some(&second), &failed(192));
    assert_says(&exhausted, Fail, "10 are needed, 192 of 256 questions failed", "");
    assert_says(&exhausted, Fail, "In doubt: 192 of 256", "");
}

#[test]
fn every_address_outside_is_judged_by_itself() {
    let mut dossier = holding();
    let asker = |last: u8, ports: Vec<u16>| Asker {
        address: [192, 0, 2, last].into(),
        ..heard(ports).askers.remove(0)
    };
    let id = ids(&dossier, Aim::PortsOutside).next().unwrap();
    dossier.heard.get_mut(&id).unwrap().askers = vec![asker(1, mixed(128)), asker(2, vec![7; 128])];
    assert_says(
        &dossier,
        Fail,
        "heard outside as 192.0.2.2: one port came 128 times",
        "",
    );
}

#[test]
fn a_resolver_is_judged_by_its_own_series_however_few_it_gets_from_a_pod() {
    let behind = |own: Vec<u16>| {
        let mut dossier = holding();
        for aim in [Aim::Ports, Aim::PortsOutside] {
            hear_as(&mut dossier, aim, ASKER, mixed(20));
        }
        let first = ids(&dossier, Aim::PortsOutside).next().unwrap();
        dossier.heard.insert(first, heard_as(ASKER, own));
        dossier
    };
    assert_says(&behind(mixed(256)), Pass, "512 questions heard outside", "");
    assert_says(
        &behind(vec![7; 256]),
        Fail,
        "resolver tsutsumi/unbound-a, heard outside as 10.0.0.9: one port",
        "",
    );
    assert_says(
        &behind(mixed(63)),
        Indeterminate,
        "pod kube-system/coredns-b, heard outside as 10.0.0.9: judge source ports: 20 arrived",
        "",
    );

    // What shows enough, or a small block, is not overlooked.
    for (ports, observed) in [
        (
            vec![7; 256],
            "coredns-b, heard outside as 10.0.0.9: one port came",
        ),
        (
            (40_000..40_016).collect(),
            "coredns-b, heard outside as 10.0.0.9: all 16 ports that arrived",
        ),
    ] {
        let mut dossier = behind(mixed(256));
        hear_as(&mut dossier, Aim::PortsOutside, ASKER, ports);
        assert_says(&dossier, Fail, observed, "");
    }
}

#[test]
fn who_asks_for_itself_is_not_judged_by_what_others_show_through_the_same_nat() {
    let mut dossier = holding();
    hear_as(&mut dossier, Aim::PortsOutside, ASKER, mixed(20));
    assert_says(
        &dossier,
        Indeterminate,
        "pod kube-system/coredns-b, heard outside as 10.0.0.9: judge source ports: 20 arrived",
        "",
    );
}

#[test]
fn without_both_zones_nothing_is_told() {
    let mut dossier = holding();
    dossier.zone_outside = Availability::Missing("name one under `probeZone.outside`".into());
    assert_says(
        &dossier,
        Indeterminate,
        "no probe zone outside hears",
        "Name one under `probeZone.outside`.",
    );

    let mut dossier = holding();
    dossier.zone = Availability::Missing("set `probeZone.enabled=true`".into());
    assert_says(
        &dossier,
        Indeterminate,
        "nothing can be compared",
        "Set `probeZone.enabled=true`.",
    );

    let mut dossier = holding();
    hear(&mut dossier, Aim::Ports, mixed(63));
    assert_says(&dossier, Indeterminate, "to compare with", "DNS-03");

    let mut dossier = holding();
    for aim in [Aim::Ports, Aim::PortsOutside] {
        let id = ids(&dossier, aim).next().unwrap();
        let kept = dossier.heard.remove(&id);
        assert_says(&dossier, Indeterminate, "is not known", "");
        dossier.heard.insert(
            id,
            Heard {
                askers: vec![],
                ..kept.clone().unwrap()
            },
        );
        assert_eq!(judge(&dossier).verdict.state, Indeterminate);
        dossier.heard.insert(id, kept.unwrap());
    }
    assert_eq!(judge(&dossier).verdict.state, Pass);
}

#[test]
fn what_was_not_asked_is_told() {
    let mut dossier = holding();
    see(
        &mut dossier,
        Aim::PortsOutside,
        None,
        &Saw::Nothing(Failure::Unfinished),
    );
    assert_says(&dossier, Indeterminate, "the time for the round ran out", "");
    dossier.asked.random_ports = false;
    assert_says(&dossier, NotApplicable, "", "");
}
