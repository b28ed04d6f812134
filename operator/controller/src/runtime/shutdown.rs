//! One wish to stop, heard by everybody.
//!
//! The first SIGTERM or SIGINT asks every part to finish what it does and return; who holds a [`Shutdown`] can wait
//! for that moment any number of times, also after it has passed.

use std::io;

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

/// Hears the wish to stop.
#[derive(Clone, Debug)]
pub(crate) struct Shutdown(watch::Receiver<bool>);

/// Utters the wish to stop; dropping it utters it too.
#[derive(Debug)]
pub(crate) struct Trigger(watch::Sender<bool>);

impl Shutdown {
    /// A trigger and what hears it.
    pub(crate) fn pair() -> (Trigger, Self) {
        let (sender, receiver) = watch::channel(false);
        (Trigger(sender), Self(receiver))
    }

    /// Triggered by SIGTERM and SIGINT. Needs a runtime.
    pub(crate) fn on_signal() -> io::Result<Self> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let (trigger, shutdown) = Self::pair();
        tokio::spawn(async move {
            let name = tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            };
            tracing::info!(signal = name, "stopping");
            trigger.fire();
        });
        Ok(shutdown)
    }

    /// Returns once the wish was uttered, at once if it was before.
    pub(crate) async fn requested(&self) {
        // An error means that the trigger is gone, which asks for the same.
        let _ = self.0.clone().wait_for(|wished| *wished).await;
    }

    /// Whether the wish was uttered.
    pub(crate) fn is_requested(&self) -> bool {
        *self.0.borrow() || self.0.has_changed().is_err()
    }
}

impl Trigger {
    /// Asks everybody to stop.
    pub(crate) fn fire(&self) {
        self.0.send_replace(true);
    }
}

#[cfg(test)]
mod tests {
    use super::Shutdown;

    #[tokio::test]
    async fn whoever_comes_late_still_hears_it() {
        let (trigger, shutdown) = Shutdown::pair();
        assert!(!shutdown.is_requested());
        trigger.fire();
        shutdown.requested().await;
        shutdown.clone().requested().await;
        assert!(shutdown.is_requested());
    }

    #[tokio::test]
    async fn a_lost_trigger_is_a_wish_to_stop() {
        let (trigger, shutdown) = Shutdown::pair();
        drop(trigger);
        shutdown.requested().await;
        assert!(shutdown.is_requested());
    }
}
