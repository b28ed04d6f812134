//! DNS probes against responders on loopback that behave well, badly, or not at all.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

mod common;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use common::{
    PATIENCE, ask, egress, framed, observe, question, read_framed, reply, tcp_responder, udp_responder,
};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream, UdpSocket},
};
use tsutsumi_model::{Ask, DnsAnswer, Failure, Rcode, Saw, Transport};

/// Long enough for any answer on loopback, so that only silence could use it up.
const AMPLE: Duration = Duration::from_secs(5);

fn answer(saw: Saw) -> DnsAnswer {
    match saw {
        Saw::Answer(answer) => answer,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_answer_over_udp_is_measured_in_bytes_on_the_wire() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let sent = Arc::new(Mutex::new((0, 0)));
        let noted = Arc::clone(&sent);
        let server = udp_responder(address, move |query| {
            let reply = reply(query, 2);
            *noted.lock().unwrap() = (query.len(), reply.len());
            vec![reply]
        })
        .await;
        let seen = answer(ask(question(server, Transport::Udp), AMPLE).await);
        let sent = *sent.lock().unwrap();
        assert_eq!(
            (seen.query_bytes as usize, seen.answer_bytes as usize),
            sent,
            "{address}"
        );
        assert_eq!(
            (seen.rcode, seen.answers, seen.truncated),
            (Rcode::NOERROR, 2, false)
        );
    }
}

#[tokio::test]
async fn a_datagram_far_larger_than_what_was_offered_is_seen_whole() {
    for records in [20, 280] {
        let server = udp_responder("127.0.0.1:0", move |query| vec![reply(query, records)]).await;
        let seen = answer(ask(question(server, Transport::Udp), AMPLE).await);
        assert_eq!(usize::from(seen.answers), records);
        assert!(
            seen.answer_bytes as usize > records * 200,
            "{}",
            seen.answer_bytes
        );
    }
}

#[tokio::test]
async fn truncation_and_refusal_are_reported() {
    let server = udp_responder("127.0.0.1:0", |query| {
        let mut message = reply(query, 0);
        message[2] |= 0x02; // TC
        message[3] |= 5; // REFUSED
        vec![message]
    })
    .await;
    let seen = answer(ask(question(server, Transport::Udp), AMPLE).await);
    assert_eq!((seen.rcode, seen.truncated), (Rcode::REFUSED, true));
}

#[tokio::test]
async fn the_answer_is_found_behind_a_spray_of_forgeries() {
    let server = udp_responder("127.0.0.1:0", |query| {
        let good = reply(query, 1);
        let mut datagrams: Vec<Vec<u8>> = (1..=50u8)
            .map(|n| {
                let mut forged = reply(query, 7);
                forged[1] ^= n;
                forged
            })
            .collect();
        let mut other_name = reply(query, 7);
        other_name[13] ^= 0x01;
        datagrams.extend([other_name, vec![], b"junk".to_vec(), good]);
        datagrams
    })
    .await;
    let seen = answer(ask(question(server, Transport::Udp), AMPLE).await);
    assert_eq!(seen.answers, 1);
}

#[tokio::test]
async fn forgeries_alone_are_malformed_and_not_silence() {
    let server = udp_responder("127.0.0.1:0", |query| {
        let mut forged = reply(query, 1);
        forged[0] ^= 0xff;
        vec![forged]
    })
    .await;
    let saw = ask(question(server, Transport::Udp), PATIENCE).await;
    assert_eq!(saw, Saw::Nothing(Failure::Malformed));
}

#[tokio::test]
async fn an_answer_from_another_port_is_not_heard() {
    let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let wanted = question(server.local_addr().unwrap(), Transport::Udp);
    tokio::spawn(async move {
        let mut buffer = [0; 512];
        let (length, client) = server.recv_from(&mut buffer).await.unwrap();
        let elsewhere = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        elsewhere
            .send_to(&reply(&buffer[..length], 1), client)
            .await
            .unwrap();
        // The port stays open, so that nothing but silence comes from it.
        let _ = server.recv_from(&mut buffer).await;
    });
    let saw = ask(wanted, PATIENCE).await;
    assert_eq!(saw, Saw::Nothing(Failure::Timeout));
}

#[tokio::test]
async fn an_answer_cut_in_a_record_is_malformed() {
    let server = udp_responder("127.0.0.1:0", |query| {
        let mut message = reply(query, 1);
        message.truncate(message.len() - 100);
        vec![message]
    })
    .await;
    let saw = ask(question(server, Transport::Udp), AMPLE).await;
    assert_eq!(saw, Saw::Nothing(Failure::Malformed));
}

/// Paused time is sound: nobody answers, so nothing but the clock can end the wait.
#[tokio::test(start_paused = true)]
async fn silence_is_a_timeout_after_one_query_from_a_fresh_port() {
    let server = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let wanted = question(server.local_addr().unwrap(), Transport::Udp);
    let mut clients = Vec::new();
    for _ in 0..2 {
        let seen = observe(vec![Ask::Dns(wanted.clone())], &egress(AMPLE)).await;
        assert_eq!(seen[0].saw, Saw::Nothing(Failure::Timeout));
        assert!(seen[0].millis >= 5000, "waited {} ms of 5000", seen[0].millis);
        let (_, client) = server.try_recv_from(&mut [0; 512]).unwrap();
        clients.push(client.port());
        assert!(server.try_recv_from(&mut [0; 512]).is_err(), "asked twice");
    }
    assert_ne!(clients[0], clients[1]);
}

#[tokio::test]
async fn a_port_where_nobody_listens_refuses() {
    let udp = UdpSocket::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    for (server, transport) in [(udp, Transport::Udp), (tcp, Transport::Tcp)] {
        let saw = ask(question(server, transport), AMPLE).await;
        assert_eq!(saw, Saw::Nothing(Failure::ConnectionRefused), "{transport}");
    }
}

#[tokio::test]
async fn an_answer_over_tcp_may_come_in_pieces_and_be_as_large_as_can_be() {
    let server = tcp_responder(|mut stream| async move {
        let query = read_framed(&mut stream).await;
        let mut stray = reply(&query, 0);
        stray[0] ^= 0xff;
        stream.write_all(&framed(&stray)).await.unwrap();
        for piece in framed(&reply(&query, 280)).chunks(1000) {
            stream.write_all(piece).await.unwrap();
            stream.flush().await.unwrap();
        }
    })
    .await;
    let seen = answer(ask(question(server, Transport::Tcp), AMPLE).await);
    assert_eq!(seen.answers, 280);
    assert!(seen.answer_bytes > 56_000, "{}", seen.answer_bytes);
}

#[tokio::test]
async fn a_connection_that_ends_without_an_answer_is_closed() {
    let hangs_up = tcp_responder(|mut stream| async move {
        read_framed(&mut stream).await;
    })
    .await;
    let saw = ask(question(hangs_up, Transport::Tcp), AMPLE).await;
    assert_eq!(saw, Saw::Nothing(Failure::Closed));

    let stops_half_way = tcp_responder(|mut stream| async move {
        let query = read_framed(&mut stream).await;
        stream.write_all(&framed(&reply(&query, 3))[..40]).await.unwrap();
    })
    .await;
    let saw = ask(question(stops_half_way, Transport::Tcp), AMPLE).await;
    assert_eq!(saw, Saw::Nothing(Failure::Closed));
}

/// Paused time is sound: nobody answers, so nothing but the clock can end a wait.
#[tokio::test(start_paused = true)]
async fn a_connection_without_an_answer_is_told_from_no_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let saw = ask(question(address, Transport::Tcp), PATIENCE).await;
    assert_eq!(saw, Saw::Nothing(Failure::Unanswered));

    // A queue that holds no more takes no further connection: the kernel drops what would open one.
    let full = tokio::net::TcpSocket::new_v4().unwrap();
    full.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let full = full.listen(0).unwrap();
    let address = full.local_addr().unwrap();
    let mut held = Vec::new();
    while let Ok(taken) = tokio::time::timeout(PATIENCE, TcpStream::connect(address)).await {
        held.push(taken.unwrap());
    }
    let saw = ask(question(address, Transport::Tcp), PATIENCE).await;
    assert_eq!(saw, Saw::Nothing(Failure::Timeout));
}

#[tokio::test]
async fn observations_keep_the_order_of_the_probes() {
    let server = udp_responder("127.0.0.1:0", |query| vec![reply(query, 1)]).await;
    let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let asks: Vec<_> = (0..40)
        .map(|n| {
            let target = if n % 4 == 0 {
                silent.local_addr().unwrap()
            } else {
                server
            };
            Ask::Dns(question(target, Transport::Udp))
        })
        .collect();
    let seen = observe(asks.clone(), &egress(PATIENCE)).await;
    for (n, (seen, asked)) in seen.iter().zip(&asks).enumerate() {
        assert_eq!((seen.probe.id as usize, &seen.probe.ask), (n + 10, asked));
        assert_eq!(matches!(seen.saw, Saw::Answer(_)), n % 4 != 0, "{seen:?}");
    }
}
