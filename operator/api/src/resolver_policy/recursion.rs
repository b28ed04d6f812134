//! `spec.recursion`: who resolves the names that the cluster does not know, and how they are asked.

use k8s_openapi::serde::{Deserialize, Serialize};
use schemars::JsonSchema;

use crate::values::Upstream;

/// Who resolves the names that the cluster does not know, and how they are asked.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(crate = "k8s_openapi::serde", rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "!has(self.via) || self.via != 'Upstreams' || (has(self.upstreams) && size(self.upstreams) > 0)",
        "message": "recursion.upstreams: write at least one address; `via: Upstreams` asks the resolvers that stand here",
    },
    {
        "rule": "!has(self.upstreams) || size(self.upstreams) == 0 || (has(self.via) && self.via == 'Upstreams')",
        "message": "recursion.upstreams: write `via: Upstreams` beside them, or leave them out; nobody else asks them",
    },
    {
        "rule": "(!has(self.dnssec) && !has(self.roots)) || (has(self.via) && self.via == 'Managed')",
        "message": "recursion: write `via: Managed` beside `dnssec` and `roots`, or leave them out; they are for a resolver of ours",
    },
]))]
pub struct Recursion {
    /// Who resolves: `Managed` is an Unbound that tsutsumi runs in its own namespace, `Upstreams` are the resolvers
    /// under `upstreams`. Absent: whom the Corefile names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<Via>,
    /// Resolvers to ask, by address, with a port where it is not 53: at most 15, as many as `forward` takes. Only with
    /// `via: Upstreams`, which needs one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 15), extend("x-kubernetes-list-type" = "set"))]
    pub upstreams: Vec<Upstream>,
    /// `Random` opens a fresh socket, hence a fresh source port, for every query over UDP (RFC 5452).
    pub source_ports: SourcePorts,
    /// How strictly the managed resolver checks signatures: `Required` always, `WhenSigned` unless the client switches
    /// it off (CD), `Off` never. Absent: `Required`. Only with `via: Managed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dnssec: Option<Dnssec>,
    /// The root that the managed resolver starts from. Absent: that of the Internet. Only with `via: Managed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roots: Option<Roots>,
}

impl Recursion {
    /// Whether what is answered is to be validated.
    #[must_use]
    pub fn validates(&self) -> bool {
        self.via == Some(Via::Managed) && self.dnssec.unwrap_or_default() != Dnssec::Off
    }
}

/// Who resolves.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(crate = "k8s_openapi::serde")]
pub enum Via {
    /// An Unbound that tsutsumi runs.
    Managed,
    /// Resolvers of the user's.
    Upstreams,
}

/// How source ports are chosen.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(crate = "k8s_openapi::serde")]
pub enum SourcePorts {
    /// A fresh one for every query.
    Random,
}

/// How strictly signatures are checked.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(crate = "k8s_openapi::serde")]
pub enum Dnssec {
    /// Never.
    Off,
    /// Always, whatever the client says.
    #[default]
    Required,
    /// Unless the client switches it off (CD).
    WhenSigned,
}

/// A root of the user's, for networks that do not reach that of the Internet. Each is a ConfigMap in tsutsumi's own
/// namespace; a change of its content is seen with the next round of probes.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(crate = "k8s_openapi::serde", rename_all = "camelCase", deny_unknown_fields)]
pub struct Roots {
    /// The name of a ConfigMap with the root's servers under the key `named.root`: a zone file of `NS`, `A` and `AAAA`
    /// records, at most 64 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
    )]
    pub hints_config_map: Option<String>,
    /// The name of a ConfigMap with the root's keys under the key `root.key`: `DS` or `DNSKEY` records, at most 64 KiB.
    /// Other keys than IANA's are taken only beside `hintsConfigMap`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
    )]
    pub anchors_config_map: Option<String>,
}
