//! Which limit holds at a listener, a route or a node, where several policies speak of it.
//!
//! The stricter value wins, lever by lever. A policy of a namespace speaks of what is its own: of routes in its namespace,
//! and of listeners of Gateways there, so that adding one changes nothing in any other namespace. A policy of the whole
//! cluster speaks of everything, and its floors hold back whoever would tighten too much.

use std::{cmp::Ordering, fmt};

use tsutsumi_api::ingress_protection::TargetKind;
use tsutsumi_model::{Combine, Lever, Limit, Limits, Map, Scope};

/// A policy as far as it limits something.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Policy {
    /// Its kind and name.
    pub name: PolicyName,
    /// When it was created, in seconds since 1970: of two that say the same the older is named.
    pub created: i64,
    /// What it is attached to; for a policy of the whole cluster none means everything.
    pub targets: Vec<Reference>,
    /// What it limits.
    pub limits: Limits,
    /// Below what policies of namespaces may not go; only a policy of the whole cluster has any.
    pub floors: Limits,
}

/// Which policy. Those of the whole cluster come first.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum PolicyName {
    /// A `ClusterIngressProtectionPolicy`.
    Cluster(String),
    /// An `IngressProtectionPolicy`, by namespace and name.
    Namespaced(String, String),
}

impl PolicyName {
    const fn is_cluster(&self) -> bool {
        matches!(self, Self::Cluster(_))
    }
}

impl fmt::Display for PolicyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cluster(name) => write!(f, "ClusterIngressProtectionPolicy {name}"),
            Self::Namespaced(namespace, name) => write!(f, "IngressProtectionPolicy {namespace}/{name}"),
        }
    }
}

/// An object that a policy is attached to.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Reference {
    /// Its kind.
    pub kind: TargetKind,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// One of its listeners or rules; the whole object where there is none.
    pub section: Option<String>,
}

impl Reference {
    /// Whether this reference means the object, or this part of it.
    pub(super) fn means(&self, object: &Self) -> bool {
        let same = (self.kind, &self.namespace, &self.name) == (object.kind, &object.namespace, &object.name);
        same && (self.section.is_none() || self.section == object.section)
    }
}

/// Something that has limits.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Surface {
    /// A listener of a Gateway.
    Listener(Reference),
    /// A route, or an Ingress, and the listeners that lead to it.
    Route(Reference, Vec<Reference>),
    /// The nodes.
    Node,
}

impl Surface {
    /// Whose levers limit this.
    #[must_use]
    pub const fn scope(&self) -> Scope {
        match self {
            Self::Listener(_) => Scope::Listener,
            Self::Route(..) => Scope::Route,
            Self::Node => Scope::Node,
        }
    }

    /// The objects that a policy may be attached to if it is to speak of this.
    fn objects(&self) -> impl Iterator<Item = &Reference> {
        let (own, above) = match self {
            Self::Listener(listener) => (Some(listener), &[][..]),
            Self::Route(route, listeners) => (Some(route), &listeners[..]),
            Self::Node => (None, &[][..]),
        };
        own.into_iter().chain(above)
    }

    /// The namespace whose policies may speak of this; none for what everybody shares.
    fn namespace(&self) -> Option<&str> {
        match self {
            Self::Listener(object) | Self::Route(object, _) => Some(&object.namespace),
            Self::Node => None,
        }
    }
}

/// Whose value holds.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Choice {
    /// The policy that has it.
    pub policy: PolicyName,
    /// Where it is a floor: the policy that asked for less, and its value as it is printed.
    pub held_back: Option<(PolicyName, String)>,
}

/// The limits of a listener, a route or the nodes, each with the policy that it comes from. The order of the policies plays
/// no part.
#[must_use]
pub fn effective(surface: &Surface, policies: &[Policy]) -> Limits<Choice> {
    let mut speaking: Vec<&Policy> = policies
        .iter()
        .filter(|policy| speaks_of(policy, surface))
        .collect();
    // Of equal values the first one's is named.
    speaking.sort_by_key(|policy| (!policy.name.is_cluster(), policy.created, &policy.name));
    let mut of_cluster = Limits::default();
    let mut of_namespace = Limits::default();
    let mut floors = Limits::default();
    for policy in speaking {
        let said = Said {
            scope: surface.scope(),
            policy: &policy.name,
        };
        let limits = policy.limits.clone().map(&said);
        if policy.name.is_cluster() {
            of_cluster = of_cluster.combine(limits, &STRICTER);
            floors = floors.combine(policy.floors.clone().map(&said), &LOOSER);
        } else {
            of_namespace = of_namespace.combine(limits, &STRICTER);
        }
    }
    of_cluster.combine(of_namespace.combine(floors, &HeldBack), &STRICTER)
}

/// Whether a policy is attached to this and may speak of it.
fn speaks_of(policy: &Policy, surface: &Surface) -> bool {
    let attached = |target: &Reference| surface.objects().any(|object| target.means(object));
    match &policy.name {
        PolicyName::Cluster(_) => policy.targets.is_empty() || policy.targets.iter().any(attached),
        PolicyName::Namespaced(namespace, _) => {
            surface.namespace() == Some(namespace)
                && policy
                    .targets
                    .iter()
                    .any(|target| target.namespace == *namespace && attached(target))
        }
    }
}

/// What a policy says of a scope, with its name.
struct Said<'a> {
    scope: Scope,
    policy: &'a PolicyName,
}

impl Map<(), Choice> for Said<'_> {
    fn map<T: Copy + Ord + fmt::Display>(&self, lever: Lever, limit: Limit<T>) -> Option<Limit<T, Choice>> {
        (lever.scope() == self.scope).then(|| Limit {
            value: limit.value,
            from: Choice {
                policy: self.policy.clone(),
                held_back: None,
            },
        })
    }
}

/// Of two values the one that is so beside the other; of equal ones the first.
struct Prefer(Ordering);

const STRICTER: Prefer = Prefer(Ordering::Less);
const LOOSER: Prefer = Prefer(Ordering::Greater);

impl Combine<Choice> for Prefer {
    fn both<T: Copy + Ord + fmt::Display>(
        &self,
        one: Limit<T, Choice>,
        other: Limit<T, Choice>,
    ) -> Limit<T, Choice> {
        if other.value.cmp(&one.value) == self.0 {
            other
        } else {
            one
        }
    }
}

/// What was wanted, or the floor where that is below it.
struct HeldBack;

impl Combine<Choice> for HeldBack {
    fn both<T: Copy + Ord + fmt::Display>(
        &self,
        wanted: Limit<T, Choice>,
        floor: Limit<T, Choice>,
    ) -> Limit<T, Choice> {
        if wanted.value >= floor.value {
            return wanted;
        }
        Limit {
            value: floor.value,
            from: Choice {
                policy: floor.from.policy,
                held_back: Some((wanted.from.policy, wanted.value.to_string())),
            },
        }
    }

    /// A floor limits nothing by itself.
    fn alone<T>(&self, _: Limit<T, Choice>) -> Option<Limit<T, Choice>> {
        None
    }
}
