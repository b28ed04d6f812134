//! Just enough DNS to show what a client sees (RFC 1035): one question over UDP, and the count of questions that
//! nobody answers while something else happens. Each question has a socket of its own, as with a real stub resolver.

use std::io::Read as _;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// A question and whom to ask.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Question {
    /// Address and port of the server
    server: SocketAddr,
    /// The name, whose A records are asked for
    name: String,
    /// Ask every so many milliseconds until standard input ends, then print how many were asked and lost
    #[arg(long, value_name = "MILLISECONDS")]
    every: Option<u64>,
}

/// How long an answer may take before it is lost.
const PATIENCE: Duration = Duration::from_secs(2);
/// Response codes that have a name here (RFC 1035 section 4.1.1).
const CODES: [&str; 6] = ["NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED"];

/// Asks once and prints what came, or asks again and again and prints the count.
pub(crate) fn run(question: &Question) -> Result<()> {
    match question.every {
        None => println!("{}", ask(question.server, &question.name, 1)?),
        Some(milliseconds) => {
            let (asked, lost) = ask_until_told(question, Duration::from_millis(milliseconds));
            println!("{asked} {lost}");
        }
    }
    Ok(())
}

/// Asks once over UDP; the answer is its code's name and the count of records.
pub(crate) fn ask(server: SocketAddr, name: &str, number: u64) -> Result<String> {
    let any = if server.is_ipv4() {
        IpAddr::from([0, 0, 0, 0])
    } else {
        IpAddr::from(Ipv6Addr::UNSPECIFIED)
    };
    let socket = UdpSocket::bind((any, 0)).context("opening a socket")?;
    socket
        .connect(server)
        .with_context(|| format!("reaching {server}"))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let identity = u16::try_from(number & 0xffff).unwrap_or_default();
    socket
        .send(&query(name, identity)?)
        .with_context(|| format!("asking {server}"))?;
    let mut buffer = [0; 4096];
    let length = socket
        .recv(&mut buffer)
        .with_context(|| format!("no answer from {server}"))?;
    read(&buffer[..length], identity)
}

fn ask_until_told(question: &Question, every: Duration) -> (u64, u64) {
    let stop = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&stop);
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        told.store(true, Ordering::Relaxed);
    });
    let lost = Arc::new(AtomicU64::new(0));
    let mut pending = Vec::new();
    let mut asked = 0;
    let start = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        asked += 1;
        let (lost, question) = (Arc::clone(&lost), question.clone());
        pending.push(std::thread::spawn(move || {
            let good =
                ask(question.server, &question.name, asked).is_ok_and(|answer| answer.starts_with("NOERROR"));
            lost.fetch_add(u64::from(!good), Ordering::Relaxed);
        }));
        pending.retain(|thread| !thread.is_finished());
        // By the clock, not by the last question: a slow machine asks as often.
        let next = every.saturating_mul(u32::try_from(asked).unwrap_or(u32::MAX));
        std::thread::sleep(next.saturating_sub(start.elapsed()));
    }
    for thread in pending {
        let _ = thread.join();
    }
    (asked, lost.load(Ordering::Relaxed))
}

fn query(name: &str, identity: u16) -> Result<Vec<u8>> {
    let mut bytes = identity.to_be_bytes().to_vec();
    // Recursion desired; one question, nothing else.
    bytes.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.trim_end_matches('.').split('.') {
        let length = u8::try_from(label.len())
            .ok()
            .filter(|length| (1..=63).contains(length));
        bytes.push(length.with_context(|| format!("`{name}` is no name: each label has 1 to 63 bytes"))?);
        bytes.extend(label.as_bytes());
    }
    bytes.extend([0, 0, 1, 0, 1]);
    Ok(bytes)
}

fn read(answer: &[u8], identity: u16) -> Result<String> {
    match answer {
        [high, low, _, flags, _, _, count_high, count_low, ..] if [*high, *low] == identity.to_be_bytes() => {
            let code = usize::from(flags & 15);
            let name = CODES
                .get(code)
                .map_or_else(|| format!("code {code}"), |name| (*name).to_owned());
            Ok(format!(
                "{name} with {} answers",
                u16::from_be_bytes([*count_high, *count_low])
            ))
        }
        _ => bail!("what came is no answer to the question"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_has_the_bytes_of_rfc_1035() {
        let bytes = query("a.bc.", 0x0102).unwrap();
        assert_eq!(
            bytes,
            [
                1, 2, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, b'a', 2, b'b', b'c', 0, 0, 1, 0, 1
            ]
        );
        assert!(query("a..b", 1).is_err());
    }

    #[test]
    fn refusal_is_told_from_an_answer_and_from_noise() {
        assert_eq!(
            read(&[0, 7, 0x81, 0x85, 0, 1, 0, 0, 0, 0, 0, 0], 7).unwrap(),
            "REFUSED with 0 answers"
        );
        assert_eq!(
            read(&[0, 7, 0x81, 0x80, 0, 1, 0, 2, 0, 0, 0, 0], 7).unwrap(),
            "NOERROR with 2 answers"
        );
        assert!(read(&[0, 8, 0x81, 0x80, 0, 1, 0, 2], 7).is_err());
    }
}
