//! What stands in the cluster, as far as limits need it: Gateways, routes, and policies of Envoy Gateway's own kinds.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::{Reference, TargetKind};
use crate::MANAGED_BY;

/// What names of our objects begin with.
pub(super) const PREFIX: &str = "tsutsumi-";

/// The objects that limits are decided from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Objects {
    /// Classes of Gateways, by name, with who serves them.
    pub classes: Vec<(String, String)>,
    /// Gateways.
    pub gateways: Vec<Gateway>,
    /// Routes.
    pub routes: Vec<Route>,
    /// Policies of Envoy Gateway's own kinds.
    pub policies: Vec<Foreign>,
}

/// A Gateway.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Gateway {
    /// It.
    pub object: Reference,
    /// Its class.
    pub class: String,
    /// Its listeners.
    pub listeners: Vec<Listener>,
}

/// A listener of a Gateway.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
pub struct Listener {
    /// Its name.
    pub name: String,
    /// Its port.
    pub port: u16,
    /// What it speaks, for example `HTTPS`.
    pub protocol: String,
}

impl Gateway {
    /// Its listeners, as what a policy can be attached to.
    pub(super) fn sections(&self) -> impl Iterator<Item = Reference> + '_ {
        self.listeners.iter().map(|listener| Reference {
            section: Some(listener.name.clone()),
            ..self.object.clone()
        })
    }

    /// Whether a listener without TLS has its port with another one: Envoy tells those apart by the host's name alone, so
    /// that what holds for a connection holds for all of them.
    pub(super) fn shares_a_port(&self, section: &Reference) -> bool {
        let plain = |listener: &&Listener| listener.protocol == "HTTP";
        let named = |listener: &&Listener| section.section.as_ref() == Some(&listener.name);
        let Some(one) = self.listeners.iter().filter(plain).find(named) else {
            return false;
        };
        let mut plain = self.listeners.iter().filter(plain);
        plain.any(|other| other.port == one.port && other.name != one.name)
    }
}

/// An `HTTPRoute`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Route {
    /// It.
    pub object: Reference,
    /// The Gateways, or their listeners, that it wants to be led to by.
    pub parents: Vec<Reference>,
}

/// Which of Envoy Gateway's kinds.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum ForeignKind {
    /// `ClientTrafficPolicy`.
    ClientTraffic,
    /// `BackendTrafficPolicy`.
    BackendTraffic,
}

/// A policy of such a kind.
#[derive(Clone, Debug, PartialEq)]
pub struct Foreign {
    /// Its kind.
    pub kind: ForeignKind,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// When it was created, as it stands there; one that is only written down has none and is the youngest.
    pub created: Option<String>,
    /// What it is attached to by name.
    pub targets: Vec<Reference>,
    /// Whether it picks more by labels.
    pub selects: bool,
    /// All that it says.
    pub spec: Map<String, Value>,
}

/// An object that is not what its kind says.
#[derive(Debug, thiserror::Error)]
#[error("{kind} {name}: it cannot be read")]
pub struct ObjectError {
    kind: String,
    name: String,
    source: Unread,
}

/// What is wrong with it, and where.
type Unread = serde_path_to_error::Error<serde_json::Error>;

impl Objects {
    /// Takes an object in, if it is of a kind that limits need. Says whether it is.
    ///
    /// # Errors
    /// If it is, and cannot be read.
    pub fn take(&mut self, object: &Value) -> Result<bool, ObjectError> {
        let text = |field: &str| object[field].as_str().unwrap_or_default();
        let group = text("apiVersion").split_once('/').map_or("", |(group, _)| group);
        let read = match (group, text("kind")) {
            (GATEWAY_API, "GatewayClass") => parse(object).map(|(meta, spec): (Meta, ClassSpec)| {
                self.classes.push((meta.name, spec.controller_name));
            }),
            (GATEWAY_API, "Gateway") => parse(object).map(|(meta, spec): (Meta, GatewaySpec)| {
                self.gateways.push(Gateway {
                    object: meta.reference(TargetKind::Gateway),
                    class: spec.gateway_class_name,
                    listeners: spec.listeners,
                });
            }),
            (GATEWAY_API, "HTTPRoute") => parse(object).map(|(meta, spec): (Meta, RouteSpec)| {
                let object = meta.reference(TargetKind::HttpRoute);
                let parents = spec.parent_refs.into_iter();
                let parents = parents.filter_map(|parent| parent.gateway(&object.namespace));
                self.routes.push(Route {
                    parents: parents.collect(),
                    object,
                });
            }),
            (ENVOY_GATEWAY, "ClientTrafficPolicy") => self.take_policy(object, ForeignKind::ClientTraffic),
            (ENVOY_GATEWAY, "BackendTrafficPolicy") => self.take_policy(object, ForeignKind::BackendTraffic),
            _ => return Ok(false),
        };
        read.map(|()| true).map_err(|source| ObjectError {
            kind: text("kind").to_owned(),
            name: object["metadata"]["name"].as_str().unwrap_or_default().to_owned(),
            source,
        })
    }

    fn take_policy(&mut self, object: &Value, kind: ForeignKind) -> Result<(), Unread> {
        let (meta, attached): (Meta, Attached) = parse(object)?;
        if meta.is_ours() {
            return Ok(());
        }
        let namespace = meta.namespace();
        let refs = attached.one.into_iter().chain(attached.several);
        self.policies.push(Foreign {
            kind,
            targets: refs.filter_map(|target| target.target(&namespace)).collect(),
            selects: !attached.by_label.is_empty(),
            spec: object["spec"].as_object().cloned().unwrap_or_default(),
            created: meta.creation_timestamp,
            name: meta.name,
            namespace,
        });
        Ok(())
    }
}

const GATEWAY_API: &str = "gateway.networking.k8s.io";
const ENVOY_GATEWAY: &str = "gateway.envoyproxy.io";

#[derive(Deserialize)]
struct Read<S> {
    metadata: Meta,
    spec: S,
}

fn parse<'a, S: Deserialize<'a>>(object: &'a Value) -> Result<(Meta, S), Unread> {
    serde_path_to_error::deserialize(object).map(|Read { metadata, spec }| (metadata, spec))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Meta {
    name: String,
    namespace: Option<String>,
    creation_timestamp: Option<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

impl Meta {
    /// Whether it is an object that was said before: it changes with the policies, and is none to be carried.
    fn is_ours(&self) -> bool {
        let (label, us) = MANAGED_BY;
        self.name.starts_with(PREFIX) && self.labels.get(label).is_some_and(|who| who == us)
    }

    /// As kubectl fills it in.
    fn namespace(&self) -> String {
        self.namespace.clone().unwrap_or_else(|| "default".to_owned())
    }

    fn reference(&self, kind: TargetKind) -> Reference {
        Reference {
            kind,
            namespace: self.namespace(),
            name: self.name.clone(),
            section: None,
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ClassSpec {
    controller_name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct GatewaySpec {
    gateway_class_name: String,
    listeners: Vec<Listener>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RouteSpec {
    #[serde(default)]
    parent_refs: Vec<Ref>,
}

/// What a policy is attached to, in every form that there is.
#[derive(Deserialize)]
struct Attached {
    #[serde(rename = "targetRef")]
    one: Option<Ref>,
    #[serde(default, rename = "targetRefs")]
    several: Vec<Ref>,
    #[serde(default, rename = "targetSelectors")]
    by_label: Vec<Value>,
}

/// A reference as the Gateway API writes it: to a parent, or to a policy's target.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Ref {
    group: Option<String>,
    kind: Option<String>,
    namespace: Option<String>,
    name: String,
    section_name: Option<String>,
}

impl Ref {
    /// A route's parent, where that is a Gateway: what is left out means one, in the route's namespace.
    fn gateway(self, namespace: &str) -> Option<Reference> {
        let is_gateway = self.group.as_deref().is_none_or(|group| group == GATEWAY_API)
            && self.kind.as_deref().is_none_or(|kind| kind == "Gateway");
        is_gateway.then(|| Reference {
            kind: TargetKind::Gateway,
            namespace: self.namespace.unwrap_or_else(|| namespace.to_owned()),
            name: self.name,
            section: self.section_name,
        })
    }

    /// A policy's target, which is in its own namespace.
    fn target(self, namespace: &str) -> Option<Reference> {
        let kind = match self.kind.as_deref() {
            Some("Gateway") => TargetKind::Gateway,
            Some("HTTPRoute") => TargetKind::HttpRoute,
            _ => return None,
        };
        Some(Reference {
            kind,
            namespace: namespace.to_owned(),
            name: self.name,
            section: self.section_name,
        })
    }
}
