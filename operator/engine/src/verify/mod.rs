//! Live verification: which questions to ask, what the answers come to, and what is kept of them.
//!
//! [`plan_round`] makes a round from what stands in the cluster, the driver has it asked and hands back what was seen,
//! [`judge_round`] turns that into verdicts with their observations, [`evidence`] keeps them. All of it is pure.

pub mod evidence;
mod judge;
mod levers;
mod past;
mod questions;
mod roots;
mod series;
mod validation;

use std::collections::BTreeMap;

use tsutsumi_api::resolver_policy::{self, AnyQueries, Recursion, ResolverPolicySpec, SourcePorts};
pub use tsutsumi_controls::{
    Aim, Around, Asked, Availability, Lever, Others, Place, Purpose, Root, Round, Sentinel, Step,
    Target as TargetNames, Trial, Warmed,
};
use tsutsumi_model::{ControlId, DomainName, Endpoint, Exposure};

pub use judge::{Judged, judge_round};
pub use questions::{LARGE_ANSWER, MAX_EXPOSED, MAX_PODS, MAX_ZONES, plan_round, zones_of_keys};
pub use series::Marks;

/// A DNS pod that is to be probed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RoundPod {
    /// `namespace/name`.
    pub label: String,
    /// Its own addresses, one per family.
    pub endpoints: Vec<Endpoint>,
    /// Where it shows its metrics, if it does.
    pub metrics: Option<Endpoint>,
    /// Whether Kubernetes sends clients to it.
    pub ready: bool,
    /// The version in its image's tag.
    pub image_version: Option<String>,
}

/// What a round is made from, and what its answers are judged by.
#[derive(Clone, Debug, PartialEq)]
pub struct RoundInput {
    /// What the policy asks.
    pub asked: Asked,
    /// The workload, for commands.
    pub target: TargetNames,
    /// The DNS pods.
    pub pods: Vec<RoundPod>,
    /// Where pods ask: the Service in front of the DNS pods, if there is one.
    pub service: Option<Endpoint>,
    /// The pods of the managed resolver behind them.
    pub resolvers: Vec<RoundPod>,
    /// The ways from outside to them.
    pub exposures: Vec<Exposure>,
    /// The ways around them; none where nobody asked.
    pub around: Option<Around>,
    /// The cluster's domain, for example `cluster.local`.
    pub cluster_domain: DomainName,
    /// The namespace with the name that has a big answer: our own.
    pub namespace: String,
    /// A name that exists and is forwarded, if the administrator gave one.
    pub forwarded_name: Option<DomainName>,
    /// Zones with a server block of their own, from [`zones_of_keys`].
    pub zones: Vec<DomainName>,
    /// Whether there is a prober inside.
    pub inside: Availability,
    /// Whether there is a prober outside.
    pub outside: Availability,
    /// Whether there is a probe zone, and a way from the pods to it.
    pub zone: Availability,
    /// Whether there is a probe zone outside, and a way from the pods to it.
    pub zone_outside: Availability,
    /// Where resolvers ask the probe zone.
    pub zone_server: Option<Endpoint>,
    /// What the managed resolver starts from.
    pub root: Root,
    /// Controls for which the platform has no lever, with its own setting.
    pub unsupported: BTreeMap<ControlId, String>,
}

/// What a policy asks of the controls.
#[must_use]
pub fn asked(spec: &ResolverPolicySpec) -> Asked {
    Asked {
        clients: spec.clients.as_ref().map(|clients| match clients.others {
            resolver_policy::Others::Drop => Others::Drop,
            resolver_policy::Others::Refuse => Others::Refuse,
        }),
        udp_max_bytes: spec.udp.map(|udp| udp.max_message_bytes),
        any_empty: spec.any_queries == Some(AnyQueries::Empty),
        random_ports: spec
            .recursion
            .as_ref()
            .is_some_and(|recursion| recursion.source_ports == SourcePorts::Random),
        validation: spec.recursion.as_ref().is_some_and(Recursion::validates),
    }
}

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod tests;
