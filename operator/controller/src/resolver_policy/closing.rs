//! Closes ways around cluster DNS, and opens them again: one `NetworkPolicy` of ours in a namespace.
//!
//! Another's object or field is never taken: nothing is forced, what was read is read anew before each write, and what is
//! taken away bears the uid that was decided on. What the API server refuses is told and holds up nothing else.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::api::networking::v1::{NetworkPolicy, NetworkPolicySpec};
use kube::{Api, ResourceExt, api::ListParams};
use tsutsumi_engine::{
    around::close::{MANAGER, NAME, Step},
    cluster::{Cluster, prune_network_policy},
    resolver::Checked,
};

use super::{Ctx, error::Error, memory::Memory};
use crate::runtime::{
    logging::Chain,
    writer::{WriteError, Writer},
};

/// So many writes of the same within [`WINDOW`] mean that somebody else takes it away each time.
const MOST: usize = 3;
const WINDOW: Duration = Duration::from_secs(30 * 60);
/// When what was refused is tried again, at the earliest.
const AGAIN: Duration = Duration::from_secs(60);

/// What was written lately, and what went wrong.
#[derive(Clone, Debug, Default)]
pub(crate) struct Past {
    /// The policy of which this is true.
    generation: Option<i64>,
    written: BTreeMap<String, Written>,
    trouble: BTreeMap<String, String>,
    refused: BTreeMap<String, Refusal>,
}

/// What the API server refused: the same would be refused again, until a role or an admission policy changes.
#[derive(Clone, Debug)]
struct Refusal {
    /// The version that was found.
    over: Option<String>,
    /// What was to stand in its place.
    spec: Option<NetworkPolicySpec>,
    at: Timestamp,
}

#[derive(Clone, Debug, Default)]
struct Written {
    spec: Option<NetworkPolicySpec>,
    at: Vec<Timestamp>,
}

impl Past {
    /// What went wrong, for a person.
    pub(crate) fn warnings(&self) -> impl Iterator<Item = String> {
        let all = self.trouble.iter();
        all.map(|(namespace, trouble)| format!("NetworkPolicy {namespace}/{NAME}: {trouble}"))
    }

    fn well(&mut self, namespace: &str) {
        self.trouble.remove(namespace);
        self.refused.remove(namespace);
    }

    fn tell(&mut self, namespace: &str, refused: &WriteError) {
        tracing::warn!(namespace, error = %Chain(refused), "a NetworkPolicy was not written or taken away");
        let told = Chain(refused).to_string();
        self.trouble
            .insert(namespace.to_owned(), told.chars().take(512).collect());
    }

    /// A change of the policy starts anew.
    fn of(&mut self, generation: Option<i64>) {
        if self.generation != generation {
            *self = Self {
                generation,
                ..Self::default()
            };
        }
    }

    /// Whether the same was not written too often lately.
    fn may_write(&self, namespace: &str, spec: Option<&NetworkPolicySpec>, now: Timestamp) -> bool {
        let written = self.written.get(namespace);
        let same = written.filter(|written| written.spec.as_ref() == spec);
        same.is_none_or(|same| same.at.iter().filter(|at| is_within(WINDOW, **at, now)).count() < MOST)
    }

    /// Notes a write.
    fn notes(&mut self, namespace: &str, spec: Option<&NetworkPolicySpec>, now: Timestamp) {
        let written = self.written.entry(namespace.to_owned()).or_default();
        if written.spec.as_ref() != spec {
            *written = Written {
                spec: spec.cloned(),
                at: Vec::new(),
            };
        }
        written.at.retain(|at| is_within(WINDOW, *at, now));
        written.at.push(now);
    }

    /// Whether just that was refused a moment ago.
    fn was_refused(&self, wanted: &NetworkPolicy, now: Timestamp) -> bool {
        let namespace = wanted.metadata.namespace.as_deref().unwrap_or_default();
        self.refused.get(namespace).is_some_and(|refusal| {
            refusal.over == wanted.metadata.resource_version
                && refusal.spec == wanted.spec
                && is_within(AGAIN, refusal.at, now)
        })
    }
}

fn is_within(time: Duration, at: Timestamp, now: Timestamp) -> bool {
    let since: Result<Duration, _> = now.duration_since(at).try_into();
    since.is_ok_and(|since| since < time)
}

/// Takes every step that is due.
pub(super) async fn keep(
    ctx: &Ctx,
    writer: &Writer,
    checked: &Checked<'_>,
    cluster: &Cluster,
    memory: &mut Memory,
) -> Result<(), Error> {
    if !checked.writes() {
        memory.closed = Past::default();
        return Ok(());
    }
    let going = checked.policy.metadata.deletion_timestamp.is_some();
    let past = &mut memory.closed;
    past.of(checked.policy.metadata.generation);
    let present: Vec<&str> = checked
        .closings
        .iter()
        .map(|each| each.namespace.as_str())
        .collect();
    past.trouble
        .retain(|namespace, _| present.contains(&namespace.as_str()));
    for closing in &checked.closings {
        let namespace = closing.namespace.as_str();
        let api: Api<NetworkPolicy> = Api::namespaced(ctx.client.clone(), namespace);
        match &closing.step {
            Step::Nothing => past.well(namespace),
            Step::Write(wanted) => write(writer, &api, cluster, wanted.as_ref().clone(), past).await?,
            Step::Remove { uid } => {
                match writer.delete(&api, NAME, uid.as_deref()).await {
                    Ok(()) => {
                        past.well(namespace);
                        past.written.remove(namespace);
                    }
                    // A policy that goes waits for it, and tries again.
                    Err(refused) if refused.is_refusal() && !going => {
                        past.tell(namespace, &refused);
                    }
                    Err(source) => {
                        return Err(Error::Apply {
                            operation: "open a namespace again",
                            source,
                        });
                    }
                }
            }
        }
    }
    Ok(())
}

async fn write(
    writer: &Writer,
    api: &Api<NetworkPolicy>,
    cluster: &Cluster,
    mut wanted: NetworkPolicy,
    past: &mut Past,
) -> Result<(), Error> {
    let namespace = wanted.namespace().unwrap_or_default();
    let listed = api
        .list(&ListParams::default())
        .await
        .map_err(|source| Error::Load {
            source: source.into(),
        })?;
    let mut live = listed.items;
    live.iter_mut().for_each(prune_network_policy);
    let known = cluster
        .network_policies
        .iter()
        .filter(|each| each.namespace().as_ref() == Some(&namespace));
    if !same(&live, known) {
        // The watch brings what is new, and with it another decision.
        return Ok(());
    }
    let present = live.into_iter().find(|each| each.name_any() == NAME);
    wanted.metadata.resource_version = present.and_then(|present| present.metadata.resource_version);
    let now = Timestamp::now();
    if past.was_refused(&wanted, now) {
        return Ok(());
    }
    if !past.may_write(&namespace, wanted.spec.as_ref(), now) {
        past.trouble.insert(
            namespace,
            format!(
                "somebody took it away or changed it {MOST} times within 30 minutes, so it is written no more until \
                 the policy changes; find out who, and have them leave it alone"
            ),
        );
        return Ok(());
    }
    match writer.apply_shared(api, NAME, MANAGER, &wanted).await {
        Ok(_) => {
            past.well(&namespace);
            past.notes(&namespace, wanted.spec.as_ref(), now);
            Ok(())
        }
        Err(refused) if refused.is_refusal() => {
            past.tell(&namespace, &refused);
            let refusal = Refusal {
                over: wanted.metadata.resource_version,
                spec: wanted.spec,
                at: now,
            };
            past.refused.insert(namespace, refusal);
            Ok(())
        }
        Err(source) => Err(Error::Apply {
            operation: "close a namespace",
            source,
        }),
    }
}

/// Whether decisions were made from what is there now.
fn same<'a>(live: &[NetworkPolicy], known: impl Iterator<Item = &'a Arc<NetworkPolicy>>) -> bool {
    let mut known: Vec<&NetworkPolicy> = known.map(AsRef::as_ref).collect();
    let mut live: Vec<&NetworkPolicy> = live.iter().collect();
    for all in [&mut known, &mut live] {
        all.sort_by_key(|each| each.metadata.name.as_deref());
    }
    let same = |(one, other): (&&NetworkPolicy, &&NetworkPolicy)| {
        one.metadata.uid == other.metadata.uid
            && one.metadata.labels == other.metadata.labels
            && one.spec == other.spec
    };
    known.len() == live.len() && known.iter().zip(&live).all(same)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(name: &str, uid: &str) -> NetworkPolicy {
        let mut policy = NetworkPolicy::default();
        policy.metadata.name = Some(name.into());
        policy.metadata.uid = Some(uid.into());
        policy
    }

    fn at(minute: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + minute * 60).unwrap()
    }

    /// Writes, if that may be.
    fn writes(past: &mut Past, namespace: &str, spec: &NetworkPolicySpec, minute: i64) -> bool {
        let may = past.may_write(namespace, Some(spec), at(minute));
        if may {
            past.notes(namespace, Some(spec), at(minute));
        }
        may
    }

    #[test]
    fn what_somebody_takes_away_each_time_is_written_three_times() {
        let mut past = Past::default();
        past.of(Some(1));
        let one = NetworkPolicySpec::default();
        for minute in [0, 1, 2] {
            assert!(writes(&mut past, "town", &one, minute));
        }
        assert!(!writes(&mut past, "town", &one, 3));
        assert!(!writes(&mut past, "town", &one, 29));
        assert!(writes(&mut past, "village", &one, 3), "each has its own count");
        let other = NetworkPolicySpec {
            policy_types: Some(vec!["Egress".into()]),
            ..one
        };
        for minute in [4, 5, 6] {
            assert!(writes(&mut past, "town", &other, minute), "it is another one");
        }
        assert!(!writes(&mut past, "town", &other, 7));
        past.of(Some(2));
        assert!(writes(&mut past, "town", &other, 8), "the policy has changed");
    }

    #[test]
    fn what_was_refused_is_not_asked_again_at_once() {
        let mut past = Past::default();
        let mut wanted = policy(NAME, "1");
        wanted.metadata.namespace = Some("town".into());
        let refusal = Refusal {
            over: None,
            spec: None,
            at: at(0),
        };
        past.refused.insert("town".into(), refusal);
        assert!(past.was_refused(&wanted, at(0)));
        assert!(
            !past.was_refused(&wanted, at(1)),
            "a role may have come meanwhile"
        );
        wanted.metadata.resource_version = Some("7".into());
        assert!(!past.was_refused(&wanted, at(0)), "over another version");
    }

    #[test]
    fn writes_that_are_far_apart_are_no_fight() {
        let mut past = Past::default();
        for time in 0..9 {
            assert!(writes(
                &mut past,
                "town",
                &NetworkPolicySpec::default(),
                time * 20
            ));
        }
    }

    #[test]
    fn one_that_no_watch_has_shown_yet_is_a_difference() {
        let known = [Arc::new(policy("one", "1")), Arc::new(policy("two", "2"))];
        let all = [policy("two", "2"), policy("one", "1")];
        assert!(same(&all, known.iter()));
        assert!(!same(&all[..1], known.iter()));
        assert!(!same(&[policy("one", "1"), policy("two", "3")], known.iter()));
        let mut wider = policy("two", "2");
        wider.spec = Some(NetworkPolicySpec::default());
        assert!(!same(&[policy("one", "1"), wider], known.iter()));
    }
}
