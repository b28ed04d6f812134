//! Which names a resolver was lately asked for: what a prober is told to collect, and what it tells.

use std::{collections::BTreeMap, net::IpAddr};

use serde::{Deserialize, Serialize};

use crate::DomainName;

/// From whom to collect, and until when.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Collect {
    /// The resolvers' addresses; nobody else may tell. At most [`Collect::MOST_PEERS`].
    pub peers: Vec<IpAddr>,
    /// Names that are not kept: these and everything below them. At most [`Collect::MOST_APART`].
    pub apart: Vec<DomainName>,
    /// For how many seconds from now: at most [`Collect::LONGEST`]. What was collected is then forgotten, unless more
    /// time is asked for before.
    pub seconds: u16,
}

impl Collect {
    /// The most resolvers.
    pub const MOST_PEERS: usize = 1024;
    /// The most names that are not kept.
    pub const MOST_APART: usize = 16;
    /// The longest time, in seconds.
    pub const LONGEST: u16 = 15 * 60;
}

/// A name with a type, and how often a resolver was asked for it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AskedName {
    /// The name.
    pub name: DomainName,
    /// The type, as the number of the registry.
    pub qtype: u16,
    /// How often, since it is kept.
    pub times: u64,
}

/// What was collected so far.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Collected {
    /// For how many seconds, without a break.
    pub seconds: u64,
    /// The resolvers that are connected.
    pub connected: Vec<IpAddr>,
    /// How many questions were told.
    pub questions: u64,
    /// How many of them nobody could ask again: the name is none of ours, or the class is not that of the Internet.
    pub unreadable: u64,
    /// The names, those asked most often first; at most [`Collected::MOST_NAMES`].
    pub names: Vec<AskedName>,
}

impl Collected {
    /// The most names, each type of one counted by itself.
    pub const MOST_NAMES: usize = 1024;

    /// What several told, as if one had: those asked most often stay. The time is the shortest.
    #[must_use]
    pub fn joined(told: impl IntoIterator<Item = Self>) -> Self {
        let mut whole: Option<Self> = None;
        let mut times: BTreeMap<(DomainName, u16), u64> = BTreeMap::new();
        for one in told {
            for AskedName {
                name,
                qtype,
                times: more,
            } in one.names
            {
                let sum = times.entry((name, qtype)).or_default();
                *sum = sum.saturating_add(more);
            }
            let whole = whole.get_or_insert_with(|| Self {
                seconds: one.seconds,
                ..Self::default()
            });
            whole.seconds = whole.seconds.min(one.seconds);
            whole.connected.extend(one.connected);
            whole.questions = whole.questions.saturating_add(one.questions);
            whole.unreadable = whole.unreadable.saturating_add(one.unreadable);
        }
        let mut whole = whole.unwrap_or_default();
        whole.connected.sort_unstable();
        whole.connected.dedup();
        whole.names = times
            .into_iter()
            .map(|((name, qtype), times)| AskedName { name, qtype, times })
            .collect();
        // Stable, so that equal ones stay in the order of their names.
        whole.names.sort_by_key(|asked| std::cmp::Reverse(asked.times));
        whole.names.truncate(Self::MOST_NAMES);
        whole
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(name: &str, times: u64) -> AskedName {
        AskedName {
            name: name.parse().unwrap(),
            qtype: 1,
            times,
        }
    }

    #[test]
    fn what_several_told_is_one_list_with_the_most_asked_first() {
        let one = Collected {
            seconds: 20,
            connected: vec!["10.0.0.2".parse().unwrap()],
            questions: 9,
            unreadable: 1,
            names: vec![asked("b.test", 5), asked("a.test", 3)],
        };
        let other = Collected {
            seconds: 7,
            connected: vec!["10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap()],
            questions: 4,
            unreadable: 0,
            names: vec![asked("a.test", 4)],
        };
        let whole = Collected::joined([one, other]);
        assert_eq!(whole.names, [asked("a.test", 7), asked("b.test", 5)]);
        assert_eq!(
            (
                whole.seconds,
                whole.connected.len(),
                whole.questions,
                whole.unreadable
            ),
            (7, 2, 13, 1)
        );
        let json = serde_json::to_string(&whole).unwrap();
        assert_eq!(serde_json::from_str::<Collected>(&json).unwrap(), whole);
        assert_eq!(Collected::joined([]), Collected::default());
    }
}
