//! Every kind of name, judged by hickory's validator, which trusts the zone's key alone and asks for what it lacks.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

mod common;

use std::sync::Arc;

use common::{mark, marked, query, zone, zone_key};
use futures::stream::{self, StreamExt};
use hickory_net::{
    DnsError, NetError, dnssec::DnssecDnsHandle, runtime::TokioRuntimeProvider, xfer::DnsHandle,
};
use hickory_proto::{
    dnssec::{Algorithm, Proof, SigningKey, TrustAnchors, crypto::EcdsaSigningKey},
    op::{DnsRequest, DnsRequestOptions, DnsResponse, Query as Question, ResponseCode},
    rr::{LowerName, Name, RecordType},
};
use rustls_pki_types::{PrivatePkcs8KeyDer, pem::PemObject};
use tsutsumi_model::ZoneName;
use tsutsumi_zone::{Asked, Query, Zone, encode};

/// Asks the zone in this process, as over TCP.
#[derive(Clone)]
struct Direct(Arc<Zone>);

impl DnsHandle for Direct {
    type Response = stream::Once<std::future::Ready<Result<DnsResponse, NetError>>>;
    type Runtime = TokioRuntimeProvider;

    fn send(&self, request: DnsRequest) -> Self::Response {
        let bytes = request.to_vec().unwrap();
        let query = Query::read(&bytes).unwrap();
        let asked = Asked {
            query: &query,
            from: "192.0.2.1:4000".parse().unwrap(),
            now: common::now(),
        };
        let answer = self.0.answer(asked).unwrap();
        let bytes = encode(&query, answer, usize::from(u16::MAX)).unwrap();
        stream::once(std::future::ready(Ok(DnsResponse::from_buffer(bytes).unwrap())))
    }
}

struct Validator(DnssecDnsHandle<Direct>);

impl Validator {
    fn new() -> Self {
        let key = zone_key();
        let der = PrivatePkcs8KeyDer::from_pem_slice(key.as_bytes()).unwrap();
        let pair = EcdsaSigningKey::from_pkcs8(&der, Algorithm::ECDSAP256SHA256).unwrap();
        let mut anchors = TrustAnchors::empty();
        let name = Name::from_ascii(format!("{}.", common::apex())).unwrap();
        anchors.insert_with_name(&pair.to_public_key().unwrap(), LowerName::from(name));
        Self(DnssecDnsHandle::with_trust_anchor(
            Direct(Arc::new(zone(&key))),
            Arc::new(anchors),
        ))
    }

    async fn ask(&self, name: &Name, qtype: RecordType) -> Result<DnsResponse, NetError> {
        let mut options = DnsRequestOptions::default();
        options.use_edns = true;
        options.edns_set_dnssec_ok = true;
        let question = Question::query(name.clone(), qtype);
        self.0.lookup(question, options).next().await.unwrap()
    }

    /// What the records of the answer are worth; all must agree.
    async fn proof(&self, name: &Name, qtype: RecordType) -> Proof {
        let answers = match self.ask(name, qtype).await {
            Ok(response) => response.answers.clone(),
            Err(NetError::Dns(DnsError::Nsec { proof, .. })) => return proof,
            Err(error) => panic!("{name} {qtype}: {error:?}"),
        };
        let judged = answers
            .iter()
            .filter(|record| record.record_type() != RecordType::RRSIG);
        let proofs: Vec<_> = judged.map(|record| record.proof).collect();
        assert!(!proofs.is_empty(), "{name} {qtype} has no answer");
        assert!(proofs.iter().all(|proof| *proof == proofs[0]), "{proofs:?}");
        proofs[0]
    }
}

#[tokio::test]
async fn every_kind_of_name_is_judged_as_it_is_meant() {
    use RecordType::{A, TXT};
    let validator = Validator::new();
    for (name, qtype, proof) in [
        (ZoneName::Port, A, Proof::Secure),
        (ZoneName::Port, TXT, Proof::Secure),
        (ZoneName::Good, A, Proof::Secure),
        (ZoneName::Slow, A, Proof::Secure),
        (ZoneName::Sentinel, A, Proof::Secure),
        (ZoneName::Big, TXT, Proof::Secure),
        (ZoneName::Chain, A, Proof::Secure),
        (ZoneName::Bogus, A, Proof::Bogus),
        (ZoneName::Expired, A, Proof::Bogus),
        (ZoneName::Early, A, Proof::Bogus),
        (ZoneName::Stripped, A, Proof::Bogus),
        (ZoneName::Insecure, A, Proof::Insecure),
    ] {
        let found = validator.proof(&marked(mark(name, 2)), qtype).await;
        assert_eq!(found, proof, "{name:?} {qtype}");
    }
}

#[tokio::test]
async fn what_asks_a_resolver_for_its_keys_is_there_below_a_name_for_it_alone() {
    let validator = Validator::new();
    let sentinel = marked(mark(ZoneName::Sentinel, 2));
    for label in ["root-key-sentinel-is-ta-38696", "ROOT-KEY-Sentinel-not-ta-00001"] {
        let name = sentinel.prepend_label(label).unwrap();
        let answer = validator.ask(&name, RecordType::A).await.unwrap();
        assert_eq!(answer.metadata.response_code, ResponseCode::NoError, "{label}");
        assert_eq!(
            validator.proof(&name, RecordType::A).await,
            Proof::Secure,
            "{label}"
        );
    }
}

#[tokio::test]
async fn what_belongs_to_the_zone_itself_is_secure() {
    let validator = Validator::new();
    let apex = Name::from_ascii(format!("{}.", common::apex())).unwrap();
    for qtype in [
        RecordType::SOA,
        RecordType::NS,
        RecordType::DNSKEY,
        RecordType::NSEC,
    ] {
        assert_eq!(validator.proof(&apex, qtype).await, Proof::Secure, "{qtype}");
    }
    let server = apex.prepend_label("ns").unwrap();
    assert_eq!(validator.proof(&server, RecordType::A).await, Proof::Secure);
}

/// An error would come if the proof did not hold.
#[tokio::test]
async fn what_is_not_there_is_proven_away() {
    let validator = Validator::new();
    let apex = Name::from_ascii(format!("{}.", common::apex())).unwrap();
    let below = |name: &Name| name.prepend_label("x").unwrap();
    let asking = |name: &Name| name.prepend_label("root-key-sentinel-is-ta-38696").unwrap();
    let good = marked(mark(ZoneName::Good, 1));
    let sentinel = marked(mark(ZoneName::Sentinel, 1));
    for (name, qtype, code) in [
        (
            marked(mark(ZoneName::Absent, 1)),
            RecordType::A,
            ResponseCode::NXDomain,
        ),
        (
            apex.prepend_label("www").unwrap(),
            RecordType::A,
            ResponseCode::NXDomain,
        ),
        (
            below(&apex.prepend_label("www").unwrap()),
            RecordType::A,
            ResponseCode::NXDomain,
        ),
        (below(&good), RecordType::A, ResponseCode::NXDomain),
        (below(&sentinel), RecordType::A, ResponseCode::NXDomain),
        (asking(&good), RecordType::A, ResponseCode::NXDomain),
        (asking(&asking(&sentinel)), RecordType::A, ResponseCode::NXDomain),
        (good.clone(), RecordType::AAAA, ResponseCode::NoError),
        (apex.clone(), RecordType::A, ResponseCode::NoError),
        (apex.clone(), RecordType::TXT, ResponseCode::NoError),
        (
            apex.prepend_label("insecure").unwrap(),
            RecordType::DS,
            ResponseCode::NoError,
        ),
    ] {
        let response = validator.ask(&name, qtype).await;
        let response = response.unwrap_or_else(|error| panic!("{name} {qtype}: {error:?}"));
        assert_eq!(response.metadata.response_code, code, "{name} {qtype}");
        assert!(response.answers.is_empty(), "{name} {qtype}");
        let proofs: Vec<_> = response.authorities.iter().map(|record| record.proof).collect();
        assert!(
            !proofs.is_empty() && proofs.iter().all(|proof| *proof == Proof::Secure),
            "{name} {qtype} {proofs:?}"
        );
    }
}

#[tokio::test]
async fn the_unsigned_zone_is_proven_to_be_unsigned() {
    let validator = Validator::new();
    let cut = Name::from_ascii(format!("insecure.{}.", common::apex())).unwrap();
    assert_eq!(validator.proof(&cut, RecordType::NS).await, Proof::Insecure);
    for qtype in [RecordType::A, RecordType::AAAA] {
        let response = validator.ask(&cut, qtype).await.unwrap();
        assert_eq!(response.metadata.response_code, ResponseCode::NoError);
    }
    let nothing = cut.prepend_label("nothing").unwrap();
    let response = validator.ask(&nothing, RecordType::A).await.unwrap();
    assert_eq!(response.metadata.response_code, ResponseCode::NXDomain);
}

#[tokio::test]
async fn a_chain_leads_to_a_good_name_in_as_many_steps_as_its_number_says() {
    let validator = Validator::new();
    let mut name = marked(mark(ZoneName::Chain, 5));
    for step in 0..5 {
        let response = validator.ask(&name, RecordType::A).await.unwrap();
        assert_eq!(response.answers[0].proof, Proof::Secure);
        let next = response.answers.iter().find_map(|record| match &record.data {
            hickory_proto::rr::RData::CNAME(next) => Some(next.0.clone()),
            _ => None,
        });
        name = next.unwrap_or_else(|| panic!("step {step} of {name} is no alias"));
    }
    assert!(name.to_ascii().starts_with("good-"), "{name}");
    assert_eq!(validator.proof(&name, RecordType::A).await, Proof::Secure);
}

#[test]
fn without_the_wish_for_signatures_there_is_none() {
    let zone = zone(&zone_key());
    for name in ZoneName::ALL {
        let name = marked(mark(name, 2));
        let bytes = query(&name, RecordType::A, None).to_vec().unwrap();
        let query = Query::read(&bytes).unwrap();
        let asked = Asked {
            query: &query,
            from: "192.0.2.1:4000".parse().unwrap(),
            now: common::now(),
        };
        let answer = zone.answer(asked).unwrap();
        let mut records = answer.answers.iter().chain(&answer.authorities);
        assert!(
            records.all(|record| !record.record_type().is_dnssec()),
            "{answer:?}"
        );
    }
}
