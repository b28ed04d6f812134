//! The zone behind a real Unbound that trusts its key and knows nothing else: `TSUTSUMI_UNBOUND` names the folder that
//! its packages were unpacked into. Its own loader starts it, so that it runs beside an older C library.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

mod common;

use std::{
    fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use common::{Ca, Running, SAMPLE, apex, mark, marked, over_tcp, query, start, zone_key};
use hickory_proto::{
    op::{Message, ResponseCode},
    rr::{Name, RecordType},
};
use tempfile::TempDir;
use tsutsumi_model::{Transport, ZoneName};
use tsutsumi_probes::{Credentials, Role};
use tsutsumi_zone::{ZoneClient, ZoneKey, ds};

struct Unbound {
    child: Child,
    address: SocketAddr,
    _folder: TempDir,
}

impl Unbound {
    /// Sends what is of the zone there, and nothing elsewhere.
    fn start(zone: &Running, key: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let anchor = ds(&apex(), &ZoneKey::read(key.as_bytes()).unwrap()).unwrap();
        let config = format!(
            "server:\n directory: \"{folder}\"\n chroot: \"\"\n username: \"\"\n pidfile: \"\"\n use-syslog: no\n \
             verbosity: 1\n num-threads: 1\n interface: 127.0.0.1\n port: {port}\n do-ip6: no\n \
             do-not-query-localhost: no\n module-config: \"validator iterator\"\n use-caps-for-id: yes\n \
             qname-minimisation: yes\n harden-referral-path: yes\n aggressive-nsec: yes\n edns-buffer-size: 1232\n \
             local-zone: \"test.\" nodefault\n trust-anchor: \"{anchor}\"\nremote-control:\n control-enable: no\n\
             stub-zone:\n name: \"{zone}\"\n stub-addr: 127.0.0.1@{dns}\n",
            folder = folder.path().display(),
            port = address.port(),
            zone = apex(),
            dns = zone.dns.port(),
        );
        let file = folder.path().join("unbound.conf");
        fs::write(&file, config).unwrap();
        let root =
            std::env::var_os("TSUTSUMI_UNBOUND").expect("TSUTSUMI_UNBOUND must name a folder with Unbound");
        let root = PathBuf::from(root);
        let mut child = Command::new(root.join("usr/lib64/ld-linux-x86-64.so.2"))
            .arg("--library-path")
            .arg(root.join("usr/lib/x86_64-linux-gnu"))
            .arg(root.join("usr/sbin/unbound"))
            .args(["-d", "-c"])
            .arg(&file)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let unbound = Self {
            child,
            address,
            _folder: folder,
        };
        let started = lines
            .by_ref()
            .map_while(Result::ok)
            .any(|line| line.contains("start of service"));
        assert!(started, "Unbound does not start");
        // Nobody else reads what it says, and it must not block.
        std::thread::spawn(move || lines.for_each(drop));
        unbound
    }

    async fn ask(&self, name: &Name, qtype: RecordType, unchecked: bool) -> Message {
        let mut message = query(name, qtype, Some(1232));
        message.metadata.recursion_desired = true;
        message.metadata.checking_disabled = unchecked;
        Message::from_vec(&over_tcp(self.address, &message.to_vec().unwrap()).await).unwrap()
    }
}

impl Drop for Unbound {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unbound_judges_every_kind_of_name_as_it_is_meant() {
    use ResponseCode::{NXDomain, NoError, ServFail};
    let (ca, key) = (Ca::new(), zone_key());
    let zone = start(&ca, &key).await;
    let unbound = Unbound::start(&zone, &key);
    for (number, (name, qtype, code, authentic)) in (1..).zip([
        (ZoneName::Port, RecordType::A, NoError, true),
        (ZoneName::Port, RecordType::TXT, NoError, true),
        (ZoneName::Port, RecordType::AAAA, NoError, true),
        (ZoneName::Good, RecordType::A, NoError, true),
        (ZoneName::Bogus, RecordType::A, ServFail, false),
        (ZoneName::Expired, RecordType::A, ServFail, false),
        (ZoneName::Early, RecordType::A, ServFail, false),
        (ZoneName::Stripped, RecordType::A, ServFail, false),
        (ZoneName::Insecure, RecordType::A, NoError, false),
        (ZoneName::Absent, RecordType::A, NXDomain, true),
        (ZoneName::Big, RecordType::TXT, NoError, true),
        (ZoneName::Slow, RecordType::A, NoError, true),
        (ZoneName::Chain, RecordType::A, NoError, true),
    ]) {
        let mark = mark(name, number);
        let mark = if name == ZoneName::Chain {
            tsutsumi_model::Mark { number: 4, ..mark }
        } else {
            mark
        };
        let answer = unbound.ask(&marked(mark), qtype, false).await;
        let found = (answer.metadata.response_code, answer.metadata.authentic_data);
        assert_eq!(found, (code, authentic), "{name:?} {qtype}: {answer:?}");
    }
    let bogus = unbound
        .ask(&marked(mark(ZoneName::Bogus, 99)), RecordType::A, true)
        .await;
    assert_eq!(bogus.metadata.response_code, NoError, "who checks itself gets it");

    // It has no key of the root at all.
    for (word, code) in [("is", ServFail), ("not", NoError)] {
        let mark = marked(mark(ZoneName::Sentinel, 100));
        let label = format!("root-key-sentinel-{word}-ta-38696");
        let name = mark.prepend_label(label.as_str()).unwrap();
        let answer = unbound.ask(&name, RecordType::A, false).await;
        assert_eq!(answer.metadata.response_code, code, "{name}: {answer:?}");
    }

    // What anybody may ask through it harms no sample: neither servers nor denials that it keeps lead astray.
    let apex_name = Name::from_ascii(format!("{}.", apex())).unwrap();
    let cut = apex_name.prepend_label("insecure").unwrap();
    for (name, qtype) in [
        (apex_name.clone(), RecordType::NS),
        (cut.clone(), RecordType::NS),
        (apex_name.prepend_label("ns").unwrap(), RecordType::A),
        (apex_name.prepend_label("insecurd").unwrap(), RecordType::A),
        (apex_name.prepend_label("insecurf").unwrap(), RecordType::A),
        (
            apex_name.prepend_label(&b"insecure\0"[..]).unwrap(),
            RecordType::A,
        ),
        (cut.prepend_label("x").unwrap(), RecordType::A),
    ] {
        unbound.ask(&name, qtype, false).await;
    }
    for (name, authentic) in [(ZoneName::Good, true), (ZoneName::Insecure, false)] {
        let answer = unbound.ask(&marked(mark(name, 77)), RecordType::A, false).await;
        let found = (answer.metadata.response_code, answer.metadata.authentic_data);
        assert_eq!(found, (NoError, authentic), "{answer:?}");
        assert!(!answer.answers.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unbound_is_seen_as_it_asks() {
    let (ca, key) = (Ca::new(), zone_key());
    let zone = start(&ca, &key).await;
    let unbound = Unbound::start(&zone, &key);
    for number in 0..64 {
        unbound
            .ask(&marked(mark(ZoneName::Port, number)), RecordType::A, false)
            .await;
    }
    let dir = tempfile::tempdir().unwrap();
    ca.write(dir.path(), Role::Controller);
    let tls = Credentials::controller(dir.path()).current().unwrap();
    let told = ZoneClient::new(zone.control, tls).arrivals(SAMPLE).await.unwrap();
    for number in 0..64 {
        assert!(
            told.arrivals.iter().any(|arrival| arrival.mark.number == number),
            "{number} was not heard"
        );
    }
    let mut ports: Vec<_> = told.arrivals.iter().map(|arrival| arrival.from.port()).collect();
    ports.sort_unstable();
    ports.dedup();
    assert!(ports.len() > 56, "{} ports", ports.len());
    assert!(
        told.arrivals
            .iter()
            .all(|arrival| arrival.transport == Transport::Udp && arrival.dnssec_ok)
    );
    assert!(
        told.arrivals
            .iter()
            .all(|arrival| arrival.edns == Some(1232) && !arrival.recursion_desired)
    );
    assert!(told.arrivals.iter().filter(|arrival| arrival.mixed_case).count() > 56);
}
