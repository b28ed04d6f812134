//! Namespaces as a cluster has them, and what is made of closing them.

use k8s_openapi::serde_json::{Value, from_value, json, to_value};

use super::*;
use crate::{
    exposure,
    testing::{kubeadm, place},
};

/// A cluster whose namespace `town` may be closed.
fn cluster(objects: &[Value]) -> Cluster {
    let mut cluster = kubeadm();
    cluster.installed.namespace = "tsutsumi".to_owned();
    cluster.installed.closable = vec!["kube-system".to_owned(), "town".to_owned(), "tsutsumi".to_owned()];
    cluster.other_limits = Some(Vec::new());
    for object in objects {
        place(&mut cluster, object.clone());
    }
    cluster
}

fn policy(close: &Value) -> ResolverPolicy {
    let mut ways = json!({});
    if !close.is_null() {
        ways["close"] = close.clone();
    }
    from_value(json!({
        "apiVersion": "tsutsumi.dev/v1alpha1",
        "kind": "ResolverPolicy",
        "metadata": { "name": "dns" },
        "spec": { "mode": "Enforce", "udp": { "maxMessageBytes": 1232 }, "waysAround": ways },
    }))
    .unwrap()
}

fn enforce() -> Value {
    json!({ "action": "Enforce", "namespaces": ["town"] })
}

fn closings(cluster: &Cluster, policy: &ResolverPolicy) -> Vec<Closing> {
    let target = target::find(cluster, policy.spec.target_ref.as_ref());
    let reach = target
        .as_ref()
        .map(|found| exposure::find(cluster, found))
        .unwrap_or_default();
    decide(policy, &target, false, cluster, &reach)
}

/// What becomes of `town`.
fn town(objects: &[Value], close: &Value) -> Closing {
    let mut all = closings(&cluster(objects), &policy(close));
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

/// What is written for `town` beside these objects.
fn written(objects: &[Value], close: &Value) -> NetworkPolicy {
    match town(objects, close) {
        Closing {
            step: Step::Write(written),
            hindrance: None,
            ..
        } => *written,
        other => panic!("{other:?}"),
    }
}

/// The same as it comes back from the cluster.
fn standing(written: &NetworkPolicy) -> Value {
    let mut object = to_value(written).unwrap();
    object["metadata"]["uid"] = "u-1".into();
    object["metadata"]["managedFields"] = json!([{ "manager": MANAGER, "operation": "Apply" }]);
    object
}

/// A `NetworkPolicy` of somebody else's that limits what leaves the pods that it picks.
fn limit(name: &str, selector: &Value) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": { "namespace": "town", "name": name, "managedFields": [{ "manager": "helm" }] },
        "spec": { "podSelector": selector, "policyTypes": ["Egress"], "egress": [] },
    })
}

fn pod(name: &str, labels: &Value, spec: &Value) -> Value {
    let mut all = json!({ "containers": [{ "name": "web", "image": "web:1" }] });
    for (key, value) in spec.as_object().unwrap() {
        all[key] = value.clone();
    }
    json!({
        "kind": "Pod",
        "metadata": { "namespace": "town", "name": name, "labels": labels },
        "spec": all,
        "status": { "phase": "Running", "podIP": "10.244.0.77" },
    })
}

fn asks_as_node(app: &str) -> Value {
    pod(app, &json!({ "app": app }), &json!({ "dnsPolicy": "Default" }))
}

fn selector(written: &NetworkPolicy) -> Value {
    to_value(&written.spec.as_ref().unwrap().pod_selector).unwrap()
}

fn why(closing: &Closing) -> &str {
    &closing.hindrance.as_ref().unwrap().why
}

#[test]
fn a_namespace_is_closed_once() {
    let first = written(&[], &enforce());
    assert_eq!(first.metadata.name.as_deref(), Some(NAME));
    assert_eq!(first.metadata.labels.as_ref().unwrap()[LABEL], "dns");
    assert_eq!(selector(&first), json!({}));
    let again = town(&[standing(&first)], &enforce());
    assert_eq!((again.step, again.hindrance), (Step::Nothing, None));
}

#[test]
fn what_somebody_changed_of_it_is_written_again() {
    let first = written(&[], &enforce());
    let mut changed = standing(&first);
    changed["spec"]["egress"].as_array_mut().unwrap().pop();
    assert_eq!(written(&[changed], &enforce()), first);
}

#[test]
fn pods_that_another_one_limits_are_left_to_it() {
    let db = limit("db", &json!({ "matchLabels": { "app": "db" } }));
    let first = written(std::slice::from_ref(&db), &enforce());
    assert_eq!(
        selector(&first),
        json!({ "matchExpressions": [{ "key": "app", "operator": "NotIn", "values": ["db"] }] })
    );
    assert_eq!(town(&[db], &enforce()).left, ["db"]);
    // One for what comes in allows nothing to leave.
    let mut incoming = limit("in", &json!({}));
    incoming["spec"]["policyTypes"] = json!(["Ingress"]);
    incoming["spec"].as_object_mut().unwrap().remove("egress");
    let beside = written(&[incoming.clone()], &enforce());
    assert_eq!(selector(&beside), json!({}));
    // Without types, the rules tell.
    incoming["spec"].as_object_mut().unwrap().remove("policyTypes");
    assert_eq!(selector(&written(&[incoming], &enforce())), json!({}));
    let mut untyped = limit("all", &json!({}));
    untyped["spec"].as_object_mut().unwrap().remove("policyTypes");
    assert!(why(&town(&[untyped], &enforce())).contains("NetworkPolicy all limits every pod"));
}

#[test]
fn beside_one_for_every_pod_none_is_written_and_ours_goes() {
    let all = limit("default-deny", &json!({}));
    let alone = town(std::slice::from_ref(&all), &enforce());
    assert_eq!(alone.step, Step::Nothing);
    assert!(why(&alone).contains("default-deny limits every pod"), "{alone:?}");
    let ours = standing(&written(&[], &enforce()));
    let beside = town(&[ours, all], &enforce());
    assert_eq!(
        beside.step,
        Step::Remove {
            uid: Some("u-1".into())
        }
    );
}

#[test]
fn limits_that_are_no_network_policies_are_not_loosened() {
    let limit = |namespace: Option<&str>| cluster::Limit {
        namespace: namespace.map(str::to_owned),
        object: "CiliumNetworkPolicy.cilium.io strict".to_owned(),
    };
    for (limits, closed) in [
        (Some(vec![]), true),
        (Some(vec![limit(Some("village"))]), true),
        (Some(vec![limit(Some("town"))]), false),
        (Some(vec![limit(None)]), false),
        (None, false),
    ] {
        let mut cluster = cluster(&[]);
        cluster.other_limits = limits
            .clone()
            .map(|all| all.into_iter().map(Into::into).collect());
        let all = closings(&cluster, &policy(&enforce()));
        assert_eq!(all[0].hindrance.is_none(), closed, "{limits:?}: {all:?}");
    }
}

#[test]
fn nobody_loses_the_dns_that_he_has() {
    let held = town(&[asks_as_node("web")], &enforce());
    assert_eq!(held.step, Step::Nothing);
    assert!(why(&held).contains("Pod town/web would lose its DNS"), "{held:?}");

    let mut allowed = enforce();
    allowed["mayLoseDns"] = json!(["Pod town/web"]);
    assert_eq!(selector(&written(&[asks_as_node("web")], &allowed)), json!({}));

    let mut exempt = enforce();
    exempt["exemptPods"] = json!([{ "label": "app", "value": "web", "reason": "asks block lists" }]);
    let written = written(&[asks_as_node("web")], &exempt);
    assert_eq!(
        selector(&written),
        json!({ "matchExpressions": [{ "key": "app", "operator": "NotIn", "values": ["web"] }] })
    );
}

#[test]
fn what_no_rule_reaches_or_another_one_limits_loses_nothing() {
    let host = pod(
        "agent",
        &json!({}),
        &json!({ "dnsPolicy": "Default", "hostNetwork": true }),
    );
    let db = limit("db", &json!({ "matchLabels": { "app": "db" } }));
    written(&[host, asks_as_node("db"), db], &enforce());
}

#[test]
fn who_comes_into_a_closed_namespace_opens_it_for_nobody() {
    let ours = standing(&written(&[], &enforce()));
    let closed = town(&[ours, asks_as_node("web")], &enforce());
    assert_eq!((closed.step, closed.hindrance), (Step::Nothing, None));
}

#[test]
fn what_stands_grows_over_nobody_who_has_other_dns() {
    let db = limit("db", &json!({ "matchLabels": { "app": "db" } }));
    let ours = standing(&written(std::slice::from_ref(&db), &enforce()));
    // The limit goes: ours would pick the pods that it picked.
    let held = town(&[ours.clone(), asks_as_node("db")], &enforce());
    assert_eq!(held.step, Step::Nothing);
    assert!(why(&held).contains("Pod town/db would lose"), "{held:?}");
    // And one comes that ours would loosen.
    let web = limit("web", &json!({ "matchLabels": { "app": "web" } }));
    let gone = town(&[ours, asks_as_node("db"), web], &enforce());
    assert!(gone.removes(), "{gone:?}");
}

#[test]
fn one_of_somebody_else_is_left_alone_and_its_owner_named() {
    let mut theirs = standing(&written(&[], &enforce()));
    theirs["metadata"]["managedFields"] = json!([{ "manager": "argocd-controller" }]);
    let closing = town(std::slice::from_ref(&theirs), &enforce());
    assert_eq!(closing.step, Step::Nothing);
    assert!(why(&closing).contains("of ResolverPolicy dns"), "{closing:?}");
    theirs["metadata"]["labels"] = json!({});
    let closing = town(std::slice::from_ref(&theirs), &enforce());
    assert!(why(&closing).contains("of argocd-controller"), "{closing:?}");
    let reported = closings(&cluster(&[theirs]), &policy(&json!({ "action": "Report" })));
    assert_eq!(reported, []);
}

#[test]
fn namespaces_of_dns_and_those_without_a_right_are_not_closed() {
    for (namespace, reason) in [
        ("kube-system", "cut off DNS itself"),
        ("tsutsumi", "cut off DNS itself"),
        ("village", "without the right to write"),
    ] {
        let closing = town(&[], &json!({ "action": "Enforce", "namespaces": [namespace] }));
        assert_eq!(closing.step, Step::Nothing);
        assert!(why(&closing).contains(reason), "{closing:?}");
    }
}

#[test]
fn a_cache_on_the_nodes_and_dns_that_no_selector_picks_keep_it_open() {
    let cache = json!({
        "kind": "Pod",
        "metadata": { "namespace": "kube-system", "name": "node-local-dns-1", "labels": { "k8s-app": "node-local-dns" } },
        "spec": { "containers": [{ "name": "cache", "image": "cache:1" }], "hostNetwork": true },
        "status": { "phase": "Running", "podIP": "192.0.2.10" },
    });
    let held = town(std::slice::from_ref(&cache), &enforce());
    assert!(why(&held).contains("cache on their node"), "{held:?}");
    let ours = standing(&written(&[], &enforce()));
    assert!(town(&[ours, cache], &enforce()).removes());

    let mut hosted = cluster(&[]);
    for pod in &mut hosted.pods {
        std::sync::Arc::make_mut(pod).host_network = true;
    }
    let all = closings(&hosted, &policy(&enforce()));
    assert!(why(&all[0]).contains("no selector picks it"), "{all:?}");
}

#[test]
fn dns_that_is_away_changes_nothing() {
    let ours = standing(&written(&[], &enforce()));
    let mut away = cluster(std::slice::from_ref(&ours));
    away.pods.clear();
    let all = closings(&away, &policy(&enforce()));
    assert_eq!(all[0].step, Step::Nothing, "{all:?}");
    assert!(why(&all[0]).contains("no pods at present"), "{all:?}");
    away.services = std::sync::Arc::default();
    let all = closings(&away, &policy(&enforce()));
    assert_eq!(all[0].step, Step::Nothing, "{all:?}");
    assert!(all[0].hindrance.is_some());
}

#[test]
fn it_goes_when_the_policy_reports_drops_it_or_is_deleted_to_restore() {
    let ours = standing(&written(&[], &enforce()));
    let cluster = cluster(&[ours]);
    let after = |change: &dyn Fn(&mut ResolverPolicy)| {
        let mut policy = policy(&enforce());
        change(&mut policy);
        closings(&cluster, &policy)
    };
    let close = |policy: &mut ResolverPolicy, close: Option<Close>| {
        policy.spec.ways_around.as_mut().unwrap().close = close;
    };
    let removed = |all: &[Closing]| all.len() == 1 && all[0].removes() && all[0].namespace == "town";
    assert!(removed(&after(&|policy| close(policy, Some(Close::default())))));
    let dropped = after(&|policy| {
        policy
            .spec
            .ways_around
            .as_mut()
            .unwrap()
            .close
            .as_mut()
            .unwrap()
            .namespaces = vec!["kube-system".into()];
    });
    assert!(dropped.iter().any(Closing::removes), "{dropped:?}");
    let going = |on_delete: OnDelete| {
        after(&move |policy: &mut ResolverPolicy| {
            policy.spec.on_delete = on_delete;
            policy.metadata.deletion_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(
                "2026-11-01T00:00:00Z".parse().unwrap(),
            ));
        })
    };
    assert!(removed(&going(OnDelete::Restore)));
    assert_eq!(going(OnDelete::Keep), []);
    // What nobody speaks of any more stays, and is told.
    let left = after(&|policy| close(policy, None));
    assert_eq!(left[0].step, Step::Nothing);
    assert!(why(&left[0]).contains("earlier version"), "{left:?}");
    // Another policy's are not ours.
    assert_eq!(
        after(&|policy| policy.metadata.name = Some("other".into()))[0].step,
        Step::Nothing
    );
}
