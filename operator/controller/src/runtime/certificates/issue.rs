//! Certificates between controller and prober: what is due, and how it is made. No IO, no clock.
//!
//! The authority's certificate is renewed under the same key and name, and the old one stays beside it, so that a
//! peer that still holds only the old one, copied by hand, goes on trusting what is issued after. A new key is made
//! only where there is none that can be read: emptying the Secret is how a person asks for one.

use std::collections::BTreeMap;

use ::pem::{EncodeConfig, LineEnding, Pem};
use jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData, SerialNumber,
};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use tsutsumi_engine::managed::hop;
use tsutsumi_probes::Role;
use x509_parser::{certificate::X509Certificate, extensions::GeneralName, parse_x509_certificate};

/// What a Secret holds.
pub(crate) type Data = BTreeMap<String, Vec<u8>>;

/// The keys within a Secret.
pub(crate) const CA_CERT: &str = "ca.crt";
pub(super) const CA_KEY: &str = "ca.key";
pub(crate) const TLS_CERT: &str = "tls.crt";
pub(crate) const TLS_KEY: &str = "tls.key";

const DAY: SignedDuration = SignedDuration::from_hours(24);

/// How long an authority counts.
const CA_DAYS: i32 = 3650;
/// How long a leaf counts: twice the time for which the operator may be away, and renewed when half is left.
const LEAF_DAYS: i32 = 180;
/// Certificates begin earlier than now, for clocks that are late.
const BACKDATED: SignedDuration = SignedDuration::from_hours(1);
/// More authorities than this never stand in a bundle.
pub(super) const BUNDLE_LIMIT: usize = 3;

/// Whom a leaf names.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Peer {
    /// Asks.
    Controller,
    /// Answers.
    Prober,
    /// Resolves for CoreDNS.
    Resolver,
    /// Tells which questions reached it.
    Zone,
}

impl Peer {
    /// The name in the certificate; it is never resolved.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Controller => Role::Controller.dns_name(),
            Self::Prober => Role::Prober.dns_name(),
            Self::Resolver => hop::SERVER_NAME,
            Self::Zone => Role::Zone.dns_name(),
        }
    }

    const fn usage(self) -> ExtendedKeyUsagePurpose {
        match self {
            Self::Controller => ExtendedKeyUsagePurpose::ClientAuth,
            Self::Prober | Self::Resolver | Self::Zone => ExtendedKeyUsagePurpose::ServerAuth,
        }
    }
}

/// What a Secret needs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Renewal {
    /// The certificate is good, but the bundle of authorities beside it is not the present one.
    Bundle,
    /// The certificate is missing, unfit, or past half of its time.
    Certificate,
    /// There is no key that can be read.
    Key,
    /// Nothing.
    None,
}

/// Why a certificate could not be made.
#[derive(Debug, thiserror::Error)]
#[error("cannot issue a certificate for {name}")]
pub(crate) struct IssueError {
    name: &'static str,
    source: rcgen::Error,
}

/// The authority, able to sign.
pub(crate) struct Authority {
    /// The present certificate first.
    pub(super) bundle: Vec<CertificateDer<'static>>,
    key: KeyPair,
}

/// What the Secret of the authority needs.
pub(crate) fn authority_due(data: &Data, now: Timestamp) -> Renewal {
    let Some(key) = key_pair(data, CA_KEY) else {
        return Renewal::Key;
    };
    let bundle = certificates(data, CA_CERT);
    let good = bundle.first().is_some_and(|der| {
        parsed(der).is_some_and(|cert| cert.is_ca() && belongs(&cert, &key) && fresh(&cert, now))
    });
    if good { Renewal::None } else { Renewal::Certificate }
}

/// What the Secret of a leaf needs.
pub(crate) fn leaf_due(data: &Data, peer: Peer, authority: &Authority, now: Timestamp) -> Renewal {
    let Some(key) = key_pair(data, TLS_KEY) else {
        return Renewal::Key;
    };
    let chain = certificates(data, TLS_CERT);
    let good = chain.first().and_then(|der| parsed(der)).is_some_and(|cert| {
        belongs(&cert, &key) && names(&cert, peer) && fresh(&cert, now) && authority.signed(&cert)
    });
    if !good {
        return Renewal::Certificate;
    }
    if certificates(data, CA_CERT) == authority.bundle {
        Renewal::None
    } else {
        Renewal::Bundle
    }
}

/// When the first certificate under this key ends.
pub(crate) fn not_after(data: &Data, key: &str) -> Option<Timestamp> {
    let chain = certificates(data, key);
    let cert = parsed(chain.first()?)?;
    Timestamp::from_second(cert.validity().not_after.timestamp()).ok()
}

/// Every certificate under this key; none if it cannot be read.
pub(crate) fn certificates(data: &Data, key: &str) -> Vec<CertificateDer<'static>> {
    let pem = data.get(key).map_or(&[][..], Vec::as_slice);
    CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .unwrap_or_default()
}

impl Authority {
    /// The authority as the Secret holds it; none unless nothing is due.
    pub(crate) fn read(data: &Data) -> Option<Self> {
        let bundle = certificates(data, CA_CERT);
        let key = key_pair(data, CA_KEY)?;
        (!bundle.is_empty()).then_some(Self { bundle, key })
    }

    /// The next authority after what the Secret holds, under the same key where there is one.
    pub(crate) fn next(data: &Data, now: Timestamp) -> Result<Self, IssueError> {
        let name = "the authority";
        let wrap = |source| IssueError { name, source };
        let key = match key_pair(data, CA_KEY) {
            Some(key) => key,
            None => KeyPair::generate().map_err(wrap)?,
        };
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(DnType::CommonName, "tsutsumi authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        dated(&mut params, CA_DAYS, &key, now);
        let mut bundle = vec![params.self_signed(&key).map_err(wrap)?.der().clone()];
        let old = certificates(data, CA_CERT);
        bundle.extend(
            old.into_iter()
                .filter(|der| parsed(der).is_some_and(|cert| lasts(&cert, now))),
        );
        bundle.truncate(BUNDLE_LIMIT);
        Ok(Self { bundle, key })
    }

    /// What the Secret of the authority holds.
    pub(crate) fn data(&self) -> Data {
        [
            (CA_CERT.to_owned(), self.bundle_pem()),
            (CA_KEY.to_owned(), self.key.serialize_pem().into_bytes()),
        ]
        .into()
    }

    /// What the Secret of a leaf holds, with a new key and certificate.
    pub(crate) fn issue(&self, peer: Peer, now: Timestamp) -> Result<Data, IssueError> {
        let wrap = |source| IssueError {
            name: peer.name(),
            source,
        };
        let key = KeyPair::generate().map_err(wrap)?;
        let mut params = CertificateParams::new(vec![peer.name().to_owned()]).map_err(wrap)?;
        params.distinguished_name.push(DnType::CommonName, peer.name());
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![peer.usage()];
        dated(&mut params, LEAF_DAYS, &key, now);
        let present = self.bundle.first().map_or(&[][..], |der| der.as_ref());
        let issuer = Issuer::from_ca_cert_der(&present.into(), &self.key).map_err(wrap)?;
        let cert = params.signed_by(&key, &issuer).map_err(wrap)?;
        Ok([
            (CA_CERT.to_owned(), self.bundle_pem()),
            (TLS_CERT.to_owned(), pem(cert.der())),
            (TLS_KEY.to_owned(), key.serialize_pem().into_bytes()),
        ]
        .into())
    }

    /// The data of a leaf with the present bundle in place of the one it has.
    pub(crate) fn rebundle(&self, mut data: Data) -> Data {
        data.insert(CA_CERT.to_owned(), self.bundle_pem());
        data
    }

    fn bundle_pem(&self) -> Vec<u8> {
        self.bundle.iter().flat_map(pem).collect()
    }

    fn signed(&self, leaf: &X509Certificate<'_>) -> bool {
        self.bundle
            .first()
            .and_then(|der| parsed(der))
            .is_some_and(|cert| leaf.verify_signature(Some(cert.public_key())).is_ok())
    }
}

fn key_pair(data: &Data, key: &str) -> Option<KeyPair> {
    let pem = std::str::from_utf8(data.get(key)?).ok()?;
    KeyPair::from_pem(pem).ok()
}

pub(super) fn parsed<'a>(der: &'a CertificateDer<'_>) -> Option<X509Certificate<'a>> {
    parse_x509_certificate(der).ok().map(|(_, cert)| cert)
}

fn belongs(cert: &X509Certificate<'_>, key: &KeyPair) -> bool {
    cert.public_key().raw == key.subject_public_key_info()
}

pub(super) fn names(cert: &X509Certificate<'_>, peer: Peer) -> bool {
    let wanted = GeneralName::DNSName(peer.name());
    cert.subject_alternative_name()
        .ok()
        .flatten()
        .is_some_and(|names| names.value.general_names == [wanted])
}

/// Whether it counts already and more than half of its time is left.
fn fresh(cert: &X509Certificate<'_>, now: Timestamp) -> bool {
    let (from, until) = (
        cert.validity().not_before.timestamp(),
        cert.validity().not_after.timestamp(),
    );
    let now = now.as_second();
    from <= now && (until - now) * 2 > until - from
}

pub(super) fn lasts(cert: &X509Certificate<'_>, now: Timestamp) -> bool {
    now.as_second() < cert.validity().not_after.timestamp()
}

/// Sets the time for which it counts, and a serial number that no other certificate of this key has.
fn dated(params: &mut CertificateParams, days: i32, key: &KeyPair, now: Timestamp) {
    let at = |time: Timestamp| {
        OffsetDateTime::from_unix_timestamp(time.as_second()).unwrap_or(OffsetDateTime::UNIX_EPOCH)
    };
    params.not_before = at(now.saturating_sub(BACKDATED).unwrap_or(now));
    params.not_after = at(now.saturating_add(DAY * days).unwrap_or(now));
    let mut hash = Sha256::new();
    hash.update(key.public_key_raw());
    hash.update(now.as_nanosecond().to_be_bytes());
    let mut serial = hash.finalize()[..16].to_vec();
    serial[0] = serial[0] & 0x3f | 0x40; // positive, and of full length (RFC 5280, 4.1.2.2)
    params.serial_number = Some(SerialNumber::from_slice(&serial));
}

pub(super) fn pem(der: &CertificateDer<'static>) -> Vec<u8> {
    let config = EncodeConfig::new().set_line_ending(LineEnding::LF);
    ::pem::encode_config(&Pem::new("CERTIFICATE", der.to_vec()), config).into_bytes()
}

#[cfg(test)]
#[path = "issue_tests.rs"]
mod tests;
