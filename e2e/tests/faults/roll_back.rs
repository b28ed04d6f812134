//! A roll-back is a write like any other: what somebody has changed meanwhile stands.

use anyhow::{Context, Result, ensure};
use tsutsumi_e2e::faults::{
    call::{Call, Verb},
    fault::{Fault, Gate, Rule},
    network::Stopped,
    world,
};

/// What a colleague adds.
const EDIT: &str = "    log\n";

#[test]
fn an_edit_while_the_saved_text_is_put_back_survives() -> Result<()> {
    world::run(async |world| {
        let write = Call {
            verb: Verb::Patch,
            what: "configmaps".into(),
            name: "kube-system/coredns".into(),
        };
        let (writing, restoring) = (Gate::default(), Gate::default());
        let rules = vec![
            Rule::at(&write, 1, Fault::Hold(writing.clone())),
            Rule::at(&write, 2, Fault::Hold(restoring.clone())),
        ];
        let _running = world.started(rules).await?;
        world
            .until("the text is written", |made| made.call == write)
            .await?;
        // It answered for the baseline and does not any more.
        let pods = world.cluster.dns_pods().await?;
        let second = Stopped::at(pods.get(1).context("there are two pods")?.address)?;
        writing.open();
        world
            .until("the saved text is put back", |made| {
                made.call == write && made.nth == 2
            })
            .await?;
        let text = world.cluster.corefile().await?;
        let edited = text.replacen("    errors\n", &format!("    errors\n{EDIT}"), 1);
        ensure!(edited != text, "there is nothing to edit in\n{text}");
        world.cluster.write_corefile(&edited, "colleague").await?;
        restoring.open();
        world
            .until("it is refused", |made| {
                made.call == write && made.nth == 2 && made.status.is_some_and(|code| code == 422)
            })
            .await?;
        ensure!(
            world.cluster.corefile().await? == edited,
            "the edit was overwritten"
        );
        drop(second);
        let end = world.ended().await?.end.corefile;
        ensure!(end.contains(EDIT), "the edit is gone:\n{end}");
        Ok(())
    })
}
