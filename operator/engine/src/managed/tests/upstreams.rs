//! Resolvers of the user's.

use serde_json::json;
use tsutsumi_api::{ResolverPolicy, conditions::Reason};
use tsutsumi_model::{Endpoint, Port};

use super::{NOW, cluster, planned, policy};
use crate::{
    cluster::{Cluster, OutsideZone},
    managed::{Data, decide},
    resolver::{Plan, Record, check, plan},
    testing::{edit, place},
};

#[test]
fn upstreams_of_the_user_s_are_asked_by_address() {
    let policy = policy(&json!({
        "via": "Upstreams",
        "upstreams": ["192.0.2.53", "[2001:db8::53]:5353"],
        "sourcePorts": "Random",
    }));
    let Plan::Replace(change) = planned(&policy, &cluster(), &Record::default()).plan else {
        panic!("it is written at once")
    };
    let leads =
        "    forward . 192.0.2.53:53 [2001:db8::53]:5353 {\n        expire 0s\n    }\n    forward . /etc";
    assert!(change.candidate.contains(leads), "{}", change.candidate);
}

#[test]
fn an_upstream_that_does_not_answer_is_named_and_what_stands_there_stays() {
    let cluster = cluster();
    let upstreams = policy(&json!({
        "via": "Upstreams",
        "upstreams": ["192.0.2.53", "192.0.2.54"],
        "sourcePorts": "Random",
    }));
    let silent = Endpoint {
        address: "192.0.2.54".parse().unwrap(),
        port: Port::new(53).unwrap(),
    };
    let data = Data {
        silent: vec![(silent, "does not answer over UDP".into())],
        ..Data::default()
    };
    let planned = |policy: &ResolverPolicy, cluster: &Cluster, record: &Record| {
        let mut checked = check(policy, &[], cluster);
        checked.managed = decide(&checked, cluster, &data, NOW);
        plan(&checked, record)
    };
    let Plan::Blocked { reason, message } = planned(&upstreams, &cluster, &Record::default()).plan else {
        panic!("nothing of ours is there that would have to follow the cluster")
    };
    assert_eq!(reason, Reason::ResolverNotReady);
    assert!(
        message.contains("192.0.2.54:53 does not answer over UDP"),
        "{message}"
    );

    // A text of ours follows the cluster all the same, without those that do not answer.
    let plain = policy(&json!({ "sourcePorts": "Random" }));
    let Plan::Replace(change) = super::planned(&plain, &cluster, &Record::default()).plan else {
        panic!("nothing is written yet")
    };
    let mut live = cluster.clone();
    edit(&mut live.config_maps, "coredns", |map| {
        map["data"]["Corefile"] = change.candidate.clone().into();
    });
    let held = planned(&upstreams, &live, &Record::default().saving(&change));
    assert_eq!(
        held.missing.map(|missing| missing.reason),
        Some(Reason::ResolverNotReady)
    );
    assert!(matches!(held.plan, Plan::InForce { .. }), "{:?}", held.plan);
}

#[test]
fn what_upstreams_are_to_validate_goes_through_them() {
    let mut cluster = cluster();
    cluster.installed.probe_zone = Some("probe.town.test".parse().unwrap());
    cluster.installed.outside_zone = Some(OutsideZone {
        name: "outside.town.test".parse().unwrap(),
        address: "198.51.100.3".parse().unwrap(),
    });
    place(
        &mut cluster,
        json!({
            "kind": "Service",
            "metadata": { "name": "tsutsumi-probe-zone", "namespace": "dyke" },
            "spec": { "clusterIP": "10.96.0.77", "clusterIPs": ["10.96.0.77"], "ports": [{ "port": 53 }] },
        }),
    );
    let candidate = |dnssec: Option<&str>| {
        let mut recursion = json!({
            "via": "Upstreams",
            "upstreams": ["192.0.2.53"],
            "sourcePorts": "Random",
        });
        if let Some(dnssec) = dnssec {
            recursion["dnssec"] = dnssec.into();
        }
        let policy = policy(&recursion);
        match planned(&policy, &cluster, &Record::default()).plan {
            Plan::Replace(change) => change.candidate,
            other => panic!("{other:?}"),
        }
    };
    let straight = "forward probe.town.test 10.96.0.77:53";
    let outside = "forward outside.town.test 198.51.100.3:53";
    for dnssec in [None, Some("Off")] {
        assert!(
            candidate(dnssec).contains(straight),
            "{dnssec:?}: {}",
            candidate(dnssec)
        );
    }
    for dnssec in [Some("Required"), Some("WhenSigned")] {
        let text = candidate(dnssec);
        assert!(!text.contains("probe.town.test"), "{text}");
        assert!(text.contains("forward . 192.0.2.53:53"), "{text}");
        assert!(
            text.contains(outside),
            "what a NAT makes of the pods' ports is seen there: {text}"
        );
    }
}
