//! The table filled with the numbers of one answer.
//!
//! What the answer lacks has no number here and is named instead: 0 would claim that nothing happened.

use super::Stats;
use super::table::{BOUNDS, FAMILIES, Family, OTHER, Source};

/// The numbers of every family.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// In the order of [`FAMILIES`]; a family without any number is left out.
    pub numbers: Vec<Numbers>,
    /// Counters that the table needs and the answer lacks.
    pub missing: Vec<&'static str>,
}

/// The numbers of one family.
#[derive(Clone, Debug, PartialEq)]
pub struct Numbers {
    /// Which, as a place in [`FAMILIES`].
    family: usize,
    /// Its numbers.
    pub values: Values,
}

/// Numbers as their kind has them.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// One number.
    One(f64),
    /// A number for each value of the label that has one.
    ByLabel(Vec<(&'static str, f64)>),
    /// Counts by size.
    Histogram(Histogram),
}

/// How many took how long.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Histogram {
    /// How many took up to [`BOUNDS`], but longer than the bound before.
    pub counts: [u64; BOUNDS.len()],
    /// How many took longer than all bounds.
    pub above: u64,
    /// About how many seconds all took together. It is made of counts, so it never falls as a product of Unbound's
    /// rounded average would.
    pub sum: f64,
}

impl Numbers {
    /// Which family.
    #[must_use]
    pub fn family(&self) -> &'static Family {
        &FAMILIES[self.family]
    }
}

impl Histogram {
    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum::<u64>() + self.above
    }
}

impl Reading {
    /// Looks up what the table names.
    #[must_use]
    pub fn new(stats: &Stats) -> Self {
        let mut reading = Self {
            numbers: Vec::with_capacity(FAMILIES.len()),
            missing: Vec::new(),
        };
        for (place, family) in FAMILIES.iter().enumerate() {
            if let Some(values) = reading.values(stats, family) {
                reading.numbers.push(Numbers {
                    family: place,
                    values,
                });
            }
        }
        reading
    }

    fn values(&mut self, stats: &Stats, family: &Family) -> Option<Values> {
        match family.source {
            Source::One(counter) => self.needed(counter, stats.value(counter)).map(Values::One),
            Source::ByLabel { values, .. } => {
                let found: Vec<_> = values
                    .iter()
                    .filter_map(|(value, counter)| {
                        Some((*value, self.needed(counter, stats.value(counter))?))
                    })
                    .collect();
                (!found.is_empty()).then_some(Values::ByLabel(found))
            }
            Source::Common { prefix, values, .. } => Some(Values::ByLabel(common(stats, prefix, values))),
            Source::Ranges { prefix } => self
                .needed(prefix, histogram(stats, prefix))
                .map(Values::Histogram),
        }
    }

    fn needed<T>(&mut self, counter: &'static str, found: Option<T>) -> Option<T> {
        if found.is_none() {
            self.missing.push(counter);
        }
        found
    }
}

/// Unbound leaves out what is 0, so what is absent here is no lack.
fn common(stats: &Stats, prefix: &str, values: &'static [&'static str]) -> Vec<(&'static str, f64)> {
    let mut found: Vec<_> = values
        .iter()
        .copied()
        .chain([OTHER])
        .map(|value| (value, 0.0))
        .collect();
    for (name, number) in stats.below(prefix) {
        let place = values
            .iter()
            .position(|value| *value == name)
            .unwrap_or(values.len());
        found[place].1 += number;
    }
    found
}

/// Only of ranges that follow one another from 0 beyond the last bound: a hole would let counts fall.
fn histogram(stats: &Stats, prefix: &str) -> Option<Histogram> {
    let mut result = Histogram {
        counts: [0; BOUNDS.len()],
        above: 0,
        sum: 0.0,
    };
    let mut reached = 0.0;
    for (range, number) in stats.below(prefix) {
        let (from, to) = range.split_once(".to.")?;
        let (from, to): (f64, f64) = (from.parse().ok()?, to.parse().ok()?);
        if from.to_bits() != f64::to_bits(reached) || to <= from {
            return None;
        }
        reached = to;
        result.sum += number * f64::midpoint(from, to);
        let count = whole(number)?;
        match BOUNDS.iter().position(|bound| to <= *bound) {
            Some(place) => result.counts[place] += count,
            None => result.above += count,
        }
    }
    BOUNDS
        .last()
        .is_some_and(|last| reached >= *last)
        .then_some(result)
}

/// A count; exact up to 2^53, which no Unbound lives to see.
fn whole(number: f64) -> Option<u64> {
    format!("{number:.0}")
        .parse()
        .ok()
        .filter(|_| number.fract() == 0.0)
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;
    use crate::unbound::stats::table::Kind;

    /// What Unbound 1.26.2 answered after two queries, without its threads.
    const ANSWER: &str = include_str!("../../../testdata/unbound/stats.txt");

    fn read(answer: &str) -> Reading {
        Reading::new(&Stats::parse(answer).unwrap())
    }

    fn values<'a>(reading: &'a Reading, name: &str) -> Option<&'a Values> {
        let mut numbers = reading.numbers.iter();
        Some(&numbers.find(|numbers| numbers.family().name == name)?.values)
    }

    #[test]
    fn a_whole_answer_fills_the_table() {
        let reading = read(ANSWER);
        assert_eq!(reading.missing, Vec::<&str>::new());
        assert_eq!(reading.numbers.len(), FAMILIES.len());
        assert_eq!(values(&reading, "queries"), Some(&Values::One(2.0)));
        assert_eq!(
            values(&reading, "cache_lookups"),
            Some(&Values::ByLabel(vec![("hit", 1.0), ("miss", 1.0)]))
        );
        for numbers in &reading.numbers {
            let histogram = matches!(numbers.values, Values::Histogram(_));
            assert_eq!(histogram, numbers.family().kind == Kind::Histogram);
            let labelled = matches!(numbers.values, Values::ByLabel(_));
            assert_eq!(labelled, numbers.family().label().is_some());
        }
    }

    #[test]
    fn what_is_missing_is_named_and_has_no_number() {
        let without = |counter: &str| {
            let lines = ANSWER
                .split_inclusive('\n')
                .filter(|line| !line.starts_with(counter));
            read(&lines.collect::<String>())
        };
        let reading = without("num.valops=");
        assert_eq!(reading.missing, ["num.valops"]);
        assert_eq!(values(&reading, "validations"), None);
        let reading = without("total.num.cachehits=");
        assert_eq!(reading.missing, ["total.num.cachehits"]);
        assert_eq!(
            values(&reading, "cache_lookups"),
            Some(&Values::ByLabel(vec![("miss", 1.0)]))
        );
        let reading = without("histogram.000001.000000");
        assert_eq!(reading.missing, ["histogram."]);
        assert_eq!(values(&reading, "recursion_duration"), None);
    }

    #[test]
    fn an_unknown_counter_changes_nothing() {
        assert_eq!(
            read(&format!("{ANSWER}num.brand.new=7\nmem.brand.new=8\n")),
            read(ANSWER)
        );
    }

    #[test]
    fn types_that_anybody_can_invent_share_one_series() {
        let mut strange = String::new();
        for number in 1000..1300 {
            writeln!(strange, "num.query.type.TYPE{number}=2").unwrap();
        }
        let reading = read(&format!("{ANSWER}{strange}num.query.type.MX=5\n"));
        let Some(Values::ByLabel(types)) = values(&reading, "queries_by_type") else {
            panic!("{reading:?}");
        };
        let of = |name| {
            types
                .iter()
                .find(|(value, _)| *value == name)
                .map(|(_, number)| *number)
        };
        assert_eq!(types.len(), 15);
        assert_eq!(
            (of("MX"), of("A"), of("AAAA"), of(OTHER)),
            (Some(5.0), Some(1.0), Some(0.0), Some(600.0))
        );
    }

    #[test]
    fn times_are_counted_by_bound_and_their_sum_is_of_middles() {
        let with = |range: &str, count: u64| {
            ANSWER.replace(
                &format!("histogram.{range}=0"),
                &format!("histogram.{range}={count}"),
            )
        };
        let of = |answer: &str| match values(&read(answer), "recursion_duration") {
            Some(Values::Histogram(histogram)) => *histogram,
            other => panic!("{other:?}"),
        };
        assert_eq!(of(ANSWER).count(), 0);
        let quick = of(&with("000000.000064.to.000000.000128", 3));
        assert_eq!((quick.counts[0], quick.count()), (3, 3));
        let usual = of(&with("000000.524288.to.000001.000000", 4));
        assert_eq!((usual.counts[10], usual.count()), (4, 4));
        assert!((usual.sum - 4.0 * 0.762_144).abs() < 1e-9, "{}", usual.sum);
        let slow = of(&with("000064.000000.to.000128.000000", 2));
        assert_eq!((slow.above, slow.count()), (2, 2));
        assert!((slow.sum - 192.0).abs() < 1e-9, "{}", slow.sum);
    }
}
