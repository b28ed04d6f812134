//! The numbers in the text format of `OpenMetrics`.
//!
//! Every page is made anew from one answer. Without an answer it says `up 0` and how questions ended, and nothing
//! of what Unbound once said.

use std::{fmt, sync::Arc};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, NoLabelSet, text},
    metrics::{MetricType, counter::Counter, family::Family},
    registry::{Registry, Unit},
};
use tsutsumi_providers::unbound::stats::{
    StatsError,
    reading::{Histogram, Numbers, Reading, Values},
    table::{self, BOUNDS, Kind},
};

use crate::socket::AskError;

/// What every name begins with.
pub(crate) const PREFIX: &str = "tsutsumi_unbound";

pub(crate) const UP: Own = Own {
    name: "up",
    kind: Kind::Gauge,
    label: None,
    help: "1 if Unbound answered this scrape's question, 0 if there are no numbers",
};
pub(crate) const MISSING: Own = Own {
    name: "counter_missing",
    kind: Kind::Gauge,
    label: Some("counter"),
    help: "1 for each counter that Unbound's answer lacks, so that its metric has no number",
};
pub(crate) const QUESTIONS: Own = Own {
    name: "questions",
    kind: Kind::Counter,
    label: Some("outcome"),
    help: "Questions to the control socket by how they ended",
};

/// A family that is not in the table: about the questions themselves.
pub(crate) struct Own {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) label: Option<&'static str>,
    pub(crate) help: &'static str,
}

/// How a question ended.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(crate) struct OutcomeLabel {
    pub(crate) outcome: &'static str,
}

impl OutcomeLabel {
    /// Every one that there is.
    pub(crate) const ALL: [Self; 7] = [
        Self { outcome: "broken" },
        Self { outcome: "connect" },
        Self { outcome: "deadline" },
        Self { outcome: "ok" },
        Self { outcome: "refused" },
        Self { outcome: "too_long" },
        Self {
            outcome: "unreadable",
        },
    ];

    pub(crate) fn of<T>(result: &Result<T, AskError>) -> Self {
        let outcome = match result {
            Ok(_) => "ok",
            Err(AskError::Connect { .. }) => "connect",
            Err(AskError::Deadline { .. }) => "deadline",
            Err(AskError::Exchange { .. }) => "broken",
            Err(AskError::TooLong { .. }) => "too_long",
            Err(AskError::Unreadable {
                source: StatsError::Refused(_),
                ..
            }) => "refused",
            Err(AskError::NotText { .. } | AskError::Unreadable { .. }) => "unreadable",
        };
        Self { outcome }
    }
}

/// The page of one scrape.
pub(crate) fn page(
    answer: Option<Arc<Reading>>,
    questions: Family<OutcomeLabel, Counter>,
) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    let ours = registry.sub_registry_with_prefix(PREFIX);
    ours.register(QUESTIONS.name, QUESTIONS.help, questions);
    ours.register_collector(Box::new(Page(answer)));
    let mut out = String::new();
    text::encode(&mut out, &registry)?;
    Ok(out)
}

#[derive(Debug)]
struct Page(Option<Arc<Reading>>);

impl Collector for Page {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        describe(&mut encoder, &UP)?.encode_gauge(&i64::from(self.0.is_some()))?;
        let Some(reading) = &self.0 else {
            return Ok(());
        };
        if !reading.missing.is_empty() {
            let mut metric = describe(&mut encoder, &MISSING)?;
            for counter in &reading.missing {
                metric
                    .encode_family(&[(MISSING.label.unwrap_or_default(), *counter)])?
                    .encode_gauge(&1_i64)?;
            }
        }
        reading
            .numbers
            .iter()
            .try_for_each(|numbers| encode(&mut encoder, numbers))
    }
}

fn describe<'a>(
    encoder: &'a mut DescriptorEncoder<'_>,
    own: &'a Own,
) -> Result<prometheus_client::encoding::MetricEncoder<'a>, fmt::Error> {
    encoder.encode_descriptor(own.name, &format!("{}.", own.help), None, metric_type(own.kind))
}

fn encode(encoder: &mut DescriptorEncoder<'_>, numbers: &Numbers) -> Result<(), fmt::Error> {
    let family = numbers.family();
    let help = format!("{}.", family.help);
    let unit = family.unit.map(unit);
    let mut metric =
        encoder.encode_descriptor(family.name, &help, unit.as_ref(), metric_type(family.kind))?;
    match &numbers.values {
        Values::One(number) if family.kind == Kind::Counter => {
            metric.encode_counter::<NoLabelSet, _, f64>(number, None)
        }
        Values::One(number) => metric.encode_gauge(number),
        Values::ByLabel(values) => values.iter().try_for_each(|(value, number)| {
            let labels = [(family.label().unwrap_or_default(), *value)];
            let mut metric = metric.encode_family(&labels)?;
            if family.kind == Kind::Counter {
                metric.encode_counter::<NoLabelSet, _, f64>(number, None)
            } else {
                metric.encode_gauge(number)
            }
        }),
        Values::Histogram(histogram) => {
            metric.encode_histogram::<NoLabelSet>(histogram.sum, histogram.count(), &buckets(histogram), None)
        }
    }
}

fn buckets(histogram: &Histogram) -> Vec<(f64, u64)> {
    let bounded = BOUNDS.into_iter().zip(histogram.counts);
    bounded.chain([(f64::INFINITY, histogram.above)]).collect()
}

fn metric_type(kind: Kind) -> MetricType {
    match kind {
        Kind::Counter => MetricType::Counter,
        Kind::Gauge => MetricType::Gauge,
        Kind::Histogram => MetricType::Histogram,
    }
}

fn unit(unit: table::Unit) -> Unit {
    match unit {
        table::Unit::Bytes => Unit::Bytes,
        table::Unit::Seconds => Unit::Seconds,
    }
}

#[cfg(test)]
mod tests {
    use tsutsumi_providers::unbound::stats::Stats;

    use super::*;

    const ANSWER: &str = include_str!("../../providers/testdata/unbound/stats.txt");

    fn shown(answer: &str) -> String {
        let reading = Reading::new(&Stats::parse(answer).unwrap());
        page(Some(Arc::new(reading)), Family::default()).unwrap()
    }

    #[test]
    fn every_family_has_its_name_type_unit_and_numbers() {
        let page = shown(ANSWER);
        for line in [
            "tsutsumi_unbound_up 1",
            "# TYPE tsutsumi_unbound_queries counter",
            "# HELP tsutsumi_unbound_queries Queries that arrived.",
            "tsutsumi_unbound_queries_total 2.0",
            "tsutsumi_unbound_cache_lookups_total{result=\"hit\"} 1.0",
            "tsutsumi_unbound_queries_by_type_total{type=\"HTTPS\"} 1.0",
            "tsutsumi_unbound_queries_by_type_total{type=\"other\"} 0.0",
            "tsutsumi_unbound_requests 2.0",
            "# UNIT tsutsumi_unbound_memory_bytes bytes",
            "tsutsumi_unbound_memory_bytes{use=\"rrset_cache\"} 66104.0",
            "# TYPE tsutsumi_unbound_recursion_duration_seconds histogram",
            "tsutsumi_unbound_recursion_duration_seconds_count 0",
            "tsutsumi_unbound_recursion_duration_seconds_bucket{le=\"+Inf\"} 0",
            "tsutsumi_unbound_uptime_seconds 4.250064",
        ] {
            assert!(
                page.lines().any(|one| one == line),
                "{line} is missing in\n{page}"
            );
        }
        assert!(
            !page.contains("counter_missing") && page.ends_with("# EOF\n"),
            "{page}"
        );
    }

    #[test]
    fn a_missing_counter_is_a_metric_of_its_own() {
        let page = shown(&ANSWER.replace("num.valops=0\n", ""));
        assert!(
            page.contains("tsutsumi_unbound_counter_missing{counter=\"num.valops\"} 1\n"),
            "{page}"
        );
        assert!(!page.contains("tsutsumi_unbound_validations"), "{page}");
    }

    #[test]
    fn silence_shows_no_number_of_unbound() {
        let questions: Family<OutcomeLabel, Counter> = Family::default();
        questions
            .get_or_create(&OutcomeLabel { outcome: "deadline" })
            .inc();
        let page = page(None, questions).unwrap();
        let samples: Vec<_> = page.lines().filter(|line| !line.starts_with('#')).collect();
        let expected = [
            "tsutsumi_unbound_questions_total{outcome=\"deadline\"} 1",
            "tsutsumi_unbound_up 0",
        ];
        assert_eq!(samples, expected);
    }

    #[test]
    fn outcomes_are_a_closed_set() {
        let socket = || "/a".parse().unwrap();
        for problem in [
            AskError::TooLong { socket: socket() },
            AskError::NotText { socket: socket() },
            AskError::Deadline { socket: socket() },
            AskError::Unreadable {
                socket: socket(),
                source: StatsError::Empty,
            },
            AskError::Unreadable {
                socket: socket(),
                source: StatsError::Refused("error".into()),
            },
        ] {
            let label = OutcomeLabel::of::<()>(&Err(problem));
            assert!(OutcomeLabel::ALL.contains(&label), "{label:?}");
        }
    }
}
