//! What is kept of a verdict: the newest pass and the newest failure of each control, in canonical form.
//!
//! Canonical: UTF-8 JSON without white space, keys sorted by their bytes, numbers as `serde_json` prints them. The
//! digest in a status is the SHA-256 of exactly the bytes that the ConfigMap holds, so `sha256sum` can check it.

use std::{collections::BTreeMap, fmt::Write};

use jiff::Timestamp;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tsutsumi_model::{ControlId, ControlState, Evidence, Heard, Observation, Verdict};

/// The most bytes of one piece of evidence. Two for each control stay below the 1 MiB of a ConfigMap.
pub const MAX_BYTES: usize = 40 * 1024;

/// The name and braces of the map of what was heard.
const ROOM_FOR_HEARD: usize = 16;
/// The number of a probe as a key, with its marks.
const ROOM_FOR_NUMBER: usize = 16;

/// The evidence could not be written down.
#[derive(Debug, thiserror::Error)]
#[error("serialising the evidence of {control}")]
pub struct EvidenceError {
    control: ControlId,
    source: serde_json::Error,
}

/// What a verdict rests on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Behind {
    /// The observations that decided it.
    pub observations: Vec<Observation>,
    /// What a probe zone heard of them, by the number of the probe.
    pub heard: BTreeMap<u32, Heard>,
}

/// A piece of evidence as it is kept.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Kept {
    /// Where in the ConfigMap; `None` for states of which nothing is kept.
    pub key: Option<String>,
    /// The canonical text.
    pub text: String,
    /// SHA-256 of the text, in hexadecimal.
    pub digest: String,
}

/// Puts a verdict and what it rests on into canonical form. Where all of it would be too much, the last observations are
/// left out, each with what was heard of it; the verdict stays whole.
///
/// # Errors
/// If a value has no form in JSON, which no value of ours is.
pub fn keep(
    verdict: Verdict,
    behind: Behind,
    checked_at: Timestamp,
    valid_until: Timestamp,
) -> Result<Kept, EvidenceError> {
    let control = verdict.control;
    let key = key(control, verdict.state);
    let to_value = |evidence: &Evidence| {
        serde_json::to_value(evidence).map_err(|source| EvidenceError { control, source })
    };
    let mut evidence = Evidence {
        checked_at,
        valid_until,
        verdict,
        observations: Vec::new(),
        heard: BTreeMap::new(),
    };
    let Behind {
        observations,
        mut heard,
    } = behind;
    let mut size = canonical(&to_value(&evidence)?).len() + ROOM_FOR_HEARD;
    for observation in observations {
        let id = observation.probe.id;
        let heard = heard.remove(&id);
        let value = serde_json::to_value((&observation, &heard))
            .map_err(|source| EvidenceError { control, source })?;
        size += canonical(&value).len() + ROOM_FOR_NUMBER;
        if size > MAX_BYTES {
            break;
        }
        evidence.observations.push(observation);
        evidence.heard.extend(heard.map(|heard| (id, heard)));
    }
    let text = canonical(&to_value(&evidence)?);
    Ok(Kept {
        key,
        digest: digest(&text),
        text,
    })
}

/// A text that stands beside the evidence: the newest counts.
#[must_use]
pub fn beside(key: &str, text: &str) -> Kept {
    Kept {
        key: Some(key.to_owned()),
        text: text.to_owned(),
        digest: digest(text),
    }
}

/// The ConfigMap's data with new evidence in it: of each key the newest stays, and keys that are not ours stay as they
/// are.
#[must_use]
pub fn merge(data: &BTreeMap<String, String>, new: &[Kept]) -> BTreeMap<String, String> {
    let mut merged = data.clone();
    for kept in new {
        let Some(key) = &kept.key else { continue };
        let newer_is_there = merged
            .get(key)
            .and_then(|text| checked_at(text))
            .zip(checked_at(&kept.text))
            .is_some_and(|(there, ours)| there > ours);
        if !newer_is_there {
            merged.insert(key.clone(), kept.text.clone());
        }
    }
    merged
}

/// SHA-256 of a text, in hexadecimal.
#[must_use]
pub fn digest(text: &str) -> String {
    Sha256::digest(text.as_bytes())
        .iter()
        .fold(String::new(), |mut hex, byte| {
            // Writing to a string cannot fail.
            let _ = write!(hex, "{byte:02x}");
            hex
        })
}

/// Where evidence of this kind is kept.
fn key(control: ControlId, state: ControlState) -> Option<String> {
    let kind = match state {
        ControlState::Pass => "pass",
        ControlState::Fail | ControlState::Waived => "fail",
        ControlState::Attested
        | ControlState::Indeterminate
        | ControlState::NotApplicable
        | ControlState::Unsupported => return None,
    };
    Some(format!("{control}.{kind}.json"))
}

/// When a kept text was checked; `None` if it cannot be read, and then it may be replaced.
fn checked_at(text: &str) -> Option<Timestamp> {
    let evidence: Value = serde_json::from_str(text).ok()?;
    evidence.get("checkedAt")?.as_str()?.parse().ok()
}

/// JSON without white space and with sorted keys, whatever order the maps of `serde_json` have in this build.
fn canonical(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let sorted: BTreeMap<&String, &Value> = fields.iter().collect();
            let fields: Vec<String> = sorted
                .into_iter()
                .map(|(name, value)| format!("{}:{}", Value::from(name.as_str()), canonical(value)))
                .collect();
            format!("{{{}}}", fields.join(","))
        }
        Value::Array(items) => {
            format!("[{}]", items.iter().map(canonical).collect::<Vec<_>>().join(","))
        }
        scalar => scalar.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::fixture::{heard, observation};

    fn verdict(state: ControlState) -> Verdict {
        Verdict {
            control: ControlId::Dns02,
            state,
            expected: "e".into(),
            observed: "o".into(),
            message: "堤".into(),
            vantages: vec![],
        }
    }

    /// The observations, each with something heard of it.
    fn behind(observations: impl IntoIterator<Item = Observation>) -> Behind {
        let observations: Vec<Observation> = observations.into_iter().collect();
        let numbers = observations.iter().map(|observation| observation.probe.id);
        Behind {
            heard: numbers.map(|id| (id, heard())).collect(),
            observations,
        }
    }

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_second(minute * 60).unwrap()
    }

    fn kept(state: ControlState, minute: i64) -> Kept {
        keep(verdict(state), Behind::default(), at(minute), at(minute + 15)).unwrap()
    }

    #[test]
    fn the_form_is_fixed() {
        let kept = kept(ControlState::Pass, 0);
        assert_eq!(
            kept.text,
            concat!(
                r#"{"checkedAt":"1970-01-01T00:00:00Z","observations":[],"validUntil":"1970-01-01T00:15:00Z","#,
                r#""verdict":{"control":"DNS-02","expected":"e","message":"堤","observed":"o","state":"Pass","vantages":[]}}"#
            )
        );
        assert_eq!(kept.key.as_deref(), Some("DNS-02.pass.json"));
        // sha256sum of the text above.
        assert_eq!(kept.digest, digest(&kept.text));
        assert_eq!(
            digest("abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            "the example of FIPS 180-2"
        );
    }

    #[test]
    fn what_is_kept_reads_back() {
        let text = keep(
            verdict(ControlState::Fail),
            behind([observation(7)]),
            at(1),
            at(2),
        )
        .unwrap()
        .text;
        let evidence: Evidence = serde_json::from_str(&text).unwrap();
        assert_eq!(evidence.observations, [observation(7)]);
        assert_eq!(evidence.heard, behind([observation(7)]).heard);
        assert_eq!(evidence.verdict, verdict(ControlState::Fail));
    }

    #[test]
    fn the_newest_pass_and_the_newest_failure_stay() {
        use ControlState::{Fail, Indeterminate, Pass};
        let foreign = BTreeMap::from([("note".to_owned(), "of somebody".to_owned())]);
        let first = merge(&foreign, &[kept(Pass, 1), kept(Fail, 2)]);
        assert_eq!(
            first.keys().collect::<Vec<_>>(),
            ["DNS-02.fail.json", "DNS-02.pass.json", "note"]
        );
        let later = merge(&first, &[kept(Pass, 3)]);
        assert_eq!(later["DNS-02.pass.json"], kept(Pass, 3).text);
        assert_eq!(later["DNS-02.fail.json"], kept(Fail, 2).text);
        assert_eq!(
            merge(&later, &[kept(Pass, 2), kept(Indeterminate, 9)]),
            later,
            "older or undecided"
        );
        assert_eq!(merge(&later, &[kept(Pass, 3)]), later, "the same again");
        let broken = BTreeMap::from([("DNS-02.pass.json".to_owned(), "{".to_owned())]);
        assert_eq!(
            merge(&broken, &[kept(Pass, 1)])["DNS-02.pass.json"],
            kept(Pass, 1).text
        );
    }

    #[test]
    fn the_size_is_bounded_and_the_verdict_whole() {
        let kept = keep(
            verdict(ControlState::Fail),
            behind((0..2000).map(observation)),
            at(1),
            at(2),
        )
        .unwrap();
        assert!(kept.text.len() <= MAX_BYTES, "{}", kept.text.len());
        let evidence: Evidence = serde_json::from_str(&kept.text).unwrap();
        assert!(
            evidence.observations.len() > 10,
            "{}",
            evidence.observations.len()
        );
        assert_eq!(evidence.verdict, verdict(ControlState::Fail));
    }

    #[test]
    fn every_control_fits_into_one_config_map() {
        assert!(ControlId::ALL.len() * 2 * MAX_BYTES < 1_000_000);
    }
}
