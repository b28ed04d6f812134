//! Who may reach the resolver, and whom it may reach: DNS both ways and nothing else.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::networking::v1::{
        IPBlock, NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPeer,
        NetworkPolicyPort, NetworkPolicySpec,
    },
    apimachinery::pkg::{
        apis::meta::v1::{LabelSelector, LabelSelectorRequirement},
        util::intstr::IntOrString,
    },
};

use super::{Wish, config};

/// The port of our probe zone's pods; plugins look at a packet after the Service was resolved.
const PROBE_ZONE_PORT: i32 = 1053;

/// In, over TLS too where it has a certificate: the pods of CoreDNS, canaries that try a Corefile, and the prober. Out: port 53 anywhere.
pub(super) fn network_policy(wish: &Wish<'_>) -> NetworkPolicy {
    let labels = |labels| LabelSelector {
        match_labels: Some(labels),
        ..LabelSelector::default()
    };
    let canaries = NetworkPolicyPeer {
        pod_selector: Some(LabelSelector {
            match_expressions: Some(vec![LabelSelectorRequirement {
                key: "tsutsumi.dev/canary".to_owned(),
                operator: "Exists".to_owned(),
                values: None,
            }]),
            ..LabelSelector::default()
        }),
        ..NetworkPolicyPeer::default()
    };
    let prober = NetworkPolicyPeer {
        pod_selector: Some(labels(ours("prober"))),
        ..NetworkPolicyPeer::default()
    };
    let askers = match &wish.askers {
        Some((namespace, selector)) => {
            let name = ("kubernetes.io/metadata.name".to_owned(), (*namespace).to_owned());
            vec![NetworkPolicyPeer {
                namespace_selector: Some(labels([name].into())),
                pod_selector: Some(labels(selector.clone())),
                ..NetworkPolicyPeer::default()
            }]
        }
        // No selector picks a pod in its node's network.
        None => wish
            .clients
            .iter()
            .map(|net| NetworkPolicyPeer {
                ip_block: Some(IPBlock {
                    cidr: net.to_string(),
                    except: None,
                }),
                ..NetworkPolicyPeer::default()
            })
            .collect(),
    };
    let probe_zone = wish.probe_zones.first().map(|_| NetworkPolicyEgressRule {
        ports: Some(both(PROBE_ZONE_PORT)),
        to: Some(vec![NetworkPolicyPeer {
            pod_selector: Some(labels(ours("probe-zone"))),
            ..NetworkPolicyPeer::default()
        }]),
    });
    let anywhere = NetworkPolicyEgressRule {
        ports: Some(both(53)),
        to: None,
    };
    let tls = wish.leaf.as_ref().map(|_| over(config::TLS.get().into(), "TCP"));
    NetworkPolicy {
        metadata: wish.meta(wish.name()),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(labels(wish.selector())),
            policy_types: Some(vec!["Ingress".to_owned(), "Egress".to_owned()]),
            ingress: Some(vec![NetworkPolicyIngressRule {
                from: Some(askers.into_iter().chain([canaries, prober]).collect()),
                ports: Some(both(53).into_iter().chain(tls).collect()),
            }]),
            egress: Some([anywhere].into_iter().chain(probe_zone).collect()),
        }),
    }
}

/// The labels of a part of our own installation.
fn ours(component: &str) -> BTreeMap<String, String> {
    [
        ("app.kubernetes.io/name", "tsutsumi"),
        ("app.kubernetes.io/component", component),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into()
}

fn both(port: i32) -> Vec<NetworkPolicyPort> {
    vec![over(port, "UDP"), over(port, "TCP")]
}

fn over(port: i32, protocol: &str) -> NetworkPolicyPort {
    NetworkPolicyPort {
        port: Some(IntOrString::Int(port)),
        protocol: Some(protocol.to_owned()),
        ..NetworkPolicyPort::default()
    }
}
