//! NSEC records that deny one name and next to nothing else (RFC 4470).
//!
//! An owner that is invented must not be a name that exists, or a resolver that synthesises from it (RFC 8198) would
//! deny what is there. All our names are of letters, digits and hyphens; so what is denied must be so, too, and the
//! neighbours that are invented never are.

use hickory_proto::{
    ProtoError,
    dnssec::rdata::{DNSSECRData, NSEC},
    rr::{Name, RData, Record, RecordType},
};

const LONGEST_LABEL: usize = 63;

/// The record that says which types exist at a name that does exist.
pub(crate) fn at(owner: &Name, types: &[RecordType], ttl: u32) -> Result<Record, ProtoError> {
    let next = owner.prepend_label(&[0][..])?;
    let data = NSEC::new_cover_self(next, types.iter().copied());
    Ok(record(owner.clone(), data, ttl))
}

/// The record that denies the label below the parent, with all that could be below it; none for a label that is not of
/// letters, digits, hyphens and underscores.
pub(crate) fn around(label: &[u8], parent: &Name, ttl: u32) -> Option<Result<Record, ProtoError>> {
    let plain = |octet: &u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_');
    label.iter().all(plain).then(|| between(label, parent, ttl))
}

/// The record that denies that anything below the parent is made from a wildcard.
pub(crate) fn wildcard(parent: &Name, ttl: u32) -> Result<Record, ProtoError> {
    between(b"*", parent, ttl)
}

fn between(label: &[u8], parent: &Name, ttl: u32) -> Result<Record, ProtoError> {
    let (before, after) = neighbours(&label.to_ascii_lowercase());
    let next = parent.prepend_label(&after[..])?;
    let data = NSEC::new_cover_self(next, []);
    Ok(record(parent.prepend_label(&before[..])?, data, ttl))
}

/// Two labels with nothing of ours between them but the one given (canonical order: RFC 4034, 6.1).
fn neighbours(label: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let (mut before, mut after) = (label.to_vec(), label.to_vec());
    if let Some(last) = before.last_mut() {
        *last = last.saturating_sub(1);
    }
    if label.len() < LONGEST_LABEL {
        before.push(u8::MAX);
        after.push(0);
    } else if let Some(last) = after.last_mut() {
        *last = last.saturating_add(1);
    }
    (before, after)
}

fn record(owner: Name, data: NSEC, ttl: u32) -> Record {
    Record::from_rdata(owner, ttl, RData::DNSSEC(DNSSECRData::NSEC(data)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn nothing_else_that_could_exist_lies_between(
            label in "[A-Za-z0-9_-]{1,62}",
            other in "[a-z0-9-]{1,52}",
        ) {
            let label = label.to_ascii_lowercase();
            let (before, after) = neighbours(label.as_bytes());
            prop_assert!(before.as_slice() < label.as_bytes() && label.as_bytes() < after.as_slice());
            let covered = before.as_slice() < other.as_bytes() && other.as_bytes() < after.as_slice();
            prop_assert_eq!(covered, other == label);
            prop_assert!(before.last() == Some(&u8::MAX), "an owner of ours exists nowhere");
        }
    }

    #[test]
    fn a_label_of_full_length_is_denied_and_one_of_other_octets_is_not() {
        let apex = Name::from_ascii("probe.test.").unwrap();
        assert!(around(&[b'a'; LONGEST_LABEL], &apex, 5).unwrap().is_ok());
        assert!(around(b"insecure\0", &apex, 5).is_none());
        assert!(around(b"*", &apex, 5).is_none());
    }
}
