use std::{collections::BTreeSet, net::IpAddr};

use tsutsumi_model::{
    Ask, DnsAnswer, DomainName, Endpoint, Failure, Observation, Port, Rcode, RootAnswer, RootRecord, Saw,
    Vantage,
};

use super::*;

const SERVER: Endpoint = Endpoint {
    address: IpAddr::V4(std::net::Ipv4Addr::new(10, 244, 0, 9)),
    port: Port::MIN,
};

fn name(text: &str) -> DomainName {
    text.parse().unwrap()
}

fn v4(text: &str) -> Question {
    Question {
        name: name(text),
        family: Family::V4,
    }
}

fn coded(rcode: Rcode, addresses: &[&str]) -> Saw {
    Saw::Answer(DnsAnswer {
        rcode,
        truncated: false,
        authentic: false,
        query_bytes: 40,
        answer_bytes: 80,
        answers: 1,
        addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
        nsid: None,
        extended_errors: vec![],
    })
}

fn answer(addresses: &[&str]) -> Saw {
    coded(Rcode::NOERROR, addresses)
}

fn root(rcode: Rcode, servers: &[&str], extended_errors: &[u16]) -> Saw {
    Saw::Root(RootAnswer {
        rcode,
        authentic: false,
        extended_errors: extended_errors.to_vec(),
        records: servers
            .iter()
            .map(|text| RootRecord::Server(name(text)))
            .collect(),
        unread: 0,
    })
}

/// What came to the question about the root, and to the others.
fn seen(questions: &[Question], saw: impl IntoIterator<Item = Saw>) -> Vec<Observation> {
    probes(SERVER, questions)
        .into_iter()
        .zip(saw)
        .map(|(probe, saw)| Observation {
            probe,
            vantage: Vantage::Inside,
            saw,
            millis: 1,
        })
        .collect()
}

fn compared(before: Saw, after: Saw) -> Vec<Worse> {
    let servers = || root(Rcode::NOERROR, &["a.root.town"], &[]);
    let asked = [v4("x.town")];
    worse(
        &seen(&asked, [servers(), before]),
        &seen(&asked, [servers(), after]),
        Demand::Root,
    )
}

#[test]
fn what_is_asked_comes_from_three_places_and_leaves_out_what_stays_inside_or_is_excepted() {
    let (named, except) = ([name("b.corp"), name("B.Corp")], [name("lab.corp")]);
    let external = ["a.lab.corp", "db.example", "x.default.svc.cluster.local"]
        .map(name)
        .into();
    let seen = [
        v4("db.example"),
        v4("notcluster.local"),
        v4("kubernetes.default.svc.cluster.local"),
    ]
    .into();
    let local = [name("cluster.local")].into();
    let asked = questions(&Sources {
        named: &named,
        external: &external,
        seen: &seen,
        except: &except,
        local: &local,
    });
    let told: Vec<String> = asked
        .questions
        .iter()
        .map(|question| format!("{} {:?}", question.name, question.family))
        .collect();
    assert_eq!(
        told,
        [
            "b.corp V4",
            "b.corp V6",
            "db.example V4",
            "db.example V6",
            "notcluster.local V4"
        ]
    );
    assert_eq!(asked.left_out, 0);
}

#[test]
fn of_too_many_those_of_the_policy_are_asked_and_the_rest_is_counted() {
    let named: Vec<DomainName> = (0..64).map(|n| name(&format!("zz{n}.corp"))).collect();
    let seen: BTreeSet<Question> = (0..1000).map(|n| v4(&format!("a{n}.example"))).collect();
    let sources = Sources {
        named: &named,
        external: &BTreeSet::new(),
        seen: &seen,
        except: &[],
        local: &BTreeSet::new(),
    };
    let asked = questions(&sources);
    assert_eq!((asked.questions.len(), asked.left_out), (MOST, 1000 - 128));
    assert!(
        named
            .iter()
            .all(|name| asked.questions.iter().any(|question| question.name == *name))
    );
    let turned: Vec<DomainName> = named.iter().rev().cloned().collect();
    let again = questions(&Sources {
        named: &turned,
        ..sources
    });
    assert_eq!(asked, again, "order changes nothing");
}

#[test]
fn zones_of_the_kubernetes_plugins_stay_inside() {
    let text = "a.town {\n    kubernetes inner.town\n}\n.:53 {\n    kubernetes cluster.local in-addr.arpa {\n        pods insecure\n    \
                }\n    forward . 192.0.2.1\n}\n";
    let zones = local_zones(text, &name("corp.local"));
    let expected = ["inner.town", "cluster.local", "in-addr.arpa", "corp.local"]
        .map(name)
        .into();
    assert_eq!(zones, expected);
    assert_eq!(local_zones("}", &name("corp.local")), [name("corp.local")].into());
}

#[test]
fn an_answer_that_ends_or_turns_outward_is_worse() {
    let timeout = Saw::Nothing(Failure::Timeout);
    for (what, before, after) in [
        ("denied", answer(&["192.0.2.1"]), coded(Rcode::NXDOMAIN, &[])),
        ("emptied", answer(&["192.0.2.1"]), answer(&[])),
        ("failing", answer(&["192.0.2.1"]), coded(Rcode::SERVFAIL, &[])),
        ("refused", answer(&["192.0.2.1"]), coded(Rcode::REFUSED, &[])),
        ("silent", answer(&["192.0.2.1"]), timeout.clone()),
        (
            "a denial lost",
            coded(Rcode::NXDOMAIN, &[]),
            coded(Rcode::SERVFAIL, &[]),
        ),
        (
            "outward",
            answer(&["10.1.2.3", "fd00::1"]),
            answer(&["192.0.2.1"]),
        ),
        (
            "not asked",
            answer(&["192.0.2.1"]),
            Saw::Nothing(Failure::Unfinished),
        ),
        (
            "not asked before",
            Saw::Nothing(Failure::Unfinished),
            answer(&["192.0.2.1"]),
        ),
    ] {
        assert_eq!(compared(before, after).len(), 1, "{what}");
    }
    for (what, before, after) in [
        ("the same", answer(&["192.0.2.1"]), answer(&["192.0.2.1"])),
        ("others", answer(&["192.0.2.1"]), answer(&["198.51.100.7"])),
        ("inward", answer(&["192.0.2.1"]), answer(&["10.0.0.1"])),
        (
            "still inside",
            answer(&["10.0.0.1"]),
            answer(&["10.0.0.9", "192.0.2.1"]),
        ),
        (
            "mixed before",
            answer(&["10.0.0.1", "192.0.2.1"]),
            answer(&["192.0.2.1"]),
        ),
        ("both fail", coded(Rcode::SERVFAIL, &[]), timeout.clone()),
        ("mended", timeout, answer(&["192.0.2.1"])),
        ("denied otherwise", answer(&[]), coded(Rcode::NXDOMAIN, &[])),
        (
            "no longer denied",
            coded(Rcode::NXDOMAIN, &[]),
            answer(&["192.0.2.1"]),
        ),
    ] {
        assert_eq!(compared(before, after), [], "{what}");
    }
}

#[test]
fn the_root_must_be_answered_for_where_we_resolve_from_it_and_else_no_worse() {
    let servers = root(Rcode::NOERROR, &["a.root.town"], &[]);
    let judged = |before: &Saw, after: &Saw, demand| {
        worse(&seen(&[], [before.clone()]), &seen(&[], [after.clone()]), demand)
    };
    for lost in [
        root(Rcode::SERVFAIL, &[], &[9]),
        root(Rcode::NOERROR, &[], &[]),
        Saw::Nothing(Failure::Timeout),
        Saw::Nothing(Failure::Unfinished),
    ] {
        assert_eq!(judged(&servers, &lost, Demand::NoWorse).len(), 1, "{lost:?}");
        assert_eq!(judged(&lost, &lost, Demand::NoWorse), [], "{lost:?}");
        assert_eq!(judged(&lost, &lost, Demand::Root).len(), 1, "{lost:?}");
        assert_eq!(judged(&lost, &servers, Demand::Root), [], "{lost:?}");
    }
    let bogus = judged(&servers, &root(Rcode::SERVFAIL, &[], &[9]), Demand::Root);
    let text = told(&bogus, 0);
    assert!(
        text.contains(". NS: the servers today, SERVFAIL because of its signatures then")
            && text.contains("recursion.roots"),
        "{text}"
    );
}

#[test]
fn what_is_told_names_the_first_counts_the_others_and_says_what_to_do() {
    let asked: Vec<Question> = (0..12).map(|n| v4(&format!("n{n}.corp"))).collect();
    let root = || root(Rcode::NOERROR, &["a.root.town"], &[]);
    let before = seen(
        &asked,
        std::iter::once(root()).chain(vec![answer(&["10.0.0.1"]); 12]),
    );
    let after = seen(
        &asked,
        std::iter::once(root()).chain(vec![coded(Rcode::NXDOMAIN, &[]); 12]),
    );
    let found = worse(&before, &after, Demand::Root);
    let places: Vec<usize> = found.iter().filter_map(|one| one.index).collect();
    assert_eq!(
        places,
        (0..12).collect::<Vec<_>>(),
        "each is found again among the questions"
    );
    let text = told(&found, 7);
    for part in [
        "12 answers would get worse",
        "n0.corp A: 10.0.0.1 today, NXDOMAIN then; ",
        "and 4 more, see status.warnings",
        "Forward the zone in the Corefile",
        "7 further names were not compared",
    ] {
        assert!(text.contains(part), "`{part}` is not in {text}");
    }
    let longest = Worse {
        index: Some(0),
        question: format!("{} AAAA", "x".repeat(253)),
        before: "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff and 15 more".to_owned(),
        after: "SERVFAIL because of its signatures".to_owned(),
    };
    let text = told(&vec![longest; 300], 0);
    assert!(text.find("recursion.compare.except") < text.find("xxx"), "{text}");
}

#[test]
fn every_question_is_asked_once_behind_the_root_s() {
    let both = [Family::V4, Family::V6].map(|family| Question {
        name: name("a.town"),
        family,
    });
    let asked = probes(SERVER, &both);
    assert!(matches!(asked[0].ask, Ask::Root(_)));
    let types: Vec<String> = asked
        .iter()
        .filter_map(|probe| match &probe.ask {
            Ask::Dns(question) => Some(format!(
                "{} {:?} {}",
                question.name, question.qtype, question.transport
            )),
            _ => None,
        })
        .collect();
    assert_eq!(types, ["a.town A UDP", "a.town Aaaa UDP"]);
}
