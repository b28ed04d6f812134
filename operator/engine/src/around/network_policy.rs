//! The `NetworkPolicy` by which the pods of a namespace reach cluster DNS on ports 53 and 853, and nobody else there.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr},
};

use k8s_openapi::{
    api::networking::v1::{
        IPBlock, NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyPeer, NetworkPolicyPort,
        NetworkPolicySpec,
    },
    apimachinery::pkg::{
        apis::meta::v1::{LabelSelector, ObjectMeta},
        util::intstr::IntOrString,
    },
};

use tsutsumi_model::Reach;

use crate::{cluster::Cluster, managed::askers, target::Target};

/// One name everywhere: a role can name it, and of two in one namespace each would allow what the other closes.
pub(super) const NAME: &str = "tsutsumi-dns-egress";
/// Where `NodeLocal DNSCache` listens unless somebody chose otherwise. It never leaves the node.
const NODE_LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::new(169, 254, 20, 10));
/// All ports but 53 and 853: a `NetworkPolicy` allows, and cannot deny.
const OTHERS: [(i32, i32); 3] = [(1, 52), (54, 852), (854, 65_535)];

/// For the pods of the namespace that the selector picks.
pub(super) fn egress(
    namespace: &str,
    selector: LabelSelector,
    cluster: &Cluster,
    target: &Target,
    reach: &Reach,
) -> NetworkPolicy {
    let labels = |labels| LabelSelector {
        match_labels: Some(labels),
        ..LabelSelector::default()
    };
    let peers = match askers(cluster, target) {
        Some((of, selector)) => vec![NetworkPolicyPeer {
            namespace_selector: Some(labels(
                [("kubernetes.io/metadata.name".to_owned(), of.to_owned())].into(),
            )),
            pod_selector: Some(labels(selector)),
            ..NetworkPolicyPeer::default()
        }],
        // No selector picks a pod in its node's network.
        None => target
            .pods
            .iter()
            .flat_map(|pod| &pod.addresses)
            .map(|address| single(*address))
            .collect(),
    };
    // Most plugins look at a packet after the Service was resolved, and Kubernetes leaves it to them.
    let before = reach.inside.iter().map(|at| at.address).collect::<BTreeSet<_>>();
    let before = NetworkPolicyEgressRule {
        to: Some(before.into_iter().chain([NODE_LOCAL]).map(single).collect()),
        ports: Some(["UDP", "TCP"].map(|protocol| port(protocol, 53, None)).into()),
    };
    let dns = target
        .pods
        .first()
        .map_or(53, |pod| i32::from(pod.dns_port.get()));
    let to_dns = NetworkPolicyEgressRule {
        to: Some(peers),
        ports: Some(["UDP", "TCP"].map(|protocol| port(protocol, dns, None)).into()),
    };
    let others = ["TCP", "UDP", "SCTP"]
        .into_iter()
        .flat_map(|protocol| OTHERS.map(|(first, last)| port(protocol, first, Some(last))));
    NetworkPolicy {
        metadata: ObjectMeta {
            name: Some(NAME.to_owned()),
            namespace: Some(namespace.to_owned()),
            ..ObjectMeta::default()
        },
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(selector),
            policy_types: Some(vec!["Egress".to_owned()]),
            egress: Some(vec![
                to_dns,
                before,
                NetworkPolicyEgressRule {
                    to: None,
                    ports: Some(others.collect()),
                },
            ]),
            ingress: None,
        }),
    }
}

fn single(address: IpAddr) -> NetworkPolicyPeer {
    NetworkPolicyPeer {
        ip_block: Some(IPBlock {
            cidr: format!("{address}/{}", if address.is_ipv4() { 32 } else { 128 }),
            except: None,
        }),
        ..NetworkPolicyPeer::default()
    }
}

fn port(protocol: &str, first: i32, last: Option<i32>) -> NetworkPolicyPort {
    NetworkPolicyPort {
        port: Some(IntOrString::Int(first)),
        end_port: last,
        protocol: Some(protocol.to_owned()),
    }
}
