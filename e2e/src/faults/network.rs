//! The pods' network: a namespace with a bridge, where the controller and the clients are, and a namespace for each
//! address that a pod can have. Nothing of the machine's own network is touched.

use std::{
    env,
    net::{IpAddr, Ipv4Addr},
    process::Command,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context, Result, ensure};

use crate::{place::Place, rig::output};

/// Tells apart worlds that exist side by side.
const WORLD: &str = "TSUTSUMI_FAULTS_WORLD";
/// The pods' range, and the node's.
pub const PODS: &str = "10.245.0.0/24";
/// The address of the bridge, which is the node's.
pub const NODE: Ipv4Addr = Ipv4Addr::new(10, 245, 0, 1);
/// How many pods there can be at once.
const SEATS: u8 = 10;

/// The network; it goes with this value.
#[derive(Debug)]
pub struct Network {
    free: Mutex<Vec<u8>>,
}

/// An address for a pod; free again when this value goes.
#[derive(Debug)]
pub struct Seat {
    network: Arc<Network>,
    number: u8,
}

impl Network {
    /// Makes it, in place of one that was left.
    ///
    /// # Errors
    /// If this process may not.
    pub fn make() -> Result<Arc<Self>> {
        clear()?;
        let network = Arc::new(Self {
            free: Mutex::new((0..SEATS).collect()),
        });
        let world = prefix();
        let inside = format!("-n {world}");
        let mut lines = vec![
            format!("netns add {world}"),
            format!("{inside} link set lo up"),
            format!("{inside} link add pods type bridge"),
            format!("{inside} address add {NODE}/24 dev pods"),
            format!("{inside} link set pods up"),
        ];
        for number in 0..SEATS {
            let (pod, address) = (name(number), address(number));
            lines.extend([
                format!("netns add {pod}"),
                format!("{inside} link add pod{number} type veth peer name eth0 netns {pod}"),
                format!("{inside} link set pod{number} master pods up"),
                format!("-n {pod} link set lo up"),
                format!("-n {pod} address add {address}/24 dev eth0"),
                format!("-n {pod} link set eth0 up"),
                format!("-n {pod} route add default via {NODE}"),
            ]);
        }
        for line in lines {
            ip(&line)?;
        }
        Ok(network)
    }

    /// Where the controller and the clients are.
    #[must_use]
    pub fn world() -> Place {
        Place::named(&prefix())
    }

    /// An address that no pod has.
    ///
    /// # Errors
    /// If all are taken.
    pub fn seat(self: &Arc<Self>) -> Result<Seat> {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        // The longest free first: a late answer to the one before reaches nobody.
        let number = (!free.is_empty()).then(|| free.remove(0));
        Ok(Seat {
            network: Arc::clone(self),
            number: number.context("every address of a pod is taken")?,
        })
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        if let Err(error) = clear() {
            eprintln!("network namespaces are left: {error:#}");
        }
    }
}

impl Seat {
    /// The namespace behind it.
    #[must_use]
    pub fn place(&self) -> Place {
        Place::named(&name(self.number))
    }

    /// The address.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        address(self.number).into()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.network
            .free
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(self.number);
    }
}

/// The processes behind an address, stopped in their tracks; they go on with the end of this value.
#[derive(Debug)]
pub struct Stopped(Vec<String>);

impl Stopped {
    /// Stops them.
    ///
    /// # Errors
    /// If there is none.
    pub fn at(pod: IpAddr) -> Result<Self> {
        let number = (0..SEATS).find(|number| pod == IpAddr::from(address(*number)));
        let name = name(number.with_context(|| format!("no pod has the address {pod}"))?);
        let found = output(Command::new("ip").args(["netns", "pids", &name]))?;
        let stopped = Self(found.split_whitespace().map(str::to_owned).collect());
        ensure!(!stopped.0.is_empty(), "nothing runs at {pod}");
        stopped.signal("STOP")?;
        Ok(stopped)
    }

    fn signal(&self, name: &str) -> Result<()> {
        output(Command::new("kill").args(["-s", name]).args(&self.0)).map(drop)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        let _ = self.signal("CONT");
    }
}

/// What every name begins with, so that a run that was killed leaves nothing that the next does not find.
fn prefix() -> String {
    format!(
        "tsutsumi-faults-{}",
        env::var(WORLD).unwrap_or_else(|_| "a".into())
    )
}

fn name(number: u8) -> String {
    format!("{}-{number}", prefix())
}

const fn address(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 245, 0, 10 + number)
}

/// Removes every namespace of ours, with what a run that was killed left in it; the devices go with them.
fn clear() -> Result<()> {
    let listed = output(Command::new("ip").args(["netns", "list"]))?;
    let names = listed.lines().filter_map(|line| line.split_whitespace().next());
    let ours = prefix();
    for name in names.filter(|name| name.starts_with(&ours)) {
        for process in output(Command::new("ip").args(["netns", "pids", name]))?.split_whitespace() {
            // It may have ended by itself.
            let _ = output(Command::new("kill").args(["-s", "KILL", process]));
        }
        ip(&format!("netns delete {name}"))?;
    }
    Ok(())
}

fn ip(line: &str) -> Result<()> {
    output(Command::new("ip").args(line.split_whitespace())).map(drop)
}
