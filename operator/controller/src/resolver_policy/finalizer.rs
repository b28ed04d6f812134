//! The finalizer: a policy has one only while it leaves something to undo, with `onDelete: Restore` or while the names that
//! cluster DNS is asked for are watched.

use json_patch::Patch;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use serde_json::json;
use tsutsumi_api::{
    ResolverPolicy,
    resolver_policy::{OnDelete, RolloutState},
};
use tsutsumi_engine::{
    around::close::Closing,
    resolver::{Checked, Plan, Record},
};

use super::{Ctx, error::Error, managed, memory::Memory};
use crate::runtime::{
    release::FINALIZER,
    writer::{WriteError, Writer},
};

/// What the policy's object came to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Hold {
    /// It is held as it should be, or needs not be: go on.
    Settled,
    /// It has changed since it was read: nothing is done before a newer one was seen.
    Outdated,
    /// Nothing is left to do for a policy that goes.
    LetGo,
}

/// Adds or removes our finalizer as the policy says.
pub(super) async fn settle(
    ctx: &Ctx,
    writer: &Writer,
    checked: &Checked<'_>,
    plan: &Plan,
    memory: &Memory,
) -> Result<Hold, Error> {
    let policy = checked.policy;
    let finalizers = policy.metadata.finalizers.as_deref().unwrap_or_default();
    let present = finalizers.iter().any(|finalizer| finalizer == FINALIZER);
    let going = policy.metadata.deletion_timestamp.is_some();
    let opened = !checked.closings.iter().any(Closing::removes);
    // The line that tells what is asked is never left in, whatever else is to stay.
    let watches = (checked.tap.is_some() || checked.tapped) && !matches!(plan, Plan::Blocked { .. });
    let restores = policy.spec.on_delete == OnDelete::Restore && !(going && opened && is_done(plan, memory));
    let wanted = watches || restores;
    let current = if wanted && !present && !going {
        let mut with_ours = finalizers.to_vec();
        with_ours.push(FINALIZER.to_owned());
        set(ctx, writer, policy, &with_ours).await?
    } else if !wanted && present {
        if policy.spec.on_delete == OnDelete::Restore && matches!(plan, Plan::InForce { .. }) {
            managed::leave(ctx, writer, checked, plan, memory).await?;
            drop_record(ctx, writer, policy).await?;
        }
        let others: Vec<_> = finalizers
            .iter()
            .filter(|finalizer| *finalizer != FINALIZER)
            .cloned()
            .collect();
        set(ctx, writer, policy, &others).await?
    } else {
        true
    };
    Ok(match (current, going && !wanted) {
        (false, _) => Hold::Outdated,
        (true, true) => Hold::LetGo,
        (true, false) => Hold::Settled,
    })
}

/// Nothing is ours any more: a policy of the same name starts afresh.
async fn drop_record(ctx: &Ctx, writer: &Writer, policy: &ResolverPolicy) -> Result<(), Error> {
    let own: Api<ConfigMap> = Api::namespaced(ctx.client.clone(), &ctx.scope.own_namespace);
    let name = Record::name(policy.metadata.name.as_deref().unwrap_or_default());
    let failed = |source| Error::Apply {
        operation: "remove the record of what was ours",
        source,
    };
    writer.delete(&own, &name, None).await.map_err(failed)
}

/// Whether the way back has been gone, or cannot be.
fn is_done(plan: &Plan, memory: &Memory) -> bool {
    match plan {
        Plan::Blocked { .. } => true,
        Plan::InForce { .. } => memory
            .rollout
            .as_ref()
            .is_none_or(|rollout| rollout.identity != "restore" || rollout.state == RolloutState::Settled),
        Plan::Replace(_) => false,
    }
}

/// Sets the finalizers, if the policy is still the one that was read. False where it is not.
async fn set(
    ctx: &Ctx,
    writer: &Writer,
    policy: &ResolverPolicy,
    finalizers: &[String],
) -> Result<bool, Error> {
    let api: Api<ResolverPolicy> = Api::all(ctx.client.clone());
    let patch = json!([
        { "op": "test", "path": "/metadata/resourceVersion", "value": policy.metadata.resource_version },
        { "op": "add", "path": "/metadata/finalizers", "value": finalizers },
    ]);
    let patch: Patch = serde_json::from_value(patch).map_err(|source| Error::Describe {
        what: "a patch",
        source,
    })?;
    let name = policy.metadata.name.as_deref().unwrap_or_default();
    match writer.json_patch(&api, name, patch).await {
        Ok(_) => Ok(true),
        Err(WriteError::Conflict { .. }) => Ok(false),
        Err(source) => Err(Error::Apply {
            operation: "set the finalizer",
            source,
        }),
    }
}
