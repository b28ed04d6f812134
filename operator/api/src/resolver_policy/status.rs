//! What tsutsumi says of a `ResolverPolicy`.

use k8s_openapi::{
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
    serde::{Deserialize, Serialize},
};
use schemars::JsonSchema;
use tsutsumi_model::{ControlId, ControlState, Vantage};

use super::WorkloadKind;

/// The state of a policy: conditions, the target that was found, the change under way and the result of each control.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(crate = "k8s_openapi::serde", rename_all = "camelCase")]
pub struct ResolverPolicyStatus {
    /// The generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Accepted, Programmed, Verified, Ready, Stalled.
    #[serde(default)]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// The workload that serves cluster DNS, as found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<TargetStatus>,
    /// The change of the Corefile that is under way, or the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<Rollout>,
    /// The networks that the policy means in this cluster, one line each, with where they come from. Absent: clients are
    /// not managed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 1024)), extend("x-kubernetes-list-type" = "atomic"))]
    pub clients: Vec<String>,
    /// What `Enforce` would change, or has yet to change, one line each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(max = 1024)), extend("x-kubernetes-list-type" = "atomic"))]
    pub plan: Vec<String>,
    /// What a person should know: limits of this platform, directives left alone, the next upgrade.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(max = 1024)), extend("x-kubernetes-list-type" = "atomic"))]
    pub warnings: Vec<String>,
    /// The result of each control.
    #[serde(default)]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["id"]))]
    pub controls: Vec<ControlStatus>,
    /// The earliest moment at which a result stops counting. Later than this, treat every result as unknown, also when
    /// nothing here has changed: tsutsumi may be down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub valid_until: Option<Time>,
}

/// The workload that serves cluster DNS.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(crate = "k8s_openapi::serde", rename_all = "camelCase")]
pub struct TargetStatus {
    /// The kind of workload.
    pub kind: WorkloadKind,
    /// Its namespace.
    #[schemars(length(max = 63))]
    pub namespace: String,
    /// Its name.
    #[schemars(length(max = 253))]
    pub name: String,
    /// The ConfigMap that holds its Corefile.
    #[schemars(length(max = 253))]
    pub config_map: String,
    /// The platform that was recognised, for example `kubeadm`.
    #[schemars(length(max = 32))]
    pub platform: String,
    /// The version that runs, for example `1.14.7`; absent while unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub version: Option<String>,
}

/// A change of the Corefile, as far as it has come.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(crate = "k8s_openapi::serde", rename_all = "camelCase")]
pub struct Rollout {
    /// How far it has come.
    pub state: RolloutState,
    /// The identity of the text: what every pod shows as NSID once it runs it.
    #[schemars(length(max = 64))]
    pub identity: String,
    /// Since when it is in this state.
    pub since: Time,
    /// The generation of the policy that it serves.
    pub generation: i64,
    /// The container image that the canary judged the text with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub image: Option<String>,
    /// What happened, for a person.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 1024))]
    pub message: String,
    /// When others put their text back over ours, newest last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 2), extend("x-kubernetes-list-type" = "atomic"))]
    pub reverts: Vec<Time>,
}

/// The states of a change, in order.
#[derive(Clone, Copy, Debug, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(crate = "k8s_openapi::serde")]
pub enum RolloutState {
    /// The present text is kept in our own ConfigMap; canaries are being judged.
    Saved,
    /// The candidate did no worse than the present text.
    CanaryPassed,
    /// The live ConfigMap holds the candidate; pods are being confirmed one by one.
    Written,
    /// Every pod that serves shows the new identity.
    Settled,
    /// The candidate did worse in the canary; nothing was written.
    CanaryFailed,
    /// A pod that answered before stopped answering; the saved text was put back.
    RolledBack,
    /// Others put their text back twice within 30 minutes; writing has stopped until the policy changes.
    Overwritten,
    /// A name would be answered worse; nothing was written, and it is compared again with the next round of probes.
    HeldBack,
}

impl RolloutState {
    /// Whether the change stood in the live ConfigMap at some time, so that pods may have loaded it.
    #[must_use]
    pub const fn was_written(self) -> bool {
        match self {
            Self::Written | Self::Settled | Self::RolledBack | Self::Overwritten => true,
            Self::Saved | Self::CanaryPassed | Self::CanaryFailed | Self::HeldBack => false,
        }
    }
}

/// The result of one control.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
#[serde(crate = "k8s_openapi::serde", rename_all = "camelCase")]
pub struct ControlStatus {
    /// Which control.
    pub id: ControlId,
    /// The outcome.
    pub state: ControlState,
    /// What was demanded.
    #[schemars(length(max = 512))]
    pub expected: String,
    /// What was seen.
    #[schemars(length(max = 1024))]
    pub observed: String,
    /// What it means and what to do next.
    #[schemars(length(max = 2048))]
    pub message: String,
    /// From where it was seen.
    #[serde(default)]
    #[schemars(length(max = 2), extend("x-kubernetes-list-type" = "atomic"))]
    pub vantages: Vec<Vantage>,
    /// When.
    pub checked_at: Time,
    /// Later than this, treat the result as unknown.
    pub valid_until: Time,
    /// SHA-256 of the evidence kept in our ConfigMap, in hexadecimal.
    #[schemars(length(max = 64))]
    pub evidence: String,
}
