//! The live state of every part, for the person who looks at `/debug/state`.
//!
//! Parts put in what they are willing to show, whole and as a copy; nothing here reaches back into them. Keep secrets
//! out: what is put in can be read by whoever may forward a port to the pod.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde::Serialize;
use serde_json::Value;

type Parts = BTreeMap<&'static str, BTreeMap<String, Value>>;

/// Takes what the parts show; clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Diagnostics(Arc<Mutex<Parts>>);

impl Diagnostics {
    /// Shows `state` under `part` and `key`, in place of what stood there.
    pub(crate) fn put(&self, part: &'static str, key: &str, state: &impl Serialize) {
        let value = serde_json::to_value(state).unwrap_or_else(|problem| Value::String(problem.to_string()));
        self.lock().entry(part).or_default().insert(key.to_owned(), value);
    }

    /// No longer shows anything under `part` and `key`.
    pub(crate) fn remove(&self, part: &'static str, key: &str) {
        if let Some(states) = self.lock().get_mut(part) {
            states.remove(key);
        }
    }

    /// Everything, as it stands.
    pub(crate) fn snapshot(&self) -> Value {
        serde_json::json!(*self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Parts> {
        // A panic while the lock was held leaves a whole map behind: every change is a single insertion.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::Diagnostics;

    #[test]
    fn the_last_word_stands() {
        let diagnostics = Diagnostics::default();
        diagnostics.put("caches", "Node", &1);
        diagnostics.put("caches", "Node", &2);
        diagnostics.put("caches", "Pod", &3);
        diagnostics.remove("caches", "Pod");
        assert_eq!(diagnostics.snapshot(), json!({"caches": {"Node": 2}}));
    }
}
