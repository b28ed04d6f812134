//! The one way from a probe to the network.
//!
//! [`Egress::admit`] judges the address, waits for the target's turn, for a free slot and for the common rate, and
//! hands out a [`Pass`]; only a pass opens a socket, and only to the endpoint that was judged. Nothing is resolved,
//! nothing is redirected. Names that a user or the DNS supplied are not endpoints and will need rules of their own.

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    num::NonZeroU32,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use ipnet::IpNet;
use tokio::{
    net::{TcpStream, UdpSocket},
    sync::{Semaphore, SemaphorePermit},
    time::{Instant, sleep_until},
};
use tsutsumi_model::Endpoint;

use crate::address::{Denied, check};

/// No probe waits longer for its target than this.
pub const MAX_PATIENCE: Duration = Duration::from_secs(5);

/// How many targets may be remembered before those that are at rest are forgotten.
const REMEMBERED: usize = 1024;

/// What probes may do, and how much of it.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Whether the prober's own host may be asked: for tests and for probers beside a node-local resolver.
    pub loopback: bool,
    /// Ranges that stay closed, such as the API server's.
    pub closed: Vec<IpNet>,
    /// How long one probe waits for its target; more than [`MAX_PATIENCE`] counts as that.
    pub patience: Duration,
    /// Probes under way at one time.
    pub concurrency: NonZeroU32,
    /// Probes per second, all together.
    pub rate: NonZeroU32,
    /// Probes per second to one address.
    pub target_rate: NonZeroU32,
}

impl Default for Rules {
    fn default() -> Self {
        const fn count(n: u32) -> NonZeroU32 {
            match NonZeroU32::new(n) {
                Some(n) => n,
                None => NonZeroU32::MIN,
            }
        }
        Self {
            loopback: false,
            closed: Vec::new(),
            patience: MAX_PATIENCE,
            concurrency: count(128),
            rate: count(500),
            target_rate: count(150),
        }
    }
}

/// The guard that all probes of one process share.
#[derive(Debug)]
pub struct Egress {
    rules: Rules,
    slots: Semaphore,
    all: Mutex<Meter>,
    targets: Mutex<HashMap<IpAddr, Meter>>,
}

impl Egress {
    /// A guard with these rules.
    #[must_use]
    pub fn new(rules: Rules) -> Self {
        let slots = usize::try_from(rules.concurrency.get()).unwrap_or(1);
        Self {
            slots: Semaphore::new(slots.min(Semaphore::MAX_PERMITS)),
            all: Mutex::default(),
            targets: Mutex::default(),
            rules,
        }
    }

    /// Lets one probe out to one endpoint, when its turn has come.
    ///
    /// # Errors
    /// If the rules close that address; no time passes then and nothing is sent.
    pub async fn admit(&self, target: Endpoint) -> Result<Pass<'_>, Denied> {
        check(target.address, self.rules.loopback, &self.rules.closed).inspect_err(|why| {
            tracing::warn!(%target, %why, "probe refused by the egress rules");
        })?;
        let turn = self.target_turn(target.address);
        sleep_until(turn).await;
        // The semaphore is never closed, so an error cannot come; without a permit the probe would merely be unbounded.
        let slot = self.slots.acquire().await.ok();
        let turn = self
            .all
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .next(self.rules.rate);
        sleep_until(turn).await;
        Ok(Pass {
            target,
            patience: self.rules.patience.min(MAX_PATIENCE),
            _slot: slot,
        })
    }

    fn target_turn(&self, address: IpAddr) -> Instant {
        let mut targets = self.targets.lock().unwrap_or_else(PoisonError::into_inner);
        if targets.len() >= REMEMBERED {
            let now = Instant::now();
            targets.retain(|_, meter| meter.next > now);
        }
        targets.entry(address).or_default().next(self.rules.target_rate)
    }
}

/// Leave to exchange with one endpoint, once. Holds a slot until dropped.
#[derive(Debug)]
pub struct Pass<'a> {
    target: Endpoint,
    patience: Duration,
    _slot: Option<SemaphorePermit<'a>>,
}

impl Pass<'_> {
    /// How long the probe may wait for this target.
    #[must_use]
    pub fn patience(&self) -> Duration {
        self.patience
    }

    /// A TCP connection to the endpoint.
    ///
    /// # Errors
    /// As the operating system says.
    pub async fn connect(&self) -> io::Result<TcpStream> {
        let stream = TcpStream::connect(self.target.socket()).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// A UDP socket on a fresh port that hears the endpoint alone, port unreachable messages included.
    ///
    /// # Errors
    /// As the operating system says.
    pub async fn udp(&self) -> io::Result<UdpSocket> {
        let any: IpAddr = match self.target.address {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = UdpSocket::bind((any, 0)).await?;
        socket.connect(self.target.socket()).await?;
        Ok(socket)
    }
}

/// A token bucket as one moment: that at which the next token is due. Holds a tenth of a second's worth of tokens.
#[derive(Debug)]
struct Meter {
    next: Instant,
}

impl Default for Meter {
    fn default() -> Self {
        Self { next: Instant::now() }
    }
}

impl Meter {
    /// Takes the next token; the answer is when it may be spent.
    fn next(&mut self, per_second: NonZeroU32) -> Instant {
        const BURST: Duration = Duration::from_millis(100);
        let now = Instant::now();
        let full = now.checked_sub(BURST).unwrap_or(now);
        let turn = self.next.max(full);
        self.next = turn + Duration::from_secs(1) / per_second.get();
        turn.max(now)
    }
}

#[cfg(test)]
mod tests {
    use tsutsumi_model::Port;

    use super::*;

    fn count(n: u32) -> NonZeroU32 {
        NonZeroU32::new(n).unwrap()
    }

    fn endpoint(address: &str) -> Endpoint {
        Endpoint {
            address: address.parse().unwrap(),
            port: Port::new(53).unwrap(),
        }
    }

    /// Paused time: nothing here touches the network.
    #[tokio::test(start_paused = true)]
    async fn one_target_is_asked_no_faster_than_its_rate_and_holds_up_no_other() {
        let egress = Egress::new(Rules {
            target_rate: count(10),
            rate: count(1_000_000),
            ..Rules::default()
        });
        let start = Instant::now();
        for _ in 0..22 {
            egress.admit(endpoint("192.0.2.1")).await.unwrap();
        }
        let busy = start.elapsed();
        assert!(
            busy >= Duration::from_secs(2),
            "{busy:?} for 22 probes at 10 per second"
        );
        let other = Instant::now();
        egress.admit(endpoint("192.0.2.2")).await.unwrap();
        assert!(
            other.elapsed() < Duration::from_millis(5),
            "another target had to wait"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn all_targets_together_keep_the_common_rate() {
        let egress = Egress::new(Rules {
            rate: count(100),
            ..Rules::default()
        });
        let start = Instant::now();
        for last in 0..=220u32 {
            let address = Ipv4Addr::from(0xc000_0200 + (last % 250));
            egress.admit(endpoint(&address.to_string())).await.unwrap();
        }
        assert!(start.elapsed() >= Duration::from_secs(2), "{:?}", start.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_slot_is_free_again_when_the_pass_is_dropped() {
        let egress = Egress::new(Rules {
            concurrency: count(1),
            ..Rules::default()
        });
        let held = egress.admit(endpoint("192.0.2.1")).await.unwrap();
        let second = egress.admit(endpoint("192.0.2.2"));
        tokio::pin!(second);
        let early = tokio::time::timeout(Duration::from_secs(60), &mut second).await;
        assert!(early.is_err(), "two passes with one slot");
        drop(held);
        second.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn targets_at_rest_are_forgotten() {
        let egress = Egress::new(Rules {
            rate: count(1_000_000),
            ..Rules::default()
        });
        for n in 0..5000u32 {
            let address = Ipv4Addr::from(0xc612_0000 + n);
            egress.admit(endpoint(&address.to_string())).await.unwrap();
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        assert!(egress.targets.lock().unwrap().len() <= REMEMBERED);
    }

    #[tokio::test]
    async fn a_closed_address_gets_no_pass_and_patience_has_a_ceiling() {
        let egress = Egress::new(Rules {
            patience: Duration::from_secs(3600),
            ..Rules::default()
        });
        let refused = egress.admit(endpoint("::ffff:169.254.169.254")).await;
        assert_eq!(refused.unwrap_err(), Denied::Metadata);
        let pass = egress.admit(endpoint("192.0.2.1")).await.unwrap();
        assert_eq!(pass.patience(), MAX_PATIENCE);
    }
}
