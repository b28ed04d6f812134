//! Signatures made when they are asked for, so that none is ever near its end unless it is meant to be.

use std::{ops::Range, sync::Arc};

use hickory_proto::{
    ProtoError,
    dnssec::{
        Algorithm, DnsSecError, TBS,
        rdata::{DNSSECRData, RRSIG, SigInput},
    },
    rr::{DNSClass, Name, RData, Record, SerialNumber},
};

use crate::keys::ZoneKey;

const HOUR: u32 = 3600;
const DAY: u32 = 24 * HOUR;

/// How the signature of an answer is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Signature {
    Good,
    /// One bit is changed.
    Bogus,
    Expired,
    Early,
    /// There is none.
    Missing,
}

impl Signature {
    /// From when until when it says that it counts, in seconds of Unix time.
    ///
    /// What is not to count is wrong by more than the day that Unbound forgives (`val-sig-skew-max`).
    const fn window(self, now: u32) -> Range<u32> {
        match self {
            Self::Good | Self::Bogus | Self::Missing => now.saturating_sub(HOUR)..now.saturating_add(7 * DAY),
            Self::Expired => now.saturating_sub(9 * DAY)..now.saturating_sub(2 * DAY),
            Self::Early => now.saturating_add(2 * DAY)..now.saturating_add(9 * DAY),
        }
    }
}

/// A signature could not be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SignError {
    #[error("cannot write what is to be signed")]
    Encode(#[from] ProtoError),
    #[error("cannot sign")]
    Sign(#[from] DnsSecError),
}

/// Signs for one zone.
#[derive(Debug)]
pub(crate) struct Signer {
    pub(crate) apex: Name,
    pub(crate) key: Arc<ZoneKey>,
}

impl Signer {
    /// The RRSIG record of one set of records, if it is to have one (RFC 4034, 3).
    pub(crate) fn sign(&self, set: &[Record], how: Signature, now: u32) -> Result<Option<Record>, SignError> {
        let (Some(first), true) = (set.first(), how != Signature::Missing) else {
            return Ok(None);
        };
        let window = how.window(now);
        let input = SigInput {
            type_covered: first.record_type(),
            algorithm: Algorithm::ECDSAP256SHA256,
            num_labels: first.name.num_labels(),
            original_ttl: first.ttl,
            sig_expiration: SerialNumber::new(window.end),
            sig_inception: SerialNumber::new(window.start),
            key_tag: self.key.tag(),
            signer_name: self.apex.clone(),
        };
        let tbs = TBS::from_input(&first.name, DNSClass::IN, &input, set.iter())?;
        let mut signature = self.key.sign(&tbs)?;
        if let (Signature::Bogus, Some(last)) = (how, signature.last_mut()) {
            *last ^= 1;
        }
        let data = RData::DNSSEC(DNSSECRData::RRSIG(RRSIG::from_sig(input, signature)));
        Ok(Some(Record::from_rdata(first.name.clone(), first.ttl, data)))
    }
}
