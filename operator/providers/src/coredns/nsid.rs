//! `nsid [DATA]`: the identity that every answer carries on request (RFC 5001). Ours tells which text a pod runs.
//!
//! A second `nsid` in a block is fatal (`plugin/nsid/setup.go`), so a foreign one is kept and ours not written.

use super::corefile::{Block, Directive};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fmt;

/// `tsutsumi-` and twelve hexadecimal digits of the text's SHA-256, its edition included.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(try_from = "String", into = "String")]
pub struct Nsid([u8; 12]);

const PREFIX: &str = "tsutsumi-";

impl Nsid {
    /// Stands where the hash goes while the hash is being taken.
    pub const BLANK: Self = Self([b'0'; 12]);

    /// The identity of a text in which it is still blank.
    #[must_use]
    pub fn of_text(blank: &str, edition: u32) -> Self {
        let mut hash = Sha256::new_with_prefix(blank);
        // The first one goes without a number, as every text did before there were editions.
        if edition > 0 {
            hash.update(edition.to_be_bytes());
        }
        Self::of_hash(&hash.finalize())
    }

    /// The identity of a text of which this is the hash.
    #[must_use]
    pub fn of_hash(hash: &[u8]) -> Self {
        let digit = |half: u8| if half < 10 { b'0' + half } else { b'a' + half - 10 };
        let mut digits = Self::BLANK.0;
        for (pair, byte) in digits.chunks_exact_mut(2).zip(hash) {
            pair.copy_from_slice(&[digit(byte >> 4), digit(byte & 15)]);
        }
        Self(digits)
    }

    /// Reads an identity that we may have written; `None` for any other text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits: [u8; 12] = text.strip_prefix(PREFIX)?.as_bytes().try_into().ok()?;
        digits
            .iter()
            .all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
            .then_some(Self(digits))
    }
}

impl fmt::Display for Nsid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PREFIX)?;
        self.0
            .iter()
            .try_for_each(|digit| write!(f, "{}", char::from(*digit)))
    }
}

impl From<Nsid> for String {
    fn from(nsid: Nsid) -> Self {
        nsid.to_string()
    }
}

/// The text is not an identity of ours.
#[derive(Debug, thiserror::Error)]
#[error("an identity is `tsutsumi-` and twelve lower-case hexadecimal digits, not {0:?}")]
pub struct NotOurs(String);

impl TryFrom<String> for Nsid {
    type Error = NotOurs;

    fn try_from(text: String) -> Result<Self, NotOurs> {
        Self::parse(&text).ok_or(NotOurs(text))
    }
}

/// What a block's `nsid` directive answers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Shown {
    /// An identity of our form.
    Ours(Nsid),
    /// The data that somebody else chose.
    Foreign(String),
    /// The host's name, the default without data.
    HostName,
}

/// What one directive makes the server answer.
#[must_use]
pub fn shown(directive: &Directive) -> Shown {
    let args = directive.args();
    match args.as_slice() {
        [] => Shown::HostName,
        [one] => Nsid::parse(one).map_or_else(|| Shown::Foreign((*one).to_owned()), Shown::Ours),
        many => Shown::Foreign(many.join(" ")),
    }
}

/// The block's identity, if it has one.
#[must_use]
pub fn of(block: &Block) -> Option<Shown> {
    block.named("nsid").next().map(shown)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coredns::corefile::Corefile;

    #[test]
    fn forms() {
        let shown = |args: &str| {
            of(&Corefile::parse(&format!(". {{\n nsid {args}\n}}\n"))
                .unwrap()
                .blocks()[0])
        };
        let ours = Nsid::of_hash(&[0x1f; 32]);
        assert_eq!(ours.to_string(), "tsutsumi-1f1f1f1f1f1f");
        assert_eq!(shown("tsutsumi-1f1f1f1f1f1f"), Some(Shown::Ours(ours)));
        assert_eq!(
            shown("tsutsumi-1F1f1f1f1f1f"),
            Some(Shown::Foreign("tsutsumi-1F1f1f1f1f1f".into()))
        );
        assert_eq!(shown("a b"), Some(Shown::Foreign("a b".into())));
        assert_eq!(shown(""), Some(Shown::HostName));
    }

    #[test]
    fn editions_of_one_text_are_told_apart() {
        let of = |edition| Nsid::of_text(". {\n}\n", edition);
        assert_eq!(of(0), Nsid::of_hash(&Sha256::digest(". {\n}\n")));
        assert_ne!(of(0), of(1));
        assert_ne!(of(1), of(2));
    }
}
