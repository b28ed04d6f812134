//! The outcome of one control, with everything a reader needs to judge it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{ControlId, ControlState, Heard, Observation, Vantage};

/// What one evaluation of one control came to.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Verdict {
    /// Which control.
    pub control: ControlId,
    /// The outcome.
    pub state: ControlState,
    /// What was demanded, in words.
    pub expected: String,
    /// What was seen, in words.
    pub observed: String,
    /// What it means and what to do next; for a failure it names the object and the command.
    pub message: String,
    /// From where it was seen; none where no probe was involved.
    pub vantages: Vec<Vantage>,
}

/// A verdict with the probes behind it: what the evidence ConfigMap holds, in canonical form.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Evidence {
    /// When the round that produced it began.
    pub checked_at: Timestamp,
    /// After this moment the verdict counts as unknown.
    pub valid_until: Timestamp,
    /// The verdict.
    pub verdict: Verdict,
    /// The observations that decided it.
    pub observations: Vec<Observation>,
    /// What a probe zone heard of them, by the number of the probe.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub heard: BTreeMap<u32, Heard>,
}
