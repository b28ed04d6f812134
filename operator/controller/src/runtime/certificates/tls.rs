//! The controller's side of mutual TLS, from what a Secret holds.

use std::sync::Arc;

use rustls::ClientConfig;
use tokio::sync::watch;
use tsutsumi_probes::{PemParts, TlsError};

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

/// The identity that the Secret of the controller makes.
pub(super) fn client_config(data: &Data) -> Result<Arc<ClientConfig>, TlsError> {
    let part = |key| data.get(key).map_or(&[][..], Vec::as_slice);
    let parts = PemParts {
        ca: part(issue::CA_CERT),
        cert: part(issue::TLS_CERT),
        key: part(issue::TLS_KEY),
    };
    tsutsumi_probes::client_config(parts).map(Arc::new)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::{
        super::issue::{Authority, Peer},
        *,
    };

    fn secret() -> Data {
        let now = Timestamp::now();
        let authority = Authority::next(&Data::new(), now).unwrap();
        authority.issue(Peer::Controller, now).unwrap()
    }

    #[test]
    fn a_secret_without_a_part_makes_no_identity_and_the_part_is_named() {
        client_config(&secret()).unwrap();
        for part in [issue::CA_CERT, issue::TLS_CERT, issue::TLS_KEY] {
            let mut data = secret();
            data.remove(part);
            let problem = client_config(&data).unwrap_err().to_string();
            assert!(problem.contains(part), "{problem}");
        }
    }

    #[test]
    fn a_certificate_of_another_key_makes_no_identity() {
        let (mut data, other) = (secret(), secret());
        data.extend(other.into_iter().filter(|(key, _)| key == issue::TLS_CERT));
        let outcome = client_config(&data);
        assert!(matches!(outcome, Err(TlsError::Certificate(_))), "{outcome:?}");
    }
}
