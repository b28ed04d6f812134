//! A domain name that is safe to put into a query, a configuration file or a report.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A fully qualified domain name in presentation form, lower case, without the final dot (RFC 1035, 2.3.4).
///
/// Labels are letters, digits, hyphens and underscores: what tsutsumi itself asks for or writes. Names seen on the
/// wire are another matter and never become this type.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct DomainName(String);

impl DomainName {
    /// The name as text, without the final dot.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name with one more label in front.
    ///
    /// # Errors
    /// If the label is no label, or the whole gets longer than 253 octets.
    pub fn child(&self, label: &str) -> Result<Self, NameError> {
        format!("{label}.{}", self.0).parse()
    }

    /// The name without its first label; none for a single label.
    #[must_use]
    pub fn parent(&self) -> Option<&str> {
        self.0.split_once('.').map(|(_, parent)| parent)
    }

    /// Whether it is that name, or stands below it.
    #[must_use]
    pub fn is_within(&self, zone: &Self) -> bool {
        self.0
            .strip_suffix(zone.as_str())
            .is_some_and(|front| front.is_empty() || front.ends_with('.'))
    }
}

impl fmt::Display for DomainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for DomainName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        if name.is_empty() || name.len() > 253 {
            return Err(NameError {
                name,
                problem: "must have 1 to 253 octets",
            });
        }
        let problem = name.split('.').find_map(|label| {
            if label.is_empty() || label.len() > 63 {
                Some("every label must have 1 to 63 octets")
            } else if !label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            {
                Some("labels may hold letters, digits, hyphens and underscores")
            } else {
                None
            }
        });
        match problem {
            Some(problem) => Err(NameError { name, problem }),
            None => Ok(Self(name)),
        }
    }
}

impl TryFrom<String> for DomainName {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<DomainName> for String {
    fn from(name: DomainName) -> Self {
        name.0
    }
}

/// The text is not a domain name.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{name}` is not a domain name: {problem}")]
pub struct NameError {
    name: String,
    problem: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_lowered_and_lose_the_final_dot() {
        assert_eq!(
            "Kubernetes.Default.svc.".parse::<DomainName>().unwrap().as_str(),
            "kubernetes.default.svc"
        );
    }

    #[test]
    fn what_could_break_out_of_a_configuration_is_refused() {
        for text in [
            "",
            ".",
            "a..b",
            "a b",
            "a\nb",
            "a{b",
            "a\"b",
            "ü.test",
            &"a".repeat(64),
            &"a.".repeat(128)[..],
        ] {
            assert!(text.parse::<DomainName>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_name_is_within_a_zone_by_whole_labels() {
        let within = |name: &str, zone: &str| {
            let name: DomainName = name.parse().unwrap();
            name.is_within(&zone.parse().unwrap())
        };
        assert!(within("a.b.test", "b.test") && within("b.test", "b.test"));
        assert!(!within("ab.test", "b.test") && !within("test", "b.test"));
    }

    #[test]
    fn a_child_is_checked_too() {
        let apex: DomainName = "example.test".parse().unwrap();
        assert_eq!(apex.child("www").unwrap().as_str(), "www.example.test");
        assert!(apex.child("w w").is_err());
    }
}
