//! Watches of kinds that not every cluster has.
//!
//! What the cluster has is asked once, at the start: a controller that starts before a kind is installed sees its
//! objects after its next start. Each object is read at once to the little that is kept of it, and only a change of
//! that pulls the trigger. A kind that may not be read is told once and counts as empty; what was seen stays.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use futures::StreamExt;
use kube::{
    Api, Client, ResourceExt,
    core::DynamicObject,
    discovery::{self, ApiResource},
    error::DiscoveryError,
    runtime::{WatchStreamExt, watcher},
};
use tokio::sync::{mpsc, watch};

use crate::runtime::logging::Chain;

/// Namespace and name.
type Key = (Option<String>, String);

/// What is kept of all objects of such kinds.
#[derive(Clone)]
pub(super) struct Optional<T> {
    kinds: Vec<Kept<T>>,
    /// Whether it could not be told if the cluster has a kind.
    unknown: bool,
}

impl<T> Default for Optional<T> {
    fn default() -> Self {
        Self {
            kinds: Vec::new(),
            unknown: false,
        }
    }
}

impl<T: Clone + PartialEq + Send + 'static> Optional<T> {
    /// Watches the kind too, if the cluster has it.
    pub(super) async fn watch(
        &mut self,
        client: &Client,
        (group, kind): (&str, &str),
        read: impl Fn(&DynamicObject) -> T + Send + 'static,
        trigger: &mpsc::Sender<()>,
    ) {
        let resource = match find(client, group, kind).await {
            Ok(Some(resource)) => resource,
            Ok(None) => return,
            Err(error) => {
                tracing::warn!(group, kind, error = %Chain(&error), "cannot tell whether the cluster has this kind");
                self.unknown = true;
                return;
            }
        };
        let (first, synced) = watch::channel(false);
        let objects = Arc::new(Mutex::default());
        let hidden = Arc::new(AtomicBool::new(false));
        let mut keeper = Keeper {
            kind: kind.to_owned(),
            read,
            objects: Arc::clone(&objects),
            listed: BTreeMap::new(),
            first,
            told: Arc::clone(&hidden),
        };
        let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
        let events = watcher(api, watcher::Config::default().page_size(100)).default_backoff();
        let trigger = trigger.clone();
        tokio::spawn(events.for_each(move |event| {
            if keeper.follow(event) {
                // A full channel means that a reconcile is due anyway.
                let _ = trigger.try_send(());
            }
            std::future::ready(())
        }));
        self.kinds.push(Kept {
            objects,
            synced,
            hidden,
        });
    }

    /// Waits until every kind was listed once, or was seen to be out of reach.
    pub(super) async fn synced(&self) {
        for kept in &self.kinds {
            let _ = kept.synced.clone().wait_for(|synced| *synced).await;
        }
    }

    /// What is kept now.
    pub(super) fn state(&self) -> Vec<T> {
        let of_kind = |kept: &Kept<T>| lock(&kept.objects).values().cloned().collect::<Vec<_>>();
        self.kinds.iter().flat_map(of_kind).collect()
    }

    /// What is kept now; none where a kind may not be read, or may be there unseen.
    pub(super) fn whole(&self) -> Option<Vec<T>> {
        let hidden = |kept: &Kept<T>| kept.hidden.load(Ordering::Relaxed);
        (!self.unknown && !self.kinds.iter().any(hidden)).then(|| self.state())
    }
}

/// What is kept of one kind.
#[derive(Clone)]
struct Kept<T> {
    objects: Arc<Mutex<BTreeMap<Key, T>>>,
    synced: watch::Receiver<bool>,
    /// Whether it may not be read.
    hidden: Arc<AtomicBool>,
}

/// Follows the watch of one kind.
struct Keeper<T, R> {
    kind: String,
    read: R,
    objects: Arc<Mutex<BTreeMap<Key, T>>>,
    /// What came of a list that has not ended yet.
    listed: BTreeMap<Key, T>,
    first: watch::Sender<bool>,
    /// Whether it was told that the kind may not be read.
    told: Arc<AtomicBool>,
}

impl<T: PartialEq, R: Fn(&DynamicObject) -> T> Keeper<T, R> {
    /// Takes what came, and says whether what is kept has changed.
    fn follow(&mut self, event: watcher::Result<watcher::Event<DynamicObject>>) -> bool {
        match event {
            Ok(watcher::Event::Init) => {
                self.listed.clear();
                false
            }
            Ok(watcher::Event::InitApply(object)) => {
                self.listed.insert(key(&object), (self.read)(&object));
                false
            }
            Ok(watcher::Event::InitDone) => {
                let listed = std::mem::take(&mut self.listed);
                let mut objects = lock(&self.objects);
                let changed = *objects != listed;
                *objects = listed;
                self.told.store(false, Ordering::Relaxed);
                self.first.send_replace(true);
                changed
            }
            Ok(watcher::Event::Apply(object)) => {
                let read = (self.read)(&object);
                let mut objects = lock(&self.objects);
                let changed = objects.get(&key(&object)) != Some(&read);
                objects.insert(key(&object), read);
                changed
            }
            Ok(watcher::Event::Delete(object)) => lock(&self.objects).remove(&key(&object)).is_some(),
            Err(error) => {
                self.tell(&error);
                false
            }
        }
    }

    fn tell(&mut self, error: &watcher::Error) {
        let kind = self.kind.as_str();
        if !is_forbidden(error) {
            tracing::warn!(kind, error = %Chain(error), "a watch was interrupted");
        } else if !self.told.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                kind,
                error = %Chain(error),
                "the cluster has this kind and we may not read it; the chart's `discovery` and `waysAround` give the right"
            );
        }
        if is_forbidden(error) {
            self.first.send_replace(true);
        }
    }
}

/// The most stable version of the kind, if the cluster has any.
async fn find(client: &Client, group: &str, kind: &str) -> Result<Option<ApiResource>, kube::Error> {
    match discovery::group(client, group).await {
        Ok(group) => {
            let resources = group.resources_by_stability().into_iter();
            Ok(resources
                .map(|(resource, _)| resource)
                .find(|resource| resource.kind == kind))
        }
        Err(kube::Error::Discovery(DiscoveryError::MissingApiGroup(_))) => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_forbidden(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchError(status) => status.is_forbidden(),
        _ => false,
    }
}

fn key(object: &DynamicObject) -> Key {
    (object.namespace(), object.name_any())
}

fn lock<T>(objects: &Mutex<T>) -> MutexGuard<'_, T> {
    objects.lock().unwrap_or_else(PoisonError::into_inner)
}
