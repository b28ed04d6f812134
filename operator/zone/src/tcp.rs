//! Questions over TCP: a bounded number of connections, of one source no more than a quarter, each with little time.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    time::{sleep, timeout},
};
use tsutsumi_model::Transport;
use tsutsumi_probes::accept;

use crate::{server::Desk, udp::SLOW};

/// Connections of one source.
const MAX_PER_SOURCE: usize = 16;
/// The largest question that is read.
const LARGEST_QUESTION: usize = 4096;
/// For one question to come in, the time before it included, and for one answer to be taken.
const PATIENCE: Duration = Duration::from_secs(5);
/// For a connection.
const CONNECTION: Duration = Duration::from_secs(30);

pub(crate) async fn serve(listener: TcpListener, desk: Arc<Desk>, stopped: watch::Receiver<()>) {
    let sources = Arc::new(Sources::default());
    accept(listener, stopped, move |stream| {
        let (desk, sources) = (Arc::clone(&desk), Arc::clone(&sources));
        async move {
            let Ok(from) = stream.peer_addr() else {
                return;
            };
            let Some(_place) = sources.enter(from.ip()).filter(|_| desk.serves(from.ip())) else {
                return;
            };
            match timeout(CONNECTION, converse(stream, from, &desk)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(%error, %from, "connection broke off"),
                Err(_) => tracing::debug!(%from, "connection closed: it took too long"),
            }
        }
    })
    .await;
}

/// Until the asker has no more questions, or one gets no answer.
async fn converse(mut stream: TcpStream, from: SocketAddr, desk: &Desk) -> io::Result<()> {
    loop {
        let Some(question) = timeout(PATIENCE, read(&mut stream)).await?? else {
            return Ok(());
        };
        let Some(reply) = desk.reply(&question, from, Transport::Tcp) else {
            return Ok(());
        };
        if reply.slow {
            sleep(SLOW).await;
        }
        let length = u16::try_from(reply.bytes.len()).map_err(io::Error::other)?;
        let framed = [&length.to_be_bytes()[..], &reply.bytes].concat();
        timeout(PATIENCE, stream.write_all(&framed)).await??;
    }
}

/// One message with its length in front (RFC 1035, 4.2.2); none if it is larger than any question.
async fn read(stream: &mut TcpStream) -> io::Result<Option<Vec<u8>>> {
    let length = usize::from(stream.read_u16().await?);
    if length > LARGEST_QUESTION {
        return Ok(None);
    }
    let mut message = vec![0; length];
    stream.read_exact(&mut message).await?;
    Ok(Some(message))
}

/// How many connections each source has.
#[derive(Debug, Default)]
struct Sources(Mutex<HashMap<IpAddr, usize>>);

impl Sources {
    fn enter(self: &Arc<Self>, source: IpAddr) -> Option<Place> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(source).or_default();
        if *count >= MAX_PER_SOURCE {
            return None;
        }
        *count += 1;
        Some(Place {
            sources: Arc::clone(self),
            source,
        })
    }
}

#[derive(Debug)]
struct Place {
    sources: Arc<Sources>,
    source: IpAddr,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.sources.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.source) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.source);
            }
        }
    }
}
