//! What is true of a policy in this cluster: its target, its clients, the ways in. Problems are findings, not errors.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use tsutsumi_api::{
    ResolverPolicy,
    resolver_policy::{Mode, OnDelete},
};
use tsutsumi_model::{Endpoint, Reach};

use crate::{
    around,
    cluster::{Cluster, Probes},
    exposure,
    managed::Managed,
    platform::Channel,
    ranges::{AllowList, allow_list},
    target::{self, Target, TargetError},
};

/// A policy beside what was found for it.
#[derive(Debug)]
pub struct Checked<'a> {
    /// The policy.
    pub policy: &'a ResolverPolicy,
    /// The workload that serves cluster DNS.
    pub target: Result<Target, TargetError>,
    /// An older policy that holds the same target.
    pub conflict: Option<String>,
    /// Whom the policy serves, in addresses; none where it does not manage clients.
    pub allow: Option<AllowList>,
    /// Every way to the DNS pods.
    pub reach: Reach,
    /// Which workloads get DNS past cluster DNS; none where the policy does not ask.
    pub around: Option<around::Found>,
    /// What is to be closed of these ways; sorted.
    pub closings: Vec<around::close::Closing>,
    /// Where the names of the probe zones should lead; none where the policy does not ask how questions leave, or where
    /// that is not known at present.
    pub probe: Option<Probes>,
    /// The resolver of ours that the policy wants, or that is left of it.
    pub managed: Managed,
    /// Who is to be told what cluster DNS is asked; none where nobody watches.
    pub tap: Option<Endpoint>,
    /// Whether the present text tells somebody of ours what is asked.
    pub tapped: bool,
    /// The files beside the Corefile, where the platform owns that one.
    pub custom: CustomFiles,
}

/// The files that a platform's Corefile imports.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct CustomFiles {
    /// What stands under our key.
    pub ours: Option<String>,
    /// The other keys.
    pub others: BTreeMap<String, String>,
}

impl Checked<'_> {
    /// Whether the policy wants anything written.
    #[must_use]
    pub fn enforces(&self) -> bool {
        self.policy.spec.mode == Mode::Enforce
    }

    /// Whether anything is to be written: the policy enforces, or is going and wants its way back, or the line that tells
    /// what is asked is still in.
    #[must_use]
    pub fn writes(&self) -> bool {
        self.wants_text() || self.tapped
    }

    /// Whether the line that tells what is asked is to go, and nothing else is wanted.
    #[must_use]
    pub fn only_untaps(&self) -> bool {
        self.tapped && !self.wants_text()
    }

    fn wants_text(&self) -> bool {
        let going = self.policy.metadata.deletion_timestamp.is_some();
        if going {
            self.policy.spec.on_delete == OnDelete::Restore
        } else {
            self.enforces()
        }
    }
}

/// Checks one policy against the cluster and against the other policies. The managed resolver is decided afterwards
/// ([`crate::managed::decide`]), since some of what it needs has to be read for it.
#[must_use]
pub fn check<'a>(policy: &'a ResolverPolicy, others: &[&ResolverPolicy], cluster: &Cluster) -> Checked<'a> {
    let target = target::find(cluster, policy.spec.target_ref.as_ref());
    let conflict = target.as_ref().ok().and_then(|found| {
        others
            .iter()
            .filter(|other| precedes(other, policy))
            .filter(|other| {
                target::find(cluster, other.spec.target_ref.as_ref())
                    .is_ok_and(|theirs| theirs.workload == found.workload)
            })
            .min_by_key(|other| precedence(other))
            .and_then(|other| other.metadata.name.clone())
    });
    let reach = target
        .as_ref()
        .map(|found| exposure::find(cluster, found))
        .unwrap_or_default();
    let around = policy.spec.ways_around.as_ref().zip(target.as_ref().ok());
    Checked {
        policy,
        closings: around::close::decide(policy, &target, conflict.is_some(), cluster, &reach),
        conflict,
        around: around.map(|(asked, found)| around::find(cluster, found, &reach, asked)),
        allow: policy
            .spec
            .clients
            .as_ref()
            .map(|clients| allow_list(cluster, clients)),
        reach,
        probe: policy.spec.recursion.as_ref().and_then(|_| {
            let pods = target.iter().flat_map(|found| &found.pods);
            let families: BTreeSet<bool> = pods.flat_map(|pod| &pod.addresses).map(IpAddr::is_ipv4).collect();
            cluster.probes(|address| families.contains(&address.is_ipv4()))
        }),
        managed: Managed::default(),
        tap: None,
        tapped: false,
        custom: target
            .as_ref()
            .map(|found| custom(cluster, found))
            .unwrap_or_default(),
        target,
    }
}

/// Of several policies for one target the oldest, then the first by name, holds. One that is being deleted holds on
/// until it is gone, so that its configuration is not fought over.
fn precedes(other: &ResolverPolicy, policy: &ResolverPolicy) -> bool {
    precedence(other) < precedence(policy)
}

fn precedence(policy: &ResolverPolicy) -> (Option<jiff::Timestamp>, Option<&str>) {
    (
        policy.metadata.creation_timestamp.as_ref().map(|time| time.0),
        policy.metadata.name.as_deref(),
    )
}

fn custom(cluster: &Cluster, target: &Target) -> CustomFiles {
    let Channel::Custom {
        namespace,
        config_map,
        override_key,
        ..
    } = &target.channel
    else {
        return CustomFiles::default();
    };
    let config_map = cluster.config_map(namespace, config_map);
    let mut others = config_map
        .and_then(|config_map| config_map.data.clone())
        .unwrap_or_default();
    CustomFiles {
        ours: others.remove(override_key),
        others,
    }
}
