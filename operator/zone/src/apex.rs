//! The name of a zone that leaves room for the names below it.

use std::{fmt, str::FromStr};

use hickory_proto::rr::Name;
use tsutsumi_model::{DomainName, NameError};

/// A zone's name: with a marked label, `insecure` and the octet of a denial in front it still is a name (RFC 1035,
/// 3.1), and the text that reflects one fits a string.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Apex {
    name: DomainName,
    wire: Name,
}

/// The text names no zone of ours.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ApexError {
    /// No marked name would fit below.
    #[error(
        "`{name}` has {length} octets; the name of a probe zone may have {LONGEST}, for example `probe.tsutsumi.test`"
    )]
    Long {
        /// The name.
        name: DomainName,
        /// Its length.
        length: usize,
    },
    /// It is no domain name.
    #[error(transparent)]
    Name(#[from] NameError),
}

/// In octets of text.
const LONGEST: usize = 128;

impl Apex {
    /// The name.
    #[must_use]
    pub const fn name(&self) -> &DomainName {
        &self.name
    }

    pub(crate) const fn wire(&self) -> &Name {
        &self.wire
    }
}

impl TryFrom<DomainName> for Apex {
    type Error = ApexError;

    fn try_from(name: DomainName) -> Result<Self, ApexError> {
        let length = name.as_str().len();
        match Name::from_labels(name.as_str().split('.').map(str::as_bytes)) {
            Ok(wire) if length <= LONGEST => Ok(Self { name, wire }),
            _ => Err(ApexError::Long { name, length }),
        }
    }
}

impl FromStr for Apex {
    type Err = ApexError;

    fn from_str(text: &str) -> Result<Self, ApexError> {
        text.parse::<DomainName>()?.try_into()
    }
}

impl fmt::Display for Apex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.name.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_leaves_no_room_is_refused() {
        assert_eq!(
            "Probe.Tsutsumi.test.".parse::<Apex>().unwrap().to_string(),
            "probe.tsutsumi.test"
        );
        let long = format!("{}.test", ["a".repeat(62), "b".repeat(62)].join("."));
        assert!(
            matches!(long.parse::<Apex>(), Err(ApexError::Long { length: 130, .. })),
            "{long}"
        );
        assert!(matches!("a b".parse::<Apex>(), Err(ApexError::Name(_))));
    }
}
