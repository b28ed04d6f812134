//! Where a change ended and what it took, to be compared with a change without a fault.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};

use super::{
    call::{Call, Verb},
    proxy::Made,
};

/// How many calls more than twice those of the reference a change may take: a controller that starts again reads
/// everything anew, and one that loops takes hundreds.
const MORE_CALLS: usize = 20;

/// What is there at the end of a change, without what differs from one to the next.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct End {
    /// The live text.
    pub corefile: String,
    /// Our ConfigMaps with what is in them; of the evidence, which tells times, the keys only.
    pub ours: BTreeMap<String, BTreeMap<String, String>>,
    /// The state of the rollout, and each condition with its status and reason.
    pub status: Vec<String>,
}

/// What a change came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Where it ended.
    pub end: End,
    /// Every call of the controller.
    pub made: Vec<Made>,
}

impl Outcome {
    /// Every call that can be spoiled, with its number among those like it. The lease is renewed by the clock, so its
    /// later calls are another's in every run.
    #[must_use]
    pub fn calls(&self) -> Vec<(Call, usize)> {
        let calls = self.made.iter().map(|made| (made.call.clone(), made.nth));
        calls
            .filter(|(call, nth)| call.what != "leases" || *nth == 1)
            .collect()
    }

    /// Those that change something.
    #[must_use]
    pub fn writes(&self) -> Vec<(Call, usize)> {
        self.calls()
            .into_iter()
            .filter(|(call, _)| call.verb.writes())
            .collect()
    }

    /// Fails unless this change ended where another did, with as many objects made and removed, and without many more
    /// calls.
    ///
    /// # Errors
    /// If it did not; the message shows both.
    pub fn ends_like(&self, other: &Self) -> Result<()> {
        ensure!(
            self.end == other.end,
            "it ends in\n{:#?}\ninstead of\n{:#?}",
            self.end,
            other.end
        );
        let (found, wanted) = (self.turnover(), other.turnover());
        ensure!(
            found == wanted,
            "made and removed were {found:?} instead of {wanted:?}"
        );
        let (found, wanted) = (self.made.len(), other.made.len());
        ensure!(
            found <= 2 * wanted + MORE_CALLS,
            "it took {found} calls instead of {wanted}:\n{}",
            self.made
                .iter()
                .map(|made| made.call.to_string())
                .collect::<Vec<_>>()
                .join("\n")
        );
        Ok(())
    }

    /// How many objects were made and removed, by resource; without Events, of which one may be lost or repeated.
    fn turnover(&self) -> BTreeMap<String, (usize, usize)> {
        let mut counts = BTreeMap::<_, (usize, usize)>::new();
        for made in &self.made {
            let call = &made.call;
            let code = made.status.map(|status| status.as_u16());
            let counts = counts.entry(call.what.clone()).or_default();
            match (call.verb, code) {
                (Verb::Create | Verb::Patch, Some(201)) => counts.0 += 1,
                (Verb::Delete, Some(200 | 202)) => counts.1 += 1,
                _ => {}
            }
        }
        counts.retain(|what, counts| what != "events" && *counts != (0, 0));
        counts
    }
}
