use std::net::IpAddr;

use ipnet::IpNet;
use proptest::prelude::*;
use tsutsumi_api::resolver_policy::{ClientGroup, Clients, Others};

use super::{AllowList, PoolKind, allow_list};
use crate::testing::{add, edit, kubeadm, kubeadm_with, turned};

fn clients(include: &[ClientGroup], cidrs: &[&str]) -> Clients {
    Clients {
        include: include.to_vec(),
        cidrs: cidrs.iter().map(|text| text.parse().unwrap()).collect(),
        others: Others::Refuse,
        reason: None,
    }
}

fn texts(list: &AllowList) -> Vec<String> {
    list.nets.iter().map(IpNet::to_string).collect()
}

#[test]
fn the_cluster_is_its_pods_its_nodes_and_the_server_itself() {
    let list = allow_list(&kubeadm(), &clients(&[ClientGroup::Cluster], &[]));
    assert_eq!(
        texts(&list),
        [
            "10.244.0.0/16",
            "127.0.0.1/32",
            "192.0.2.11/32",
            "192.0.2.12/32",
            "::1/128",
            "2001:db8::11/128",
            "fd00:10:244::/56",
        ]
    );
    assert_eq!(list.locked_out, []);
    assert_eq!(list.advice(), None);
    let source = |text: &str| {
        let net: IpNet = text.parse().unwrap();
        list.sources
            .iter()
            .find(|(each, _)| *each == net)
            .map(|(_, source)| source.as_str())
    };
    assert_eq!(
        source("10.244.0.0/16"),
        Some("podSubnet of ConfigMap kube-system/kubeadm-config")
    );
    assert_eq!(source("10.244.1.0/24"), Some("podCIDRs of Node two"));
    assert_eq!(source("192.0.2.12/32"), Some("InternalIP of Node two"));
}

#[test]
fn service_and_external_addresses_are_never_listed() {
    let list = allow_list(&kubeadm(), &clients(&[ClientGroup::Cluster], &[]));
    assert!(!list.contains("10.96.0.10".parse().unwrap()));
    assert!(!list.contains("203.0.113.12".parse().unwrap()));
}

#[test]
fn private_networks_take_in_what_lies_within() {
    let list = allow_list(
        &kubeadm(),
        &clients(&[ClientGroup::Cluster, ClientGroup::Private], &["10.0.0.0/9"]),
    );
    for address in [
        "10.255.0.1",
        "172.31.255.255",
        "192.168.1.1",
        "100.127.0.1",
        "fd12::1",
        "169.254.1.1",
        "fe80::1",
    ] {
        assert!(list.contains(address.parse().unwrap()), "{address}");
    }
    for address in ["11.0.0.0", "172.32.0.0", "100.128.0.0", "fec0::1", "2001:db8::1"] {
        assert!(!list.contains(address.parse().unwrap()), "{address}");
    }
    assert!(!texts(&list).contains(&"10.244.0.0/16".to_owned()));
}

#[test]
fn nobody_present_may_be_missed() {
    let list = allow_list(&kubeadm(), &clients(&[], &["10.244.0.0/16"]));
    let missed: Vec<_> = list.locked_out.iter().map(ToString::to_string).collect();
    assert_eq!(
        missed,
        [
            "Node one at 192.0.2.11",
            "Node one at 2001:db8::11",
            "Node two at 192.0.2.12",
            "Pod kube-system/coredns-5dd5756b68-aaaaa at fd00:10:244::2",
            "Pod kube-system/coredns-5dd5756b68-bbbbb at fd00:10:244:1::2",
        ]
    );
    let advice = list.advice().unwrap();
    assert!(
        advice.contains("and 2 more") && advice.contains("spec.clients.cidrs"),
        "{advice}"
    );
}

#[test]
fn a_pod_outside_every_known_range_stops_the_list_until_a_person_names_it() {
    let pod = "kind: Pod
metadata: {namespace: town, name: web-1}
spec: {containers: [{name: web}]}
status: {phase: Running, podIP: 198.51.100.7}";
    let cluster = kubeadm_with(pod);
    let list = allow_list(&cluster, &clients(&[ClientGroup::Cluster], &[]));
    assert_eq!(list.locked_out.len(), 1);
    assert!(list.advice().unwrap().contains("Pod town/web-1 at 198.51.100.7"));
    let list = allow_list(&cluster, &clients(&[ClientGroup::Cluster], &["198.51.100.0/24"]));
    assert_eq!(list.locked_out, []);
    let done = pod.replace("Running", "Succeeded");
    assert_eq!(
        allow_list(&kubeadm_with(&done), &clients(&[ClientGroup::Cluster], &[])).locked_out,
        []
    );
}

#[test]
fn pools_of_the_network_plugins_are_read() {
    let mut cluster = kubeadm_with(
        "kind: ConfigMap
metadata: {namespace: kube-system, name: cilium-config}
data: {ipam: cluster-pool, cluster-pool-ipv4-cidr: 10.1.0.0/16, cluster-pool-ipv6-cidr: 'fd01::/104'}
---
kind: ConfigMap
metadata: {namespace: kube-flannel, name: kube-flannel-cfg}
data: {net-conf.json: '{\"Network\": \"10.2.0.0/16\", \"Backend\": {}}'}
---
kind: ConfigMap
metadata: {namespace: kube-system, name: kube-proxy}
data: {config.conf: 'clusterCIDR: 10.3.0.0/16'}
---
kind: DaemonSet
metadata: {namespace: kube-system, name: node-local-dns}
spec: {selector: {}, template: {}}",
    );
    edit(&mut cluster.nodes, "one", |json| {
        json["metadata"]["annotations"] =
            k8s_openapi::serde_json::json!({"projectcalico.org/IPv4IPIPTunnelAddr": "10.9.0.1"});
    });
    let list = allow_list(&cluster, &clients(&[ClientGroup::Cluster], &[]));
    for address in [
        "10.1.0.1",
        "10.2.0.1",
        "10.3.0.1",
        "fd01::1",
        "10.9.0.1",
        "169.254.20.10",
    ] {
        assert!(
            list.contains(address.parse().unwrap()),
            "{address} in {:?}",
            texts(&list)
        );
    }
}

#[test]
fn pools_that_are_objects_come_and_go_with_them() {
    let policy = clients(&[ClientGroup::Cluster], &[]);
    let mut cluster = kubeadm();
    let before = allow_list(&cluster, &policy);
    for (name, cidr) in [("low", "198.51.100.0/25"), ("high", "198.51.100.128/25")] {
        let spec = k8s_openapi::serde_json::json!({"cidr": cidr});
        let pool = PoolKind::CalicoIpPool.read(name, &spec);
        cluster.pools.push(pool.into());
    }
    let list = allow_list(&cluster, &policy);
    let told = "198.51.100.0/24: cidr of IPPool low, cidr of IPPool high".to_owned();
    assert!(
        list.told().any(|line| line == told),
        "{:?}",
        list.told().collect::<Vec<_>>()
    );
    let only_private = allow_list(&cluster, &clients(&[ClientGroup::Private], &[]));
    assert!(!only_private.contains("198.51.100.1".parse().unwrap()));
    cluster.pools.clear();
    assert_eq!(allow_list(&cluster, &policy), before);
}

#[test]
fn of_many_sources_the_widest_are_told_and_the_rest_is_counted() {
    let mut cluster = kubeadm();
    for each in 3..9 {
        add(
            &mut cluster,
            &format!("kind: Node\nmetadata: {{name: n{each}}}\nspec: {{podCIDR: 10.244.{each}.0/24}}"),
        );
    }
    let list = allow_list(&cluster, &clients(&[ClientGroup::Cluster], &[]));
    assert_eq!(
        list.told().next().unwrap(),
        "10.244.0.0/16: podSubnet of ConfigMap kube-system/kubeadm-config, podCIDRs of Node one, podCIDRs of Node two \
         and 6 more"
    );
}

#[test]
fn odd_texts_are_no_ranges() {
    let mut cluster = kubeadm_with(
        "kind: ConfigMap
metadata: {namespace: kube-system, name: kubeadm-config}
data: {ClusterConfiguration: 'networking: [not, a, map]'}
---
kind: ConfigMap
metadata: {namespace: kube-system, name: kube-proxy}
data: {config.conf: 'clusterCIDR: \"0.0.0.0/0,::/0\"'}",
    );
    edit(&mut cluster.nodes, "one", |json| {
        json["spec"]["podCIDRs"] = k8s_openapi::serde_json::json!(["", "10.244.0.0/33"]);
    });
    let list = allow_list(&cluster, &clients(&[ClientGroup::Cluster], &[]));
    assert!(!list.contains("198.51.100.1".parse().unwrap()));
    assert!(list.nets.iter().all(|net| net.prefix_len() > 0));
}

#[test]
fn a_node_that_joins_changes_the_list_at_once() {
    let mut cluster = kubeadm();
    let policy = clients(&[ClientGroup::Cluster], &[]);
    let before = allow_list(&cluster, &policy);
    add(
        &mut cluster,
        "kind: Node
metadata: {name: three}
spec: {podCIDR: 10.250.0.0/24}
status: {addresses: [{type: InternalIP, address: 198.51.100.13}]}",
    );
    let after = allow_list(&cluster, &policy);
    assert!(!before.contains("10.250.0.1".parse().unwrap()));
    assert!(
        after.contains("10.250.0.1".parse().unwrap()) && after.contains("198.51.100.13".parse().unwrap())
    );
}

proptest! {
    #[test]
    fn order_never_changes_the_list(by in 0_usize..16, swap: bool) {
        let cluster = kubeadm();
        let mut policy = clients(&[ClientGroup::Cluster, ClientGroup::Private], &["198.51.100.0/25", "198.51.100.128/25"]);
        let expected = allow_list(&cluster, &policy);
        if swap {
            policy.include.reverse();
            policy.cidrs.reverse();
        }
        prop_assert_eq!(allow_list(&turned(&cluster, by), &policy), expected);
    }

    #[test]
    fn merging_neither_adds_nor_loses_an_address(nets in prop::collection::vec((any::<u32>(), 8_u8..=32), 1..12), probe: u32) {
        let cidrs: Vec<String> = nets
            .iter()
            .map(|(bits, length)| {
                let net = ipnet::Ipv4Net::new((*bits).into(), *length).unwrap();
                net.trunc().to_string()
            })
            .collect();
        let texts: Vec<&str> = cidrs.iter().map(String::as_str).collect();
        let list = allow_list(&crate::cluster::Cluster::default(), &clients(&[], &texts));
        let loopback = |address: IpAddr| address == IpAddr::from([127, 0, 0, 1]);
        let edges = cidrs.iter().flat_map(|text| {
            let net: ipnet::Ipv4Net = text.parse().unwrap();
            let (first, last) = (u32::from(net.network()), u32::from(net.broadcast()));
            [first.wrapping_sub(1), first, last, last.wrapping_add(1)]
        });
        for bits in edges.chain([probe]) {
            let address = IpAddr::from(std::net::Ipv4Addr::from(bits));
            let wanted = cidrs.iter().any(|text| text.parse::<IpNet>().unwrap().contains(&address)) || loopback(address);
            prop_assert_eq!(list.contains(address), wanted, "{}", address);
        }
        prop_assert!(list.nets.is_sorted());
    }
}
