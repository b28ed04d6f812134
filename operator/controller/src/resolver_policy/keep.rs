//! A watch and what it keeps, in an index that says which changes are worth a reconcile.
//!
//! What was known stays until a new list is complete: a watch that is late or cut off takes nothing away, and one that
//! starts anew takes away what is gone.

use std::{
    fmt::Debug,
    sync::{Arc, PoisonError, RwLock},
};

use futures::StreamExt;
use kube::{
    Api, Resource,
    runtime::{
        WatchStreamExt,
        watcher::{self, Event},
    },
};
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, watch};
use tsutsumi_engine::cluster::{Index, Interest};

use crate::runtime::logging::Chain;

/// Objects on one page of a list: a page is held until it is read.
const PAGE: u32 = 100;

/// What a watch keeps.
#[derive(Clone)]
pub(super) struct Kept<I> {
    state: Arc<RwLock<Arc<I>>>,
    listed: watch::Receiver<bool>,
}

impl<I: Index> Kept<I> {
    /// Everything as it is now. While it is held, the next change has to copy it.
    pub(super) fn state(&self) -> Arc<I> {
        Arc::clone(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits for the end of the first list.
    pub(super) async fn synced(&self) {
        let _ = self.listed.clone().wait_for(|listed| *listed).await;
    }
}

/// Starts watches that share an interest and a trigger.
pub(super) struct Watches {
    /// Which changes matter.
    pub(super) interest: Arc<RwLock<Interest>>,
    /// Pulled by those.
    pub(super) trigger: mpsc::Sender<()>,
}

impl Watches {
    /// Keeps what `api` lists, or of that the object of a name, after `prune`.
    pub(super) fn keep<I, K>(&self, api: Api<K>, name: Option<&str>, prune: fn(&mut K)) -> Kept<I>
    where
        I: Index<Object = K>,
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
    {
        // Pages rather than a streamed list: kube does not fall back where an API server has no such lists.
        let mut config = watcher::Config::default().page_size(PAGE);
        if let Some(name) = name {
            config = config.fields(&format!("metadata.name={name}"));
        }
        let (listed, is_listed) = watch::channel(false);
        let kept = Kept {
            state: Arc::default(),
            listed: is_listed,
        };
        let mut keeper = Keeper {
            state: Arc::clone(&kept.state),
            listing: I::default(),
            listed,
            interest: Arc::clone(&self.interest),
        };
        let trigger = self.trigger.clone();
        let mut events = watcher::watcher(api, config)
            .default_backoff()
            .modify(prune)
            .boxed();
        tokio::spawn(async move {
            while let Some(event) = events.next().await {
                match event.map(|event| keeper.apply(event)) {
                    // A full channel means that a reconcile is due anyway.
                    Ok(true) => drop(trigger.try_send(())),
                    Ok(false) => {}
                    Err(error) => {
                        tracing::warn!(kind = %K::kind(&()), error = %Chain(&error), "a watch was interrupted");
                    }
                }
            }
        });
        kept
    }
}

/// The writing end.
struct Keeper<I> {
    state: Arc<RwLock<Arc<I>>>,
    /// A list on its way.
    listing: I,
    listed: watch::Sender<bool>,
    interest: Arc<RwLock<Interest>>,
}

impl<I: Index> Keeper<I> {
    /// Says whether it may change a decision.
    fn apply(&mut self, event: Event<I::Object>) -> bool {
        let interest = self.interest.read().unwrap_or_else(PoisonError::into_inner);
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Init => {
                self.listing = I::default();
                false
            }
            Event::InitApply(object) => {
                self.listing.put(object, &interest);
                false
            }
            Event::InitDone => {
                *state = Arc::new(std::mem::take(&mut self.listing));
                self.listed.send_replace(true);
                true
            }
            Event::Apply(object) => Arc::make_mut(&mut state).put(object, &interest),
            Event::Delete(object) => Arc::make_mut(&mut state).remove(&object, &interest),
        }
    }
}

#[cfg(test)]
#[path = "keep_tests.rs"]
mod tests;
