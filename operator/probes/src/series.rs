//! A series: questions that leave at set moments, whether or not earlier ones were answered, so that its length is
//! known beforehand. Nothing is asked twice: a question that is lost counts as lost.

use std::{num::NonZeroU32, time::Duration};

use futures::{StreamExt, stream::FuturesUnordered};
use tokio::time::{Instant, sleep_until};
use tsutsumi_model::{DnsQuestion, DomainName, Failure, Rcode, Series, Tally, Transport};

use crate::{dns, egress::Egress};

/// What every question offers over EDNS, in bytes: more than a resolver should pass on.
const OFFERED: u16 = 4096;

/// Asks the whole series.
pub(crate) async fn ask(series: &Series, egress: &Egress) -> Tally {
    let start = Instant::now();
    let mut questions: FuturesUnordered<_> = series
        .names
        .iter()
        .zip(moments(series))
        .map(|(name, after)| async move {
            sleep_until(start + after).await;
            one(series, name, egress).await
        })
        .collect();
    let mut tally = Tally::default();
    while let Some(outcome) = questions.next().await {
        *match outcome {
            Ok(rcode) => tally.answers.entry(rcode).or_default(),
            Err(failure) => tally.failures.entry(failure).or_default(),
        } += 1;
    }
    tally
}

/// When each question leaves, counted from the start.
fn moments(series: &Series) -> impl Iterator<Item = Duration> {
    let apart = Duration::from_secs(1) / NonZeroU32::from(series.per_second).get();
    let alone = series.names.len() / 2;
    (0..series.names.len()).map(move |index| {
        let turn = if index < alone {
            index
        } else {
            index - (index - alone) % Series::BURST
        };
        apart.saturating_mul(u32::try_from(turn).unwrap_or(u32::MAX))
    })
}

async fn one(series: &Series, name: &DomainName, egress: &Egress) -> Result<Rcode, Failure> {
    let pass = egress
        .admit(series.server)
        .await
        .map_err(|_| Failure::NotPermitted)?;
    let question = DnsQuestion {
        edns: Some(OFFERED),
        ..DnsQuestion::ordinary(series.server, Transport::Udp, name.clone())
    };
    dns::ask(&question, &pass).await.map(|answer| answer.rcode)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;

    use tsutsumi_model::Endpoint;

    use super::*;

    #[test]
    fn the_first_half_leaves_one_by_one_and_the_second_in_bursts_at_the_same_rate() {
        let names = (0..32).map(|number| format!("n{number}.test").parse().unwrap());
        let series = Series {
            server: Endpoint::of("192.0.2.1".parse().unwrap(), 53).unwrap(),
            names: names.collect(),
            per_second: NonZeroU16::new(10).unwrap(),
        };
        let moments: Vec<_> = moments(&series).map(|after| after.as_millis()).collect();
        let alone: Vec<_> = (0..16).map(|turn| turn * 100).collect();
        assert_eq!(moments[..16], alone);
        assert_eq!(moments[16..24], [1600; 8]);
        assert_eq!(moments[24..], [2400; 8]);
    }
}
