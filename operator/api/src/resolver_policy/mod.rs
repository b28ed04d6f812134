//! `ResolverPolicy`: whom the cluster's DNS serves, and how it behaves towards them.

#![allow(
    clippy::duplicated_attributes,
    reason = "every print column names its own type"
)]

mod around;
mod recursion;
pub mod status;

use std::time::Duration;

use k8s_openapi::serde::{Deserialize, Serialize};
use kube::CustomResource;
use schemars::JsonSchema;
use tsutsumi_model::Vantage;

pub use around::{Close, CloseAction, ExemptPods, WaysAround};
pub use recursion::{Compare, Dnssec, Hop, Recursion, Roots, SourcePorts, Via};
pub use status::{ControlStatus, ResolverPolicyStatus, Rollout, RolloutState, TargetStatus};

use crate::values::{Cidr, Period};

/// The annotation by which a person asks for a round of probes at once, by giving it another value.
pub const VERIFY: &str = "tsutsumi.dev/verify";

/// Whom the cluster's DNS serves and how it behaves, enforced in CoreDNS and proven by live probes.
#[derive(Clone, CustomResource, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(crate = "k8s_openapi::serde", rename_all = "camelCase", deny_unknown_fields)]
#[kube(
    group = "tsutsumi.dev",
    version = "v1alpha1",
    kind = "ResolverPolicy",
    status = "ResolverPolicyStatus",
    shortname = "rpol",
    category = "tsutsumi",
    doc = "Whom the cluster's DNS serves and how it behaves, enforced in CoreDNS and proven by live probes.",
    printcolumn(name = "Mode", type_ = "string", json_path = ".spec.mode"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason"
    ),
    printcolumn(
        name = "DNS-01",
        type_ = "string",
        json_path = ".status.controls[?(@.id==\"DNS-01\")].state"
    ),
    printcolumn(
        name = "DNS-02",
        type_ = "string",
        json_path = ".status.controls[?(@.id==\"DNS-02\")].state"
    ),
    printcolumn(
        name = "DNS-03",
        type_ = "string",
        json_path = ".status.controls[?(@.id==\"DNS-03\")].state"
    ),
    printcolumn(
        name = "DNS-04",
        type_ = "string",
        json_path = ".status.controls[?(@.id==\"DNS-04\")].state"
    ),
    printcolumn(
        name = "DNS-05",
        type_ = "string",
        json_path = ".status.controls[?(@.id==\"DNS-05\")].state"
    ),
    printcolumn(
        name = "DNS-06",
        type_ = "string",
        json_path = ".status.controls[?(@.id==\"DNS-06\")].state"
    ),
    printcolumn(
        name = "DNS-07",
        type_ = "string",
        json_path = ".status.controls[?(@.id==\"DNS-07\")].state"
    ),
    printcolumn(
        name = "DNS-09",
        type_ = "string",
        json_path = ".status.controls[?(@.id==\"DNS-09\")].state"
    ),
    printcolumn(
        name = "DNS-11",
        type_ = "string",
        json_path = ".status.controls[?(@.id==\"DNS-11\")].state"
    ),
    printcolumn(
        name = "DNS-12",
        type_ = "string",
        json_path = ".status.controls[?(@.id==\"DNS-12\")].state"
    ),
    printcolumn(name = "Valid-Until", type_ = "string", json_path = ".status.validUntil"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[kube(validation = kube::core::Rule::new("self.metadata.name.size() <= 40")
    .message("metadata.name: use at most 40 characters; names of other objects are made from it"))]
#[kube(validation = kube::core::Rule::new("has(self.spec.clients) || has(self.spec.udp) || has(self.spec.recursion)")
    .message("spec: this policy manages nothing; write at least one of `clients`, `udp` and `recursion`"))]
#[kube(validation = kube::core::Rule::new("!has(self.spec.anyQueries) || has(self.spec.clients)")
    .message("spec.anyQueries: write `clients` too; the rule against ANY is made for their addresses"))]
#[kube(validation = kube::core::Rule::new("!has(self.spec.recursion) || !has(self.spec.recursion.via) || self.spec.recursion.via != 'Managed' || !self.metadata.name.contains('.')")
    .message("metadata.name: leave out the dots; with `recursion.via: Managed` a Service is named after the policy"))]
pub struct ResolverPolicySpec {
    /// `Audit` evaluates and reports what would change; `Enforce` also writes. Required, so that nobody enforces by
    /// accident.
    pub mode: Mode,
    /// The workload that serves cluster DNS. Absent: the cluster's DNS, found by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_ref: Option<TargetRef>,
    /// What happens to the configuration when this policy is deleted: `Keep` leaves it in force, `Restore` puts back
    /// what stood there before, directive by directive, where the live value is still ours.
    #[serde(default)]
    pub on_delete: OnDelete,
    /// The recorded decision whom this resolver serves. Absent: clients are not managed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clients: Option<Clients>,
    /// Sizes of messages over UDP. Absent: sizes are not managed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub udp: Option<Udp>,
    /// What a query of type ANY is answered with. Absent: not managed. Needs `clients`, whose addresses it uses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub any_queries: Option<AnyQueries>,
    /// Who resolves the names that the cluster does not know, and how they are asked. Absent: `forward` is not managed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recursion: Option<Recursion>,
    /// Ways around cluster DNS, which are reported, and closed where `close` says so. Absent: nobody looks for them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ways_around: Option<WaysAround>,
    /// How often, and from where, behaviour is probed.
    #[serde(default)]
    pub verification: Verification,
}

/// Whether a policy writes.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(crate = "k8s_openapi::serde")]
pub enum Mode {
    /// Evaluate and report.
    Audit,
    /// Evaluate, write, verify and report.
    Enforce,
}

/// A workload in a namespace.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(crate = "k8s_openapi::serde", rename_all = "camelCase", deny_unknown_fields)]
pub struct TargetRef {
    /// The kind of workload.
    pub kind: WorkloadKind,
    /// Its namespace.
    #[schemars(
        length(min = 1, max = 63),
        regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
    )]
    pub namespace: String,
    /// Its name.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
    )]
    pub name: String,
}

/// The kinds of workload that can serve cluster DNS.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(crate = "k8s_openapi::serde")]
pub enum WorkloadKind {
    /// `apps/v1` DaemonSet.
    DaemonSet,
    /// `apps/v1` Deployment.
    Deployment,
}

/// What to do with the written configuration when the policy goes.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(crate = "k8s_openapi::serde")]
pub enum OnDelete {
    /// Leave it in force: deleting a policy loosens nothing.
    #[default]
    Keep,
    /// Put back what stood there before, where the live value is still ours.
    Restore,
}

/// Whom the resolver serves.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(crate = "k8s_openapi::serde", rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "size(self.include) > 0 || size(self.cidrs) > 0",
    "message": "clients: name at least one group in `include` (Cluster, Private) or one network in `cidrs`; an empty list would refuse everybody",
}]))]
pub struct Clients {
    /// Groups of addresses: `Cluster` for the ranges of pods and nodes, from every place that tells them (the nodes,
    /// the settings of kubeadm, kube-proxy and Flannel, the pools of Calico and Cilium), `Private` for RFC 1918,
    /// RFC 6598, unique local and link-local addresses.
    #[serde(default)]
    #[schemars(length(max = 2), extend("x-kubernetes-list-type" = "set"))]
    pub include: Vec<ClientGroup>,
    /// Further internal networks, in CIDR notation with clear host bits.
    #[serde(default)]
    #[schemars(length(max = 256), extend("x-kubernetes-list-type" = "set"))]
    pub cidrs: Vec<Cidr>,
    /// What everybody else gets: `Refuse` answers REFUSED, `Drop` stays silent.
    #[serde(default)]
    pub others: Others,
    /// Why these clients, for the report.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    pub reason: Option<String>,
}

/// A group of client addresses.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(crate = "k8s_openapi::serde")]
pub enum ClientGroup {
    /// The ranges of the cluster's pods and nodes.
    Cluster,
    /// RFC 1918, RFC 6598, unique local and link-local addresses.
    Private,
}

/// What a client that is not served gets.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(crate = "k8s_openapi::serde")]
pub enum Others {
    /// Silence.
    Drop,
    /// An answer with response code REFUSED.
    #[default]
    Refuse,
}

/// Sizes of messages over UDP.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(crate = "k8s_openapi::serde", rename_all = "camelCase", deny_unknown_fields)]
pub struct Udp {
    /// The largest message over UDP, in bytes: 512 to 4096. 1232 passes every path without fragments.
    #[schemars(range(min = 512, max = 4096))]
    pub max_message_bytes: u16,
}

/// What a query of type ANY is answered with.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(crate = "k8s_openapi::serde")]
pub enum AnyQueries {
    /// An answer without records (RFC 8482 leaves this to the server).
    Empty,
}

/// How often, and from where, behaviour is probed.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(crate = "k8s_openapi::serde", rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "self.interval.endsWith('d') ? self.interval == '1d' : duration(self.interval) >= duration('30s') && duration(self.interval) <= duration('24h')",
    "message": "verification.interval: write at least 30s and at most 1d, for example 5m",
}]))]
pub struct Verification {
    /// The time between two rounds of probes, 30s to 1d. A result counts for three intervals.
    #[serde(default = "five_minutes")]
    pub interval: Period,
    /// From where to probe. A control that needs a vantage which is not listed, or not there, is `Indeterminate`.
    #[serde(default = "both_vantages")]
    #[schemars(length(min = 1, max = 2), extend("x-kubernetes-list-type" = "set"))]
    pub vantages: Vec<Vantage>,
}

impl Default for Verification {
    fn default() -> Self {
        Self {
            interval: five_minutes(),
            vantages: both_vantages(),
        }
    }
}

impl Verification {
    /// How long a result counts: three intervals, so that one lost round is not an alarm.
    #[must_use]
    pub fn validity(&self) -> Duration {
        self.interval.get() * 3
    }
}

fn five_minutes() -> Period {
    "5m".parse()
        .unwrap_or_else(|_| unreachable!("a literal that the tests parse"))
}

fn both_vantages() -> Vec<Vantage> {
    vec![Vantage::Inside, Vantage::Outside]
}
