//! Collects the names that resolvers are asked for, which they tell over dnstap: only while somebody wants them, only
//! from the resolvers that were named, and only in memory.
//!
//! A resolver connects by itself, says what it is asked, and is never answered anything; nothing of it is logged.
//! Bounded are the connections ([`MAX_CONNECTIONS`]), the frames, the names ([`Collected::MOST_NAMES`]) and the time:
//! [`Collect::LONGEST`] after the last word of whoever wants them, everything is forgotten.

mod frames;
mod most;
mod tap;

use std::{
    collections::{BTreeMap, BTreeSet},
    future::pending,
    io,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    io::BufReader,
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    time::{Instant, sleep_until},
};
use tsutsumi_model::{Collect, Collected, DomainName};

use self::most::Most;
use crate::serving::accept;

pub use self::tap::{Told, told};

/// Connections of resolvers: each of their server blocks has one.
const MAX_CONNECTIONS: usize = 16;

/// What is collected at present, if anything.
#[derive(Debug)]
pub(crate) struct Collector {
    under_way: Mutex<Option<UnderWay>>,
    /// Until when; tells whoever waits for the end.
    until: watch::Sender<Option<Instant>>,
}

#[derive(Debug)]
struct UnderWay {
    since: Instant,
    until: Instant,
    peers: BTreeSet<IpAddr>,
    apart: Vec<DomainName>,
    connected: BTreeMap<IpAddr, usize>,
    questions: u64,
    unreadable: u64,
    most: Most,
}

/// What is asked for is more than a collector does.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "ask for at most {} s from at most {} peers, with at most {} names apart",
    Collect::LONGEST,
    Collect::MOST_PEERS,
    Collect::MOST_APART
)]
pub(crate) struct TooMuch;

impl Default for Collector {
    fn default() -> Self {
        Self {
            under_way: Mutex::default(),
            until: watch::Sender::new(None),
        }
    }
}

impl Collector {
    /// Begins, or goes on with other peers and until another time, and tells what there is. For no time at all it ends,
    /// and forgets.
    pub(crate) fn collect(&self, asked: Collect) -> Result<Collected, TooMuch> {
        let within = asked.seconds <= Collect::LONGEST
            && asked.peers.len() <= Collect::MOST_PEERS
            && asked.apart.len() <= Collect::MOST_APART;
        if !within {
            return Err(TooMuch);
        }
        let now = Instant::now();
        let until = now + Duration::from_secs(asked.seconds.into());
        let told = self.with(|under_way| {
            let current = under_way.get_or_insert_with(|| UnderWay::begun(now));
            current.until = until;
            current.peers = asked.peers.iter().map(IpAddr::to_canonical).collect();
            current.apart = asked.apart;
            let told = current.told(now);
            if until == now {
                *under_way = None;
            }
            told
        });
        self.until.send_replace((until > now).then_some(until));
        Ok(told)
    }

    /// Takes what resolvers tell until `stopped`.
    pub(crate) async fn serve(self: Arc<Self>, listener: TcpListener, stopped: watch::Receiver<()>) {
        let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let mut stop = stopped.clone();
        let taking = accept(listener, stopped.clone(), {
            let collector = Arc::clone(&self);
            move |stream| {
                let (collector, places) = (Arc::clone(&collector), Arc::clone(&places));
                let mut stop = stopped.clone();
                async move {
                    let Ok(_place) = places.try_acquire() else {
                        return;
                    };
                    tokio::select! {
                        _ = stop.changed() => {}
                        () = collector.listen_to(stream) => {}
                    }
                }
            }
        });
        let forgetting = async {
            tokio::select! {
                _ = stop.changed() => {}
                () = self.forget_in_time() => {}
            }
        };
        tokio::join!(taking, forgetting);
    }

    /// Until it stops by itself, or is no longer wanted.
    async fn listen_to(&self, stream: TcpStream) {
        let Ok(peer) = stream.peer_addr().map(|peer| peer.ip().to_canonical()) else {
            return;
        };
        let Some(_entry) = self.enter(peer) else {
            tracing::debug!(%peer, "a connection that tells of names was not asked for");
            return;
        };
        let mut until = self.until.subscribe();
        let unwanted = async { while self.wants(peer) && until.changed().await.is_ok() {} };
        tokio::select! {
            () = unwanted => {}
            taken = self.take(peer, stream) => if let Err(error) = taken {
                tracing::debug!(%peer, %error, "a connection that told of names broke off");
            }
        }
    }

    async fn take(&self, peer: IpAddr, stream: TcpStream) -> io::Result<()> {
        let mut stream = BufReader::new(stream);
        frames::greet(&mut stream).await?;
        let mut frame = Vec::new();
        while frames::next(&mut stream, &mut frame).await? {
            let told = told(&frame);
            self.with(|under_way| {
                if let Some(current) = under_way.as_mut().filter(|current| current.peers.contains(&peer)) {
                    current.count(told);
                }
            });
        }
        Ok(())
    }

    /// Ends what has had its time.
    async fn forget_in_time(&self) {
        let mut until = self.until.subscribe();
        loop {
            let end = *until.borrow_and_update();
            let over = async {
                match end {
                    Some(end) => sleep_until(end).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                changed = until.changed() => if changed.is_err() {
                    return;
                },
                () = over => {
                    self.with(|under_way| {
                        // More time may have been asked for just now.
                        if under_way.as_ref().is_some_and(|current| current.until <= Instant::now()) {
                            *under_way = None;
                        }
                    });
                    self.until.send_if_modified(|until| {
                        let over = *until == end;
                        if over {
                            *until = None;
                        }
                        over
                    });
                }
            }
        }
    }

    fn wants(&self, peer: IpAddr) -> bool {
        self.with(|under_way| {
            under_way
                .as_ref()
                .is_some_and(|current| current.until > Instant::now() && current.peers.contains(&peer))
        })
    }

    fn enter(&self, peer: IpAddr) -> Option<Entry<'_>> {
        if !self.wants(peer) {
            return None;
        }
        self.with(|under_way| {
            let current = under_way.as_mut()?;
            *current.connected.entry(peer).or_default() += 1;
            Some(Entry {
                collector: self,
                peer,
                since: current.since,
            })
        })
    }

    fn with<T>(&self, work: impl FnOnce(&mut Option<UnderWay>) -> T) -> T {
        work(&mut self.under_way.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl UnderWay {
    fn begun(now: Instant) -> Self {
        Self {
            since: now,
            until: now,
            peers: BTreeSet::new(),
            apart: Vec::new(),
            connected: BTreeMap::new(),
            questions: 0,
            unreadable: 0,
            most: Most::default(),
        }
    }

    fn count(&mut self, told: Told) {
        match told {
            Told::Other => {}
            Told::Unreadable => {
                self.questions = self.questions.saturating_add(1);
                self.unreadable = self.unreadable.saturating_add(1);
            }
            Told::Question { name, qtype } => {
                self.questions = self.questions.saturating_add(1);
                if !self.apart.iter().any(|zone| name.is_within(zone)) {
                    self.most.count(name, qtype);
                }
            }
        }
    }

    fn told(&self, now: Instant) -> Collected {
        Collected {
            seconds: now.duration_since(self.since).as_secs(),
            connected: self.connected.keys().copied().collect(),
            questions: self.questions,
            unreadable: self.unreadable,
            names: self.most.told(),
        }
    }
}

/// A connection that counts.
struct Entry<'a> {
    collector: &'a Collector,
    peer: IpAddr,
    since: Instant,
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        self.collector.with(|under_way| {
            // What was begun since knows nothing of it.
            let Some(current) = under_way.as_mut().filter(|current| current.since == self.since) else {
                return;
            };
            if let Some(count) = current.connected.get_mut(&self.peer) {
                *count -= 1;
                if *count == 0 {
                    current.connected.remove(&self.peer);
                }
            }
        });
    }
}

#[cfg(test)]
mod tests;
