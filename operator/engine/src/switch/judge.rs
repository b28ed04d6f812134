//! What would get worse.

use std::{fmt, net::IpAddr};

use tsutsumi_model::{Ask, Failure, Observation, QueryType, Rcode, RootAnswer, RootRecord, Saw};

use crate::ranges::is_private;

/// What is demanded of the new path beside being no worse.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Demand {
    /// Nothing: others resolve, as they like.
    NoWorse,
    /// It resolves from the root, so the root's servers must be answered for.
    Root,
}

/// A question that would be answered worse.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Worse {
    /// Its place among those that were asked; none for the root's.
    pub index: Option<usize>,
    /// Name and type.
    pub question: String,
    /// What it gets today.
    pub before: String,
    /// What it would get.
    pub after: String,
}

impl fmt::Display for Worse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            question,
            before,
            after,
            ..
        } = self;
        write!(f, "{question}: {before} today, {after} then")
    }
}

/// Compares what both paths answered to [`probes`](super::probes()) of the same questions, in their order.
#[must_use]
pub fn worse(before: &[Observation], after: &[Observation], demand: Demand) -> Vec<Worse> {
    before
        .iter()
        .zip(after)
        .enumerate()
        .filter_map(|(place, (before, after))| {
            let (old, new) = (Got::of(&before.saw), Got::of(&after.saw));
            let is_worse = match &before.probe.ask {
                Ask::Root(_) => {
                    let works = |got: &Got<'_>| matches!(got, Got::Root);
                    !works(&new) && (demand == Demand::Root || works(&old))
                }
                _ => old.gets_worse(&new),
            };
            is_worse.then(|| Worse {
                index: place.checked_sub(1),
                question: asked(&before.probe.ask),
                before: old.to_string(),
                after: new.to_string(),
            })
        })
        .collect()
}

/// What stands in the way, for a person, and what can be done. The names come last: a long list is cut.
#[must_use]
pub fn told(found: &[Worse], left_out: usize) -> String {
    /// A condition's message has 2,048 characters; the others stand among the warnings.
    const NAMED: usize = 8;
    let named: Vec<String> = found.iter().take(NAMED).map(ToString::to_string).collect();
    let more = match found.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!("; and {more} more, see status.warnings"),
    };
    let cure = if found.iter().any(|one| one.index.is_none()) {
        "The root's servers must be reached from the resolver's pods on port 53, and its keys must be those of that root: \
         see `recursion.roots`"
    } else {
        "Forward the zone in the Corefile before the root's `forward`, or give it a server block; where signatures are \
         wrong, mend them or set `dnssec: Off`; what may get worse goes under `recursion.compare.except`"
    };
    let unasked = match left_out {
        0 => String::new(),
        count => format!(" {count} further names were not compared."),
    };
    let count = found.len();
    let answers = if count == 1 { "answer" } else { "answers" };
    format!(
        "{count} {answers} would get worse, so whom cluster DNS asks stays as it is. {cure}.{unasked} {}{more}",
        named.join("; ")
    )
}

/// What came of a question.
#[derive(Debug)]
enum Got<'a> {
    Addresses(&'a [IpAddr]),
    /// There is more than fits; a client asks again over TCP.
    Cut,
    /// The name is there, and has no such address.
    Empty,
    Denied,
    /// The root's servers.
    Root,
    Failed(String),
    /// It was not asked at all.
    Unasked,
}

impl<'a> Got<'a> {
    fn of(saw: &'a Saw) -> Self {
        match saw {
            Saw::Answer(answer) => match answer.rcode {
                Rcode::NOERROR if !answer.addresses.is_empty() => Self::Addresses(&answer.addresses),
                Rcode::NOERROR if answer.truncated => Self::Cut,
                Rcode::NOERROR => Self::Empty,
                Rcode::NXDOMAIN => Self::Denied,
                other => Self::Failed(coded(other, &answer.extended_errors)),
            },
            Saw::Root(answer) => Self::of_root(answer),
            Saw::Nothing(Failure::Unfinished | Failure::NotPermitted | Failure::Unreachable)
            | Saw::Metrics(_)
            | Saw::Series(_) => Self::Unasked,
            Saw::Nothing(_) => Self::Failed("no answer".to_owned()),
        }
    }

    fn of_root(answer: &RootAnswer) -> Self {
        let mut servers = answer.records.iter();
        match answer.rcode {
            Rcode::NOERROR if servers.any(|one| matches!(one, RootRecord::Server(_))) => Self::Root,
            Rcode::NOERROR => Self::Empty,
            other => Self::Failed(coded(other, &answer.extended_errors)),
        }
    }

    /// Whether this is worse served by the other. What fails already cannot get worse; other addresses are no loss but
    /// where an inner view becomes that of the Internet.
    fn gets_worse(&self, new: &Self) -> bool {
        if matches!(self, Self::Unasked) || matches!(new, Self::Unasked) {
            return true;
        }
        match (self, new) {
            (Self::Failed(_), _) => false,
            (Self::Addresses(old), Self::Addresses(new)) => {
                old.iter().all(is_private) && !new.iter().any(is_private)
            }
            (Self::Addresses(_) | Self::Cut, Self::Empty | Self::Denied) | (_, Self::Failed(_)) => true,
            _ => false,
        }
    }
}

impl fmt::Display for Got<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Addresses([]) | Self::Empty => f.write_str("no such address"),
            Self::Addresses([one]) => one.fmt(f),
            Self::Addresses([first, more @ ..]) => write!(f, "{first} and {} more", more.len()),
            Self::Cut => f.write_str("a cut answer"),
            Self::Denied => f.write_str("NXDOMAIN"),
            Self::Root => f.write_str("the servers"),
            Self::Failed(how) => f.write_str(how),
            Self::Unasked => f.write_str("not asked in time"),
        }
    }
}

/// A code, and what a resolver says beside it about signatures (RFC 8914).
fn coded(rcode: Rcode, extended: &[u16]) -> String {
    const SIGNATURES: std::ops::RangeInclusive<u16> = 6..=12;
    if extended.iter().any(|code| SIGNATURES.contains(code)) {
        format!("{rcode} because of its signatures")
    } else {
        rcode.to_string()
    }
}

fn asked(ask: &Ask) -> String {
    match ask {
        Ask::Dns(question) => {
            let kind = match question.qtype {
                QueryType::Aaaa => "AAAA",
                _ => "A",
            };
            format!("{} {kind}", question.name)
        }
        Ask::Root(question) => question.wanted.to_string(),
        Ask::Metrics(_) | Ask::Series(_) => String::new(),
    }
}
