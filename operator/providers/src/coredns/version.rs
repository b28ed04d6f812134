//! What a CoreDNS version can do, what its `acl` is worth, and which published holes it has.
//!
//! The effective order of plugins is fixed when CoreDNS is built (`plugin.cfg`); a Corefile cannot change it.

use crate::release;
use std::fmt;
use std::str::FromStr;

/// A release, such as 1.14.7. What follows the third number (`-eksbuild.1`) names a rebuild and does not count.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct CoreDnsVersion {
    major: u16,
    minor: u16,
    patch: u16,
}

/// Not a version.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a CoreDNS version looks like `1.14.7` or `v1.14.7`, not {0:?}")]
pub struct NotAVersion(String);

impl CoreDnsVersion {
    /// The release with these numbers.
    #[must_use]
    pub const fn new(major: u16, minor: u16, patch: u16) -> Self {
        Self { major, minor, patch }
    }

    /// What `acl` is worth in this release, by its place among the plugins.
    #[must_use]
    pub fn acl_protection(self) -> AclProtection {
        if self >= ACL_SOUND {
            AclProtection::Sound
        } else if self >= REWRITE_BEFORE_ACL {
            AclProtection::CacheLeaks { fixed_in: ACL_SOUND }
        } else {
            // `acl` guards the cache again, yet what `rewrite` makes of a query is not judged.
            AclProtection::RewriteBypass { fixed_in: ACL_SOUND }
        }
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

const ACL_SOUND: CoreDnsVersion = CoreDnsVersion::new(1, 14, 7);
const REWRITE_BEFORE_ACL: CoreDnsVersion = CoreDnsVersion::new(1, 14, 2);

impl FromStr for CoreDnsVersion {
    type Err = NotAVersion;

    fn from_str(text: &str) -> Result<Self, NotAVersion> {
        let [major, minor, patch] = release::numbers(text.strip_prefix('v').unwrap_or(text))
            .ok_or_else(|| NotAVersion(text.to_owned()))?;
        Ok(Self::new(major, minor, patch))
    }
}

impl fmt::Display for CoreDnsVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// Whether a blocked client is really not answered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AclProtection {
    /// Blocked clients read cached answers: `cache` precedes `acl` (coredns PR #8289).
    CacheLeaks {
        /// First sound release.
        fixed_in: CoreDnsVersion,
    },
    /// A `rewrite` behind `acl` lets a query through that `acl` would block (GHSA-c9v3-4pv7-87pr, PR #7882).
    RewriteBypass {
        /// First sound release; 1.14.2 closed this and opened the leak of cached answers.
        fixed_in: CoreDnsVersion,
    },
    /// `acl` precedes `cache` and follows `rewrite` and `autopath`.
    Sound,
}

/// A published hole.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct KnownHole {
    /// CVE or GHSA number.
    pub id: &'static str,
    /// First release without it.
    pub fixed_in: CoreDnsVersion,
    /// What an attacker gains.
    pub what: &'static str,
}

/// From the advisories of coredns/coredns and the CVE list.
const HOLES: [KnownHole; 5] = [
    KnownHole {
        id: "CVE-2026-26017",
        fixed_in: REWRITE_BEFORE_ACL,
        what: "a rewrite bypasses acl (GHSA-c9v3-4pv7-87pr)",
    },
    KnownHole {
        id: "CVE-2026-32934",
        fixed_in: CoreDnsVersion::new(1, 14, 3),
        what: "memory grows without bound under DNS over QUIC",
    },
    KnownHole {
        id: "CVE-2026-35579",
        fixed_in: CoreDnsVersion::new(1, 14, 3),
        what: "TSIG can be bypassed",
    },
    KnownHole {
        id: "CVE-2026-82399",
        fixed_in: ACL_SOUND,
        what: "unpacking a message exhausts memory",
    },
    KnownHole {
        id: "CVE-2026-86003",
        fixed_in: ACL_SOUND,
        what: "UPDATE messages are forwarded from DoH, DoQ and gRPC",
    },
];

/// What exists in a release, from the release notes in `notes/` of coredns/coredns.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Capabilities {
    version: Option<CoreDnsVersion>,
}

/// Something that a release may lack.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Feature {
    /// Plugin `acl`, 1.6.4.
    Acl,
    /// Action `drop` of `acl`, 1.10.1.
    AclDrop,
    /// Action `filter` of `acl`, 1.8.2.
    AclFilter,
    /// Plugin `bufsize`, 1.6.6.
    BufSize,
    /// Option `failfast_all_unhealthy_upstreams` of `forward`, 1.12.1.
    FailFast,
    /// Option `max_concurrent` of `forward`, 1.6.9.
    MaxConcurrent,
    /// Plugin `nsid`, 1.1.0.
    Nsid,
}

impl Feature {
    /// The release that brought it.
    #[must_use]
    pub fn since(self) -> CoreDnsVersion {
        match self {
            Self::Acl => CoreDnsVersion::new(1, 6, 4),
            Self::AclDrop => CoreDnsVersion::new(1, 10, 1),
            Self::AclFilter => CoreDnsVersion::new(1, 8, 2),
            Self::BufSize => CoreDnsVersion::new(1, 6, 6),
            Self::FailFast => CoreDnsVersion::new(1, 12, 1),
            Self::MaxConcurrent => CoreDnsVersion::new(1, 6, 9),
            Self::Nsid => CoreDnsVersion::new(1, 1, 0),
        }
    }
}

impl Capabilities {
    /// Of a known release.
    #[must_use]
    pub fn of(version: CoreDnsVersion) -> Self {
        Self {
            version: Some(version),
        }
    }

    /// Of a release that could not be read: everything a supported release has; the canary will tell.
    #[must_use]
    pub fn unknown() -> Self {
        Self { version: None }
    }

    /// Whether the release has it.
    #[must_use]
    pub fn has(self, feature: Feature) -> bool {
        self.version.is_none_or(|version| version >= feature.since())
    }

    /// Whether the plugin answers by itself before `acl` is asked: `any` and `chaos` since 1.14.2.
    #[must_use]
    pub fn answers_before_acl(self, plugin: &str) -> bool {
        matches!(plugin, "any" | "chaos") && self.version.is_none_or(|version| version >= REWRITE_BEFORE_ACL)
    }

    /// Whether a second `dnstap` in a server block leaves the first one in force: since 1.10.1 (PR #5773). A release that
    /// is not known may be an older one.
    #[must_use]
    pub fn taps_twice(self) -> bool {
        self.version
            .is_some_and(|version| version >= CoreDnsVersion::new(1, 10, 1))
    }

    /// Bytes that a bare `bufsize` means: 512 up to 1.10.1, 1232 since 1.11.0; `None` if the release is not known.
    #[must_use]
    pub fn default_bufsize(self) -> Option<u16> {
        self.version.map(|version| {
            if version >= CoreDnsVersion::new(1, 11, 0) {
                1232
            } else {
                512
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> CoreDnsVersion {
        text.parse().unwrap()
    }

    #[test]
    fn versions() {
        assert_eq!(version("v1.11.4-eksbuild.2"), CoreDnsVersion::new(1, 11, 4));
        assert!(version("1.9.4") < version("1.14.0"));
        for bad in ["", "1.14", "latest", "1.14.x", "1.14.7.1", "1.+4.7"] {
            assert!(bad.parse::<CoreDnsVersion>().is_err(), "{bad}");
        }
    }

    #[test]
    fn acl_by_release() {
        let fixed_in = version("1.14.7");
        assert_eq!(
            version("1.14.1").acl_protection(),
            AclProtection::RewriteBypass { fixed_in }
        );
        assert_eq!(
            version("1.14.2").acl_protection(),
            AclProtection::CacheLeaks { fixed_in }
        );
        assert_eq!(
            version("1.14.6").acl_protection(),
            AclProtection::CacheLeaks { fixed_in }
        );
        assert_eq!(version("1.14.7").acl_protection(), AclProtection::Sound);
        assert_eq!(version("1.15.0").acl_protection(), AclProtection::Sound);
    }

    #[test]
    fn holes_and_features() {
        assert!(version("1.14.7").known_holes().is_empty());
        assert_eq!(version("1.14.6").known_holes().len(), 2);
        assert_eq!(version("1.14.1").known_holes().len(), 5);
        assert!(!Capabilities::of(version("1.10.0")).has(Feature::AclDrop));
        assert!(Capabilities::unknown().has(Feature::AclDrop));
        assert_eq!(Capabilities::of(version("1.10.1")).default_bufsize(), Some(512));
        assert!(Capabilities::of(version("1.10.1")).taps_twice());
        assert!(!Capabilities::of(version("1.10.0")).taps_twice() && !Capabilities::unknown().taps_twice());
    }
}
