//! Whether the ids of the same questions can be guessed (RFC 5452, 9.2 and 4.3).
//!
//! Unlike ports, ids have a range that is known, all 65,536, so their evenness can be judged: by the distance of
//! Kolmogorov and Smirnov, which needs no classes to be chosen.

use super::{
    Inconclusive, MINIMUM,
    limits::Limits,
    real,
    sequence::{STEP_WINDOW, Sequence},
};

/// Where the distance accuses, times the root of the sample's size: one honest sample in 10,000, as 2·exp(−2·c²) is
/// then 1e-4.
const FURTHEST: f64 = 2.2253;

/// A broken test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum IdFlaw {
    /// They lie unevenly in 0 to 65535.
    Uneven,
    /// More ids are used again than chance explains.
    FewDistinct,
    /// One difference between neighbours is too frequent.
    ConstantStep,
    /// Differences lie close together: a counter that other questions move too.
    ClusteredStep,
    /// An id says much about the next.
    Correlated,
    /// The same id three times in a row.
    Repeats,
}

/// The numbers of the ids of one measurement.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ids {
    /// Ids that arrived.
    pub n: usize,
    /// Different ids.
    pub distinct: usize,
    /// Largest distance between their distribution and the even one, from 0 to 1.
    pub distance: f64,
    /// Share of the most frequent difference mod 2^16.
    pub mode_share: f64,
    /// Largest share of differences in a window of 256.
    pub cluster_share: f64,
    /// Autocorrelation of neighbours, 1 for a fixed id.
    pub lag1: f64,
    /// Longest run of one id.
    pub longest_run: usize,
}

impl Ids {
    /// Computes the numbers of at least [`MINIMUM`] ids, in order of arrival.
    ///
    /// # Errors
    /// [`Inconclusive`] with fewer; `failures` counts the questions that failed.
    pub fn of(ids: &[u16], failures: usize) -> Result<Self, Inconclusive> {
        if ids.len() < MINIMUM {
            return Err(Inconclusive {
                got: ids.len(),
                failures,
            });
        }
        let sequence = Sequence::of(ids);
        Ok(Self {
            n: ids.len(),
            distinct: sequence.distinct,
            distance: distance(&sequence.sorted),
            mode_share: sequence.mode_share,
            cluster_share: sequence.cluster_share,
            lag1: sequence.lag1,
            longest_run: sequence.longest_run,
        })
    }

    /// The broken tests, none for a good resolver.
    #[must_use]
    pub fn flaws(&self) -> Vec<IdFlaw> {
        let limits = Limits::of_ids(self.n);
        [
            (IdFlaw::Uneven, self.distance >= furthest(self.n)),
            (IdFlaw::FewDistinct, self.n - self.distinct > limits.reused),
            (IdFlaw::ConstantStep, self.mode_share >= limits.same_step),
            (IdFlaw::ClusteredStep, self.cluster_share >= limits.near_step),
            (IdFlaw::Correlated, self.lag1.abs() >= limits.lag1),
            (IdFlaw::Repeats, self.longest_run > limits.run),
        ]
        .into_iter()
        .filter_map(|(flaw, broken)| broken.then_some(flaw))
        .collect()
    }

    /// A sentence with the numbers of a broken test.
    #[must_use]
    pub fn sentence(&self, flaw: IdFlaw) -> String {
        match flaw {
            IdFlaw::Uneven => format!(
                "ids lie unevenly: {:.2} from an even spread, {:.2} is too far",
                self.distance,
                furthest(self.n)
            ),
            IdFlaw::FewDistinct => format!("only {} of {} ids differ", self.distinct, self.n),
            IdFlaw::ConstantStep => {
                format!("{:.0} % of the ids' steps are the same", self.mode_share * 100.0)
            }
            IdFlaw::ClusteredStep => format!(
                "{:.0} % of the ids' steps lie within {STEP_WINDOW}",
                self.cluster_share * 100.0
            ),
            IdFlaw::Correlated => format!("neighbouring ids correlate by {:.2}", self.lag1),
            IdFlaw::Repeats => format!("one id came {} times in a row", self.longest_run),
        }
    }
}

/// The distance from which on so many ids are uneven, with Stephens' correction for few (1970).
#[must_use]
pub fn furthest(n: usize) -> f64 {
    let root = real(n).sqrt();
    FURTHEST / (root + 0.12 + 0.11 / root)
}

/// Looks at each value from both sides of its step.
fn distance(sorted: &[u16]) -> f64 {
    let n = real(sorted.len());
    sorted
        .iter()
        .enumerate()
        .map(|(index, id)| {
            let above = real(index + 1) / n - (f64::from(*id) + 1.0) / 65_536.0;
            let below = f64::from(*id) / 65_536.0 - real(index) / n;
            above.max(below)
        })
        .fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Even and without order: a counter whose bits are stirred.
    fn even() -> Vec<u16> {
        let stir = |i: u32| {
            let once = i.wrapping_mul(0x9e37_79b1);
            (once ^ (once >> 15)).wrapping_mul(0x85eb_ca77) >> 16
        };
        (0..256).map(|i| u16::try_from(stir(i)).unwrap()).collect()
    }

    #[test]
    fn the_distance_is_the_one_that_is_worked_out_by_hand() {
        // In steps of one id, so that the numbers are whole.
        let steps = |ids: &[u16]| format!("{}", distance(ids) * 65_536.0);
        assert_eq!(steps(&[0; 4]), "65535");
        assert_eq!(steps(&[65_535; 4]), "65535");
        assert_eq!(steps(&[16_383, 32_767, 49_151, 65_535]), "16383");
        // A quarter lies below 0xa000, which is five eighths of the range.
        assert_eq!(steps(&[0x1000, 0xa000, 0xc000, 0xe000]), "24576");
        assert!((furthest(256) - 0.1380).abs() < 1e-4 && (furthest(64) - 0.2736).abs() < 1e-4);
    }

    #[test]
    fn each_flaw_is_told_with_its_number() {
        let good = Ids::of(&even(), 0).unwrap();
        assert_eq!(good.flaws(), []);
        let told = |bad: Ids, flaw| {
            assert!(bad.flaws().contains(&flaw), "{bad:?}");
            bad.sentence(flaw)
        };
        let judge = |ids: &dyn Fn(u16) -> u16| Ids::of(&(0..256).map(ids).collect::<Vec<_>>(), 0).unwrap();
        let of = even();
        assert_eq!(
            told(judge(&|i| of[usize::from(i)] >> 1), IdFlaw::Uneven),
            "ids lie unevenly: 0.50 from an even spread, 0.14 is too far"
        );
        assert_eq!(
            told(judge(&|i| of[usize::from(i % 200)]), IdFlaw::FewDistinct),
            "only 200 of 256 ids differ"
        );
        assert_eq!(
            told(judge(&|i| i.wrapping_mul(25_717)), IdFlaw::ConstantStep),
            "100 % of the ids' steps are the same"
        );
        assert_eq!(
            told(judge(&|i| i * 200 + i % 7), IdFlaw::ClusteredStep),
            "100 % of the ids' steps lie within 256"
        );
        assert_eq!(
            told(judge(&|i| i * 200), IdFlaw::Correlated),
            "neighbouring ids correlate by 0.99"
        );
        let thrice = |i: u16| of[usize::from(if (4..7).contains(&i) { 4 } else { i })];
        assert_eq!(
            told(judge(&thrice), IdFlaw::Repeats),
            "one id came 3 times in a row"
        );
        assert_eq!(Ids::of(&[1; 63], 9), Err(Inconclusive { got: 63, failures: 9 }));
    }
}
