//! A round of probes for who asks for one: an auditor need not wait for the interval.

use std::time::Duration;

use anyhow::{Context, Result};
use kube::api::{Patch, PatchParams};
use serde_json::json;
use tsutsumi_api::{ResolverPolicy, resolver_policy::VERIFY};
use tsutsumi_e2e::{
    policy,
    scenario::{self, From, READY},
};
use tsutsumi_model::ControlId;

/// Between two rounds of something that has been so for a while; the next is then twice as far away.
const QUIET: i64 = 35;
/// A round and the watch that tells of it, and far less than twice [`QUIET`].
const AT_ONCE: Duration = Duration::from_secs(30);

#[test]
fn who_asks_gets_a_round_before_the_next_is_due() -> Result<()> {
    let name = "asked";
    scenario::run(From::Installed, async |s| {
        let mut rarely = policy::enforcing(name);
        rarely["spec"]["verification"]["interval"] = "1d".into();
        s.ready(&rarely).await?;
        let mut last = None;
        let quiet = |policy: &ResolverPolicy| {
            let newest = seconds(policy);
            let since = newest
                .zip(last)
                .is_some_and(|(newest, last)| newest - last >= QUIET);
            last = newest;
            since
        };
        let before = s.reaches(name, "probed rarely", READY, quiet).await?;
        let before = seconds(&before).context("it was probed")?;

        let asked = json!({"metadata": {"annotations": {VERIFY: "for the auditor"}}});
        s.cluster
            .policies()
            .patch(name, &PatchParams::default(), &Patch::Merge(asked))
            .await?;
        let again = |policy: &ResolverPolicy| seconds(policy).is_some_and(|newest| newest > before);
        s.reaches(name, "probed for who asked", AT_ONCE, again).await?;
        s.delete(name).await
    })
}

/// When the newest round began, in seconds.
fn seconds(policy: &ResolverPolicy) -> Option<i64> {
    policy::control(policy, ControlId::Dns01).map(|control| control.checked_at.0.as_second())
}
