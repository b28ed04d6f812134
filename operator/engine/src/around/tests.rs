//! Pods as a cluster has them, and what is said of them.

use k8s_openapi::serde_json::{Value, json};
use tsutsumi_model::Bypass::{AnswersOnNode, AsksAsNode, AsksNamed, InNodeNetwork};

use super::*;
use crate::{
    exposure, target,
    testing::{kubeadm, place},
};

/// A pod of a Deployment.
fn pod(namespace: &str, name: &str, spec: &Value) -> Value {
    let spec = {
        let mut all = json!({ "containers": [{ "name": "web", "image": "web:1" }] });
        for (key, value) in spec.as_object().unwrap() {
            all[key] = value.clone();
        }
        all
    };
    json!({
        "kind": "Pod",
        "metadata": {
            "namespace": namespace,
            "name": format!("{name}-5dd5-{}", spec["nodeName"].as_str().unwrap_or("x")),
            "labels": { "pod-template-hash": "5dd5" },
            "ownerReferences": [{ "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": format!("{name}-5dd5"), "uid": "r", "controller": true }],
        },
        "spec": spec,
        "status": { "phase": "Running", "podIP": "10.244.0.77" },
    })
}

fn found(pods: Vec<Value>, asked: &WaysAround) -> Found {
    let mut cluster = kubeadm();
    cluster.installed.namespace = "tsutsumi".to_owned();
    for object in pods {
        place(&mut cluster, object);
    }
    let target = target::find(&cluster, None).unwrap();
    let reach = exposure::find(&cluster, &target);
    find(&cluster, &target, &reach, asked)
}

fn detours(pods: Vec<Value>) -> Vec<(String, Bypass, usize)> {
    let found = found(pods, &WaysAround::default());
    let detours = found.detours.into_iter();
    detours.map(|each| (each.workload, each.how, each.pods)).collect()
}

#[test]
fn every_way_past_cluster_dns_is_told_by_its_workload() {
    let service = "10.96.0.10";
    let named = |servers: &[&str]| json!({ "dnsPolicy": "None", "dnsConfig": { "nameservers": servers } });
    for (spec, how) in [
        (json!({}), None),
        (json!({ "dnsPolicy": "ClusterFirst" }), None),
        (
            json!({ "dnsPolicy": "ClusterFirstWithHostNet", "hostNetwork": true }),
            None,
        ),
        (named(&[service]), None),
        (json!({ "dnsPolicy": "Default" }), Some(AsksAsNode)),
        (
            json!({ "dnsPolicy": "ClusterFirst", "hostNetwork": true }),
            Some(InNodeNetwork),
        ),
        (
            json!({ "dnsPolicy": "Default", "hostNetwork": true }),
            Some(InNodeNetwork),
        ),
        (
            named(&["192.0.2.53"]),
            Some(AsksNamed(vec!["192.0.2.53".parse().unwrap()])),
        ),
        (
            json!({ "dnsPolicy": "ClusterFirst", "dnsConfig": { "nameservers": ["192.0.2.53"] } }),
            Some(AsksNamed(vec!["192.0.2.53".parse().unwrap()])),
        ),
    ] {
        let expected: Vec<_> = how
            .into_iter()
            .map(|how| ("Deployment town/web".to_owned(), how, 1))
            .collect();
        assert_eq!(detours(vec![pod("town", "web", &spec)]), expected, "{spec}");
    }
}

#[test]
fn pods_of_one_workload_count_together_and_finished_ones_do_not() {
    let on = |node: &str| {
        pod(
            "town",
            "web",
            &json!({ "dnsPolicy": "Default", "nodeName": node }),
        )
    };
    let mut finished = on("c");
    finished["status"]["phase"] = "Succeeded".into();
    assert_eq!(
        detours(vec![on("a"), on("b"), finished]),
        [("Deployment town/web".to_owned(), AsksAsNode, 2)]
    );
}

#[test]
fn exempt_is_what_dns_and_nodes_need_and_what_the_policy_names() {
    let default = json!({ "dnsPolicy": "Default" });
    let mut ours = pod("tsutsumi", "tsutsumi-controller", &default);
    ours["metadata"]["labels"]["app.kubernetes.io/part-of"] = "tsutsumi".into();
    let pods = vec![
        ours,
        pod("tsutsumi", "guest", &default),
        pod("kube-system", "kube-proxy", &json!({ "hostNetwork": true })),
        pod("kube-system", "agent", &default),
        pod("mail", "relay", &default),
    ];
    let asked = WaysAround {
        exempt_namespaces: vec!["mail".to_owned()],
        ..WaysAround::default()
    };
    let found = found(pods, &asked);
    let workloads: Vec<&str> = found.detours.iter().map(|each| each.workload.as_str()).collect();
    assert_eq!(
        workloads,
        ["Deployment kube-system/agent", "Deployment tsutsumi/guest"]
    );
    let exempt: BTreeSet<&str> = found.exempt.keys().map(String::as_str).collect();
    assert!(
        exempt.contains("in namespaces that the policy exempts")
            && exempt.iter().any(|why| why.starts_with("of tsutsumi"))
            && exempt
                .iter()
                .any(|why| why.starts_with("in the network of a node")),
        "{exempt:?}"
    );
    // A rule for all pods of these namespaces would cut off cluster DNS, or ourselves.
    assert_eq!(found.policies, []);
}

#[test]
fn a_canary_comes_and_goes_unsaid() {
    let mut canary = pod("tsutsumi", "canary", &json!({ "dnsPolicy": "Default" }));
    canary["metadata"]["labels"]["tsutsumi.dev/canary"] = "town".into();
    assert_eq!(
        found(vec![canary], &WaysAround::default()),
        found(vec![], &WaysAround::default())
    );
}

#[test]
fn the_network_policy_leads_to_cluster_dns_alone_on_both_ports() {
    let found = found(
        vec![pod("town", "web", &json!({ "dnsPolicy": "Default" }))],
        &WaysAround::default(),
    );
    let text = text(&found).unwrap();
    assert!(
        text.contains("# Deployment town/web: AsksAsNode, pods: 1\n"),
        "{text}"
    );
    let (_, yaml) = text.split_once("---\n").unwrap();
    let policy: Value = serde_saphyr::from_str(yaml).unwrap();
    assert_eq!(policy["kind"], "NetworkPolicy");
    assert_eq!(
        policy["metadata"],
        json!({ "name": "tsutsumi-dns-egress", "namespace": "town" })
    );
    assert_eq!(policy["spec"]["podSelector"], json!({}));
    assert_eq!(policy["spec"]["policyTypes"], json!(["Egress"]));
    let [to_dns, before, others] = &policy["spec"]["egress"].as_array().unwrap()[..] else {
        panic!("{policy}");
    };
    assert_eq!(
        to_dns["to"][0],
        json!({
            "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": "kube-system" } },
            "podSelector": { "matchLabels": { "k8s-app": "kube-dns" } },
        })
    );
    // A plugin may look at a packet before the Service is resolved; a cache on the node has this address.
    assert_eq!(
        before["to"],
        json!([{ "ipBlock": { "cidr": "10.96.0.10/32" } }, { "ipBlock": { "cidr": "169.254.20.10/32" } }])
    );
    let others = others["ports"].as_array().unwrap();
    for port in [1, 52, 53, 54, 443, 852, 853, 854, 65_535] {
        for protocol in ["TCP", "UDP", "SCTP"] {
            let open = others.iter().any(|range| {
                range["protocol"] == protocol
                    && (range["port"].as_i64().unwrap()..=range["endPort"].as_i64().unwrap()).contains(&port)
            });
            assert_eq!(open, port != 53 && port != 853, "{protocol} {port}");
        }
    }
}

#[test]
fn with_a_cache_on_the_nodes_no_rule_is_shown_that_would_cut_pods_off() {
    let mut cache = pod(
        "kube-system",
        "node-local-dns",
        &json!({ "hostNetwork": true, "dnsPolicy": "Default" }),
    );
    cache["metadata"]["ownerReferences"][0] = json!({ "apiVersion": "apps/v1", "kind": "DaemonSet", "name": "node-local-dns", "uid": "d", "controller": true });
    let found = found(
        vec![cache, pod("town", "web", &json!({ "dnsPolicy": "Default" }))],
        &WaysAround::default(),
    );
    assert!(
        found
            .detours
            .iter()
            .any(|each| each.workload == "DaemonSet kube-system/node-local-dns" && each.how == AnswersOnNode),
        "{:?}",
        found.detours
    );
    assert_eq!(found.policies, []);
}

#[test]
fn an_address_of_the_cluster_is_no_resolver_outside() {
    let asked = WaysAround {
        resolvers: ["198.51.100.53", "10.96.0.10", "10.244.0.7"]
            .map(|text| text.parse().unwrap())
            .into(),
        ..WaysAround::default()
    };
    let found = found(vec![], &asked);
    let addresses =
        |texts: &[&str]| -> Vec<IpAddr> { texts.iter().map(|text| text.parse().unwrap()).collect() };
    assert_eq!(found.resolvers, addresses(&["198.51.100.53"]));
    assert_eq!(found.not_outside, addresses(&["10.96.0.10", "10.244.0.7"]));
}
