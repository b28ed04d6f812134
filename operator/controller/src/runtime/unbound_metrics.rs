//! `tsutsumi unbound-metrics`: wires the exporter's port to Unbound's control socket.

use std::{io, net::SocketAddr};

use tokio::net::TcpListener;
use tsutsumi_exporter::{Exporter, serve};

use super::{args::UnboundMetricsArgs, shutdown::Shutdown};

/// Why the side process does not run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UnboundMetricsError {
    /// The port could not be opened.
    #[error("cannot listen on {address}, as `--admin-address` says")]
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

/// Runs until it is told to stop. That Unbound is not there yet is no reason to end.
pub(crate) async fn run(args: UnboundMetricsArgs) -> Result<(), UnboundMetricsError> {
    let shutdown = Shutdown::on_signal().map_err(|source| UnboundMetricsError::Signals { source })?;
    let address = args.admin_address;
    let listener = TcpListener::bind(address)
        .await
        .map_err(|source| UnboundMetricsError::Listen { address, source })?;
    tracing::info!(%address, socket = %args.socket, "Unbound's numbers are served");
    let exporter = Exporter {
        listener,
        socket: args.socket,
    };
    serve(exporter, async move { shutdown.requested().await }).await;
    Ok(())
}
