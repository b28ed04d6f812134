//! Whatever reaches the probe zone, its answer fits the bound and bears the id; what is malformed gets no more than
//! it sent.
#![no_main]

use std::sync::{Arc, LazyLock};

use hickory_proto::dnssec::{Algorithm, crypto::EcdsaSigningKey};
use libfuzzer_sys::fuzz_target;
use tsutsumi_model::MarkKey;
use tsutsumi_zone::{Asked, Keys, Query, Unanswerable, Zone, ZoneKey, datagram_limit, encode};

static ZONE: LazyLock<Zone> = LazyLock::new(|| {
    let key = EcdsaSigningKey::generate_pkcs8(Algorithm::ECDSAP256SHA256).expect("a key");
    let keys = Keys {
        mark: MarkKey::new([7; 32]),
        zone: Arc::new(ZoneKey::read(key.secret_pkcs8_der()).expect("a key")),
    };
    Zone::new(&"probe.tsutsumi.test".parse().expect("a name"), keys).expect("a zone")
});

fuzz_target!(|message: &[u8]| {
    let answer = match Query::read(message) {
        Ok(query) => {
            let from = "192.0.2.1:4000".parse().expect("an address");
            let asked = Asked { query: &query, from, now: 1_800_000_000 };
            let answer = ZONE.answer(asked).expect("an answer");
            let limit = datagram_limit(&query);
            let bytes = encode(&query, answer, limit).expect("a message");
            assert!(bytes.len() <= limit);
            bytes
        }
        Err(Unanswerable::Header(header)) => {
            assert!(header.len() <= message.len());
            header.to_vec()
        }
        Err(Unanswerable::Silence) => return,
    };
    assert_eq!(answer[..2], message[..2]);
    assert!(answer[2] & 0x80 != 0);
});
