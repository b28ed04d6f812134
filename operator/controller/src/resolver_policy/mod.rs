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
mod routes;
mod switch;
mod tell;
mod upstreams;
mod vantage;
mod verify;
mod watch;
mod zone;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client, ResourceExt,
    core::DeserializeGuard,
    runtime::{
        Controller, Predicate, PredicateConfig, WatchStreamExt,
        controller::Action,
        predicates,
        reflector::{self, Store},
        watcher,
    },
};
use tokio::sync::mpsc;
use tsutsumi_api::ResolverPolicy;
use tsutsumi_engine::{
    cluster::{Cluster, Concern},
    managed::decide,
    resolver::{Checked, Planned, check, plan, rollout::Circumstances},
    switch::Asked,
};
use tsutsumi_model::DomainName;

use self::{
    apply::{Next, Scene},
    error::Error,
    memory::{Memories, Memory},
    observe::{Caches, Scope},
    switch::Gate,
    vantage::Vantages,
    verify::Verifier,
    zone::Zone,
};
use crate::runtime::{
    controller::RunContext, diagnostics::Diagnostics, events::Events, lease::Leadership, logging::Chain,
    metrics::Metrics, writer::Writer,
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

/// Runs until told to stop.
pub(crate) async fn run(run: RunContext) {
    let synced = run.readiness.gate("caches");
    let (trigger, triggered) = mpsc::channel(1);
    let scope = Scope {
        own_namespace: run.args.namespace.clone(),
        target_namespaces: run.args.target_namespaces.clone(),
        config_maps: run
            .args
            .config_maps
            .iter()
            .map(|map| (map.namespace.clone(), map.name.clone()))
            .collect(),
        probe_zone: run.args.probe_zone.clone(),
        outside_zone: run.args.outside_zone.as_ref().map(|outside| outside.zone.clone()),
        managed: run.args.managed_resolver.offer(),
        // Where nothing may be written, nothing is closed.
        closable: if run.args.audit_only {
            Vec::new()
        } else {
            run.args.close_namespaces.clone()
        },
    };
    let vantages = Vantages::new(
        &scope.own_namespace,
        run.args.prober_port,
        run.args.outside_vantages.clone(),
        run.tls.clone(),
    );
    let zone = Zone::new(
        scope.probe_zone.clone(),
        run.args.outside_zone.clone(),
        &scope.own_namespace,
        run.tls,
        run.mark_keys,
    );
    let caches = Caches::start(&run.client, &scope, &trigger).await;
    let policies: Api<DeserializeGuard<ResolverPolicy>> = Api::all(run.client.clone());
    let (known, keeping) = reflector::store();
    let cluster_domain = run.args.cluster_domain.clone();
    let api_name = ["svc", "default", "kubernetes"]
        .into_iter()
        .try_fold(cluster_domain.clone(), |name, label| name.child(label))
        .unwrap_or_else(|_| cluster_domain.clone());
    let ctx = Arc::new(Ctx {
        client: run.client,
        audit_only: run.args.audit_only,
        canary_service_account: run.args.canary_service_account.clone(),
        verifier: Verifier::new(
            vantages.clone(),
            zone,
            caches.clone(),
            run.metrics.clone(),
            trigger.clone(),
        ),
        scope,
        vantages,
        cluster_domain,
        api_name,
        leadership: run.leadership.clone(),
        metrics: run.metrics,
        events: run.events,
        diagnostics: run.diagnostics,
        policies: known.clone(),
        caches,
        memories: Memories::default(),
        failures: Mutex::default(),
    });
    ctx.caches.synced().await;
    synced.open();
    let elections = follow_elections(run.leadership, Arc::clone(&ctx), trigger);
    let triggers = stream::unfold(triggered, |mut receiver| async move {
        receiver.recv().await.map(|()| ((), receiver))
    });
    let bystander = Arc::clone(&ctx);
    let touched = watcher(policies, watcher::Config::default())
        .default_backoff()
        .reflect(keeping)
        .inspect_ok(move |event| {
            // Without a finalizer nothing reconciles an object that is gone.
            if let watcher::Event::Delete(object) = event {
                forget(&bystander, &object.name_any());
            }
        })
        .touched_objects()
        // Our own writes to the status are no news.
        .predicate_filter(
            predicates::generation.combine(predicates::finalizers),
            PredicateConfig::default(),
        );
    let shutdown = run.shutdown.clone();
    let work = Controller::for_stream(touched, known)
        .reconcile_all_on(triggers)
        .graceful_shutdown_on(async move { shutdown.requested().await })
        .run(reconcile, error_policy, ctx)
        .for_each(|_| std::future::ready(()));
    tokio::select! {
        // Ends when told to stop, after the reconciles under way.
        () = work => {}
        // Ends only with the lease's task, without which nothing can be written.
        () = elections => {}
    }
}

/// A new leader starts from what the cluster says, at once.
async fn follow_elections(leadership: Leadership, ctx: Arc<Ctx>, trigger: mpsc::Sender<()>) {
    let mut leads = leadership.subscribe();
    while leads.changed().await.is_ok() {
        ctx.memories.clear();
        if *leads.borrow_and_update() {
            let _ = trigger.try_send(());
        } else {
            ctx.verifier.stop_all();
            // What a standby knew is not what is; the leader exports what is.
            ctx.policies
                .state()
                .iter()
                .for_each(|policy| ctx.metrics.forget(&policy.name_any()));
        }
    }
}

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
    if !finalizer::settle(ctx, writer, &checked, &planned.plan, &memory).await? {
        forget(ctx, &name);
        return Ok(Action::await_change());
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
    ctx.diagnostics.put(
        "caches",
        "sizes",
        &ctx.caches.sizes().into_iter().collect::<BTreeMap<_, _>>(),
    );
    ctx.memories.keep(&name, memory);
    Ok(match next {
        // Nothing in the cluster tells that one answers again.
        Next::Change if !data.silent.is_empty() => Action::requeue(upstreams::AGAIN),
        // Results that nobody renews must not stand as if they counted.
        Next::Change => match expiry.into_iter().chain(gate.wait()).chain(watching).min() {
            Some(left) => Action::requeue(left),
            None => Action::await_change(),
        },
        Next::Now => Action::requeue(Duration::ZERO),
        Next::After(pause) => Action::requeue(pause),
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
