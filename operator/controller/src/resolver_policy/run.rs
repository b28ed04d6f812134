//! The reconciler's beginning and end: its caches and watches, what triggers a reconcile, and who leads.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::{Arc, Mutex},
};

use futures::{StreamExt, TryStreamExt, stream};
use kube::{
    Api, Resource, ResourceExt,
    core::DeserializeGuard,
    runtime::{Controller, Predicate, PredicateConfig, WatchStreamExt, predicates, reflector, watcher},
};
use tokio::sync::mpsc;
use tsutsumi_api::{ResolverPolicy, resolver_policy::VERIFY};

use super::{
    Ctx, error_policy, forget,
    memory::Memories,
    observe::{Caches, Scope},
    reconcile,
    round::Examiner,
    vantage::Vantages,
    verify::Verifier,
    zone::Zone,
};
use crate::runtime::{args::ControllerArgs, controller::RunContext, lease::Leadership};

/// Runs until told to stop.
pub(crate) async fn run(run: RunContext) {
    let synced = run.readiness.gate("caches");
    let (trigger, triggered) = mpsc::channel(1);
    let scope = scope(&run.args);
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
            Examiner {
                vantages: vantages.clone(),
                zone,
                caches: caches.clone(),
                metrics: run.metrics.clone(),
            },
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
            predicates::generation
                .combine(predicates::finalizers)
                .combine(asked),
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

/// What the arguments let the caches see.
fn scope(args: &ControllerArgs) -> Scope {
    Scope {
        own_namespace: args.namespace.clone(),
        target_namespaces: args.target_namespaces.clone(),
        config_maps: args
            .config_maps
            .iter()
            .map(|map| (map.namespace.clone(), map.name.clone()))
            .collect(),
        probe_zone: args.probe_zone.clone(),
        outside_zone: args.outside_zone.as_ref().map(|outside| outside.zone.clone()),
        managed: args.managed_resolver.offer(),
        // Where nothing may be written, nothing is closed.
        closable: if args.audit_only {
            Vec::new()
        } else {
            args.close_namespaces.clone()
        },
    }
}

/// What tells that a person asks for a round of probes at once.
fn asked(policy: &impl Resource) -> Option<u64> {
    let value = policy.meta().annotations.as_ref()?.get(VERIFY)?;
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    Some(hasher.finish())
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
