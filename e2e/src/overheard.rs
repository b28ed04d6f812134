//! The probe zone in this process: its answers without the bounds around them, so that a hundred thousand questions can be
//! heard in a minute. Of each marked one it keeps the source port and the id.

use std::{
    net::{IpAddr, SocketAddr, UdpSocket},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use tsutsumi_model::{DomainName, Mark, MarkKey, ZoneName};
use tsutsumi_zone::{
    Apex, Asked, Keys, Noted, Query, Unanswerable, Zone, ZoneKey, datagram_limit, ds, encode,
};

/// The name by which the how-to's resolvers know it.
const APEX: &str = "probe.tsutsumi.test";
const MARK: [u8; 32] = [11; 32];
/// How often it looks whether it is to end.
const TICK: Duration = Duration::from_millis(100);

/// From where a question came.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Question {
    /// The source port.
    pub port: u16,
    /// The id.
    pub id: u16,
}

/// The zone while it answers.
#[derive(Debug)]
pub struct Overheard {
    /// Where it answers.
    pub server: SocketAddr,
    /// The DS record of its key, as a line of a zone file.
    pub anchor: String,
    apex: DomainName,
    heard: Arc<Mutex<Vec<(u32, Question)>>>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Overheard {
    /// Answers at a free port of an address of the node.
    ///
    /// # Errors
    /// If there is none.
    pub fn start(address: IpAddr) -> Result<Self> {
        let apex: Apex = APEX.parse()?;
        let pem = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?.serialize_pem();
        let key = ZoneKey::read(pem.as_bytes())?;
        let anchor = ds(&apex, &key)?;
        let keys = Keys {
            mark: MarkKey::new(MARK),
            zone: Arc::new(key),
        };
        let zone = Zone::new(&apex, keys)?;
        let socket = UdpSocket::bind((address, 0)).context("listening as the probe zone")?;
        socket.set_read_timeout(Some(TICK))?;
        let server = socket.local_addr()?;
        let (heard, ended) = (Arc::<Mutex<Vec<_>>>::default(), Arc::<AtomicBool>::default());
        let (list, end) = (Arc::clone(&heard), Arc::clone(&ended));
        let thread = thread::spawn(move || {
            while !end.load(Ordering::Relaxed) {
                if let Some(question) = answer_one(&zone, &socket) {
                    list.lock().unwrap_or_else(PoisonError::into_inner).push(question);
                }
            }
        });
        Ok(Self {
            server,
            anchor,
            apex: APEX.parse()?,
            heard,
            ended,
            thread: Some(thread),
        })
    }

    /// A name of the zone that belongs to a sample, and that no cache keeps.
    ///
    /// # Errors
    /// If it is none.
    pub fn name(&self, sample: u32, number: u16) -> Result<String> {
        let mark = Mark {
            name: ZoneName::Port,
            sample,
            number,
            expires: u32::try_from(now())?.saturating_add(600),
        };
        let name = mark.name_in(&self.apex, &MarkKey::new(MARK))?;
        Ok(name.to_string())
    }

    /// What was heard of a sample, in order of arrival. All that was heard before is forgotten.
    #[must_use]
    pub fn take(&self, sample: u32) -> Vec<Question> {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let of_sample = heard.drain(..).filter(|(of, _)| *of == sample);
        of_sample.map(|(_, question)| question).collect()
    }
}

impl Drop for Overheard {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        // It ends within a tick; a panic in it was told already.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Answers the next message, if one comes soon; tells of it if it was marked.
fn answer_one(zone: &Zone, socket: &UdpSocket) -> Option<(u32, Question)> {
    let mut buffer = [0; 4096];
    let (length, from) = socket.recv_from(&mut buffer).ok()?;
    let query = match Query::read(buffer.get(..length)?) {
        Ok(query) => query,
        Err(Unanswerable::Header(header)) => {
            // Whoever gets no answer asks again, which shows.
            let _ = socket.send_to(&header, from);
            return None;
        }
        Err(Unanswerable::Silence) => return None,
    };
    let asked = Asked {
        query: &query,
        from,
        now: now(),
    };
    let answer = zone.answer(asked).ok()?;
    let noted = answer.noted;
    let message = encode(&query, answer, datagram_limit(&query)).ok()?;
    let _ = socket.send_to(&message, from);
    match noted {
        Noted::Mark(mark) => Some((
            mark.sample,
            Question {
                port: from.port(),
                id: query.id,
            },
        )),
        Noted::Plain | Noted::Expired | Noted::Unmarked => None,
    }
}

fn now() -> u64 {
    let since = SystemTime::UNIX_EPOCH.elapsed();
    since.unwrap_or_default().as_secs()
}
