//! How fast anybody is answered, and all together.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    time::Duration,
};

use tokio::time::Instant;

/// Questions per second from one source; a measurement asks a tenth of that.
const PER_SOURCE: u32 = 1000;
/// Questions per second from all.
const ALL: u32 = 5000;
/// What may come at once, as time at the full rate.
const BURST: Duration = Duration::from_secs(1);
/// Sources that are told apart; others share one allowance.
const MAX_SOURCES: usize = 1024;

#[derive(Debug, Default)]
pub(crate) struct Limiter {
    all: Meter,
    others: Meter,
    sources: HashMap<IpAddr, Meter>,
}

impl Limiter {
    /// Whether a question that comes now is within the limits.
    pub(crate) fn admit(&mut self, from: IpAddr, now: Instant) -> bool {
        let source = source(from);
        if self.sources.len() >= MAX_SOURCES && !self.sources.contains_key(&source) {
            self.sources.retain(|_, meter| !meter.is_full(now));
        }
        let room = self.sources.len() < MAX_SOURCES || self.sources.contains_key(&source);
        let meter = if room {
            self.sources.entry(source).or_default()
        } else {
            &mut self.others
        };
        meter.take(PER_SOURCE, now) && self.all.take(ALL, now)
    }
}

/// An IPv6 host has a whole network to send from.
fn source(from: IpAddr) -> IpAddr {
    match from {
        IpAddr::V4(_) => from,
        IpAddr::V6(address) => Ipv6Addr::from(u128::from(address) & (u128::MAX << 64)).into(),
    }
}

/// A token bucket as one moment: that at which it would be empty no more.
#[derive(Debug, Default)]
struct Meter {
    next: Option<Instant>,
}

impl Meter {
    fn take(&mut self, per_second: u32, now: Instant) -> bool {
        let full = now.checked_sub(BURST).unwrap_or(now);
        let next = self.next.map_or(full, |next| next.max(full));
        if next > now {
            return false;
        }
        self.next = Some(next + Duration::from_secs(1) / per_second);
        true
    }

    fn is_full(&self, now: Instant) -> bool {
        self.next.is_none_or(|next| next + BURST <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admitted(limiter: &mut Limiter, now: Instant, sources: impl Iterator<Item = IpAddr>) -> usize {
        sources.filter(|source| limiter.admit(*source, now)).count()
    }

    fn address(n: u32) -> IpAddr {
        IpAddr::from((0x0a00_0000 + n).to_be_bytes())
    }

    #[test]
    fn a_source_has_its_rate_and_leaves_the_others_theirs() {
        let (mut limiter, start) = (Limiter::default(), Instant::now());
        let flood = |n| std::iter::repeat_n(address(1), n);
        let first = admitted(&mut limiter, start, flood(3000));
        assert!((1000..=1001).contains(&first), "{first}");
        assert!(limiter.admit(address(2), start));
        let later = start + Duration::from_millis(500);
        let second = admitted(&mut limiter, later, flood(3000));
        assert!((499..=501).contains(&second), "{second}");
    }

    #[test]
    fn all_together_have_a_rate() {
        let (mut limiter, start) = (Limiter::default(), Instant::now());
        let all = admitted(&mut limiter, start, (0..20_000).map(|n| address(n % 500)));
        assert!((5000..=5001).contains(&all), "{all}");
    }

    #[test]
    fn a_whole_network_of_ipv6_is_one_source() {
        let (mut limiter, start) = (Limiter::default(), Instant::now());
        let hosts = (0..3000u16).map(|n| IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, n]));
        let count = admitted(&mut limiter, start, hosts);
        assert!((1000..=1001).contains(&count), "{count}");
    }

    #[test]
    fn sources_without_number_take_no_memory_without_bound() {
        let (mut limiter, start) = (Limiter::default(), Instant::now());
        admitted(&mut limiter, start, (0..10_000).map(address));
        assert_eq!(limiter.sources.len(), MAX_SOURCES);
        let later = start + Duration::from_secs(10);
        assert!(limiter.admit(address(1_000_000), later));
        assert_eq!(limiter.sources.len(), 1, "who rests is forgotten");
    }
}
