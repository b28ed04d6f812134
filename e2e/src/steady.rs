//! A client that asks at a steady rate whatever happens meanwhile, and counts what nobody answered.
//!
//! Each question has a socket of its own and is sent once: what a stub resolver would paper over by asking again is a
//! loss here. The clock decides when to ask, not the last answer, so that an outage is not seen as fewer questions.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result, anyhow, ensure};
use tokio::{
    net::UdpSocket,
    task::JoinSet,
    time::{MissedTickBehavior, interval, timeout},
};

use crate::{
    dns::{API, Question, fresh_below},
    place::Place,
};

/// Questions a second where a test does not say another rate: one every 20 ms.
pub const RATE: u32 = 50;
/// An answer later than this is lost: resolvers of most systems ask again after five seconds.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long the first answer may take to come.
const BEGINS_WITHIN: Duration = Duration::from_secs(30);

/// From which ports it asks, in turn: the kernel tracks for half a minute to which pod of a Service a port's question went,
/// and leads the next one from there to the same pod, also while that one is gone and kube-proxy does not know yet. A
/// cluster loses such questions whenever a pod of any Service ends, whoever ends it. Below the kernel's own choice, so
/// that nobody else uses them.
const PORTS: std::ops::Range<u16> = 10_000..30_000;

/// What the client counted.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Tally {
    /// Questions that were asked.
    pub asked: u64,
    /// What went wrong, one line for each question.
    pub lost: Vec<String>,
}

/// What a client asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Names {
    /// The cluster's own API: always the same name.
    Api,
    /// A new name below this zone each time, so that no answer comes from a cache.
    FreshBelow(&'static str),
}

impl Names {
    fn question(self) -> Question {
        match self {
            Self::Api => Question::a(API),
            Self::FreshBelow(zone) => Question::a(fresh_below(zone)),
        }
    }
}

/// The client while it asks.
#[derive(Debug)]
pub struct Steady {
    place: Place,
    server: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<Tally>>>,
}

impl Steady {
    /// Begins to ask `server` from `place`, always for the same name of the cluster.
    #[must_use]
    pub fn start(place: &Place, server: SocketAddr) -> Self {
        Self::asking(place, server, Names::Api, RATE)
    }

    /// Begins to ask `server` from `place` for such names, so many a second.
    #[must_use]
    pub fn asking(place: &Place, server: SocketAddr, names: Names, rate: u32) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (from, told) = (place.clone(), Arc::clone(&stop));
        let thread = thread::spawn(move || {
            from.enter()?;
            // One thread, so that every socket is opened in the place that this thread has entered.
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(keep_asking(server, names, rate, &told))
        });
        Self {
            place: place.clone(),
            server,
            stop,
            thread: Some(thread),
        }
    }

    /// Stops, waits for the last answers, and returns the count.
    ///
    /// # Errors
    /// If the client could not ask at all.
    pub fn finish(mut self) -> Result<Tally> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self
            .thread
            .take()
            .context("the client has been stopped already")?;
        thread
            .join()
            .map_err(|_| anyhow!("the client in {} panicked", self.place))?
    }

    /// Stops and fails if a question was lost.
    ///
    /// # Errors
    /// If one was, with what happened; or if too few were asked to mean anything.
    pub fn lost_nothing(self) -> Result<u64> {
        let (place, server) = (self.place.clone(), self.server);
        let tally = self.finish()?;
        ensure!(
            tally.lost.is_empty(),
            "{} of {} questions from {place} to {server} were lost:\n{}",
            tally.lost.len(),
            tally.asked,
            tally.lost.iter().take(20).cloned().collect::<Vec<_>>().join("\n")
        );
        ensure!(
            tally.asked >= 10,
            "only {} questions were asked from {place}",
            tally.asked
        );
        Ok(tally.asked)
    }
}

impl Drop for Steady {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

async fn keep_asking(server: SocketAddr, names: Names, rate: u32, stop: &AtomicBool) -> Result<Tally> {
    let lost = Arc::new(Mutex::new(Vec::new()));
    let mut pending = JoinSet::new();
    let mut clock = interval(Duration::from_secs(1) / rate);
    clock.set_missed_tick_behavior(MissedTickBehavior::Burst);
    timeout(BEGINS_WITHIN, first_answer(server, names))
        .await
        .with_context(|| format!("{server} answered nothing to begin with"))??;
    let mut asked: u64 = 0;
    while !stop.load(Ordering::Relaxed) {
        clock.tick().await;
        asked += 1;
        let [.., high, low] = asked.to_be_bytes();
        let query = names.question().encode(u16::from_be_bytes([high, low]))?;
        let lost = Arc::clone(&lost);
        pending.spawn(async move {
            let at = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_millis();
            let problem = match timeout(PATIENCE, once(server, &query)).await {
                Err(_) => "no answer".to_owned(),
                Ok(Err(error)) => error.to_string(),
                Ok(Ok(0)) => return,
                Ok(Ok(code)) => format!("response code {code}"),
            };
            lost.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(format!("{at} ms: question {asked}: {problem}"));
        });
        while pending.try_join_next().is_some() {}
    }
    while pending.join_next().await.is_some() {}
    let lost = std::mem::take(&mut *lost.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(Tally { asked, lost })
}

/// Waits until the server answers at all: a node's proxy knows new pods only some time after they are ready, and what
/// was never served cannot be lost.
async fn first_answer(server: SocketAddr, names: Names) -> Result<()> {
    let query = names.question().encode(0)?;
    let mut clock = interval(Duration::from_secs(1) / RATE);
    while !matches!(timeout(PATIENCE, once(server, &query)).await, Ok(Ok(0))) {
        clock.tick().await;
    }
    Ok(())
}

/// Asks once; the response code.
async fn once(server: SocketAddr, query: &[u8]) -> std::io::Result<u8> {
    let any: IpAddr = if server.is_ipv4() {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    };
    let socket = UdpSocket::bind(SocketAddr::new(any, next_port())).await?;
    socket.connect(server).await?;
    socket.send(query).await?;
    let mut buffer = [0; 4096];
    loop {
        let length = socket.recv(&mut buffer).await?;
        if length >= 12 && buffer.get(..2) == query.get(..2) {
            return Ok(buffer[3] & 15);
        }
    }
}

fn next_port() -> u16 {
    static TURN: AtomicU32 = AtomicU32::new(0);
    let turn = TURN.fetch_add(1, Ordering::Relaxed) % u32::from(PORTS.end - PORTS.start);
    PORTS.start + u16::try_from(turn).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// A server that answers every second question, and tells of each that it got.
    fn half_a_server() -> (SocketAddr, mpsc::Receiver<()>) {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let (tell, told) = mpsc::channel();
        thread::spawn(move || {
            let mut buffer = [0; 512];
            for number in 0_u32.. {
                let Ok((length, from)) = socket.recv_from(&mut buffer) else {
                    return;
                };
                buffer[3] = 0;
                if number.is_multiple_of(2) {
                    let _ = socket.send_to(&buffer[..length], from);
                }
                let _ = tell.send(());
            }
        });
        (address, told)
    }

    #[test]
    fn what_nobody_answers_is_lost() {
        let (server, told) = half_a_server();
        let client = Steady::start(&Place::node(), server);
        assert_eq!(told.iter().take(11).count(), 11);
        let tally = client.finish().unwrap();
        assert!(tally.asked >= 10, "{tally:?}");
        // The first answer began the count, so it is every second question from the first on that is lost.
        assert_eq!(
            u64::try_from(tally.lost.len()).unwrap(),
            tally.asked.div_ceil(2),
            "{tally:?}"
        );
    }
}
