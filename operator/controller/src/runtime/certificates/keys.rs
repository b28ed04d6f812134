//! The keys of the probe zone: one that signs the zone, one that seals the marks in its names. They change only where
//! one is missing or cannot be read, so that a resolver's trust anchor outlives every restart; emptying the Secret is
//! how a person asks for new ones.

use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::crypto::{GetRandomFailed, ring};
use tokio::sync::watch;
use tsutsumi_model::MarkKey;
use tsutsumi_zone::{MARK_KEY, ZONE_KEY, ZoneKey};

use super::issue::Data;

/// Why a key could not be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyError {
    /// There is no randomness.
    #[error("cannot make `{MARK_KEY}`: the system gives no random octets")]
    Mark(#[source] RandomError),
    /// No key pair came about.
    #[error("cannot make `{ZONE_KEY}`")]
    Zone(#[source] rcgen::Error),
}

/// The system gave no random octets.
#[derive(Debug, thiserror::Error)]
#[error("{0:?}")]
pub(crate) struct RandomError(GetRandomFailed);

/// The key that seals names of the probe zone; clones see the same, also after it was made anew.
#[derive(Clone)]
pub(crate) struct MarkKeys(watch::Receiver<Option<MarkKey>>);

impl MarkKeys {
    pub(super) const fn new(key: watch::Receiver<Option<MarkKey>>) -> Self {
        Self(key)
    }

    /// The key as it stands; none until this process has led once.
    pub(crate) fn newest(&self) -> Option<MarkKey> {
        self.0.borrow().clone()
    }
}

/// The key in the Secret.
pub(super) fn mark_key(data: &Data) -> Option<MarkKey> {
    data.get(MARK_KEY)
        .and_then(|octets| MarkKey::try_from(octets.as_slice()).ok())
}

/// What the Secret is to hold, if it does not hold that already.
pub(crate) fn due(data: &Data) -> Result<Option<Data>, KeyError> {
    let mark = data.get(MARK_KEY).filter(|_| mark_key(data).is_some());
    let zone = data.get(ZONE_KEY).filter(|pem| ZoneKey::read(pem).is_ok());
    if mark.is_some() && zone.is_some() {
        return Ok(None);
    }
    let mark = match mark {
        Some(octets) => octets.clone(),
        None => random()?.to_vec(),
    };
    let zone = match zone {
        Some(pem) => pem.clone(),
        None => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)
            .map_err(KeyError::Zone)?
            .serialize_pem()
            .into_bytes(),
    };
    Ok(Some(
        [(MARK_KEY.to_owned(), mark), (ZONE_KEY.to_owned(), zone)].into(),
    ))
}

fn random() -> Result<[u8; 32], KeyError> {
    let mut octets = [0; 32];
    ring::default_provider()
        .secure_random
        .fill(&mut octets)
        .map_err(|failed| KeyError::Mark(RandomError(failed)))?;
    Ok(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_made_once_and_only_what_is_missing_or_spoilt() {
        let made = due(&Data::new()).unwrap().unwrap();
        assert_eq!(due(&made).unwrap(), None);
        for spoilt in [MARK_KEY, ZONE_KEY] {
            let mut data = made.clone();
            data.insert(spoilt.to_owned(), b"spoilt".to_vec());
            let next = due(&data).unwrap().unwrap();
            for key in [MARK_KEY, ZONE_KEY] {
                assert_eq!(next[key] != made[key], key == spoilt, "{key} after {spoilt}");
            }
            assert_eq!(due(&next).unwrap(), None);
        }
    }

    #[test]
    fn a_key_of_another_algorithm_cannot_sign_the_zone() {
        let mut data = due(&Data::new()).unwrap().unwrap();
        let other = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        data.insert(ZONE_KEY.to_owned(), other.serialize_pem().into_bytes());
        assert!(due(&data).unwrap().is_some());
    }
}
