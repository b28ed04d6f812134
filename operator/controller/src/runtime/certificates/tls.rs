//! The controller's side of mutual TLS, from what a Secret holds.

use std::sync::Arc;

use rustls::{
    ClientConfig, RootCertStore,
    client::{Resumption, VerifierBuilderError, WebPkiServerVerifier},
    crypto::ring,
    version::TLS13,
};
use tokio::sync::watch;

use super::issue::{self, Data};

/// The configuration of the controller's connections, once there is one.
pub(super) type Identity = Option<Arc<ClientConfig>>;

/// The controller's identity towards probers; clones see the same, also after a renewal.
#[derive(Clone)]
pub(crate) struct ControllerTls(watch::Receiver<Identity>);

impl ControllerTls {
    pub(super) const fn new(identity: watch::Receiver<Identity>) -> Self {
        Self(identity)
    }

    /// The configuration as it stands; none until this process has led once.
    pub(crate) fn client_config(&self) -> Option<Arc<ClientConfig>> {
        self.0.borrow().clone()
    }
}

/// Why a Secret makes no identity.
#[derive(Debug, thiserror::Error)]
pub(super) enum TlsError {
    /// There is no key.
    #[error("`{}` holds no private key", issue::TLS_KEY)]
    Key,
    /// Certificate and key do not go together, or are none.
    #[error("`{}` and `{}` make no identity", issue::TLS_CERT, issue::TLS_KEY)]
    Identity(#[source] rustls::Error),
    /// The issuers cannot serve to verify.
    #[error("`{}` cannot serve to verify a prober", issue::CA_CERT)]
    Roots(#[source] VerifierBuilderError),
}

/// TLS 1.3 only, nothing resumed: every connection proves itself anew.
pub(super) fn client_config(data: &Data) -> Result<Arc<ClientConfig>, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(issue::certificates(data, issue::CA_CERT));
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .build()
        .map_err(TlsError::Roots)?;
    let key = issue::private_key(data, issue::TLS_KEY).ok_or(TlsError::Key)?;
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .map_err(TlsError::Identity)?
        .with_webpki_verifier(verifier)
        .with_client_auth_cert(issue::certificates(data, issue::TLS_CERT), key)
        .map_err(TlsError::Identity)?;
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}
