//! `EndpointSlices`: to which addresses the ports of a Service lead.
//!
//! They are kept by the addresses in them, so that those in front of some pods are found without a look at the others.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
};

use k8s_openapi::{
    api::discovery::v1::{self, EndpointPort},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use serde::Deserialize;

use super::{
    Index, Interest, Key, label,
    meta::{lean, or_empty, watched_as},
};

/// An `EndpointSlice`, as far as facts are made from it.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(from = "Raw")]
pub struct Slice {
    /// Its name.
    pub metadata: ObjectMeta,
    /// The Service's name, in the same namespace.
    pub service: String,
    /// Its ports.
    pub ports: Vec<EndpointPort>,
    /// The addresses of its endpoints, sorted.
    pub addresses: Vec<IpAddr>,
}

impl Slice {
    /// The Service whose endpoints these are.
    #[must_use]
    pub fn service_key(&self) -> Key {
        Key::new(super::namespace(&self.metadata), &self.service)
    }
}

/// All `EndpointSlices`.
#[derive(Clone, Debug, Default)]
pub struct Slices {
    all: BTreeMap<Key, Arc<Slice>>,
    by_address: BTreeSet<(IpAddr, Key)>,
}

impl Slices {
    /// Those with one of these addresses, sorted by name.
    pub fn holding(&self, addresses: &BTreeSet<IpAddr>) -> impl Iterator<Item = &Arc<Slice>> {
        let keys: BTreeSet<&Key> = addresses
            .iter()
            .flat_map(|address| {
                let from = self.by_address.range((*address, Key::least())..);
                from.take_while(move |(each, _)| each == address)
                    .map(|(_, key)| key)
            })
            .collect();
        keys.into_iter().filter_map(|key| self.all.get(key))
    }

    fn take_out(&mut self, key: &Key) -> Option<Arc<Slice>> {
        let before = self.all.remove(key)?;
        for address in &before.addresses {
            self.by_address.remove(&(*address, key.clone()));
        }
        Some(before)
    }
}

impl Index for Slices {
    type Object = Slice;

    fn put(&mut self, mut slice: Slice, interest: &Interest) -> bool {
        slice.metadata.resource_version = None;
        let key = Key::of(&slice.metadata);
        if self.all.get(&key).is_some_and(|before| **before == slice) {
            return false;
        }
        let before = self.take_out(&key);
        let mut addresses = before
            .iter()
            .flat_map(|before| &before.addresses)
            .chain(&slice.addresses);
        let concerns = addresses.any(|address| interest.is_dns(*address));
        self.by_address
            .extend(slice.addresses.iter().map(|address| (*address, key.clone())));
        self.all.insert(key, Arc::new(slice));
        concerns
    }

    fn remove(&mut self, slice: &Slice, interest: &Interest) -> bool {
        let before = self.take_out(&Key::of(&slice.metadata));
        let mut addresses = before.iter().flat_map(|before| &before.addresses);
        addresses.any(|address| interest.is_dns(*address))
    }

    fn len(&self) -> usize {
        self.all.len()
    }
}

watched_as!(Slice, v1::EndpointSlice);

/// An `EndpointSlice` as the API server sends it.
#[derive(Deserialize)]
struct Raw {
    #[serde(deserialize_with = "lean")]
    metadata: ObjectMeta,
    #[serde(default, deserialize_with = "or_empty")]
    endpoints: Vec<Endpoint>,
    #[serde(default, deserialize_with = "or_empty")]
    ports: Vec<EndpointPort>,
}

#[derive(Deserialize)]
struct Endpoint {
    #[serde(default, deserialize_with = "or_empty")]
    addresses: Vec<String>,
}

impl From<Raw> for Slice {
    fn from(raw: Raw) -> Self {
        let texts = raw.endpoints.iter().flat_map(|endpoint| &endpoint.addresses);
        let addresses: BTreeSet<IpAddr> = texts.filter_map(|text| text.parse().ok()).collect();
        let service = label(&raw.metadata, "kubernetes.io/service-name").unwrap_or_default();
        Self {
            service: service.to_owned(),
            metadata: ObjectMeta {
                labels: None,
                owner_references: None,
                ..raw.metadata
            },
            ports: raw.ports,
            addresses: addresses.into_iter().collect(),
        }
    }
}
