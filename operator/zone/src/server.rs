//! One probe zone under way: what its sockets share, and the keys that come and change while it runs.

use std::{
    future::Future,
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    time::{Duration, SystemTime},
};

use ipnet::IpNet;
use tokio::{
    net::{TcpListener, UdpSocket},
    sync::watch,
    time::{Instant, sleep},
};
use tsutsumi_model::{Arrival, Arrivals, Transport};
use tsutsumi_probes::{Lack, Ports, serve_router};

use crate::{
    answer::{Answer, Asked, Noted, Zone, ZoneError},
    apex::Apex,
    arrivals::Memory,
    control,
    keys::{KeyDir, KeyError, ds},
    limit::Limiter,
    query::{Query, Unanswerable},
    reply::{datagram_limit, encode},
    tcp, udp,
};

/// How often the key files are looked at.
const KEY_PERIOD: Duration = Duration::from_secs(2);

/// Everything that a probe zone needs.
#[derive(Debug)]
pub struct ProbeZone {
    /// Its name.
    pub apex: Apex,
    /// Where its keys are.
    pub keys: KeyDir,
    /// Who may ask; all others get no answer.
    pub allow: Vec<IpNet>,
    /// Where questions come in.
    pub udp: UdpSocket,
    /// The same, over TCP.
    pub tcp: TcpListener,
    /// Where the controller and the kubelet ask.
    pub control: Ports,
}

/// Serves until `shutdown` completes. Without keys it lives, but answers nobody and is not ready.
pub async fn serve(zone: ProbeZone, shutdown: impl Future<Output = ()>) {
    let desk = Arc::new(Desk::new(zone.apex, zone.allow));
    let (stop, stopped) = watch::channel(());
    let ready = {
        let desk = Arc::clone(&desk);
        move || desk.zone().map(drop).ok_or_else(|| Lack::from(Keyless))
    };
    let control = control::router(Arc::clone(&desk));
    let shutdown = async {
        shutdown.await;
        drop(stop);
    };
    tokio::join!(
        keep_keys(zone.keys, &desk, stopped.clone()),
        udp::serve(zone.udp, Arc::clone(&desk), stopped.clone()),
        tcp::serve(zone.tcp, Arc::clone(&desk), stopped),
        serve_router(zone.control, control, ready, shutdown),
    );
}

#[derive(Debug, thiserror::Error)]
#[error("no usable keys of the zone")]
struct Keyless;

#[derive(Debug, thiserror::Error)]
enum TakeError {
    #[error("cannot read the keys of the zone")]
    Keys(#[from] KeyError),
    #[error("cannot make the zone")]
    Zone(#[from] ZoneError),
}

/// Never returns before `stopped`.
async fn keep_keys(mut dir: KeyDir, desk: &Desk, mut stopped: watch::Receiver<()>) {
    loop {
        if let Err(error) = desk.take_keys(&mut dir) {
            let error: &(dyn std::error::Error + 'static) = &error;
            // Until the controller has made them, this is as it should be.
            if desk.zone().is_some() {
                tracing::warn!(error, "keeping the former keys");
            } else {
                tracing::info!(error, "waiting for keys");
            }
        }
        tokio::select! {
            _ = stopped.changed() => return,
            () = sleep(KEY_PERIOD) => {}
        }
    }
}

/// What all sockets share.
#[derive(Debug)]
pub(crate) struct Desk {
    apex: Apex,
    allow: Vec<IpNet>,
    zone: RwLock<Option<Arc<Zone>>>,
    memory: Mutex<Memory>,
    limiter: Mutex<Limiter>,
}

/// A message to send back.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) bytes: Vec<u8>,
    pub(crate) slow: bool,
}

impl Desk {
    pub(crate) fn new(apex: Apex, allow: Vec<IpNet>) -> Self {
        Self {
            apex,
            allow,
            zone: RwLock::default(),
            memory: Mutex::default(),
            limiter: Mutex::default(),
        }
    }

    fn take_keys(&self, dir: &mut KeyDir) -> Result<(), TakeError> {
        if let Some(keys) = dir.changed()? {
            let anchor = ds(&self.apex, &keys.zone)?;
            let zone = Zone::new(&self.apex, keys)?;
            *self.zone.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(zone));
            // Whoever runs a resolver of their own finds here what it is to trust.
            tracing::info!(zone = %self.apex, anchor, "the zone has its keys");
        }
        Ok(())
    }

    fn zone(&self) -> Option<Arc<Zone>> {
        self.zone.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn tell(&self, sample: u32) -> Arrivals {
        self.memory().tell(sample)
    }

    /// Whether this source is served at all.
    pub(crate) fn serves(&self, from: IpAddr) -> bool {
        let from = from.to_canonical();
        self.allow.iter().any(|network| network.contains(&from))
    }

    /// The answer to one message, if it gets any.
    pub(crate) fn reply(&self, message: &[u8], from: SocketAddr, transport: Transport) -> Option<Reply> {
        let from = SocketAddr::new(from.ip().to_canonical(), from.port());
        if !self.serves(from.ip()) {
            return None;
        }
        let mut limiter = self.limiter.lock().unwrap_or_else(PoisonError::into_inner);
        let admitted = limiter.admit(from.ip(), Instant::now());
        drop(limiter);
        let zone = self.zone().filter(|_| admitted)?;
        let query = match Query::read(message) {
            Ok(query) => query,
            Err(Unanswerable::Header(header)) => {
                return Some(Reply {
                    bytes: header.to_vec(),
                    slow: false,
                });
            }
            Err(Unanswerable::Silence) => return None,
        };
        let clock = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let asked = Asked {
            query: &query,
            from,
            now: clock.as_secs(),
        };
        let answer = zone.answer(asked).inspect_err(|error| {
            let error: &(dyn std::error::Error + 'static) = error;
            tracing::warn!(error, "no answer");
        });
        let answer: Answer = answer.ok()?;
        self.note(&query, &answer, from, transport, clock);
        let limit = match transport {
            Transport::Udp => datagram_limit(&query),
            Transport::Tcp => usize::from(u16::MAX),
        };
        let slow = answer.is_slow();
        let bytes = encode(&query, answer, limit).ok()?;
        Some(Reply { bytes, slow })
    }

    fn note(&self, query: &Query, answer: &Answer, from: SocketAddr, transport: Transport, clock: Duration) {
        let mark = match answer.noted {
            Noted::Plain => return,
            Noted::Expired => return self.memory().count_expired(),
            Noted::Unmarked => return self.memory().count_unmarked(),
            Noted::Mark(mark) => mark,
        };
        let label = query.name.iter().next().unwrap_or_default();
        self.memory().add(Arrival {
            at: u64::try_from(clock.as_millis()).unwrap_or(u64::MAX),
            from,
            transport,
            id: query.id,
            mark,
            mixed_case: label.iter().any(u8::is_ascii_lowercase) && label.iter().any(u8::is_ascii_uppercase),
            qtype: query.qtype.into(),
            edns: query.edns.map(|offer| offer.size),
            dnssec_ok: query.dnssec_ok,
            checking_disabled: query.checking_disabled,
            recursion_desired: query.recursion_desired,
            query_bytes: query.bytes,
        });
    }
}
