//! Facts: what was found in the cluster, said without Kubernetes.
//!
//! A fact is a plain value with a total order, so that a list of facts never depends on the order in which objects
//! were read. Judging facts is the controls' work.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::{Endpoint, Port, Transport};

/// One way by which the outside reaches the DNS pods.
///
/// An object that leads in by different ports for UDP and TCP is described by one value per port, so that every
/// endpoint is reachable over every transport of its value.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Exposure {
    /// The object that opens it, such as `Service kube-system/dns-nodeport`.
    pub object: String,
    /// Where it listens, sorted: what a probe can ask.
    pub endpoints: Vec<Endpoint>,
    /// Over what, sorted.
    pub transports: Vec<Transport>,
    /// Names by which it is published (a load balancer without an address). Nothing resolves them, so what stands
    /// here was not probed.
    pub hostnames: Vec<String>,
    /// Whether the DNS pods see who asks.
    pub client_address: ClientAddress,
}

/// Whether the DNS pods see who asks. Where they do not, no rule by address can hold.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub enum ClientAddress {
    /// The packet arrives with the address of the client.
    Kept,
    /// It arrives with an address of the cluster or of a proxy.
    Hidden {
        /// What replaces the address.
        why: String,
        /// One command that ends it.
        cure: String,
    },
}

/// How a pod gets DNS past cluster DNS.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub enum Bypass {
    /// It answers the pods of its node from a cache and a configuration of its own (`NodeLocal DNSCache`).
    AnswersOnNode,
    /// It asks resolvers that its own specification names; sorted.
    AsksNamed(Vec<IpAddr>),
    /// `dnsPolicy: Default`: it asks whom its node asks.
    AsksAsNode,
    /// It is in its node's network, where any `dnsPolicy` but `ClusterFirstWithHostNet` means whom the node asks.
    InNodeNetwork,
}

/// A workload whose pods get DNS past cluster DNS.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Detour {
    /// The workload, such as `Deployment town/web`.
    pub workload: String,
    /// How.
    pub how: Bypass,
    /// How many of its pods do.
    pub pods: usize,
}

/// What became of a namespace that a policy wants closed.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Closing {
    /// The namespace.
    pub namespace: String,
    /// How far it is closed.
    pub state: Closure,
    /// `NetworkPolicies` of others whose pods are left to them, sorted: one of ours would only allow these more.
    pub left: Vec<String>,
}

/// How far a namespace is closed, as far as objects tell.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub enum Closure {
    /// A `NetworkPolicy` of ours stands there, which proves nothing by itself.
    Written,
    /// It would be written, or is about to be.
    Planned,
    /// None is written, or not the one that is wanted.
    Held {
        /// Why.
        why: String,
        /// What a person can do.
        cure: String,
    },
}

/// Everything by which the DNS pods are reached.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Reach {
    /// The ways from outside, sorted.
    pub exposures: Vec<Exposure>,
    /// The pods' own addresses, sorted: the direct way, which exists wherever pod addresses are routed.
    pub direct: Vec<Endpoint>,
    /// The addresses of the Services inside the cluster, sorted.
    pub inside: Vec<Endpoint>,
}

impl Endpoint {
    /// An endpoint, unless the port is none.
    #[must_use]
    pub fn of(address: IpAddr, port: i32) -> Option<Self> {
        let port = u16::try_from(port).ok().and_then(Port::new)?;
        Some(Self { address, port })
    }
}
