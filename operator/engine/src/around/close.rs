//! What is closed: for each namespace that the policy names, whether a `NetworkPolicy` of ours may stand there.
//!
//! Three rules come before the wish. Nobody's limit is loosened: `NetworkPolicies` add up, so ours picks no pod that
//! another one with egress could pick, and there is none where limits of another kind hold. Nobody loses DNS who has it:
//! a pod that asks others is not closed in, unless the policy says that its workload may. And what is not ours is left
//! alone, as is what stands while something cannot be read.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::{api::networking::v1::NetworkPolicy, apimachinery::pkg::apis::meta::v1::LabelSelector};
use tsutsumi_api::{
    ResolverPolicy,
    resolver_policy::{Close, CloseAction, OnDelete},
};
use tsutsumi_model::{Bypass, Closing as Told, Closure, Reach};

use super::{Bypasses, SYSTEM, network_policy, selector};
use crate::{
    cluster::{self, Cluster},
    target::{self, Target, TargetError},
};

/// The label of a `NetworkPolicy` of ours; its value is the policy.
pub const LABEL: &str = "tsutsumi.dev/ways-around";
/// Under which name the API server records what of it is ours.
pub const MANAGER: &str = "tsutsumi.dev/ways-around";
/// The name of each of them.
pub const NAME: &str = network_policy::NAME;
/// The most policies of others beside which one of ours is written: its selector grows with each.
const MAX_OTHERS: usize = 64;

/// What should be done in one namespace.
#[derive(Clone, Debug, PartialEq)]
pub struct Closing {
    /// The namespace.
    pub namespace: String,
    /// What is to be done.
    pub step: Step,
    /// Why it is not as the policy wants it.
    pub hindrance: Option<Hindrance>,
    /// `NetworkPolicies` of others whose pods are left to them, sorted.
    pub left: Vec<String>,
}

/// One write in a namespace.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// None.
    Nothing,
    /// This is to stand there.
    Write(Box<NetworkPolicy>),
    /// What stands there is to be taken away.
    Remove {
        /// The uid of what is to go.
        uid: Option<String>,
    },
}

/// Why a namespace is not closed as the policy wants it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Hindrance {
    /// Why.
    pub why: String,
    /// What a person can do.
    pub cure: String,
}

impl Closing {
    /// As a control tells it; none for what the policy does not want closed.
    #[must_use]
    pub fn told(&self) -> Option<Told> {
        let state = match (&self.hindrance, &self.step) {
            (Some(Hindrance { why, cure }), _) => Closure::Held {
                why: why.clone(),
                cure: cure.clone(),
            },
            (None, Step::Write(_)) => Closure::Planned,
            (None, Step::Nothing) => Closure::Written,
            (None, Step::Remove { .. }) => return None,
        };
        Some(Told {
            namespace: self.namespace.clone(),
            state,
            left: self.left.clone(),
        })
    }

    /// What is to be done, for a person.
    #[must_use]
    pub fn line(&self) -> Option<String> {
        let object = format!("NetworkPolicy {}/{NAME}", self.namespace);
        match &self.step {
            Step::Nothing => None,
            Step::Write(_) if self.left.is_empty() => Some(format!(
                "{object}: lead ports 53 and 853 of the namespace's pods to cluster DNS alone"
            )),
            Step::Write(_) => Some(format!(
                "{object}: lead ports 53 and 853 of the namespace's pods to cluster DNS alone, but of those that {} picks",
                self.left.join(", ")
            )),
            Step::Remove { .. } => Some(format!("{object}: take it away")),
        }
    }

    /// Whether something of ours is to go.
    #[must_use]
    pub const fn removes(&self) -> bool {
        matches!(self.step, Step::Remove { .. })
    }
}

/// Decides for every namespace that the policy names or has closed; sorted.
pub(crate) fn decide(
    policy: &ResolverPolicy,
    target: &Result<Target, TargetError>,
    conflict: bool,
    cluster: &Cluster,
    reach: &Reach,
) -> Vec<Closing> {
    let name = policy.metadata.name.as_deref().unwrap_or_default();
    let ours: BTreeMap<&str, &NetworkPolicy> = cluster
        .network_policies
        .iter()
        .filter(|each| is_ours(each, name))
        .map(|each| (cluster::namespace(&each.metadata), each.as_ref()))
        .collect();
    let remove = |(namespace, each): (&&str, &&NetworkPolicy)| closing(namespace, removal(each), None);
    let close = policy
        .spec
        .ways_around
        .as_ref()
        .and_then(|ways| ways.close.as_ref());
    if policy.metadata.deletion_timestamp.is_some() {
        return match policy.spec.on_delete {
            OnDelete::Keep => Vec::new(),
            OnDelete::Restore => ours.iter().map(remove).collect(),
        };
    }
    let Some(close) = close else {
        let leave = |namespace: &&str| {
            let hindrance = Hindrance {
                why: format!("NetworkPolicy {NAME} still stands there, of an earlier version of this policy"),
                cure:
                    "Write `waysAround.close.action: Report` to have it taken away, or name the namespace in \
                       `waysAround.close.namespaces`."
                        .to_owned(),
            };
            closing(namespace, Step::Nothing, Some(hindrance))
        };
        return ours.keys().map(leave).collect();
    };
    if close.action == CloseAction::Report {
        return ours.iter().map(remove).collect();
    }
    let wanted: BTreeSet<&str> = close.namespaces.iter().map(String::as_str).collect();
    let dropped = ours.iter().filter(|(namespace, _)| !wanted.contains(*namespace));
    let mut all: Vec<Closing> = dropped.map(remove).collect();
    if conflict {
        return Vec::new();
    }
    let bypasses = target
        .as_ref()
        .map(|found| Bypasses::of(cluster, found, reach))
        .unwrap_or_default();
    all.extend(wanted.into_iter().map(|namespace| {
        let present = ours.get(namespace).copied();
        let place = Place {
            policy: name,
            namespace,
            present,
            close,
            cluster,
            bypasses: &bypasses,
        };
        place.closing(target, reach)
    }));
    all.sort_by(|one, other| one.namespace.cmp(&other.namespace));
    all
}

/// What keeps a namespace from being closed, and what that means for what stands there.
enum Hold {
    /// It stays.
    Stays(Hindrance),
    /// It goes: it would loosen what others limit, or cut somebody off.
    Goes(Hindrance),
}

/// A namespace that is to be closed.
struct Place<'a> {
    policy: &'a str,
    namespace: &'a str,
    present: Option<&'a NetworkPolicy>,
    close: &'a Close,
    cluster: &'a Cluster,
    bypasses: &'a Bypasses,
}

impl Place<'_> {
    fn closing(&self, target: &Result<Target, TargetError>, reach: &Reach) -> Closing {
        let left: Vec<String> = self
            .others()
            .map(|each| cluster::name(&each.metadata).to_owned())
            .collect();
        let (step, hindrance) = match self.wanted(target, reach) {
            Ok(wanted) if self.present.is_some_and(|present| present.spec == wanted.spec) => {
                (Step::Nothing, None)
            }
            Ok(wanted) => (Step::Write(Box::new(wanted)), None),
            Err(Hold::Stays(hindrance)) => (Step::Nothing, Some(hindrance)),
            Err(Hold::Goes(hindrance)) => (self.present.map_or(Step::Nothing, removal), Some(hindrance)),
        };
        Closing {
            left,
            ..closing(self.namespace, step, hindrance)
        }
    }

    fn wanted(&self, target: &Result<Target, TargetError>, reach: &Reach) -> Result<NetworkPolicy, Hold> {
        self.may_write(target.as_ref().ok())?;
        let target = match target {
            Ok(target) => self.serves(target)?,
            Err(error) => return Err(stays(error.to_string(), "Wait until cluster DNS is found.")),
        };
        let selector = self.selector()?;
        self.nobody_loses_dns(&selector)?;
        let mut wanted = network_policy::egress(self.namespace, selector, self.cluster, target, reach);
        let labels = [crate::MANAGED_BY, (LABEL, self.policy)];
        wanted.metadata.labels = Some(
            labels
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
        );
        Ok(wanted)
    }

    fn may_write(&self, target: Option<&Target>) -> Result<(), Hold> {
        let namespace = self.namespace;
        let installed = &self.cluster.installed;
        let dns = target.map(|target| target.workload.namespace.as_str());
        if namespace == SYSTEM || namespace == installed.namespace || dns == Some(namespace) {
            return Err(stays(
                "a NetworkPolicy there could cut off DNS itself".to_owned(),
                "Take it out of `waysAround.close.namespaces`.",
            ));
        }
        if !installed.closable.iter().any(|each| each == namespace) {
            return Err(stays(
                "tsutsumi was installed without the right to write there".to_owned(),
                &format!(
                    "Set `waysAround.close.enabled=true` in the chart's values and name {namespace} in \
                     `waysAround.close.namespaces` there, with `enforce.enabled=true`."
                ),
            ));
        }
        let same_name = |each: &&std::sync::Arc<NetworkPolicy>| cluster::is(&each.metadata, namespace, NAME);
        match self.cluster.network_policies.iter().find(same_name) {
            Some(foreign) if self.present.is_none() => Err(stays(
                format!("NetworkPolicy {NAME} is there already, and of {}", whose(foreign)),
                "It is left alone. Delete it, if tsutsumi is to write its own in its place.",
            )),
            _ => Ok(()),
        }
    }

    /// The target, if pods that ask it alone still have DNS.
    fn serves<'t>(&self, target: &'t Target) -> Result<&'t Target, Hold> {
        let main = target::find(self.cluster, None);
        if !main.is_ok_and(|main| main.workload == target.workload) {
            return Err(goes(
                "the policy's target is not the cluster's DNS, which pods ask".to_owned(),
                "Write it into a policy for the cluster's DNS.",
            ));
        }
        if target.pods.is_empty() {
            return Err(stays(
                "cluster DNS has no pods at present".to_owned(),
                "Wait until it has.",
            ));
        }
        if target.pods.iter().any(|pod| pod.host_network) {
            return Err(goes(
                "cluster DNS runs in its nodes' network, where no selector picks it: a rule by address would cut pods off \
                 once it moves"
                    .to_owned(),
                "Run cluster DNS in the pods' network, or close the ways by a firewall.",
            ));
        }
        if self.bypasses.caches {
            return Err(goes(
                "pods may ask the cache on their node, which a rule for cluster DNS could cut off".to_owned(),
                "Take the cache away, or close the ways by a firewall.",
            ));
        }
        Ok(target)
    }

    /// Policies of others that limit what leaves pods of the namespace, sorted by name.
    fn others(&self) -> impl Iterator<Item = &NetworkPolicy> {
        let all = self.cluster.network_policies.iter().map(AsRef::as_ref);
        let mut others: Vec<&NetworkPolicy> = all
            .filter(|each| cluster::namespace(&each.metadata) == self.namespace && limits_egress(each))
            .filter(|each| cluster::name(&each.metadata) != NAME)
            .collect();
        others.sort_by_key(|each| cluster::name(&each.metadata));
        others.into_iter()
    }

    /// What picks no pod that somebody else limits.
    fn selector(&self) -> Result<LabelSelector, Hold> {
        let Some(limits) = &self.cluster.other_limits else {
            return Err(stays(
                "it cannot be seen whether the network plugin's own policies hold there".to_owned(),
                "Look at the controller's log; the chart's `waysAround.close.enabled` gives the right to read them.",
            ));
        };
        let here = |limit: &&std::sync::Arc<cluster::Limit>| {
            let of = limit.namespace.as_deref();
            of.is_none_or(|of| of == self.namespace)
        };
        if let Some(limit) = limits.iter().find(here) {
            return Err(goes(
                format!(
                    "{} may limit its pods too, and a NetworkPolicy beside it could allow them more",
                    limit.object
                ),
                "Close ports 53 and 853 there, by the network plugin's own policies.",
            ));
        }
        let others: Vec<&NetworkPolicy> = self.others().collect();
        if others.len() > MAX_OTHERS {
            return Err(goes(
                format!("more than {MAX_OTHERS} NetworkPolicies of others limit its pods"),
                "Close ports 53 and 853 in these.",
            ));
        }
        let everything = LabelSelector::default();
        let selectors: Vec<&LabelSelector> = others.iter().map(|each| picked(each, &everything)).collect();
        selector::apart(&self.close.exempt_pods, &selectors).ok_or_else(|| {
            let all = others
                .iter()
                .find(|each| selector::apart(&[], &[picked(each, &everything)]).is_none());
            let name = all.map_or("one of others", |each| cluster::name(&each.metadata));
            goes(
                format!(
                    "NetworkPolicy {name} limits every pod of it, and one of ours could only allow these more"
                ),
                "Close ports 53 and 853 in that one: allow them to cluster DNS alone.",
            )
        })
    }

    /// Whoever is closed in already has no other DNS to lose.
    fn nobody_loses_dns(&self, wanted: &LabelSelector) -> Result<(), Hold> {
        let everything = LabelSelector::default();
        let present = self.present.map(|present| picked(present, &everything));
        let may = |workload: &str| self.close.may_lose_dns.iter().any(|each| each == workload);
        let losing: BTreeSet<&str> = self
            .bypasses
            .list
            .iter()
            .filter(|pod| pod.namespace == self.namespace && !may(&pod.workload))
            .filter(|pod| matches!(pod.how, Bypass::AsksAsNode | Bypass::AsksNamed(_)))
            .filter(|pod| selector::picks(wanted, &pod.labels))
            .filter(|pod| !present.is_some_and(|present| selector::picks(present, &pod.labels)))
            .map(|pod| pod.workload.as_str())
            .collect();
        let Some(first) = losing.first() else {
            return Ok(());
        };
        let hindrance = Hindrance {
            why: match losing.len() {
                1 => format!("{first} would lose its DNS"),
                more => format!("{first} and {} more workloads would lose their DNS", more - 1),
            },
            cure: "Set `dnsPolicy: ClusterFirst` there and leave `dnsConfig.nameservers` out, exempt its pods in \
                   `waysAround.close.exemptPods`, or name it in `waysAround.close.mayLoseDns`."
                .to_owned(),
        };
        let apart = |present: &LabelSelector| {
            self.others()
                .all(|each| selector::disjoint(present, picked(each, &everything)))
        };
        Err(if present.is_none_or(apart) {
            Hold::Stays(hindrance)
        } else {
            Hold::Goes(hindrance)
        })
    }
}

fn closing(namespace: &str, step: Step, hindrance: Option<Hindrance>) -> Closing {
    Closing {
        namespace: namespace.to_owned(),
        step,
        hindrance,
        left: Vec::new(),
    }
}

fn removal(present: &NetworkPolicy) -> Step {
    Step::Remove {
        uid: present.metadata.uid.clone(),
    }
}

fn stays(why: String, cure: &str) -> Hold {
    Hold::Stays(Hindrance {
        why,
        cure: cure.to_owned(),
    })
}

fn goes(why: String, cure: &str) -> Hold {
    Hold::Goes(Hindrance {
        why,
        cure: cure.to_owned(),
    })
}

fn picked<'a>(policy: &'a NetworkPolicy, everything: &'a LabelSelector) -> &'a LabelSelector {
    let spec = policy.spec.as_ref();
    spec.and_then(|spec| spec.pod_selector.as_ref())
        .unwrap_or(everything)
}

/// Whether a policy was written by us for this one: by name, label and manager.
fn is_ours(object: &NetworkPolicy, policy: &str) -> bool {
    cluster::name(&object.metadata) == NAME
        && cluster::label(&object.metadata, LABEL) == Some(policy)
        && managers(object).any(|manager| manager == MANAGER)
}

fn managers(object: &NetworkPolicy) -> impl Iterator<Item = &str> {
    let entries = object.metadata.managed_fields.iter().flatten();
    entries.filter_map(|entry| entry.manager.as_deref())
}

fn whose(object: &NetworkPolicy) -> String {
    if let Some(policy) = cluster::label(&object.metadata, LABEL) {
        return format!("ResolverPolicy {policy}");
    }
    let all: BTreeSet<&str> = managers(object).collect();
    match all.len() {
        0 => "somebody else".to_owned(),
        _ => all.into_iter().collect::<Vec<_>>().join(", "),
    }
}

/// Without types, a policy limits what leaves pods where it has rules for that.
fn limits_egress(policy: &NetworkPolicy) -> bool {
    policy
        .spec
        .as_ref()
        .is_some_and(|spec| match spec.policy_types.as_deref() {
            Some(types) if !types.is_empty() => types.iter().any(|each| each == "Egress"),
            _ => spec.egress.is_some(),
        })
}

#[cfg(test)]
#[path = "close_tests.rs"]
mod tests;
