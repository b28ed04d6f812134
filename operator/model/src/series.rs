//! Many questions to one server, to see how it asks on, and what came back of them.

use std::{collections::BTreeMap, num::NonZeroU16};

use serde::{Deserialize, Serialize};

use crate::{DomainName, Endpoint, Failure, Rcode};

/// Questions of type A over UDP, each for a name of its own: the first half one after another, the second half in
/// bursts, since a pool of sockets shows itself differently in both.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Series {
    /// Whom to ask.
    pub server: Endpoint,
    /// For what, in order; at most [`Series::LONGEST`].
    pub names: Vec<DomainName>,
    /// How many questions in a second, bursts included.
    pub per_second: NonZeroU16,
}

impl Series {
    /// The most questions of one series.
    pub const LONGEST: usize = 512;
    /// How many questions of the second half go out at once.
    pub const BURST: usize = 8;
}

/// What came back of a series: each question counts once.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Tally {
    /// Answers, by response code.
    pub answers: BTreeMap<Rcode, u16>,
    /// Questions without an answer, by why.
    pub failures: BTreeMap<Failure, u16>,
}

impl Tally {
    /// All questions.
    #[must_use]
    pub fn asked(&self) -> u16 {
        self.answers.values().chain(self.failures.values()).sum()
    }

    /// Questions that were answered without an error.
    #[must_use]
    pub fn answered(&self) -> u16 {
        self.answers.get(&Rcode::NOERROR).copied().unwrap_or_default()
    }

    /// Questions that were not.
    #[must_use]
    pub fn failed(&self) -> u16 {
        self.asked() - self.answered()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tally_counts_each_question_once_and_travels_as_json() {
        let tally = Tally {
            answers: [(Rcode::NOERROR, 250), (Rcode::SERVFAIL, 4)].into(),
            failures: [(Failure::Timeout, 2)].into(),
        };
        assert_eq!((tally.asked(), tally.answered(), tally.failed()), (256, 250, 6));
        let json = serde_json::to_string(&tally).unwrap();
        assert_eq!(serde_json::from_str::<Tally>(&json).unwrap(), tally);
    }
}
