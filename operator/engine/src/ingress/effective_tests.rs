//! Whoever adds a policy of a namespace tightens what is his, and nothing else.

use std::num::{NonZeroU32, NonZeroU64};

use proptest::prelude::*;
use tsutsumi_model::{Bytes, BytesPerSecond, Count, Lever, Limit, Limits, Per, Rate, Seconds};

use super::*;

const NAMESPACES: [&str; 3] = ["infra", "town", "village"];

fn reference(kind: TargetKind, namespace: &str, name: &str, section: Option<&str>) -> Reference {
    Reference {
        kind,
        namespace: namespace.into(),
        name: name.into(),
        section: section.map(Into::into),
    }
}

fn gateway(namespace: &str, section: Option<&str>) -> Reference {
    reference(TargetKind::Gateway, namespace, "public", section)
}

fn route(namespace: &str) -> Reference {
    reference(TargetKind::HttpRoute, namespace, "web", None)
}

/// A Gateway with two listeners and a route in each namespace; every route is led to by every Gateway.
fn surfaces() -> Vec<Surface> {
    let listeners: Vec<Reference> = NAMESPACES
        .iter()
        .flat_map(|namespace| ["http", "https"].map(|section| gateway(namespace, Some(section))))
        .collect();
    let mut surfaces: Vec<Surface> = listeners.iter().cloned().map(Surface::Listener).collect();
    surfaces.extend(NAMESPACES.map(|namespace| Surface::Route(route(namespace), listeners.clone())));
    surfaces.push(Surface::Node);
    surfaces
}

fn seconds(value: u32) -> Option<Limit<Seconds>> {
    NonZeroU32::new(value).map(|value| Seconds(value).into())
}

fn connections(value: u32) -> Option<Limit<Count>> {
    NonZeroU32::new(value).map(|value| Count(value).into())
}

fn cluster(name: &str, limits: Limits, floors: Limits) -> Policy {
    Policy {
        name: PolicyName::Cluster(name.into()),
        created: 0,
        targets: vec![],
        limits,
        floors,
    }
}

fn of(namespace: &str, target: Reference, limits: Limits) -> Policy {
    Policy {
        name: PolicyName::Namespaced(namespace.into(), "web".into()),
        created: 0,
        targets: vec![target],
        limits,
        floors: Limits::default(),
    }
}

fn timeout(value: u32) -> Limits {
    Limits {
        request_headers: seconds(value),
        ..Limits::default()
    }
}

#[test]
fn the_stricter_value_wins_lever_by_lever_and_says_whose_it_is() {
    let listener = gateway("town", Some("https"));
    let policies = [
        cluster(
            "baseline",
            Limits {
                connections: connections(1000),
                ..timeout(10)
            },
            Limits::default(),
        ),
        of(
            "town",
            gateway("town", None),
            Limits {
                connections: connections(2000),
                ..timeout(5)
            },
        ),
    ];
    let limits = effective(&Surface::Listener(listener), &policies);
    let listed: Vec<(Lever, String, String)> = limits
        .iter()
        .map(|(lever, value, choice)| (lever, value, choice.policy.to_string()))
        .collect();
    assert_eq!(
        listed,
        [
            (
                Lever::RequestHeaders,
                "5s".to_owned(),
                "IngressProtectionPolicy town/web".to_owned()
            ),
            (
                Lever::Connections,
                "1000".to_owned(),
                "ClusterIngressProtectionPolicy baseline".to_owned()
            ),
        ]
    );
}

#[test]
fn nobody_tightens_below_a_floor_and_a_floor_limits_nothing_by_itself() {
    let floors = Limits {
        connections: connections(100),
        idle: seconds(5),
        ..Limits::default()
    };
    let baseline = cluster("baseline", Limits::default(), floors);
    let one = Limits {
        connections: connections(1),
        ..Limits::default()
    };
    let policies = [of("town", gateway("town", None), one), baseline];
    let limits = effective(&Surface::Listener(gateway("town", Some("http"))), &policies);
    let held = limits.connections.unwrap();
    assert_eq!(held.value.to_string(), "100");
    assert_eq!(held.from.policy, PolicyName::Cluster("baseline".into()));
    assert_eq!(
        held.from.held_back,
        Some((
            PolicyName::Namespaced("town".into(), "web".into()),
            "1".to_owned()
        ))
    );
    assert_eq!(limits.idle, None);
}

#[test]
fn a_section_is_only_that_listener() {
    let policies = [of("town", gateway("town", Some("https")), timeout(5))];
    for (section, limited) in [("https", true), ("http", false)] {
        let limits = effective(&Surface::Listener(gateway("town", Some(section))), &policies);
        assert_eq!(limits.request_headers.is_some(), limited, "{section}");
    }
}

#[test]
fn of_equal_values_the_cluster_s_is_named_and_else_the_oldest() {
    let at = |name: &str, created| Policy {
        created,
        ..cluster(name, timeout(5), Limits::default())
    };
    let own = Policy {
        created: -5,
        ..of("town", gateway("town", None), timeout(5))
    };
    let policies = [own, at("b", 2), at("c", 1), at("a", 2)];
    let limits = effective(&Surface::Listener(gateway("town", Some("http"))), &policies);
    let named = limits.request_headers.unwrap().from.policy;
    assert_eq!(named, PolicyName::Cluster("c".into()));
}

prop_compose! {
    fn any_limits()(
        numbers in prop::collection::vec(0_u32..4, 13),
        per in prop::sample::select(vec![Per::Second, Per::Minute, Per::Hour]),
    ) -> Limits {
        let count = |at: usize| connections(numbers[at]);
        let size = |at: usize| NonZeroU64::new(numbers[at].into());
        Limits {
            tcp_handshake: seconds(numbers[0]),
            tls_handshake: seconds(numbers[1]),
            request_headers: seconds(numbers[2]),
            whole_request: seconds(numbers[3]),
            idle: seconds(numbers[4]),
            client_requests: NonZeroU32::new(numbers[5]).map(|count| Rate { count, per }.into()),
            client_burst: count(6),
            client_connections: count(7),
            client_bandwidth: size(8).map(|value| BytesPerSecond(value).into()),
            connections: count(9),
            header_bytes: size(10).map(|value| Bytes(value).into()),
            body_bytes: size(11).map(|value| Bytes(value).into()),
            concurrent_streams: count(12),
        }
    }
}

prop_compose! {
    fn any_reference()(
        kind in prop::sample::select(vec![TargetKind::Gateway, TargetKind::HttpRoute]),
        namespace in prop::sample::select(NAMESPACES.to_vec()),
        section in prop::option::of(prop::sample::select(vec!["http", "https"])),
    ) -> Reference {
        match kind {
            TargetKind::Gateway => gateway(namespace, section),
            _ => route(namespace),
        }
    }
}

prop_compose! {
    /// A policy of a namespace, attached to whatever it likes.
    fn any_namespaced()(
        namespace in prop::sample::select(NAMESPACES.to_vec()),
        name in "[ab]",
        created in 0_i64..3,
        targets in prop::collection::vec(any_reference(), 1..4),
        limits in any_limits(),
        floors in any_limits(),
    ) -> Policy {
        Policy {
            name: PolicyName::Namespaced(namespace.into(), name),
            created,
            targets,
            limits,
            floors,
        }
    }
}

prop_compose! {
    fn any_cluster()(
        name in "[ab]",
        created in 0_i64..3,
        targets in prop::collection::vec(any_reference(), 0..3),
        limits in any_limits(),
        floors in any_limits(),
    ) -> Policy {
        Policy { name: PolicyName::Cluster(name), created, targets, limits, floors }
    }
}

fn any_policies() -> impl Strategy<Value = Vec<Policy>> {
    let any = prop_oneof![any_namespaced(), any_cluster()];
    prop::collection::vec(any, 0..6).prop_map(|mut policies| {
        // No two objects have one name.
        policies.sort_by(|one, other| one.name.cmp(&other.name));
        policies.dedup_by(|one, other| one.name == other.name);
        policies
    })
}

/// Whether no value of `after` is looser than that of `before`.
fn is_no_looser(before: &Limits<Choice>, after: &Limits<Choice>) -> bool {
    let mut same = true;
    macro_rules! compare {
        ($($field:ident)+) => {
            $(same &= match (&before.$field, &after.$field) {
                (Some(before), Some(after)) => after.value <= before.value,
                (Some(_), None) => false,
                (None, _) => true,
            };)+
        };
    }
    compare!(tcp_handshake tls_handshake request_headers whole_request idle client_requests client_burst
        client_connections client_bandwidth connections header_bytes body_bytes concurrent_streams);
    same
}

proptest! {
    #[test]
    fn adding_a_policy_of_a_namespace_changes_nothing_elsewhere_and_loosens_nothing(
        mut policies in any_policies(),
        added in any_namespaced(),
    ) {
        policies.retain(|policy| policy.name != added.name);
        let before: Vec<_> = surfaces().iter().map(|surface| effective(surface, &policies)).collect();
        let PolicyName::Namespaced(namespace, _) = added.name.clone() else {
            unreachable!("it is of a namespace");
        };
        policies.push(added);
        for (surface, before) in surfaces().iter().zip(before) {
            let after = effective(surface, &policies);
            prop_assert!(is_no_looser(&before, &after), "{surface:?}: {before:?} {after:?}");
            let own = match surface {
                Surface::Listener(object) | Surface::Route(object, _) => object.namespace == namespace,
                Surface::Node => false,
            };
            prop_assert!(own || before == after, "{surface:?}: {before:?} {after:?}");
            let mut levers = after.iter().map(|(lever, ..)| lever.scope());
            prop_assert!(levers.all(|scope| scope == surface.scope()), "{surface:?}: {after:?}");
        }
    }

    #[test]
    fn the_order_of_the_policies_changes_nothing(mut policies in any_policies()) {
        for surface in surfaces() {
            let one = effective(&surface, &policies);
            policies.reverse();
            prop_assert_eq!(one, effective(&surface, &policies));
        }
    }
}
