//! From where on a number accuses, by the size of the sample.
//!
//! What is judged of one good resolver (ports inside, ports after NAT, ids) may together accuse it once in 1,000
//! measurements. So each may do so about three times in 10,000: the reused values at most [`CHANCE`], the correlation, at
//! four standard errors, 0.6 in 10,000, and the others almost never.

use super::real;

/// Size of Linux's default ephemeral range 32768–60999, the smallest range that counts as honest.
const PORTS: f64 = 28_232.0;

/// Ids have 16 bits (RFC 1035, 4.1.1).
const IDS: f64 = 65_536.0;

/// How likely an honest source may show more reused values than its limit.
const CHANCE: f64 = 2.5e-4;

/// The limits of one sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Values that may be used again: more accuse.
    pub reused: usize,
    /// Share of one step: so much or more accuses.
    pub same_step: f64,
    /// Share of steps in a window of 256: so much or more accuses.
    pub near_step: f64,
    /// Autocorrelation of neighbours, with either sign: so much or more accuses.
    pub lag1: f64,
    /// One value in a row: more accuse.
    pub run: usize,
}

impl Limits {
    /// Those for so many ports.
    #[must_use]
    pub fn of_ports(n: usize) -> Self {
        Self::within(PORTS, n)
    }

    /// Those for so many ids.
    #[must_use]
    pub fn of_ids(n: usize) -> Self {
        Self::within(IDS, n)
    }

    fn within(range: f64, n: usize) -> Self {
        let n = real(n);
        Self {
            reused: most_reused(n, range),
            same_step: (4.0 / n).max(0.05),
            near_step: (8.0 / n).max(0.08),
            lag1: 4.0 / n.sqrt(),
            run: 2,
        }
    }
}

/// Reused values are pairs that fell together, nearly as a Poisson law has them: so many that more are less likely than
/// [`CHANCE`].
fn most_reused(n: f64, range: f64) -> usize {
    let expected = n * (n - 1.0) / 2.0 / range;
    let (mut term, mut sum, mut k) = ((-expected).exp(), (-expected).exp(), 0u32);
    while 1.0 - sum > CHANCE && f64::from(k) < n {
        k += 1;
        term *= expected / f64::from(k);
        sum += term;
    }
    k as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The exact law: after `i` values with `r` reused, the next is one of the `i - r` seen with this share.
    fn chance_of_more(reused: usize, n: usize, range: f64) -> f64 {
        let mut share = vec![0.0; reused + 1];
        share[0] = 1.0;
        for i in 0..n {
            let again = |r: usize| real(i.saturating_sub(r)) / range;
            for r in (0..=reused).rev() {
                let arrives = if r > 0 { share[r - 1] * again(r - 1) } else { 0.0 };
                share[r] = share[r] * (1.0 - again(r)) + arrives;
            }
        }
        1.0 - share.iter().sum::<f64>()
    }

    #[test]
    fn at_no_size_does_chance_reuse_more_than_the_limit_too_often() {
        for n in (64..=512).chain([1024, 2048, 4096]) {
            for (range, limit) in [(PORTS, Limits::of_ports(n)), (IDS, Limits::of_ids(n))] {
                let more = chance_of_more(limit.reused, n, range);
                assert!(more <= CHANCE, "{more} at {n} of {range}");
                // Nor is the limit slacker than it has to be, where the law is nearly Poisson's.
                let tighter = limit.reused.saturating_sub(1);
                assert!(
                    n > 512 || chance_of_more(tighter, n, range) > 0.5 * CHANCE,
                    "{n} of {range}"
                );
            }
        }
    }

    #[test]
    fn the_limits_of_256_ports_are_those_of_the_rule() {
        let limits = Limits::of_ports(256);
        assert_eq!((limits.reused, limits.run), (6, 2));
        assert_eq!(
            (limits.same_step, limits.near_step, limits.lag1),
            (0.05, 0.08, 0.25)
        );
        let few = Limits::of_ports(64);
        assert_eq!((few.reused, few.lag1), (2, 0.5));
        assert_eq!((few.same_step, few.near_step), (0.0625, 0.125));
    }
}
