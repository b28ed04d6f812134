//! Whether a resolver's source ports can be guessed, judged from a sample in order of arrival.
//!
//! Spread alone does not decide: a pool of reused sockets is wide and guessable, and a stride over the whole range is
//! wide and distinct. So every test must pass. The limits follow the sample size; they aim at accusing an honest
//! resolver no more than once in 1,000 measurements, which 4,000 simulated ones agree with and do not prove. RFC 5452 section 9 and RFC 6056 give the reason for
//! random ports, DNS-OARC's porttest the scale.

use std::collections::{BTreeMap, BTreeSet};

/// Fewest ports that are judged.
pub const MINIMUM: usize = 64;

/// Ports that a measurement should collect.
pub const WANTED: usize = 256;

/// Size of Linux's default ephemeral range 32768–60999, the smallest range that counts as honest.
const HONEST_RANGE: f64 = 28_232.0;

/// Width of the window in which differences count as one step: other traffic moves a counter by a little.
const STEP_WINDOW: u32 = 256;

/// Ports of one measurement, in order of arrival, enough of them to be judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    ports: Vec<u16>,
    failures: usize,
}

/// Too few ports arrived: the verdict is inconclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "judge source ports: {got} arrived and {failures} queries failed, at least {MINIMUM} ports are needed"
)]
pub struct Inconclusive {
    /// Ports that arrived.
    pub got: usize,
    /// Queries that failed.
    pub failures: usize,
}

/// OARC's scale of the spread, and the verdict as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Spread {
    /// Below 10 bits, or another test is broken.
    Poor,
    /// From 10 to 13.75 bits.
    Good,
    /// At least 13.75 bits.
    Great,
}

/// A broken test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Flaw {
    /// Fewer than 10 bits.
    NarrowSpread,
    /// More ports are used again than chance explains.
    FewDistinct,
    /// One difference between neighbours is too frequent.
    ConstantStep,
    /// Differences lie close together: a counter that other traffic moves too.
    ClusteredStep,
    /// A port says much about the next.
    Correlated,
    /// The same port three times in a row.
    Repeats,
}

/// The numbers of a sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Randomness {
    /// Ports that arrived.
    pub n: usize,
    /// Queries that failed; a NAT without free ports shows itself here.
    pub failures: usize,
    /// Different ports.
    pub distinct: usize,
    /// Population standard deviation.
    pub sd: f64,
    /// log2(sd × √12), 0 for a fixed port.
    pub bits: f64,
    /// Share of the most frequent difference mod 2^16.
    pub mode_share: f64,
    /// Largest share of differences in a window of 256.
    pub cluster_share: f64,
    /// Autocorrelation of neighbours, 1 for a fixed port.
    pub lag1: f64,
    /// Longest run of one port.
    pub longest_run: usize,
    /// Lowest port.
    pub lowest: u16,
    /// Highest port.
    pub highest: u16,
}

/// What lies between a resolver and the outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passage {
    /// As random outside as inside.
    Preserved,
    /// The NAT undoes the randomisation.
    Undone,
    /// The ports are bad inside already.
    BadInside,
}

impl Sample {
    /// Accepts at least [`MINIMUM`] ports.
    ///
    /// # Errors
    /// [`Inconclusive`] with fewer.
    pub fn new(ports: &[u16], failures: usize) -> Result<Self, Inconclusive> {
        if ports.len() < MINIMUM {
            return Err(Inconclusive {
                got: ports.len(),
                failures,
            });
        }
        Ok(Self {
            ports: ports.to_vec(),
            failures,
        })
    }

    /// Computes the numbers.
    #[must_use]
    pub fn randomness(&self) -> Randomness {
        let ports = &self.ports;
        let n = real(ports.len());
        let mean = ports.iter().map(|p| f64::from(*p)).sum::<f64>() / n;
        let square = ports.iter().map(|p| (f64::from(*p) - mean).powi(2)).sum::<f64>();
        let product = ports
            .windows(2)
            .map(|w| (f64::from(w[0]) - mean) * (f64::from(w[1]) - mean))
            .sum::<f64>();
        let sd = (square / n).sqrt();
        let steps: Vec<u16> = ports.windows(2).map(|w| w[1].wrapping_sub(w[0])).collect();
        Randomness {
            n: ports.len(),
            failures: self.failures,
            distinct: ports.iter().collect::<BTreeSet<_>>().len(),
            sd,
            bits: if sd > 0.0 {
                (sd * 12f64.sqrt()).log2().max(0.0)
            } else {
                0.0
            },
            mode_share: real(mode(&steps)) / real(steps.len()),
            cluster_share: real(cluster(&steps)) / real(steps.len()),
            lag1: if square > 0.0 { product / square } else { 1.0 },
            longest_run: ports.chunk_by(|a, b| a == b).map(<[u16]>::len).max().unwrap_or(0),
            lowest: ports.iter().min().copied().unwrap_or(0),
            highest: ports.iter().max().copied().unwrap_or(0),
        }
    }
}

impl Randomness {
    /// The broken tests, none for a good resolver.
    #[must_use]
    pub fn flaws(&self) -> Vec<Flaw> {
        let n = real(self.n);
        [
            (Flaw::NarrowSpread, self.bits < 10.0),
            (Flaw::FewDistinct, self.n - self.distinct > most_reused(n)),
            (Flaw::ConstantStep, self.mode_share >= (4.0 / n).max(0.05)),
            (Flaw::ClusteredStep, self.cluster_share >= (8.0 / n).max(0.08)),
            (Flaw::Correlated, self.lag1.abs() >= 4.0 / n.sqrt()),
            (Flaw::Repeats, self.longest_run > 2),
        ]
        .into_iter()
        .filter_map(|(flaw, broken)| broken.then_some(flaw))
        .collect()
    }

    /// The verdict over all tests.
    #[must_use]
    pub fn spread(&self) -> Spread {
        match (self.flaws().is_empty(), self.bits >= 13.75) {
            (false, _) => Spread::Poor,
            (true, false) => Spread::Good,
            (true, true) => Spread::Great,
        }
    }

    /// A sentence with the numbers of a broken test.
    #[must_use]
    pub fn sentence(&self, flaw: Flaw) -> String {
        match flaw {
            Flaw::NarrowSpread => {
                format!(
                    "ports {} to {} spread over {:.1} bits, 10 are needed",
                    self.lowest, self.highest, self.bits
                )
            }
            Flaw::FewDistinct => format!("only {} of {} ports differ", self.distinct, self.n),
            Flaw::ConstantStep => format!("{:.0} % of the steps are the same", self.mode_share * 100.0),
            Flaw::ClusteredStep => {
                format!(
                    "{:.0} % of the steps lie within {STEP_WINDOW} ports",
                    self.cluster_share * 100.0
                )
            }
            Flaw::Correlated => format!("neighbours correlate by {:.2}", self.lag1),
            Flaw::Repeats => format!("one port came {} times in a row", self.longest_run),
        }
    }
}

/// Compares the ports before and after a NAT; "much narrower" is two bits or more.
#[must_use]
pub fn compare(inside: &Randomness, outside: &Randomness) -> Passage {
    if !inside.flaws().is_empty() {
        Passage::BadInside
    } else if !outside.flaws().is_empty() || outside.bits + 2.0 <= inside.bits {
        Passage::Undone
    } else {
        Passage::Preserved
    }
}

/// Largest number of reused ports that chance explains: a Poisson tail of at most 3 in 10,000.
fn most_reused(n: f64) -> usize {
    let expected = n * (n - 1.0) / 2.0 / HONEST_RANGE;
    let (mut term, mut sum, mut k) = ((-expected).exp(), (-expected).exp(), 0u32);
    while 1.0 - sum > 3e-4 && f64::from(k) < n {
        k += 1;
        term *= expected / f64::from(k);
        sum += term;
    }
    k as usize
}

fn mode(steps: &[u16]) -> usize {
    let mut counts = BTreeMap::new();
    for step in steps {
        *counts.entry(step).or_insert(0usize) += 1;
    }
    counts.into_values().max().unwrap_or(0)
}

fn cluster(steps: &[u16]) -> usize {
    let within = |from: &u16| {
        steps
            .iter()
            .filter(|s| u32::from(s.wrapping_sub(*from)) < STEP_WINDOW)
            .count()
    };
    steps.iter().map(within).max().unwrap_or(0)
}

fn real(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Mix(u64);
    impl Mix {
        fn below(&mut self, bound: u64) -> u16 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = self.0;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            u16::try_from((z ^ (z >> 31)) % bound).unwrap()
        }
    }

    fn judge(port: impl FnMut(u16) -> u16) -> Randomness {
        Sample::new(&(0..256).map(port).collect::<Vec<_>>(), 0)
            .unwrap()
            .randomness()
    }

    #[test]
    fn honest_ranges_are_accused_less_than_once_in_a_thousand() {
        let mut mix = Mix(1);
        for (low, size) in [(32_768, 28_232), (1024, 64_512)] {
            let alarms = (0..4000)
                .filter(|_| judge(|_| low + mix.below(size)).spread() != Spread::Great)
                .count();
            assert!(alarms <= 4, "{alarms} of 4000 from {low}");
        }
    }

    #[test]
    fn bad_sources_break_the_test_meant_for_them() {
        let mut mix = Mix(2);
        let pool: Vec<u16> = (0..100).map(|_| 32_768 + mix.below(28_232)).collect();
        assert_eq!(
            judge(|_| pool[usize::from(mix.below(100))]).flaws(),
            [Flaw::FewDistinct]
        );
        assert!(
            judge(|_| pool[usize::from(mix.below(20))])
                .flaws()
                .contains(&Flaw::FewDistinct)
        );
        assert!(judge(|_| 5353).flaws().contains(&Flaw::Repeats));
        assert!(
            judge(|_| 40_000 + mix.below(64))
                .flaws()
                .contains(&Flaw::NarrowSpread)
        );
        assert!(
            judge(|_| 40_000 + mix.below(240))
                .flaws()
                .contains(&Flaw::NarrowSpread)
        );
        assert!(judge(|i| 40_000 + i).flaws().contains(&Flaw::ConstantStep));
        assert!(
            judge(|i| i.wrapping_mul(25_717))
                .flaws()
                .contains(&Flaw::ConstantStep)
        );
        assert_ne!(judge(|_| 40_000 + mix.below(1024)).spread(), Spread::Great);
        let mut at = 20_000;
        let slow = judge(|_| {
            at += 1 + mix.below(40);
            at
        });
        assert!(slow.flaws().contains(&Flaw::Correlated));
        let mut at = 0u16;
        let jitter = judge(|_| {
            at = at.wrapping_add(25_717 + mix.below(200));
            at
        });
        assert!(jitter.flaws().contains(&Flaw::ClusteredStep));
    }

    #[test]
    fn a_nat_that_narrows_is_told_from_one_that_keeps() {
        let mut mix = Mix(3);
        let inside = judge(|_| 32_768 + mix.below(28_232));
        assert_eq!(compare(&inside, &inside), Passage::Preserved);
        assert_eq!(compare(&inside, &judge(|i| 40_000 + i)), Passage::Undone);
        assert_eq!(
            Sample::new(&[1; 63], 9),
            Err(Inconclusive { got: 63, failures: 9 })
        );
    }
}
