//! What is answered: by the name alone, without any state, signed as it goes.
//!
//! The zone also answers for the unsigned one below, from which it never refers: a referral would need an address by
//! which the asker reaches us, and only the asker knows that. What carries no good mark does not exist and is denied
//! with a proof, so that a validating resolver is not harmed and asks nobody else.

use std::net::SocketAddr;

use hickory_proto::{
    ProtoError,
    dnssec::rdata::DNSSECRData,
    op::ResponseCode,
    rr::{
        DNSClass, Name, RData, Record, RecordType,
        rdata::{A, CNAME, NS, SOA, TXT},
    },
};
use tsutsumi_model::{INSECURE_ZONE, Mark, MarkError, MarkKey, ZoneName};

use crate::{
    apex::Apex,
    deny,
    keys::Keys,
    place::{Place, SERVER},
    query::Query,
    sign::{SignError, Signature, Signer},
};

/// Leads nowhere (RFC 5737).
const ADDRESS: A = A::new(192, 0, 2, 53);
/// For what a resolver may keep for a while.
const GOOD_TTL: u32 = 30;
/// For what each question is to bring anew.
const PORT_TTL: u32 = 1;
/// Of SOA, its minimum and denials: what was not there may be soon.
const DENIAL_TTL: u32 = 5;
const KEY_TTL: u32 = 3600;
/// Nothing is to be found by these records, so no cache shall hold them: it would ask there.
const SERVER_TTL: u32 = 0;
/// The text of over 1,232 bytes.
const BIG: (usize, usize) = (9, 200);

/// One zone with its keys.
#[derive(Debug)]
pub struct Zone {
    apex: Name,
    cut: Name,
    server: Name,
    mark: MarkKey,
    signer: Signer,
}

/// An answer could not be made, or a zone.
#[derive(Debug, thiserror::Error)]
pub enum ZoneError {
    /// A name got too long.
    #[error("cannot make a name of the zone")]
    Name(#[from] ProtoError),
    /// A signature failed.
    #[error("cannot sign the answer")]
    Sign(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl From<SignError> for ZoneError {
    fn from(error: SignError) -> Self {
        Self::Sign(error.into())
    }
}

/// A question and what is around it.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The question.
    pub query: &'a Query,
    /// Who sent it.
    pub from: SocketAddr,
    /// When, in seconds of Unix time.
    pub now: u64,
}

/// What a question's name was.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Noted {
    /// A name of the zone itself, or outside of it.
    Plain,
    /// Marked.
    Mark(Mark),
    /// Marked, and its time is over.
    Expired,
    /// Below the zone, with a wrong mark or none.
    Unmarked,
}

/// The answer to one question.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The code.
    pub code: ResponseCode,
    /// The answer section.
    pub answers: Vec<Record>,
    /// The authority section.
    pub authorities: Vec<Record>,
    /// What the name was.
    pub noted: Noted,
}

impl Answer {
    /// Whether it is to be sent late.
    #[must_use]
    pub fn is_slow(&self) -> bool {
        matches!(self.noted, Noted::Mark(mark) if mark.name == ZoneName::Slow)
    }

    const fn new(code: ResponseCode, noted: Noted) -> Self {
        Self {
            code,
            answers: Vec::new(),
            authorities: Vec::new(),
            noted,
        }
    }
}

impl Zone {
    /// The zone of this name with these keys.
    ///
    /// # Errors
    /// If no name fits below it, which an [`Apex`] rules out.
    pub fn new(apex: &Apex, keys: Keys) -> Result<Self, ZoneError> {
        let apex = apex.wire().clone();
        Ok(Self {
            cut: apex.prepend_label(INSECURE_ZONE)?,
            server: apex.prepend_label(SERVER)?,
            mark: keys.mark,
            signer: Signer {
                apex: apex.clone(),
                key: keys.zone,
            },
            apex,
        })
    }

    /// Answers one question.
    ///
    /// # Errors
    /// If a signature or a name cannot be made.
    pub fn answer(&self, asked: Asked<'_>) -> Result<Answer, ZoneError> {
        let query = asked.query;
        if query.edns.is_some_and(|offer| offer.version != 0) {
            return Ok(Answer::new(ResponseCode::BADVERS, Noted::Plain));
        }
        let place = match query.class {
            DNSClass::IN => Place::of(&query.name, &self.apex, &self.mark, asked.now),
            _ => Place::Outside,
        };
        let noted = noted(&place);
        // Signatures go with what they sign; there is no set of them to be asked for, nor one that can be denied.
        if place == Place::Outside || query.qtype == RecordType::RRSIG {
            return Ok(Answer::new(ResponseCode::Refused, noted));
        }
        match place {
            Place::Nothing { encloser, label, .. } => self.nothing(asked, noted, &encloser, &label),
            Place::NothingBelow(_) => {
                let mut answer = Answer::new(ResponseCode::NXDomain, noted);
                answer.authorities.push(self.soa(&self.cut));
                Ok(answer)
            }
            Place::Cut if query.qtype != RecordType::DS => Ok(self.unsigned(query, noted)),
            Place::MarkedBelow(_) => Ok(self.unsigned(query, noted)),
            place => self.something(asked, noted, &place),
        }
    }

    /// A name of the signed zone that exists.
    fn something(&self, asked: Asked<'_>, noted: Noted, place: &Place) -> Result<Answer, ZoneError> {
        let query = asked.query;
        let sets = self.sets(asked, place)?;
        let found = sets
            .iter()
            .find(|set| match set.first().map(Record::record_type) {
                Some(kind) => {
                    kind == query.qtype || kind == RecordType::CNAME || query.qtype == RecordType::ANY
                }
                None => false,
            });
        let mut answer = Answer::new(ResponseCode::NoError, noted);
        // One set is enough for ANY (RFC 8482, 4.1).
        if let Some(set) = found.filter(|_| query.qtype != RecordType::NSEC) {
            self.put(&mut answer.answers, set.clone(), signature(place), asked)?;
            return Ok(answer);
        }
        let mut types: Vec<_> = sets.iter().flatten().map(Record::record_type).collect();
        types.dedup();
        let proof = deny::at(&query.name.to_lowercase(), &types, DENIAL_TTL)?;
        if query.qtype == RecordType::NSEC {
            self.put(&mut answer.answers, vec![proof], Signature::Good, asked)?;
        } else {
            self.deny(&mut answer, [proof], asked)?;
        }
        Ok(answer)
    }

    fn nothing(
        &self,
        asked: Asked<'_>,
        noted: Noted,
        encloser: &Name,
        label: &[u8],
    ) -> Result<Answer, ZoneError> {
        let encloser = encloser.to_lowercase();
        // Names that no resolver asks for by itself are not worth a proof of another kind.
        let Some(around) = deny::around(label, &encloser, DENIAL_TTL) else {
            return Ok(Answer::new(ResponseCode::Refused, noted));
        };
        let mut answer = Answer::new(ResponseCode::NXDomain, noted);
        self.deny(
            &mut answer,
            [around?, deny::wildcard(&encloser, DENIAL_TTL)?],
            asked,
        )?;
        Ok(answer)
    }

    /// What exists in the unsigned zone: nothing of it is signed, and nothing is proven.
    fn unsigned(&self, query: &Query, noted: Noted) -> Answer {
        let mut answer = Answer::new(ResponseCode::NoError, noted);
        let sets = match noted {
            Noted::Mark(_) => vec![address(&query.name)],
            _ => vec![self.soa(&self.cut), self.ns(&self.cut)],
        };
        let wanted = |record: &Record| [record.record_type(), RecordType::ANY].contains(&query.qtype);
        match sets.into_iter().find(wanted) {
            Some(mut record) => {
                record.name = query.name.clone();
                answer.answers.push(record);
            }
            None => answer.authorities.push(self.soa(&self.cut)),
        }
        answer
    }

    /// All sets of records at a name of the signed zone, the best answer to ANY first.
    fn sets(&self, asked: Asked<'_>, place: &Place) -> Result<Vec<Vec<Record>>, ZoneError> {
        let name = &asked.query.name;
        let one = |ttl, data| vec![Record::from_rdata(name.clone(), ttl, data)];
        Ok(match place {
            Place::Apex => {
                let mut soa = self.soa(&self.apex);
                let mut ns = self.ns(&self.apex);
                soa.name = name.clone();
                ns.name = name.clone();
                let key = DNSSECRData::DNSKEY(self.signer.key.dnskey().clone());
                vec![vec![soa], vec![ns], one(KEY_TTL, RData::DNSSEC(key))]
            }
            Place::Server => vec![one(SERVER_TTL, RData::A(ADDRESS))],
            Place::Cut => vec![vec![self.ns(&self.cut)]],
            Place::Marked(mark) => match mark.name {
                ZoneName::Port => vec![
                    one(PORT_TTL, RData::A(ADDRESS)),
                    one(PORT_TTL, RData::TXT(reflection(asked))),
                ],
                ZoneName::Big => {
                    let text = TXT::new(vec!["b".repeat(BIG.1); BIG.0]);
                    vec![one(GOOD_TTL, RData::TXT(text))]
                }
                ZoneName::Chain => match mark.number.checked_sub(1) {
                    Some(number) => {
                        let next = if number == 0 {
                            ZoneName::Good
                        } else {
                            ZoneName::Chain
                        };
                        let next = Mark {
                            name: next,
                            number,
                            ..*mark
                        }
                        .label(&self.mark);
                        let next = self.apex.prepend_label(next.as_str())?;
                        vec![one(GOOD_TTL, RData::CNAME(CNAME(next)))]
                    }
                    None => vec![vec![address(name)]],
                },
                _ => vec![vec![address(name)]],
            },
            Place::Outside | Place::MarkedBelow(_) | Place::Nothing { .. } | Place::NothingBelow(_) => vec![],
        })
    }

    /// The proof of what is not there, with the SOA record that says for how long (RFC 2308, 3).
    fn deny(
        &self,
        answer: &mut Answer,
        proof: impl IntoIterator<Item = Record>,
        asked: Asked<'_>,
    ) -> Result<(), ZoneError> {
        let soa = vec![self.soa(&self.apex)];
        self.put(&mut answer.authorities, soa, Signature::Good, asked)?;
        if asked.query.dnssec_ok {
            for nsec in proof {
                self.put(&mut answer.authorities, vec![nsec], Signature::Good, asked)?;
            }
        }
        Ok(())
    }

    /// Puts a set into a section, with its signature if one is wanted.
    fn put(
        &self,
        section: &mut Vec<Record>,
        set: Vec<Record>,
        how: Signature,
        asked: Asked<'_>,
    ) -> Result<(), ZoneError> {
        let signature = if asked.query.dnssec_ok {
            // Times of signatures are of 32 bits, by RFC 4034, 3.1.5.
            self.signer
                .sign(&set, how, u32::try_from(asked.now).unwrap_or(u32::MAX))?
        } else {
            None
        };
        section.extend(set);
        section.extend(signature);
        Ok(())
    }

    fn soa(&self, owner: &Name) -> Record {
        // Nobody transfers it, so nobody heeds serial, refresh, retry and expiry.
        let data = SOA::new(
            self.server.clone(),
            self.server.clone(),
            1,
            3600,
            600,
            86_400,
            DENIAL_TTL,
        );
        Record::from_rdata(owner.clone(), DENIAL_TTL, RData::SOA(data))
    }

    fn ns(&self, owner: &Name) -> Record {
        Record::from_rdata(owner.clone(), SERVER_TTL, RData::NS(NS(self.server.clone())))
    }
}

fn noted(place: &Place) -> Noted {
    match place {
        Place::Outside | Place::Apex | Place::Server | Place::Cut => Noted::Plain,
        Place::Marked(mark) | Place::MarkedBelow(mark) | Place::Nothing { mark: Ok(mark), .. } => {
            Noted::Mark(*mark)
        }
        Place::Nothing { mark: Err(why), .. } | Place::NothingBelow(why) => match why {
            MarkError::Expired => Noted::Expired,
            MarkError::Seal | MarkError::Shape => Noted::Unmarked,
        },
    }
}

/// How the set at a name is signed; what is denied there is always proven well.
fn signature(place: &Place) -> Signature {
    let Place::Marked(mark) = place else {
        return Signature::Good;
    };
    match mark.name {
        ZoneName::Bogus => Signature::Bogus,
        ZoneName::Expired => Signature::Expired,
        ZoneName::Early => Signature::Early,
        ZoneName::Stripped => Signature::Missing,
        _ => Signature::Good,
    }
}

fn address(name: &Name) -> Record {
    Record::from_rdata(name.clone(), GOOD_TTL, RData::A(ADDRESS))
}

/// For a person who asks by hand: how the question came.
fn reflection(asked: Asked<'_>) -> TXT {
    let query = asked.query;
    let edns = query
        .edns
        .map_or_else(|| "none".to_owned(), |offer| offer.size.to_string());
    TXT::new(vec![
        format!("from={}", asked.from),
        format!("id={}", query.id),
        format!("edns={edns}"),
        format!("name={}", query.name.to_ascii()),
    ])
}
