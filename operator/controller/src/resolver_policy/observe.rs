//! What is known of the cluster: pruned caches that watches keep fresh, and the triggers that come of their changes.
//!
//! Nothing polls. An event reaches the reconciler only where it could change a decision, so ten thousand pods that come
//! and go cost nothing but their place in the cache.

use std::{
    hash::{Hash, Hasher},
    net::IpAddr,
    sync::{Arc, RwLock},
};

use futures::{Stream, StreamExt, future, stream};
use ipnet::IpNet;
use k8s_openapi::api::{
    apps::v1::{DaemonSet, Deployment},
    core::v1::{ConfigMap, Node, Pod, Service},
    discovery::v1::EndpointSlice,
};
use kube::{
    Api, Client, Resource, ResourceExt,
    runtime::{
        WatchStreamExt,
        reflector::{self, Store},
        watcher,
    },
};
use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::mpsc;
use tsutsumi_engine::{
    cluster::{self, Cluster},
    exposure::DynamicRoute,
    ranges::Pool,
};

use super::{optional::Optional, pools, routes};

/// Where to look for the parts of cluster DNS that are read by name.
#[derive(Clone, Debug)]
pub(crate) struct Scope {
    /// Our own namespace.
    pub(crate) own_namespace: String,
    /// Namespaces whose workloads are read.
    pub(crate) target_namespaces: Vec<String>,
    /// ConfigMaps that are read, as namespace and name.
    pub(crate) config_maps: Vec<(String, String)>,
}

/// The caches.
#[derive(Clone)]
pub(crate) struct Caches {
    nodes: Store<Node>,
    services: Store<Service>,
    slices: Store<EndpointSlice>,
    pods: Store<Pod>,
    deployments: Vec<Store<Deployment>>,
    daemon_sets: Vec<Store<DaemonSet>>,
    config_maps: Vec<Store<ConfigMap>>,
    routes: Optional<DynamicRoute>,
    pools: Optional<Arc<Pool>>,
    interest: Arc<RwLock<Interest>>,
}

/// What makes an event worth a reconcile.
#[derive(Debug, Default)]
pub(crate) struct Interest {
    /// Namespaces in which every pod matters: that of cluster DNS and our own.
    pub(crate) namespaces: Vec<String>,
    /// The networks that are served; a pod outside them matters at once.
    pub(crate) served: Option<Vec<IpNet>>,
    /// The addresses of the DNS pods, in any spelling of theirs; what leads there may expose them.
    pub(crate) dns: Vec<IpAddr>,
}

impl Caches {
    /// Starts the watches. The stream of triggers must be polled; it ends with the sender.
    pub(crate) async fn start(client: &Client, scope: &Scope, trigger: &mpsc::Sender<()>) -> Self {
        let interest = Arc::new(RwLock::new(Interest {
            namespaces: scope
                .target_namespaces
                .iter()
                .chain([&scope.own_namespace])
                .cloned()
                .collect(),
            served: None,
            dns: Vec::new(),
        }));
        let concerned = Arc::clone(&interest);
        let watch_all = Watch {
            trigger: trigger.clone(),
        };
        Self {
            nodes: watch_all.cache(Api::all(client.clone()), None, cluster::prune_node, any),
            services: watch_all.cache(Api::all(client.clone()), None, cluster::prune_service, {
                let interest = Arc::clone(&interest);
                move |service| {
                    interest
                        .read()
                        .is_ok_and(|interest| interest.concerns_service(service))
                }
            }),
            slices: watch_all.cache(Api::all(client.clone()), None, cluster::prune_slice, {
                let interest = Arc::clone(&interest);
                move |slice| {
                    interest
                        .read()
                        .is_ok_and(|interest| interest.concerns_slice(slice))
                }
            }),
            pods: watch_all.cache(Api::all(client.clone()), None, cluster::prune_pod, move |pod| {
                concerned.read().is_ok_and(|interest| interest.concerns_pod(pod))
            }),
            deployments: scope
                .target_namespaces
                .iter()
                .map(|ns| {
                    watch_all.cache(
                        Api::namespaced(client.clone(), ns),
                        None,
                        cluster::prune_deployment,
                        any,
                    )
                })
                .collect(),
            daemon_sets: scope
                .target_namespaces
                .iter()
                .map(|ns| {
                    watch_all.cache(
                        Api::namespaced(client.clone(), ns),
                        None,
                        cluster::prune_daemon_set,
                        any,
                    )
                })
                .collect(),
            config_maps: scope
                .config_maps
                .iter()
                .map(|(ns, name)| {
                    let api = Api::namespaced(client.clone(), ns);
                    watch_all.cache(api, Some(name), cluster::prune_config_map, any)
                })
                .collect(),
            routes: routes::start(client, trigger).await,
            pools: pools::start(client, trigger).await,
            interest,
        }
    }

    /// Waits until every cache has seen its first list.
    pub(crate) async fn synced(&self) {
        let (nodes, services) = (self.nodes.wait_until_ready(), self.services.wait_until_ready());
        let (slices, pods) = (self.slices.wait_until_ready(), self.pods.wait_until_ready());
        let _ = future::join4(nodes, services, slices, pods).await;
        future::join_all(self.deployments.iter().map(Store::wait_until_ready)).await;
        future::join_all(self.daemon_sets.iter().map(Store::wait_until_ready)).await;
        future::join_all(self.config_maps.iter().map(Store::wait_until_ready)).await;
        self.routes.synced().await;
        self.pools.synced().await;
    }

    /// Everything that is known now.
    pub(crate) fn cluster(&self) -> Cluster {
        Cluster {
            nodes: self.nodes.state(),
            services: self.services.state(),
            slices: self.slices.state(),
            pods: self.pods.state(),
            deployments: self.deployments.iter().flat_map(Store::state).collect(),
            daemon_sets: self.daemon_sets.iter().flat_map(Store::state).collect(),
            config_maps: self.config_maps.iter().flat_map(Store::state).collect(),
            routes: self.routes.state(),
            pools: self.pools.state(),
        }
    }

    /// Says which networks are served from now on and where DNS answers, so that what matters is seen at once.
    pub(crate) fn watch_for(&self, served: Option<Vec<IpNet>>, dns: Vec<IpAddr>) {
        if let Ok(mut interest) = self.interest.write() {
            interest.served = served;
            interest.dns = dns;
        }
    }

    /// How many objects of each kind are held, for the diagnostics page.
    pub(crate) fn sizes(&self) -> [(&'static str, usize); 4] {
        [
            ("nodes", self.nodes.len()),
            ("services", self.services.len()),
            ("endpointslices", self.slices.len()),
            ("pods", self.pods.len()),
        ]
    }
}

impl Interest {
    fn is_near(&self, namespace: Option<&str>) -> bool {
        self.namespaces
            .iter()
            .any(|near| Some(near.as_str()) == namespace)
    }

    /// A Service matters where DNS may be, and where it leads in from outside.
    fn concerns_service(&self, service: &Service) -> bool {
        let leads_in = service.spec.as_ref().is_some_and(|spec| {
            spec.external_ips
                .as_ref()
                .is_some_and(|addresses| !addresses.is_empty())
                || !matches!(spec.type_.as_deref(), None | Some("ClusterIP" | "ExternalName"))
        });
        leads_in || self.is_near(service.metadata.namespace.as_deref())
    }

    /// A slice matters where DNS may be, and where it holds the address of a DNS pod.
    fn concerns_slice(&self, slice: &EndpointSlice) -> bool {
        let mut addresses = slice.endpoints.iter().flat_map(|endpoint| &endpoint.addresses);
        self.is_near(slice.metadata.namespace.as_deref())
            || addresses.any(|text| {
                text.parse()
                    .is_ok_and(|address: IpAddr| self.dns.contains(&address))
            })
    }

    /// A pod matters where DNS may be, and where its address is outside what is served.
    fn concerns_pod(&self, pod: &Pod) -> bool {
        if self.is_near(pod.metadata.namespace.as_deref()) {
            return true;
        }
        let Some(served) = &self.served else { return false };
        let addresses = pod
            .status
            .iter()
            .flat_map(|status| status.pod_ips.iter().flatten());
        addresses
            .filter_map(|address| address.ip.parse::<IpAddr>().ok())
            .any(|address| !served.iter().any(|net| net.contains(&address)))
    }
}

/// Every object concerns us.
fn any<K>(_: &K) -> bool {
    true
}

/// The pod of that name.
pub(crate) fn pod<'a>(cluster: &'a Cluster, namespace: &str, name: &str) -> Option<&'a Arc<Pod>> {
    cluster.pods.iter().find(|pod| {
        pod.metadata.name.as_deref() == Some(name) && pod.metadata.namespace.as_deref() == Some(namespace)
    })
}

/// Starts watches that share one trigger.
struct Watch {
    trigger: mpsc::Sender<()>,
}

impl Watch {
    /// Keeps pruned copies of what `api` lists, and pulls the trigger where what is kept of an object that concerns us
    /// has changed.
    fn cache<K>(
        &self,
        api: Api<K>,
        name: Option<&str>,
        prune: fn(&mut K),
        concerns: impl Fn(&K) -> bool + Send + Sync + 'static,
    ) -> Store<K>
    where
        K: Resource<DynamicType = ()>
            + Clone
            + DeserializeOwned
            + Serialize
            + std::fmt::Debug
            + Send
            + Sync
            + 'static,
    {
        let (reader, writer) = reflector::store();
        // Small pages: whole objects are held for as long as a page takes to prune.
        let mut config = watcher::Config::default().page_size(100);
        if let Some(name) = name {
            config = config.fields(&format!("metadata.name={name}"));
        }
        let events = watcher(api, config)
            .default_backoff()
            .modify(prune)
            .reflect(writer);
        let changes = concerned(events, concerns);
        let trigger = self.trigger.clone();
        tokio::spawn(changes.for_each(move |()| {
            // A full channel means that a reconcile is due anyway.
            let _ = trigger.try_send(());
            future::ready(())
        }));
        reader
    }
}

/// The moments at which an object that concerns us came, changed in what we keep of it, or went.
fn concerned<K>(
    events: impl Stream<Item = Result<watcher::Event<K>, watcher::Error>> + Send,
    concerns: impl Fn(&K) -> bool + Send,
) -> impl Stream<Item = ()> + Send
where
    K: Resource<DynamicType = ()> + Serialize + Send,
{
    let mut seen = std::collections::HashMap::new();
    events.flat_map(move |event| {
        let pulls = match event {
            Ok(watcher::Event::Apply(object) | watcher::Event::InitApply(object)) => {
                let key = (object.namespace(), object.name_any());
                if concerns(&object) {
                    let print = fingerprint(&object);
                    seen.insert(key, print) != Some(print)
                } else {
                    seen.remove(&key).is_some()
                }
            }
            Ok(watcher::Event::Delete(object)) => seen.remove(&(object.namespace(), object.name_any())).is_some(),
            Ok(watcher::Event::InitDone) => true,
            Ok(watcher::Event::Init) => false,
            Err(error) => {
                tracing::warn!(kind = %K::kind(&()), error = &error as &dyn std::error::Error, "a watch was interrupted");
                false
            }
        };
        stream::iter(pulls.then_some(()))
    })
}

/// A hash of what is kept of an object, without the version that every write changes.
fn fingerprint<K: Resource<DynamicType = ()> + Serialize>(object: &K) -> u64 {
    let mut value = serde_json::to_value(object).unwrap_or_default();
    if let Some(metadata) = value
        .get_mut("metadata")
        .and_then(serde_json::Value::as_object_mut)
    {
        metadata.remove("resourceVersion");
        metadata.remove("managedFields");
    }
    let mut hasher = std::hash::DefaultHasher::new();
    value.to_string().hash(&mut hasher);
    hasher.finish()
}
