//! What is kept in our own ConfigMap about one policy's Corefile, so that a crash loses nothing and a person can put
//! the old text back without us.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tsutsumi_providers::coredns::{
    Ownership, identity_of,
    nsid::{Nsid, Shown},
};

use super::plan::{Change, Slot};

/// The texts and the record of ownership behind a change.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Record {
    /// The text that stood there before our first write.
    pub original: Option<String>,
    /// The text that stood there before our last write: what a roll-back puts back.
    pub previous: Option<String>,
    /// The text of our last write, or of the one that is being prepared.
    pub candidate: Option<String>,
    /// Which directives of the text before our last write are ours.
    pub ownership: Ownership,
    /// Which directives of the candidate are ours.
    pub candidate_ownership: Ownership,
    /// The pods that answered before the last write, and how often each had refused a reload.
    pub baseline: Vec<BaselinePod>,
}

/// A pod that served before the write.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BaselinePod {
    /// Its name.
    pub name: String,
    /// `coredns_reload_failed_total` before the write; none where its metrics could not be read.
    pub reloads_failed: Option<u64>,
}

const ORIGINAL: &str = "original.Corefile";
const PREVIOUS: &str = "previous.Corefile";
const CANDIDATE: &str = "candidate.Corefile";
const OWNERSHIP: &str = "ownership.json";
const CANDIDATE_OWNERSHIP: &str = "candidate-ownership.json";
const BASELINE: &str = "baseline.json";
/// Holds a merge patch, so that one line of kubectl is enough.
const RESTORE_PATCH: &str = "restore-patch.json";

/// The record in the ConfigMap is not what we wrote.
#[derive(Debug, thiserror::Error)]
#[error("the key `{key}` of our record is not readable; delete that key to start without it")]
pub struct RecordError {
    key: &'static str,
    source: serde_json::Error,
}

impl Record {
    /// The name of the ConfigMap for a policy.
    #[must_use]
    pub fn name(policy: &str) -> String {
        format!("tsutsumi-resolver-{policy}")
    }

    /// Reads the ConfigMap's data.
    ///
    /// # Errors
    /// If a key holds what we never write.
    pub fn parse(data: &BTreeMap<String, String>) -> Result<Self, RecordError> {
        Ok(Self {
            original: data.get(ORIGINAL).cloned(),
            previous: data.get(PREVIOUS).cloned(),
            candidate: data.get(CANDIDATE).cloned(),
            ownership: json(data, OWNERSHIP)?,
            candidate_ownership: json(data, CANDIDATE_OWNERSHIP)?,
            baseline: json(data, BASELINE)?,
        })
    }

    /// The ConfigMap's data.
    #[must_use]
    pub fn data(&self, slot: &Slot) -> BTreeMap<String, String> {
        let mut data = BTreeMap::new();
        let texts = [
            (ORIGINAL, &self.original),
            (PREVIOUS, &self.previous),
            (CANDIDATE, &self.candidate),
        ];
        for (key, text) in texts {
            if let Some(text) = text {
                data.insert(key.to_owned(), text.clone());
            }
        }
        data.insert(OWNERSHIP.to_owned(), to_json(&self.ownership));
        data.insert(CANDIDATE_OWNERSHIP.to_owned(), to_json(&self.candidate_ownership));
        data.insert(BASELINE.to_owned(), to_json(&self.baseline));
        if let Some(previous) = &self.previous {
            let patch = serde_json::json!({ "data": { slot.key.as_str(): previous } });
            data.insert(RESTORE_PATCH.to_owned(), patch.to_string());
        }
        data
    }

    /// The line of kubectl that puts the previous text back without us.
    #[must_use]
    pub fn restore_command(policy: &str, own_namespace: &str, slot: &Slot) -> String {
        let (namespace, config_map, record) = (&slot.namespace, &slot.config_map, Self::name(policy));
        let key = RESTORE_PATCH.replace('.', "\\.");
        format!(
            "kubectl -n {namespace} patch configmap {config_map} --type merge \
             -p \"$(kubectl -n {own_namespace} get configmap {record} -o jsonpath='{{.data.{key}}}')\""
        )
    }

    /// Which directives of a live text are ours: those of the candidate once it was written, also after others have
    /// edited it since, and until then those of the text before.
    #[must_use]
    pub fn ownership_of(&self, present: &str) -> &Ownership {
        let candidate = self.candidate.as_deref().unwrap_or_default();
        let written = candidate == present
            || tokens(candidate)
                .iter()
                .any(|token| tokens(present).contains(token));
        if written {
            &self.candidate_ownership
        } else {
            &self.ownership
        }
    }

    /// The record as it must stand before `change` may be written.
    #[must_use]
    pub fn saving(&self, change: &Change) -> Self {
        Self {
            original: self.original.clone().or_else(|| Some(change.present.clone())),
            previous: Some(change.present.clone()),
            candidate: Some(change.candidate.clone()),
            ownership: self.ownership_of(&change.present).clone(),
            candidate_ownership: change.ownership.clone(),
            baseline: self.baseline.clone(),
        }
    }
}

/// The identities of ours that a text shows.
fn tokens(text: &str) -> Vec<Nsid> {
    let blocks = identity_of(text)
        .map(|identity| identity.blocks)
        .unwrap_or_default();
    let ours = |shown| match shown {
        Some(Shown::Ours(token)) => Some(token),
        _ => None,
    };
    blocks.into_iter().filter_map(|block| ours(block.shows)).collect()
}

fn json<T: Default + for<'de> Deserialize<'de>>(
    data: &BTreeMap<String, String>,
    key: &'static str,
) -> Result<T, RecordError> {
    data.get(key).map_or_else(
        || Ok(T::default()),
        |text| serde_json::from_str(text).map_err(|source| RecordError { key, source }),
    )
}

fn to_json(value: &impl Serialize) -> String {
    serde_json::to_value(value)
        .map(|value| value.to_string())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot() -> Slot {
        Slot {
            namespace: "kube-system".into(),
            config_map: "coredns".into(),
            key: "Corefile".into(),
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        let record = Record {
            original: Some(". {\n}\n".into()),
            previous: Some(". {\n errors\n}\n".into()),
            candidate: Some(". {\n log\n}\n".into()),
            ownership: Ownership::default(),
            candidate_ownership: Ownership::default(),
            baseline: vec![BaselinePod {
                name: "coredns-1".into(),
                reloads_failed: Some(2),
            }],
        };
        assert_eq!(Record::parse(&record.data(&slot())).unwrap(), record);
    }

    #[test]
    fn a_foreign_edit_of_the_record_is_an_error_that_names_the_key() {
        let data = BTreeMap::from([(BASELINE.to_owned(), "nonsense".to_owned())]);
        assert!(Record::parse(&data).unwrap_err().to_string().contains(BASELINE));
    }

    #[test]
    fn the_restore_patch_is_the_previous_text() {
        let record = Record {
            previous: Some("a \"quoted\"\ntext".into()),
            ..Record::default()
        };
        let patch: serde_json::Value = serde_json::from_str(&record.data(&slot())[RESTORE_PATCH]).unwrap();
        assert_eq!(
            patch,
            serde_json::json!({"data": {"Corefile": "a \"quoted\"\ntext"}})
        );
    }
}
