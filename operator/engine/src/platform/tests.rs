use k8s_openapi::serde_json::{Value, json};

use super::{Channel, Platform};
use crate::{
    cluster::Cluster,
    target::{Target, find},
    testing::{edit, kubeadm},
};

const IMPORTS: &str = ".:53 {
    errors
    kubernetes cluster.local
    forward . /etc/resolv.conf
    import /etc/coredns/custom/*.override
}
import /etc/coredns/custom/*.server
";

/// The good cluster without the mark of kubeadm, the workload changed.
fn own(change: impl Fn(&mut Value)) -> Cluster {
    let mut cluster = kubeadm();
    cluster
        .config_maps
        .retain(|map| map.metadata.name.as_deref() != Some("kubeadm-config"));
    edit(&mut cluster.deployments, "coredns", change);
    cluster
}

/// Marks every node.
fn mark_nodes(cluster: &mut Cluster, labels: &Value, kubelet: &str) {
    for name in ["one", "two"] {
        edit(&mut cluster.nodes, name, |json| {
            json["metadata"]["labels"] = labels.clone();
            json["status"]["nodeInfo"]["kubeletVersion"] = kubelet.into();
        });
    }
}

/// Lets the workload read the custom files, and the Corefile import them.
fn with_imports(cluster: &mut Cluster, corefile: &str) {
    edit(&mut cluster.deployments, "coredns", |json| {
        let spec = &mut json["spec"]["template"]["spec"];
        let mounts = spec["containers"][0]["volumeMounts"].as_array_mut().unwrap();
        mounts.push(json!({"name": "custom", "mountPath": "/etc/coredns/custom"}));
        let volumes = spec["volumes"].as_array_mut().unwrap();
        volumes.push(json!({"name": "custom", "configMap": {"name": "coredns-custom", "optional": true}}));
    });
    edit(&mut cluster.config_maps, "coredns", |json| {
        json["data"]["Corefile"] = corefile.into();
    });
}

fn target(cluster: &Cluster) -> Target {
    find(cluster, None).unwrap()
}

fn advice(target: &Target) -> &str {
    match &target.channel {
        Channel::AuditOnly { advice, .. } => advice,
        other => panic!("{:?} gives {other:?}", target.platform),
    }
}

fn reason(target: &Target) -> &str {
    match &target.channel {
        Channel::AuditOnly { reason, .. } => reason,
        other => panic!("{:?} gives {other:?}", target.platform),
    }
}

#[test]
fn kubeadm_is_written_and_its_upgrade_announced() {
    let target = target(&kubeadm());
    assert_eq!(
        (target.platform, &target.channel),
        (Platform::Kubeadm, &Channel::WholeCorefile)
    );
    let [warning] = target.warnings.as_slice() else {
        panic!("{:?}", target.warnings)
    };
    assert!(warning.contains("--ignore-preflight-errors=CoreDNSUnsupportedPlugins,CoreDNSMigration"));
    assert!(warning.contains("--skip-phases=addon/coredns"));
}

#[test]
fn plain_manifests_are_self_managed() {
    let target = target(&own(|_| {}));
    assert_eq!(
        (target.platform, &target.channel),
        (Platform::SelfManaged, &Channel::WholeCorefile)
    );
    assert!(target.warnings.is_empty(), "{:?}", target.warnings);
}

#[test]
fn a_helm_release_is_self_managed_and_its_next_upgrade_announced() {
    let target = target(&own(|json| {
        json["metadata"]["annotations"] = json!({"meta.helm.sh/release-name": "dns"});
        json["metadata"]["labels"]["app.kubernetes.io/managed-by"] = "Helm".into();
    }));
    assert_eq!(
        (target.platform, &target.channel),
        (Platform::SelfManaged, &Channel::WholeCorefile)
    );
    assert!(
        target.warnings[0].contains("Helm release dns"),
        "{:?}",
        target.warnings
    );
}

#[test]
fn k3s_is_written_through_its_custom_config_map() {
    let mut cluster = own(|json| {
        json["metadata"]["annotations"] =
            json!({"objectset.rio.cattle.io/owner-gvk": "k3s.cattle.io/v1, Kind=Addon"});
    });
    mark_nodes(&mut cluster, &json!({}), "v1.34.1+k3s1");
    assert!(advice(&target(&cluster)).contains("--disable=coredns"));

    with_imports(
        &mut cluster,
        &format!("{IMPORTS}example.org {{\n    whoami\n}}\n"),
    );
    let found = target(&cluster);
    assert_eq!(found.platform, Platform::K3s);
    assert_eq!(
        found.channel,
        Channel::Custom {
            namespace: "kube-system".to_owned(),
            config_map: "coredns-custom".to_owned(),
            exists: false,
            override_key: "tsutsumi.override".to_owned(),
            pattern: "/etc/coredns/custom/*.override".to_owned(),
            uncovered: vec!["example.org".to_owned()],
        }
    );
}

#[test]
fn an_import_that_is_not_there_or_leads_nowhere_is_not_used() {
    let mut cluster = own(|json| json["metadata"]["labels"]["objectset.rio.cattle.io/hash"] = "x".into());
    mark_nodes(&mut cluster, &json!({}), "v1.34.1+k3s1");
    edit(&mut cluster.config_maps, "coredns", |json| {
        json["data"]["Corefile"] = IMPORTS.into();
    });
    assert!(reason(&target(&cluster)).contains("no ConfigMap is mounted at /etc/coredns/custom"));

    with_imports(
        &mut cluster,
        ".:53 {\n    # import /etc/coredns/custom/*.override\n    whoami\n}\n",
    );
    assert!(reason(&target(&cluster)).contains("imports no `*.override`"));

    with_imports(&mut cluster, ".:53 {\n    whoami\n");
    assert!(
        reason(&target(&cluster)).contains("not one that CoreDNS reads"),
        "{}",
        reason(&target(&cluster))
    );
}

#[test]
fn own_coredns_on_k3s_is_self_managed() {
    let mut cluster = own(|_| {});
    mark_nodes(&mut cluster, &json!({}), "v1.34.1+k3s1");
    assert_eq!(target(&cluster).platform, Platform::SelfManaged);
}

#[test]
fn aks_and_gardener_import_by_a_relative_path() {
    let relative = IMPORTS.replace("/etc/coredns/", "");
    let mut aks = own(|_| {});
    mark_nodes(&mut aks, &json!({"kubernetes.azure.com/cluster": "c"}), "v1.34.1");
    assert!(advice(&target(&aks)).contains("NetworkPolicy"));
    with_imports(&mut aks, &relative);
    assert_eq!(target(&aks).platform, Platform::Aks);
    assert!(
        matches!(target(&aks).channel, Channel::Custom { .. }),
        "{:?}",
        target(&aks).channel
    );

    let mut gardener =
        own(|json| json["metadata"]["labels"]["resources.gardener.cloud/managed-by"] = "gardener".into());
    with_imports(&mut gardener, &relative);
    assert_eq!(target(&gardener).platform, Platform::Gardener);
    assert!(matches!(target(&gardener).channel, Channel::Custom { .. }));
}

#[test]
fn platforms_that_own_their_corefile_are_only_audited() {
    let mut eks = own(|_| {});
    edit(&mut eks.config_maps, "coredns", |json| {
        json["metadata"]["managedFields"] = json!([{"manager": "eks", "operation": "Apply", "fieldsType": "FieldsV1", "fieldsV1": {"f:data": {}}}]);
    });
    eks.config_maps
        .iter_mut()
        .for_each(|map| crate::cluster::prune_config_map(std::sync::Arc::make_mut(map)));
    let found = target(&eks);
    assert_eq!(found.platform, Platform::Eks);
    assert!(advice(&found).contains("--configuration-values"));

    let rke2 = own(|json| json["metadata"]["labels"]["helm.sh/chart"] = "rke2-coredns-1.43.0".into());
    assert_eq!(target(&rke2).platform, Platform::Rke2);
    assert!(advice(&target(&rke2)).contains("HelmChartConfig"));

    let openshift = own(|json| {
        json["metadata"]["ownerReferences"] =
            json!([{"apiVersion": "operator.openshift.io/v1", "kind": "DNS", "name": "default", "uid": "o"}]);
    });
    assert_eq!(target(&openshift).platform, Platform::OpenShift);
    assert!(advice(&target(&openshift)).contains("spec.upstreamResolvers"));

    let mut gke = own(|_| {});
    mark_nodes(
        &mut gke,
        &json!({"cloud.google.com/gke-nodepool": "p"}),
        "v1.34.1-gke.100",
    );
    // kube-dns reads no Corefile: that is a finding, not an error.
    gke.config_maps.clear();
    assert_eq!(target(&gke).platform, Platform::Gke);
    assert!(advice(&target(&gke)).contains("upstreamNameservers"));
}

#[test]
fn who_is_not_known_is_only_audited_and_named() {
    let addon =
        own(|json| json["metadata"]["labels"]["addonmanager.kubernetes.io/mode"] = "Reconcile".into());
    assert_eq!(target(&addon).platform, Platform::Unknown);
    assert!(advice(&target(&addon)).contains("addon manager"));

    let owned = own(|json| {
        json["metadata"]["ownerReferences"] =
            json!([{"apiVersion": "vendor.example/v1", "kind": "Dns", "name": "main", "uid": "v"}]);
    });
    assert!(advice(&target(&owned)).contains("Dns main (vendor.example/v1)"));

    let fleet = own(|json| json["metadata"]["labels"]["objectset.rio.cattle.io/hash"] = "x".into());
    assert!(advice(&target(&fleet)).contains("Rancher"));

    let mut vendor = own(|_| {});
    mark_nodes(&mut vendor, &json!({}), "v1.34.1+vendor.2");
    assert_eq!(target(&vendor).platform, Platform::Unknown);
    let mut candidate = own(|_| {});
    mark_nodes(&mut candidate, &json!({}), "v1.35.0-rc.1");
    assert_eq!(target(&candidate).platform, Platform::SelfManaged);
}

#[test]
fn an_immutable_config_map_is_only_audited() {
    let mut cluster = kubeadm();
    edit(&mut cluster.config_maps, "coredns", |json| {
        json["immutable"] = true.into();
    });
    assert!(reason(&target(&cluster)).contains("kube-system/coredns is immutable"));
}
