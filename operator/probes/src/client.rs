//! The controller's side of a prober.
//!
//! One connection per batch, with the TLS configuration that the client was made with: after a rotation, make another.
//! The answer is held against the question: a prober that leaves out, adds or changes a probe, or stands elsewhere than
//! it was declared, is not believed.

use std::{error::Error, io, net::SocketAddr, sync::Arc, time::Duration};

use axum::body::Bytes;
use http_body_util::Full;
use hyper::{
    Request, StatusCode,
    header::{CONTENT_TYPE, HOST},
};
use rustls::ClientConfig;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;
use tsutsumi_model::{Observation, Probe, Vantage};

use crate::{
    http::exchange,
    run::{BATCH_DEADLINE, Batch, BatchError},
    tls::{Role, TlsError},
};

/// For one call, the connection included.
const CALL_DEADLINE: Duration = Duration::from_secs(BATCH_DEADLINE.as_secs() + 15);
/// For the connection and the handshake.
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);
const LARGEST_RESPONSE: usize = 32 * 1024 * 1024;
/// How much of a refusal is repeated, in characters.
const LONGEST_REASON: usize = 256;

/// A prober, by its address.
#[derive(Clone, Debug)]
pub struct ProberClient {
    address: SocketAddr,
    vantage: Vantage,
    tls: Arc<ClientConfig>,
}

/// A prober brought no observations.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProberError {
    /// The batch is none.
    #[error("cannot send the probes as one batch")]
    Batch(#[from] BatchError),
    /// No connection.
    #[error("cannot connect to the prober at {address}")]
    Connect {
        /// The prober.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The own certificate files cannot be used.
    #[error("cannot identify to the prober")]
    Credentials(#[from] TlsError),
    /// It took too long.
    #[error("the prober at {address} did not finish {doing} within {} s", .within.as_secs())]
    Deadline {
        /// The prober.
        address: SocketAddr,
        /// What was under way.
        doing: &'static str,
        /// The time it had.
        within: Duration,
    },
    /// The response is no list of observations.
    #[error("cannot read the response of the prober at {address}")]
    Decode {
        /// The prober.
        address: SocketAddr,
        /// Why.
        source: serde_json::Error,
    },
    /// The probes cannot be written.
    #[error("cannot write the probes for the prober at {address}")]
    Encode {
        /// The prober.
        address: SocketAddr,
        /// Why.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The exchange broke off. A certificate that the prober refuses shows here, too.
    #[error("cannot exchange a batch with the prober at {address}")]
    Exchange {
        /// The prober.
        address: SocketAddr,
        /// Why.
        source: Box<dyn Error + Send + Sync>,
    },
    /// No TLS.
    #[error("cannot agree on TLS with the prober at {address}")]
    Handshake {
        /// The prober.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The prober answered with another status than 200.
    #[error("the prober at {address} refused the batch with status {status}: {reason}")]
    Refused {
        /// The prober.
        address: SocketAddr,
        /// The HTTP status.
        status: u16,
        /// What it said, control characters escaped, at most 256 characters.
        reason: String,
    },
    /// The observations are not those of the probes sent.
    #[error("the prober at {address} answered {answered} probes that are not the {asked} asked")]
    Unasked {
        /// The prober.
        address: SocketAddr,
        /// How many probes were sent.
        asked: usize,
        /// How many observations came.
        answered: usize,
    },
    /// The prober stands elsewhere.
    #[error("the prober at {address} says that it stands {found}; it was declared as {declared}")]
    WrongVantage {
        /// The prober.
        address: SocketAddr,
        /// What the controller was told.
        declared: Vantage,
        /// What the prober says.
        found: Vantage,
    },
}

impl ProberClient {
    /// A prober at this address that was declared to stand at this vantage.
    #[must_use]
    pub fn new(address: SocketAddr, vantage: Vantage, tls: Arc<ClientConfig>) -> Self {
        Self {
            address,
            vantage,
            tls,
        }
    }

    /// Where the prober was declared to stand.
    #[must_use]
    pub fn vantage(&self) -> Vantage {
        self.vantage
    }

    /// Lets the prober run the probes. One observation for each, in their order.
    pub async fn run(&self, probes: Vec<Probe>) -> Result<Vec<Observation>, ProberError> {
        let batch = Batch::try_from(probes)?;
        let seen = self.within("the batch", CALL_DEADLINE, self.call(&batch)).await?;
        self.believe(&batch, seen)
    }

    async fn call(&self, batch: &Batch) -> Result<Vec<Observation>, ProberError> {
        let address = self.address;
        let encode = |source: Box<dyn Error + Send + Sync>| ProberError::Encode { address, source };
        let body = serde_json::to_vec(batch.probes()).map_err(|error| encode(error.into()))?;
        let request = Request::post("/v1/probe")
            .header(HOST, Role::Prober.dns_name())
            .header(CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| encode(error.into()))?;
        let stream = self
            .within("the connection", CONNECT_DEADLINE, self.connect())
            .await?;
        let response = exchange(stream, request, LARGEST_RESPONSE)
            .await
            .map_err(|source| ProberError::Exchange {
                address,
                source: source.into(),
            })?;
        if response.status != StatusCode::OK {
            return Err(ProberError::Refused {
                address,
                status: response.status.as_u16(),
                reason: reason(&response.body),
            });
        }
        serde_json::from_slice(&response.body).map_err(|source| ProberError::Decode { address, source })
    }

    async fn connect(&self) -> Result<tokio_rustls::client::TlsStream<TcpStream>, ProberError> {
        let address = self.address;
        let config = Arc::clone(&self.tls);
        let name = Role::Prober.server_name()?;
        let stream = TcpStream::connect(address)
            .await
            .map_err(|source| ProberError::Connect { address, source })?;
        TlsConnector::from(config)
            .connect(name, stream)
            .await
            .map_err(|source| ProberError::Handshake { address, source })
    }

    async fn within<T>(
        &self,
        doing: &'static str,
        within: Duration,
        work: impl Future<Output = Result<T, ProberError>>,
    ) -> Result<T, ProberError> {
        timeout(within, work).await.unwrap_or(Err(ProberError::Deadline {
            address: self.address,
            doing,
            within,
        }))
    }

    fn believe(&self, batch: &Batch, seen: Vec<Observation>) -> Result<Vec<Observation>, ProberError> {
        let address = self.address;
        let asked = batch.probes();
        if !asked.iter().eq(seen.iter().map(|seen| &seen.probe)) {
            return Err(ProberError::Unasked {
                address,
                asked: asked.len(),
                answered: seen.len(),
            });
        }
        match seen.iter().find(|seen| seen.vantage != self.vantage) {
            Some(elsewhere) => Err(ProberError::WrongVantage {
                address,
                declared: self.vantage,
                found: elsewhere.vantage,
            }),
            None => Ok(seen),
        }
    }
}

fn reason(body: &[u8]) -> String {
    String::from_utf8_lossy(body)
        .escape_debug()
        .take(LONGEST_REASON)
        .collect()
}
