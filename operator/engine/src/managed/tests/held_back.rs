//! A switch that is held back because names would be answered worse.

use serde_json::json;
use tsutsumi_api::{ResolverPolicy, conditions::Reason};
use tsutsumi_controls::Root;

use super::{NOW, cluster, managed, planned, policy, served, wanted};
use crate::{
    cluster::Cluster,
    managed::{Data, Managed, Missing, decide},
    resolver::{Plan, Planned, Record, check, plan},
    testing::{edit, place},
};

fn held_back(policy: &ResolverPolicy, cluster: &Cluster, record: &Record) -> (Managed, Planned) {
    let mut checked = check(policy, &[], cluster);
    let missing = Missing {
        reason: Reason::WouldGetWorse,
        message: "intranet.corp A: 10.0.0.1 today, NXDOMAIN then".to_owned(),
    };
    checked.managed = decide(&checked, cluster, &Data::default(), NOW).held_back(missing);
    let planned = plan(&checked, record);
    (checked.managed, planned)
}

fn upstreams() -> ResolverPolicy {
    policy(&json!({ "via": "Upstreams", "upstreams": ["192.0.2.53"], "sourcePorts": "Random" }))
}

fn serving() -> Cluster {
    let before = cluster();
    let mut serving = served(&before, &wanted(&managed(), &before, &Data::default()));
    serving.installed.probe_zone = Some("probe.town.test".parse().unwrap());
    place(
        &mut serving,
        json!({
            "kind": "Service",
            "metadata": { "name": "tsutsumi-probe-zone", "namespace": "dyke" },
            "spec": { "clusterIP": "10.96.0.77", "clusterIPs": ["10.96.0.77"], "ports": [{ "port": 53 }] },
        }),
    );
    serving
}

#[test]
fn while_a_switch_is_held_back_everything_else_is_written_and_followed() {
    let cluster = serving();
    for policy in [managed(), upstreams()] {
        let (_, held) = held_back(&policy, &cluster, &Record::default());
        let missing = held.missing.unwrap();
        assert_eq!(missing.reason, Reason::WouldGetWorse);
        assert!(missing.message.contains("intranet.corp"), "{}", missing.message);
        let Plan::Replace(change) = held.plan else {
            panic!("outside clients must not be answered meanwhile: {:?}", held.plan)
        };
        assert!(
            change.candidate.contains("acl {") && change.candidate.contains("forward . /etc/resolv.conf")
        );
        assert!(!change.leads_elsewhere && !change.candidate.contains("forward . 1"));
    }

    let plain = policy(&json!({ "sourcePorts": "Random" }));
    let Plan::Replace(change) = planned(&plain, &cluster, &Record::default()).plan else {
        panic!("nothing is written yet")
    };
    let probe = "forward probe.town.test 10.96.0.77:53";
    assert!(change.candidate.contains(probe), "{}", change.candidate);
    let mut live = cluster.clone();
    edit(&mut live.config_maps, "coredns", |map| {
        map["data"]["Corefile"] = change.candidate.clone().into();
    });
    let record = Record::default().saving(&change);
    for policy in [managed(), upstreams()] {
        let (resolver, held) = held_back(&policy, &live, &record);
        assert_eq!(held.missing.unwrap().reason, Reason::WouldGetWorse);
        assert!(matches!(held.plan, Plan::InForce { .. }), "{:?}", held.plan);
        assert!(!matches!(resolver.root(), Root::Known(_)), "nothing is led there");

        let mut grown = live.clone();
        place(
            &mut grown,
            json!({
                "kind": "Node",
                "metadata": { "name": "three" },
                "spec": { "podCIDRs": ["10.99.0.0/24"] },
                "status": { "addresses": [{ "type": "InternalIP", "address": "192.0.2.13" }] },
            }),
        );
        let Plan::Replace(change) = held_back(&policy, &grown, &record).1.plan else {
            panic!("the new node must be answered")
        };
        assert!(change.candidate.contains("10.99.0.0/24") && change.candidate.contains(probe));
        assert!(!change.leads_elsewhere && !change.candidate.contains("forward . 1"));
    }
}

#[test]
fn only_a_change_of_whom_the_root_leads_to_is_compared() {
    let cluster = serving();
    let replaced =
        |policy: &ResolverPolicy, cluster: &Cluster, record: &Record| match planned(policy, cluster, record)
            .plan
        {
            Plan::Replace(change) => *change,
            other => panic!("{other:?}"),
        };
    let plain = policy(&json!({ "sourcePorts": "Random" }));
    assert!(!replaced(&plain, &cluster, &Record::default()).leads_elsewhere);
    let first = replaced(&upstreams(), &cluster, &Record::default());
    assert!(first.leads_elsewhere, "ours appears");

    let mut live = cluster.clone();
    edit(&mut live.config_maps, "coredns", |map| {
        map["data"]["Corefile"] = first.candidate.clone().into();
    });
    let record = Record::default().saving(&first);
    let mut smaller = upstreams();
    smaller.spec.udp = Some(tsutsumi_api::resolver_policy::Udp {
        max_message_bytes: 1400,
    });
    assert!(!replaced(&smaller, &live, &record).leads_elsewhere);
    let mut excepting = live.clone();
    edit(&mut excepting.config_maps, "coredns", |map| {
        let text = map["data"]["Corefile"].as_str().unwrap();
        let foreign = "forward . /etc/resolv.conf {\n";
        map["data"]["Corefile"] = text
            .replace(foreign, &format!("{foreign}       except corp\n"))
            .into();
    });
    let followed = replaced(&upstreams(), &excepting, &record);
    assert!(
        followed
            .candidate
            .contains("forward . 192.0.2.53:53 {\n        except corp\n")
    );
    assert!(!followed.leads_elsewhere, "fewer names go there");
    assert!(!replaced(&plain, &live, &record).leads_elsewhere, "the way back");
    let other = policy(&json!({ "via": "Upstreams", "upstreams": ["192.0.2.54"], "sourcePorts": "Random" }));
    assert!(
        replaced(&other, &live, &record).leads_elsewhere,
        "ours leads to another"
    );
}
