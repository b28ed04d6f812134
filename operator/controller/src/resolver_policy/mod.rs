//! Keeps every `ResolverPolicy` true: observe → check → plan → apply → status, with verification beside it.
//!
//! A reconcile reads the caches, decides purely, takes at most one step of the rollout and says what it knows. Changing
//! cluster DNS takes minutes, so a change is never one long call: the state stands in `status.rollout`, and a crash
//! between any two calls resumes there.

mod apply;
mod ask;
mod canary;
mod closing;
mod compare;
mod error;
mod finalizer;
mod judge;
mod keep;
mod last_look;
mod limits;
mod managed;
mod memory;
mod observe;
mod optional;
mod pools;
mod publish;
mod refusals;
mod request;
mod round;
mod routes;
mod run;
mod switch;
mod tell;
mod upstreams;
mod vantage;
mod verify;
mod watch;
mod zone;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client, ResourceExt,
    core::DeserializeGuard,
    runtime::{controller::Action, reflector::Store},
};
use tsutsumi_api::ResolverPolicy;
use tsutsumi_engine::{
    cluster::{Cluster, Concern},
    managed::decide,
    resolver::{Checked, Planned, check, plan, rollout::Circumstances},
    switch::Asked,
};
use tsutsumi_model::DomainName;

pub(crate) use self::run::run;
use self::{
    apply::{Next, Scene},
    error::Error,
    finalizer::Hold,
    memory::{Memories, Memory},
    observe::{Caches, Scope},
    switch::Gate,
    vantage::Vantages,
    verify::Verifier,
};
use crate::runtime::{
    diagnostics::Diagnostics, events::Events, lease::Leadership, logging::Chain, metrics::Metrics,
    writer::Writer,
};

/// The handles that every reconcile shares.
struct Ctx {
    client: Client,
    scope: Scope,
    /// Our roles do not let us write: everything is evaluated, nothing is written.
    audit_only: bool,
    vantages: Vantages,
    canary_service_account: String,
    cluster_domain: DomainName,
    /// The name that every cluster's DNS answers: that of the API server's Service.
    api_name: DomainName,
    leadership: Leadership,
    metrics: Metrics,
    events: Events,
    diagnostics: Diagnostics,
    caches: Caches,
    policies: Store<DeserializeGuard<ResolverPolicy>>,
    memories: Memories,
    verifier: Verifier,
    failures: Mutex<HashMap<String, u32>>,
}

/// How long the phases of one reconcile that touch the cluster or the network may take.
const APPLY_LIMIT: Duration = Duration::from_secs(30);
/// How long a newer object may take to come by watch. A watch that hangs must not make us ask the API server all the time.
const OUTDATED: Duration = Duration::from_secs(2);

async fn reconcile(object: Arc<DeserializeGuard<ResolverPolicy>>, ctx: Arc<Ctx>) -> Result<Action, Error> {
    // Without the lease nothing is decided; winning it reconciles everything.
    let Some(writer) = ctx.leadership.writer() else {
        return Ok(Action::await_change());
    };
    let reconciling = ctx.metrics.reconciling();
    let name = object.name_any();
    let outcome = match &object.0 {
        Ok(policy) => Box::pin(keep_true(&ctx, &writer, policy.clone())).await,
        Err(invalid) => publish::invalid(&ctx, &writer, &name, invalid).await,
    };
    match outcome {
        Ok(action) => {
            reconciling.finish("ok");
            ctx.failures
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .remove(&name);
            Ok(action)
        }
        Err(error) => {
            reconciling.finish(error.category());
            // Whatever was half done, the cluster knows better than we do.
            ctx.memories.forget(&name);
            Err(error)
        }
    }
}

/// The phases, in order.
async fn keep_true(ctx: &Ctx, writer: &Writer, mut policy: ResolverPolicy) -> Result<Action, Error> {
    let name = policy.name_any();
    let own: Api<ConfigMap> = Api::namespaced(ctx.client.clone(), &ctx.scope.own_namespace);
    let mut memory = ctx.memories.load(&policy, &own).await?;
    if let Some(status) = &memory.status {
        policy.status = Some(status.clone());
    }
    let mut cluster = ctx.caches.cluster();
    if let Some(write) = &memory.own_write {
        write.show(&mut cluster);
    }
    let others = others(ctx, &name);
    let others: Vec<_> = others.iter().map(AsRef::as_ref).collect();

    let mut data = managed::read(ctx, &policy).await?;
    let mut checked = check(&policy, &others, &cluster);
    data.silent = upstreams::silent(ctx, &checked, &cluster, &mut memory.upstreams).await;
    checked.managed = decide(&checked, &cluster, &data, managed::now());
    let watching = within("watch", async {
        Ok(Box::pin(watch::hold(ctx, &mut checked, &cluster, &mut memory)).await)
    })
    .await?;
    let gate = Gate::of(&checked, &mut memory.held);
    if let Gate::Closed(_, why, _) = &gate {
        checked.managed = std::mem::take(&mut checked.managed).held_back(why.clone());
    }
    let names = switch::asked(&checked, &cluster, &ctx.cluster_domain, &watch::seen(&memory));
    ctx.caches.watch_for(&name, Concern::of(&checked, &cluster));
    cluster.let_go();
    let mut planned = plan(&checked, &memory.record);
    if let Gate::Closed(_, why, lines) | Gate::Again(why, lines) = &gate {
        planned.missing.get_or_insert_with(|| why.clone());
        planned.warnings.extend_from_slice(lines);
    }
    if ctx.audit_only && checked.writes() {
        planned = planned.held_back();
    }
    match finalizer::settle(ctx, writer, &checked, &planned.plan, &memory).await? {
        Hold::Settled => {}
        // What changed may be our own status, of which the watch tells nobody.
        Hold::Outdated => {
            ctx.memories.keep(&name, memory);
            return Ok(Action::requeue(OUTDATED));
        }
        Hold::LetGo => {
            forget(ctx, &name);
            return Ok(Action::await_change());
        }
    }
    let next = within(
        "apply",
        Box::pin(take_step(
            ctx,
            writer,
            &checked,
            &planned,
            (&cluster, &names),
            &mut memory,
        )),
    )
    .await?;
    if let (Gate::Open, Some(held)) = (&gate, &memory.held) {
        // It was found just now.
        held.tell(&mut planned);
    }
    within(
        "close",
        Box::pin(closing::keep(ctx, writer, &checked, &cluster, &mut memory)),
    )
    .await?;
    // What is only compared again changes nothing, and results go on to count.
    let stood = memory.stood.as_ref().filter(|_| matches!(gate, Gate::Again(..)));
    let request = request::request(ctx, &checked, stood.or(memory.rollout.as_ref()));
    let verified = ctx.verifier.newest(request.as_ref());
    let expiry = verified
        .as_ref()
        .and_then(|round| round.verified.counts_for(Timestamp::now()));
    within(
        "status",
        Box::pin(publish::publish(
            ctx,
            writer,
            &checked,
            &planned,
            &mut memory,
            verified,
        )),
    )
    .await?;
    ctx.diagnostics.put("caches", "sizes", &ctx.caches.sizes());
    ctx.memories.keep(&name, memory);
    // Nothing in the cluster tells that a resolver answers again, and results that nobody renews must not stand as if they
    // counted.
    let silent = (!data.silent.is_empty()).then_some(upstreams::AGAIN);
    let waits = silent
        .into_iter()
        .chain(expiry)
        .chain(gate.wait())
        .chain(watching);
    Ok(match (next, waits.min()) {
        (Next::Now, _) => Action::requeue(Duration::ZERO),
        (Next::After(pause), _) | (Next::Change, Some(pause)) => Action::requeue(pause),
        (Next::Change, None) => Action::await_change(),
    })
}

/// One step of the rollout, where the policy wants anything written.
async fn take_step(
    ctx: &Ctx,
    writer: &Writer,
    checked: &Checked<'_>,
    planned: &Planned,
    (cluster, names): (&Cluster, &Asked),
    memory: &mut Memory,
) -> Result<Next, Error> {
    let (Ok(target), true) = (&checked.target, checked.writes()) else {
        let name = checked.policy.name_any();
        judge::sweep(ctx, writer, cluster, &name).await?;
        return Ok(Next::Change);
    };
    let at = Circumstances {
        now: Timestamp::now(),
        generation: checked.policy.metadata.generation.unwrap_or_default(),
        image: &target.template.image,
    };
    let scene = Scene {
        ctx,
        writer,
        checked,
        target,
        cluster,
        names,
        at,
    };
    let ours = !ctx.audit_only && !checked.only_untaps();
    if ours {
        managed::keep(ctx, writer, checked, memory).await?;
    }
    let next = apply::apply(&scene, &planned.plan, memory).await?;
    if ours {
        managed::leave(ctx, writer, checked, &planned.plan, memory).await?;
    }
    Ok(next)
}

/// Bounds one phase; kube's own retries would otherwise hold a reconcile for minutes.
async fn within<T>(phase: &'static str, io: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    tokio::time::timeout(APPLY_LIMIT, io)
        .await
        .map_err(|_| Error::Deadline {
            phase,
            limit: APPLY_LIMIT,
        })?
}

/// The other policies that can be read.
fn others(ctx: &Ctx, name: &str) -> Vec<Arc<ResolverPolicy>> {
    let readable =
        |object: Arc<DeserializeGuard<ResolverPolicy>>| object.0.as_ref().ok().cloned().map(Arc::new);
    ctx.policies
        .state()
        .into_iter()
        .filter(|object| object.name_any() != name)
        .filter_map(readable)
        .collect()
}

/// The policy is gone.
fn forget(ctx: &Ctx, name: &str) {
    ctx.memories.forget(name);
    ctx.caches.forget(name);
    ctx.verifier.stop(name);
    ctx.metrics.forget(name);
    ctx.diagnostics.remove("policies", name);
}

/// Tries again, later with every failure in a row. kube-runtime has no back-off of its own.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the signature that the controller of kube-runtime asks for"
)]
fn error_policy(object: Arc<DeserializeGuard<ResolverPolicy>>, error: &Error, ctx: Arc<Ctx>) -> Action {
    let name = object.name_any();
    let mut failures = ctx.failures.lock().unwrap_or_else(PoisonError::into_inner);
    let count = failures.entry(name.clone()).or_default();
    let pause = Duration::from_secs(1 << (*count).min(6));
    *count += 1;
    tracing::warn!(policy = name, error = %Chain(error), pause = pause.as_secs(), "a reconcile ended early");
    Action::requeue(pause)
}
