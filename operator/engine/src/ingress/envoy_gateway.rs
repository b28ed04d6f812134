//! From policies and what stands in the cluster to the objects that say the limits to Envoy Gateway.

use std::{collections::BTreeSet, num::NonZeroU32};

use serde_json::{Map, Value, json};
use tsutsumi_model::Limits;
use tsutsumi_providers::envoy_gateway::{self, Unreadable, Unsupported};

use crate::MANAGED_BY;

use super::{
    Choice, Policy, Reference, Surface, effective,
    objects::{Foreign, ForeignKind, Gateway, Objects, PREFIX, Route},
};

/// Who serves the classes whose Gateways are limited.
const CONTROLLER: &str = "gateway.envoyproxy.io/gatewayclass-controller";

/// What is said of one listener or route.
#[derive(Clone, Debug, PartialEq)]
pub struct Said {
    /// Of what.
    pub of: Reference,
    /// The limits that hold there, by whose policy.
    pub limits: Limits<Choice>,
    /// The object that says them; none where nothing is to be said.
    pub object: Option<Value>,
    /// What the controller cannot do.
    pub unsupported: Vec<Unsupported>,
}

/// Why nothing is said of a listener or route.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Blocked {
    /// A foreign policy is attached just there, beside which ours would not hold.
    #[error("policy {name} is attached there already, and of two only the older holds")]
    Taken {
        /// Its name.
        name: String,
    },
    /// Listeners without TLS have one port, and are to be limited differently.
    #[error(
        "it shares its port with another listener without TLS, and Envoy Gateway takes one policy for both: limit all listeners \
         of the Gateway alike"
    )]
    SharedPort,
    /// A foreign policy picks by labels what it is attached to.
    #[error("policy {name} picks its targets by labels, so what is in force cannot be told")]
    Selects {
        /// Its name.
        name: String,
    },
    /// Several foreign policies are in force, depending on the way that leads there.
    #[error("different policies are in force on the ways that lead there: {}", names.join(", "))]
    Several {
        /// Their names.
        names: Vec<String>,
    },
    /// A foreign value cannot be compared.
    #[error("policy {name} cannot be carried")]
    Unreadable {
        /// Its name.
        name: String,
        /// What cannot be read.
        source: Unreadable,
    },
}

/// What is said of every listener and route of Envoy Gateway's that is limited, sorted by what it is said of; `proxies` of them
/// share a client's requests.
#[must_use]
pub fn render(
    objects: &Objects,
    policies: &[Policy],
    proxies: NonZeroU32,
) -> Vec<(Reference, Result<Said, Blocked>)> {
    let ours: BTreeSet<&str> = objects
        .classes
        .iter()
        .filter(|(_, controller)| controller == CONTROLLER)
        .map(|(class, _)| class.as_str())
        .collect();
    let gateways: Vec<&Gateway> = objects
        .gateways
        .iter()
        .filter(|gateway| ours.contains(gateway.class.as_str()))
        .collect();
    let mut said = Vec::new();
    for gateway in &gateways {
        said.extend(of_gateway(gateway, policies, objects));
    }
    for route in &objects.routes {
        let ways: Vec<Reference> = gateways
            .iter()
            .flat_map(|gateway| gateway.sections())
            .filter(|listener| route.parents.iter().any(|parent| parent.means(listener)))
            .collect();
        let limits = effective(&Surface::Route(route.object.clone(), ways.clone()), policies);
        if !ways.is_empty() && !limits.is_empty() {
            said.push((
                route.object.clone(),
                of_route(route, &ways, limits, objects, proxies),
            ));
        }
    }
    said.sort_by(|(one, _), (other, _)| one.cmp(other));
    said
}

/// What is said of a Gateway: of each listener by itself or, where some share a port and all are limited alike, of all of them at
/// once.
fn of_gateway(
    gateway: &Gateway,
    policies: &[Policy],
    objects: &Objects,
) -> Vec<(Reference, Result<Said, Blocked>)> {
    let limited: Vec<(Reference, Limits<Choice>)> = gateway
        .sections()
        .map(|listener| {
            let limits = effective(&Surface::Listener(listener.clone()), policies);
            (listener, limits)
        })
        .collect();
    let shares = limited
        .iter()
        .any(|(listener, limits)| !limits.is_empty() && gateway.shares_a_port(listener));
    if let [(_, first), others @ ..] = &limited[..]
        && shares
        && others.iter().all(|(_, limits)| limits == first)
    {
        let whole = gateway.object.clone();
        return vec![(whole.clone(), of_whole(&whole, first.clone(), objects))];
    }
    limited
        .into_iter()
        .filter(|(_, limits)| !limits.is_empty())
        .map(|(listener, limits)| {
            let said = if gateway.shares_a_port(&listener) {
                Err(Blocked::SharedPort)
            } else {
                of_listener(&listener, limits, objects)
            };
            (listener, said)
        })
        .collect()
}

/// Of all listeners at once; whatever foreign policy is attached to one of them or to all takes its place.
fn of_whole(gateway: &Reference, limits: Limits<Choice>, objects: &Objects) -> Result<Said, Blocked> {
    not_taken(
        objects,
        ForeignKind::ClientTraffic,
        |target| (target.kind, &target.name) == (gateway.kind, &gateway.name),
        gateway,
    )?;
    client_traffic(gateway, limits, None)
}

fn of_listener(listener: &Reference, limits: Limits<Choice>, objects: &Objects) -> Result<Said, Blocked> {
    let kind = ForeignKind::ClientTraffic;
    not_taken(objects, kind, |target| target == listener, listener)?;
    let above = in_force(objects, kind, std::slice::from_ref(listener))?;
    client_traffic(listener, limits, above)
}

fn client_traffic(of: &Reference, limits: Limits<Choice>, above: Option<&Foreign>) -> Result<Said, Blocked> {
    let spec = above.map(|policy| &policy.spec);
    let rendered =
        envoy_gateway::client_traffic(&limits, spec).map_err(|source| unreadable(above, source))?;
    Ok(Said {
        object: object("ClientTrafficPolicy", "Gateway", of, rendered.spec),
        of: of.clone(),
        limits,
        unsupported: rendered.unsupported,
    })
}

fn of_route(
    route: &Route,
    ways: &[Reference],
    limits: Limits<Choice>,
    objects: &Objects,
    proxies: NonZeroU32,
) -> Result<Said, Blocked> {
    let kind = ForeignKind::BackendTraffic;
    not_taken(objects, kind, |target| *target == route.object, &route.object)?;
    let above = in_force(objects, kind, ways)?;
    let spec = above.map(|policy| &policy.spec);
    let rendered =
        envoy_gateway::backend_traffic(&limits, proxies, spec).map_err(|source| unreadable(above, source))?;
    let object = object("BackendTrafficPolicy", "HTTPRoute", &route.object, rendered.spec);
    Ok(Said {
        of: route.object.clone(),
        limits,
        object,
        unsupported: rendered.unsupported,
    })
}

fn unreadable(above: Option<&Foreign>, source: Unreadable) -> Blocked {
    Blocked::Unreadable {
        name: above.map(|policy| policy.name.clone()).unwrap_or_default(),
        source,
    }
}

/// An error if a foreign policy is attached just where ours would be, in the namespace of what ours is for.
fn not_taken(
    objects: &Objects,
    kind: ForeignKind,
    is_there: impl Fn(&Reference) -> bool,
    of: &Reference,
) -> Result<(), Blocked> {
    let there = |policy: &&Foreign| policy.kind == kind && policy.namespace == of.namespace;
    for policy in objects.policies.iter().filter(there) {
        if policy.selects {
            return Err(Blocked::Selects {
                name: policy.name.clone(),
            });
        }
        if policy.targets.iter().any(&is_there) {
            return Err(Blocked::Taken {
                name: policy.name.clone(),
            });
        }
    }
    Ok(())
}

/// The foreign policy that is in force on every one of these listeners: of each the one that is attached to it, else the one
/// of its Gateway, and of two the oldest, then the first by name.
fn in_force<'a>(
    objects: &'a Objects,
    kind: ForeignKind,
    listeners: &[Reference],
) -> Result<Option<&'a Foreign>, Blocked> {
    let mut found: Vec<Option<&Foreign>> = Vec::new();
    for listener in listeners {
        let mut attached: Vec<&Foreign> = Vec::new();
        for policy in &objects.policies {
            if policy.kind != kind || policy.namespace != listener.namespace {
                continue;
            }
            if policy.selects {
                return Err(Blocked::Selects {
                    name: policy.name.clone(),
                });
            }
            if policy.targets.iter().any(|target| target.means(listener)) {
                attached.push(policy);
            }
        }
        attached.sort_by_key(|policy| {
            let narrow = policy.targets.contains(listener);
            let age = (policy.created.is_none(), &policy.created);
            (!narrow, age, &policy.name)
        });
        let first = attached.first().copied();
        if !found.contains(&first) {
            found.push(first);
        }
    }
    match found[..] {
        [] => Ok(None),
        [only] => Ok(only),
        _ => Err(Blocked::Several {
            names: found
                .iter()
                .map(|policy| policy.map_or("none", |policy| &policy.name).to_owned())
                .collect(),
        }),
    }
}

fn object(kind: &str, target_kind: &str, target: &Reference, spec: Map<String, Value>) -> Option<Value> {
    if spec.is_empty() {
        return None;
    }
    let mut target_ref = json!({
        "group": "gateway.networking.k8s.io",
        "kind": target_kind,
        "name": target.name,
    });
    let mut name = format!("{PREFIX}{}", target.name);
    if let Some(section) = &target.section {
        target_ref["sectionName"] = section.as_str().into();
        name = format!("{name}-{section}");
    }
    let mut all = spec;
    all.insert("targetRefs".to_owned(), json!([target_ref]));
    let (label, us) = MANAGED_BY;
    Some(json!({
        "apiVersion": "gateway.envoyproxy.io/v1alpha1",
        "kind": kind,
        "metadata": {"name": name, "namespace": target.namespace, "labels": {label: us}},
        "spec": all,
    }))
}
