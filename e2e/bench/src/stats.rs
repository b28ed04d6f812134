//! The few numbers that samples are told by. A percentile is a sample that was seen (nearest rank), never a mean of two.

/// The sample below which the given share of all lies; `share` is between 0 and 1.
pub(crate) fn percentile(samples: &[f64], share: f64) -> Option<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    // Fewer samples than a float holds exactly, and a rank that is at least 0.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "a rank is small and not negative"
    )]
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied()
}

/// The middle sample.
pub(crate) fn median(samples: &[f64]) -> Option<f64> {
    percentile(samples, 0.5)
}

/// The smallest and the largest.
pub(crate) fn range(samples: &[f64]) -> Option<(f64, f64)> {
    Some((percentile(samples, 0.0)?, percentile(samples, 1.0)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_a_sample() {
        let samples: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!(percentile(&samples, 0.5), Some(50.0));
        assert_eq!(percentile(&samples, 0.99), Some(99.0));
        assert_eq!(range(&samples), Some((1.0, 100.0)));
        assert_eq!(median(&[3.0]), Some(3.0));
        assert_eq!(median(&[]), None);
    }
}
