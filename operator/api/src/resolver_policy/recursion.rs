//! `spec.recursion`: who resolves the names that the cluster does not know, and how they are asked.

use std::time::Duration;

use k8s_openapi::serde::{Deserialize, Serialize};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use tsutsumi_model::DomainName;

use crate::values::{Upstream, WatchTime};

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
        "rule": "!has(self.roots) || (has(self.via) && self.via == 'Managed')",
        "message": "recursion.roots: write `via: Managed` beside it, or leave it out; it is for a resolver of ours",
    },
    {
        "rule": "!has(self.hop) || (has(self.via) && self.via == 'Managed')",
        "message": "recursion.hop: write `via: Managed` beside it, or leave it out; it is the way to a resolver of ours",
    },
    {
        "rule": "!has(self.dnssec) || has(self.via)",
        "message": "recursion.dnssec: write `via` beside it, or leave it out; CoreDNS itself checks no signature",
    },
    {
        "rule": "!has(self.compare) || has(self.via)",
        "message": "recursion.compare: write `via` beside it, or leave it out; without it nothing is led elsewhere",
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
    /// How strictly signatures are checked: `Required` always, `WhenSigned` unless the client switches it off (CD), `Off`
    /// never. With `via: Managed` that is set, absent for `Required`. With `via: Upstreams` it is expected of the resolvers
    /// under `upstreams`, which then have to know the probe zone and its key; absent, nothing is expected of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dnssec: Option<Dnssec>,
    /// How CoreDNS asks the managed resolver. Absent: `Udp`. Only with `via: Managed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hop: Option<Hop>,
    /// The root that the managed resolver starts from. Absent: that of the Internet. Only with `via: Managed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roots: Option<Roots>,
    /// What is compared before cluster DNS is led to other resolvers. Absent: what Services of type `ExternalName` lead to,
    /// and what was lately asked for. Only with `via`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compare: Option<Compare>,
}

/// What is compared before cluster DNS is led to other resolvers: addresses of names, as they are answered today and as
/// they would be. One that would get worse blocks the switch and is listed.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(crate = "k8s_openapi::serde", rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "!has(self.watch) || duration(self.watch) <= duration('15m')",
    "message": "recursion.compare.watch: write at most 15m, for example 5m, or 0s to watch nothing",
}]))]
pub struct Compare {
    /// Names to compare beside those that are found, at most 64: for example one of each internal zone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "names")]
    pub names: Vec<DomainName>,
    /// Zones whose names may get worse, at most 64: neither they nor what is below them is compared.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "names")]
    pub except: Vec<DomainName>,
    /// How long it is watched which names cluster DNS is asked for, 0s to 15m, before it is led elsewhere for the first
    /// time: CoreDNS tells them to the prober, in memory only. Absent: 5m. With 0s nobody watches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub watch: Option<WatchTime>,
}

/// Names of DNS, each once.
fn names(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 64,
        "x-kubernetes-list-type": "set",
        "items": {
            "type": "string",
            "minLength": 1,
            "maxLength": 253,
            "pattern": r"^([A-Za-z0-9_-]{1,63}\.)*[A-Za-z0-9_-]{1,63}\.?$",
        },
    })
}

impl Recursion {
    /// How long it is watched which names cluster DNS is asked for, before it is led elsewhere.
    #[must_use]
    pub fn watch(&self) -> Duration {
        let watch = self.compare.as_ref().and_then(|compare| compare.watch);
        watch.map_or(Duration::from_secs(300), WatchTime::get)
    }

    /// Whether what is answered is to be validated.
    #[must_use]
    pub fn validates(&self) -> bool {
        let dnssec = match self.via {
            Some(Via::Managed) => self.dnssec.unwrap_or_default(),
            Some(Via::Upstreams) => self.dnssec.unwrap_or(Dnssec::Off),
            None => Dnssec::Off,
        };
        dnssec != Dnssec::Off
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

/// How CoreDNS asks the managed resolver: `Udp`, each question from a fresh port, or `Tls`, with a certificate that CoreDNS
/// verifies. `Tls` needs the ConfigMap `tsutsumi-resolver-ca` mounted into CoreDNS's pods; until every pod has it, UDP is used
/// and the status says how to mount it. Absent: `Udp`. Only with `via: Managed`.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(crate = "k8s_openapi::serde")]
pub enum Hop {
    /// Over TLS, with a certificate whose name and authority CoreDNS verifies.
    Tls,
    /// Over UDP.
    Udp,
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
