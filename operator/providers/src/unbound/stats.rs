//! What Unbound counts: the answer to `stats_noreset`, and which of it becomes which metric.
//!
//! The answer is read strictly: a line that is no counter, or an answer that was cut off, is refused whole, since half
//! a number is a wrong number. [`table::FAMILIES`] is closed: a counter that it does not name is ignored, and one that
//! it names but the answer lacks is told, never guessed.

pub mod reading;
pub mod table;

use std::collections::BTreeMap;
use std::ops::Bound;

/// The longest answer that is read, in bytes. A thread takes about 1,100, and there are at most 255.
pub const MAX_ANSWER: usize = 512 * 1024;

/// The longest line, in bytes; the longest known one has 46.
const MAX_LINE: usize = 128;
/// How much of a wrong line is shown, in characters.
const SHOWN: usize = 64;

/// The numbers of one answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Stats {
    counters: BTreeMap<String, f64>,
}

/// The answer is not what `stats_noreset` says.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum StatsError {
    /// There is none.
    #[error("Unbound's answer is empty")]
    Empty,
    /// Beyond [`MAX_ANSWER`].
    #[error("Unbound's answer has {0} bytes, more than {MAX_ANSWER}")]
    TooLong(usize),
    /// Unbound did not do what it was told.
    #[error("Unbound refused the command: {0:?}")]
    Refused(String),
    /// The last line does not end.
    #[error("Unbound's answer breaks off in line {line}, {text:?}")]
    CutOff {
        /// From 1.
        line: usize,
        /// Its beginning.
        text: String,
    },
    /// A line is no counter.
    #[error("line {line} of Unbound's answer, {text:?}, {problem}")]
    Line {
        /// From 1.
        line: usize,
        /// Its beginning.
        text: String,
        /// What is wrong.
        problem: LineProblem,
    },
}

/// What is wrong with a line.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum LineProblem {
    /// It is longer than any.
    #[error("has more than {MAX_LINE} bytes")]
    TooLong,
    /// It has no `=`.
    #[error("must be NAME=VALUE")]
    NoValue,
    /// What stands before the `=`.
    #[error("must have a name of letters, digits, dots, underscores and hyphens")]
    Name,
    /// What stands behind the `=`.
    #[error("must have a value that is a number of at least 0, such as 12, 0.250000 or 4.5e-05")]
    Number,
    /// The name stood in an earlier line.
    #[error("says a second time what an earlier line has said")]
    Twice,
}

impl Stats {
    /// Reads an answer. The counters of single threads are dropped: `total` has their sums.
    pub fn parse(answer: &str) -> Result<Self, StatsError> {
        if answer.len() > MAX_ANSWER {
            return Err(StatsError::TooLong(answer.len()));
        }
        if answer.is_empty() {
            return Err(StatsError::Empty);
        }
        if answer.starts_with("error") {
            return Err(StatsError::Refused(shown(answer.trim_end())));
        }
        if !answer.ends_with('\n') {
            let line = answer.lines().count();
            let text = shown(answer.lines().next_back().unwrap_or_default());
            return Err(StatsError::CutOff { line, text });
        }
        let mut counters = BTreeMap::new();
        for (number, line) in (1..).zip(answer.lines()) {
            let refused = |problem| StatsError::Line {
                line: number,
                text: shown(line),
                problem,
            };
            let (name, value) = counter(line).map_err(refused)?;
            if !of_one_thread(name) && counters.insert(name.to_owned(), value).is_some() {
                return Err(refused(LineProblem::Twice));
            }
        }
        Ok(Self { counters })
    }

    /// The value of a counter.
    #[must_use]
    pub fn value(&self, counter: &str) -> Option<f64> {
        self.counters.get(counter).copied()
    }

    /// Every counter whose name begins so, without that beginning, in the order of names.
    fn below<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, f64)> {
        self.counters
            .range::<str, _>((Bound::Included(prefix), Bound::Unbounded))
            .map_while(move |(name, value)| Some((name.strip_prefix(prefix)?, *value)))
    }
}

fn counter(line: &str) -> Result<(&str, f64), LineProblem> {
    if line.len() > MAX_LINE {
        return Err(LineProblem::TooLong);
    }
    let (name, value) = line.split_once('=').ok_or(LineProblem::NoValue)?;
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if name.is_empty() || !name.bytes().all(inner) {
        return Err(LineProblem::Name);
    }
    number(value)
        .map(|value| (name, value))
        .ok_or(LineProblem::Number)
}

/// Averages and medians are printed with C's `%g`, so an exponent may stand there.
fn number(text: &str) -> Option<f64> {
    let inner = |byte: u8| byte.is_ascii_digit() || b".e+-".contains(&byte);
    if !text.starts_with(|first: char| first.is_ascii_digit()) || !text.bytes().all(inner) {
        return None;
    }
    text.parse().ok().filter(|value: &f64| value.is_finite())
}

fn of_one_thread(name: &str) -> bool {
    name.strip_prefix("thread")
        .is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
}

fn shown(text: &str) -> String {
    text.chars().take(SHOWN).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_are_read_and_those_of_threads_dropped() {
        let stats = Stats::parse(
            "thread0.num.queries=2\ntotal.num.queries=3\ntime.up=4.250064\ntotal.recursion.time.median=4.5e-05\n",
        )
        .unwrap();
        assert_eq!(stats.value("total.num.queries"), Some(3.0));
        assert_eq!(stats.value("time.up"), Some(4.250_064));
        assert_eq!(stats.value("total.recursion.time.median"), Some(4.5e-5));
        assert_eq!(stats.value("thread0.num.queries"), None);
        let short: Vec<_> = stats.below("total.").map(|(name, _)| name).collect();
        assert_eq!(short, ["num.queries", "recursion.time.median"]);
    }

    #[test]
    fn a_wrong_line_is_named_with_its_number_and_text() {
        let long = format!("a={}", "1".repeat(MAX_LINE));
        for (line, problem) in [
            ("num.queries", LineProblem::NoValue),
            ("=1", LineProblem::Name),
            ("num queries=1", LineProblem::Name),
            ("a{b=\"c\"}=1", LineProblem::Name),
            ("a=", LineProblem::Number),
            ("a=-1", LineProblem::Number),
            ("a=1,5", LineProblem::Number),
            ("a=nan", LineProblem::Number),
            ("a=1e999", LineProblem::Number),
            ("a= 1", LineProblem::Number),
            ("total.num.queries=1", LineProblem::Twice),
            (&long, LineProblem::TooLong),
        ] {
            let error = Stats::parse(&format!("total.num.queries=1\n{line}\nb=1\n")).unwrap_err();
            let text: String = line.chars().take(SHOWN).collect();
            let expected = StatsError::Line {
                line: 2,
                text: text.clone(),
                problem,
            };
            assert_eq!(error, expected);
            let told = error.to_string();
            assert!(
                told.contains("line 2") && told.contains(&format!("{text:?}")),
                "{told}"
            );
        }
    }

    #[test]
    fn an_answer_that_is_not_whole_is_refused() {
        let cut = Stats::parse("a=1\ntotal.num.queries=12").unwrap_err();
        assert_eq!(
            cut.to_string(),
            "Unbound's answer breaks off in line 2, \"total.num.queries=12\""
        );
        assert_eq!(Stats::parse(""), Err(StatsError::Empty));
        assert_eq!(
            Stats::parse("error unknown command 'x'\n"),
            Err(StatsError::Refused("error unknown command 'x'".into()))
        );
        let long = "a=1\n".repeat(MAX_ANSWER / 4 + 1);
        assert_eq!(Stats::parse(&long), Err(StatsError::TooLong(MAX_ANSWER + 4)));
    }

    proptest! {
        #[test]
        fn nothing_that_arrives_ends_in_a_panic_or_in_a_number_that_is_none(
            lines in proptest::collection::vec("[a-z0-9.=\\-+e \u{e9}]{0,24}", 0..8),
            end in "\n?",
        ) {
            if let Ok(stats) = Stats::parse(&(lines.join("\n") + &end)) {
                prop_assert!(stats.counters.values().all(|value| value.is_finite() && *value >= 0.0));
                prop_assert!(stats.counters.keys().all(|name| !of_one_thread(name)));
            }
        }
    }
}
