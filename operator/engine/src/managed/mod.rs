//! The managed resolver: an Unbound of ours in our own namespace, as objects that should be there.
//!
//! [`decide`] says from a policy and the facts what should run, whether it does, and who may be asked there. The
//! configuration lies in an immutable ConfigMap that is named by its content, so a pod keeps the one that it came up
//! with; a container of the same image checks it before Unbound starts, and no old pod goes before a new one serves. So
//! a configuration that Unbound refuses takes nothing away.

mod budget;
mod config;
mod data;
mod deployment;
pub mod hop;
mod network_policy;
mod offer;
mod progress;
mod service;
#[cfg(test)]
mod tests;
mod wish;

use std::net::IpAddr;

use k8s_openapi::{
    api::{
        apps::v1::Deployment,
        core::v1::{ConfigMap, Service},
        networking::v1::NetworkPolicy,
        policy::v1::PodDisruptionBudget,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use sha2::{Digest, Sha256};
use tsutsumi_api::{conditions::Reason, resolver_policy::Via};
use tsutsumi_controls::{Root, Start};
use tsutsumi_model::Endpoint;
use tsutsumi_providers::{coredns, unbound::profile::RenderError};

use crate::{
    cluster::{Cluster, Key, Pod},
    resolver::Checked,
};

pub use data::Data;
use hop::Hop;
pub use offer::{Offer, Placement};
pub(crate) use wish::askers;
use wish::{Wish, wish};

/// What the names of everything of a managed resolver begin with.
pub const PREFIX: &str = "tsutsumi-unbound-";
/// The label of everything of a managed resolver; its value is the policy.
pub const LABEL: &str = "tsutsumi.dev/unbound";
/// The label of a pod with the identity of its configuration.
const CONFIG: &str = "tsutsumi.dev/config";

/// Whether a pod is one of the policy's resolver that is not on its way out: what ends says nothing of what runs.
#[must_use]
pub fn is_of(pod: &Pod, namespace: &str, policy: &str) -> bool {
    pod.label(LABEL) == Some(policy)
        && pod.metadata.namespace.as_deref() == Some(namespace)
        && pod.metadata.deletion_timestamp.is_none()
}

/// The annotation of the Deployment with the digest of all that was applied, itself last.
const APPLIED: &str = "tsutsumi.dev/applied";

/// What is true of a policy's managed resolver.
#[derive(Clone, Debug, PartialEq)]
pub enum Managed {
    /// The policy wants none.
    Unwanted(Leftover),
    /// It cannot be made; what runs stays.
    Refused {
        /// For a program.
        reason: Reason,
        /// For a person.
        message: String,
    },
    /// It should run.
    Wanted(Box<Wanted>),
}

/// What is left of a managed resolver that is not wanted any more.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Leftover {
    /// Nothing.
    #[default]
    Nothing,
    /// Objects that the Corefile may still lead to: they stay.
    Asked,
    /// Objects that nothing leads to.
    Idle,
}

/// A managed resolver that should run.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// What it is made of.
    pub objects: Objects,
    /// Tells these objects from others.
    pub digest: String,
    /// Whether the objects were applied as they are here, as far as is seen.
    pub applied: bool,
    /// What it starts from.
    pub start: Start,
    /// Whether it answers for the probe zones.
    pub knows_probe_zones: bool,
    /// How it should be asked.
    pub hop: Hop,
    /// Where it is asked over UDP once it serves this configuration, or why it does not yet.
    pub serving: Result<Endpoint, Missing>,
}

impl Wanted {
    /// Whether it serves, and only what would become of answers holds it back.
    fn is_held_back(&self) -> bool {
        matches!(&self.serving, Err(missing) if matches!(missing.reason, Reason::Watching | Reason::WouldGetWorse))
    }
}

/// Why a resolver does not serve what it should.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Missing {
    /// For a program.
    pub reason: Reason,
    /// For a person.
    pub message: String,
}

impl Missing {
    /// Whether it ends without anybody's doing, as far as one can tell.
    #[must_use]
    pub const fn ends_by_itself(&self) -> bool {
        matches!(self.reason, Reason::ResolverNotReady)
    }
}

/// The objects, all in our own namespace.
#[derive(Clone, Debug, PartialEq)]
pub struct Objects {
    /// The configuration, immutable and named by its content.
    pub config: ConfigMap,
    /// The address that CoreDNS asks.
    pub service: Service,
    /// Who may reach it, and whom it may reach.
    pub network_policy: NetworkPolicy,
    /// How many pods may be taken away at once.
    pub budget: PodDisruptionBudget,
    /// The pods. To be applied last: it tells that the others were.
    pub deployment: Deployment,
}

impl Managed {
    /// Whom a Corefile should lead to; none where it does not serve, or is not wanted.
    #[must_use]
    pub fn asked(&self) -> Option<coredns::Root> {
        match self {
            Self::Wanted(wanted) => wanted.hop.root(*wanted.serving.as_ref().ok()?),
            Self::Unwanted(_) | Self::Refused { .. } => None,
        }
    }

    /// Why it is asked over UDP although the policy wants TLS.
    #[must_use]
    pub fn exposed(&self) -> Option<Missing> {
        match self {
            Self::Wanted(wanted) => match &wanted.hop {
                Hop::Udp(why) => why.clone(),
                Hop::Tls(_) => None,
            },
            Self::Unwanted(_) | Self::Refused { .. } => None,
        }
    }

    /// What the root is that it starts from, as far as every pod was given that.
    #[must_use]
    pub fn root(&self) -> Root {
        match self {
            Self::Unwanted(_) => Root::Unasked,
            Self::Refused { message, .. } => Root::Unknown(message.clone()),
            Self::Wanted(wanted) if wanted.serving.is_ok() => Root::Known(Box::new(wanted.start.clone())),
            Self::Wanted(wanted) if wanted.is_held_back() => {
                Root::Unknown("nothing is led to the managed resolver yet".to_owned())
            }
            // How far it has come changes often, and a round that has begun is not to be thrown away for it.
            Self::Wanted(_) => {
                Root::Unknown("not every pod of the managed resolver has its newest configuration".to_owned())
            }
        }
    }

    /// Why it does not serve what it should; none where it does, or is not wanted.
    #[must_use]
    pub fn missing(&self) -> Option<Missing> {
        match self {
            Self::Unwanted(_) => None,
            Self::Refused { reason, message } => Some(Missing {
                reason: *reason,
                message: message.clone(),
            }),
            Self::Wanted(wanted) => wanted.serving.as_ref().err().cloned(),
        }
    }
}

impl Managed {
    /// As it is, but that nothing is to be led there yet, for this reason.
    #[must_use]
    pub fn held_back(self, missing: Missing) -> Self {
        match self {
            Self::Wanted(mut wanted) => {
                if wanted.serving.is_ok() {
                    wanted.serving = Err(missing);
                }
                Self::Wanted(wanted)
            }
            // It is resolvers of the user's that are wanted.
            Self::Unwanted(_) => Self::Refused {
                reason: missing.reason,
                message: missing.message,
            },
            refused @ Self::Refused { .. } => refused,
        }
    }
}

/// The name of a policy's Deployment, Service, budget and NetworkPolicy.
#[must_use]
pub fn name(policy: &str) -> String {
    format!("{PREFIX}{policy}")
}

/// Where a pod of a managed resolver is asked.
#[must_use]
pub const fn endpoint(address: IpAddr) -> Endpoint {
    Endpoint {
        address,
        port: config::DNS,
    }
}

/// What should run for a policy, from the check, the cluster and what was read for it. `now` is in seconds since 1970.
#[must_use]
pub fn decide(checked: &Checked<'_>, cluster: &Cluster, data: &Data, now: u64) -> Managed {
    // One that goes wants its way back, and one that another policy precedes wants nothing.
    let stands = checked.policy.metadata.deletion_timestamp.is_none() && checked.conflict.is_none();
    let recursion = checked.policy.spec.recursion.as_ref();
    let via = recursion.and_then(|recursion| recursion.via).filter(|_| stands);
    if via == Some(Via::Upstreams) && !data.silent.is_empty() {
        return Managed::Refused {
            reason: Reason::ResolverNotReady,
            message: told_silent(&data.silent),
        };
    }
    let Some(recursion) = recursion.filter(|_| via == Some(Via::Managed)) else {
        return Managed::Unwanted(leftover(checked, cluster));
    };
    let made = wish(checked, recursion, cluster, data, now).and_then(|wish| wanted(&wish, cluster));
    match made {
        Ok(wanted) => Managed::Wanted(Box::new(wanted)),
        Err(Missing { reason, message }) => Managed::Refused { reason, message },
    }
}

impl Default for Managed {
    fn default() -> Self {
        Self::Unwanted(Leftover::Nothing)
    }
}

fn told_silent(silent: &[(Endpoint, String)]) -> String {
    let each: Vec<String> = silent
        .iter()
        .map(|(server, instead)| format!("{server} {instead}"))
        .collect();
    format!(
        "recursion.upstreams: {}; until each of them answers the prober inside, whom cluster DNS asks stays as it is",
        each.join(", ")
    )
}

/// A Corefile that is not known, or an address that is not, may lead to what is left.
fn leftover(checked: &Checked<'_>, cluster: &Cluster) -> Leftover {
    let policy = checked.policy.metadata.name.as_deref().unwrap_or_default();
    if deployment_of(cluster, policy).is_none() {
        return Leftover::Nothing;
    }
    let key = Key::new(&cluster.installed.namespace, &name(policy));
    let service = cluster.services.get(&key);
    let corefile = checked
        .target
        .as_ref()
        .ok()
        .and_then(|target| target.corefile.as_deref());
    let leads = |text: &str| {
        let mut addresses = service.iter().flat_map(|service| &service.cluster_ips);
        addresses.any(|address| text.contains(&address.to_string()))
    };
    if corefile.is_none_or(leads) {
        Leftover::Asked
    } else {
        Leftover::Idle
    }
}

fn wanted(wish: &Wish<'_>, cluster: &Cluster) -> Result<Wanted, Missing> {
    let impossible = |what: &str, error: &dyn std::error::Error| Missing {
        reason: Reason::ResolverRefused,
        message: format!("{what} cannot be made: {error}"),
    };
    let (config, identity) =
        config::config(wish).map_err(|error: RenderError| impossible("Unbound's configuration", &error))?;
    let mut objects = Objects {
        service: service::service(wish),
        network_policy: network_policy::network_policy(wish),
        budget: budget::budget(wish),
        deployment: deployment::deployment(wish, &config, &identity)
            .map_err(|error| impossible("Unbound's Deployment", &error))?,
        config,
    };
    let digest = digest(&objects).map_err(|error| impossible("Unbound's objects", &error))?;
    let annotations = objects.deployment.metadata.annotations.get_or_insert_default();
    annotations.insert(APPLIED.to_owned(), digest.clone());
    let live = deployment_of(cluster, wish.policy);
    let key = Key::new(wish.namespace, &wish.name());
    let service = cluster.services.get(&key);
    Ok(Wanted {
        digest,
        applied: service.is_some()
            && live.is_some_and(|live| progress::is_applied(live, &objects.deployment, APPLIED)),
        start: wish.root.start.clone(),
        hop: wish.hop.clone(),
        knows_probe_zones: !wish.probe_zones.is_empty(),
        serving: progress::serving(wish, &identity, &objects.deployment, live, service, &cluster.pods),
        objects,
    })
}

fn deployment_of<'a>(cluster: &'a Cluster, policy: &str) -> Option<&'a Deployment> {
    let name = name(policy);
    let is_it = |meta: &ObjectMeta| {
        meta.name.as_ref() == Some(&name)
            && meta.namespace.as_ref() == Some(&cluster.installed.namespace)
            && meta.deletion_timestamp.is_none()
    };
    let mut own = cluster.own.iter();
    own.find(|each| is_it(&each.metadata)).map(AsRef::as_ref)
}

/// Twelve hexadecimal digits that tell these objects from others.
fn digest(objects: &Objects) -> Result<String, serde_json::Error> {
    let all = serde_json::to_vec(&(
        &objects.config,
        &objects.service,
        &objects.network_policy,
        &objects.budget,
        &objects.deployment,
    ))?;
    let hash = Sha256::digest(all);
    Ok(hash
        .iter()
        .take(6)
        .fold(String::new(), |text, byte| format!("{text}{byte:02x}")))
}
