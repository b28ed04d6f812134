//! The Prometheus text format (exposition formats, 0.0.4), read for a closed set of families.
//!
//! Lines of other families are skipped unread; a line of ours that cannot be read spoils the page, since a sample
//! that is silently missing would pass for a plugin that is not there.

use std::collections::BTreeMap;

use tsutsumi_model::{MetricName, MetricSample};

/// One sample per server block and plugin; more than this is no CoreDNS.
const MOST_SAMPLES: usize = 2048;
/// Longest line of ours, in bytes.
const LONGEST_LINE: usize = 2048;

/// The page cannot be read.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub(super) struct TextError {
    line: usize,
    problem: &'static str,
}

/// The samples of [`MetricName`], in the order of the page.
pub(super) fn parse(page: &[u8]) -> Result<Vec<MetricSample>, TextError> {
    let mut samples = Vec::new();
    for (index, line) in page.split(|&byte| byte == b'\n').enumerate() {
        let Some((name, rest)) = family(line) else {
            continue;
        };
        let fail = |problem| TextError {
            line: index + 1,
            problem,
        };
        if samples.len() == MOST_SAMPLES {
            return Err(fail("more than 2048 samples"));
        }
        if line.len() > LONGEST_LINE {
            return Err(fail("longer than 2048 bytes"));
        }
        let rest = std::str::from_utf8(rest).map_err(|_| fail("not UTF-8"))?;
        let (labels, rest) = labels(rest).map_err(fail)?;
        samples.push(MetricSample {
            name,
            labels,
            value: value(rest).map_err(fail)?,
        });
    }
    Ok(samples)
}

/// The family that the line belongs to, if it is one of ours, and what follows its name.
fn family(line: &[u8]) -> Option<(MetricName, &[u8])> {
    let end = line
        .iter()
        .position(|byte| !byte.is_ascii_alphanumeric() && !matches!(byte, b'_' | b':'))
        .unwrap_or(line.len());
    let (name, rest) = line.split_at(end);
    let name = MetricName::ALL
        .into_iter()
        .find(|known| known.as_str().as_bytes() == name)?;
    Some((name, rest))
}

/// `{a="b",c="d"}` or nothing, and what follows.
fn labels(text: &str) -> Result<(BTreeMap<String, String>, &str), &'static str> {
    let mut labels = BTreeMap::new();
    let Some(mut rest) = blanks(text).strip_prefix('{') else {
        return Ok((labels, text));
    };
    loop {
        rest = blanks(rest);
        if let Some(after) = rest.strip_prefix('}') {
            return Ok((labels, after));
        }
        let (name, after) = rest.split_once('=').ok_or("a label has no `=`")?;
        let name = name.trim_end_matches([' ', '\t']);
        let starts_well = !name.starts_with(|c: char| c.is_ascii_digit());
        if name.is_empty() || !starts_well || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            return Err("a label's name must be letters, digits and underscores");
        }
        let quoted = blanks(after)
            .strip_prefix('"')
            .ok_or("a label's value must be quoted")?;
        let (value, after) = unquote(quoted)?;
        if labels.insert(name.to_owned(), value).is_some() {
            return Err("a label occurs twice");
        }
        rest = blanks(after);
        if let Some(after) = rest.strip_prefix(',') {
            rest = after;
        } else if !rest.starts_with('}') {
            return Err("a label must be followed by `,` or `}`");
        }
    }
}

/// The text up to the closing quote, escapes undone, and what follows the quote.
fn unquote(text: &str) -> Result<(String, &str), &'static str> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((value, &text[at + 1..])),
            '\\' => match chars.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, escaped @ ('\\' | '"'))) => value.push(escaped),
                _ => return Err("a backslash must be followed by `\\`, `\"` or `n`"),
            },
            c => value.push(c),
        }
    }
    Err("a label's value has no closing quote")
}

/// The value, which a time in milliseconds may follow.
fn value(text: &str) -> Result<f64, &'static str> {
    let mut fields = text.split([' ', '\t', '\r']).filter(|field| !field.is_empty());
    let value: f64 = fields
        .next()
        .and_then(|field| field.parse().ok())
        .ok_or("the value must be a number")?;
    match (fields.next().map(str::parse::<i64>), fields.next()) {
        (None | Some(Ok(_)), None) if value.is_finite() => Ok(value),
        (None | Some(Ok(_)), None) => Err("the value must be finite"),
        _ => Err("the value may be followed by one time in milliseconds"),
    }
}

fn blanks(text: &str) -> &str {
    text.trim_start_matches([' ', '\t'])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Taken from CoreDNS 1.14, shortened.
    const PAGE: &str = r#"# HELP coredns_build_info A metric with a constant '1' value labeled by version, revision, and goversion.
# TYPE coredns_build_info gauge
coredns_build_info{goversion="go1.25.0",revision="1db4568",version="1.14.7"} 1
# HELP coredns_dns_requests_total Counter of DNS requests made per zone, protocol and family.
coredns_dns_requests_total{family="1",proto="udp",server="dns://:53",type="A",view="",zone="."} 12
coredns_plugin_enabled{name="acl",server="dns://:53",view="",zone="."} 1
coredns_plugin_enabled{name="cache",server="dns://:53",view="",zone="."} 1
coredns_reload_failed_total 0
coredns_reload_failed_total_more 7
coredns_reload_version_info{hash="sha512",value="ab12"} 1
go_goroutines 33
"#;

    fn one(line: &str) -> Result<MetricSample, TextError> {
        parse(line.as_bytes()).map(|mut samples| samples.remove(0))
    }

    #[test]
    fn only_the_closed_set_comes_through_in_order() {
        let samples = parse(PAGE.as_bytes()).unwrap();
        let names: Vec<_> = samples.iter().map(|sample| sample.name).collect();
        assert_eq!(
            names,
            [
                MetricName::CorednsBuildInfo,
                MetricName::CorednsPluginEnabled,
                MetricName::CorednsPluginEnabled,
                MetricName::CorednsReloadFailedTotal,
                MetricName::CorednsReloadVersionInfo,
            ]
        );
        assert_eq!(samples[0].labels["version"], "1.14.7");
        assert_eq!(samples[1].labels["view"], "");
        assert!(samples[3].labels.is_empty());
    }

    #[test]
    fn escapes_blanks_times_and_exponents_are_read() {
        let sample =
            one(r#"coredns_acl_blocked_requests_total { zone = "a\\b\"c\nd" , server="}," ,} 1.5e+03 1700000000000"#)
                .unwrap();
        assert_eq!(sample.labels["zone"], "a\\b\"c\nd");
        assert_eq!(sample.labels["server"], "},");
        assert!((sample.value - 1500.0).abs() < f64::EPSILON);
    }

    #[test]
    fn a_line_of_ours_that_cannot_be_read_spoils_the_page() {
        for line in [
            "coredns_build_info",
            "coredns_build_info{",
            "coredns_build_info{a} 1",
            "coredns_build_info{a=b} 1",
            "coredns_build_info{a=\"b} 1",
            "coredns_build_info{a=\"b\\x\"} 1",
            "coredns_build_info{a=\"b\" c=\"d\"} 1",
            "coredns_build_info{a=\"b\",a=\"c\"} 1",
            "coredns_build_info{1a=\"b\"} 1",
            "coredns_build_info{} one",
            "coredns_build_info NaN",
            "coredns_build_info +Inf",
            "coredns_build_info 1 2 3",
            "coredns_build_info 1 soon",
        ] {
            let page = format!("go_goroutines 1\n{line}\n");
            assert_eq!(
                parse(page.as_bytes()).map_err(|error| error.line),
                Err(2),
                "{line}"
            );
        }
    }

    #[test]
    fn the_number_and_length_of_samples_are_bounded() {
        let many = "coredns_reload_failed_total 0\n".repeat(MOST_SAMPLES + 1);
        assert_eq!(parse(many.as_bytes()).unwrap_err().line, MOST_SAMPLES + 1);
        let long = format!("coredns_build_info{{a=\"{}\"}} 1", "x".repeat(LONGEST_LINE));
        assert_eq!(parse(long.as_bytes()).unwrap_err().line, 1);
        let foreign = format!("other{{a=\"{}\"}} 1", "x".repeat(LONGEST_LINE));
        assert_eq!(parse(foreign.as_bytes()), Ok(vec![]));
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&bytes);
            let _ = parse(&[b"coredns_build_info{", &bytes[..]].concat());
        }

        #[test]
        fn every_label_value_reads_back(value in "[^\r]{0,40}") {
            let escaped = value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n");
            let sample = one(&format!("coredns_build_info{{v=\"{escaped}\"}} 1")).unwrap();
            prop_assert_eq!(&sample.labels["v"], &value);
        }
    }
}
