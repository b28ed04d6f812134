//! The two keys of a zone, from files that come late and may change.
//!
//! The files are mounted before the controller has filled them, and a person asks for new keys by emptying the Secret;
//! so they are looked at again and again, and what was read last stays in use until both can be read anew.

use std::{
    fmt,
    fs::File,
    io::{self, Read},
    path::PathBuf,
    sync::Arc,
};

use hickory_proto::dnssec::{
    Algorithm, DigestType, DnsSecError, PublicKeyBuf, SigningKey, TBS,
    crypto::EcdsaSigningKey,
    rdata::{DNSKEY, DS},
};
use rustls_pki_types::{PrivatePkcs8KeyDer, pem::PemObject};
use tsutsumi_model::{MarkKey, MarkKeyError};

use crate::apex::Apex;

/// The file with the key that seals marks: 32 octets.
pub const MARK_KEY: &str = "mark.key";
/// The file with the key that signs the zone: PKCS #8, PEM or DER, ECDSA P-256.
pub const ZONE_KEY: &str = "zone.key";

/// DNSSEC algorithm 13 (RFC 6605).
const ALGORITHM: Algorithm = Algorithm::ECDSAP256SHA256;
/// No key is anywhere near this many bytes.
const LARGEST_FILE: u64 = 16 * 1024;

/// A key cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The DS record cannot be made.
    #[error("cannot make the DS record")]
    Digest(#[source] DnsSecError),
    /// The seal's key has another length.
    #[error("cannot use `{MARK_KEY}`")]
    Mark(#[from] MarkKeyError),
    /// A file cannot be read.
    #[error("cannot read `{}`", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is no ECDSA P-256 key in PKCS #8.
    #[error("cannot use `{ZONE_KEY}` as an ECDSA P-256 key in PKCS #8")]
    Zone(#[source] DnsSecError),
}

/// The key that signs the zone.
pub struct ZoneKey {
    secret: EcdsaSigningKey,
    dnskey: DNSKEY,
    tag: u16,
}

impl ZoneKey {
    /// Reads PKCS #8, in PEM or DER.
    ///
    /// # Errors
    /// If it is anything but a key for ECDSA P-256.
    pub fn read(bytes: &[u8]) -> Result<Self, KeyError> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(bytes)
            .unwrap_or_else(|_| PrivatePkcs8KeyDer::from(bytes.to_vec()));
        let secret = EcdsaSigningKey::from_pkcs8(&der, ALGORITHM).map_err(KeyError::Zone)?;
        let public: PublicKeyBuf = secret.to_public_key().map_err(KeyError::Zone)?;
        // One key for all, so it is marked as an entry point: flags 257.
        let dnskey = DNSKEY::from_key(&public);
        let tag = dnskey
            .calculate_key_tag()
            .map_err(|error| KeyError::Zone(error.into()))?;
        Ok(Self { secret, dnskey, tag })
    }

    pub(crate) const fn dnskey(&self) -> &DNSKEY {
        &self.dnskey
    }

    pub(crate) const fn tag(&self) -> u16 {
        self.tag
    }

    pub(crate) fn sign(&self, tbs: &TBS) -> Result<Vec<u8>, DnsSecError> {
        self.secret.sign(tbs)
    }
}

/// The key does not show itself.
impl fmt::Debug for ZoneKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ZoneKey({})", self.tag)
    }
}

/// The DS record, as a line of a zone file, by which a resolver trusts the zone (SHA-256, RFC 4509).
///
/// # Errors
/// If the digest cannot be computed.
pub fn ds(zone: &Apex, key: &ZoneKey) -> Result<String, KeyError> {
    let ds =
        DS::from_key(key.dnskey.public_key(), zone.wire(), DigestType::SHA256).map_err(KeyError::Digest)?;
    let algorithm: u8 = ds.algorithm().into();
    let kind: u8 = ds.digest_type().into();
    let digest = ds
        .digest()
        .iter()
        .fold(String::new(), |text, octet| format!("{text}{octet:02X}"));
    Ok(format!(
        "{zone}. IN DS {} {algorithm} {kind} {digest}",
        ds.key_tag()
    ))
}

/// Both keys.
#[derive(Clone, Debug)]
pub struct Keys {
    /// What seals marks.
    pub mark: MarkKey,
    /// What signs the zone.
    pub zone: Arc<ZoneKey>,
}

/// A directory with [`MARK_KEY`] and [`ZONE_KEY`], as a Secret volume mounts them.
#[derive(Debug)]
pub struct KeyDir {
    dir: PathBuf,
    last: Option<[Vec<u8>; 2]>,
}

impl KeyDir {
    /// The directory; nothing is read yet.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            last: None,
        }
    }

    /// The keys, if they are others than those of the last call that brought any.
    pub(crate) fn changed(&mut self) -> Result<Option<Keys>, KeyError> {
        let files = [self.read(MARK_KEY)?, self.read(ZONE_KEY)?];
        if self.last.as_ref() == Some(&files) {
            return Ok(None);
        }
        let [mark, zone] = &files;
        let keys = Keys {
            mark: MarkKey::try_from(mark.as_slice())?,
            zone: Arc::new(ZoneKey::read(zone)?),
        };
        self.last = Some(files);
        Ok(Some(keys))
    }

    fn read(&self, file: &str) -> Result<Vec<u8>, KeyError> {
        let path = self.dir.join(file);
        let mut content = Vec::new();
        match File::open(&path).and_then(|file| file.take(LARGEST_FILE).read_to_end(&mut content)) {
            Ok(_) => Ok(content),
            Err(source) => Err(KeyError::Read { path, source }),
        }
    }
}
