//! The conditions of every policy as series: one per condition, and none of what it was before.
//!
//! Status and reason are labels, so a change makes another series; the former one has to go, or it would show 1 for
//! ever. A family cannot be asked what it holds, so it is remembered here.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use prometheus_client::metrics::{family::Family, gauge::Gauge};

use super::labels::ConditionLabel;

/// The series of every policy; clones share them.
#[derive(Clone, Debug)]
pub(super) struct Conditions {
    family: Family<ConditionLabel, Gauge>,
    shown: Arc<Mutex<BTreeMap<String, Vec<ConditionLabel>>>>,
}

impl Conditions {
    /// Shows them in this family.
    pub(super) fn new(family: Family<ConditionLabel, Gauge>) -> Self {
        Self {
            family,
            shown: Arc::default(),
        }
    }

    /// Shows the conditions of a policy, and no others.
    pub(super) fn set(&self, policy: &str, conditions: &[Condition]) {
        let new: Vec<_> = conditions
            .iter()
            .map(|condition| ConditionLabel::new(policy, condition))
            .collect();
        let mut shown = self.shown();
        for label in shown.remove(policy).unwrap_or_default() {
            if !new.contains(&label) {
                self.family.remove(&label);
            }
        }
        for label in &new {
            self.family.get_or_create(label).set(1);
        }
        if !new.is_empty() {
            shown.insert(policy.to_owned(), new);
        }
    }

    /// Drops every series of a policy.
    pub(super) fn forget(&self, policy: &str) {
        self.set(policy, &[]);
    }

    fn shown(&self) -> MutexGuard<'_, BTreeMap<String, Vec<ConditionLabel>>> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
