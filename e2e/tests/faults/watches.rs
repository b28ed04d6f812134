//! Events of a watch that are lost, doubled, out of order, late or forgotten: what is decided follows from what is, not
//! from what was told on the way.

use anyhow::{Result, ensure};
use tsutsumi_e2e::faults::{
    call::Verb,
    fault::{Fault, Gate, Rule},
    outcome::Outcome,
    stream::Spoiling,
    world,
};

/// The watches on which something happens while the Corefile is changed, with the least number of events on each.
const BUSY: [(&str, &str, usize); 3] = [
    ("configmaps", "kube-system/coredns", 1),
    ("pods", "", 8),
    ("resolverpolicies", "", 4),
];

#[test]
fn events_that_are_lost_with_their_connection_change_nothing() -> Result<()> {
    each_event(Spoiling::Lose)
}

#[test]
fn a_server_that_forgets_in_the_middle_of_a_watch_changes_nothing() -> Result<()> {
    each_event(|nth| Spoiling::Expire(nth - 1))
}

#[test]
fn events_that_come_twice_or_in_the_wrong_order_change_nothing() -> Result<()> {
    world::run(async |world| {
        let reference = world.change(vec![]).await?;
        let cases = [Spoiling::Double, Spoiling::Swap].map(|how| {
            let rules = every_watch(&reference, &how);
            (format!("{how:?} on every watch"), rules)
        });
        world.sweep(&reference, cases.to_vec()).await
    })
}

#[test]
fn a_watch_of_bookmarks_only_is_made_up_for_by_a_new_list() -> Result<()> {
    world::run(async |world| {
        let reference = world.change(vec![]).await?;
        let gate = Gate::default();
        let how = Spoiling::OnlyBookmarks(gate.clone());
        // Once each: the watch after the new list is as it should be.
        let rules = every_watch(&reference, &how)
            .into_iter()
            .map(|rule| rule.times(1));
        let _running = world.started(rules.collect()).await?;
        // The first canary is there, and nothing tells that it has come up.
        world
            .until("a canary is made", |made| {
                made.call.verb == Verb::Create && made.call.what == "pods"
            })
            .await?;
        gate.open();
        world.ended().await?.ends_like(&reference)
    })
}

#[test]
fn lists_that_fail_remove_nothing() -> Result<()> {
    world::run(async |world| {
        let running = world.started(vec![]).await?;
        let end = world.ended().await?.end;
        drop(running);
        for what in ["configmaps", "deployments", "pods", "services", "nodes"] {
            world
                .proxy
                .arm(vec![Rule::each(Verb::List, what, Fault::Answer(500)).times(2)]);
            let _running = world.again()?;
            world
                .until("it is listed after all", |made| {
                    made.call.verb == Verb::List
                        && made.call.what == what
                        && made.nth > 1
                        && made.status.is_some()
                })
                .await?;
            // A new controller judges the text anew, by what it has read by then.
            world
                .until("a round of probes is told", |made| {
                    made.call.verb == Verb::PatchStatus && made.status.is_some()
                })
                .await?;
            let found = world.ended().await?;
            ensure!(found.end == end, "{found:#?}\ninstead of\n{end:#?}");
            let wrote = found.made.iter().filter(|made| made.call.verb.writes());
            let wrote: Vec<_> = wrote.filter(|made| made.call.name.contains("coredns")).collect();
            ensure!(wrote.is_empty(), "the text was written: {wrote:?}");
        }
        Ok(())
    })
}

/// A change for each event of each watch on which something happens.
fn each_event(how: impl Fn(usize) -> Spoiling) -> Result<()> {
    world::run(async |world| {
        let reference = world.change(vec![]).await?;
        let mut cases = Vec::new();
        for (what, name, events) in BUSY {
            for how in (1..=events).map(&how) {
                let told = format!("{how:?} on the watch of {what} {name}");
                let rule = Rule::each(Verb::Watch, what, Fault::Spoil(how)).of(name).times(1);
                cases.push((told, vec![rule]));
            }
        }
        world.sweep(&reference, cases).await
    })
}

fn every_watch(reference: &Outcome, how: &Spoiling) -> Vec<Rule> {
    let calls = reference.calls().into_iter().map(|(call, _)| call);
    let watches = calls.filter(|call| call.verb == Verb::Watch);
    watches
        .map(|call| Rule::each(Verb::Watch, &call.what, Fault::Spoil(how.clone())).of(&call.name))
        .collect()
}
