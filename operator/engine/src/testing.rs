//! Clusters for tests: YAML as `kubectl get -o yaml` shows it, and one good cluster to start from.

use std::sync::Arc;

use k8s_openapi::serde_json::{self, Value, from_value};

use crate::cluster::{Cluster, Index, Interest, Pod};

/// A kubeadm cluster with two nodes and two CoreDNS pods, closed to the outside.
pub(crate) const KUBEADM: &str = include_str!("../testdata/kubeadm.yaml");

/// The cluster of [`KUBEADM`].
pub(crate) fn kubeadm() -> Cluster {
    cluster(KUBEADM)
}

/// The cluster of [`KUBEADM`] and more objects; one of the same kind and name takes the place of the first.
pub(crate) fn kubeadm_with(yaml: &str) -> Cluster {
    let mut cluster = kubeadm();
    add(&mut cluster, yaml);
    cluster
}

/// A cluster of these objects alone.
pub(crate) fn cluster(yaml: &str) -> Cluster {
    let mut cluster = Cluster::default();
    add(&mut cluster, yaml);
    cluster
}

/// Adds objects, or puts them in the place of those of the same kind and name.
pub(crate) fn add(cluster: &mut Cluster, yaml: &str) {
    for document in yaml.split("\n---\n").filter(|text| !text.trim().is_empty()) {
        let object: Value =
            serde_saphyr::from_str(document).unwrap_or_else(|error| panic!("{error} in {document}"));
        place(cluster, object);
    }
}

/// Adds an object, or puts it in the place of the one of its kind and name.
pub(crate) fn place(cluster: &mut Cluster, object: Value) {
    let kind = object["kind"].as_str().unwrap().to_owned();
    match kind.as_str() {
        "Node" => put(&mut cluster.nodes, object, |each| &each.metadata),
        "Service" => index(&mut cluster.services, object),
        "EndpointSlice" => index(&mut cluster.slices, object),
        "Pod" => put(&mut cluster.pods, object, |each: &Pod| &each.metadata),
        "Deployment" => put(&mut cluster.deployments, object, |each| &each.metadata),
        "DaemonSet" => put(&mut cluster.daemon_sets, object, |each| &each.metadata),
        "NetworkPolicy" => put(&mut cluster.network_policies, object, |each| &each.metadata),
        "ConfigMap" => put(&mut cluster.config_maps, object, |each| &each.metadata),
        other => panic!("no place for a {other}"),
    }
}

/// Changes every object of a list as a user would change its JSON.
pub(crate) fn edit<T>(list: &mut [Arc<T>], name: &str, change: impl Fn(&mut Value))
where
    T: serde::Serialize + serde::de::DeserializeOwned,
{
    let mut hit = false;
    for each in list {
        let mut json = serde_json::to_value(&**each).unwrap();
        if json["metadata"]["name"] == name {
            change(&mut json);
            *each = Arc::new(from_value(json).unwrap());
            hit = true;
        }
    }
    assert!(hit, "no object is called {name}");
}

/// The object of that name in the YAML, changed as a user would change its JSON.
pub(crate) fn changed(yaml: &str, name: &str, change: impl Fn(&mut Value)) -> String {
    let objects = yaml.split("\n---\n").map(|document| {
        let object: Value =
            serde_saphyr::from_str(document).unwrap_or_else(|error| panic!("{error} in {document}"));
        object
    });
    let mut object = objects
        .into_iter()
        .find(|object| object["metadata"]["name"] == name)
        .unwrap_or_else(|| panic!("no object is called {name}"));
    change(&mut object);
    // JSON is YAML.
    object.to_string()
}

/// Turns every list by as many places.
pub(crate) fn turned(cluster: &Cluster, by: usize) -> Cluster {
    let mut turned = cluster.clone();
    turn(&mut turned.nodes, by);
    turn(&mut turned.pods, by);
    turn(&mut turned.deployments, by);
    turn(&mut turned.daemon_sets, by);
    turn(&mut turned.config_maps, by);
    turn(&mut turned.network_policies, by);
    turn(&mut turned.routes, by);
    turn(&mut turned.pools, by);
    if by % 2 == 1 {
        turned.nodes.reverse();
        turned.pods.reverse();
        turned.config_maps.reverse();
    }
    turned
}

fn turn<T>(list: &mut [T], by: usize) {
    if !list.is_empty() {
        list.rotate_left(by % list.len());
    }
}

fn index<I: Index<Object: serde::de::DeserializeOwned>>(index: &mut Arc<I>, object: Value) {
    let object = from_value(object).unwrap();
    Arc::make_mut(index).put(object, &Interest::default());
}

fn put<T>(
    list: &mut Vec<Arc<T>>,
    object: Value,
    meta: impl Fn(&T) -> &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta,
) where
    T: serde::de::DeserializeOwned,
{
    let object: T = from_value(object).unwrap();
    let key = |each: &T| (meta(each).namespace.clone(), meta(each).name.clone());
    list.retain(|each| key(each) != key(&object));
    list.push(Arc::new(object));
}
