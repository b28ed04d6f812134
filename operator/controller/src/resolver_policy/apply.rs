//! Carries out the one step that the plan and the rollout's record name.

use std::time::Duration;

use json_patch::Patch;
use k8s_openapi::{api::core::v1::ConfigMap, apimachinery::pkg::apis::meta::v1::Time};
use kube::Api;
use serde_json::json;
use tsutsumi_api::resolver_policy::{Rollout, RolloutState};
use tsutsumi_engine::{
    MANAGED_BY,
    cluster::Cluster,
    resolver::{
        Change, Checked, Plan, Record,
        confirm::{self, Confirmation, Sign},
        plan::Slot,
        rollout::{Circumstances, Step, enter, next},
    },
    switch::Asked,
    target::Target,
};

use super::{
    Ctx, ask,
    error::Error,
    judge, last_look,
    memory::{Memory, OwnWrite},
    switch::Held,
};
use crate::runtime::writer::{WriteError, Writer};

/// When to look again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Next {
    /// When something changes.
    Change,
    /// At once: the next step is due.
    Now,
    /// After a while: somebody else has to get on.
    After(Duration),
}

/// How often a canary or a pod that is on its way is asked.
const PACE: Duration = Duration::from_millis(500);
/// How often a pod is asked whether it runs the text.
const CONFIRM_PACE: Duration = Duration::from_secs(1);

/// Everything that a step needs.
pub(crate) struct Scene<'a> {
    pub(crate) ctx: &'a Ctx,
    pub(crate) writer: &'a Writer,
    pub(crate) checked: &'a Checked<'a>,
    pub(crate) target: &'a Target,
    pub(crate) cluster: &'a Cluster,
    /// What is compared before cluster DNS is led elsewhere.
    pub(crate) names: &'a Asked,
    pub(crate) at: Circumstances<'a>,
}

impl Scene<'_> {
    pub(crate) fn policy(&self) -> &str {
        self.checked.policy.metadata.name.as_deref().unwrap_or_default()
    }

    fn config_maps(&self, namespace: &str) -> Api<ConfigMap> {
        Api::namespaced(self.ctx.client.clone(), namespace)
    }
}

/// Takes the next step and records it in `memory`.
pub(crate) async fn apply(scene: &Scene<'_>, plan: &Plan, memory: &mut Memory) -> Result<Next, Error> {
    let before = memory.rollout.clone();
    let step = next(plan, before.as_ref(), scene.at);
    if !matches!(step, Step::Judge(_) | Step::Save(..)) {
        judge::sweep(scene.ctx, scene.writer, scene.cluster, scene.policy()).await?;
    }
    match step {
        Step::Rest => Ok(Next::Change),
        Step::GiveUp(mut rollout) => {
            let slot = slot_of(plan);
            if let Some(manager) = slot.and_then(|slot| other_manager(scene.cluster, slot)) {
                rollout.message = format!(
                    "{}; the last one to write was `{manager}`: change it there",
                    rollout.message
                );
            }
            memory.rollout = Some(rollout);
            Ok(Next::Change)
        }
        Step::Save(change, rollout) => {
            let record = memory.record.beginning(change, before.as_ref());
            save(scene, &record, &change.slot).await?;
            memory.record = record;
            let stands = |rollout: &Rollout| rollout.state == RolloutState::Settled && change.present_is_ours;
            memory.stood = before.filter(stands);
            memory.rollout = Some(rollout);
            Ok(Next::Now)
        }
        Step::Judge(change) => judge_step(scene, change, memory).await,
        Step::Write(change) => write(scene, change, memory).await,
        Step::Confirm { slot, identity } => confirm_step(scene, slot, identity, memory).await,
    }
}

async fn judge_step(scene: &Scene<'_>, change: &Change, memory: &mut Memory) -> Result<Next, Error> {
    let before = memory.rollout.clone();
    let entered =
        |state, message: String| Some(enter(state, change.label(), message, before.as_ref(), scene.at));
    match judge::judge(scene, change, &mut memory.asking).await? {
        judge::Judgement::Pending => Ok(Next::After(PACE)),
        judge::Judgement::WouldGetWorse(found) => {
            let message = "answers would get worse; they are listed among the warnings";
            // Nothing was written, so what was in force still is.
            memory.rollout = memory
                .stood
                .take()
                .or_else(|| entered(RolloutState::HeldBack, message.into()));
            memory.held = Some(Held::new(scene.checked, found, scene.names.left_out));
            Ok(Next::Now)
        }
        judge::Judgement::NoWorse => {
            if change.leads_elsewhere {
                // A change that leads nobody elsewhere says nothing of one that was found worse.
                memory.held = None;
            }
            memory.rollout = entered(
                RolloutState::CanaryPassed,
                "the candidate did no worse in a canary".into(),
            );
            Ok(Next::Now)
        }
        judge::Judgement::Worse(message) => {
            memory.rollout = entered(RolloutState::CanaryFailed, message);
            // To remove the canaries, now that this is recorded.
            Ok(Next::Now)
        }
        judge::Judgement::Inconclusive(message) => {
            if let Some(rollout) = &mut memory.rollout {
                rollout.message = message;
            }
            Ok(Next::After(Duration::from_secs(30)))
        }
    }
}

async fn write(scene: &Scene<'_>, change: &Change, memory: &mut Memory) -> Result<Next, Error> {
    let hold = |memory: &mut Memory, message: String| {
        if let Some(rollout) = &mut memory.rollout {
            rollout.message = message;
        }
        Ok(Next::After(Duration::from_secs(5)))
    };
    let asked = match ask::pods(scene).await {
        Ok(asked) => asked,
        Err(error) => {
            return hold(
                memory,
                format!("nothing is written before a baseline was seen: {error}"),
            );
        }
    };
    let baseline: Vec<_> = asked
        .iter()
        .filter(|pod| confirm::answers(&pod.observations))
        .map(|pod| tsutsumi_engine::resolver::record::BaselinePod {
            name: pod.name.clone(),
            reloads_failed: confirm::reloads_failed(&pod.observations),
        })
        .collect();
    if baseline.is_empty() {
        return hold(
            memory,
            "nothing is written while no pod of cluster DNS answers the prober inside".into(),
        );
    }
    let record = Record {
        baseline,
        led: change.led.clone(),
        ..memory.record.saving(change)
    };
    if record != memory.record {
        save(scene, &record, &change.slot).await?;
        memory.record = record;
    }
    match last_look::is_planned(scene).await {
        Ok(true) => {}
        Ok(false) => {
            let message = "nothing is written before the watch has shown the newest nodes";
            return hold(memory, message.into());
        }
        Err(error) => {
            return hold(
                memory,
                format!("nothing is written before the nodes were read anew: {error}"),
            );
        }
    }
    let written = replace(
        scene,
        &change.slot,
        &change.candidate,
        "write the Corefile",
        memory,
    )
    .await?;
    if !written {
        return Ok(Next::After(PACE));
    }
    memory.misses.clear();
    let message = "the text is written; waiting for every pod to show it";
    memory.rollout = Some(enter(
        RolloutState::Written,
        change.label(),
        message,
        memory.rollout.as_ref(),
        scene.at,
    ));
    Ok(Next::After(CONFIRM_PACE))
}

async fn confirm_step(
    scene: &Scene<'_>,
    slot: &Slot,
    identity: Option<&str>,
    memory: &mut Memory,
) -> Result<Next, Error> {
    let label = identity.unwrap_or("restore");
    let before = memory.rollout.clone();
    let since = before
        .as_ref()
        .filter(|rollout| rollout.state == RolloutState::Written && rollout.identity == label)
        .map_or(scene.at.now, |rollout| rollout.since.0);
    let asked = match ask::pods(scene).await {
        Ok(asked) => asked,
        Err(error) => {
            let message = format!("the pods could not be asked: {error}");
            let mut entered = enter(RolloutState::Written, label, message, before.as_ref(), scene.at);
            entered.since = Time(since);
            memory.rollout = Some(entered);
            return Ok(Next::After(Duration::from_secs(5)));
        }
    };
    for pod in &asked {
        let misses = memory.misses.entry(pod.name.clone()).or_default();
        *misses = if confirm::answers(&pod.observations) {
            0
        } else {
            *misses + 1
        };
    }
    let misses = |pod: &str| memory.misses.get(pod).copied().unwrap_or_default();
    let text = memory.record.candidate.as_deref().unwrap_or_default();
    let sign = identity.map_or(Sign::NoneOfOurs { text }, Sign::Identity);
    let confirmation = confirm::confirm(
        &asked,
        &memory.record.baseline,
        sign,
        &misses,
        since,
        scene.at.now,
    );
    let enter_with = |state, message: String| {
        let mut entered = enter(state, label, message, before.as_ref(), scene.at);
        if state == RolloutState::Written {
            entered.since = Time(since);
        }
        entered
    };
    match confirmation {
        Confirmation::Settled => {
            memory.rollout = Some(enter_with(RolloutState::Settled, String::new()));
            // What only waited for this is due: a policy that goes is let go.
            Ok(Next::Now)
        }
        Confirmation::Pending { message } => {
            memory.rollout = Some(enter_with(RolloutState::Written, message));
            Ok(Next::After(CONFIRM_PACE))
        }
        Confirmation::Broken { message } => roll_back(scene, slot, message, memory, enter_with).await,
    }
}

async fn roll_back(
    scene: &Scene<'_>,
    slot: &Slot,
    why: String,
    memory: &mut Memory,
    enter_with: impl Fn(RolloutState, String) -> Rollout,
) -> Result<Next, Error> {
    let (Some(previous), Some(candidate)) = (memory.record.previous.clone(), memory.record.candidate.clone())
    else {
        memory.rollout = Some(enter_with(
            RolloutState::Written,
            format!("{why}; there is no saved text to put back"),
        ));
        return Ok(Next::After(CONFIRM_PACE));
    };
    // A newer edit by somebody else is never overwritten: only our own text gives way to the saved one.
    if scene.cluster.text(&slot.namespace, &slot.config_map, &slot.key) != Some(&candidate) {
        return Ok(Next::Change);
    }
    if replace(scene, slot, &previous, "put the saved Corefile back", memory).await? {
        memory.rollout = Some(enter_with(
            RolloutState::RolledBack,
            format!("{why}; the saved text was put back"),
        ));
        Ok(Next::Change)
    } else {
        Ok(Next::After(PACE))
    }
}

/// Replaces the text of a slot, if the ConfigMap is still the one that was read. False where it is not.
async fn replace(
    scene: &Scene<'_>,
    slot: &Slot,
    text: &str,
    operation: &'static str,
    memory: &mut Memory,
) -> Result<bool, Error> {
    let api = scene.config_maps(&slot.namespace);
    let Some(config_map) = scene.cluster.config_map(&slot.namespace, &slot.config_map) else {
        return Ok(false);
    };
    let pointer = format!("/data/{}", slot.key.replace('~', "~0").replace('/', "~1"));
    let edit = match &config_map.data {
        // Only a key that is ours alone is ever emptied, and then it was not there before us.
        Some(_) if text.is_empty() => json!({ "op": "remove", "path": pointer }),
        Some(_) => json!({ "op": "add", "path": pointer, "value": text }),
        None => json!({ "op": "add", "path": "/data", "value": { slot.key.as_str(): text } }),
    };
    let version = &config_map.metadata.resource_version;
    let patch = json!([{ "op": "test", "path": "/metadata/resourceVersion", "value": version }, edit]);
    let patch: Patch = serde_json::from_value(patch).map_err(|source| Error::Describe {
        what: "a patch",
        source,
    })?;
    match scene.writer.json_patch(&api, &slot.config_map, patch).await {
        Ok(written) => {
            memory.own_write = Some(OwnWrite::new(version.clone(), written));
            Ok(true)
        }
        Err(WriteError::Conflict { .. }) => Ok(false),
        Err(source) => Err(Error::Apply { operation, source }),
    }
}

/// Who wrote the slot's ConfigMap last, apart from us.
fn other_manager(cluster: &Cluster, slot: &Slot) -> Option<String> {
    let config_map = cluster.config_map(&slot.namespace, &slot.config_map)?;
    let managers = config_map.metadata.managed_fields.iter().flatten();
    managers
        .filter(|entry| entry.manager.as_deref() != Some(crate::runtime::writer::FIELD_MANAGER))
        .max_by_key(|entry| entry.time.as_ref().map(|time| time.0))
        .and_then(|entry| entry.manager.clone())
}

fn slot_of(plan: &Plan) -> Option<&Slot> {
    match plan {
        Plan::Blocked { .. } => None,
        Plan::InForce { slot, .. } => Some(slot),
        Plan::Replace(change) => Some(&change.slot),
    }
}

async fn save(scene: &Scene<'_>, record: &Record, slot: &Slot) -> Result<(), Error> {
    let own = &scene.ctx.scope.own_namespace;
    let name = Record::name(scene.policy());
    let config_map = ConfigMap {
        metadata: kube::core::ObjectMeta {
            name: Some(name.clone()),
            labels: Some(
                [MANAGED_BY]
                    .map(|(label, us)| (label.to_owned(), us.to_owned()))
                    .into(),
            ),
            annotations: Some(
                [(
                    "tsutsumi.dev/restore".to_owned(),
                    Record::restore_command(scene.policy(), own, slot),
                )]
                .into(),
            ),
            ..Default::default()
        },
        data: Some(record.data(slot)),
        ..Default::default()
    };
    scene
        .writer
        .apply_owned(&scene.config_maps(own), &name, &config_map)
        .await
        .map_err(|source| Error::Apply {
            operation: "keep the present Corefile",
            source,
        })?;
    Ok(())
}
