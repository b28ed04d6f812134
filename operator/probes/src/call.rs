//! One call of the controller to one of its servers: a request over a connection of its own, and the whole response.
//!
//! The TLS configuration is the one that the caller was made with: after a rotation, make another. Time and size are
//! bounded; what a server says in refusing is repeated in part, and escaped.

use std::{error::Error, future::Future, io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{body::Bytes, http::request::Builder};
use http_body_util::Full;
use hyper::{StatusCode, header::HOST};
use rustls::ClientConfig;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{
    http::exchange,
    tls::{Role, TlsError},
};

/// For the connection and the handshake.
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);
/// How much of a refusal is repeated, in characters.
const LONGEST_REASON: usize = 256;

/// A server by its address, and the role that it must prove.
#[derive(Clone, Debug)]
pub struct Caller {
    address: SocketAddr,
    role: Role,
    tls: Arc<ClientConfig>,
}

/// What one call may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// For all of it, the connection included.
    pub deadline: Duration,
    /// The largest body of a response, in bytes.
    pub largest_response: usize,
}

/// A call brought nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// No connection.
    #[error("cannot connect to {address}")]
    Connect {
        /// The server.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The own certificate files cannot be used.
    #[error("cannot identify to a server")]
    Credentials(#[from] TlsError),
    /// It took too long.
    #[error("{address} did not finish {doing} within {} s", .within.as_secs())]
    Deadline {
        /// The server.
        address: SocketAddr,
        /// What was under way.
        doing: &'static str,
        /// The time it had.
        within: Duration,
    },
    /// The exchange broke off. A certificate that the server refuses shows here, too.
    #[error("cannot exchange messages with {address}")]
    Exchange {
        /// The server.
        address: SocketAddr,
        /// Why.
        source: Box<dyn Error + Send + Sync>,
    },
    /// No TLS.
    #[error("cannot agree on TLS with {address}")]
    Handshake {
        /// The server.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The server answered with another status than 200.
    #[error("{address} refused with status {status}: {reason}")]
    Refused {
        /// The server.
        address: SocketAddr,
        /// The HTTP status.
        status: u16,
        /// What it said, control characters escaped, at most 256 characters.
        reason: String,
    },
}

impl Caller {
    /// Calls the server at this address, if it proves that it plays this role.
    #[must_use]
    pub const fn new(address: SocketAddr, role: Role, tls: Arc<ClientConfig>) -> Self {
        Self { address, role, tls }
    }

    /// Where the server listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sends the request, to which the name of the host is added, and brings the body of a response with status 200.
    pub async fn call(&self, request: Builder, body: Bytes, limits: Limits) -> Result<Bytes, CallError> {
        let exchange = self.exchange(request, body, limits.largest_response);
        self.within("the request", limits.deadline, exchange).await
    }

    async fn exchange(&self, request: Builder, body: Bytes, largest: usize) -> Result<Bytes, CallError> {
        let address = self.address;
        let broken = |source: Box<dyn Error + Send + Sync>| CallError::Exchange { address, source };
        let request = request
            .header(HOST, self.role.dns_name())
            .body(Full::new(body))
            .map_err(|error| broken(error.into()))?;
        let stream = self
            .within("the connection", CONNECT_DEADLINE, self.connect())
            .await?;
        let response = exchange(stream, request, largest)
            .await
            .map_err(|error| broken(error.into()))?;
        if response.status == StatusCode::OK {
            return Ok(response.body);
        }
        Err(CallError::Refused {
            address,
            status: response.status.as_u16(),
            reason: reason(&response.body),
        })
    }

    async fn connect(&self) -> Result<TlsStream<TcpStream>, CallError> {
        let address = self.address;
        let name = self.role.server_name()?;
        let stream = TcpStream::connect(address)
            .await
            .map_err(|source| CallError::Connect { address, source })?;
        TlsConnector::from(Arc::clone(&self.tls))
            .connect(name, stream)
            .await
            .map_err(|source| CallError::Handshake { address, source })
    }

    async fn within<T>(
        &self,
        doing: &'static str,
        within: Duration,
        work: impl Future<Output = Result<T, CallError>>,
    ) -> Result<T, CallError> {
        timeout(within, work).await.unwrap_or(Err(CallError::Deadline {
            address: self.address,
            doing,
            within,
        }))
    }
}

fn reason(body: &[u8]) -> String {
    String::from_utf8_lossy(body)
        .escape_debug()
        .take(LONGEST_REASON)
        .collect()
}
