//! The labels of the metrics: closed sets and the names of policies.

use std::borrow::Cow;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use prometheus_client::encoding::EncodeLabelSet;
use tsutsumi_model::{ControlId, ControlState};

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(super) struct ResultLabel {
    pub(super) result: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(super) struct CallLabel {
    pub(super) verb: &'static str,
    pub(super) kind: Cow<'static, str>,
    pub(super) outcome: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(super) struct PolicyLabel {
    pub(super) policy: String,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(super) struct ControlLabel {
    pub(super) policy: String,
    pub(super) control: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(super) struct StateLabel {
    pub(super) policy: String,
    pub(super) control: &'static str,
    pub(super) state: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(super) struct ConditionLabel {
    pub(super) policy: String,
    pub(super) r#type: String,
    pub(super) status: String,
    pub(super) reason: String,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(super) struct SecretLabel {
    pub(super) secret: &'static str,
}

impl PolicyLabel {
    pub(super) fn new(policy: &str) -> Self {
        Self {
            policy: policy.to_owned(),
        }
    }
}

impl ConditionLabel {
    /// Type, status and reason are ours to choose, and stand in closed sets.
    pub(super) fn new(policy: &str, condition: &Condition) -> Self {
        Self {
            policy: policy.to_owned(),
            r#type: condition.type_.clone(),
            status: condition.status.clone(),
            reason: condition.reason.clone(),
        }
    }
}

impl ControlLabel {
    pub(super) fn new(policy: &str, control: ControlId) -> Self {
        Self {
            policy: policy.to_owned(),
            control: control.as_str(),
        }
    }
}

impl StateLabel {
    pub(super) fn new(policy: &str, control: ControlId, state: ControlState) -> Self {
        Self {
            policy: policy.to_owned(),
            control: control.as_str(),
            state: state.as_str(),
        }
    }
}
