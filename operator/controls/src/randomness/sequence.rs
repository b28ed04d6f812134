//! What is counted in a sequence of 16-bit values, in order of arrival; whether it is good is said elsewhere.

use super::real;

/// Width of the window in which differences count as one step: other traffic moves a counter by a little.
pub(super) const STEP_WINDOW: u32 = 256;

/// The numbers that ports and ids share.
pub(super) struct Sequence {
    pub(super) distinct: usize,
    /// Population standard deviation.
    pub(super) sd: f64,
    /// Share of the most frequent difference mod 2^16.
    pub(super) mode_share: f64,
    /// Largest share of differences in a window of [`STEP_WINDOW`], around 0 too.
    pub(super) cluster_share: f64,
    /// Autocorrelation of neighbours, 1 where all values are the same.
    pub(super) lag1: f64,
    pub(super) longest_run: usize,
    /// The values in ascending order.
    pub(super) sorted: Vec<u16>,
}

impl Sequence {
    pub(super) fn of(values: &[u16]) -> Self {
        let n = real(values.len());
        let mean = values.iter().map(|v| f64::from(*v)).sum::<f64>() / n;
        let from_mean = |value: u16| f64::from(value) - mean;
        let square = values.iter().map(|v| from_mean(*v).powi(2)).sum::<f64>();
        let product = values
            .windows(2)
            .map(|pair| from_mean(pair[0]) * from_mean(pair[1]))
            .sum::<f64>();
        let mut steps: Vec<u16> = values
            .windows(2)
            .map(|pair| pair[1].wrapping_sub(pair[0]))
            .collect();
        steps.sort_unstable();
        let mut sorted = values.to_vec();
        sorted.sort_unstable();
        Self {
            distinct: sorted.chunk_by(|a, b| a == b).count(),
            sd: (square / n).sqrt(),
            mode_share: real(longest_run(&steps)) / real(steps.len()),
            cluster_share: real(fullest_window(&steps)) / real(steps.len()),
            lag1: if square > 0.0 { product / square } else { 1.0 },
            longest_run: longest_run(values),
            sorted,
        }
    }
}

fn longest_run(values: &[u16]) -> usize {
    values
        .chunk_by(|a, b| a == b)
        .map(<[u16]>::len)
        .max()
        .unwrap_or(0)
}

/// The most steps, in ascending order, that one window holds; the scale is a circle.
fn fullest_window(steps: &[u16]) -> usize {
    let once = steps.iter().map(|step| u32::from(*step));
    let twice: Vec<u32> = once.clone().chain(once.map(|step| step + 0x1_0000)).collect();
    let (mut end, mut most) = (0, 0);
    for (start, first) in twice.iter().enumerate().take(steps.len()) {
        let inside = |step: &u32| step - first < STEP_WINDOW;
        while end < start + steps.len() && twice.get(end).is_some_and(inside) {
            end += 1;
        }
        most = most.max(end - start);
    }
    most
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_the_one_that_is_worked_out_by_hand() {
        // Mean 4, so the distances are -3, -1, -1, 5: squares 36, products 3 + 1 - 5. Steps 2, 0, 6.
        let seen = Sequence::of(&[1, 3, 3, 9]);
        assert_eq!((seen.distinct, seen.longest_run), (3, 2));
        assert_eq!((seen.sd, seen.lag1), (3.0, -1.0 / 36.0));
        assert_eq!((seen.mode_share, seen.cluster_share), (1.0 / 3.0, 1.0));
        assert_eq!(seen.sorted, [1, 3, 3, 9]);
        let fixed = Sequence::of(&[53, 53, 53]);
        assert_eq!((fixed.distinct, fixed.longest_run), (1, 3));
        assert_eq!((fixed.sd, fixed.lag1, fixed.mode_share), (0.0, 1.0, 1.0));
    }

    #[test]
    fn a_window_holds_256_steps_and_goes_around_zero() {
        assert_eq!(fullest_window(&[10, 265, 266]), 2);
        assert_eq!(fullest_window(&[0, 255, 65_535]), 2);
        assert_eq!(fullest_window(&[0, 254, 300, 65_535]), 3);
        assert_eq!(fullest_window(&[7; 40]), 40);
    }
}
