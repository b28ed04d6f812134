//! What can go wrong with a call, and with which.

use hyper::body::Bytes;
use tokio::sync::watch;

use super::{
    call::{Call, Verb},
    stream::Spoiling,
};

/// What goes wrong.
#[derive(Clone, Debug)]
pub enum Fault {
    /// The API server does it; its answer is lost with the connection.
    LoseReply,
    /// The API server does it; nothing is heard of it any more.
    Silence,
    /// Nothing is done, and this status answers.
    Answer(u16),
    /// Nothing is done, and nobody answers.
    Hang,
    /// It is done; the answer ends in its middle, with the connection.
    Reset,
    /// It is done; the answer lacks its second half and looks whole.
    Truncate,
    /// Nothing is done, and what was true before is told as if it were now.
    Replay(Bytes),
    /// It is done once the gate is open.
    Hold(Gate),
    /// The events of a watch come wrongly.
    Spoil(Spoiling),
}

impl Fault {
    /// Every error of a single call.
    pub const ERRORS: [Self; 9] = [
        Self::Answer(409),
        Self::Answer(422),
        Self::Answer(429),
        Self::Answer(500),
        Self::Answer(503),
        Self::Answer(410),
        Self::Reset,
        Self::Truncate,
        Self::Hang,
    ];
}

/// Opens once.
#[derive(Clone, Debug)]
pub struct Gate(watch::Sender<bool>);

impl Default for Gate {
    fn default() -> Self {
        Self(watch::Sender::new(false))
    }
}

impl Gate {
    /// Lets everything pass, from now on.
    pub fn open(&self) {
        self.0.send_replace(true);
    }

    /// Waits until it is open.
    pub async fn passed(&self) {
        // The sender lives as long as this value, so the wait cannot fail.
        let _ = self.0.subscribe().wait_for(|open| *open).await;
    }
}

/// With which calls it goes wrong.
#[derive(Clone, Debug)]
pub struct Rule {
    pub(super) verb: Verb,
    pub(super) what: String,
    pub(super) name: Option<String>,
    /// The number of the call among those like it, from 1; none for each.
    pub(super) nth: Option<usize>,
    pub(super) fault: Fault,
    /// How often it may still happen.
    pub(super) times: usize,
}

impl Rule {
    /// The `nth` such call, from 1.
    #[must_use]
    pub fn at(call: &Call, nth: usize, fault: Fault) -> Self {
        Self {
            verb: call.verb,
            what: call.what.clone(),
            name: Some(call.name.clone()),
            nth: Some(nth),
            fault,
            times: 1,
        }
    }

    /// Every call of this kind.
    #[must_use]
    pub fn each(verb: Verb, what: &str, fault: Fault) -> Self {
        Self {
            verb,
            what: what.to_owned(),
            name: None,
            nth: None,
            fault,
            times: usize::MAX,
        }
    }

    /// Only with the object of this namespace and name.
    #[must_use]
    pub fn of(self, name: &str) -> Self {
        Self {
            name: Some(name.to_owned()),
            ..self
        }
    }

    /// Only the first so many times.
    #[must_use]
    pub fn times(self, times: usize) -> Self {
        Self { times, ..self }
    }

    /// Whether it speaks of this call, which is the `nth` of its like.
    pub(super) fn concerns(&self, call: &Call, nth: usize) -> bool {
        self.times > 0
            && self.verb == call.verb
            && self.what == call.what
            && self.name.as_ref().is_none_or(|name| *name == call.name)
            && self.nth.is_none_or(|wanted| wanted == nth)
    }
}
