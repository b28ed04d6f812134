//! What is kept in our own ConfigMap about one policy's Corefile, so that a crash loses nothing and a person can put
//! the old text back without us.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tsutsumi_api::resolver_policy::Rollout;
use tsutsumi_providers::coredns::{
    Ownership,
    nsid::{Nsid, Shown},
    shown_by,
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
    /// Tells the text that is planned from an earlier one of ours that reads the same.
    pub edition: u32,
    /// To whom our last written text leads the root; none where to nobody of ours.
    pub led: Option<String>,
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
const LED: &str = "led";
const EDITION: &str = "edition.json";
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
            edition: json(data, EDITION)?,
            led: data.get(LED).cloned(),
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
            (LED, &self.led),
        ];
        for (key, text) in texts {
            if let Some(text) = text {
                data.insert(key.to_owned(), text.clone());
            }
        }
        data.insert(OWNERSHIP.to_owned(), to_json(&self.ownership));
        data.insert(CANDIDATE_OWNERSHIP.to_owned(), to_json(&self.candidate_ownership));
        data.insert(BASELINE.to_owned(), to_json(&self.baseline));
        data.insert(EDITION.to_owned(), to_json(&self.edition));
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

    /// The record with which `change` begins, after what `rollout` tells of the change before.
    ///
    /// A pod may still be about to load what stands there now, and show until then what it loaded before. Where that reads
    /// like the candidate, the identity would prove nothing: the next plan's text gets one that no pod has shown.
    #[must_use]
    pub fn beginning(&self, change: &Change, rollout: Option<&Rollout>) -> Self {
        let was_written =
            rollout.is_some_and(|rollout| rollout.state.was_written() && rollout.identity == change.label());
        let stood_before = self.previous.as_ref() == Some(&change.candidate);
        let again = change.identity.is_some() && (was_written || stood_before);
        Self {
            edition: self.edition.wrapping_add(u32::from(again)),
            ..self.saving(change)
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
            edition: self.edition,
            // Until it is written, nothing is led there.
            led: self.led.clone(),
            baseline: self.baseline.clone(),
        }
    }
}

/// The identities of ours that a text shows.
fn tokens(text: &str) -> Vec<Nsid> {
    let blocks = shown_by(text).unwrap_or_default();
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
    use super::super::rollout::{Circumstances, enter};
    use super::*;
    use tsutsumi_api::resolver_policy::RolloutState;

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
            edition: 3,
            led: Some("Managed".into()),
            baseline: vec![BaselinePod {
                name: "coredns-1".into(),
                reloads_failed: Some(2),
            }],
        };
        assert_eq!(Record::parse(&record.data(&slot())).unwrap(), record);
    }

    #[test]
    fn a_text_that_pods_may_show_already_gets_another_identity() {
        let change = |candidate: &str| Change {
            slot: slot(),
            present: "theirs".into(),
            candidate: candidate.into(),
            identity: Some(candidate.into()),
            ownership: Ownership::default(),
            lines: vec![],
            present_is_ours: false,
            leads_elsewhere: false,
            led: None,
        };
        let at = Circumstances {
            now: jiff::Timestamp::UNIX_EPOCH,
            generation: 1,
            image: "coredns:1",
        };
        let record = Record {
            previous: Some("before".into()),
            candidate: Some("ours".into()),
            edition: 4,
            ..Record::default()
        };
        let edition = |candidate, state, identity| {
            let rollout = enter(state, identity, "", None, at);
            record.beginning(&change(candidate), Some(&rollout)).edition
        };
        for (candidate, state, identity, wanted, why) in [
            (
                "ours",
                RolloutState::Settled,
                "ours",
                5,
                "others put theirs over it",
            ),
            ("before", RolloutState::Written, "ours", 5, "a change of mind"),
            ("new", RolloutState::Settled, "ours", 4, "nobody knows it"),
            ("ours", RolloutState::HeldBack, "ours", 4, "no pod ever loaded it"),
            (
                "ours",
                RolloutState::Settled,
                "older",
                4,
                "it was prepared and never written",
            ),
        ] {
            assert_eq!(edition(candidate, state, identity), wanted, "{why}");
        }
        let back = Change {
            identity: None,
            ..change("before")
        };
        assert_eq!(record.beginning(&back, None).edition, 4);
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
