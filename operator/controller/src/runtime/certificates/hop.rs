//! What the hop from CoreDNS to a managed resolver needs: the resolver's certificates with their keys in a Secret of ours,
//! and the authorities in a ConfigMap where CoreDNS runs. No IO, no clock.
//!
//! Everything is named by its content and stays until it ends: a pod that comes up finds what its configuration names,
//! whatever was issued since. An authority that is followed by an unrelated one stays beside it, so that CoreDNS can
//! trust both before the resolver shows a certificate of the new one; emptying the Secret of the resolver too is how a
//! person has the old one forgotten.

use std::collections::BTreeMap;

use jiff::Timestamp;
use rustls::pki_types::CertificateDer;
use sha2::{Digest, Sha256};
use tsutsumi_engine::managed::hop::Certificates;

use super::issue::{
    Authority, BUNDLE_LIMIT, CA_CERT, Data, IssueError, Peer, Renewal, TLS_CERT, TLS_KEY, certificates,
    lasts, leaf_due, names, parsed, pem,
};

/// More certificates than this are never kept: the one that is shown, and those that are to be.
const LEAF_LIMIT: usize = 3;
/// More bundles of authorities than this are never kept: they change once in five years, or by a person's wish.
const BUNDLES_LIMIT: usize = 8;

/// What the Secret of the resolver is to hold, if it does not hold that already.
pub(super) fn due(data: &Data, authority: &Authority, now: Timestamp) -> Result<Option<Data>, IssueError> {
    let bundle = bundle(data, authority, now);
    let mut kept: Vec<_> = leaves(data)
        .into_iter()
        .filter(|leaf| leaf.is_kept(&bundle, now))
        .collect();
    let good = |leaf: &Leaf| {
        let due = leaf_due(&leaf.data(), Peer::Resolver, authority, now);
        matches!(due, Renewal::None | Renewal::Bundle)
    };
    if !kept.first().is_some_and(good) {
        let issued = authority.issue(Peer::Resolver, now)?;
        kept.splice(0..0, Leaf::of(&issued));
    }
    kept.truncate(LEAF_LIMIT);
    let mut next = Data::from([(CA_CERT.to_owned(), bundle.iter().flat_map(pem).collect())]);
    for leaf in kept {
        next.insert(format!("{}.crt", leaf.name), leaf.certificate);
        next.insert(format!("{}.key", leaf.name), leaf.key);
    }
    Ok((next != *data).then_some(next))
}

/// What the ConfigMap with the authorities is to hold, if it does not hold that already.
pub(super) fn published(
    present: &BTreeMap<String, String>,
    secret: &Data,
    now: Timestamp,
) -> Option<BTreeMap<String, String>> {
    let newest = secret
        .get(CA_CERT)
        .and_then(|pem| std::str::from_utf8(pem).ok())?;
    let ends = |text: &str| {
        let data = Data::from([(CA_CERT.to_owned(), text.as_bytes().to_vec())]);
        let found = certificates(&data, CA_CERT);
        let ends = found
            .iter()
            .filter_map(parsed)
            .map(|cert| cert.validity().not_after.timestamp());
        ends.max().filter(|end| *end > now.as_second())
    };
    let mut older: Vec<_> = present
        .iter()
        .filter(|(file, text)| **file == authorities(text.as_bytes()) && text.as_str() != newest)
        .filter_map(|(file, text)| Some((ends(text)?, file, text)))
        .collect();
    older.sort_by(|a, b| b.cmp(a));
    let older = older.into_iter().take(BUNDLES_LIMIT - 1);
    let mut next: BTreeMap<_, _> = older
        .map(|(_, file, text)| (file.clone(), text.clone()))
        .collect();
    next.insert(authorities(newest.as_bytes()), newest.to_owned());
    (next != *present).then_some(next)
}

/// What the Secret of the resolver offers; none until it was filled.
pub(crate) fn offered(data: &Data) -> Option<Certificates> {
    Some(Certificates {
        authorities: authorities(data.get(CA_CERT)?),
        leaves: leaves(data).into_iter().map(|leaf| leaf.name).collect(),
    })
}

/// When the newest certificate ends.
pub(super) fn not_after(data: &Data) -> Option<Timestamp> {
    super::issue::not_after(&leaves(data).first()?.data(), TLS_CERT)
}

/// A certificate and its key.
struct Leaf {
    name: String,
    from: i64,
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Leaf {
    fn of(data: &Data) -> Option<Self> {
        let chain = certificates(data, TLS_CERT);
        let from = parsed(chain.first()?)?.validity().not_before.timestamp();
        let certificate = data.get(TLS_CERT)?.clone();
        Some(Self {
            name: content(&certificate),
            from,
            key: data.get(TLS_KEY)?.clone(),
            certificate,
        })
    }

    /// As the Secret of any other peer holds it.
    fn data(&self) -> Data {
        [
            (TLS_CERT.to_owned(), self.certificate.clone()),
            (TLS_KEY.to_owned(), self.key.clone()),
        ]
        .into()
    }

    /// Whether it still counts, by one of these authorities.
    fn is_kept(&self, bundle: &[CertificateDer<'static>], now: Timestamp) -> bool {
        let chain = certificates(&self.data(), TLS_CERT);
        chain.first().and_then(parsed).is_some_and(|leaf| {
            let mut authorities = bundle.iter().filter_map(parsed);
            names(&leaf, Peer::Resolver)
                && lasts(&leaf, now)
                && authorities.any(|one| leaf.verify_signature(Some(one.public_key())).is_ok())
        })
    }
}

/// Those of the Secret that can be read, the newest first.
fn leaves(data: &Data) -> Vec<Leaf> {
    let mut found: Vec<_> = data
        .keys()
        .filter_map(|file| file.strip_suffix(".key"))
        .filter_map(|name| {
            let pair = [
                (TLS_CERT.to_owned(), data.get(&format!("{name}.crt"))?.clone()),
                (TLS_KEY.to_owned(), data.get(&format!("{name}.key"))?.clone()),
            ];
            Leaf::of(&pair.into()).filter(|leaf| leaf.name == name)
        })
        .collect();
    found.sort_by(|a, b| (b.from, &a.name).cmp(&(a.from, &b.name)));
    found
}

/// The present authorities, and those before that still count.
fn bundle(data: &Data, authority: &Authority, now: Timestamp) -> Vec<CertificateDer<'static>> {
    let mut bundle = authority.bundle.clone();
    for older in certificates(data, CA_CERT) {
        let counts = parsed(&older).is_some_and(|cert| lasts(&cert, now));
        if counts && !bundle.contains(&older) {
            bundle.push(older);
        }
    }
    bundle.truncate(BUNDLE_LIMIT);
    bundle
}

/// The file with these authorities.
fn authorities(pem: &[u8]) -> String {
    format!("{}.crt", content(pem))
}

/// Twelve hexadecimal digits that tell a content.
fn content(octets: &[u8]) -> String {
    let hash = Sha256::digest(octets);
    hash.iter()
        .take(6)
        .fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

#[cfg(test)]
#[path = "hop_tests.rs"]
mod tests;
