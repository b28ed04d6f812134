//! Servers of the root: what was given and what is found, both ways.

use tsutsumi_model::{ControlState, Rcode, Saw};

use super::*;
use crate::{
    Aim,
    scene::{RESOLVER, SERVERS, about_root, holding, root, see, start_of},
};

use ControlState::{Fail, Indeterminate, NotApplicable, Pass};

fn server(name: &str) -> RootRecord {
    RootRecord::Server(name.parse().unwrap())
}

fn address(name: &str, address: &str) -> RootRecord {
    RootRecord::Address(name.parse().unwrap(), address.parse().unwrap())
}

fn with(aim: Aim, saw: &Saw) -> Dossier {
    let mut dossier = holding();
    see(&mut dossier, aim, None, saw);
    dossier
}

fn found(records: Vec<RootRecord>) -> Dossier {
    with(Aim::RootServers, &root(records))
}

fn failing(rcode: Rcode) -> Saw {
    Saw::Root(RootAnswer {
        rcode,
        authentic: false,
        extended_errors: vec![22],
        ..about_root(vec![])
    })
}

fn started(change: impl FnOnce(&mut Start)) -> Dossier {
    let mut dossier = holding();
    change(start_of(&mut dossier));
    dossier
}

#[test]
fn each_difference_and_each_gap() {
    let [a, b] = SERVERS;
    let unread = Saw::Root(RootAnswer {
        unread: 1,
        ..about_root(vec![server(a), server(b)])
    });
    for (dossier, state, observed) in [
        (holding(), Pass, "2 servers and their addresses"),
        (found(vec![server(b), server(a)]), Pass, "1 pod"),
        (
            found(vec![
                server(a),
                server(b),
                server("c.root.town"),
                address("c.root.town", "192.0.2.3"),
            ]),
            Fail,
            "the root names c.root.town (192.0.2.3), which is not among",
        ),
        (
            found(vec![server(a)]),
            Fail,
            "b.root.town (192.0.2.2) was given, and the root does not name it",
        ),
        (
            with(Aim::RootAddresses, &root(vec![])),
            Fail,
            "a.root.town was given 192.0.2.1, and the root says no address",
        ),
        (
            with(
                Aim::RootAddresses,
                &root(vec![
                    address(b, "192.0.2.9"),
                    address(a, "192.0.2.1"),
                    address(a, "2001:db8::1"),
                ]),
            ),
            Fail,
            "b.root.town was given 192.0.2.2, and the root says 192.0.2.9",
        ),
        (found(vec![]), Indeterminate, "finds no servers of the root"),
        (
            with(Aim::RootServers, &failing(Rcode::SERVFAIL)),
            Indeterminate,
            "resolver tsutsumi/unbound-a cannot find . NS: SERVFAIL, extended error 22",
        ),
        (
            with(Aim::RootAddresses, &failing(Rcode::REFUSED)),
            Indeterminate,
            "a.root.town A: REFUSED",
        ),
        (
            with(Aim::RootServers, &unread),
            Indeterminate,
            "could not be read to its end",
        ),
        (
            with(Aim::RootServers, &Saw::Nothing(tsutsumi_model::Failure::Timeout)),
            Indeterminate,
            "silence",
        ),
    ] {
        let verdict = judge(&dossier).verdict;
        assert_eq!(verdict.state, state, "{verdict:?}");
        assert!(
            verdict.observed.contains(observed),
            "{observed}: {}",
            verdict.observed
        );
    }
}

#[test]
fn a_name_that_has_no_addresses_any_more_differs() {
    let gone = match root(vec![]) {
        Saw::Root(answer) => Saw::Root(RootAnswer {
            rcode: Rcode::NXDOMAIN,
            ..answer
        }),
        other => other,
    };
    assert_eq!(judge(&with(Aim::RootAddresses, &gone)).verdict.state, Fail);
}

#[test]
fn an_offline_cluster_is_told_how_to_name_a_root_of_its_own() {
    let verdict = judge(&with(Aim::RootServers, &failing(Rcode::SERVFAIL))).verdict;
    assert!(
        verdict.message.contains("recursion.roots.hintsConfigMap"),
        "{}",
        verdict.message
    );
}

#[test]
fn what_to_correct_is_named() {
    let mut missing = found(vec![server(SERVERS[0])]);
    let message = judge(&missing).verdict.message;
    assert!(
        message.contains("`named.root` of the ConfigMap our-hints"),
        "{message}"
    );
    start_of(&mut missing).hints = Source::Bundled;
    let message = judge(&missing).verdict.message;
    assert!(message.contains("update tsutsumi"), "{message}");
}

#[test]
fn the_bundled_set_is_remarked_on_and_decides_nothing() {
    let message = |change: fn(&mut Start)| {
        let verdict = judge(&started(change)).verdict;
        assert_eq!(verdict.state, Pass, "{verdict:?}");
        verdict.message
    };
    assert!(message(|_| ()).contains("plays no part"));
    let fresh = message(|start| {
        let servers = start.servers.clone();
        start.bundled = Some(Bundled {
            servers,
            date: "2024-04-18",
            old: false,
        });
    });
    assert_eq!(fresh, "Given and found servers are the same.");
    let old = message(|start| {
        let servers = start.servers.clone();
        start.bundled = Some(Bundled {
            servers,
            date: "2024-04-18",
            old: true,
        });
    });
    assert!(
        old.contains("Warning") && old.contains("2024-04-18, more than 92 days ago"),
        "{old}"
    );
    let other = message(|start| {
        start.bundled = Some(Bundled {
            servers: [].into(),
            date: "2024-04-18",
            old: false,
        });
    });
    assert!(
        other.contains("is another one than that of the ConfigMap"),
        "{other}"
    );
}

#[test]
fn without_a_start_nothing_is_known_and_without_a_resolver_nothing_is_asked() {
    let mut dossier = holding();
    dossier.root = Root::Unknown("hintsConfigMap: line 3".into());
    let verdict = judge(&dossier).verdict;
    assert_eq!(verdict.state, Indeterminate);
    assert!(
        verdict.message.contains("HintsConfigMap: line 3."),
        "{}",
        verdict.message
    );
    dossier.root = Root::Unasked;
    let verdict = judge(&dossier).verdict;
    assert_eq!(verdict.state, NotApplicable);
    assert!(
        verdict.message.contains("recursion.via: Managed"),
        "{}",
        verdict.message
    );

    let mut gone = holding();
    gone.resolvers.clear();
    let verdict = judge(&gone).verdict;
    assert_eq!(verdict.state, Indeterminate);
    assert!(
        verdict
            .observed
            .contains("no pod of the managed resolver was seen"),
        "{}",
        verdict.observed
    );
    let mut unasked = holding();
    let place = Place::Resolver(RESOLVER.into());
    unasked.steps.retain(|(purpose, _)| purpose.place != place);
    assert_eq!(judge(&unasked).verdict.state, Indeterminate);
}
