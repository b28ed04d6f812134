//! `spec.waysAround`: DNS past cluster DNS.

use k8s_openapi::serde::{Deserialize, Serialize};
use schemars::JsonSchema;

use crate::values::Address;

/// Ways around cluster DNS: workloads that ask others, and the way from pods to resolvers outside. They are reported with
/// the `NetworkPolicies` that would close them; `close` has them written.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(crate = "k8s_openapi::serde", rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [{
    "rule": "!has(self.close) || !has(self.close.namespaces) || !has(self.exemptNamespaces) || !self.close.namespaces.exists(closed, closed in self.exemptNamespaces)",
    "message": "waysAround.close.namespaces: take out what stands in `exemptNamespaces`, or take it out there; a namespace is closed or exempt",
}]))]
pub struct WaysAround {
    /// Resolvers outside the cluster that answer everybody outside, by address: up to four. A prober inside tries them on
    /// ports 53 and 853, where pods should reach cluster DNS alone, while one outside sees whether they answer. Absent:
    /// it cannot be told whether the way is open.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 4), extend("x-kubernetes-list-type" = "set"))]
    pub resolvers: Vec<Address>,
    /// Namespaces whose workloads may ask others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 64),
        inner(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub exempt_namespaces: Vec<String>,
    /// Which of these ways are closed, and how. Absent: none, and what a policy before had closed stays closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub close: Option<Close>,
}

/// Namespaces whose pods reach ports 53 and 853 of cluster DNS alone, by one `NetworkPolicy` of ours in each, which leaves
/// every other port as it was. None is written where it would take a pod's DNS away or allow more than others do.
#[derive(Clone, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(crate = "k8s_openapi::serde", rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-kubernetes-validations" = [
    {
        "rule": "!has(self.action) || self.action != 'Enforce' || (has(self.namespaces) && size(self.namespaces) > 0)",
        "message": "waysAround.close.namespaces: write at least one; `action: Enforce` closes the namespaces that stand here",
    },
    {
        "rule": "!has(self.namespaces) || !('kube-system' in self.namespaces)",
        "message": "waysAround.close.namespaces: leave out kube-system; what nodes need before cluster DNS is there runs in it",
    },
]))]
pub struct Close {
    /// `Report` writes none, and takes away those that this policy wrote. `Enforce` writes them while `mode` is `Enforce`;
    /// with `mode: Audit`, `status.plan` tells which it would write.
    #[serde(default)]
    pub action: CloseAction,
    /// The namespaces to close, up to 32: each of them has to stand in the chart's `waysAround.close.namespaces` too. Left
    /// out are kube-system, the namespaces of cluster DNS and of tsutsumi, where it would cut off DNS itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 32),
        inner(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub namespaces: Vec<String>,
    /// Pods in these namespaces that need resolvers of their own, by a label: up to 16. They are left open.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub exempt_pods: Vec<ExemptPods>,
    /// Workloads that may lose DNS by it, as DNS-11 names them, for example `Deployment town/web`: up to 32. A namespace
    /// with another one whose pods ask whom its node asks, or resolvers of their own, is not closed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 32),
        inner(length(min = 1, max = 384), regex(pattern = r"^[A-Z][A-Za-z]* [a-z0-9]([-a-z0-9]*[a-z0-9])?/[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub may_lose_dns: Vec<String>,
}

/// What is done with the ways around cluster DNS.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(crate = "k8s_openapi::serde")]
pub enum CloseAction {
    /// They are told.
    #[default]
    Report,
    /// They are told and closed.
    Enforce,
}

/// Pods with a label that are left open.
#[derive(Clone, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(crate = "k8s_openapi::serde", rename_all = "camelCase", deny_unknown_fields)]
pub struct ExemptPods {
    /// The label's key, such as `app.kubernetes.io/name`.
    #[schemars(
        length(min = 1, max = 317),
        regex(pattern = r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$")
    )]
    pub label: String,
    /// Its value.
    #[schemars(
        length(max = 63),
        regex(pattern = r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$")
    )]
    pub value: String,
    /// Why they need resolvers of their own; up to 256 characters, for whoever reads the policy later.
    #[schemars(length(min = 1, max = 256))]
    pub reason: String,
}
