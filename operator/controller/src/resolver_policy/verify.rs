//! Live verification beside the reconciler, on the leader only: one task per policy asks a round of questions when its
//! interval is over or something that matters has changed, and feeds the results back by a trigger.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{sync::watch, task::JoinHandle, time::Instant};

use super::{
    refusals::Refusals,
    request::Request,
    round::{Examiner, Round},
};

/// Runs the rounds; clones share the results.
#[derive(Clone)]
pub(super) struct Verifier {
    examiner: Examiner,
    trigger: tokio::sync::mpsc::Sender<()>,
    /// One round at a time: each has its rate, and two would have twice of it.
    turn: Arc<tokio::sync::Mutex<()>>,
    tasks: Arc<Mutex<HashMap<String, Task>>>,
}

struct Task {
    request: watch::Sender<Request>,
    newest: Arc<Mutex<Option<Round>>>,
    handle: JoinHandle<()>,
}

/// Changes that come in bursts, such as pods that restart one by one, share a round.
const SETTLING: Duration = Duration::from_secs(1);
/// The shortest time between two rounds about the same.
const SOON: Duration = Duration::from_secs(10);

/// How long to wait for the next round about something that has been so for `age`.
///
/// Pods load a text when kubelet and `reload` come to it, up to two minutes after it was written, so a round right after
/// a change may still see what was before. Each pause is about as long as all that went before, up to the interval.
fn pause(age: Duration, interval: Duration) -> Duration {
    age.max(SOON).min(interval)
}

impl Verifier {
    pub(super) fn new(examiner: Examiner, trigger: tokio::sync::mpsc::Sender<()>) -> Self {
        Self {
            examiner,
            trigger,
            turn: Arc::default(),
            tasks: Arc::default(),
        }
    }

    /// Sees to it that the request is verified, and hands out the newest round.
    pub(super) fn newest(&self, request: Option<&Request>) -> Option<Round> {
        let request = request?;
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        let task = tasks
            .entry(request.policy.clone())
            .or_insert_with(|| self.spawn(request.clone()));
        task.request.send_if_modified(|known| {
            let changed = known != request;
            if changed {
                known.clone_from(request);
            }
            changed
        });
        let mut round = task
            .newest
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()?;
        round.verified.of_this_change = round.epoch == request.epoch;
        Some(round)
    }

    /// Ends the rounds of a policy.
    pub(super) fn stop(&self, policy: &str) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(task) = tasks.remove(policy) {
            task.handle.abort();
        }
    }

    /// Ends all rounds: the lease is lost.
    pub(super) fn stop_all(&self) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.drain().for_each(|(_, task)| task.handle.abort());
    }

    fn spawn(&self, request: Request) -> Task {
        let (sender, receiver) = watch::channel(request);
        let newest = Arc::default();
        let handle = tokio::spawn(self.clone().rounds(receiver, Arc::clone(&newest)));
        Task {
            request: sender,
            newest,
            handle,
        }
    }

    async fn rounds(self, mut wanted: watch::Receiver<Request>, newest: Arc<Mutex<Option<Round>>>) {
        let mut refusals = Refusals::default();
        let mut since = Instant::now();
        loop {
            let request = wanted.borrow_and_update().clone();
            let begun = Instant::now();
            let turn = self.turn.lock().await;
            let round = self.examiner.examine(&request, &mut refusals).await;
            drop(turn);
            if let Some(round) = round {
                *newest.lock().unwrap_or_else(PoisonError::into_inner) = Some(round);
                // A full channel means that a reconcile is due anyway.
                let _ = self.trigger.try_send(());
            }
            tokio::select! {
                () = tokio::time::sleep_until(begun + pause(begun - since, request.interval)) => {}
                changed = wanted.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    // Who only asks once more has changed nothing.
                    if !wanted.borrow().is_about_the_same(&request) {
                        tokio::time::sleep(SETTLING).await;
                        since = Instant::now();
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_just_changed_is_asked_again_soon_and_then_ever_more_rarely() {
        let interval = Duration::from_mins(5);
        let mut age = Duration::ZERO;
        let mut pauses = Vec::new();
        for _ in 0..8 {
            let next = pause(age, interval);
            pauses.push(next.as_secs());
            age += next;
        }
        assert_eq!(pauses, [10, 10, 20, 40, 80, 160, 300, 300]);
        assert_eq!(
            pause(Duration::ZERO, Duration::from_secs(5)),
            Duration::from_secs(5)
        );
    }
}
