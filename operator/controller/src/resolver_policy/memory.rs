//! What the leader keeps between two reconciles of one policy, so that its own writes need not come back by watch first.
//!
//! Everything here can be lost: the record comes back from our ConfigMap, the rollout from the status.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Mutex, MutexGuard, PoisonError},
};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use tsutsumi_api::{ResolverPolicy, ResolverPolicyStatus, resolver_policy::Rollout};
use tsutsumi_engine::resolver::Record;

use super::error::Error;

/// What is kept of one policy.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memory {
    /// Which directives are ours, and the texts.
    pub(crate) record: Record,
    /// How far the change has come.
    pub(crate) rollout: Option<Rollout>,
    /// The status as it was said last.
    pub(crate) status: Option<ResolverPolicyStatus>,
    /// The evidence as it stands in our ConfigMap.
    pub(crate) evidence: Option<BTreeMap<String, String>>,
    /// The round whose evidence is kept.
    pub(crate) evidence_of: Option<jiff::Timestamp>,
    /// Per pod, the rounds in a row without an answer.
    pub(crate) misses: BTreeMap<String, u32>,
}

/// The memories of all policies, by name.
#[derive(Debug, Default)]
pub(crate) struct Memories(Mutex<HashMap<String, Memory>>);

impl Memories {
    /// The memory of a policy: as kept, else read from our ConfigMap and from the status.
    pub(crate) async fn load(&self, policy: &ResolverPolicy, own: &Api<ConfigMap>) -> Result<Memory, Error> {
        let name = policy.metadata.name.clone().unwrap_or_default();
        if let Some(kept) = self.all().get(&name) {
            return Ok(kept.clone());
        }
        let kept = own
            .get_opt(&Record::name(&name))
            .await
            .map_err(|source| Error::Load {
                source: source.into(),
            })?;
        let data = kept.and_then(|config_map| config_map.data).unwrap_or_default();
        let record = Record::parse(&data).map_err(|source| Error::Load {
            source: source.into(),
        })?;
        let rollout = policy.status.as_ref().and_then(|status| status.rollout.clone());
        Ok(Memory {
            record,
            rollout,
            ..Memory::default()
        })
    }

    /// Keeps a memory until the next reconcile.
    pub(crate) fn keep(&self, policy: &str, memory: Memory) {
        self.all().insert(policy.to_owned(), memory);
    }

    /// Forgets a policy: it is gone, or a write failed and the cluster knows better.
    pub(crate) fn forget(&self, policy: &str) {
        self.all().remove(policy);
    }

    /// Forgets everything: another replica may have written since.
    pub(crate) fn clear(&self) {
        self.all().clear();
    }

    fn all(&self) -> MutexGuard<'_, HashMap<String, Memory>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
