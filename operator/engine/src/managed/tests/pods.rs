//! What the pods look like, and what stands around them.

use serde_json::{from_value, json};

use super::{cluster, managed, wanted};
use crate::{cluster::Cluster, managed::Data};

#[test]
fn pods_are_restricted_and_none_goes_before_another_serves() {
    let wanted = wanted(&managed(), &cluster(), &Data::default());
    let deployment = serde_json::to_value(&wanted.objects.deployment).unwrap();
    let spec = &deployment["spec"];
    assert_eq!(spec["strategy"]["rollingUpdate"]["maxUnavailable"], 0);
    let pod = &spec["template"]["spec"];
    assert_eq!(pod["automountServiceAccountToken"], false);
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
    let check = &pod["initContainers"][0];
    assert_eq!(check["command"][0], "unbound-checkconf");
    for container in [check, &pod["containers"][0]] {
        assert_eq!(container["image"], "registry.example/unbound:1.26.2");
        let context = &container["securityContext"];
        assert_eq!(context["readOnlyRootFilesystem"], true);
        assert_eq!(context["allowPrivilegeEscalation"], false);
        assert_eq!(context["capabilities"]["drop"], json!(["ALL"]));
        assert!(container["resources"]["limits"]["memory"].is_string());
    }
    let policy = serde_json::to_value(&wanted.objects.network_policy).unwrap();
    let from = &policy["spec"]["ingress"][0]["from"];
    assert_eq!(
        from[0]["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"],
        "kube-system"
    );
    assert_eq!(from[0]["podSelector"]["matchLabels"]["k8s-app"], "kube-dns");
    assert_eq!(
        from[1]["podSelector"]["matchExpressions"][0]["key"],
        "tsutsumi.dev/canary"
    );
}

#[test]
fn a_process_beside_unbound_tells_its_numbers_where_the_chart_has_it_so() {
    let mut cluster = cluster();
    let shown = |cluster: &Cluster| {
        let objects = wanted(&managed(), cluster, &Data::default()).objects;
        let deployment = serde_json::to_value(&objects.deployment).unwrap();
        let pod = deployment["spec"]["template"]["spec"].clone();
        (pod, serde_json::to_value(&objects.service).unwrap())
    };
    let (pod, service) = shown(&cluster);
    let beside = &pod["containers"][1];
    assert_eq!(beside["image"], "registry.example/tsutsumi:0.1.0");
    assert_eq!(
        beside["args"],
        json!(["unbound-metrics", "--socket=/run/unbound/control.sock"])
    );
    assert_eq!(beside["securityContext"], pod["containers"][0]["securityContext"]);
    assert!(
        beside["readinessProbe"].is_null() && beside["livenessProbe"].is_null(),
        "Unbound is asked whatever ails it"
    );
    assert_eq!(service["metadata"]["labels"]["tsutsumi.dev/metrics"], "true");
    assert_eq!(service["spec"]["ports"][2]["port"], 8080);

    cluster.installed.managed.as_mut().unwrap().metrics_image = None;
    let (pod, service) = shown(&cluster);
    assert_eq!(pod["containers"].as_array().map(Vec::len), Some(1));
    assert!(service["metadata"]["labels"]["tsutsumi.dev/metrics"].is_null());
    assert_eq!(service["spec"]["ports"].as_array().map(Vec::len), Some(2));
}

#[test]
fn the_chart_says_what_pods_get_and_where_they_run() {
    let mut cluster = cluster();
    let placement = json!({
        "resources": {"limits": {"memory": "1Gi"}},
        "nodeSelector": {"town": "dns"},
        "tolerations": [{"key": "dns", "operator": "Exists"}],
        "priorityClassName": "town-dns",
        "imagePullSecrets": [{"name": "registry"}],
    });
    cluster.installed.managed.as_mut().unwrap().placement = from_value(placement.clone()).unwrap();
    let objects = wanted(&managed(), &cluster, &Data::default()).objects;
    let deployment = serde_json::to_value(&objects.deployment).unwrap();
    let pod = &deployment["spec"]["template"]["spec"];
    for field in [
        "nodeSelector",
        "tolerations",
        "priorityClassName",
        "imagePullSecrets",
    ] {
        assert_eq!(pod[field], placement[field], "{field}");
    }
    assert_eq!(pod["containers"][0]["resources"], placement["resources"]);
    assert_eq!(pod["containers"][1]["resources"]["limits"]["memory"], "32Mi");
}
