//! Every kind of error at every call of a change: the change ends where none happens, after a number of calls that
//! does not run away.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result};
use tokio::time::sleep;
use tsutsumi_e2e::faults::{
    call::Verb,
    fault::{Fault, Rule},
    world,
};

/// How long the server refuses: a loop without a pause makes thousands of calls meanwhile.
const REFUSES_FOR: Duration = Duration::from_secs(3);

#[test]
fn an_error_at_each_read_ends_where_none_does() -> Result<()> {
    sweep(|verb| !verb.writes())
}

#[test]
fn an_error_at_each_write_ends_where_none_does() -> Result<()> {
    sweep(Verb::writes)
}

#[test]
fn a_server_that_refuses_every_write_for_a_while_is_not_stormed() -> Result<()> {
    world::run(async |world| {
        let reference = world.change(vec![]).await?;
        for (verb, what) in [
            (Verb::Patch, "configmaps"),
            (Verb::Create, "pods"),
            (Verb::PatchStatus, "resolverpolicies"),
        ] {
            let rule = Rule::each(verb, what, Fault::Answer(503));
            let _running = world.started(vec![rule]).await?;
            world.until("a write is refused", |made| made.spoiled).await?;
            sleep(REFUSES_FOR).await;
            world.proxy.pardon();
            let told = format!("every {verb} of {what} was refused");
            world.ended().await?.ends_like(&reference).context(told)?;
        }
        Ok(())
    })
}

/// Makes the change once for each call of such a verb, which fails.
fn sweep(such: impl Fn(Verb) -> bool) -> Result<()> {
    world::run(async |world| {
        let reference = world.change(vec![]).await?;
        let mut of_verb = BTreeMap::<Verb, Vec<_>>::new();
        for (call, nth) in reference.calls().into_iter().filter(|(call, _)| such(call.verb)) {
            of_verb.entry(call.verb).or_default().push((call, nth));
        }
        let cases = of_verb.values().flat_map(|calls| {
            // Each kind of error comes to each verb, and each call has at least one.
            let turns = calls.len().max(Fault::ERRORS.len());
            let pairs = calls.iter().cycle().zip(Fault::ERRORS.iter().cycle()).take(turns);
            pairs.map(|((call, nth), fault)| {
                let told = format!("{fault:?} at `{call}` #{nth}");
                (told, vec![Rule::at(call, *nth, fault.clone())])
            })
        });
        world.sweep(&reference, cases.collect()).await
    })
}
