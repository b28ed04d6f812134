//! The keyed mark in every name that is asked for in a probe zone.
//!
//! A name carries what it is for, to which sample it belongs and until when it counts, sealed with a key that only the
//! asker and the zone hold. So a zone tells its own questions from replayed and invented ones, and keeps nothing in
//! between. Case plays no part: resolvers may change it (draft-vixie-dnsext-dns0x20).

use std::fmt;

use hmac::{Hmac, Mac, digest::KeyInit};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::{DomainName, NameError};

/// The label of the unsigned zone below a probe zone.
pub const INSECURE_ZONE: &str = "insecure";

/// The answer that a probe zone gives to a name.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub enum ZoneName {
    /// A short answer that no cache keeps, to sample how a resolver asks.
    Port,
    /// A good signature.
    Good,
    /// A signature with one bit changed.
    Bogus,
    /// A signature that is over.
    Expired,
    /// A signature that has not begun.
    Early,
    /// No signature, though the zone is signed.
    Stripped,
    /// A name of an unsigned zone below, with a proof that it is unsigned.
    Insecure,
    /// No such name, proven by NSEC.
    Absent,
    /// A text of over 1,232 bytes.
    Big,
    /// A good answer that comes late.
    Slow,
    /// A good signature, also at a name below it that asks which keys of the root are trusted (RFC 8509).
    Sentinel,
    /// An alias to an alias, and so on, to a good name.
    Chain,
}

impl ZoneName {
    /// Every kind of name.
    pub const ALL: [Self; 12] = [
        Self::Port,
        Self::Good,
        Self::Bogus,
        Self::Expired,
        Self::Early,
        Self::Stripped,
        Self::Insecure,
        Self::Absent,
        Self::Big,
        Self::Slow,
        Self::Sentinel,
        Self::Chain,
    ];

    /// The word that begins the label.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Port => "port",
            Self::Good => "good",
            Self::Bogus => "bogus",
            Self::Expired => "expired",
            Self::Early => "early",
            Self::Stripped => "stripped",
            Self::Insecure => "insecure",
            Self::Absent => "absent",
            Self::Big => "big",
            Self::Slow => "slow",
            Self::Sentinel => "sentinel",
            Self::Chain => "chain",
        }
    }
}

/// What a marked name says.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Mark {
    /// How it is answered.
    pub name: ZoneName,
    /// Which measurement it belongs to: chosen at random by the asker.
    pub sample: u32,
    /// Which of the measurement's questions it is; for [`ZoneName::Chain`], how many aliases are still to come.
    pub number: u16,
    /// Until when it counts, in seconds of Unix time.
    pub expires: u32,
}

impl Mark {
    /// The whole name in a probe zone; names without a signature stand in a zone of their own below it.
    ///
    /// # Errors
    /// If it gets too long.
    pub fn name_in(&self, zone: &DomainName, key: &MarkKey) -> Result<DomainName, NameError> {
        let label = self.label(key);
        match self.name {
            ZoneName::Insecure => zone.child(INSECURE_ZONE)?.child(&label),
            _ => zone.child(&label),
        }
    }

    /// The label that says so: letters, digits and hyphens, at most 63 octets.
    #[must_use]
    pub fn label(&self, key: &MarkKey) -> String {
        let claim = self.claim();
        let seal = key.seal(&claim);
        format!("{claim}-{seal}")
    }

    /// Reads a label, in any case, at `now`, in seconds of Unix time.
    ///
    /// # Errors
    /// If it has another shape, another key sealed it, or its time is over.
    pub fn read(label: &str, key: &MarkKey, now: u64) -> Result<Self, MarkError> {
        let label = label.to_ascii_lowercase();
        let (claim, seal) = label.rsplit_once('-').ok_or(MarkError::Shape)?;
        let mut parts = claim.split('-');
        let mut next = || parts.next().ok_or(MarkError::Shape);
        let word = next()?;
        let mark = Self {
            name: ZoneName::ALL
                .into_iter()
                .find(|name| name.word() == word)
                .ok_or(MarkError::Shape)?,
            sample: number(next()?)?,
            number: number(next()?)?.try_into().map_err(|_| MarkError::Shape)?,
            expires: number(next()?)?,
        };
        // One mark has one label, so that nothing counts twice under two spellings.
        if mark.claim() != claim {
            return Err(MarkError::Shape);
        }
        if !key.sealed(claim, seal) {
            return Err(MarkError::Seal);
        }
        if u64::from(mark.expires) < now {
            return Err(MarkError::Expired);
        }
        Ok(mark)
    }

    fn claim(&self) -> String {
        format!(
            "{}-{:x}-{:x}-{:x}",
            self.name.word(),
            self.sample,
            self.number,
            self.expires
        )
    }
}

/// Why a name is not one of ours.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, thiserror::Error)]
pub enum MarkError {
    /// It was ours, and is asked again after its time.
    #[error("the mark is over")]
    Expired,
    /// It looks like ours, but nobody with the key made it.
    #[error("the mark was not made with the key of this zone")]
    Seal,
    /// It carries no mark.
    #[error("the name carries no mark")]
    Shape,
}

/// The secret that asker and zone share.
#[derive(Clone)]
pub struct MarkKey([u8; 32]);

impl MarkKey {
    /// A key of 32 octets that came from a good source of randomness.
    #[must_use]
    pub const fn new(octets: [u8; 32]) -> Self {
        Self(octets)
    }

    fn seal(&self, claim: &str) -> String {
        let code = self.code(claim).finalize().into_bytes();
        code.iter().take(SEAL).fold(String::new(), |mut text, octet| {
            text.push(DIGITS[usize::from(octet >> 4)]);
            text.push(DIGITS[usize::from(octet & 15)]);
            text
        })
    }

    /// In constant time.
    fn sealed(&self, claim: &str, seal: &str) -> bool {
        let octets: Option<Vec<u8>> = seal
            .as_bytes()
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
            .collect();
        octets.is_some_and(|octets| {
            octets.len() == SEAL && self.code(claim).verify_truncated_left(&octets).is_ok()
        })
    }

    fn code(&self, claim: &str) -> Hmac<Sha256> {
        // A whole block: HMAC itself fills shorter keys with zeros (RFC 2104, 2), and this cannot fail.
        let mut block = [0; 64];
        block[..self.0.len()].copy_from_slice(&self.0);
        let mut code = <Hmac<Sha256> as KeyInit>::new((&block).into());
        code.update(claim.as_bytes());
        code
    }
}

impl TryFrom<&[u8]> for MarkKey {
    type Error = MarkKeyError;

    fn try_from(octets: &[u8]) -> Result<Self, MarkKeyError> {
        octets
            .try_into()
            .map(Self)
            .map_err(|_| MarkKeyError { octets: octets.len() })
    }
}

/// The key does not show itself.
impl fmt::Debug for MarkKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MarkKey(…)")
    }
}

/// The octets are no key.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a mark's key has 32 octets, this has {octets}")]
pub struct MarkKeyError {
    octets: usize,
}

/// Octets of the seal: 80 bits, more than anybody guesses within the life of a mark.
const SEAL: usize = 10;
const DIGITS: [char; 16] = [
    '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f',
];

fn number(text: &str) -> Result<u32, MarkError> {
    u32::from_str_radix(text, 16).map_err(|_| MarkError::Shape)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: MarkKey = MarkKey::new([7; 32]);

    fn longest(name: ZoneName) -> Mark {
        Mark {
            name,
            sample: u32::MAX,
            number: u16::MAX,
            expires: u32::MAX,
        }
    }

    #[test]
    fn every_mark_fits_a_label_and_reads_back_in_any_case() {
        for name in ZoneName::ALL {
            let label = longest(name).label(&KEY);
            assert!(label.len() <= 63, "{label}");
            assert!(label.parse::<DomainName>().is_ok(), "{label}");
            assert_eq!(
                Mark::read(&label.to_ascii_uppercase(), &KEY, 0),
                Ok(longest(name))
            );
        }
    }

    #[test]
    fn what_is_changed_invented_or_over_is_told_apart() {
        let mark = Mark {
            name: ZoneName::Port,
            sample: 0xabc,
            number: 3,
            expires: 1000,
        };
        let label = mark.label(&KEY);
        assert_eq!(Mark::read(&label, &KEY, 1000), Ok(mark));
        assert_eq!(Mark::read(&label, &KEY, 1001), Err(MarkError::Expired));
        let other = MarkKey::new([8; 32]);
        assert_eq!(Mark::read(&label, &other, 0), Err(MarkError::Seal));
        let changed = label.replacen("-3-", "-4-", 1);
        assert_eq!(Mark::read(&changed, &KEY, 0), Err(MarkError::Seal));
        let shorter = &label[..label.len() - 2];
        assert_eq!(Mark::read(shorter, &KEY, 0), Err(MarkError::Seal));
        for foreign in ["www", "port-1-2-3", "", "-", "port-abc-3-3e8-"] {
            assert!(Mark::read(foreign, &KEY, 0).is_err(), "{foreign}");
        }
        let padded = label.replacen("abc", "0abc", 1);
        assert_eq!(Mark::read(&padded, &KEY, 0), Err(MarkError::Shape));
    }

    #[test]
    fn a_key_has_its_length_and_stays_hidden() {
        assert_eq!(
            MarkKey::try_from(&[1u8; 31][..]).unwrap_err(),
            MarkKeyError { octets: 31 }
        );
        assert!(!format!("{KEY:?}").contains('7'));
    }
}
