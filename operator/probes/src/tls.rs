//! Mutual TLS between the controller and what it asks, from files that may change at any time.
//!
//! TLS 1.3 with ring, both sides identified by a DNS name that stands for a role and is never resolved; no session is
//! resumed, so every connection proves itself anew. The files are looked at for each new connection; a set that
//! cannot be read, such as one half written, leaves the last good one in use.

use std::{
    fmt,
    fs::{self, File, Metadata},
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use rustls::{
    ClientConfig, DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme,
    client::{Resumption, WebPkiServerVerifier, danger::HandshakeSignatureValid, verify_server_name},
    crypto::{CryptoProvider, ring},
    server::{
        ParsedCertificate, VerifierBuilderError, WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    version::TLS13,
};
use rustls_pki_types::{
    CertificateDer, PrivateKeyDer, ServerName, UnixTime,
    pem::{self, PemObject},
};

/// The issuers that a peer's certificate may come from, PEM.
pub const CA_FILE: &str = "ca.crt";
/// The own certificate with its chain, PEM.
pub const CERT_FILE: &str = "tls.crt";
/// The key to it, PEM.
pub const KEY_FILE: &str = "tls.key";

const FILES: [&str; 3] = [CA_FILE, CERT_FILE, KEY_FILE];

/// What a certificate lets its holder be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Role {
    /// The only client.
    Controller,
    /// A server that asks.
    Prober,
    /// A server that tells what reached the probe zone.
    Zone,
}

impl Role {
    /// The DNS name in the certificate's subject alternative names.
    #[must_use]
    pub const fn dns_name(self) -> &'static str {
        match self {
            Self::Controller => "controller.tsutsumi.internal",
            Self::Prober => "prober.tsutsumi.internal",
            Self::Zone => "probe-zone.tsutsumi.internal",
        }
    }

    pub(crate) fn server_name(self) -> Result<ServerName<'static>, TlsError> {
        ServerName::try_from(self.dns_name()).map_err(|_| TlsError::RoleName {
            name: self.dns_name(),
        })
    }
}

/// The certificate files cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The certificate does not go with the key, or is none.
    #[error("cannot use the certificate of `{CERT_FILE}` with the key of `{KEY_FILE}`")]
    Certificate(#[source] rustls::Error),
    /// A part holds nothing of what it should.
    #[error("no certificate in `{part}`")]
    Empty {
        /// [`CA_FILE`] or [`CERT_FILE`].
        part: &'static str,
    },
    /// An issuer is no certificate that can be trusted.
    #[error("cannot trust an issuer of `{CA_FILE}`")]
    Issuer(#[source] rustls::Error),
    /// A part holds no PEM.
    #[error("cannot read `{part}` as PEM")]
    Pem {
        /// [`CA_FILE`], [`CERT_FILE`] or [`KEY_FILE`].
        part: &'static str,
        /// Why.
        source: pem::Error,
    },
    /// The built-in provider lacks what TLS 1.3 needs.
    #[error("cannot set up TLS 1.3")]
    Protocol(#[source] rustls::Error),
    /// A file cannot be read.
    #[error("cannot read `{}`", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A built-in name is no DNS name.
    #[error("`{name}` is no DNS name")]
    RoleName {
        /// The name.
        name: &'static str,
    },
    /// A file is not there.
    #[error("cannot look at `{}`", .path.display())]
    Stat {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The issuers cannot serve to verify.
    #[error("cannot verify peers with `{CA_FILE}`")]
    Verifier(#[source] VerifierBuilderError),
}

/// What proves one side and verifies the other, in PEM: the three files, or the keys of the Secret that they come from.
#[derive(Clone, Copy)]
pub struct PemParts<'a> {
    /// [`CA_FILE`]: the issuers of the peer.
    pub ca: &'a [u8],
    /// [`CERT_FILE`]: the own certificate with its chain.
    pub cert: &'a [u8],
    /// [`KEY_FILE`]: the key to it.
    pub key: &'a [u8],
}

/// Makes a configuration of the three parts.
type Build<C> = fn(PemParts<'_>) -> Result<C, TlsError>;

/// A directory with [`CA_FILE`], [`CERT_FILE`] and [`KEY_FILE`], as a Secret volume mounts them.
pub struct Credentials<C> {
    dir: PathBuf,
    build: Build<C>,
    last: Mutex<Option<(Option<Stamp>, Arc<C>)>>,
}

impl Credentials<ServerConfig> {
    /// For a server, be it prober or probe zone: takes connections of [`Role::Controller`] alone.
    #[must_use]
    pub fn server(dir: impl Into<PathBuf>) -> Self {
        Self::new(dir.into(), server_config)
    }
}

impl Credentials<ClientConfig> {
    /// For the controller. The name that a connection verifies is that of the role that it calls.
    #[must_use]
    pub fn controller(dir: impl Into<PathBuf>) -> Self {
        Self::new(dir.into(), client_config)
    }
}

impl<C> Credentials<C> {
    fn new(dir: PathBuf, build: Build<C>) -> Self {
        Self {
            dir,
            build,
            last: Mutex::new(None),
        }
    }

    /// What the files say now, or said last when they could be used.
    ///
    /// # Errors
    /// If they never could.
    pub fn current(&self) -> Result<Arc<C>, TlsError> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = match (stamp(&self.dir), &*last) {
            (Ok(stamp), Some((known, config))) if Some(stamp) == *known => return Ok(Arc::clone(config)),
            (Ok(stamp), _) => self.read().map(|config| (stamp, Arc::new(config))),
            (Err(error), _) => Err(error),
        };
        match (fresh, &*last) {
            (Ok((stamp, config)), _) => {
                tracing::debug!(dir = %self.dir.display(), "read the certificate files");
                *last = Some((settled(stamp), Arc::clone(&config)));
                Ok(config)
            }
            (Err(error), Some((_, config))) => {
                let error: &(dyn std::error::Error + 'static) = &error;
                tracing::warn!(error, dir = %self.dir.display(), "cannot use the changed certificate files, keeping the former");
                Ok(Arc::clone(config))
            }
            (Err(error), None) => Err(error),
        }
    }

    fn read(&self) -> Result<C, TlsError> {
        let [ca, cert, key] = [CA_FILE, CERT_FILE, KEY_FILE].map(|file| read(self.dir.join(file)));
        (self.build)(PemParts {
            ca: &ca?,
            cert: &cert?,
            key: &key?,
        })
    }
}

impl<C> fmt::Debug for Credentials<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("dir", &self.dir)
            .finish_non_exhaustive()
    }
}

/// Tells one state of the three files from another: inode, size and modification time of each.
type Stamp = [(u64, u64, Option<SystemTime>); FILES.len()];

fn stamp(dir: &Path) -> Result<Stamp, TlsError> {
    let mut stamp = Stamp::default();
    for (file, slot) in FILES.iter().zip(&mut stamp) {
        let path = dir.join(file);
        let stat: Metadata = fs::metadata(&path).map_err(|source| TlsError::Stat { path, source })?;
        *slot = (stat.ino(), stat.len(), stat.modified().ok());
    }
    Ok(stamp)
}

/// The stamp, unless a file changed so lately that another change could bear the same time: then the files are read
/// again next time.
fn settled(stamp: Stamp) -> Option<Stamp> {
    const CLOCK_GRAIN: Duration = Duration::from_secs(2);
    let long_ago = |changed: SystemTime| changed.elapsed().is_ok_and(|age| age > CLOCK_GRAIN);
    stamp
        .iter()
        .all(|(_, _, changed)| changed.is_some_and(long_ago))
        .then_some(stamp)
}

/// The controller's side: TLS 1.3 with ring alone, nothing resumed. The name that a connection verifies is
/// that of the role that it calls.
///
/// # Errors
/// If a part cannot be used, or certificate and key do not go together.
pub fn client_config(parts: PemParts<'_>) -> Result<ClientConfig, TlsError> {
    let provider = provider();
    let verifier = WebPkiServerVerifier::builder_with_provider(roots(parts)?, Arc::clone(&provider))
        .build()
        .map_err(TlsError::Verifier)?;
    let (chain, key) = identity(parts)?;
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .map_err(TlsError::Protocol)?
        .with_webpki_verifier(verifier)
        .with_client_auth_cert(chain, key)
        .map_err(TlsError::Certificate)?;
    config.resumption = Resumption::disabled();
    Ok(config)
}

fn server_config(parts: PemParts<'_>) -> Result<ServerConfig, TlsError> {
    let provider = provider();
    let inner = WebPkiClientVerifier::builder_with_provider(roots(parts)?, Arc::clone(&provider))
        .build()
        .map_err(TlsError::Verifier)?;
    let verifier = Arc::new(RoleVerifier {
        inner,
        role: Role::Controller.server_name()?,
    });
    let (chain, key) = identity(parts)?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .map_err(TlsError::Protocol)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(TlsError::Certificate)?;
    config.send_tls13_tickets = 0;
    Ok(config)
}

/// Named here, so that no process-wide default is needed or obeyed.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn roots(parts: PemParts<'_>) -> Result<Arc<RootCertStore>, TlsError> {
    let mut roots = RootCertStore::empty();
    for issuer in certificates(CA_FILE, parts.ca)? {
        roots.add(issuer).map_err(TlsError::Issuer)?;
    }
    Ok(Arc::new(roots))
}

fn identity(parts: PemParts<'_>) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
    let key = PrivateKeyDer::from_pem_slice(parts.key).map_err(|source| TlsError::Pem {
        part: KEY_FILE,
        source,
    })?;
    Ok((certificates(CERT_FILE, parts.cert)?, key))
}

fn certificates(part: &'static str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    match CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>() {
        Ok(found) if found.is_empty() => Err(TlsError::Empty { part }),
        Ok(found) => Ok(found),
        Err(source) => Err(TlsError::Pem { part, source }),
    }
}

/// No certificate file is anywhere near this many bytes.
const LARGEST_FILE: u64 = 1024 * 1024;

fn read(path: PathBuf) -> Result<Vec<u8>, TlsError> {
    let mut content = Vec::new();
    let read = File::open(&path).and_then(|file| file.take(LARGEST_FILE).read_to_end(&mut content));
    match read {
        Ok(_) => Ok(content),
        Err(source) => Err(TlsError::Read { path, source }),
    }
}

/// Verifies as webpki does, then that the certificate was issued for the role.
#[derive(Debug)]
struct RoleVerifier {
    inner: Arc<dyn ClientCertVerifier>,
    role: ServerName<'static>,
}

impl ClientCertVerifier for RoleVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let verified = self.inner.verify_client_cert(end_entity, intermediates, now)?;
        verify_server_name(&ParsedCertificate::try_from(end_entity)?, &self.role)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
