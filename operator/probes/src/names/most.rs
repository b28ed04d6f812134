//! The names that were asked for most often, as far as a bounded memory can tell.
//!
//! Whatever comes new when all places are taken gets the place of the one asked least often, of equal ones the oldest.
//! So names that come once, as in a flood of random ones, push out each other and none that was asked for again. Of one
//! parent no more than [`MOST_OF_A_PARENT`] are kept, so that a flood below one zone leaves places for the others even
//! if each of its names comes twice.
//!
//! At most 1,024 names, each at most 253 bytes, kept twice, beside its parent: with the maps around them less than
//! [`MOST_BYTES`].

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use tsutsumi_model::{AskedName, Collected, DomainName};

/// How many names of one parent are kept, each type counted by itself.
pub(super) const MOST_OF_A_PARENT: usize = 64;
/// More than all names take, with the maps that hold them.
#[cfg(test)]
const MOST_BYTES: usize = 2 * 1024 * 1024;

/// The name and its type.
type Key = Arc<(DomainName, u16)>;
/// How often, and since which question: the smallest goes first.
type Rank = (u64, u64);

/// The names that are kept.
#[derive(Debug, Default)]
pub(super) struct Most {
    ranks: HashMap<Key, Rank>,
    order: BTreeMap<Rank, Key>,
    parents: HashMap<Box<str>, BTreeSet<Rank>>,
    clock: u64,
}

impl Most {
    /// Counts one question.
    pub(super) fn count(&mut self, name: DomainName, qtype: u16) {
        let key = Arc::new((name, qtype));
        self.clock = self.clock.saturating_add(1);
        let known = self.ranks.get_key_value(&key);
        let known = known.map(|(kept, rank)| (Arc::clone(kept), *rank));
        let (key, rank) = if let Some((kept, (times, since))) = known {
            self.take_out((times, since));
            (kept, (times.saturating_add(1), since))
        } else {
            self.make_room(parent(&key));
            (key, (1, self.clock))
        };
        let parent = parent(&key);
        match self.parents.get_mut(parent) {
            Some(ranks) => drop(ranks.insert(rank)),
            None => drop(self.parents.insert(parent.into(), BTreeSet::from([rank]))),
        }
        self.order.insert(rank, Arc::clone(&key));
        self.ranks.insert(key, rank);
    }

    /// The names, those asked most often first, of equal ones the oldest.
    pub(super) fn told(&self) -> Vec<AskedName> {
        let mut kept: Vec<_> = self.order.iter().collect();
        kept.sort_by_key(|((times, since), _)| (std::cmp::Reverse(*times), *since));
        kept.into_iter()
            .map(|((times, _), key)| AskedName {
                name: key.0.clone(),
                qtype: key.1,
                times: *times,
            })
            .collect()
    }

    /// So that one more fits, among all and below its parent.
    fn make_room(&mut self, parent: &str) {
        let crowded = self
            .parents
            .get(parent)
            .filter(|ranks| ranks.len() >= MOST_OF_A_PARENT)
            .and_then(|ranks| ranks.first().copied());
        let full = self.ranks.len() >= Collected::MOST_NAMES;
        let goes = crowded.or_else(|| self.order.keys().next().copied().filter(|_| full));
        if let Some(rank) = goes {
            self.take_out(rank);
        }
    }

    fn take_out(&mut self, rank: Rank) {
        let Some(key) = self.order.remove(&rank) else {
            return;
        };
        self.ranks.remove(&key);
        let parent = parent(&key);
        if let Some(ranks) = self.parents.get_mut(parent) {
            ranks.remove(&rank);
            if ranks.is_empty() {
                self.parents.remove(parent);
            }
        }
    }
}

fn parent(key: &Key) -> &str {
    key.0.parent().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: u16 = 1;

    fn name(text: &str) -> DomainName {
        text.parse().unwrap()
    }

    fn count(most: &mut Most, text: &str, times: usize) {
        for _ in 0..times {
            most.count(name(text), A);
        }
    }

    fn times(most: &Most, text: &str) -> Option<u64> {
        let told = most.told();
        told.iter()
            .find(|asked| asked.name == name(text))
            .map(|asked| asked.times)
    }

    #[test]
    fn those_asked_most_often_come_first_and_each_type_counts_by_itself() {
        let mut most = Most::default();
        count(&mut most, "b.test", 2);
        count(&mut most, "a.test", 3);
        most.count(name("b.test"), 28);
        let told = most.told();
        let lines: Vec<_> = told
            .iter()
            .map(|asked| (asked.name.as_str(), asked.qtype, asked.times))
            .collect();
        assert_eq!(lines, [("a.test", 1, 3), ("b.test", 1, 2), ("b.test", 28, 1)]);
    }

    #[test]
    fn a_flood_of_random_names_pushes_out_none_that_was_asked_for_again() {
        let mut most = Most::default();
        count(&mut most, "wiki.corp.test", 2);
        for flood in 0..20_000 {
            count(&mut most, &format!("a{flood}.b{flood}.test"), 1);
        }
        count(&mut most, "mail.corp.test", 2);
        for flood in 20_000..40_000 {
            count(&mut most, &format!("a{flood}.b{flood}.test"), 1);
        }
        assert_eq!(times(&most, "wiki.corp.test"), Some(2));
        assert_eq!(
            times(&most, "mail.corp.test"),
            Some(2),
            "it came in the midst of it"
        );
        assert_eq!(most.told().len(), Collected::MOST_NAMES);
    }

    #[test]
    fn a_flood_below_one_zone_leaves_places_for_the_others() {
        let mut most = Most::default();
        count(&mut most, "once.corp.test", 1);
        for flood in 0..20_000 {
            count(&mut most, &format!("a{flood}.victim.test"), 2);
        }
        assert_eq!(times(&most, "once.corp.test"), Some(1));
        assert_eq!(most.told().len(), MOST_OF_A_PARENT + 1);
    }

    #[test]
    fn its_memory_is_bounded() {
        let mut most = Most::default();
        let label = "x".repeat(63);
        for flood in 0..5_000 {
            // As long as a name gets, each with a parent of its own.
            most.count(name(&format!("a.{flood:059}.{label}.{label}.{label}")), A);
        }
        assert_eq!(most.ranks.len(), Collected::MOST_NAMES);
        assert_eq!(most.order.len(), most.ranks.len());
        let ranked = most.parents.values().map(BTreeSet::len);
        assert_eq!(ranked.sum::<usize>(), most.ranks.len());
        let names: usize = most.ranks.keys().map(|key| key.0.as_str().len()).sum();
        let parents: usize = most.parents.keys().map(|parent| parent.len()).sum();
        // A map may hold twice the places that it needs, and a set's first node has room for eleven.
        let each =
            64 + size_of::<(DomainName, u16)>() + 4 * size_of::<(Key, Rank)>() + 2 * 11 * size_of::<Rank>();
        assert!(names + parents + Collected::MOST_NAMES * each < MOST_BYTES);
    }
}
