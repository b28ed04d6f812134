//! Many samples of one source, judged and counted.

use std::collections::BTreeMap;

use tsutsumi_controls::randomness::{Ids, Inconclusive, Limits, Passage, Sample, Spread, compare, furthest};

use crate::sources::{Mix, SOURCES, Source, What, even_ids, linux};

/// The sizes at which the rule is tried: the fewest that it accepts, twice as many, and those that it wants.
pub(crate) const SIZES: [usize; 3] = [64, 128, 256];

/// How many samples were accused, and of what.
#[derive(Clone, Debug, Default)]
pub(crate) struct Count {
    pub(crate) trials: usize,
    pub(crate) accused: usize,
    /// Accused, or only `Good`; ids have no such scale.
    pub(crate) not_great: usize,
    pub(crate) by_flaw: BTreeMap<String, usize>,
}

impl Count {
    /// The highest rate that is not refuted: with it, so few alarms had a chance of 5 %.
    pub(crate) fn upper_bound(&self) -> f64 {
        let (mut low, mut high) = (0.0, real(self.trials));
        for _ in 0..100 {
            let middle = f64::midpoint(low, high);
            if at_most(self.accused, middle) > 0.05 {
                low = middle;
            } else {
                high = middle;
            }
        }
        high / real(self.trials)
    }

    pub(crate) fn rate(&self) -> f64 {
        real(self.accused) / real(self.trials)
    }
}

/// Judges so many samples; the seed follows from the source's place and the size.
pub(crate) fn count(source: &Source, n: usize, trials: usize) -> Count {
    let place = SOURCES.iter().position(|other| other.name == source.name);
    let mut mix = seed(place.unwrap_or(SOURCES.len()), n);
    let mut count = Count {
        trials,
        ..Count::default()
    };
    for _ in 0..trials {
        let (flaws, great) = judge(source.what, &(source.sample)(&mut mix, n));
        count.accused += usize::from(!flaws.is_empty());
        count.not_great += usize::from(!great);
        for flaw in flaws {
            *count.by_flaw.entry(flaw).or_default() += 1;
        }
    }
    count
}

/// Whole measurements of one good resolver: ports from Linux inside, anew from a NAT outside, and ids.
pub(crate) fn count_whole(n: usize, trials: usize) -> Count {
    let mut mix = seed(SOURCES.len() + 1, n);
    let mut count = Count {
        trials,
        ..Count::default()
    };
    for _ in 0..trials {
        let (before, behind) = (linux(&mut mix, n), linux(&mut mix, n));
        let inside = judge(What::Ports, &before);
        let outside = judge(What::Ports, &behind);
        let ids = judge(What::Ids, &even_ids(&mut mix, n));
        let flawed = [inside, outside, ids].iter().any(|(flaws, _)| !flaws.is_empty());
        count.accused += usize::from(flawed || undone(&before, &behind));
    }
    count
}

/// Whether the NAT is said to undo the randomisation.
fn undone(before: &[u16], behind: &[u16]) -> bool {
    let numbers = |ports| Sample::new(ports, 0).map(|sample| sample.randomness());
    match (numbers(before), numbers(behind)) {
        (Ok(before), Ok(behind)) => compare(&before, &behind) == Passage::Undone,
        _ => true,
    }
}

/// The flaws by name, and whether the ports are as good as can be.
fn judge(what: What, values: &[u16]) -> (Vec<String>, bool) {
    match what {
        What::Ports => Sample::new(values, 0).map_or_else(too_few, |sample| {
            let seen = sample.randomness();
            let names = seen.flaws().iter().map(|flaw| format!("{flaw:?}")).collect();
            (names, seen.spread() == Spread::Great)
        }),
        What::Ids => Ids::of(values, 0).map_or_else(too_few, |seen| {
            let names: Vec<_> = seen.flaws().iter().map(|flaw| format!("{flaw:?}")).collect();
            let good = names.is_empty();
            (names, good)
        }),
    }
}

fn too_few(why: Inconclusive) -> (Vec<String>, bool) {
    (vec![why.to_string()], false)
}

/// The limits at the sizes that are tried, as Markdown.
pub(crate) fn limits() -> String {
    let row = |name: &str, number: fn(usize) -> String| {
        let cells = SIZES.map(|n| format!(" {} |", number(n)));
        format!("| {name} |{}\n", cells.concat())
    };
    [
        "| accused | 64 | 128 | 256 |\n|---|---|---|---|\n".to_owned(),
        row("ports used again: more than", |n| {
            Limits::of_ports(n).reused.to_string()
        }),
        row("ids used again: more than", |n| {
            Limits::of_ids(n).reused.to_string()
        }),
        row("one step: at least", |n| shown(Limits::of_ports(n).same_step)),
        row("steps in a window of 256: at least", |n| {
            shown(Limits::of_ports(n).near_step)
        }),
        row("correlation of neighbours: at least", |n| {
            format!("{:.2}", Limits::of_ports(n).lag1)
        }),
        row("one value in a row: more than", |n| {
            Limits::of_ports(n).run.to_string()
        }),
        row("distance of ids from an even spread: at least", |n| {
            format!("{:.3}", furthest(n))
        }),
    ]
    .concat()
}

/// A share as a percentage, without needless zeros.
fn shown(share: f64) -> String {
    format!("{} %", (share * 10_000.0).round() / 100.0)
}

fn seed(place: usize, n: usize) -> Mix {
    // Far apart: a sample takes one number for each value, and a few more.
    Mix(u64::try_from(place * 1000 + n).unwrap_or(0) << 40)
}

/// How likely so many or fewer are, where so many are expected.
fn at_most(most: usize, expected: f64) -> f64 {
    let mut logarithm = -expected;
    let mut sum = logarithm.exp();
    for k in 1..=most {
        logarithm += expected.ln() - real(k).ln();
        sum += logarithm.exp();
    }
    sum
}

fn real(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}
