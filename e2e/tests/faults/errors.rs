//! Every kind of error at every call of a change: the change ends where none happens, after a number of calls that
//! does not run away.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use tsutsumi_e2e::faults::{
    call::Verb,
    fault::{Fault, Rule},
    world,
};

#[test]
fn an_error_at_each_call_ends_where_none_does() -> Result<()> {
    world::run(async |world| {
        let reference = world.change(vec![]).await?;
        let mut next = BTreeMap::<Verb, usize>::new();
        let mut seen = BTreeSet::new();
        for (call, nth) in reference.calls() {
            // In turn for each verb, so that each kind meets each.
            let turn = next.entry(call.verb).or_default();
            let fault = &Fault::ERRORS[*turn % Fault::ERRORS.len()];
            *turn += 1;
            seen.insert((call.verb, format!("{fault:?}")));
            let told = format!("{fault:?} at `{call}` #{nth}");
            println!("{told}");
            let rule = Rule::at(&call, nth, fault.clone());
            let found = world.change(vec![rule]).await.with_context(|| told.clone())?;
            found.ends_like(&reference).context(told)?;
        }
        Ok(())
    })
}
