//! What one client may take of the prober. Time is paused: streams are in memory, or nobody sends anything.

use std::{
    future::pending,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, duplex},
    net::TcpStream,
    sync::watch,
    time::{sleep, timeout},
};
use tsutsumi_model::{Ask, Endpoint, Port};

use super::*;
use crate::{
    BATCH_DEADLINE, Rules,
    serving::{GREETING, MAX_CONNECTIONS, accept, converse},
};

const HOUR: Duration = Duration::from_secs(3600);

fn desk() -> Arc<Desk> {
    let rules = Rules {
        loopback: true,
        ..Rules::default()
    };
    Arc::new(Desk {
        vantage: Vantage::Inside,
        egress: Arc::new(Egress::new(rules)),
        batches: Semaphore::new(MAX_BATCHES),
    })
}

fn router() -> Router {
    probe_router(Vantage::Inside, Arc::new(Egress::new(Rules::default())))
}

#[tokio::test(start_paused = true)]
async fn a_batch_beyond_those_under_way_is_told_to_come_again() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let at = silent.local_addr().unwrap();
    let target = Endpoint {
        address: at.ip(),
        port: Port::new(at.port()).unwrap(),
    };
    let ask = || Probe {
        id: 1,
        ask: Ask::Metrics(target),
    };
    let desk = desk();
    let batch = |probes| Box::pin(probe(State(Arc::clone(&desk)), Json(probes)));
    let mut under_way: Vec<_> = (0..MAX_BATCHES).map(|_| batch(vec![ask()])).collect();
    for batch in &mut under_way {
        tokio::select! {
            biased;
            _ = batch => panic!("nobody answers, and it ended"),
            () = std::future::ready(()) => {}
        }
    }
    let (status, why) = batch(vec![]).await.unwrap_err();
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(why.contains("try again"), "{why}");
    drop(under_way.pop());
    assert!(batch(vec![]).await.is_ok(), "a place was free again");
}

#[tokio::test(start_paused = true)]
async fn no_more_connections_are_served_at_once_than_there_are_places() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut clients = Vec::new();
    for _ in 0..MAX_CONNECTIONS + 5 {
        clients.push(TcpStream::connect(address).await.unwrap());
    }
    let (count, mut served) = watch::channel(0);
    let (leave, left) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicUsize::new(0)));
    let (stop, stopped) = watch::channel(());
    let (ending, gone) = (Arc::clone(&leave), Arc::clone(&left));
    let accepting = tokio::spawn(accept(listener, stopped, move |stream| {
        count.send_modify(|count| *count += 1);
        let (ending, gone) = (Arc::clone(&ending), Arc::clone(&gone));
        async move {
            let _open = stream;
            ending.acquire().await.unwrap().forget();
            gone.fetch_add(1, Ordering::SeqCst);
        }
    }));
    served.wait_for(|count| *count >= MAX_CONNECTIONS).await.unwrap();
    let more = timeout(HOUR, served.wait_for(|count| *count > MAX_CONNECTIONS));
    assert!(more.await.is_err(), "more than {MAX_CONNECTIONS} at once");
    leave.add_permits(1);
    served
        .wait_for(|count| *count == MAX_CONNECTIONS + 1)
        .await
        .unwrap();
    assert_eq!(left.load(Ordering::SeqCst), 1);
    leave.add_permits(Semaphore::MAX_PERMITS / 2);
    drop(stop);
    accepting.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_does_not_end_is_dropped_at_the_end() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (came, mut coming) = watch::channel(false);
    let (stop, stopped) = watch::channel(());
    let accepting = tokio::spawn(accept(listener, stopped, move |stream| {
        came.send_replace(true);
        async move {
            let _open = stream;
            pending::<()>().await;
        }
    }));
    let _client = TcpStream::connect(address).await.unwrap();
    coming.wait_for(|came| *came).await.unwrap();
    drop(stop);
    timeout(HOUR, accepting).await.expect("it ends").unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_header_that_does_not_come_ends_the_connection_long_before_a_batch_would() {
    let (mut client, server) = duplex(4096);
    client
        .write_all(b"POST /v1/probe HTTP/1.1\r\nHost: x\r\n")
        .await
        .unwrap();
    let ended = timeout(GREETING * 2, converse(server, router())).await;
    assert!(ended.is_ok(), "a client that says nothing holds a place");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_drips_ends_with_the_connection_s_time() {
    let (mut client, server) = duplex(4096);
    let head = "POST /v1/probe HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n";
    client.write_all(head.as_bytes()).await.unwrap();
    let drops = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&drops);
    tokio::spawn(async move {
        while client.write_all(b" ").await.is_ok() {
            counted.fetch_add(1, Ordering::SeqCst);
            sleep(Duration::from_secs(1)).await;
        }
    });
    let ended = timeout(HOUR, converse(server, router())).await;
    assert!(ended.is_ok(), "a client that drips holds a place");
    let dripped = Duration::from_secs(drops.load(Ordering::SeqCst).try_into().unwrap());
    assert!(dripped > BATCH_DEADLINE, "it ended after {dripped:?}");
}

#[tokio::test(start_paused = true)]
async fn one_connection_carries_one_request() {
    let (mut client, server) = duplex(64 * 1024);
    let request = "GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n";
    client.write_all(request.repeat(2).as_bytes()).await.unwrap();
    converse(server, router()).await;
    let mut answers = String::new();
    client.read_to_string(&mut answers).await.unwrap();
    assert_eq!(answers.matches("HTTP/1.1 404").count(), 1, "{answers}");
}
