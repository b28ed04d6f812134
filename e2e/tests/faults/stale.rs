//! What the controller believes is older than what is: nothing is taken back, nobody is locked out.

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Node;
use kube::{
    Api,
    api::{DeleteParams, ListParams},
};
use serde_json::Value;
use tsutsumi_e2e::faults::{
    call::Verb,
    fault::{Fault, Gate, Rule},
    proxy::Made,
    stage,
    stream::Spoiling,
    world::{self, World},
};

/// What a colleague adds.
const EDIT: &str = "    log\n";
/// The pods of a node that comes in the middle of a change.
const LATE: &str = "10.246.0.0/24";

#[test]
fn our_own_write_that_no_watch_has_shown_yet_is_no_revert() -> Result<()> {
    world::run(async |world| {
        let reference = world.change(vec![]).await?;
        let rules = vec![held_back("configmaps", &Gate::default()).of("kube-system/coredns")];
        world.change(rules).await?.ends_like(&reference)
    })
}

#[test]
fn an_edit_that_no_watch_has_shown_yet_is_not_overwritten() -> Result<()> {
    world::run(async |world| {
        let gate = Gate::default();
        let rules = vec![held_back("configmaps", &gate).of("kube-system/coredns")];
        let _running = world.started(rules).await?;
        world.until("a canary is made", makes_a_canary).await?;
        let edited = edit(world).await?;
        world
            .until("the write is refused", |made| {
                writes_the_text(made) && made.status.is_some_and(|code| code == 422)
            })
            .await?;
        ensure!(
            world.cluster.corefile().await? == edited,
            "the edit was overwritten"
        );
        gate.open();
        let end = world.ended().await?;
        ensure!(
            end.end.corefile.contains(EDIT),
            "the edit is gone:\n{}",
            end.end.corefile
        );
        let tries = end.made.iter().filter(|made| writes_the_text(made)).count();
        ensure!(tries <= 10, "the text was written {tries} times");
        Ok(())
    })
}

#[test]
fn a_node_that_no_watch_has_shown_yet_is_not_locked_out() -> Result<()> {
    world::run(async |world| {
        let gate = Gate::default();
        let _running = world
            .wished(&cluster_only(), vec![held_back("nodes", &gate)])
            .await?;
        world.until("a canary is made", makes_a_canary).await?;
        let late = Late::joins(world).await?;
        world
            .until("the nodes are read before the write", |made| {
                made.call.verb == Verb::List
                    && made.call.what == "nodes"
                    && made.nth == 2
                    && made.status.is_some()
            })
            .await?;
        let text = world.cluster.corefile().await?;
        ensure!(
            text == stage::COREFILE,
            "a list without the new node was written:\n{text}"
        );
        gate.open();
        let text = world.ended().await?.end.corefile;
        ensure!(text.contains(LATE), "the new node's pods are not served:\n{text}");
        late.leaves(world).await
    })
}

#[test]
fn an_old_list_of_nodes_locks_nobody_out() -> Result<()> {
    world::run(async |world| {
        let nodes = Api::<Node>::all(world.cluster.client.clone());
        let old = serde_json::to_vec(&nodes.list(&ListParams::default()).await?)?;
        let late = Late::joins(world).await?;
        let running = world.wished(&cluster_only(), vec![]).await?;
        let text = world.ended().await?.end.corefile;
        ensure!(text.contains(LATE), "the node's pods are not served:\n{text}");
        drop(running);

        let gate = Gate::default();
        let replayed = Rule::each(Verb::List, "nodes", Fault::Replay(old.into())).times(1);
        world.proxy.arm(vec![replayed, held_back("nodes", &gate)]);
        let _again = world.again()?;
        world
            .until("the nodes are read before a write", |made| {
                made.call.verb == Verb::List
                    && made.call.what == "nodes"
                    && made.nth == 2
                    && made.status.is_some()
            })
            .await?;
        ensure!(
            world.cluster.corefile().await? == text,
            "the node was taken off the list"
        );
        gate.open();
        let end = world.ended().await?;
        ensure!(
            end.end.corefile == text,
            "the text has changed:\n{}",
            end.end.corefile
        );
        ensure!(!end.made.iter().any(writes_the_text), "the text was written");
        late.leaves(world).await
    })
}

/// A node that comes late, and goes with the test.
struct Late;

impl Late {
    async fn joins(world: &World) -> Result<Self> {
        let nodes = Api::<Node>::all(world.cluster.client.clone());
        stage::apply(&nodes, stage::node("late", LATE))
            .await
            .context("a node joins")?;
        Ok(Self)
    }

    async fn leaves(self, world: &World) -> Result<()> {
        let nodes = Api::<Node>::all(world.cluster.client.clone());
        nodes.delete("late", &DeleteParams::default()).await?;
        Ok(())
    }
}

fn held_back(what: &str, gate: &Gate) -> Rule {
    Rule::each(Verb::Watch, what, Fault::Spoil(Spoiling::HoldBack(gate.clone())))
}

/// The policy that serves the cluster and nobody else, so that every node's range matters.
fn cluster_only() -> Value {
    let mut policy = world::wish();
    policy["spec"]["clients"]["include"] = ["Cluster"].into_iter().collect();
    policy
}

/// Somebody edits the live text.
async fn edit(world: &World) -> Result<String> {
    let text = world.cluster.corefile().await?;
    let edited = text.replacen("    errors\n", &format!("    errors\n{EDIT}"), 1);
    ensure!(edited != text, "there is nothing to edit in\n{text}");
    world.cluster.write_corefile(&edited, "colleague").await?;
    Ok(edited)
}

fn makes_a_canary(made: &Made) -> bool {
    made.call.verb == Verb::Create && made.call.what == "pods" && made.status.is_some()
}

fn writes_the_text(made: &Made) -> bool {
    made.call.verb == Verb::Patch && made.call.name == "kube-system/coredns"
}
