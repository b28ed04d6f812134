//! A batch of probes: bounded in number and time, answered in the order asked.
//!
//! A probe that the batch's end cut short comes back as [`Failure::Unfinished`], never as silence: silence is evidence,
//! and nothing is claimed untested.

use std::{collections::HashSet, sync::Arc, time::Duration};

use tokio::{
    task::JoinSet,
    time::{Instant, timeout_at},
};
use tsutsumi_model::{Ask, Endpoint, Failure, Observation, Probe, Saw, Series, Vantage};

use crate::{
    dns,
    egress::{Egress, Pass},
    metrics, series,
};

/// The most probes of one batch.
pub const MAX_PROBES: usize = 4096;
/// The most metrics pages of one batch; each may be 1 MiB.
pub const MAX_METRICS: usize = 64;
/// The most series of one batch.
pub const MAX_SERIES: usize = 8;
/// How long one batch may take, as a whole.
pub const BATCH_DEADLINE: Duration = Duration::from_secs(60);

/// Probes that may run together.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch(Vec<Probe>);

impl Batch {
    /// The probes.
    #[must_use]
    pub fn probes(&self) -> &[Probe] {
        &self.0
    }
}

impl TryFrom<Vec<Probe>> for Batch {
    type Error = BatchError;

    fn try_from(probes: Vec<Probe>) -> Result<Self, BatchError> {
        if probes.len() > MAX_PROBES {
            return Err(BatchError::TooManyProbes { count: probes.len() });
        }
        let count = |wanted: fn(&Ask) -> bool| probes.iter().filter(|probe| wanted(&probe.ask)).count();
        let metrics = count(|ask| matches!(ask, Ask::Metrics(_)));
        if metrics > MAX_METRICS {
            return Err(BatchError::TooManyMetrics { count: metrics });
        }
        let series = count(|ask| matches!(ask, Ask::Series(_)));
        if series > MAX_SERIES {
            return Err(BatchError::TooManySeries { count: series });
        }
        let longest = probes.iter().find_map(|probe| match &probe.ask {
            Ask::Series(series) if series.names.len() > Series::LONGEST => {
                Some((probe.id, series.names.len()))
            }
            _ => None,
        });
        if let Some((id, count)) = longest {
            return Err(BatchError::TooLong { id, count });
        }
        let mut ids = HashSet::with_capacity(probes.len());
        match probes.iter().find(|probe| !ids.insert(probe.id)) {
            Some(twice) => Err(BatchError::SameId { id: twice.id }),
            None => Ok(Self(probes)),
        }
    }
}

/// Probes that may not run together.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum BatchError {
    /// Two probes with one id.
    #[error("probe id {id} occurs twice; every probe of a batch needs its own")]
    SameId {
        /// The id.
        id: u32,
    },
    /// Too many metrics pages.
    #[error("a batch holds {count} metrics probes; {MAX_METRICS} are the most, so send several batches")]
    TooManyMetrics {
        /// How many there are.
        count: usize,
    },
    /// A series with too many questions.
    #[error(
        "the series with id {id} holds {count} questions; {} are the most",
        Series::LONGEST
    )]
    TooLong {
        /// The id.
        id: u32,
        /// How many there are.
        count: usize,
    },
    /// Too many series.
    #[error("a batch holds {count} series; {MAX_SERIES} are the most, so send several batches")]
    TooManySeries {
        /// How many there are.
        count: usize,
    },
    /// Too many probes.
    #[error("a batch holds {count} probes; {MAX_PROBES} are the most, so send several batches")]
    TooManyProbes {
        /// How many there are.
        count: usize,
    },
}

/// Runs the batch through the guard. One observation for each probe, in the order of the batch.
///
/// Dropping the future ends the probes that are under way.
pub async fn run(batch: Batch, vantage: Vantage, egress: &Arc<Egress>) -> Vec<Observation> {
    run_until(batch, vantage, egress, Instant::now() + BATCH_DEADLINE).await
}

async fn run_until(batch: Batch, vantage: Vantage, egress: &Arc<Egress>, end: Instant) -> Vec<Observation> {
    let mut tasks = JoinSet::new();
    for (index, probe) in batch.0.iter().cloned().enumerate() {
        let egress = Arc::clone(egress);
        tasks.spawn(async move { (index, one(&probe.ask, &egress).await) });
    }
    let mut seen: Vec<Option<(Saw, u32)>> = vec![None; batch.0.len()];
    while let Ok(Some(ended)) = timeout_at(end, tasks.join_next()).await {
        match ended {
            Ok((index, saw)) => seen[index] = Some(saw),
            Err(error) => tracing::error!(%error, "a probe ended without an observation"),
        }
    }
    let unfinished = tasks.len();
    if unfinished > 0 {
        tracing::warn!(unfinished, of = batch.0.len(), "the batch ran out of time");
    }
    batch
        .0
        .into_iter()
        .zip(seen)
        .map(|(probe, seen)| {
            let (saw, millis) = seen.unwrap_or((Saw::Nothing(Failure::Unfinished), 0));
            Observation {
                probe,
                vantage,
                saw,
                millis,
            }
        })
        .collect()
}

/// What was seen, and how long it took, in milliseconds, once the probe had been let out.
async fn one(ask: &Ask, egress: &Egress) -> (Saw, u32) {
    match ask {
        Ask::Dns(question) => {
            let asked = async |pass: Pass<'_>| dns::ask(question, &pass).await.map(Saw::Answer);
            let_out(question.server, egress, asked).await
        }
        Ask::Root(question) => {
            let asked = async |pass: Pass<'_>| dns::ask_root(question, &pass).await.map(Saw::Root);
            let_out(question.server, egress, asked).await
        }
        Ask::Metrics(endpoint) => {
            let asked = async |pass: Pass<'_>| metrics::fetch(*endpoint, &pass).await.map(Saw::Metrics);
            let_out(*endpoint, egress, asked).await
        }
        Ask::Series(wanted) => {
            let start = Instant::now();
            let tally = series::ask(wanted, egress).await;
            (Saw::Series(tally), millis(start))
        }
    }
}

async fn let_out(
    target: Endpoint,
    egress: &Egress,
    ask: impl AsyncFnOnce(Pass<'_>) -> Result<Saw, Failure>,
) -> (Saw, u32) {
    let Ok(pass) = egress.admit(target).await else {
        return (Saw::Nothing(Failure::NotPermitted), 0);
    };
    let start = Instant::now();
    let saw = ask(pass).await;
    (saw.unwrap_or_else(Saw::Nothing), millis(start))
}

fn millis(start: Instant) -> u32 {
    u32::try_from(start.elapsed().as_millis()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use tsutsumi_model::{Endpoint, Port};

    use super::*;
    use crate::Rules;

    fn metrics(id: u32) -> Probe {
        Probe {
            id,
            ask: Ask::Metrics(Endpoint {
                address: "127.0.0.1".parse().unwrap(),
                port: Port::new(9).unwrap(),
            }),
        }
    }

    #[test]
    fn a_batch_is_bounded_and_its_ids_differ() {
        assert!(Batch::try_from(vec![metrics(1), metrics(2)]).is_ok());
        assert_eq!(
            Batch::try_from(vec![metrics(1), metrics(7), metrics(7)]),
            Err(BatchError::SameId { id: 7 })
        );
        assert_eq!(
            Batch::try_from((0..65).map(metrics).collect::<Vec<_>>()),
            Err(BatchError::TooManyMetrics { count: 65 })
        );
        assert_eq!(
            Batch::try_from((0..4097).map(metrics).collect::<Vec<_>>()),
            Err(BatchError::TooManyProbes { count: 4097 })
        );
    }

    #[tokio::test]
    async fn a_target_that_the_rules_close_is_not_permitted() {
        let batch = Batch::try_from(vec![metrics(3)]).unwrap();
        let seen = run(batch, Vantage::Inside, &Arc::new(Egress::new(Rules::default()))).await;
        assert_eq!(seen[0].saw, Saw::Nothing(Failure::NotPermitted));
    }

    /// Paused time is sound: the target is asked so rarely that nothing but the clock matters.
    #[tokio::test(start_paused = true)]
    async fn a_batch_has_its_time_and_no_more() {
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let target = Endpoint {
            address: silent.local_addr().unwrap().ip(),
            port: Port::new(silent.local_addr().unwrap().port()).unwrap(),
        };
        let egress = Arc::new(Egress::new(Rules {
            loopback: true,
            target_rate: NonZeroU32::MIN,
            ..Rules::default()
        }));
        // More than have their turn in the time of a batch, one each second.
        let most = u32::try_from(MAX_METRICS).unwrap();
        let probes = (0..most).map(|id| Probe {
            id,
            ask: Ask::Metrics(target),
        });
        let batch = Batch::try_from(probes.collect::<Vec<_>>()).unwrap();
        let seen = run(batch, Vantage::Inside, &egress).await;
        assert_eq!(seen[0].saw, Saw::Nothing(Failure::Timeout));
        assert_eq!(seen.last().unwrap().saw, Saw::Nothing(Failure::Unfinished));
    }

    /// Paused time is sound: the listener's queue takes the connection and nothing is ever sent.
    #[tokio::test(start_paused = true)]
    async fn what_the_deadline_cuts_short_is_unfinished_and_not_silence() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let target = Endpoint {
            address: listener.local_addr().unwrap().ip(),
            port: Port::new(listener.local_addr().unwrap().port()).unwrap(),
        };
        let egress = Arc::new(Egress::new(Rules {
            loopback: true,
            ..Rules::default()
        }));
        let probes: Vec<_> = (0..3)
            .map(|id| Probe {
                id,
                ask: Ask::Metrics(target),
            })
            .collect();
        let batch = Batch::try_from(probes).unwrap();
        let end = Instant::now() + Duration::from_secs(1);
        let seen = run_until(batch, Vantage::Outside, &egress, end).await;
        let ids: Vec<_> = seen.iter().map(|seen| seen.probe.id).collect();
        assert_eq!(ids, [0, 1, 2]);
        assert!(
            seen.iter()
                .all(|seen| seen.saw == Saw::Nothing(Failure::Unfinished)),
            "{seen:?}"
        );
    }
}
