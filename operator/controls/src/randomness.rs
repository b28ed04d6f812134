//! Whether a resolver's source ports can be guessed, judged from a sample in order of arrival.
//!
//! Spread alone does not decide: a pool of reused sockets is wide and guessable, and a stride over the whole range is
//! wide and distinct. So every test must pass. The limits ([`Limits`]) follow the sample size and accuse an honest
//! resolver less than once in 1,000 measurements, which `cargo xtask bench --ports` shows. RFC 5452 section 9 and RFC
//! 6056 give the reason for random ports, DNS-OARC's porttest the scale. The ids of the same questions are judged by
//! [`Ids`], their letters told by [`Letters`], and what a NAT makes of the ports by [`compare`].

mod ids;
mod letters;
mod limits;
mod passage;
mod sequence;

use tsutsumi_model::Tally;

pub use ids::{IdFlaw, Ids, furthest};
pub use letters::Letters;
pub use limits::Limits;
pub use passage::{FEWEST_OF_A_BLOCK, Passage, compare, small_block};
use sequence::{STEP_WINDOW, Sequence};

/// Fewest ports that are judged.
pub const MINIMUM: usize = 64;

/// Ports that a measurement should collect.
pub const WANTED: usize = 256;

/// Bits below which the spread is poor: a standard deviation of 296.
pub const NARROW_BITS: f64 = 10.0;

/// Bits from which on the spread is great: a standard deviation of 3,980.
pub const GREAT_BITS: f64 = 13.75;

/// More than one question in so many that fails is a doubt.
const FAILED_SHARE: u16 = 20;

/// Whether too many questions of a series failed: what does not arrive shows no port.
pub(crate) fn lost_too_many(tally: &Tally) -> bool {
    tally.failed() > tally.asked() / FAILED_SHARE
}

/// Ports of one measurement, in order of arrival, enough of them to be judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    ports: Vec<u16>,
    failures: usize,
}

/// Too few questions arrived, so too few ports and as few ids: the verdict is inconclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "judge source ports: {got} arrived and {failures} queries failed, at least {MINIMUM} ports are needed"
)]
pub struct Inconclusive {
    /// Queries that arrived.
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
        let sequence = Sequence::of(&self.ports);
        let sd = sequence.sd;
        Randomness {
            n: self.ports.len(),
            failures: self.failures,
            distinct: sequence.distinct,
            sd,
            bits: if sd > 0.0 {
                (sd * 12f64.sqrt()).log2().max(0.0)
            } else {
                0.0
            },
            mode_share: sequence.mode_share,
            cluster_share: sequence.cluster_share,
            lag1: sequence.lag1,
            longest_run: sequence.longest_run,
            lowest: sequence.sorted.first().copied().unwrap_or(0),
            highest: sequence.sorted.last().copied().unwrap_or(0),
        }
    }
}

impl Randomness {
    /// The broken tests, none for a good resolver.
    #[must_use]
    pub fn flaws(&self) -> Vec<Flaw> {
        let limits = Limits::of_ports(self.n);
        [
            (Flaw::NarrowSpread, self.bits < NARROW_BITS),
            (Flaw::FewDistinct, self.n - self.distinct > limits.reused),
            (Flaw::ConstantStep, self.mode_share >= limits.same_step),
            (Flaw::ClusteredStep, self.cluster_share >= limits.near_step),
            (Flaw::Correlated, self.lag1.abs() >= limits.lag1),
            (Flaw::Repeats, self.longest_run > limits.run),
        ]
        .into_iter()
        .filter_map(|(flaw, broken)| broken.then_some(flaw))
        .collect()
    }

    /// The verdict over all tests.
    #[must_use]
    pub fn spread(&self) -> Spread {
        match (self.flaws().is_empty(), self.bits >= GREAT_BITS) {
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
                    "ports {} to {} spread over {:.1} bits, {NARROW_BITS} are needed",
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

fn real(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Spoil = fn(&mut Randomness);

    /// Numbers without a flaw, to be spoiled one at a time.
    pub(super) const GOOD: Randomness = Randomness {
        n: 256,
        failures: 0,
        distinct: 250,
        sd: 8150.0,
        bits: 14.8,
        mode_share: 0.049,
        cluster_share: 0.079,
        lag1: -0.249,
        longest_run: 2,
        lowest: 32_768,
        highest: 60_999,
    };

    #[test]
    fn each_limit_accuses_from_its_very_value_on() {
        assert_eq!((GOOD.flaws(), GOOD.spread()), (vec![], Spread::Great));
        let spoiled = |spoil: Spoil| {
            let mut seen = GOOD;
            spoil(&mut seen);
            (seen.flaws(), seen.spread())
        };
        let broken: [(Spoil, Flaw); 7] = [
            (|r| r.bits = 9.99, Flaw::NarrowSpread),
            (|r| r.distinct = 249, Flaw::FewDistinct),
            (|r| r.mode_share = 0.05, Flaw::ConstantStep),
            (|r| r.cluster_share = 0.08, Flaw::ClusteredStep),
            (|r| r.lag1 = -0.25, Flaw::Correlated),
            (|r| r.lag1 = 0.25, Flaw::Correlated),
            (|r| r.longest_run = 3, Flaw::Repeats),
        ];
        for (spoil, flaw) in broken {
            assert_eq!(spoiled(spoil), (vec![flaw], Spread::Poor));
        }
        assert_eq!(spoiled(|r| r.bits = 13.74), (vec![], Spread::Good));
        assert_eq!(spoiled(|r| r.bits = 13.75), (vec![], Spread::Great));
    }

    #[test]
    fn the_numbers_of_a_counter_are_told() {
        let ports: Vec<u16> = (0..64).map(|i| 40_000 + i).collect();
        let counter = Sample::new(&ports, 3).unwrap().randomness();
        assert_eq!((counter.n, counter.failures, counter.distinct), (64, 3, 64));
        assert_eq!((counter.lowest, counter.highest), (40_000, 40_063));
        // The standard deviation of 64 neighbours is √((64² − 1) / 12), so the bits are nearly log2(64).
        assert!(
            (counter.sd - 18.473).abs() < 1e-3 && (counter.bits - 6.0).abs() < 1e-3,
            "{counter:?}"
        );
        assert_eq!(
            counter.flaws(),
            [
                Flaw::NarrowSpread,
                Flaw::ConstantStep,
                Flaw::ClusteredStep,
                Flaw::Correlated
            ]
        );
        assert_eq!(
            counter.sentence(Flaw::NarrowSpread),
            "ports 40000 to 40063 spread over 6.0 bits, 10 are needed"
        );
        assert_eq!(
            Sample::new(&[1; 63], 9),
            Err(Inconclusive { got: 63, failures: 9 })
        );
    }
}
