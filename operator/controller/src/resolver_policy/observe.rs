//! What is known of the cluster: caches that watches keep fresh, and the triggers that come of their changes.
//!
//! Nothing polls. An event reaches the reconciler only where it could change a decision, so ten thousand pods that come
//! and go cost nothing but their place in the cache.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock},
};

use futures::future;
use k8s_openapi::api::{
    apps::v1::{DaemonSet, Deployment},
    core::v1::{ConfigMap, Node},
    networking::v1::NetworkPolicy,
};
use kube::{Api, Client};
use tokio::sync::mpsc;
use tsutsumi_engine::{
    cluster::{
        self, Cluster, Concern, Index, Installed, Interest, Limit, OutsideZone, Pod, Pods, Services, Slices,
        Whole,
    },
    exposure::DynamicRoute,
    managed::Offer,
    ranges::Pool,
};

use tsutsumi_model::DomainName;

use super::{
    keep::{Kept, Watches},
    limits,
    optional::Optional,
    pools, routes,
};

/// Where to look for the parts of cluster DNS that are read by name.
#[derive(Clone, Debug)]
pub(crate) struct Scope {
    /// Our own namespace.
    pub(crate) own_namespace: String,
    /// Namespaces whose workloads are read.
    pub(crate) target_namespaces: Vec<String>,
    /// ConfigMaps that are read, as namespace and name.
    pub(crate) config_maps: Vec<(String, String)>,
    /// The zone that our probe zone serves, where it runs.
    pub(crate) probe_zone: Option<DomainName>,
    /// The probe zone outside, where somebody runs one.
    pub(crate) outside_zone: Option<OutsideZone>,
    /// How managed resolvers run, where our roles let us run any.
    pub(crate) managed: Option<Offer>,
    /// Namespaces in which a `NetworkPolicy` of ours may be written.
    pub(crate) closable: Vec<String>,
}

/// The caches.
#[derive(Clone)]
pub(crate) struct Caches {
    nodes: Kept<Whole<Node>>,
    services: Kept<Services>,
    slices: Kept<Slices>,
    pods: Kept<Pods>,
    deployments: Vec<Kept<Whole<Deployment>>>,
    daemon_sets: Vec<Kept<Whole<DaemonSet>>>,
    config_maps: Vec<Kept<Whole<ConfigMap>>>,
    own: Option<Kept<Whole<Deployment>>>,
    routes: Optional<DynamicRoute>,
    pools: Optional<Arc<Pool>>,
    network_policies: Vec<Kept<Whole<NetworkPolicy>>>,
    limits: Optional<Arc<Limit>>,
    installed: Installed,
    interest: Arc<RwLock<Interest>>,
    trigger: mpsc::Sender<()>,
}

impl Caches {
    /// Starts the watches. The stream of triggers must be polled; it ends with the sender.
    pub(crate) async fn start(client: &Client, scope: &Scope, trigger: &mpsc::Sender<()>) -> Self {
        let near = scope.target_namespaces.iter().chain([&scope.own_namespace]);
        let interest = Arc::new(RwLock::new(Interest::near(near.cloned().collect())));
        let watches = Watches {
            interest: Arc::clone(&interest),
            trigger: trigger.clone(),
        };
        Self {
            nodes: watches.keep(Api::all(client.clone()), None, cluster::prune_node),
            services: watches.keep(Api::all(client.clone()), None, whole),
            slices: watches.keep(Api::all(client.clone()), None, whole),
            pods: watches.keep(Api::all(client.clone()), None, whole),
            deployments: scope
                .target_namespaces
                .iter()
                .map(|ns| {
                    let api = Api::namespaced(client.clone(), ns);
                    watches.keep(api, None, cluster::prune_deployment)
                })
                .collect(),
            daemon_sets: scope
                .target_namespaces
                .iter()
                .map(|ns| {
                    let api = Api::namespaced(client.clone(), ns);
                    watches.keep(api, None, cluster::prune_daemon_set)
                })
                .collect(),
            config_maps: scope
                .config_maps
                .iter()
                .map(|(ns, name)| {
                    let api = Api::namespaced(client.clone(), ns);
                    watches.keep(api, Some(name), cluster::prune_config_map)
                })
                .collect(),
            own: scope.managed.as_ref().map(|_| {
                let api = Api::namespaced(client.clone(), &scope.own_namespace);
                watches.keep(api, None, cluster::prune_own_deployment)
            }),
            routes: routes::start(client, trigger).await,
            pools: pools::start(client, trigger).await,
            network_policies: scope
                .closable
                .iter()
                .map(|ns| {
                    let api = Api::namespaced(client.clone(), ns);
                    watches.keep(api, None, cluster::prune_network_policy)
                })
                .collect(),
            limits: if scope.closable.is_empty() {
                Optional::default()
            } else {
                limits::start(client, trigger).await
            },
            installed: Installed {
                namespace: scope.own_namespace.clone(),
                probe_zone: scope.probe_zone.clone(),
                outside_zone: scope.outside_zone.clone(),
                managed: scope.managed.clone(),
                closable: scope.closable.clone(),
            },
            interest,
            trigger: trigger.clone(),
        }
    }

    /// Waits until every cache has seen its first list.
    pub(crate) async fn synced(&self) {
        self.nodes.synced().await;
        self.services.synced().await;
        self.slices.synced().await;
        self.pods.synced().await;
        future::join_all(self.deployments.iter().map(Kept::synced)).await;
        future::join_all(self.daemon_sets.iter().map(Kept::synced)).await;
        future::join_all(self.config_maps.iter().map(Kept::synced)).await;
        future::join_all(self.own.iter().map(Kept::synced)).await;
        self.routes.synced().await;
        self.pools.synced().await;
        future::join_all(self.network_policies.iter().map(Kept::synced)).await;
        self.limits.synced().await;
    }

    /// Everything that is known now.
    pub(crate) fn cluster(&self) -> Cluster {
        let pods = self.pods.state();
        Cluster {
            nodes: self.nodes.state().all(),
            services: self.services.state(),
            slices: self.slices.state(),
            pods: pods.near(),
            elsewhere: pods.elsewhere(),
            deployments: all(&self.deployments),
            daemon_sets: all(&self.daemon_sets),
            config_maps: all(&self.config_maps),
            own: self.own.iter().flat_map(|kept| kept.state().all()).collect(),
            routes: self.routes.state(),
            pools: self.pools.state(),
            network_policies: all(&self.network_policies),
            other_limits: self.limits.whole(),
            installed: self.installed.clone(),
        }
    }

    /// The pods in the namespaces of cluster DNS and our own.
    pub(crate) fn pods(&self) -> Vec<Arc<Pod>> {
        self.pods.state().near()
    }

    /// Says what a policy's decisions were made from, so that a change of it is seen at once; one that came before
    /// that was known is seen by one more reconcile.
    pub(crate) fn watch_for(&self, policy: &str, concern: Concern) {
        let news = self
            .interest
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .set(policy, concern);
        if news {
            // A full channel means that a reconcile is due anyway.
            let _ = self.trigger.try_send(());
        }
    }

    /// The policy is gone.
    pub(crate) fn forget(&self, policy: &str) {
        let mut interest = self.interest.write().unwrap_or_else(PoisonError::into_inner);
        interest.forget(policy);
    }

    /// How many objects of each kind are held, for the diagnostics page.
    pub(crate) fn sizes(&self) -> BTreeMap<&'static str, usize> {
        BTreeMap::from([
            ("nodes", self.nodes.state().len()),
            ("services", self.services.state().len()),
            ("endpointslices", self.slices.state().len()),
            ("pods", self.pods.state().len()),
        ])
    }
}

/// Of these kinds nothing is read that is not kept.
fn whole<K>(_: &mut K) {}

fn all<K>(caches: &[Kept<Whole<K>>]) -> Vec<Arc<K>>
where
    Whole<K>: Index,
{
    caches.iter().flat_map(|kept| kept.state().all()).collect()
}

#[cfg(test)]
mod tests {
    use http::StatusCode;
    use serde_json::json;

    use super::*;
    use crate::runtime::testing::{Told, client, refusal};

    #[tokio::test(start_paused = true)]
    async fn what_decisions_were_made_from_is_looked_at_once_more_when_it_is_news() {
        let empty = json!({ "kind": "List", "apiVersion": "v1", "metadata": { "resourceVersion": "1" }, "items": [] });
        let client = client(move |asked| {
            if asked.query.contains("watch=true") {
                Told::Silence
            } else if asked.path.starts_with("/apis/gateway") || asked.path == "/apis" {
                refusal(StatusCode::NOT_FOUND, "NotFound", "no such group")
            } else {
                Told::Answer(StatusCode::OK, empty.clone())
            }
        });
        let scope = Scope {
            own_namespace: "dyke".to_owned(),
            target_namespaces: vec!["kube-system".to_owned()],
            config_maps: vec![("kube-system".to_owned(), "coredns".to_owned())],
            probe_zone: None,
            outside_zone: None,
            managed: None,
            closable: Vec::new(),
        };
        let (trigger, mut triggered) = mpsc::channel(16);
        let caches = Caches::start(&client, &scope, &trigger).await;
        caches.synced().await;
        while triggered.try_recv().is_ok() {}

        let serving = |net: &str| Concern {
            served: Some(vec![net.parse().unwrap()]),
            ..Concern::default()
        };
        let mut triggers = |policy: &str, concern: Concern| {
            caches.watch_for(policy, concern);
            triggered.try_recv().is_ok()
        };
        assert!(triggers("town", serving("10.0.0.0/8")));
        assert!(!triggers("town", serving("10.0.0.0/8")), "it is known");
        assert!(
            triggers("village", serving("10.0.0.0/8")),
            "each policy has its own"
        );
        assert!(!triggers("town", serving("10.0.0.0/8")), "and keeps it");
        assert!(triggers("town", serving("10.0.0.0/9")));
        caches.forget("town");
        assert!(triggers("town", serving("10.0.0.0/9")), "it was forgotten");
    }
}
