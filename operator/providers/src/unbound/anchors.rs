//! The keys that validation starts from: the root's, as data, and a user's file of them.
//!
//! [`ROOT_KEY`] carries both keys of the root's roll-over. Tags and digests are computed here, never copied, so a
//! damaged key cannot pass.

use super::config::Zone;
use sha2::{Digest, Sha256};
use std::fmt;

/// KSK-2017 and KSK-2024 as IANA publishes them.
pub const ROOT_KEY: &str = include_str!("root.key");

/// Longest file that is read, in bytes.
const MAX_BYTES: usize = 64 * 1024;

/// A key of the root that IANA published.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RootKey {
    /// IANA's name.
    pub name: &'static str,
    /// RFC 4034, appendix B.
    pub tag: u16,
    /// When it is revoked, in seconds since 1970.
    pub revoked: Option<u64>,
    digest: &'static str,
}

/// All that a validator may start from today.
pub const ROOT_KEYS: [RootKey; 2] = [
    RootKey {
        name: "KSK-2017",
        tag: 20326,
        revoked: Some(1_799_625_600), // 2027-01-11
        digest: "E06D44B80B8F1D39A95C0B0D7C65D08458E880409BBC683457104237C7F8EC8D",
    },
    RootKey {
        name: "KSK-2024",
        tag: 38696,
        revoked: None,
        digest: "683D2D0ACB8C9B712A1948B27F741219298D0A450D612C483AF444A4C0FB2B16",
    },
];

/// The digest of a key (RFC 4034, 5; SHA-256 by RFC 4509).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DsRecord {
    /// Whose key.
    pub zone: Zone,
    /// RFC 4034, appendix B.
    pub tag: u16,
    /// Number of the key's algorithm.
    pub algorithm: u8,
    /// SHA-256 of owner and key.
    pub digest: [u8; 32],
}

/// A key that signs keys.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Dnskey {
    /// Whose key.
    pub zone: Zone,
    /// 257 for a key that signs keys.
    pub flags: u16,
    /// Number of the key's algorithm.
    pub algorithm: u8,
    /// The public key.
    pub key: Vec<u8>,
}

/// What one line says that it must not.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("line {line}: {value:?}: {right}")]
pub struct AnchorError {
    /// From 1; 0 speaks of the whole file.
    pub line: usize,
    /// What stands there.
    pub value: String,
    /// What would be right.
    pub right: String,
}

impl RootKey {
    fn is_revoked(&self, now: u64) -> bool {
        self.revoked.is_some_and(|day| now >= day)
    }
}

impl Dnskey {
    fn rdata(&self) -> Vec<u8> {
        let [high, low] = self.flags.to_be_bytes();
        [&[high, low, 3, self.algorithm][..], &self.key].concat()
    }

    /// RFC 4034, appendix B.
    #[must_use]
    pub fn tag(&self) -> u16 {
        tsutsumi_model::key_tag(&self.rdata())
    }

    /// The key's digest.
    #[must_use]
    pub fn ds(&self) -> DsRecord {
        let digest = Sha256::new()
            .chain_update(self.zone.wire())
            .chain_update(self.rdata())
            .finalize();
        DsRecord {
            zone: self.zone.clone(),
            tag: self.tag(),
            algorithm: self.algorithm,
            digest: digest.into(),
        }
    }
}

impl DsRecord {
    /// Reads `ZONE [IN] DS TAG ALGORITHM 2 DIGEST`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let words: Vec<&str> = text
            .split_ascii_whitespace()
            .filter(|word| *word != "IN")
            .collect();
        let [zone, "DS", tag, algorithm, "2", digest @ ..] = &words[..] else {
            return None;
        };
        Some(Self {
            zone: zone.parse().ok()?,
            tag: tag.parse().ok()?,
            algorithm: algorithm.parse().ok()?,
            digest: unhex(&digest.concat())?,
        })
    }
}

impl fmt::Display for DsRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} DS {} {} 2 {}",
            self.zone,
            self.tag,
            self.algorithm,
            hex(&self.digest)
        )
    }
}

/// [`ROOT_KEY`] without what is revoked, and the digests of what is left. `now` is in seconds since 1970.
#[must_use]
pub fn bundled(now: u64) -> (String, Vec<DsRecord>) {
    let lines = ROOT_KEY
        .lines()
        .filter_map(|line| Some((line, dnskey(line)?.ds())));
    lines
        .filter(|(_, ds)| known(ds).is_some_and(|key| !key.is_revoked(now)))
        .map(|(line, ds)| (format!("{line}\n"), ds))
        .unzip()
}

/// Reads a user's anchors for the Internet's root: `DS` and `DNSKEY` lines. `now` is in seconds since 1970.
pub fn parse_root(text: &str, now: u64) -> Result<Vec<DsRecord>, AnchorError> {
    parse(text, |ds| match known(ds) {
        None => Err("IANA published no such key; the tags are 20326 and 38696"),
        Some(known) if known.is_revoked(now) => Err("this key is revoked; use 38696"),
        Some(_) => Ok(()),
    })
}

/// Reads the anchors of a root of the user's own, of which nobody publishes the keys.
pub fn parse_private_root(text: &str) -> Result<Vec<DsRecord>, AnchorError> {
    parse(text, |_| Ok(()))
}

fn parse(
    text: &str,
    is_known: impl Fn(&DsRecord) -> Result<(), &'static str>,
) -> Result<Vec<DsRecord>, AnchorError> {
    let whole = |right: &str| AnchorError {
        line: 0,
        value: String::new(),
        right: right.to_owned(),
    };
    if text.len() > MAX_BYTES {
        return Err(whole("a file of keys has at most 64 KiB"));
    }
    let mut found: Vec<DsRecord> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let content = line.split(';').next().unwrap_or_default().trim();
        if content.is_empty() {
            continue;
        }
        let wrong = |value: &str, right: &str| AnchorError {
            line: index + 1,
            value: value.chars().take(80).collect(),
            right: right.to_owned(),
        };
        let ds = DsRecord::parse(content)
            .or_else(|| Some(dnskey(content)?.ds()))
            .ok_or_else(|| {
                wrong(
                    content,
                    "a line is `. DS TAG ALGORITHM 2 DIGEST` or `. DNSKEY 257 3 ALGORITHM KEY`",
                )
            })?;
        if ds.zone != Zone::ROOT {
            return Err(wrong(&ds.zone.to_string(), "only the root, `.`, belongs here"));
        }
        is_known(&ds).map_err(|right| wrong(content, right))?;
        found.push(ds);
    }
    if found.is_empty() {
        return Err(whole("at least one key is needed"));
    }
    Ok(found)
}

fn known(ds: &DsRecord) -> Option<&'static RootKey> {
    ROOT_KEYS
        .iter()
        .find(|key| key.tag == ds.tag && ds.algorithm == 8 && key.digest == hex(&ds.digest))
}

fn dnskey(line: &str) -> Option<Dnskey> {
    let words: Vec<&str> = line
        .split_ascii_whitespace()
        .filter(|word| *word != "IN")
        .collect();
    let [zone, "DNSKEY", flags, "3", algorithm, key @ ..] = &words[..] else {
        return None;
    };
    Some(Dnskey {
        zone: zone.parse().ok()?,
        flags: flags.parse().ok().filter(|flags| *flags == 257)?,
        algorithm: algorithm.parse().ok()?,
        key: base64(&key.concat())?,
    })
}

/// RFC 4648, 4, for keys of at most 1 KiB.
fn base64(text: &str) -> Option<Vec<u8>> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = text.trim_end_matches('=');
    if text.is_empty() || !text.len().is_multiple_of(4) || text.len() - digits.len() > 2 || text.len() > 1368
    {
        return None;
    }
    let (mut bits, mut count, mut bytes) = (0_u32, 0, Vec::new());
    for digit in digits.bytes() {
        let value = DIGITS.iter().position(|known| *known == digit)?;
        bits = (bits << 6 | u32::try_from(value).ok()?) & 0xffff;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count).to_be_bytes()[3]);
        }
    }
    Some(bytes)
}

fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02X}");
        text
    })
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; 32];
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bundled_keys_have_the_published_tags_and_digests() {
        let keys: Vec<_> = ROOT_KEY.lines().map(|line| dnskey(line).unwrap()).collect();
        let seen: Vec<_> = keys
            .iter()
            .map(|key| (key.tag(), hex(&key.ds().digest)))
            .collect();
        assert_eq!(seen, ROOT_KEYS.map(|key| (key.tag, key.digest.to_owned())));
    }

    #[test]
    fn the_bundled_keys_lose_the_one_that_is_revoked() {
        let (text, keys) = bundled(1_799_625_599);
        assert_eq!((text.as_str(), keys.len()), (ROOT_KEY, 2));
        let (text, keys) = bundled(1_799_625_600);
        assert_eq!(parse_root(&text, 1_799_625_600), Ok(keys.clone()));
        assert_eq!(keys.iter().map(|key| key.tag).collect::<Vec<_>>(), [38696]);
    }

    #[test]
    fn a_file_is_read_or_its_line_named() {
        let now = 1_795_000_000;
        assert_eq!(parse_root(ROOT_KEY, now).unwrap().len(), 2);
        let after = parse_root(ROOT_KEY, 1_799_625_600).unwrap_err();
        assert_eq!(
            (after.line, after.right.as_str()),
            (1, "this key is revoked; use 38696")
        );
        let unknown = ROOT_KEY.lines().nth(1).unwrap().replace("AwEAAa96", "AwEAAa97");
        assert!(parse_root(&unknown, now).unwrap_err().right.contains("published"));
        let digest = ROOT_KEYS[1].digest;
        assert!(parse_root(&format!("\n. IN DS 38696 8 2 {digest}\n"), now).is_ok());
        for (bad, line) in [
            (String::new(), 0),
            (format!("\n. DS 38696 8 1 {digest}"), 2),
            (format!("test. DS 38696 8 2 {digest}"), 1),
            (". DNSKEY 256 3 8 AwEA".to_owned(), 1),
            (format!(". DS 38697 8 2 {digest}"), 1),
            (". DS 38696 8 2 é".to_owned(), 1),
        ] {
            assert_eq!(parse_root(&bad, now).unwrap_err().line, line, "{bad}");
        }
        let unpublished = format!(". DS 38697 8 2 {digest}");
        assert_eq!(parse_private_root(&unpublished).unwrap()[0].tag, 38697);
        assert!(parse_private_root(&format!("test. DS 1 8 2 {digest}")).is_err());
        assert!(
            parse_private_root(&" ".repeat(65537))
                .unwrap_err()
                .right
                .contains("64 KiB")
        );
    }
}
