//! A series against responders on loopback that answer some questions, refuse some, and lose some.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

mod common;

use std::{
    collections::BTreeSet,
    num::NonZeroU16,
    sync::{Arc, Mutex},
};

use common::{PATIENCE, egress, endpoint, observe, udp_responder};
use hickory_proto::op::{Message, ResponseCode};
use tsutsumi_model::{Ask, Failure, Probe, Rcode, Saw, Series, Tally};
use tsutsumi_probes::{Batch, BatchError, MAX_SERIES};

fn series(server: std::net::SocketAddr, questions: usize) -> Series {
    Series {
        server: endpoint(server),
        names: (0..questions)
            .map(|number| format!("n{number}.probe.test").parse().unwrap())
            .collect(),
        per_second: NonZeroU16::new(500).unwrap(),
    }
}

async fn tally(series: Series) -> Tally {
    let seen = observe(vec![Ask::Series(series)], &egress(PATIENCE)).await;
    match &seen[0].saw {
        Saw::Series(tally) => tally.clone(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn each_question_goes_out_once_and_each_outcome_counts() {
    let names = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&names);
    let server = udp_responder("127.0.0.1:0", move |query| {
        let mut message = Message::from_vec(query).unwrap().into_response();
        let name = message.queries[0].name().to_ascii();
        heard.lock().unwrap().push(name.clone());
        if name.starts_with("n3.") {
            return vec![];
        }
        if name.starts_with("n4.") || name.starts_with("n20.") {
            message.metadata.response_code = ResponseCode::ServFail;
        }
        vec![message.to_vec().unwrap()]
    })
    .await;
    let tally = tally(series(server, 40)).await;
    assert_eq!(
        tally,
        Tally {
            answers: [(Rcode::NOERROR, 37), (Rcode::SERVFAIL, 2)].into(),
            failures: [(Failure::Timeout, 1)].into(),
        }
    );
    assert_eq!((tally.answered(), tally.failed()), (37, 3));
    let names = names.lock().unwrap();
    assert_eq!(names.len(), 40, "a question was asked again: {names:?}");
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), 40);
}

#[test]
fn series_are_bounded_in_number_and_length() {
    let server = "127.0.0.1:53".parse().unwrap();
    let probes = |count: usize, questions| {
        (0..)
            .zip(vec![series(server, questions); count])
            .map(|(id, series)| Probe {
                id,
                ask: Ask::Series(series),
            })
    };
    let batch = |count, questions| Batch::try_from(probes(count, questions).collect::<Vec<_>>());
    assert!(batch(MAX_SERIES, Series::LONGEST).is_ok());
    assert_eq!(
        batch(MAX_SERIES + 1, 1),
        Err(BatchError::TooManySeries {
            count: MAX_SERIES + 1
        })
    );
    assert_eq!(
        batch(1, Series::LONGEST + 1),
        Err(BatchError::TooLong {
            id: 0,
            count: Series::LONGEST + 1
        })
    );
}
