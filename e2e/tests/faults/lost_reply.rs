//! The API server does what it is asked and the answer is lost: for each write of a change in turn, once with a
//! controller that lives on, and once with one that is killed at that moment and started anew.

use anyhow::{Context, Result};
use tsutsumi_e2e::faults::{
    fault::{Fault, Rule},
    outcome::Outcome,
    world::{self, World},
};

#[test]
fn a_write_whose_answer_is_lost_ends_where_none_is() -> Result<()> {
    world::run(async |world| {
        let reference = world.change(vec![]).await?;
        let cases = reference.writes().into_iter().map(|(call, nth)| {
            let told = format!("the answer to `{call}` #{nth} is lost");
            (told, vec![Rule::at(&call, nth, Fault::LoseReply)])
        });
        world.sweep(&reference, cases.collect()).await
    })
}

#[test]
fn a_crash_before_the_answer_to_a_write_ends_where_none_is() -> Result<()> {
    world::run(async |world| {
        let reference = world.change(vec![]).await?;
        for (call, nth) in reference.writes() {
            let told = format!("a crash before the answer to `{call}` #{nth}");
            let rule = Rule::at(&call, nth, Fault::Silence);
            let found = crashed(world, rule).await.with_context(|| told.clone())?;
            found.ends_like(&reference).context(told)?;
        }
        Ok(())
    })
}

async fn crashed(world: &World, rule: Rule) -> Result<Outcome> {
    let running = world.started(vec![rule]).await?;
    world
        .until("the write is committed", |made| {
            made.spoiled && made.status.is_some()
        })
        .await?;
    drop(running);
    let _again = world.again()?;
    world.ended().await
}
