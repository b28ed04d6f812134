//! Which counter of Unbound becomes which metric: the only place where a metric of Unbound's gets its name.
//!
//! Labels come from here, never from the answer, so nothing that a client can choose ever becomes a series. The names
//! of counters are Unbound's own (`unbound-control(8)`, "stats").

/// Metrics with one name.
#[derive(Debug)]
pub struct Family {
    /// Without the common beginning, without the unit, and without what the text format appends.
    pub name: &'static str,
    /// What its numbers do.
    pub kind: Kind,
    /// What its numbers count, where that is not plain things.
    pub unit: Option<Unit>,
    /// One sentence, without a full stop.
    pub help: &'static str,
    /// Where its numbers come from.
    pub source: Source,
}

/// What a number does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// Grows until Unbound starts anew.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts by size.
    Histogram,
}

/// What numbers count.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Seconds.
    Seconds,
}

/// Where numbers come from.
#[derive(Debug)]
pub enum Source {
    /// One counter.
    One(&'static str),
    /// One counter for each value of a label.
    ByLabel {
        /// The label.
        label: &'static str,
        /// Its values, and the counter of each.
        values: &'static [(&'static str, &'static str)],
    },
    /// Counters that begin so, which are left out while they are 0: what is named here each for itself, the rest as
    /// `other`.
    Common {
        /// The label.
        label: &'static str,
        /// How the counters begin.
        prefix: &'static str,
        /// The values that stand for themselves.
        values: &'static [&'static str],
    },
    /// Counters of ranges of times, which begin so.
    Ranges {
        /// How the counters begin.
        prefix: &'static str,
    },
}

/// Upper bounds of what a histogram tells apart, in seconds. Unbound's own ranges double from a microsecond to six
/// days; below a millisecond and above a minute nobody asks.
pub const BOUNDS: [f64; 17] = [
    0.001_024, 0.002_048, 0.004_096, 0.008_192, 0.016_384, 0.032_768, 0.065_536, 0.131_072, 0.262_144,
    0.524_288, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0,
];

/// The value of a label for what has none of its own.
pub const OTHER: &str = "other";

/// Every family, in the order of the reference page.
pub const FAMILIES: &[Family] = &[
    count(
        "queries",
        "Queries that arrived",
        Source::One("total.num.queries"),
    ),
    count(
        "queries_by_type",
        "Queries by type; `other` is every type that is not listed",
        Source::Common {
            label: "type",
            prefix: "num.query.type.",
            values: &[
                "A", "AAAA", "ANY", "CNAME", "DNSKEY", "DS", "HTTPS", "MX", "NS", "PTR", "SOA", "SRV",
                "SVCB", "TXT",
            ],
        },
    ),
    count(
        "tcp_queries",
        "Queries over TCP, those over TLS included",
        Source::One("num.query.tcp"),
    ),
    count("tls_queries", "Queries over TLS", Source::One("num.query.tls")),
    count(
        "cache_lookups",
        "Queries by whether the cache had the answer",
        Source::ByLabel {
            label: "result",
            values: &[("hit", "total.num.cachehits"), ("miss", "total.num.cachemiss")],
        },
    ),
    count(
        "prefetches",
        "Popular names asked anew before they expired",
        Source::One("total.num.prefetch"),
    ),
    count(
        "expired_answers",
        "Answers with data past its date, while servers were down",
        Source::One("total.num.expired"),
    ),
    count(
        "answers",
        "Answers by response code",
        Source::ByLabel {
            label: "rcode",
            values: &[
                ("FORMERR", "num.answer.rcode.FORMERR"),
                ("NOERROR", "num.answer.rcode.NOERROR"),
                ("NOTIMPL", "num.answer.rcode.NOTIMPL"),
                ("NXDOMAIN", "num.answer.rcode.NXDOMAIN"),
                ("REFUSED", "num.answer.rcode.REFUSED"),
                ("SERVFAIL", "num.answer.rcode.SERVFAIL"),
            ],
        },
    ),
    count(
        "secure_answers",
        "Answers whose signatures were proven",
        Source::One("num.answer.secure"),
    ),
    count(
        "bogus_answers",
        "Answers refused because their signatures are wrong or missing",
        Source::One("num.answer.bogus"),
    ),
    count(
        "bogus_rrsets",
        "Sets of records found to be bogus",
        Source::One("num.rrset.bogus"),
    ),
    count(
        "validations",
        "Signatures that were checked",
        Source::One("num.valops"),
    ),
    count(
        "aggressive_answers",
        "Answers made from proofs of absence in the cache, by response code (RFC 8198)",
        Source::ByLabel {
            label: "rcode",
            values: &[
                ("NOERROR", "num.query.aggressive.NOERROR"),
                ("NXDOMAIN", "num.query.aggressive.NXDOMAIN"),
            ],
        },
    ),
    count(
        "upstream_queries",
        "Queries that Unbound sent to other servers, by transport",
        Source::ByLabel {
            label: "transport",
            values: &[("tcp", "num.query.tcpout"), ("udp", "num.query.udpout")],
        },
    ),
    count(
        "unwanted_queries",
        "Queries from addresses that may not ask",
        Source::One("unwanted.queries"),
    ),
    count(
        "unwanted_replies",
        "Replies that fit no question: some come late, many are an attempt to forge",
        Source::One("unwanted.replies"),
    ),
    count(
        "ratelimited_queries",
        "Queries turned away because their zone is asked too often",
        Source::One("num.query.ratelimited"),
    ),
    count(
        "dropped_queries",
        "Queries that got no answer, by reason",
        Source::ByLabel {
            label: "reason",
            values: &[
                ("address_limit", "total.num.queries_replyaddr_limit"),
                ("client_rate", "total.num.queries_ip_ratelimited"),
                ("discard_timeout", "total.num.queries_discard_timeout"),
                ("queue_timeout", "total.num.queries_timed_out"),
                ("wait_limit", "total.num.queries_wait_limit"),
            ],
        },
    ),
    count(
        "lost_requests",
        "Requests lost to a full list: `exceeded` were not taken on, `overwritten` were dropped for a newer one",
        Source::ByLabel {
            label: "reason",
            values: &[
                ("exceeded", "total.requestlist.exceeded"),
                ("overwritten", "total.requestlist.overwritten"),
            ],
        },
    ),
    gauge(
        "requests",
        None,
        "Requests under way",
        Source::One("total.requestlist.current.all"),
    ),
    gauge(
        "requests_most",
        None,
        "Most requests under way at once",
        Source::One("total.requestlist.max"),
    ),
    gauge(
        "tcp_connections",
        None,
        "Connections of clients over TCP",
        Source::One("total.tcpusage"),
    ),
    Family {
        name: "recursion_duration",
        kind: Kind::Histogram,
        unit: Some(Unit::Seconds),
        help: "How long answers took that were not in the cache; the sum is estimated from the middles of the ranges",
        source: Source::Ranges { prefix: "histogram." },
    },
    gauge(
        "cache_entries",
        None,
        "What the caches hold",
        Source::ByLabel {
            label: "cache",
            values: &[
                ("infra", "infra.cache.count"),
                ("key", "key.cache.count"),
                ("message", "msg.cache.count"),
                ("rrset", "rrset.cache.count"),
            ],
        },
    ),
    gauge(
        "memory",
        Some(Unit::Bytes),
        "Memory by what uses it",
        Source::ByLabel {
            label: "use",
            values: &[
                ("iterator", "mem.mod.iterator"),
                ("message_cache", "mem.cache.message"),
                ("rrset_cache", "mem.cache.rrset"),
                ("validator", "mem.mod.validator"),
            ],
        },
    ),
    gauge(
        "uptime",
        Some(Unit::Seconds),
        "How long Unbound has been running",
        Source::One("time.up"),
    ),
];

const fn count(name: &'static str, help: &'static str, source: Source) -> Family {
    Family {
        name,
        kind: Kind::Counter,
        unit: None,
        help,
        source,
    }
}

const fn gauge(name: &'static str, unit: Option<Unit>, help: &'static str, source: Source) -> Family {
    Family {
        name,
        kind: Kind::Gauge,
        unit,
        help,
        source,
    }
}

impl Family {
    /// Its label, if it has one.
    #[must_use]
    pub fn label(&self) -> Option<&'static str> {
        match self.source {
            Source::ByLabel { label, .. } | Source::Common { label, .. } => Some(label),
            Source::One(_) | Source::Ranges { .. } => None,
        }
    }

    /// Every value that its label can have.
    #[must_use]
    pub fn values(&self) -> Vec<&'static str> {
        match self.source {
            Source::ByLabel { values, .. } => values.iter().map(|(value, _)| *value).collect(),
            Source::Common { values, .. } => values.iter().copied().chain([OTHER]).collect(),
            Source::One(_) | Source::Ranges { .. } => Vec::new(),
        }
    }

    /// What a user would look for in `unbound-control stats`.
    #[must_use]
    pub fn counters(&self) -> Vec<String> {
        match self.source {
            Source::One(counter) => vec![counter.to_owned()],
            Source::ByLabel { values, .. } => {
                values.iter().map(|(_, counter)| (*counter).to_owned()).collect()
            }
            Source::Common { prefix, .. } | Source::Ranges { prefix } => vec![format!("{prefix}*")],
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_name_and_every_counter_stands_once() {
        let names: BTreeSet<_> = FAMILIES.iter().map(|family| family.name).collect();
        assert_eq!(names.len(), FAMILIES.len());
        let counters: Vec<_> = FAMILIES.iter().flat_map(Family::counters).collect();
        let different: BTreeSet<_> = counters.iter().collect();
        assert_eq!(different.len(), counters.len(), "{counters:?}");
    }

    #[test]
    fn names_and_labels_are_what_prometheus_takes_and_the_format_adds_their_ends() {
        let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        for family in FAMILIES {
            assert!(plain(family.name), "{}", family.name);
            assert!(family.label().is_none_or(plain), "{}", family.name);
            for end in ["_total", "_seconds", "_bytes", "_count", "_sum", "_bucket"] {
                assert!(!family.name.ends_with(end), "{}", family.name);
            }
            assert!(
                !family.help.ends_with('.') && !family.help.contains(['\n', '|']),
                "{}",
                family.name
            );
        }
    }

    #[test]
    fn values_of_a_label_are_few_and_sorted() {
        for family in FAMILIES {
            let values = family.values();
            assert!(
                values.len() <= 16 && (family.label().is_none() || values.len() > 1),
                "{}",
                family.name
            );
            let own = values.iter().filter(|value| **value != OTHER);
            assert!(own.is_sorted(), "{}", family.name);
        }
        assert!(BOUNDS.is_sorted());
    }
}
