//! Holds cluster DNS where it is while a name would be answered worse elsewhere.
//!
//! The canaries answer what is compared (`judge`). What was found counts until the next round of probes is due, or until
//! something changes that it was made from; then both paths are compared anew. Nothing of this is kept: a controller that
//! starts compares again.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use tsutsumi_api::{conditions::Reason, resolver_policy::Via};
use tsutsumi_engine::{
    cluster::Cluster,
    managed::{Managed, Missing},
    resolver::{Checked, Planned},
    switch::{self, Asked, Demand, Question, Sources, Worse},
};
use tsutsumi_model::DomainName;

/// How often a question must show the same before it counts: a resolver that has just come up has to find its way, and
/// one datagram may be lost.
const TRIES: u8 = 3;
/// How long until those that were worse are asked again: CoreDNS caches a failure for five seconds.
const AGAIN: Duration = Duration::from_secs(6);
/// How many of those that would get worse are listed among the warnings, of which there are at most 32.
const LISTED: usize = 24;

/// A comparison under way.
#[derive(Clone, Debug)]
pub(crate) struct Asking {
    /// The change that it is about.
    label: String,
    /// What is still to be asked.
    left: Vec<Question>,
    tries: u8,
    due: Instant,
}

impl Asking {
    /// The one under way for a change, or its beginning.
    pub(super) fn of(asking: Option<Self>, label: &str, asked: &Asked) -> Self {
        asking
            .filter(|asking| asking.label == label)
            .unwrap_or_else(|| Self {
                label: label.to_owned(),
                left: asked.questions.clone(),
                tries: 0,
                due: Instant::now(),
            })
    }

    /// What to ask now; none while it is too early.
    pub(super) fn due(&self) -> Option<&[Question]> {
        (Instant::now() >= self.due).then_some(self.left.as_slice())
    }

    /// Takes in what would get worse; true once that counts.
    pub(super) fn counts(&mut self, found: &[Worse]) -> bool {
        self.tries += 1;
        self.due = Instant::now() + AGAIN;
        let left = found.iter().filter_map(|one| self.left.get(one.index?).cloned());
        self.left = left.collect();
        self.tries >= TRIES
    }
}

/// What holds a switch back.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    found: Vec<Worse>,
    left_out: usize,
    made_from: MadeFrom,
    since: Instant,
}

/// What a comparison was made from, beside the names.
#[derive(Clone, Debug, Eq, PartialEq)]
struct MadeFrom {
    generation: Option<i64>,
    corefile: Option<String>,
    resolver: Option<String>,
}

impl MadeFrom {
    fn of(checked: &Checked<'_>) -> Self {
        Self {
            generation: checked.policy.metadata.generation,
            corefile: checked
                .target
                .as_ref()
                .ok()
                .and_then(|target| target.corefile.clone()),
            resolver: match &checked.managed {
                Managed::Wanted(wanted) => Some(wanted.digest.clone()),
                Managed::Refused { .. } | Managed::Unwanted(_) => None,
            },
        }
    }
}

impl Held {
    /// From now on.
    pub(super) fn new(checked: &Checked<'_>, found: Vec<Worse>, left_out: usize) -> Self {
        Self {
            found,
            left_out,
            made_from: MadeFrom::of(checked),
            since: Instant::now(),
        }
    }

    /// Puts it into what is told of a plan.
    pub(super) fn tell(&self, planned: &mut Planned) {
        planned.missing.get_or_insert_with(|| self.missing());
        planned.warnings.extend(self.lines());
    }

    fn missing(&self) -> Missing {
        Missing {
            reason: Reason::WouldGetWorse,
            message: switch::told(&self.found, self.left_out),
        }
    }

    fn lines(&self) -> Vec<String> {
        let more = self.found.len().saturating_sub(LISTED);
        let more = (more > 0).then(|| format!("{more} more answers would get worse"));
        let listed = self.found.iter().take(LISTED);
        listed
            .map(|one| format!("would get worse: {one}"))
            .chain(more)
            .collect()
    }
}

/// Whether cluster DNS may be led elsewhere.
#[derive(Debug)]
pub(super) enum Gate {
    /// Nothing is known against it.
    Open,
    /// No, for so long; and the lines that list why.
    Closed(Duration, Missing, Vec<String>),
    /// It is to be compared anew, and until that is done this stands.
    Again(Missing, Vec<String>),
}

impl Gate {
    /// As the last comparison left it; what it was not made from is forgotten.
    pub(super) fn of(checked: &Checked<'_>, held: &mut Option<Held>) -> Self {
        if held
            .as_ref()
            .is_some_and(|held| held.made_from != MadeFrom::of(checked))
        {
            *held = None;
        }
        let Some(held) = held else { return Self::Open };
        let interval = checked.policy.spec.verification.interval.get();
        match interval.saturating_sub(held.since.elapsed()) {
            Duration::ZERO => Self::Again(held.missing(), held.lines()),
            left => Self::Closed(left, held.missing(), held.lines()),
        }
    }

    /// How long until both paths are compared anew; none where nothing waits for that.
    pub(super) fn wait(&self) -> Option<Duration> {
        match self {
            Self::Closed(left, ..) => Some(*left),
            Self::Open | Self::Again(..) => None,
        }
    }
}

/// The questions for a policy that may lead cluster DNS elsewhere; none for any other.
pub(super) fn asked(
    checked: &Checked<'_>,
    cluster: &Cluster,
    cluster_domain: &DomainName,
    seen: &BTreeSet<Question>,
) -> Asked {
    let Some(recursion) = checked.policy.spec.recursion.as_ref() else {
        return Asked::default();
    };
    if recursion.via.is_none() {
        return Asked::default();
    }
    let corefile = checked
        .target
        .as_ref()
        .ok()
        .and_then(|target| target.corefile.as_deref());
    let compare = recursion.compare.clone().unwrap_or_default();
    switch::questions(&Sources {
        named: &compare.names,
        external: &cluster.services.external_names(),
        seen,
        except: &compare.except,
        local: &switch::local_zones(corefile.unwrap_or_default(), cluster_domain),
    })
}

/// What is demanded of the path that the policy wants.
pub(super) fn demand(checked: &Checked<'_>) -> Demand {
    let recursion = checked.policy.spec.recursion.as_ref();
    match recursion.and_then(|recursion| recursion.via) {
        Some(Via::Managed) => Demand::Root,
        Some(Via::Upstreams) | None => Demand::NoWorse,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tsutsumi_api::ResolverPolicy;
    use tsutsumi_engine::{cluster::Cluster, resolver::check, switch::Family};

    use super::*;

    fn policy(generation: i64) -> ResolverPolicy {
        serde_json::from_value(json!({
            "apiVersion": "tsutsumi.dev/v1alpha1",
            "kind": "ResolverPolicy",
            "metadata": { "name": "town", "generation": generation },
            "spec": {
                "mode": "Enforce",
                "recursion": { "via": "Upstreams", "upstreams": ["192.0.2.53"], "sourcePorts": "Random" },
                "verification": { "interval": "5m" },
            },
        }))
        .unwrap()
    }

    fn question(number: usize) -> Question {
        Question {
            name: format!("n{number}.corp").parse().unwrap(),
            family: Family::V4,
        }
    }

    fn worse(index: Option<usize>) -> Worse {
        Worse {
            index,
            question: "n.corp A".to_owned(),
            before: "10.0.0.1".to_owned(),
            after: "NXDOMAIN".to_owned(),
        }
    }

    #[test]
    fn what_was_found_counts_for_an_interval_and_for_what_it_was_made_from() {
        let cluster = Cluster::default();
        let (first, second) = (policy(1), policy(2));
        let checked = check(&first, &[], &cluster);
        assert!(matches!(Gate::of(&checked, &mut None), Gate::Open));
        let found: Vec<Worse> = (0..40).map(|index| worse(Some(index))).collect();
        let mut held = Some(Held::new(&checked, found, 0));
        let Gate::Closed(left, missing, lines) = Gate::of(&checked, &mut held) else {
            panic!("it was found just now")
        };
        assert!(left <= Duration::from_secs(300) && left > Duration::from_secs(200));
        assert_eq!(missing.reason, Reason::WouldGetWorse);
        assert_eq!(lines.len(), LISTED + 1);
        assert_eq!(lines.last().unwrap(), "16 more answers would get worse");

        let long_ago = Instant::now().checked_sub(Duration::from_secs(301)).unwrap();
        held.as_mut().unwrap().since = long_ago;
        assert!(matches!(Gate::of(&checked, &mut held), Gate::Again(..)));
        assert!(held.is_some(), "it is told until both were compared anew");
        held.as_mut().unwrap().since = Instant::now();
        assert!(matches!(
            Gate::of(&check(&second, &[], &cluster), &mut held),
            Gate::Open
        ));
        assert!(held.is_none(), "the policy is another");
    }

    #[test]
    fn what_is_worse_is_asked_thrice_and_alone_before_it_counts() {
        let asked = Asked {
            questions: (0..3).map(question).collect(),
            left_out: 0,
        };
        let mut asking = Asking::of(None, "a", &asked);
        assert_eq!(asking.due(), Some(asked.questions.as_slice()));
        assert!(!asking.counts(&[worse(None), worse(Some(0)), worse(Some(2))]));
        assert_eq!(asking.due(), None, "a failure is cached for a while");
        assert_eq!(asking.left, [question(0), question(2)]);
        let mut asking = Asking::of(Some(asking), "a", &asked);
        assert!(!asking.counts(&[worse(Some(1))]));
        assert_eq!(asking.left, [question(2)]);
        assert!(asking.counts(&[worse(Some(0))]));
        let other = Asking::of(Some(asking), "b", &asked);
        assert_eq!(
            (other.left.len(), other.tries),
            (3, 0),
            "another change begins anew"
        );
    }
}
