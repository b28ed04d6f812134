//! Which published holes an Unbound release has.

use crate::release;
use std::fmt;
use std::str::FromStr;

/// A release, such as 1.26.2. What follows the third number (`-0+deb13u1`) names a rebuild and does not count.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct UnboundVersion {
    major: u16,
    minor: u16,
    patch: u16,
}

/// Not a version.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("an Unbound version looks like `1.26.2`, not {0:?}")]
pub struct NotAVersion(String);

/// The oldest release that a managed resolver may run.
pub const OLDEST_SOUND: UnboundVersion = UnboundVersion::new(1, 26, 2);

impl UnboundVersion {
    /// The release with these numbers.
    #[must_use]
    pub const fn new(major: u16, minor: u16, patch: u16) -> Self {
        Self { major, minor, patch }
    }

    /// Published holes that this release has.
    #[must_use]
    pub fn known_holes(self) -> Vec<KnownHole> {
        HOLES
            .iter()
            .copied()
            .filter(|hole| self < hole.fixed_in)
            .collect()
    }
}

impl FromStr for UnboundVersion {
    type Err = NotAVersion;

    fn from_str(text: &str) -> Result<Self, NotAVersion> {
        let [major, minor, patch] = release::numbers(text).ok_or_else(|| NotAVersion(text.to_owned()))?;
        Ok(Self::new(major, minor, patch))
    }
}

impl fmt::Display for UnboundVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// A published hole.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct KnownHole {
    /// CVE number.
    pub id: &'static str,
    /// First release without it.
    pub fixed_in: UnboundVersion,
    /// What an attacker gains.
    pub what: &'static str,
}

/// From `doc/Changelog` of Unbound.
const HOLES: [KnownHole; 4] = [
    KnownHole {
        id: "CVE-2026-50252",
        fixed_in: UnboundVersion::new(1, 25, 2),
        what: "cache poisoning: source ports can be mapped per thread",
    },
    KnownHole {
        id: "CVE-2026-44690",
        fixed_in: UnboundVersion::new(1, 25, 2),
        what: "cache poisoning through wildcards",
    },
    KnownHole {
        id: "CVE-2026-81642",
        fixed_in: UnboundVersion::new(1, 26, 1),
        what: "a DNSKEY overflows the heap and may run code",
    },
    KnownHole {
        id: "CVE-2026-109125",
        fixed_in: OLDEST_SOUND,
        what: "cache poisoning: unwanted-reply-threshold is a side channel",
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_and_holes() {
        let holes = |text: &str| text.parse::<UnboundVersion>().unwrap().known_holes().len();
        assert_eq!(
            ["1.17.1", "1.25.2", "1.26.1", "1.26.2-0+deb13u1"].map(holes),
            [4, 2, 1, 0]
        );
        for bad in ["", "1.26", "v1.26.2", "1.26.x", "1.26.2.1"] {
            assert!(bad.parse::<UnboundVersion>().is_err(), "{bad}");
        }
    }
}
