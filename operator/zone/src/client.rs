//! The controller's side of a probe zone: what reached it.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use hyper::Request;
use rustls::ClientConfig;
use tsutsumi_model::Arrivals;
use tsutsumi_probes::{CallError, Caller, Limits, Role};

/// More than all that a zone remembers of one sample takes.
pub(crate) const LARGEST_RESPONSE: usize = 4 * 1024 * 1024;

const LIMITS: Limits = Limits {
    deadline: Duration::from_secs(10),
    largest_response: LARGEST_RESPONSE,
};

/// A probe zone, by the address of its control port.
#[derive(Clone, Debug)]
pub struct ZoneClient(Caller);

/// A probe zone told nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// It did not answer.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The response is no list of arrivals.
    #[error("cannot read what the probe zone at {address} tells")]
    Decode {
        /// The zone's control port.
        address: SocketAddr,
        /// Why.
        source: serde_json::Error,
    },
    /// It told of another sample.
    #[error("the probe zone at {address} tells of another sample than {sample:x}")]
    Unasked {
        /// The zone's control port.
        address: SocketAddr,
        /// What was asked for.
        sample: u32,
    },
}

impl ZoneClient {
    /// A zone at this address.
    #[must_use]
    pub fn new(address: SocketAddr, tls: Arc<ClientConfig>) -> Self {
        Self(Caller::new(address, Role::Zone, tls))
    }

    /// What reached the zone of this sample.
    pub async fn arrivals(&self, sample: u32) -> Result<Arrivals, ClientError> {
        let address = self.0.address();
        let request = Request::get(format!("/v1/arrivals/{sample:x}"));
        let body = self.0.call(request, axum::body::Bytes::new(), LIMITS).await?;
        let told: Arrivals =
            serde_json::from_slice(&body).map_err(|source| ClientError::Decode { address, source })?;
        if told.arrivals.iter().any(|arrival| arrival.mark.sample != sample) {
            return Err(ClientError::Unasked { address, sample });
        }
        Ok(told)
    }
}
