//! A zone under way on loopback: what it sends to whom, and what it remembers.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

mod common;

use std::{io::ErrorKind, time::Duration};

use common::{
    Ca, HANG, MARK, SAMPLE, dial, framed, mark, marked, named, now, over_tcp, over_tcp_from, over_udp, query,
    receive, socket, start, start_without_keys, status, wait_until_ready, write_keys, zone_key,
};
use hickory_proto::{
    op::{Message, ResponseCode},
    rr::{Name, RData, RecordType},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tsutsumi_model::{Arrivals, Mark, MarkKey, Transport, ZoneName};
use tsutsumi_probes::{CallError, Credentials, Role};
use tsutsumi_zone::{ClientError, ZoneClient};

fn client(ca: &Ca, running: &common::Running, role: Role) -> ZoneClient {
    let dir = tempfile::tempdir().unwrap();
    ca.write(dir.path(), role);
    let tls = Credentials::controller(dir.path()).current().unwrap();
    ZoneClient::new(running.control, tls)
}

async fn told(ca: &Ca, running: &common::Running) -> Arrivals {
    client(ca, running, Role::Controller)
        .arrivals(SAMPLE)
        .await
        .unwrap()
}

/// The answer of a zone that may be too busy for the first question.
async fn persistently(running: &common::Running, question: &[u8]) -> Message {
    let asker = socket("127.0.0.1", running.dns).await;
    let asking = async {
        loop {
            asker.send(question).await.unwrap();
            let mut buffer = [0; 1232];
            if let Ok(Ok(length)) = timeout(Duration::from_millis(100), asker.recv(&mut buffer)).await {
                return read(&buffer[..length]);
            }
        }
    };
    timeout(HANG, asking).await.expect("it lives")
}

fn read(bytes: &[u8]) -> Message {
    Message::from_vec(bytes).unwrap()
}

#[tokio::test]
async fn a_question_is_remembered_as_it_came_and_told_to_the_controller() {
    let ca = Ca::new();
    let running = start(&ca, &zone_key()).await;
    let mark = mark(ZoneName::Port, 9);
    let socket = socket("127.0.0.1", running.dns).await;
    let from = socket.local_addr().unwrap();
    let mut message = query(&marked(mark), RecordType::TXT, Some(1400));
    message.metadata.checking_disabled = true;
    let bytes = message.to_vec().unwrap();
    let before = now() * 1000;
    socket.send(&bytes).await.unwrap();
    let answer = read(&receive(&socket).await);
    assert!(answer.metadata.authoritative && !answer.metadata.recursion_available);
    let RData::TXT(text) = &answer.answers[0].data else {
        panic!("{answer:?}");
    };
    let text: Vec<_> = text
        .txt_data
        .iter()
        .map(|part| String::from_utf8_lossy(part))
        .collect();
    assert_eq!(
        text[..3],
        [format!("from={from}"), "id=4660".into(), "edns=1400".into()]
    );

    let told = told(&ca, &running).await;
    let [arrival] = &told.arrivals[..] else {
        panic!("{told:?}");
    };
    assert_eq!(
        (arrival.from, arrival.transport, arrival.id),
        (from, Transport::Udp, 0x1234)
    );
    assert_eq!(
        (arrival.mark, arrival.qtype, arrival.edns),
        (mark, 16, Some(1400))
    );
    assert_eq!(usize::from(arrival.query_bytes), bytes.len());
    assert!(arrival.dnssec_ok && arrival.checking_disabled && !arrival.mixed_case);
    assert_eq!(arrival.recursion_desired, message.metadata.recursion_desired);
    assert!((before..=now() * 1000 + 999).contains(&arrival.at));
    assert_eq!((told.forgotten, told.expired, told.unmarked), (0, 0, 0));
}

#[tokio::test]
async fn letters_come_back_as_they_were_sent() {
    let ca = Ca::new();
    let running = start(&ca, &zone_key()).await;
    for name in ZoneName::ALL {
        let lower = marked(mark(name, 1)).to_ascii();
        let mixed: String = lower
            .chars()
            .enumerate()
            .map(|(at, letter)| {
                if at % 2 == 0 {
                    letter.to_ascii_uppercase()
                } else {
                    letter
                }
            })
            .collect();
        let asked = Name::from_ascii(&mixed).unwrap();
        let answer = read(
            &over_tcp(
                running.dns,
                &query(&asked, RecordType::A, Some(1232)).to_vec().unwrap(),
            )
            .await,
        );
        assert_eq!(answer.queries[0].name().to_ascii(), mixed);
        let owners: Vec<_> = answer
            .answers
            .iter()
            .map(|record| record.name.to_ascii())
            .collect();
        assert!(owners.iter().all(|owner| *owner == mixed), "{owners:?}");
    }
    let told = told(&ca, &running).await;
    assert_eq!(told.arrivals.len(), ZoneName::ALL.len());
    assert!(
        told.arrivals
            .iter()
            .all(|arrival| arrival.mixed_case && arrival.transport == Transport::Tcp)
    );
}

#[tokio::test]
async fn what_is_too_large_for_a_datagram_is_cut_and_comes_whole_over_tcp() {
    let ca = Ca::new();
    let running = start(&ca, &zone_key()).await;
    let question = query(&marked(mark(ZoneName::Big, 1)), RecordType::TXT, Some(4096))
        .to_vec()
        .unwrap();
    let cut = read(&over_udp(running.dns, &question).await);
    assert!(cut.metadata.truncation && cut.answers.is_empty() && cut.authorities.is_empty());
    let whole = read(&over_tcp(running.dns, &question).await);
    assert!(!whole.metadata.truncation);
    let RData::TXT(text) = &whole.answers[0].data else {
        panic!("{whole:?}");
    };
    assert_eq!(
        text.txt_data.iter().map(|part| part.len()).collect::<Vec<_>>(),
        [200; 9]
    );
}

#[tokio::test]
async fn whoever_is_not_listed_gets_nothing_and_what_is_not_ours_is_refused() {
    let ca = Ca::new();
    let running = start(&ca, &zone_key()).await;
    let good = query(&marked(mark(ZoneName::Good, 1)), RecordType::A, Some(1232))
        .to_vec()
        .unwrap();
    let stranger = socket("127.0.0.2", running.dns).await;
    stranger.send(&good).await.unwrap();
    let foreign = Name::from_ascii("example.com.").unwrap();
    let answer = read(
        &over_udp(
            running.dns,
            &query(&foreign, RecordType::A, None).to_vec().unwrap(),
        )
        .await,
    );
    assert_eq!(answer.metadata.response_code, ResponseCode::Refused);
    assert!(answer.answers.is_empty() && answer.authorities.is_empty() && !answer.metadata.authoritative);
    // Datagrams are answered in their order, so an answer to the stranger would be here by now.
    let nothing = stranger.try_recv(&mut [0; 512]).unwrap_err();
    assert_eq!(nothing.kind(), ErrorKind::WouldBlock);

    // Over TCP a stranger is turned away at once: before somebody who is listed, came earlier and says nothing.
    let mut listed = dial("127.0.0.1", running.dns).await;
    let slow = query(&marked(mark(ZoneName::Slow, 1)), RecordType::A, None)
        .to_vec()
        .unwrap();
    assert_eq!(
        read(&over_udp(running.dns, &slow).await).answers.len(),
        1,
        "it comes later"
    );
    let mut stranger = dial("127.0.0.2", running.dns).await;
    tokio::select! {
        _ = stranger.read_u8() => {}
        _ = listed.read_u8() => panic!("the stranger stays longer"),
    }
    let mut stranger = dial("127.0.0.2", running.dns).await;
    let _ = stranger.write_all(&framed(&good)).await;
    let mut answer = Vec::new();
    let _ = timeout(HANG, stranger.read_to_end(&mut answer))
        .await
        .expect("it is closed");
    assert!(answer.is_empty());
    let told = told(&ca, &running).await;
    assert!(
        told.arrivals
            .iter()
            .all(|arrival| arrival.mark.name == ZoneName::Slow),
        "a stranger's question counts"
    );
}

#[tokio::test]
async fn replayed_and_invented_marks_are_counted_and_not_remembered() {
    let ca = Ca::new();
    let running = start(&ca, &zone_key()).await;
    let over = Mark {
        expires: u32::try_from(now()).unwrap() - 2,
        ..mark(ZoneName::Good, 1)
    };
    let invented = mark(ZoneName::Good, 2).label(&MarkKey::new([8; 32]));
    let misplaced = mark(ZoneName::Insecure, 1).label(&MarkKey::new(MARK));
    for name in [
        marked(over),
        named(&invented, ZoneName::Good),
        named("www", ZoneName::Good),
        named(&misplaced, ZoneName::Good),
        named("www", ZoneName::Insecure),
    ] {
        let answer = over_udp(
            running.dns,
            &query(&name, RecordType::A, Some(1232)).to_vec().unwrap(),
        )
        .await;
        assert_eq!(
            read(&answer).metadata.response_code,
            ResponseCode::NXDomain,
            "{name}"
        );
    }
    for plain in ["", "ns.", "insecure."] {
        let name = Name::from_ascii(format!("{plain}{}.", common::apex())).unwrap();
        let answer = over_udp(
            running.dns,
            &query(&name, RecordType::NS, Some(1232)).to_vec().unwrap(),
        )
        .await;
        assert_eq!(
            read(&answer).metadata.response_code,
            ResponseCode::NoError,
            "{name}"
        );
    }
    let told = told(&ca, &running).await;
    assert_eq!((told.arrivals.len(), told.expired, told.unmarked), (0, 1, 4));
}

#[tokio::test]
async fn slow_connections_do_not_keep_others_out() {
    let ca = Ca::new();
    let running = start(&ca, &zone_key()).await;
    let mut slow = Vec::new();
    for _ in 0..300 {
        let mut stream = TcpStream::connect(running.dns).await.unwrap();
        let _ = stream.write_all(&[0]).await;
        slow.push(stream);
    }
    let question = query(&marked(mark(ZoneName::Good, 1)), RecordType::A, Some(1232))
        .to_vec()
        .unwrap();
    assert_eq!(read(&over_udp(running.dns, &question).await).answers.len(), 2);
    // One source fills its own places alone, so that another need not wait until it is given up.
    tokio::select! {
        answer = over_tcp_from("127.0.0.3", running.dns, &question) => {
            assert_eq!(read(&answer).answers.len(), 2);
        }
        _ = slow[0].read_u8() => panic!("another had to wait"),
    }
    let mut open = 0;
    for stream in &mut slow {
        match timeout(HANG, stream.read(&mut [0])).await.expect("it is closed") {
            Ok(0) | Err(_) => open += 1,
            Ok(_) => panic!("an answer to nothing"),
        }
    }
    assert_eq!(open, 300);
    assert_eq!(read(&over_tcp(running.dns, &question).await).answers.len(), 2);
}

#[tokio::test]
async fn a_flood_is_answered_in_part_and_the_zone_lives_on() {
    let ca = Ca::new();
    let running = start(&ca, &zone_key()).await;
    let flood = socket("127.0.0.1", running.dns).await;
    let noise = query(&named("www", ZoneName::Good), RecordType::A, None)
        .to_vec()
        .unwrap();
    let start = std::time::Instant::now();
    for _ in 0..20_000 {
        let _ = flood.send(&noise).await;
        tokio::task::yield_now().await;
    }
    let question = query(&marked(mark(ZoneName::Good, 1)), RecordType::A, Some(1232))
        .to_vec()
        .unwrap();
    assert_eq!(persistently(&running, &question).await.answers.len(), 2);
    // A second's worth at once, and then as much as time has passed, however long that was.
    let unmarked = told(&ca, &running).await.unmarked;
    let most = 1001 + u64::try_from(start.elapsed().as_millis()).unwrap();
    assert!(unmarked <= most, "{unmarked} of 20,000 within {most} ms");
    assert_eq!(status(running.health, "/livez").await, 200);
}

#[tokio::test]
async fn another_role_is_told_nothing() {
    let ca = Ca::new();
    let running = start(&ca, &zone_key()).await;
    for role in [Role::Prober, Role::Zone] {
        let error = client(&ca, &running, role).arrivals(SAMPLE).await.unwrap_err();
        assert!(
            matches!(error, ClientError::Call(CallError::Exchange { .. })),
            "{error:?}"
        );
    }
    let error = client(&Ca::new(), &running, Role::Controller)
        .arrivals(SAMPLE)
        .await
        .unwrap_err();
    assert!(
        matches!(error, ClientError::Call(CallError::Handshake { .. })),
        "{error:?}"
    );
}

#[tokio::test]
async fn keys_may_come_late_and_change() {
    let ca = Ca::new();
    let running = start_without_keys(&ca).await;
    assert_eq!(status(running.health, "/livez").await, 200);
    assert_eq!(status(running.health, "/readyz").await, 503);
    write_keys(running.keys.path(), "no key");
    assert_eq!(status(running.health, "/readyz").await, 503);
    let apex = Name::from_ascii(format!("{}.", common::apex())).unwrap();
    let question = query(&apex, RecordType::DNSKEY, Some(1232)).to_vec().unwrap();
    let mut former = None;
    for key in [zone_key(), zone_key()] {
        write_keys(running.keys.path(), &key);
        wait_until_ready(&running).await;
        let changed = async {
            loop {
                let found = persistently(&running, &question).await.answers[0].data.clone();
                if Some(&found) != former.as_ref() {
                    return found;
                }
            }
        };
        former = Some(timeout(HANG, changed).await.expect("the key is taken"));
    }
}
