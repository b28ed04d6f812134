//! The probe zones, of our installation and outside: names for a round, and what reached them of those.

use std::{
    collections::BTreeMap,
    hash::{BuildHasher, RandomState},
    net::SocketAddr,
    sync::Arc,
};

use jiff::Timestamp;
use tsutsumi_engine::{
    cluster::Pod,
    verify::{Aim, Marks, Step},
};
use tsutsumi_model::{DomainName, Heard, Port, Vantage};
use tsutsumi_zone::{ClientError, ZoneClient};

use crate::runtime::{
    certificates::{ControllerTls, MarkKeys},
    outside_zone::OutsideProbeZone,
};

use super::vantage::address_of;

/// Where a probe zone tells what reached it.
const CONTROL: Port = Port::new(8443).expect("8443 is not 0");

/// Knows the probe zone and how to ask it.
#[derive(Clone)]
pub(crate) struct Zone {
    name: Option<DomainName>,
    outside: Option<OutsideProbeZone>,
    own_namespace: String,
    tls: ControllerTls,
    keys: MarkKeys,
}

/// The probe zone cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ZoneError {
    /// The chart runs none.
    #[error("the probe zone does not run: set `probeZone.enabled=true` in the chart's values")]
    Absent,
    /// We have no certificate or key yet.
    #[error("the keys of the probe zone are not made yet; the next round asks again")]
    Unidentified,
    /// No pod of it is ready.
    #[error(
        "no pod of the Deployment tsutsumi-probe-zone is ready: look at `kubectl get pods -A -l \
             app.kubernetes.io/component=probe-zone`"
    )]
    NotReady,
    /// It did not tell.
    #[error("the probe zone {place} at {address} could not be asked what reached it")]
    Client {
        /// Where it stands.
        place: Vantage,
        /// Its control port.
        address: SocketAddr,
        /// What failed.
        source: ClientError,
    },
}

/// A round that names of the zones may be part of.
pub(super) struct Listening {
    inside: Ear,
    outside: Option<Ear>,
    pub(super) marks: Marks,
}

/// A zone that is asked what it heard.
struct Ear {
    place: Vantage,
    client: ZoneClient,
    address: SocketAddr,
}

impl Zone {
    pub(crate) fn new(
        name: Option<DomainName>,
        outside: Option<OutsideProbeZone>,
        own_namespace: &str,
        tls: ControllerTls,
        keys: MarkKeys,
    ) -> Self {
        Self {
            name,
            outside,
            own_namespace: own_namespace.to_owned(),
            tls,
            keys,
        }
    }

    /// Gets ready to hear a round; `pods` are those of our own namespace among others.
    pub(super) fn listen(&self, pods: &[Arc<Pod>], now: Timestamp) -> Result<Listening, ZoneError> {
        let name = self.name.clone().ok_or(ZoneError::Absent)?;
        let (Some(tls), Some(key)) = (self.tls.client_config(), self.keys.newest()) else {
            return Err(ZoneError::Unidentified);
        };
        let mut addresses = pods
            .iter()
            .filter_map(|pod| address_of(pod, &self.own_namespace, "probe-zone", CONTROL));
        let address = addresses.next().ok_or(ZoneError::NotReady)?;
        let ear = |place, address| Ear {
            place,
            client: ZoneClient::new(address, Arc::clone(&tls)),
            address,
        };
        let marks = Marks::new(name, key, random(), now);
        Ok(Listening {
            inside: ear(Vantage::Inside, address),
            outside: self
                .outside
                .as_ref()
                .map(|zone| ear(Vantage::Outside, zone.control)),
            marks: match &self.outside {
                Some(outside) => marks.and_outside(outside.zone.name.clone()),
                None => marks,
            },
        })
    }
}

impl Listening {
    /// Whether the zone outside tells what it hears: else nobody is sent there.
    pub(super) async fn outside_tells(&self) -> Result<(), ZoneError> {
        match &self.outside {
            Some(ear) => ear.hears(self.marks.sample(0)).await.map(drop),
            None => Ok(()),
        }
    }

    /// What reached the zone at a place of the series that asked for its names, by the number of the probe.
    pub(super) async fn heard(
        &self,
        place: Vantage,
        series: &[Step],
    ) -> Result<BTreeMap<u32, Heard>, ZoneError> {
        let (ear, aim) = match place {
            Vantage::Inside => (Some(&self.inside), Aim::Ports),
            Vantage::Outside => (self.outside.as_ref(), Aim::PortsOutside),
        };
        let mut heard = BTreeMap::new();
        let Some(ear) = ear else {
            return Ok(heard);
        };
        for (_, probe) in series.iter().filter(|(purpose, _)| purpose.aim == aim) {
            let told = ear.hears(self.marks.sample(probe.id)).await?;
            heard.insert(probe.id, told);
        }
        Ok(heard)
    }
}

impl Ear {
    async fn hears(&self, sample: u32) -> Result<Heard, ZoneError> {
        let arrivals = self.client.arrivals(sample).await;
        let told = arrivals.map_err(|source| ZoneError::Client {
            place: self.place,
            address: self.address,
            source,
        })?;
        Ok(Heard::of(self.place, &told))
    }
}

/// Anything; `RandomState` is keyed by the system's randomness.
fn random() -> u32 {
    let [a, b, c, d, ..] = RandomState::new().hash_one(()).to_ne_bytes();
    u32::from_ne_bytes([a, b, c, d])
}
