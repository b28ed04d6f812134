//! `tsutsumi prober`: wires the prober's ports to its certificates and its one way out.

use std::{io, net::SocketAddr, sync::Arc};

use tokio::net::TcpListener;
use tsutsumi_probes::{Credentials, Egress, Prober, Rules, serve};

use super::{args::ProberArgs, shutdown::Shutdown};

/// Why the prober does not run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProberError {
    /// A port could not be opened.
    #[error("cannot listen on {address}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// Signals cannot be heard.
    #[error("cannot listen for signals")]
    Signals {
        /// Why not.
        source: io::Error,
    },
}

/// Runs until it is told to stop.
pub(crate) async fn run(args: ProberArgs) -> Result<(), ProberError> {
    let shutdown = Shutdown::on_signal().map_err(|source| ProberError::Signals { source })?;
    let prober = Prober {
        listener: listen(args.listen).await?,
        health: listen(args.admin_address).await?,
        credentials: Credentials::server(args.tls_dir),
        vantage: args.vantage,
        egress: Arc::new(Egress::new(Rules::default())),
        names: match args.names_address {
            Some(address) => Some(listen(address).await?),
            None => None,
        },
    };
    tracing::info!(address = %args.listen, vantage = %args.vantage, "the prober listens");
    serve(prober, async move { shutdown.requested().await }).await;
    Ok(())
}

async fn listen(address: SocketAddr) -> Result<TcpListener, ProberError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| ProberError::Listen { address, source })
}
