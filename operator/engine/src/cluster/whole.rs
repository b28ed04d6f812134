//! Objects of the kinds of which there are few: as they were pruned, by name.

use std::{collections::BTreeMap, sync::Arc};

use k8s_openapi::{Metadata, apimachinery::pkg::apis::meta::v1::ObjectMeta};

use super::{Index, Interest, Key};

/// All objects of a kind, every one of which matters.
#[derive(Clone, Debug)]
pub struct Whole<K>(BTreeMap<Key, Arc<K>>);

impl<K> Whole<K> {
    /// The objects, sorted by name.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<K>> {
        self.0.values().cloned().collect()
    }
}

impl<K> Default for Whole<K> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K> Index for Whole<K>
where
    K: Metadata<Ty = ObjectMeta> + Clone + PartialEq + Send + Sync + 'static,
{
    type Object = K;

    fn put(&mut self, object: K, _: &Interest) -> bool {
        let content = content(object.clone());
        let before = self.0.insert(Key::of(object.metadata()), Arc::new(object));
        before.is_none_or(|before| self::content(K::clone(&before)) != content)
    }

    fn remove(&mut self, object: &K, _: &Interest) -> bool {
        self.0.remove(&Key::of(object.metadata())).is_some()
    }

    fn len(&self) -> usize {
        self.0.len()
    }
}

/// The object without what every write changes.
fn content<K: Metadata<Ty = ObjectMeta>>(mut object: K) -> K {
    let meta = object.metadata_mut();
    meta.resource_version = None;
    meta.managed_fields = None;
    object
}
