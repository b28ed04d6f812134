//! Scrapes that come together share one question, so that however many ask, Unbound is asked by one at a time.

use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::metrics::{counter::Counter, family::Family};
use tokio::sync::watch;
use tsutsumi_providers::unbound::stats::reading::Reading;

use crate::{
    metrics::OutcomeLabel,
    socket::{AskError, SocketPath, ask},
};

/// What came of a question; clones are the same.
pub(crate) type Answer = Result<Arc<Reading>, Silence>;

/// There are no numbers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Silence;

/// Who asks.
#[derive(Debug)]
pub(crate) struct Asker {
    socket: SocketPath,
    /// Every question that ended, by how.
    pub(crate) questions: Family<OutcomeLabel, Counter>,
    under_way: Mutex<watch::Receiver<Option<Answer>>>,
    /// Whether the last question had an answer, so that a change is logged, not every scrape.
    answered: Mutex<Option<bool>>,
}

impl Asker {
    pub(crate) fn new(socket: SocketPath) -> Self {
        let questions = Family::default();
        // All are there from the start: a counter that appears with its first 1 has no increase to see.
        for outcome in OutcomeLabel::ALL {
            drop(questions.get_or_create(&outcome));
        }
        Self {
            socket,
            questions,
            // Its sender is gone, so nothing is under way.
            under_way: Mutex::new(watch::channel(None).1),
            answered: Mutex::default(),
        }
    }

    /// The answer to the question under way, or to a new one.
    pub(crate) async fn ask(self: &Arc<Self>) -> Answer {
        let mut answer = self.join();
        // An error means that the task which asks is gone without a word.
        match answer.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(answer)) => answer.clone(),
            Ok(None) | Err(_) => Err(Silence),
        }
    }

    fn join(self: &Arc<Self>) -> watch::Receiver<Option<Answer>> {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        let waits = under_way.borrow().is_none() && under_way.has_changed().is_ok();
        if !waits {
            let (tell, told) = watch::channel(None);
            let asker = Arc::clone(self);
            // A task of its own: a scraper that goes away takes the answer from nobody else.
            tokio::spawn(async move {
                tell.send_replace(Some(asker.question().await));
            });
            *under_way = told;
        }
        under_way.clone()
    }

    async fn question(&self) -> Answer {
        let result = ask(&self.socket).await;
        self.questions.get_or_create(&OutcomeLabel::of(&result)).inc();
        self.tell_change(result.as_ref().err());
        match result {
            Ok(stats) => Ok(Arc::new(Reading::new(&stats))),
            Err(_) => Err(Silence),
        }
    }

    fn tell_change(&self, problem: Option<&AskError>) {
        let mut answered = self.answered.lock().unwrap_or_else(PoisonError::into_inner);
        let former = answered.replace(problem.is_none());
        match problem {
            Some(error) if former != Some(false) => {
                let error: &(dyn std::error::Error + 'static) = error;
                tracing::warn!(error, "no numbers from Unbound");
            }
            None if former != Some(true) => {
                tracing::info!(socket = %self.socket, "Unbound tells its numbers");
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{UnixListener, UnixStream},
    };

    use super::*;

    struct Unbound {
        listener: UnixListener,
        asker: Arc<Asker>,
        _folder: tempfile::TempDir,
    }

    fn unbound() -> Unbound {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        Unbound {
            listener: UnixListener::bind(&path).unwrap(),
            asker: Arc::new(Asker::new(path.to_str().unwrap().parse().unwrap())),
            _folder: folder,
        }
    }

    impl Unbound {
        async fn asked(&self) -> UnixStream {
            let (mut stream, _) = self.listener.accept().await.unwrap();
            stream.read_exact(&mut [0; 20]).await.unwrap();
            stream
        }

        fn count(&self, outcome: &'static str) -> u64 {
            self.asker
                .questions
                .get_or_create(&OutcomeLabel { outcome })
                .get()
        }
    }

    async fn reply(mut stream: UnixStream, text: &str) {
        stream.write_all(text.as_bytes()).await.unwrap();
    }

    #[tokio::test]
    async fn scrapes_that_come_together_are_one_question() {
        let unbound = unbound();
        // Polled once each before Unbound answers.
        let (mut first, mut second) = (Box::pin(unbound.asker.ask()), Box::pin(unbound.asker.ask()));
        let stream = tokio::select! {
            biased;
            _ = &mut first => panic!("nobody has answered"),
            _ = &mut second => panic!("nobody has answered"),
            stream = unbound.asked() => stream,
        };
        reply(stream, "total.num.queries=1\n").await;
        let (first, second) = tokio::join!(first, second);
        assert!(Arc::ptr_eq(&first.unwrap(), &second.unwrap()));
        assert_eq!(unbound.count("ok"), 1);
    }

    #[tokio::test]
    async fn a_later_scrape_is_a_new_question_and_an_old_answer_is_never_repeated() {
        let unbound = unbound();
        let talk = async {
            reply(unbound.asked().await, "total.num.queries=1\n").await;
            reply(unbound.asked().await, "nonsense\n").await;
            std::future::pending::<()>().await;
        };
        // Ends with the scrapes, whether they have asked or not.
        let (first, second) = tokio::select! {
            answers = async { (unbound.asker.ask().await, unbound.asker.ask().await) } => answers,
            () = talk => unreachable!("it waits for ever"),
        };
        assert!(first.is_ok());
        assert_eq!(second, Err(Silence));
        assert_eq!((unbound.count("ok"), unbound.count("unreadable")), (1, 1));
    }

    #[tokio::test]
    async fn a_scraper_that_goes_away_leaves_the_others_their_answer() {
        let unbound = unbound();
        let (mut first, mut second) = (Box::pin(unbound.asker.ask()), Box::pin(unbound.asker.ask()));
        let stream = tokio::select! {
            biased;
            _ = &mut first => panic!("nobody has answered"),
            _ = &mut second => panic!("nobody has answered"),
            stream = unbound.asked() => stream,
        };
        drop(first);
        reply(stream, "total.num.queries=1\n").await;
        assert!(second.await.is_ok());
        assert_eq!(unbound.count("ok"), 1);
    }

    #[tokio::test]
    async fn a_closed_socket_is_counted_by_its_reason() {
        let Unbound {
            listener,
            asker,
            _folder,
        } = unbound();
        drop(listener);
        assert_eq!(asker.ask().await, Err(Silence));
        assert_eq!(
            asker
                .questions
                .get_or_create(&OutcomeLabel { outcome: "connect" })
                .get(),
            1
        );
    }
}
