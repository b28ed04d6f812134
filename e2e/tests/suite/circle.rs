//! The circle that every control goes through: vulnerable → detected → enforced → verified → reverted by hand → repaired.

use anyhow::{Context, Result, ensure};
use tsutsumi_api::conditions::{ConditionType, Reason};
use tsutsumi_e2e::{
    corefile, policy,
    scenario::{READY, Scenario},
    wait,
};
use tsutsumi_model::{ControlId, ControlState};

/// Goes once around. `vulnerable` and `safe` look at the wire, with no help from tsutsumi.
pub(crate) async fn go_around(
    s: &mut Scenario,
    name: &str,
    id: ControlId,
    vulnerable: impl AsyncFn(&Scenario) -> Result<()>,
    safe: impl AsyncFn(&Scenario) -> Result<()>,
) -> Result<()> {
    vulnerable(s).await.context("vulnerable at the start")?;

    s.cluster.apply_policy(&policy::auditing(name)).await?;
    let failed = s
        .control(name, id, ControlState::Fail)
        .await
        .context("detected")?;
    ensure!(
        !failed.message.is_empty() && failed.evidence.len() == 64,
        "a failure says what to do: {failed:?}"
    );
    let audited = s
        .says(name, ConditionType::Programmed, "False", Reason::AuditOnly)
        .await?;
    ensure!(
        audited.status.is_some_and(|status| !status.plan.is_empty()),
        "the plan shows what would change"
    );
    ensure!(
        s.cluster.corefile().await? == corefile::kubeadm(),
        "an audit wrote"
    );

    s.ready(&policy::enforcing(name)).await.context("enforced")?;
    safe(s).await.context("verified on the wire")?;
    s.control(name, id, ControlState::Pass)
        .await
        .context("verified")?;
    let enforced = s.cluster.corefile().await?;

    s.cluster
        .write_corefile(corefile::kubeadm(), "kubectl-edit")
        .await?;
    wait::until("the Corefile is repaired", READY, async || {
        let text = s.cluster.corefile().await?;
        let says = corefile::without_identity;
        ensure!(
            says(&text) == says(&enforced),
            "it does not say what it did before the revert"
        );
        // Else a pod that has yet to load the revert would count as one that runs the repaired text.
        ensure!(
            text != enforced,
            "it has the identity that it had before the revert"
        );
        Ok(())
    })
    .await?;
    let repaired = s.becomes_ready(name).await.context("repaired")?;
    let reverts = repaired
        .status
        .and_then(|status| status.rollout)
        .map(|rollout| rollout.reverts.len());
    ensure!(reverts == Some(1), "one revert was seen, not {reverts:?}");
    safe(s).await.context("repaired on the wire")
}
