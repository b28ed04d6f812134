//! Where in the zone a name stands.

use hickory_proto::rr::Name;
use tsutsumi_model::{INSECURE_ZONE, Mark, MarkError, MarkKey, ZoneName};

/// The label of the zone's server.
pub(crate) const SERVER: &str = "ns";

/// What begins the label that asks a resolver for its keys (RFC 8509, 2).
const SENTINEL: &[u8] = b"root-key-sentinel-";

/// What is at a name.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Place {
    Outside,
    Apex,
    Server,
    /// The unsigned zone's own apex.
    Cut,
    /// A marked name of the signed zone that exists.
    Marked(Mark),
    /// A marked name of the unsigned zone.
    MarkedBelow(Mark),
    /// Nothing in the signed zone. `label` below `encloser` is the first that does not exist.
    Nothing {
        encloser: Name,
        label: Vec<u8>,
        mark: Result<Mark, MarkError>,
    },
    /// Nothing in the unsigned zone.
    NothingBelow(MarkError),
}

impl Place {
    pub(crate) fn of(name: &Name, apex: &Name, key: &MarkKey, now: u64) -> Self {
        if !apex.zone_of(name) {
            return Self::Outside;
        }
        let labels: Vec<&[u8]> = name.iter().collect();
        let below = labels.len().saturating_sub(apex.iter().count());
        let read = |label: &[u8]| match std::str::from_utf8(label) {
            Ok(label) => Mark::read(label, key, now),
            Err(_) => Err(MarkError::Shape),
        };
        let [front @ .., label] = &labels[..below] else {
            return Self::Apex;
        };
        if label.eq_ignore_ascii_case(INSECURE_ZONE.as_bytes()) {
            return match front {
                [] => Self::Cut,
                [label] => match read(label) {
                    Ok(mark) if mark.name == ZoneName::Insecure => Self::MarkedBelow(mark),
                    Ok(_) => Self::NothingBelow(MarkError::Shape),
                    Err(why) => Self::NothingBelow(why),
                },
                _ => Self::NothingBelow(MarkError::Shape),
            };
        }
        let here = if label.eq_ignore_ascii_case(SERVER.as_bytes()) {
            Ok(Self::Server)
        } else {
            match read(label) {
                Ok(mark) if mark.name == ZoneName::Absent => Err(Ok(mark)),
                // Its place is below the cut.
                Ok(mark) if mark.name == ZoneName::Insecure => Err(Err(MarkError::Shape)),
                Ok(mark) => Ok(Self::Marked(mark)),
                Err(why) => Err(Err(why)),
            }
        };
        match (here, front.last()) {
            (Ok(place), None) => place,
            (Ok(Self::Marked(mark)), Some(next)) if front.len() == 1 && is_sentinel(mark, next) => {
                Self::Marked(mark)
            }
            (Ok(_), Some(next)) => Self::Nothing {
                encloser: name.trim_to(name.iter().count() - front.len()),
                label: next.to_vec(),
                mark: Err(MarkError::Shape),
            },
            (Err(mark), front) => Self::Nothing {
                encloser: apex.clone(),
                label: label.to_vec(),
                mark: if front.is_none() {
                    mark
                } else {
                    Err(MarkError::Shape)
                },
            },
        }
    }
}

/// What a resolver answers by its own keys exists; whatever else stands below a mark does not.
fn is_sentinel(mark: Mark, label: &[u8]) -> bool {
    let begin = label.get(..SENTINEL.len());
    mark.name == ZoneName::Sentinel && begin.is_some_and(|begin| begin.eq_ignore_ascii_case(SENTINEL))
}
