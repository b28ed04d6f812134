//! Events for what a user can act on.
//!
//! There is one recorder, because equal events are counted together only within one. Only who holds the lease tells,
//! so two replicas never tell the same thing twice; an Event that does not get through is logged and never an error.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{
    Client,
    runtime::events::{Event, EventType, Recorder, Reporter},
};
use tsutsumi_api::conditions::Reason;

use super::{logging::Chain, writer::Writer};

/// The longest note that the API server takes, in bytes.
const NOTE_LIMIT: usize = 1024;

/// Tells users what happened; clones share the recorder.
#[derive(Clone)]
pub(crate) struct Events(Recorder);

impl Events {
    /// A recorder that reports under the name of this pod.
    pub(crate) fn new(client: Client, pod: &str) -> Self {
        let reporter = Reporter {
            controller: "tsutsumi.dev/controller".to_owned(),
            instance: Some(pod.to_owned()),
        };
        Self(Recorder::new(client, reporter))
    }

    /// Tells what happened to `about`. `action` is what was done or not done, in one word, for example `RollBack`.
    pub(crate) async fn publish(
        &self,
        writer: &Writer,
        about: &ObjectReference,
        type_: EventType,
        reason: Reason,
        action: &str,
        note: &str,
    ) {
        let event = Event {
            type_,
            reason: reason.as_str().to_owned(),
            note: Some(shortened(note).to_owned()),
            action: action.to_owned(),
            secondary: None,
        };
        let name = about.name.as_deref().unwrap_or_default();
        if let Err(problem) = writer.event(name, self.0.publish(&event, about)).await {
            tracing::warn!(error = %Chain(&problem), reason = event.reason, "an Event was not published");
        }
    }
}

/// The longest beginning that fits, cut between characters.
fn shortened(note: &str) -> &str {
    let end = (0..=NOTE_LIMIT.min(note.len()))
        .rev()
        .find(|end| note.is_char_boundary(*end));
    &note[..end.unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_cut_between_characters() {
        let note = "堤".repeat(400);
        let cut = shortened(&note);
        assert_eq!(cut.len(), 1023);
        assert!(note.starts_with(cut));
        assert_eq!(shortened("short"), "short");
    }
}
