//! Questions over UDP: one at a time, each answered before the next is read, except what is to be slow.

use std::{sync::Arc, time::Duration};

use tokio::{
    net::UdpSocket,
    sync::{Semaphore, watch},
    time::sleep,
};
use tsutsumi_model::Transport;

use crate::server::Desk;

/// The largest question that is read; of a larger one the rest is lost, and it is malformed.
const LARGEST_QUESTION: usize = 4096;
/// How late a slow answer is.
pub(crate) const SLOW: Duration = Duration::from_millis(1500);
/// Slow answers under way; one more gets none.
const MAX_SLOW: usize = 256;
/// After a failed read.
const PAUSE: Duration = Duration::from_millis(100);

pub(crate) async fn serve(socket: UdpSocket, desk: Arc<Desk>, mut stopped: watch::Receiver<()>) {
    let socket = Arc::new(socket);
    let places = Arc::new(Semaphore::new(MAX_SLOW));
    let mut buffer = vec![0; LARGEST_QUESTION];
    loop {
        let read = tokio::select! {
            _ = stopped.changed() => return,
            read = socket.recv_from(&mut buffer) => read,
        };
        let (length, from) = match read {
            Ok(read) => read,
            Err(error) => {
                tracing::warn!(%error, "cannot read a datagram");
                sleep(PAUSE).await;
                continue;
            }
        };
        let Some(reply) = desk.reply(&buffer[..length], from, Transport::Udp) else {
            continue;
        };
        if !reply.slow {
            send(&socket, &reply.bytes, from).await;
        } else if let Ok(place) = Arc::clone(&places).try_acquire_owned() {
            let socket = Arc::clone(&socket);
            tokio::spawn(async move {
                sleep(SLOW).await;
                send(&socket, &reply.bytes, from).await;
                drop(place);
            });
        }
    }
}

async fn send(socket: &UdpSocket, bytes: &[u8], to: std::net::SocketAddr) {
    if let Err(error) = socket.send_to(bytes, to).await {
        tracing::debug!(%error, %to, "cannot send an answer");
    }
}
