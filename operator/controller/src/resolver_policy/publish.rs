//! Says what is known: status, evidence, Events, metrics. Nothing is written without a change.

use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::ConfigMap,
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
};
use kube::{Api, Resource, ResourceExt, core::error_boundary::InvalidObject, runtime::controller::Action};
use serde_json::json;
use tsutsumi_api::{
    ResolverPolicy, ResolverPolicyStatus,
    conditions::{ConditionType, Reason},
};
use tsutsumi_engine::{
    MANAGED_BY,
    resolver::{
        Checked, Plan, Planned, Record,
        status::{Inputs, status},
    },
    verify::evidence,
};

use super::{Ctx, error::Error, memory::Memory, round::Round, tell};
use crate::runtime::writer::Writer;

/// Publishes what one reconcile came to.
pub(super) async fn publish(
    ctx: &Ctx,
    writer: &Writer,
    checked: &Checked<'_>,
    planned: &Planned,
    memory: &mut Memory,
    round: Option<Round>,
) -> Result<(), Error> {
    let policy = checked.policy;
    let name = policy.name_any();
    if let Some(round) = &round {
        keep_evidence(ctx, writer, &name, round, memory).await?;
    }
    let inputs = Inputs {
        checked,
        planned,
        rollout: memory.rollout.as_ref(),
        verified: round.as_ref().map(|round| &round.verified),
        warnings: way_back(ctx, &name, planned, memory)
            .into_iter()
            .chain(memory.closed.warnings())
            .collect(),
        now: Timestamp::now(),
    };
    let said = status(&inputs);
    ctx.metrics.set_plan_changes(&name, said.plan.len());
    ctx.metrics
        .set_controls(&name, said.controls.iter().map(Into::into));
    ctx.metrics.set_conditions(&name, &said.conditions);
    ctx.diagnostics.put(
        "policies",
        &name,
        &json!({ "rollout": said.rollout, "validUntil": said.valid_until }),
    );
    if policy.status.as_ref() != Some(&said) {
        tell::tell(ctx, writer, policy, &said).await;
        write(ctx, writer, &name, &said).await?;
    }
    memory.status = Some(said);
    Ok(())
}

/// Says of an object that the schema let through and we cannot read what is wrong with it.
pub(super) async fn invalid(
    ctx: &Ctx,
    writer: &Writer,
    name: &str,
    invalid: &InvalidObject,
) -> Result<Action, Error> {
    let since = invalid
        .metadata
        .creation_timestamp
        .clone()
        .unwrap_or_else(|| Time(Timestamp::now()));
    let condition = |(type_, status): (ConditionType, &str)| Condition {
        type_: type_.as_str().to_owned(),
        status: status.to_owned(),
        reason: Reason::Invalid.as_str().to_owned(),
        message: invalid.error.clone(),
        observed_generation: invalid.metadata.generation,
        last_transition_time: since.clone(),
    };
    let conditions = [
        (ConditionType::Accepted, "False"),
        (ConditionType::Ready, "False"),
        (ConditionType::Stalled, "True"),
    ];
    let said = ResolverPolicyStatus {
        observed_generation: invalid.metadata.generation,
        conditions: conditions.map(condition).to_vec(),
        ..ResolverPolicyStatus::default()
    };
    ctx.metrics.set_conditions(name, &said.conditions);
    write(ctx, writer, name, &said).await?;
    Ok(Action::await_change())
}

async fn write(ctx: &Ctx, writer: &Writer, name: &str, said: &ResolverPolicyStatus) -> Result<(), Error> {
    let body = json!({
        "apiVersion": ResolverPolicy::api_version(&()),
        "kind": ResolverPolicy::kind(&()),
        "status": said,
    });
    let api: Api<ResolverPolicy> = Api::all(ctx.client.clone());
    writer
        .apply_status(&api, name, &body)
        .await
        .map_err(|source| Error::Publish { source })?;
    Ok(())
}

/// The name of the ConfigMap with a policy's evidence.
pub(super) fn evidence_name(policy: &str) -> String {
    format!("tsutsumi-evidence-{policy}")
}

/// The newest pass and failure of each control, in our own ConfigMap.
async fn keep_evidence(
    ctx: &Ctx,
    writer: &Writer,
    policy: &str,
    round: &Round,
    memory: &mut Memory,
) -> Result<(), Error> {
    if memory.evidence_of == Some(round.verified.checked_at) {
        return Ok(());
    }
    let own: Api<ConfigMap> = Api::namespaced(ctx.client.clone(), &ctx.scope.own_namespace);
    let name = evidence_name(policy);
    let before = if let Some(kept) = memory.evidence.take() {
        kept
    } else {
        let kept = own.get_opt(&name).await.map_err(|source| Error::Load {
            source: source.into(),
        })?;
        kept.and_then(|config_map| config_map.data).unwrap_or_default()
    };
    let data = evidence::merge(&before, &round.kept);
    let config_map = ConfigMap {
        metadata: kube::core::ObjectMeta {
            name: Some(name.clone()),
            labels: Some(
                [MANAGED_BY]
                    .map(|(label, us)| (label.to_owned(), us.to_owned()))
                    .into(),
            ),
            ..Default::default()
        },
        data: Some(data.clone()),
        ..Default::default()
    };
    writer
        .apply_owned(&own, &name, &config_map)
        .await
        .map_err(|source| Error::Publish { source })?;
    memory.evidence = Some(data);
    memory.evidence_of = Some(round.verified.checked_at);
    Ok(())
}

/// The line of kubectl that puts the text back without us.
fn way_back(ctx: &Ctx, policy: &str, planned: &Planned, memory: &Memory) -> Option<String> {
    let slot = match &planned.plan {
        Plan::Blocked { .. } => return None,
        Plan::InForce { slot, .. } => slot,
        Plan::Replace(change) => &change.slot,
    };
    memory.record.previous.as_ref()?;
    let command = Record::restore_command(policy, &ctx.scope.own_namespace, slot);
    Some(format!(
        "to put the text before the last write back without tsutsumi: {command}"
    ))
}
