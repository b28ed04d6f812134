//! What the indices keep says the same as everything that is there, looked at anew.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use k8s_openapi::{
    api::core::v1::ConfigMap,
    serde_json::{Value, from_value, json},
};
use proptest::prelude::*;
use tsutsumi_api::ResolverPolicy;

use super::{Cluster, Concern, Index, Interest, Pods, Whole};
use crate::{
    resolver::check,
    testing::{kubeadm, place},
};

/// Near, and far.
const NAMESPACES: [&str; 2] = ["kube-system", "town"];

/// Something that a watch brings.
#[derive(Clone, Debug)]
enum Event {
    Put(Value),
    Delete(Value),
    /// The watch starts anew and brings everything that is there.
    List,
    /// The policy serves other networks.
    Serve(Vec<&'static str>),
}

/// The cluster as watches keep it, beside the objects themselves.
struct Watched {
    foundation: Cluster,
    pods: Pods,
    cluster: Cluster,
    interest: Interest,
    objects: BTreeMap<String, Value>,
    policy: ResolverPolicy,
}

impl Watched {
    fn new() -> Self {
        Self {
            pods: Pods::default(),
            foundation: kubeadm(),
            cluster: kubeadm(),
            interest: Interest::near(vec!["kube-system".to_owned()]),
            objects: BTreeMap::new(),
            policy: serving(&["10.244.0.0/16"]),
        }
    }

    /// What a reconcile sees.
    fn seen(&self) -> Cluster {
        let mut cluster = self.cluster.clone();
        cluster.pods.extend(self.pods.near());
        cluster.elsewhere = self.pods.elsewhere();
        cluster
    }

    /// What it would see if all were read anew and kept in full.
    fn anew(&self) -> Cluster {
        let mut cluster = self.foundation.clone();
        for object in self.objects.values().rev() {
            place(&mut cluster, object.clone());
        }
        cluster
    }

    /// A reconcile: what was decided, in words. What decisions were made from is remembered.
    fn reconcile(&mut self) -> String {
        let cluster = self.seen();
        let checked = check(&self.policy, &[], &cluster);
        self.interest.set("town", Concern::of(&checked, &cluster));
        format!("{checked:#?}")
    }

    fn put(&mut self, object: Value) -> bool {
        self.objects.insert(key(&object), object.clone());
        match object["kind"].as_str().unwrap() {
            "Pod" => self.pods.put(from_value(object).unwrap(), &self.interest),
            "Service" => put(&mut self.cluster.services, object, &self.interest),
            _ => put(&mut self.cluster.slices, object, &self.interest),
        }
    }

    fn delete(&mut self, object: Value) -> bool {
        if self.objects.remove(&key(&object)).is_none() {
            return false;
        }
        match object["kind"].as_str().unwrap() {
            "Pod" => self.pods.remove(&from_value(object).unwrap(), &self.interest),
            "Service" => remove(&mut self.cluster.services, object, &self.interest),
            _ => remove(&mut self.cluster.slices, object, &self.interest),
        }
    }

    fn list(&mut self) {
        self.pods = Pods::default();
        self.cluster = self.foundation.clone();
        for object in std::mem::take(&mut self.objects).into_values() {
            self.put(object);
        }
    }
}

fn put<I: Index<Object: serde::de::DeserializeOwned>>(
    index: &mut Arc<I>,
    object: Value,
    interest: &Interest,
) -> bool {
    Arc::make_mut(index).put(from_value(object).unwrap(), interest)
}

fn remove<I: Index<Object: serde::de::DeserializeOwned>>(
    index: &mut Arc<I>,
    object: Value,
    interest: &Interest,
) -> bool {
    Arc::make_mut(index).remove(&from_value(object).unwrap(), interest)
}

fn key(object: &Value) -> String {
    let meta = &object["metadata"];
    format!("{} {} {}", object["kind"], meta["namespace"], meta["name"])
}

fn serving(cidrs: &[&str]) -> ResolverPolicy {
    from_value(json!({
        "apiVersion": "tsutsumi.dev/v1alpha1",
        "kind": "ResolverPolicy",
        "metadata": { "name": "town" },
        "spec": { "mode": "Audit", "clients": { "include": [], "cidrs": cidrs }, "waysAround": {} },
    }))
    .unwrap()
}

/// Of few addresses, so that many objects share one: those of the DNS pods among them.
fn address() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "10.244.0.2",
        "fd00:10:244::2",
        "10.244.1.2",
        "10.244.0.9",
        "10.245.0.1",
        "192.0.2.7",
        "::ffff:10.244.0.2",
        "none",
    ])
}

fn object() -> impl Strategy<Value = Value> {
    let meta = (prop::sample::select(NAMESPACES.to_vec()), 0..2_u8, any::<u8>())
        .prop_map(|(namespace, name, version)| json!({ "namespace": namespace, "name": format!("it-{name}"), "resourceVersion": version.to_string() }));
    let dns_policy = prop::sample::select(vec!["ClusterFirst", "Default", "None"]);
    let pod = (prop::collection::vec(address(), 0..3), any::<bool>(), any::<bool>(), dns_policy).prop_map(|(addresses, runs, dns, dns_policy)| {
        json!({
            "kind": "Pod",
            "metadata": {
                "labels": if dns { json!({ "k8s-app": "kube-dns", "pod-template-hash": "5dd5756b68" }) } else { json!({ "app": "web" }) },
                "ownerReferences": [{ "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "coredns-5dd5756b68", "uid": "r" }],
            },
            "spec": {
                "containers": [{ "name": "web", "ports": null }],
                "dnsPolicy": dns_policy,
                "dnsConfig": if dns_policy == "None" { json!({ "nameservers": ["10.96.0.99", "192.0.2.7"] }) } else { Value::Null },
            },
            "status": {
                "phase": if runs { "Running" } else { "Failed" },
                "podIP": addresses.first(),
                "podIPs": addresses.iter().map(|ip| json!({ "ip": ip })).collect::<Vec<_>>(),
            },
        })
    });
    let service = (prop::sample::select(vec!["ClusterIP", "NodePort", "LoadBalancer", "ExternalName"]), prop::sample::select(vec![53, 80]), any::<bool>()).prop_map(|(kind, port, labelled)| {
        json!({
            "kind": "Service",
            "metadata": { "labels": if labelled { json!({ "k8s-app": "kube-dns" }) } else { Value::Null } },
            "spec": {
                "type": kind,
                "clusterIP": "10.96.0.99",
                "selector": { "k8s-app": "kube-dns" },
                "ports": [{ "port": port, "protocol": "UDP", "nodePort": 30000 + port, "targetPort": 53 }],
            },
            "status": { "loadBalancer": { "ingress": [{ "ip": "203.0.113.53" }] } },
        })
    });
    let slice = (prop::collection::vec(address(), 0..3), 0..2_u8).prop_map(|(addresses, service)| {
        json!({
            "kind": "EndpointSlice",
            "metadata": { "labels": { "kubernetes.io/service-name": format!("it-{service}") } },
            "ports": [{ "port": 53, "protocol": "UDP" }],
            "endpoints": addresses.iter().map(|address| json!({ "addresses": [address] })).collect::<Vec<_>>(),
        })
    });
    (meta, prop_oneof![pod, service, slice]).prop_map(|(meta, mut object)| {
        for (name, value) in meta.as_object().unwrap() {
            object["metadata"][name] = value.clone();
        }
        object
    })
}

fn event() -> impl Strategy<Value = Event> {
    let nets = prop::sample::subsequence(
        vec!["10.244.0.0/16", "10.245.0.0/24", "192.0.2.0/24", "fd00::/8"],
        0..=4,
    );
    prop_oneof![
        8 => object().prop_map(Event::Put),
        4 => object().prop_map(Event::Delete),
        1 => Just(Event::List),
        2 => nets.prop_map(Event::Serve),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn what_is_kept_says_the_same_as_what_is_there_and_no_event_that_matters_is_passed_over(
        events in prop::collection::vec(event(), 1..24),
    ) {
        let mut watched = Watched::new();
        let mut decided = watched.reconcile();
        for event in events {
            let matters = match event.clone() {
                Event::Put(object) => watched.put(object),
                Event::Delete(object) => watched.delete(object),
                Event::List => { watched.list(); true }
                Event::Serve(nets) => { watched.policy = serving(&nets); true }
            };
            let before = std::mem::replace(&mut decided, watched.reconcile());
            prop_assert!(matters || before == decided, "{:?} was passed over:\n{}\n{}", event, before, decided);
            let anew = watched.anew();
            let checked = check(&watched.policy, &[], &anew);
            prop_assert_eq!(&decided, &format!("{checked:#?}"), "after {:?}", event);
        }
    }

    #[test]
    fn addresses_outside_are_those_that_no_network_holds(
        addresses in prop::collection::vec(any::<(bool, u8)>(), 0..40),
        nets in prop::collection::vec((any::<bool>(), any::<u8>(), 0..=8_u8), 0..6),
    ) {
        // All that differs is in the last eight bits, so that networks touch, overlap and begin at either end.
        let address = |(six, bits): (bool, u8)| -> IpAddr {
            if six { (u128::MAX - u128::from(u8::MAX) + u128::from(bits)).to_be_bytes().into() } else { Ipv4Addr::from(u32::from(bits)).into() }
        };
        let nets: Vec<ipnet::IpNet> = nets
            .into_iter()
            .map(|(six, bits, host)| ipnet::IpNet::new(address((six, bits)), if six { 128 } else { 32 } - host).unwrap())
            .collect();
        let mut pods = Pods::default();
        for (number, each) in addresses.iter().enumerate() {
            let pod = json!({ "metadata": { "namespace": "town", "name": number.to_string() }, "status": { "podIP": address(*each).to_string() } });
            pods.put(from_value(pod).unwrap(), &Interest::default());
        }
        let mut wanted: Vec<_> = addresses
            .iter()
            .enumerate()
            .map(|(number, each)| (address(*each), format!("town/{number}")))
            .filter(|(address, _)| !nets.iter().any(|net| net.contains(address)))
            .collect();
        wanted.sort();
        let found: Vec<_> = pods.elsewhere().outside(&nets).map(|(pod, address)| (address, pod.to_string())).collect();
        prop_assert_eq!(found, wanted);
    }
}

#[test]
fn a_write_that_changes_nothing_that_is_read_does_not_matter() {
    let pod = |version: &str, note: &str| {
        let pod = json!({
            "metadata": { "namespace": "kube-system", "name": "it", "resourceVersion": version, "annotations": { "note": note } },
            "status": { "podIP": "10.244.0.7", "conditions": [{ "type": "Ready", "status": "True", "lastProbeTime": note }] },
        });
        from_value(pod).unwrap()
    };
    let interest = Interest::near(vec!["kube-system".to_owned()]);
    let mut pods = Pods::default();
    assert!(pods.put(pod("1", "a"), &interest));
    assert!(!pods.put(pod("2", "b"), &interest));
    assert!(pods.remove(&pod("3", "b"), &interest));
    assert!(!pods.remove(&pod("4", "b"), &interest), "it is gone already");
}

#[test]
fn of_what_is_kept_whole_the_newest_stays_and_its_content_matters() {
    let map = |version: &str, text: &str| {
        let map = json!({
            "metadata": {
                "namespace": "kube-system", "name": "coredns", "resourceVersion": version,
                "managedFields": [{ "manager": version }],
            },
            "data": { "Corefile": text },
        });
        from_value::<ConfigMap>(map).unwrap()
    };
    let mut maps = Whole::default();
    assert!(maps.put(map("1", "a"), &Interest::default()));
    assert!(!maps.put(map("2", "a"), &Interest::default()));
    // A write is tested against the version that was read last.
    assert_eq!(maps.all()[0].metadata.resource_version.as_deref(), Some("2"));
    assert!(maps.put(map("3", "b"), &Interest::default()));
    assert!(maps.remove(&map("4", "b"), &Interest::default()));
    assert!(maps.is_empty());
}

#[test]
fn a_far_pod_matters_where_its_address_is_not_served() {
    let pod = |phase: &str, address: &str| {
        from_value(json!({
            "metadata": { "namespace": "town", "name": "web" },
            "status": { "phase": phase, "podIP": address },
        }))
        .unwrap()
    };
    let mut interest = Interest::near(vec!["kube-system".to_owned()]);
    let mut pods = Pods::default();
    assert!(
        !pods.put(pod("Running", "198.51.100.7"), &interest),
        "nobody is served yet"
    );
    let served = Concern {
        served: Some(vec!["10.244.0.0/16".parse().unwrap()]),
        ..Concern::default()
    };
    assert!(interest.set("town", served.clone()));
    assert!(!interest.set("town", served), "it is no news");
    assert!(
        pods.put(pod("Running", "10.244.0.7"), &interest),
        "it was outside"
    );
    assert!(!pods.put(pod("Running", "10.244.0.8"), &interest));
    assert!(pods.put(pod("Running", "198.51.100.7"), &interest));
    assert!(
        pods.put(pod("Succeeded", "198.51.100.7"), &interest),
        "it holds no address any more"
    );
    assert!(!pods.remove(&pod("Succeeded", "198.51.100.7"), &interest));
}

#[test]
fn names_outside_are_those_of_services_that_stand_for_one() {
    let mut services = super::Services::default();
    let interest = Interest::default();
    let service = |name: &str, kind: &str, outside: &str| {
        from_value::<super::Service>(json!({
            "metadata": { "name": name, "namespace": "town" },
            "spec": { "type": kind, "externalName": outside },
        }))
        .unwrap()
    };
    let told = |services: &super::Services| -> Vec<String> {
        services
            .external_names()
            .iter()
            .map(ToString::to_string)
            .collect()
    };
    for (name, kind, outside) in [
        ("a", "ExternalName", "DB.example."),
        ("b", "ExternalName", "db.example"),
        ("c", "ExternalName", "192.0.2.1"),
        ("d", "ExternalName", "not a name"),
        ("e", "ClusterIP", "left.over"),
        ("f", "ExternalName", "mail.example"),
    ] {
        services.put(service(name, kind, outside), &interest);
    }
    assert_eq!(told(&services), ["db.example", "mail.example"]);
    services.put(service("f", "ClusterIP", ""), &interest);
    services.remove(&service("a", "ExternalName", "db.example"), &interest);
    assert_eq!(told(&services), ["db.example"], "another stands for it still");
    services.remove(&service("b", "ExternalName", "db.example"), &interest);
    assert_eq!(told(&services), Vec::<String>::new());
}
