//! `tsutsumi probe-zone`: wires the zone's sockets to its keys and certificates.

use std::{io, net::SocketAddr};

use tokio::net::{TcpListener, UdpSocket};
use tsutsumi_probes::{Credentials, Ports};
use tsutsumi_zone::{KeyDir, ProbeZone, serve};

use super::{args::ProbeZoneArgs, shutdown::Shutdown};

/// Why the probe zone does not run.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProbeZoneError {
    /// A port could not be opened.
    #[error("cannot listen on {address} over {transport}, as `{flag}` says")]
    Listen {
        /// Which argument named it.
        flag: &'static str,
        /// Where.
        address: SocketAddr,
        /// UDP or TCP.
        transport: &'static str,
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
pub(crate) async fn run(args: ProbeZoneArgs) -> Result<(), ProbeZoneError> {
    let shutdown = Shutdown::on_signal().map_err(|source| ProbeZoneError::Signals { source })?;
    let udp = UdpSocket::bind(args.listen).await;
    let zone = ProbeZone {
        udp: udp.map_err(refused("--listen", args.listen, "UDP"))?,
        tcp: listen("--listen", args.listen).await?,
        control: Ports {
            listener: listen("--control", args.control).await?,
            health: listen("--admin-address", args.admin_address).await?,
            credentials: Credentials::server(args.tls_dir),
        },
        apex: args.zone,
        keys: KeyDir::new(args.key_dir),
        allow: args.allow,
    };
    tracing::info!(address = %args.listen, zone = %zone.apex, "the probe zone listens");
    serve(zone, async move { shutdown.requested().await }).await;
    Ok(())
}

async fn listen(flag: &'static str, address: SocketAddr) -> Result<TcpListener, ProbeZoneError> {
    TcpListener::bind(address)
        .await
        .map_err(refused(flag, address, "TCP"))
}

fn refused(
    flag: &'static str,
    address: SocketAddr,
    transport: &'static str,
) -> impl FnOnce(io::Error) -> ProbeZoneError {
    move |source| ProbeZoneError::Listen {
        flag,
        address,
        transport,
        source,
    }
}
