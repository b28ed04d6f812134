//! What a prober asks about the root of the DNS, and what it reads in the answers: servers, their addresses, and keys.
//!
//! Of other answers a prober reports the size and the code alone. Here the content counts, so it is bounded: at most
//! [`RootAnswer::MOST`] records, and what is beyond or cannot be read is counted.

use std::{
    fmt::{self, Write as _},
    net::IpAddr,
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{DomainName, Endpoint, Rcode, Transport};

/// One question about the root.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct RootQuestion {
    /// Whom to ask.
    pub server: Endpoint,
    /// For what.
    pub wanted: RootWanted,
}

/// What is asked for.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub enum RootWanted {
    /// The names of the root's servers: `. NS` (RFC 9609).
    Servers,
    /// The IPv4 addresses of one of them.
    V4(DomainName),
    /// The IPv6 addresses of one of them.
    V6(DomainName),
    /// The root's keys: `. DNSKEY`.
    Keys,
}

impl RootWanted {
    /// Over what it is asked: keys and servers with their signatures may not fit into a datagram.
    #[must_use]
    pub const fn transport(&self) -> Transport {
        match self {
            Self::Servers | Self::Keys => Transport::Tcp,
            Self::V4(_) | Self::V6(_) => Transport::Udp,
        }
    }
}

impl fmt::Display for RootWanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Servers => f.write_str(". NS"),
            Self::V4(name) => write!(f, "{name} A"),
            Self::V6(name) => write!(f, "{name} AAAA"),
            Self::Keys => f.write_str(". DNSKEY"),
        }
    }
}

/// A DNS message that answers such a question.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RootAnswer {
    /// Its response code.
    pub rcode: Rcode,
    /// The AD bit: the server has validated it.
    pub authentic: bool,
    /// The codes of extended errors (RFC 8914), at most the first 16.
    pub extended_errors: Vec<u16>,
    /// The records that were asked for and, with servers, the addresses that came along.
    pub records: Vec<RootRecord>,
    /// How many of them could not be read, or were too many.
    pub unread: u16,
}

impl RootAnswer {
    /// The most records that are kept: the Internet's root has 13 servers with two addresses each.
    pub const MOST: usize = 64;
}

/// What one record says.
#[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub enum RootRecord {
    /// A server of the root.
    Server(DomainName),
    /// An address of a host.
    Address(DomainName, IpAddr),
    /// A key that signs keys, in force.
    Key(RootKey),
    /// One that its owner has revoked (RFC 5011), as it was before: revoking changes tag and digest.
    Revoked(RootKey),
}

/// A key of the root that signs keys, by what tells it from others.
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct RootKey {
    /// RFC 4034, appendix B. Two keys may have the same.
    pub tag: u16,
    /// The number of its algorithm.
    pub algorithm: u8,
    /// SHA-256 of the root's name and the key, in hexadecimal with capital letters, as in a DS record.
    pub digest: String,
}

impl RootKey {
    /// A key whose digest is known.
    #[must_use]
    pub fn new(tag: u16, algorithm: u8, digest: &[u8; 32]) -> Self {
        Self {
            tag,
            algorithm,
            digest: digest.iter().fold(String::new(), |mut hex, octet| {
                // Writing to a string cannot fail.
                let _ = write!(hex, "{octet:02X}");
                hex
            }),
        }
    }

    /// Reads the data of a DNSKEY record of the root; none for one that signs no keys.
    #[must_use]
    pub fn read(data: &[u8]) -> Option<RootRecord> {
        const ZONE_AND_ENTRY: u8 = 0x01;
        const REVOKED: u8 = 0x80;
        let [high, low, 3, algorithm, _, ..] = *data else {
            return None;
        };
        if high & ZONE_AND_ENTRY == 0 || low & ZONE_AND_ENTRY == 0 {
            return None;
        }
        let mut data = data.to_vec();
        data[1] = low & !REVOKED;
        let digest = Sha256::new().chain_update([0]).chain_update(&data).finalize();
        let key = Self::new(key_tag(&data), algorithm, &digest.into());
        Some(if low & REVOKED == 0 {
            RootRecord::Key(key)
        } else {
            RootRecord::Revoked(key)
        })
    }
}

/// The tag of a key, from the data of its DNSKEY record (RFC 4034, appendix B).
#[must_use]
pub fn key_tag(data: &[u8]) -> u16 {
    let sum = data.chunks(2).fold(0_u32, |sum, pair| {
        sum + (u32::from(pair[0]) << 8) + u32::from(pair.get(1).copied().unwrap_or(0))
    });
    let [.., high, low] = (sum + (sum >> 16)).to_be_bytes();
    u16::from_be_bytes([high, low])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_sign_keys_are_told_from_others_and_a_revoked_one_is_named_as_it_was() {
        let key = |flags: [u8; 2]| RootKey::read(&[&flags[..], &[3, 13], &[7; 64]].concat());
        let Some(RootRecord::Key(live)) = key([1, 1]) else {
            panic!("{:?}", key([1, 1]));
        };
        assert_eq!((live.algorithm, live.digest.len()), (13, 64));
        assert_eq!(key([1, 0x81]), Some(RootRecord::Revoked(live.clone())));
        assert_ne!(
            key_tag(&[&[1, 0x81, 3, 13][..], &[7; 64]].concat()),
            live.tag,
            "the bit changes the tag"
        );
        for flags in [[1, 0], [0, 1], [0, 0]] {
            assert_eq!(key(flags), None, "{flags:?}");
        }
        for short in [&[][..], &[1, 1, 3], &[1, 1, 3, 13], &[1, 1, 2, 13, 1]] {
            assert_eq!(RootKey::read(short), None, "{short:?}");
        }
    }
}
