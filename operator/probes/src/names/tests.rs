use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;

use super::{
    frames::tests::{frame, opening},
    tap::tests::{message, query},
    *,
};

const DNSTAP: &[u8] = b"protobuf:dnstap.Dnstap";
/// In front of it, the length of what follows.
const HEAD: usize = 4 + 4;

struct Serving {
    collector: Arc<Collector>,
    address: std::net::SocketAddr,
    _stop: watch::Sender<()>,
}

async fn serving() -> Serving {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = watch::channel(());
    let collector = Arc::new(Collector::default());
    tokio::spawn(Arc::clone(&collector).serve(listener, stopped));
    Serving {
        collector,
        address,
        _stop: stop,
    }
}

impl Serving {
    fn collect(&self, peer: &str, seconds: u16) -> Collected {
        let asked = Collect {
            peers: vec![peer.parse().unwrap()],
            apart: vec!["cluster.local".parse().unwrap()],
            seconds,
        };
        self.collector.collect(asked).unwrap()
    }

    /// Connects from an address and sends all but what waits for an answer.
    async fn connect(&self, from: &str) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(format!("{from}:0").parse().unwrap()).unwrap();
        let mut stream = socket.connect(self.address).await.unwrap();
        // Whoever is not wanted may be hung up on before that.
        for said in opening(DNSTAP) {
            let _ = stream.write_all(&said).await;
        }
        stream
    }

    /// Until so many questions were told.
    async fn told(&self, peer: &str, questions: u64) -> Collected {
        loop {
            let told = self.collect(peer, 60);
            if told.questions >= questions {
                return told;
            }
            tokio::task::yield_now().await;
        }
    }
}

fn asked(labels: &[&[u8]]) -> Vec<u8> {
    frame(&message(5, Some(&query(labels, 1, 1))))
}

/// Whether the other side has hung up without a word.
async fn is_refused(mut stream: TcpStream) -> bool {
    stream.read_u8().await.is_err()
}

async fn is_let_in(stream: &mut TcpStream) -> bool {
    let mut accept = [0; HEAD];
    stream.read_exact(&mut accept).await.is_ok()
}

#[tokio::test]
async fn who_was_named_tells_and_nobody_else() {
    let serving = serving().await;
    assert!(
        is_refused(serving.connect("127.0.0.2").await).await,
        "nobody asked yet"
    );
    serving.collect("127.0.0.2", 60);
    assert!(
        is_refused(serving.connect("127.0.0.3").await).await,
        "another was named"
    );
    let mut resolver = serving.connect("127.0.0.2").await;
    assert!(is_let_in(&mut resolver).await);
    let all = [
        asked(&[b"wiki", b"corp", b"test"]),
        asked(&[b"api", b"default", b"svc", b"cluster", b"local"]),
        frame(&message(6, None)),
        asked(&[b"a b"]),
        asked(&[b"wiki", b"corp", b"test"]),
    ]
    .concat();
    resolver.write_all(&all).await.unwrap();
    let told = serving.told("127.0.0.2", 4).await;
    let names: Vec<_> = told
        .names
        .iter()
        .map(|asked| (asked.name.as_str(), asked.times))
        .collect();
    assert_eq!(
        names,
        [("wiki.corp.test", 2)],
        "what stands apart is counted and not kept"
    );
    assert_eq!((told.questions, told.unreadable), (4, 1));
    assert_eq!(told.connected, ["127.0.0.2".parse::<IpAddr>().unwrap()]);
}

#[tokio::test]
async fn who_is_named_no_more_is_hung_up_on_and_the_names_stay() {
    let serving = serving().await;
    serving.collect("127.0.0.2", 60);
    let mut resolver = serving.connect("127.0.0.2").await;
    resolver.write_all(&asked(&[b"a", b"test"])).await.unwrap();
    serving.told("127.0.0.2", 1).await;
    serving.collect("127.0.0.3", 60);
    let mut rest = Vec::new();
    let _ = resolver.read_to_end(&mut rest).await;
    while !serving.collect("127.0.0.3", 60).connected.is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(serving.collect("127.0.0.3", 60).names.len(), 1);
}

#[tokio::test]
async fn it_ends_by_itself_and_forgets() {
    let serving = serving().await;
    serving.collect("127.0.0.2", 60);
    let mut resolver = serving.connect("127.0.0.2").await;
    resolver.write_all(&asked(&[b"a", b"test"])).await.unwrap();
    serving.told("127.0.0.2", 1).await;
    serving.collect("127.0.0.2", 1);
    let mut rest = Vec::new();
    // It is hung up on when the time is over.
    let _ = resolver.read_to_end(&mut rest).await;
    while serving.collector.with(|under_way| under_way.is_some()) {
        tokio::task::yield_now().await;
    }
    let told = serving.collect("127.0.0.2", 60);
    assert_eq!((told.questions, told.names.len(), told.seconds), (0, 0, 0));
}

#[tokio::test]
async fn for_no_time_it_ends_at_once_and_tells_once_more() {
    let serving = serving().await;
    serving.collect("127.0.0.2", 60);
    let mut resolver = serving.connect("127.0.0.2").await;
    resolver.write_all(&asked(&[b"a", b"test"])).await.unwrap();
    serving.told("127.0.0.2", 1).await;
    assert_eq!(serving.collect("127.0.0.2", 0).names.len(), 1);
    assert_eq!(serving.collect("127.0.0.2", 0), Collected::default());
    assert!(is_refused(serving.connect("127.0.0.2").await).await);
}

#[tokio::test]
async fn connections_are_bounded() {
    let serving = serving().await;
    serving.collect("127.0.0.2", 60);
    let mut held = Vec::new();
    for _ in 0..MAX_CONNECTIONS {
        let mut resolver = serving.connect("127.0.0.2").await;
        assert!(is_let_in(&mut resolver).await);
        held.push(resolver);
    }
    assert!(is_refused(serving.connect("127.0.0.2").await).await);
}

#[tokio::test]
async fn more_than_it_does_is_not_begun() {
    let collector = Collector::default();
    let fits = Collect {
        peers: vec![],
        apart: vec![],
        seconds: Collect::LONGEST,
    };
    assert!(collector.collect(fits.clone()).is_ok());
    let address: IpAddr = "10.0.0.1".parse().unwrap();
    for much in [
        Collect {
            seconds: Collect::LONGEST + 1,
            ..fits.clone()
        },
        Collect {
            peers: vec![address; Collect::MOST_PEERS + 1],
            ..fits.clone()
        },
        Collect {
            apart: vec!["a.test".parse().unwrap(); Collect::MOST_APART + 1],
            ..fits
        },
    ] {
        assert_eq!(collector.collect(much), Err(TooMuch));
    }
}
