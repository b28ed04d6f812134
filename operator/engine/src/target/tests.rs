use std::sync::Arc;

use tsutsumi_api::resolver_policy::{TargetRef, WorkloadKind};

use super::{Target, TargetError, find};
use crate::{
    cluster,
    platform::{Channel, Platform},
    testing::{KUBEADM, add, changed, edit, kubeadm, kubeadm_with, turned},
};

fn named(kind: WorkloadKind, namespace: &str, name: &str) -> TargetRef {
    TargetRef {
        kind,
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    }
}

fn blocker(target: &Target) -> &str {
    target.template.canary_blocker.as_deref().unwrap_or_default()
}

#[test]
fn cluster_dns_is_found_by_itself() {
    let target = find(&kubeadm(), None).unwrap();
    assert_eq!(target.workload.to_string(), "Deployment kube-system/coredns");
    assert_eq!(
        target.service.as_ref().unwrap().cluster_ips,
        ["10.96.0.10".parse::<std::net::IpAddr>().unwrap()]
    );
    let source = target.config_map.as_ref().unwrap();
    assert_eq!(
        (source.config_map.as_str(), source.key.as_str()),
        ("coredns", "Corefile")
    );
    assert!(!source.sub_path_mount);
    assert!(target.corefile.as_ref().unwrap().starts_with(".:53 {"));
    assert_eq!(target.image_version.as_deref(), Some("1.14.7"));
    assert_eq!(target.platform, Platform::Kubeadm);
    assert_eq!(target.channel, Channel::WholeCorefile);
    assert_eq!(target.template.canary_blocker, None);
    assert_eq!(target.template.nodes_with_image, ["one"]);

    let [first, second] = target.pods.as_slice() else {
        panic!("{:?}", target.pods)
    };
    assert_eq!(
        (first.node.as_str(), first.ready, first.restarts),
        ("one", true, 1)
    );
    assert_eq!(
        (second.node.as_str(), second.ready, second.restarts),
        ("two", false, 0)
    );
    assert_eq!(first.addresses.len(), 2);
    assert_eq!(first.dns_port.get(), 53);
    assert_eq!(first.metrics_port.map(std::num::NonZeroU16::get), Some(9153));
}

#[test]
fn pruned_objects_give_the_same_target_and_pruning_twice_is_pruning_once() {
    let whole = kubeadm();
    let mut pruned = whole.clone();
    for _ in 0..2 {
        pruned
            .nodes
            .iter_mut()
            .for_each(|each| cluster::prune_node(Arc::make_mut(each)));
        pruned
            .deployments
            .iter_mut()
            .for_each(|each| cluster::prune_deployment(Arc::make_mut(each)));
        pruned
            .daemon_sets
            .iter_mut()
            .for_each(|each| cluster::prune_daemon_set(Arc::make_mut(each)));
        pruned
            .config_maps
            .iter_mut()
            .for_each(|each| cluster::prune_config_map(Arc::make_mut(each)));
    }
    let (before, after) = (find(&whole, None).unwrap(), find(&pruned, None).unwrap());
    assert_eq!(before, after);
    assert_eq!(
        crate::exposure::find(&whole, &before),
        crate::exposure::find(&pruned, &after)
    );
}

#[test]
fn pruning_drops_what_no_fact_is_made_from() {
    let mut map = Arc::clone(
        &crate::testing::cluster(
            "kind: ConfigMap
metadata:
  name: kube-root-ca.crt
  annotations: {kubectl.kubernetes.io/last-applied-configuration: '{}', meta.helm.sh/release-name: x}
  managedFields:
  - {manager: eks, operation: Apply, fieldsType: FieldsV1, fieldsV1: {'f:data': {}}}
  - {manager: labeller, operation: Update, fieldsType: FieldsV1, fieldsV1: {'f:metadata': {}}}
data: {ca.crt: long}",
        )
        .config_maps[0],
    );
    let map = Arc::make_mut(&mut map);
    cluster::prune_config_map(map);
    assert_eq!(map.data.as_ref().unwrap()["ca.crt"], "");
    assert_eq!(map.metadata.annotations.as_ref().unwrap().len(), 1);
    let managers: Vec<_> = map
        .metadata
        .managed_fields
        .iter()
        .flatten()
        .map(|entry| entry.manager.as_deref().unwrap())
        .collect();
    assert_eq!(managers, ["eks"]);
}

#[test]
fn order_never_changes_the_target() {
    let whole = kubeadm_with(NODE_LOCAL);
    let expected = find(&whole, None).unwrap();
    for by in 0..8 {
        assert_eq!(
            find(&turned(&whole, by), None).unwrap(),
            expected,
            "turned by {by}"
        );
    }
}

const NODE_LOCAL: &str = "kind: DaemonSet
metadata: {namespace: kube-system, name: node-local-dns, labels: {k8s-app: kube-dns}}
spec:
  selector: {matchLabels: {k8s-app: kube-dns}}
  template:
    metadata: {labels: {k8s-app: kube-dns}}
    spec: {containers: [{name: node-cache, image: 'k8s-dns-node-cache:1.26.4', args: [-conf, /etc/Corefile]}]}
---
kind: Service
metadata: {namespace: kube-system, name: aa-node-local-dns, labels: {k8s-app: kube-dns}}
spec: {selector: {k8s-app: node-local-dns}, ports: [{name: dns, port: 53, protocol: UDP}]}
---
kind: Service
metadata: {namespace: kube-system, name: a-kube-dns-upstream, labels: {k8s-app: kube-dns}}
spec: {clusterIP: 10.96.0.11, selector: {k8s-app: kube-dns}, ports: [{name: dns, port: 53, protocol: UDP}]}";

#[test]
fn the_cache_on_the_nodes_is_never_the_target() {
    let cluster = kubeadm_with(NODE_LOCAL);
    let target = find(&cluster, None).unwrap();
    assert_eq!(target.workload.name, "coredns");
    assert_eq!(target.service.unwrap().name, "kube-dns");
    let error = find(
        &cluster,
        Some(&named(WorkloadKind::DaemonSet, "kube-system", "node-local-dns")),
    )
    .unwrap_err();
    assert!(matches!(error, TargetError::NodeLocal { .. }), "{error}");
}

#[test]
fn a_daemon_set_in_another_namespace_is_found_by_its_chart_label() {
    let mut cluster = crate::testing::cluster(
        "kind: Service
metadata: {namespace: dns, name: mydns, labels: {app.kubernetes.io/name: coredns}}
spec:
  clusterIP: 10.96.0.10
  selector: {app: mydns}
  ports: [{name: udp-53, port: 53, protocol: UDP, targetPort: udp-5353}]
---
kind: DaemonSet
metadata: {namespace: dns, name: mydns, labels: {app.kubernetes.io/managed-by: Helm}}
spec:
  selector: {matchLabels: {app: mydns}}
  template:
    metadata: {labels: {app: mydns}}
    spec:
      containers:
      - name: coredns
        image: coredns@sha256:00
        args: ['-conf=/etc/coredns/main.conf']
        ports: [{name: udp-5353, containerPort: 5353, protocol: UDP}]
        volumeMounts: [{name: c, mountPath: /etc/coredns/main.conf, subPath: Corefile}]
      volumes: [{name: c, configMap: {name: mydns}}]
---
kind: Pod
metadata: {namespace: dns, name: mydns-x, labels: {app: mydns}, ownerReferences: [{apiVersion: apps/v1, kind: DaemonSet, name: mydns, uid: d}]}
spec: {hostNetwork: true, nodeName: one, containers: [{name: coredns}]}
status: {phase: Running, podIP: 192.0.2.11}
---
kind: Pod
metadata: {namespace: dns, name: stray, labels: {app: mydns}}
spec: {containers: [{name: x}]}
status: {phase: Running, podIP: 10.0.0.1}
---
kind: ConfigMap
metadata: {namespace: dns, name: mydns}
data: {Corefile: '.:5353 {}'}",
    );
    let target = find(&cluster, None).unwrap();
    assert_eq!(target.workload.to_string(), "DaemonSet dns/mydns");
    assert!(target.config_map.unwrap().sub_path_mount);
    assert_eq!(target.image_version, None);
    assert_eq!(target.platform, Platform::SelfManaged);
    let [pod] = target.pods.as_slice() else {
        panic!("{:?}", target.pods)
    };
    assert_eq!(
        (pod.dns_port.get(), pod.metrics_port, pod.host_network),
        (5353, None, true)
    );

    edit(&mut cluster.config_maps, "mydns", |json| {
        json["data"] = k8s_openapi::serde_json::json!({"other": ""});
    });
    let error = find(&cluster, None).unwrap_err().to_string();
    assert!(
        error.contains("key `Corefile` of ConfigMap dns/mydns, which lacks that key"),
        "{error}"
    );
}

#[test]
fn what_a_canary_cannot_have_is_named() {
    let mut cluster = kubeadm();
    edit(&mut cluster.deployments, "coredns", |json| {
        let spec = &mut json["spec"]["template"]["spec"];
        let mounts = spec["containers"][0]["volumeMounts"].as_array_mut().unwrap();
        mounts.push(k8s_openapi::serde_json::json!({"name": "tls", "mountPath": "/etc/tls"}));
        let volumes = spec["volumes"].as_array_mut().unwrap();
        volumes.push(k8s_openapi::serde_json::json!({"name": "tls", "secret": {"secretName": "dns-tls"}}));
    });
    let target = find(&cluster, None).unwrap();
    assert!(
        blocker(&target).contains("Secret dns-tls at /etc/tls"),
        "{}",
        blocker(&target)
    );
}

#[test]
fn errors_say_what_was_looked_for_and_what_to_write() {
    let nothing = cluster::Cluster::default();
    let error = find(&nothing, None).unwrap_err();
    assert_eq!(error, TargetError::NoService);
    assert!(error.to_string().contains("write spec.targetRef"), "{error}");

    let error = find(
        &kubeadm(),
        Some(&named(WorkloadKind::Deployment, "kube-system", "core-dns")),
    )
    .unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains("Deployment kube-system/core-dns is not in the cluster"),
        "{text}"
    );
    assert!(text.contains("Deployment kube-system/coredns"), "{text}");

    let mut without_map = kubeadm();
    without_map
        .config_maps
        .retain(|map| map.metadata.name.as_deref() != Some("coredns"));
    let error = find(&without_map, None).unwrap_err().to_string();
    assert!(
        error.contains("ConfigMap kube-system/coredns, which is not there"),
        "{error}"
    );

    let mut without_mount = kubeadm();
    edit(&mut without_mount.deployments, "coredns", |json| {
        json["spec"]["template"]["spec"]["volumes"] = k8s_openapi::serde_json::json!([]);
    });
    let error = find(&without_mount, None).unwrap_err().to_string();
    assert!(error.contains("/etc/coredns/Corefile"), "{error}");

    let mut without_workload = kubeadm();
    without_workload.deployments.clear();
    assert!(matches!(
        find(&without_workload, None),
        Err(TargetError::NoWorkload { .. })
    ));
}

#[test]
fn two_workloads_that_serve_are_not_chosen_between() {
    let mut cluster = kubeadm();
    let second = Arc::clone(&cluster.deployments[0]);
    cluster.deployments.push(second);
    edit(&mut cluster.deployments[1..], "coredns", |json| {
        json["metadata"]["name"] = "coredns-new".into();
    });
    // The second has no pod: the first is the one.
    assert_eq!(find(&cluster, None).unwrap().workload.name, "coredns");
    add(
        &mut cluster,
        "kind: Pod
metadata:
  namespace: kube-system
  name: coredns-new-77-c
  labels: {k8s-app: kube-dns, pod-template-hash: '77'}
  ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: coredns-new-77, uid: s}]
spec: {containers: [{name: coredns}]}
status: {phase: Running, podIP: 10.244.0.3, conditions: [{type: Ready, status: 'True'}]}",
    );
    let error = find(&cluster, None).unwrap_err().to_string();
    assert!(
        error.contains("Deployment kube-system/coredns and Deployment kube-system/coredns-new"),
        "{error}"
    );
}

#[test]
fn pods_that_end_are_not_waited_for() {
    let mut cluster = kubeadm();
    let ending = changed(KUBEADM, "coredns-5dd5756b68-bbbbb", |json| {
        json["metadata"]["deletionTimestamp"] = "2026-11-01T00:00:00Z".into();
    });
    add(&mut cluster, &ending);
    assert_eq!(find(&cluster, None).unwrap().pods.len(), 1);
}
