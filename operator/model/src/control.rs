//! The identity of a control, the states a result can have, and from where it was seen.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A control of the catalogue. Adding one here makes every table that lists controls fail to compile until it is there.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
pub enum ControlId {
    /// Only internal clients are answered.
    #[serde(rename = "DNS-01")]
    Dns01,
    /// Answers stay within 1,232 bytes over UDP.
    #[serde(rename = "DNS-02")]
    Dns02,
    /// Source ports cannot be guessed at the resolver.
    #[serde(rename = "DNS-03")]
    Dns03,
    /// Source ports cannot be guessed after NAT.
    #[serde(rename = "DNS-04")]
    Dns04,
    /// Signatures are validated.
    #[serde(rename = "DNS-05")]
    Dns05,
    /// The resolver starts from the keys that the root has.
    #[serde(rename = "DNS-06")]
    Dns06,
    /// The resolver starts from the servers that the root has.
    #[serde(rename = "DNS-07")]
    Dns07,
    /// No amplification.
    #[serde(rename = "DNS-09")]
    Dns09,
    /// No path around cluster DNS.
    #[serde(rename = "DNS-11")]
    Dns11,
    /// The resolver's version is free of known holes.
    #[serde(rename = "DNS-12")]
    Dns12,
}

impl ControlId {
    /// Every control, in the order of the catalogue.
    pub const ALL: [Self; 10] = [
        Self::Dns01,
        Self::Dns02,
        Self::Dns03,
        Self::Dns04,
        Self::Dns05,
        Self::Dns06,
        Self::Dns07,
        Self::Dns09,
        Self::Dns11,
        Self::Dns12,
    ];

    /// The id as it stands in reports, for example `DNS-01`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Dns01 => "DNS-01",
            Self::Dns02 => "DNS-02",
            Self::Dns03 => "DNS-03",
            Self::Dns04 => "DNS-04",
            Self::Dns05 => "DNS-05",
            Self::Dns06 => "DNS-06",
            Self::Dns07 => "DNS-07",
            Self::Dns09 => "DNS-09",
            Self::Dns11 => "DNS-11",
            Self::Dns12 => "DNS-12",
        }
    }
}

impl fmt::Display for ControlId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for ControlId {
    type Err = UnknownControl;

    fn from_str(text: &str) -> Result<Self, UnknownControl> {
        Self::ALL
            .into_iter()
            .find(|id| id.as_str() == text)
            .ok_or_else(|| UnknownControl(text.to_owned()))
    }
}

/// The text names no control of the catalogue.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{0}` is not a control; the catalogue has DNS-01 to DNS-07, DNS-09, DNS-11 and DNS-12")]
pub struct UnknownControl(pub String);

/// What a control's evaluation came to. Nothing that was not tested is ever `Pass`.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
pub enum ControlState {
    /// A dated statement by a person, for what no probe can see.
    Attested,
    /// A probe saw the property violated.
    Fail,
    /// It could not be told; the message says what is missing.
    Indeterminate,
    /// The policy does not ask for it, or there is nothing to which it applies; the message says which.
    NotApplicable,
    /// Probes saw the property hold.
    Pass,
    /// This platform has no lever for it; the message names the platform's own setting.
    Unsupported,
    /// Failed, and a valid exception covers it.
    Waived,
}

impl ControlState {
    /// The state as it stands in the status and in metric labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Attested => "Attested",
            Self::Fail => "Fail",
            Self::Indeterminate => "Indeterminate",
            Self::NotApplicable => "NotApplicable",
            Self::Pass => "Pass",
            Self::Unsupported => "Unsupported",
            Self::Waived => "Waived",
        }
    }
}

impl fmt::Display for ControlState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// From where something was seen.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Vantage {
    /// A prober in a pod of the cluster.
    Inside,
    /// A prober at an address that the policy does not serve.
    Outside,
}

impl fmt::Display for Vantage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Inside => "inside",
            Self::Outside => "outside",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_id_reads_back_and_serialises_as_it_displays() {
        for id in ControlId::ALL {
            assert_eq!(id.as_str().parse(), Ok(id));
            assert_eq!(serde_json::to_value(id).unwrap(), serde_json::json!(id.as_str()));
        }
    }

    #[test]
    fn an_unknown_id_is_named_in_the_error() {
        assert_eq!(
            "DNS-99".parse::<ControlId>(),
            Err(UnknownControl("DNS-99".into()))
        );
    }
}
