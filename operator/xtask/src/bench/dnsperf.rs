//! One run of dnsperf, and what it counted.

use std::fs;
use std::net::IpAddr;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::run;
use crate::tools::{debian, peers::Peer};

/// Whom to ask, for what, for how long.
pub(super) struct Load<'a> {
    pub(super) server: IpAddr,
    /// One name a line is asked for, in turn; the run ends with the last where it asks each once.
    pub(super) names: &'a [String],
    pub(super) each_once: bool,
    pub(super) seconds: u32,
    /// No more than so many a second, where there is a limit.
    pub(super) per_second: Option<u32>,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Tally {
    pub(super) per_second: f64,
    /// The 99th percentile of the time to an answer, in milliseconds.
    pub(super) p99: f64,
    /// The share of questions that got another answer than NOERROR, or none, in percent.
    pub(super) failed: f64,
}

/// From the node, over UDP, as eight clients with four questions under way each.
pub(super) fn run(load: &Load<'_>, folder: &Path) -> Result<Tally> {
    let lines: Vec<&str> = load.names.iter().flat_map(|name| [name, " A\n"]).collect();
    let file = folder.join("names");
    fs::write(&file, lines.concat())?;
    let mut dnsperf = debian::command(&Peer::Dnsperf.folder()?, "usr/bin/dnsperf");
    dnsperf.args([
        "-O",
        "latency-histogram",
        "-c",
        "8",
        "-q",
        "32",
        "-t",
        "5",
        "-T",
        "1",
    ]);
    dnsperf.args(["-s", &load.server.to_string(), "-l", &load.seconds.to_string()]);
    if load.each_once {
        dnsperf.args(["-n", "1"]);
    }
    if let Some(limit) = load.per_second {
        dnsperf.args(["-Q", &limit.to_string()]);
    }
    let told = run::output(dnsperf.arg("-d").arg(&file))?;
    read(&told).with_context(|| format!("dnsperf says:\n{told}"))
}

fn read(told: &str) -> Result<Tally> {
    let after = |label: &str| {
        let rest = told.lines().find_map(|line| line.trim().strip_prefix(label))?;
        rest.split_whitespace().next()?.parse::<f64>().ok()
    };
    let sent = after("Queries sent:").context("nothing was sent")?;
    let per_second = after("Queries per second:").context("no rate")?;
    let codes = told
        .lines()
        .find(|line| line.contains("Response codes:"))
        .unwrap_or_default();
    let good = codes
        .split_once("NOERROR ")
        .and_then(|(_, rest)| rest.split_whitespace().next()?.parse::<f64>().ok())
        .unwrap_or_default();
    let buckets: Vec<(f64, u64)> = told.lines().filter_map(bucket).collect();
    let all: u64 = buckets.iter().map(|(_, count)| count).sum();
    let mut below = 0;
    let p99 = buckets.iter().find(|(_, count)| {
        below += count;
        below * 100 >= all * 99
    });
    let Some((p99, _)) = p99 else {
        bail!("it has no histogram")
    };
    Ok(Tally {
        per_second,
        p99: p99 * 1000.0,
        failed: 100.0 * (sent - good) / sent.max(1.0),
    })
}

/// A line of the histogram, `0.000128 - 0.000131:  4`, by its upper end in seconds.
fn bucket(line: &str) -> Option<(f64, u64)> {
    let (range, count) = line.split_once(':')?;
    let (_, upper) = range.split_once(" - ")?;
    Some((upper.trim().parse().ok()?, count.trim().parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_percentile_is_the_end_of_the_bucket_that_holds_it() {
        let told = "  Queries sent:         200\n  Queries completed:    198 (99.00%)\n  Queries lost:  2 (1.00%)\n\n  \
                    Response codes:       NOERROR 190 (95.96%), SERVFAIL 8 (4.04%)\n  Run time (s):         1.0\n  \
                    Queries per second:   198.5\n\n  Latency bucket (s):   answer count\n  0.000100 - 0.000199:  196\n  \
                    0.000200 - 0.000299:  1\n  0.000300 - 0.000399:  1\n";
        let tally = read(told).unwrap();
        assert_eq!(
            tally,
            Tally {
                per_second: 198.5,
                p99: 0.000_299 * 1000.0,
                failed: 5.0,
            }
        );
        assert!(read("").is_err());
    }
}
