//! The managed resolver from policy and facts to objects, to whom is asked, and back.

use std::sync::Arc;

use k8s_openapi::{api::apps::v1::DeploymentStatus, apimachinery::pkg::apis::meta::v1::Time};
use serde_json::{Value, from_value, json};
use tsutsumi_api::{ResolverPolicy, conditions::Reason};
use tsutsumi_providers::unbound::{anchors::ROOT_KEY, hints::NAMED_ROOT, parse};

use super::{Data, Leftover, Managed, Offer, Placement, Wanted, decide};
use crate::{
    cluster::{Cluster, OutsideZone},
    resolver::{Plan, Planned, Record, check, plan},
    testing::{edit, kubeadm, place},
};

mod held_back;
mod hop;
mod pods;
mod upstreams;
mod watch;

const NOW: u64 = 1_795_000_000;
const DS: &str =
    "probe.town.test. IN DS 7 13 2 ABABABABABABABABABABABABABABABABABABABABABABABABABABABABABABABAB";
const OWN_HINTS: &str = ". NS a.root.town.\na.root.town. A 192.0.2.1\n";
const OWN_KEY: &str = ". DS 9 13 2 CDCDCDCDCDCDCDCDCDCDCDCDCDCDCDCDCDCDCDCDCDCDCDCDCDCDCDCDCDCDCDCD\n";

fn policy(recursion: &Value) -> ResolverPolicy {
    from_value(json!({
        "apiVersion": "tsutsumi.dev/v1alpha1",
        "kind": "ResolverPolicy",
        "metadata": { "name": "town", "generation": 1 },
        "spec": {
            "mode": "Enforce",
            "onDelete": "Restore",
            "clients": { "include": ["Cluster"] },
            "udp": { "maxMessageBytes": 1232 },
            "recursion": recursion,
        },
    }))
    .unwrap()
}

fn managed() -> ResolverPolicy {
    policy(&json!({ "via": "Managed", "sourcePorts": "Random" }))
}

fn cluster() -> Cluster {
    let mut cluster = kubeadm();
    cluster.installed.namespace = "dyke".into();
    cluster.installed.managed = Some(Offer {
        image: "registry.example/unbound:1.26.2".into(),
        metrics_image: Some("registry.example/tsutsumi:0.1.0".into()),
        pull_policy: "IfNotPresent".into(),
        replicas: 2,
        placement: Placement::default(),
    });
    cluster
}

fn decided(policy: &ResolverPolicy, cluster: &Cluster, data: &Data) -> Managed {
    decide(&check(policy, &[], cluster), cluster, data, NOW)
}

fn wanted(policy: &ResolverPolicy, cluster: &Cluster, data: &Data) -> Wanted {
    match decided(policy, cluster, data) {
        Managed::Wanted(wanted) => *wanted,
        other => panic!("not wanted: {other:?}"),
    }
}

fn refused(policy: &ResolverPolicy, cluster: &Cluster, data: &Data) -> (Reason, String) {
    match decided(policy, cluster, data) {
        Managed::Refused { reason, message } => (reason, message),
        other => panic!("not refused: {other:?}"),
    }
}

fn planned(policy: &ResolverPolicy, cluster: &Cluster, record: &Record) -> Planned {
    let mut checked = check(policy, &[], cluster);
    checked.managed = decide(&checked, cluster, &Data::default(), NOW);
    plan(&checked, record)
}

/// The cluster once all was applied and every pod serves.
fn served(cluster: &Cluster, wanted: &Wanted) -> Cluster {
    let mut cluster = cluster.clone();
    let mut deployment = wanted.objects.deployment.clone();
    deployment.metadata.generation = Some(4);
    deployment.status = Some(DeploymentStatus {
        available_replicas: Some(2),
        observed_generation: Some(4),
        replicas: Some(2),
        updated_replicas: Some(2),
        ..DeploymentStatus::default()
    });
    cluster.own = vec![Arc::new(deployment)];
    let mut service = serde_json::to_value(&wanted.objects.service).unwrap();
    service["spec"]["clusterIPs"] = json!(["10.96.7.7"]);
    service["spec"]["clusterIP"] = json!("10.96.7.7");
    place(&mut cluster, service);
    cluster
}

fn file(wanted: &Wanted, name: &str) -> String {
    wanted.objects.config.data.as_ref().unwrap()[name].clone()
}

#[test]
fn the_configuration_says_who_may_ask_and_is_named_by_its_content() {
    let cluster = cluster();
    let first = wanted(&managed(), &cluster, &Data::default());
    let text = file(&first, "unbound.conf");
    parse::parse(&text).unwrap();
    assert!(text.contains("access-control: 0.0.0.0/0 refuse\n"), "{text}");
    assert!(text.contains("access-control: 10.244.0.0/16 allow\n"), "{text}");
    assert!(!text.contains("192.0.2.1"), "no node by itself: {text}");
    assert_eq!(file(&first, "named.root"), NAMED_ROOT);
    assert_eq!(file(&first, "root.key"), ROOT_KEY);
    assert_eq!(first.objects.config.immutable, Some(true));
    let name = |wanted: &Wanted| wanted.objects.config.metadata.name.clone().unwrap();
    let hash = name(&first)
        .strip_prefix("tsutsumi-unbound-town-")
        .map(str::to_owned)
        .unwrap();
    assert!(
        text.contains(&format!("nsid: \"ascii_tsutsumi-{hash}\"\n")),
        "{text}"
    );
    let again = wanted(&managed(), &cluster, &Data::default());
    assert_eq!(again.objects, first.objects, "the same facts, the same objects");
    let lax = policy(&json!({ "via": "Managed", "sourcePorts": "Random", "dnssec": "WhenSigned" }));
    let lax = wanted(&lax, &cluster, &Data::default());
    assert_ne!(name(&lax), name(&first), "pods that run the first one keep it");
    assert_ne!(lax.digest, first.digest);
}

#[test]
fn the_probe_zone_is_asked_by_unbound_once_its_key_is_known() {
    let mut cluster = cluster();
    cluster.installed.probe_zone = Some("probe.town.test".parse().unwrap());
    place(
        &mut cluster,
        json!({
            "kind": "Service",
            "metadata": { "namespace": "dyke", "name": "tsutsumi-probe-zone" },
            "spec": { "clusterIP": "10.96.8.8", "clusterIPs": ["10.96.8.8"], "ports": [{ "port": 53 }] },
        }),
    );
    let unknown = wanted(&managed(), &cluster, &Data::default());
    assert!(!unknown.knows_probe_zones);
    let data = Data {
        probe_zones: vec![DS.to_owned()],
        ..Data::default()
    };
    let known = wanted(&managed(), &cluster, &data);
    assert!(known.knows_probe_zones);
    let text = file(&known, "unbound.conf");
    assert!(text.contains("stub-addr: 10.96.8.8@53\n"), "{text}");
    assert!(
        text.contains("trust-anchor: \"probe.town.test. DS 7 13 2 ABAB"),
        "{text}"
    );
    let mut outside = cluster.clone();
    outside.installed.outside_zone = Some(OutsideZone {
        name: "outside.town.test".parse().unwrap(),
        address: "192.0.2.77".parse().unwrap(),
    });
    let half = wanted(&managed(), &outside, &data);
    assert!(
        !half.knows_probe_zones,
        "CoreDNS leads to both as long as one has no key"
    );
    let data = Data {
        probe_zones: vec![DS.to_owned(), DS.replace("probe.", "outside.")],
        ..Data::default()
    };
    let text = file(&wanted(&managed(), &outside, &data), "unbound.conf");
    for line in [
        "stub-addr: 10.96.8.8@53\n",
        "stub-addr: 192.0.2.77@53\n",
        "trust-anchor: \"outside.town.test. DS 7",
    ] {
        assert!(text.contains(line), "{text}");
    }
    let cluster = served(&cluster, &known);
    let mut checked = check(&managed(), &[], &cluster).policy.clone();
    checked.metadata.name = Some("town".into());
    let mut checked = check(&checked, &[], &cluster);
    checked.managed = decide(&checked, &cluster, &data, NOW);
    let Plan::Replace(change) = plan(&checked, &Record::default()).plan else {
        panic!("it serves")
    };
    assert!(
        !change.candidate.contains("probe.town.test"),
        "{}",
        change.candidate
    );
}

#[test]
fn a_root_of_the_user_s_is_taken_whole_or_refused_by_name() {
    let cluster = cluster();
    let named = |dnssec: &str| {
        let roots = json!({ "hintsConfigMap": "hints", "anchorsConfigMap": "keys" });
        policy(&json!({ "via": "Managed", "sourcePorts": "Random", "dnssec": dnssec, "roots": roots }))
    };
    let data = |hints: Result<&str, &str>, anchors: Result<&str, &str>| Data {
        hints: Some(hints.map(str::to_owned).map_err(str::to_owned)),
        anchors: Some(anchors.map(str::to_owned).map_err(str::to_owned)),
        ..Data::default()
    };
    let own = wanted(&named("Required"), &cluster, &data(Ok(OWN_HINTS), Ok(OWN_KEY)));
    assert!(file(&own, "named.root").contains("a.root.town. 3600000 IN A 192.0.2.1\n"));
    assert_eq!(file(&own, "root.key"), OWN_KEY);
    for (hints, anchors, words) in [
        (
            Err("it is not in the namespace dyke"),
            Ok(OWN_KEY),
            "hintsConfigMap: ConfigMap hints",
        ),
        (Ok(". MX x."), Ok(OWN_KEY), "hintsConfigMap: line 1"),
        (Ok(OWN_HINTS), Ok("nonsense"), "anchorsConfigMap: line 1"),
        (Ok(NAMED_ROOT), Ok(OWN_KEY), "IANA published no such key"),
    ] {
        let (reason, message) = refused(&named("Required"), &cluster, &data(hints, anchors));
        assert_eq!(reason, Reason::ResolverRefused);
        assert!(message.contains(words), "{message}");
    }
    let roots = json!({ "hintsConfigMap": "hints" });
    let without = |dnssec: &str| {
        policy(&json!({ "via": "Managed", "sourcePorts": "Random", "dnssec": dnssec, "roots": roots }))
    };
    let hints = Data {
        hints: Some(Ok(OWN_HINTS.to_owned())),
        ..Data::default()
    };
    let (_, message) = refused(&without("Required"), &cluster, &hints);
    assert!(
        message.contains("`anchorsConfigMap`") && message.contains("`dnssec: Off`"),
        "{message}"
    );
    wanted(&without("Off"), &cluster, &hints);
}

#[test]
fn without_the_right_to_run_it_the_chart_s_value_is_named() {
    let mut cluster = cluster();
    cluster.installed.managed = None;
    let (reason, message) = refused(&managed(), &cluster, &Data::default());
    assert_eq!(reason, Reason::Unsupported);
    assert!(message.contains("managedResolver.enabled=true"), "{message}");
}

#[test]
fn it_serves_only_when_every_pod_serves_what_is_wanted() {
    let before = cluster();
    let first = wanted(&managed(), &before, &Data::default());
    assert!(!first.applied && first.serving.is_err());
    let cluster = served(&before, &first);
    let now = wanted(&managed(), &cluster, &Data::default());
    assert!(now.applied);
    assert_eq!(now.serving.unwrap().to_string(), "10.96.7.7:53");

    let spoilt = |change: &dyn Fn(&mut Value)| {
        let mut spoilt = cluster.clone();
        edit(&mut spoilt.own, "tsutsumi-unbound-town", change);
        wanted(&managed(), &spoilt, &Data::default())
    };
    for (what, change) in [
        (
            "a newer generation",
            &(|d: &mut Value| d["metadata"]["generation"] = json!(5)) as &dyn Fn(&mut Value),
        ),
        ("one pod of two", &|d| d["status"]["availableReplicas"] = json!(1)),
        ("an old pod beside the new", &|d| {
            d["status"]["replicas"] = json!(3);
        }),
        ("one not updated", &|d| d["status"]["updatedReplicas"] = json!(1)),
        ("another configuration", &|d| {
            d["spec"]["template"]["spec"]["volumes"][0]["configMap"]["name"] =
                json!("tsutsumi-unbound-town-old");
        }),
    ] {
        let missing = spoilt(change).serving.expect_err(what);
        assert_eq!(missing.reason, Reason::ResolverNotReady, "{what}");
    }
    let scaled = spoilt(&|d| d["spec"]["replicas"] = json!(0));
    assert!(!scaled.applied, "what somebody else changed is applied again");
    let strict = policy(&json!({ "via": "Managed", "sourcePorts": "Random", "dnssec": "Off" }));
    assert!(wanted(&strict, &cluster, &Data::default()).serving.is_err());
}

#[test]
fn what_the_check_of_the_configuration_said_is_told() {
    let mut cluster = cluster();
    let identity = {
        let first = wanted(&managed(), &cluster, &Data::default());
        let template = first.objects.deployment.spec.unwrap().template.metadata.unwrap();
        template.labels.unwrap()["tsutsumi.dev/config"].clone()
    };
    let pod = |config: &str| {
        json!({
            "kind": "Pod",
            "metadata": {
                "namespace": "dyke",
                "name": format!("tsutsumi-unbound-town-{config}"),
                "labels": { "tsutsumi.dev/unbound": "town", "tsutsumi.dev/config": config },
            },
            "status": { "initContainerStatuses": [{
                "restartCount": 1,
                "state": { "waiting": { "reason": "CrashLoopBackOff" } },
                "lastState": { "terminated": { "exitCode": 1, "message": "unbound.conf:3: error: unknown keyword\n" } },
            }] },
        })
    };
    place(&mut cluster, pod("tsutsumi-000000000000"));
    let other = wanted(&managed(), &cluster, &Data::default())
        .serving
        .unwrap_err();
    assert_eq!(
        other.reason,
        Reason::ResolverNotReady,
        "an older configuration says nothing of this one"
    );
    let mut ending = pod(&identity);
    ending["metadata"]["name"] = "tsutsumi-unbound-town-ending".into();
    ending["metadata"]["deletionTimestamp"] = "2026-11-30T00:00:00Z".into();
    place(&mut cluster, ending);
    let other = wanted(&managed(), &cluster, &Data::default())
        .serving
        .unwrap_err();
    assert_eq!(other.reason, Reason::ResolverNotReady, "nor does one that ends");
    place(&mut cluster, pod(&identity));
    let missing = wanted(&managed(), &cluster, &Data::default())
        .serving
        .unwrap_err();
    assert_eq!(missing.reason, Reason::ResolverRefused);
    assert!(
        missing
            .message
            .ends_with("unbound.conf:3: error: unknown keyword"),
        "{}",
        missing.message
    );
}

#[test]
fn the_corefile_leads_there_once_it_serves_and_back_before_it_goes() {
    let before = cluster();
    let first = planned(&managed(), &before, &Record::default());
    let Plan::Blocked { reason, message } = &first.plan else {
        panic!("nothing serves yet: {:?}", first.plan)
    };
    assert_eq!(*reason, Reason::ResolverNotReady);
    assert!(message.contains("tsutsumi-unbound-town"), "{message}");

    let serving = served(&before, &wanted(&managed(), &before, &Data::default()));
    let Plan::Replace(change) = planned(&managed(), &serving, &Record::default()).plan else {
        panic!("it serves")
    };
    let leads = "    forward . 10.96.7.7:53 {\n        expire 0s\n    }\n    forward . /etc/resolv.conf {\n";
    assert!(change.candidate.contains(leads), "{}", change.candidate);
    let mut live = serving.clone();
    edit(&mut live.config_maps, "coredns", |map| {
        map["data"]["Corefile"] = change.candidate.clone().into();
    });
    let record = Record::default().saving(&change);
    assert!(matches!(
        planned(&managed(), &live, &record).plan,
        Plan::InForce { .. }
    ));

    let mut rolling = live.clone();
    edit(&mut rolling.own, "tsutsumi-unbound-town", |d| {
        d["status"]["availableReplicas"] = json!(1);
    });
    let rolling = planned(&managed(), &rolling, &record);
    assert!(matches!(rolling.plan, Plan::InForce { .. }), "{:?}", rolling.plan);
    assert_eq!(rolling.missing.unwrap().reason, Reason::ResolverNotReady);

    let plain = policy(&json!({ "sourcePorts": "Random" }));
    assert_eq!(
        decided(&plain, &live, &Data::default()),
        Managed::Unwanted(Leftover::Asked),
        "it stays while the text leads there"
    );
    let Plan::Replace(back) = planned(&plain, &live, &record).plan else {
        panic!("there is a way back")
    };
    assert!(!back.candidate.contains("10.96.7.7"), "{}", back.candidate);
    let mut gone = live.clone();
    edit(&mut gone.config_maps, "coredns", |map| {
        map["data"]["Corefile"] = back.candidate.clone().into();
    });
    assert_eq!(
        decided(&plain, &gone, &Data::default()),
        Managed::Unwanted(Leftover::Idle)
    );

    let mut going = managed();
    going.metadata.deletion_timestamp = Some(Time(jiff::Timestamp::UNIX_EPOCH));
    let Plan::Replace(restored) = planned(&going, &live, &record).plan else {
        panic!("there is a way back")
    };
    assert_eq!(Some(&restored.candidate), record.original.as_ref());
}

#[test]
fn a_new_node_is_served_also_while_the_resolver_is_not_ready() {
    let before = cluster();
    let plain = policy(&json!({ "sourcePorts": "Random" }));
    let Plan::Replace(change) = planned(&plain, &before, &Record::default()).plan else {
        panic!("nothing is written yet")
    };
    let mut live = before.clone();
    edit(&mut live.config_maps, "coredns", |map| {
        map["data"]["Corefile"] = change.candidate.clone().into();
    });
    let record = Record::default().saving(&change);
    place(
        &mut live,
        json!({
            "kind": "Node",
            "metadata": { "name": "three" },
            "spec": { "podCIDRs": ["10.99.0.0/24"] },
            "status": { "addresses": [{ "type": "InternalIP", "address": "192.0.2.13" }] },
        }),
    );
    let planned = planned(&managed(), &live, &record);
    assert_eq!(planned.missing.as_ref().unwrap().reason, Reason::ResolverNotReady);
    let Plan::Replace(change) = planned.plan else {
        panic!("the new node must be answered: {:?}", planned.plan)
    };
    assert!(change.candidate.contains("10.99.0.0/24"), "{}", change.candidate);
}
