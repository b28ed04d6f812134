//! One question to Unbound's control socket.
//!
//! Unbound writes its answer with its own thread waiting, so the answer is read at once and to its end, or the
//! connection is closed.

use std::{fmt, io, path::PathBuf, str::FromStr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
    time::timeout,
};
use tsutsumi_providers::unbound::stats::{MAX_ANSWER, Stats, StatsError};

/// The only command that is ever sent. It leaves the counters as they are: others may read them too.
const COMMAND: &[u8] = b"UBCT1 stats_noreset\n";
/// For the whole question. Unbound gathers the numbers of all its threads, which takes milliseconds; Prometheus
/// waits ten seconds.
pub(crate) const DEADLINE: Duration = Duration::from_secs(3);
/// The longest path of a socket, in bytes (`unix(7)`: 108 with the byte that ends it).
const LONGEST: usize = 107;

/// Where the control socket is: an absolute path that fits into a socket's address.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SocketPath(PathBuf);

/// No path of a socket.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "{0:?} must be an absolute path of at most {LONGEST} bytes, for example `/var/run/unbound/control.sock`"
)]
pub struct NotASocketPath(String);

impl FromStr for SocketPath {
    type Err = NotASocketPath;

    fn from_str(text: &str) -> Result<Self, NotASocketPath> {
        let fits = text.starts_with('/') && text.len() <= LONGEST && !text.contains('\0');
        fits.then(|| Self(text.into()))
            .ok_or_else(|| NotASocketPath(text.to_owned()))
    }
}

impl fmt::Display for SocketPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display().fmt(f)
    }
}

/// Why there are no numbers.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    #[error("cannot connect to Unbound's control socket {socket}")]
    Connect { socket: SocketPath, source: io::Error },
    #[error("cannot ask Unbound's control socket {socket}")]
    Exchange { socket: SocketPath, source: io::Error },
    #[error("Unbound's control socket {socket} did not answer within {} s", DEADLINE.as_secs())]
    Deadline { socket: SocketPath },
    #[error("Unbound's control socket {socket} answers with more than {MAX_ANSWER} bytes")]
    TooLong { socket: SocketPath },
    #[error("Unbound's control socket {socket} answers with bytes that are no text")]
    NotText { socket: SocketPath },
    #[error("cannot read the answer of Unbound's control socket {socket}")]
    Unreadable { socket: SocketPath, source: StatsError },
}

/// Asks once.
pub(crate) async fn ask(socket: &SocketPath) -> Result<Stats, AskError> {
    let socket = || socket.clone();
    let answer = timeout(DEADLINE, exchange(&socket()))
        .await
        .map_err(|_| AskError::Deadline { socket: socket() })??;
    let answer = String::from_utf8(answer).map_err(|_| AskError::NotText { socket: socket() })?;
    Stats::parse(&answer).map_err(|source| AskError::Unreadable {
        socket: socket(),
        source,
    })
}

async fn exchange(socket: &SocketPath) -> Result<Vec<u8>, AskError> {
    let broken = |source| AskError::Exchange {
        socket: socket.clone(),
        source,
    };
    let mut stream = UnixStream::connect(&socket.0)
        .await
        .map_err(|source| AskError::Connect {
            socket: socket.clone(),
            source,
        })?;
    stream.write_all(COMMAND).await.map_err(broken)?;
    let mut answer = Vec::new();
    // One byte more than may be, to see that there is more.
    let limit = MAX_ANSWER as u64 + 1;
    stream
        .take(limit)
        .read_to_end(&mut answer)
        .await
        .map_err(broken)?;
    if answer.len() > MAX_ANSWER {
        return Err(AskError::TooLong {
            socket: socket.clone(),
        });
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener as StdListener;

    use tokio::net::UnixListener;

    use super::*;

    /// A socket whose one conversation goes as `talk` says.
    fn unbound<F>(talk: impl FnOnce(UnixStream) -> F + Send + 'static) -> (tempfile::TempDir, SocketPath)
    where
        F: Future<Output = ()> + Send,
    {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        let listener = UnixListener::bind(&path).unwrap();
        tokio::spawn(async move { talk(listener.accept().await.unwrap().0).await });
        (folder, path.to_str().unwrap().parse().unwrap())
    }

    async fn heard(stream: &mut UnixStream) -> Vec<u8> {
        let mut command = vec![0; COMMAND.len()];
        stream.read_exact(&mut command).await.unwrap();
        command
    }

    #[tokio::test]
    async fn the_one_command_is_written_and_the_whole_answer_read() {
        let (_folder, socket) = unbound(async |mut stream: UnixStream| {
            assert_eq!(heard(&mut stream).await, b"UBCT1 stats_noreset\n");
            stream.write_all(b"total.num.queries=4\ntime.").await.unwrap();
            stream.write_all(b"up=1.500000\n").await.unwrap();
        });
        let stats = ask(&socket).await.unwrap();
        assert_eq!(stats.value("total.num.queries"), Some(4.0));
        assert_eq!(stats.value("time.up"), Some(1.5));
    }

    #[tokio::test]
    async fn what_breaks_off_or_is_no_answer_is_told() {
        let (_folder, socket) = unbound(async |mut stream: UnixStream| {
            heard(&mut stream).await;
            stream.write_all(b"total.num.queries=4").await.unwrap();
        });
        let error = ask(&socket).await.unwrap_err();
        assert!(
            matches!(
                error,
                AskError::Unreadable {
                    source: StatsError::CutOff { .. },
                    ..
                }
            ),
            "{error:?}"
        );
        let (_folder, socket) = unbound(async |mut stream: UnixStream| {
            heard(&mut stream).await;
            stream.write_all(b"a=\xff\n").await.unwrap();
        });
        assert!(matches!(ask(&socket).await, Err(AskError::NotText { .. })));
    }

    #[tokio::test]
    async fn an_answer_without_an_end_is_given_up() {
        let (_folder, socket) = unbound(async |mut stream: UnixStream| {
            heard(&mut stream).await;
            while stream.write_all(b"total.num.queries=4\n").await.is_ok() {}
        });
        let error = ask(&socket).await.unwrap_err();
        assert!(matches!(error, AskError::TooLong { .. }), "{error:?}");
    }

    /// The clock is ours, so nobody waits.
    #[tokio::test(start_paused = true)]
    async fn a_socket_that_never_answers_is_given_up_at_the_deadline() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        let _listener = StdListener::bind(&path).unwrap();
        let socket: SocketPath = path.to_str().unwrap().parse().unwrap();
        let error = ask(&socket).await.unwrap_err();
        let told = error.to_string();
        assert!(
            told.ends_with("did not answer within 3 s") && told.contains(&socket.to_string()),
            "{told}"
        );
    }

    #[tokio::test]
    async fn nobody_there_is_an_error_that_names_the_place() {
        let socket: SocketPath = "/nowhere/control.sock".parse().unwrap();
        let error = ask(&socket).await.unwrap_err();
        assert!(matches!(error, AskError::Connect { .. }), "{error:?}");
        assert!(error.to_string().contains("/nowhere/control.sock"), "{error}");
    }

    #[test]
    fn only_what_can_be_an_address_is_a_path() {
        let longest = format!("/{}", "x".repeat(LONGEST - 1));
        assert!(longest.parse::<SocketPath>().is_ok());
        for wrong in ["", "control.sock", &format!("{longest}x"), "/a\0b"] {
            let error = wrong.parse::<SocketPath>().unwrap_err().to_string();
            assert!(
                error.contains(&format!("{wrong:?}")) && error.contains("/var/run/unbound"),
                "{error}"
            );
        }
    }
}
