//! Between the controller and the API server: requests of one kind are held until the test lets them go, so that what
//! others do can be put exactly between the controller's decision and its write.
//!
//! `kubectl proxy` speaks TLS to the API server with the controller's own rights; here the plain bytes pass. A client
//! writes the head of a request at once, so a request is known by the bytes that a read begins with.

use std::{
    io::{BufRead as _, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy},
    net::{TcpListener, TcpStream, tcp},
    sync::{mpsc, oneshot},
};

use crate::rig::Rig;

/// The way through; it is closed with this value.
#[derive(Debug)]
pub struct Between {
    /// Where the controller finds the API server.
    pub address: SocketAddr,
    held: mpsc::Receiver<Held>,
    proxy: Child,
}

/// A request on its way; it goes on with the end of this value.
pub type Held = oneshot::Sender<()>;

impl Between {
    /// Opens the way with the rights of `kubeconfig`. Requests that begin with `wanted` are held.
    ///
    /// # Errors
    /// If `kubectl proxy` does not come up.
    pub async fn open(rig: &Rig, kubeconfig: &Path, wanted: &'static str) -> Result<Self> {
        let mut proxy = Command::new(&rig.kubectl)
            .args(["proxy", "--port=0", "--kubeconfig"])
            .arg(kubeconfig)
            .stdout(Stdio::piped())
            .spawn()
            .context("starting kubectl proxy")?;
        let mut said = String::new();
        let stdout = proxy.stdout.take().context("its output is piped")?;
        BufReader::new(stdout).read_line(&mut said)?;
        let server: SocketAddr = said
            .split_whitespace()
            .find_map(|word| word.parse().ok())
            .with_context(|| format!("kubectl proxy says `{said}` instead of its address"))?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (hold, waiting) = mpsc::channel(16);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let hold = hold.clone();
                // Either side may close at any time; whoever asked sees that by itself.
                tokio::spawn(async move { pass(client, server, wanted, &hold).await.ok() });
            }
        });
        Ok(Self {
            address,
            held: waiting,
            proxy,
        })
    }

    /// Waits for the next request that is held.
    ///
    /// # Errors
    /// If nobody can come this way any more.
    pub async fn next(&mut self) -> Result<Held> {
        self.held.recv().await.context("the way is closed")
    }
}

impl Drop for Between {
    fn drop(&mut self) {
        let _ = self.proxy.kill();
        let _ = self.proxy.wait();
    }
}

async fn pass(
    client: TcpStream,
    server: SocketAddr,
    wanted: &str,
    hold: &mpsc::Sender<Held>,
) -> std::io::Result<()> {
    let server = TcpStream::connect(server).await?;
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, to_server) = server.into_split();
    tokio::select! {
        ended = forward(&mut from_client, to_server, wanted, hold) => ended,
        ended = copy(&mut from_server, &mut to_client) => ended.map(drop),
    }
}

async fn forward(
    client: &mut tcp::OwnedReadHalf,
    mut server: tcp::OwnedWriteHalf,
    wanted: &str,
    hold: &mpsc::Sender<Held>,
) -> std::io::Result<()> {
    let mut buffer = vec![0; 65_536];
    loop {
        let length = client.read(&mut buffer).await?;
        let bytes = buffer.get(..length).unwrap_or_default();
        if bytes.is_empty() {
            return server.shutdown().await;
        }
        if bytes.starts_with(wanted.as_bytes()) {
            let (release, released) = oneshot::channel();
            if hold.send(release).await.is_ok() {
                let _ = released.await;
            }
        }
        server.write_all(bytes).await?;
    }
}
