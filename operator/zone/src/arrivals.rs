//! What arrived, as far as it is remembered: the latest samples, and of each the first questions.

use std::collections::VecDeque;

use tsutsumi_model::{Arrival, Arrivals};

/// Samples that a probe zone remembers; the oldest goes first.
pub const MAX_SAMPLES: usize = 16;
/// Questions that are remembered of one sample: twice what any measurement asks, and its retries.
pub(crate) const MAX_ARRIVALS: usize = 4096;

/// The memory of one zone: at most [`MAX_SAMPLES`] times [`MAX_ARRIVALS`] questions, about 6 MiB.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    samples: VecDeque<Sample>,
    expired: u64,
    unmarked: u64,
}

#[derive(Debug)]
struct Sample {
    id: u32,
    arrivals: Vec<Arrival>,
    forgotten: u64,
}

impl Memory {
    pub(crate) fn add(&mut self, arrival: Arrival) {
        let id = arrival.mark.sample;
        let at = self.samples.iter().position(|sample| sample.id == id);
        let at = at.unwrap_or_else(|| {
            if self.samples.len() == MAX_SAMPLES {
                self.samples.pop_front();
            }
            self.samples.push_back(Sample {
                id,
                arrivals: Vec::new(),
                forgotten: 0,
            });
            self.samples.len() - 1
        });
        let Some(sample) = self.samples.get_mut(at) else {
            return;
        };
        if sample.arrivals.len() < MAX_ARRIVALS {
            sample.arrivals.push(arrival);
        } else {
            sample.forgotten = sample.forgotten.saturating_add(1);
        }
    }

    pub(crate) fn count_expired(&mut self) {
        self.expired = self.expired.saturating_add(1);
    }

    pub(crate) fn count_unmarked(&mut self) {
        self.unmarked = self.unmarked.saturating_add(1);
    }

    pub(crate) fn tell(&self, id: u32) -> Arrivals {
        let sample = self.samples.iter().find(|sample| sample.id == id);
        Arrivals {
            arrivals: sample.map(|sample| sample.arrivals.clone()).unwrap_or_default(),
            forgotten: sample.map_or(0, |sample| sample.forgotten),
            expired: self.expired,
            unmarked: self.unmarked,
        }
    }
}

#[cfg(test)]
mod tests {
    use tsutsumi_model::{Mark, Transport, ZoneName};

    use super::*;

    fn arrival(sample: u32) -> Arrival {
        Arrival {
            at: 0,
            from: "192.0.2.1:4000".parse().unwrap(),
            transport: Transport::Udp,
            id: 0,
            mark: Mark {
                name: ZoneName::Port,
                sample,
                number: 0,
                expires: 0,
            },
            mixed_case: false,
            qtype: 1,
            edns: None,
            dnssec_ok: false,
            checking_disabled: false,
            recursion_desired: false,
            query_bytes: 0,
        }
    }

    #[test]
    fn a_sample_is_remembered_up_to_its_bound_and_says_what_it_forgot() {
        let mut memory = Memory::default();
        for _ in 0..MAX_ARRIVALS + 7 {
            memory.add(arrival(1));
        }
        memory.add(arrival(2));
        let told = memory.tell(1);
        assert_eq!((told.arrivals.len(), told.forgotten), (MAX_ARRIVALS, 7));
        let other = memory.tell(2);
        assert_eq!(
            (other.arrivals.len(), other.forgotten),
            (1, 0),
            "another sample has its own room"
        );
    }

    #[test]
    fn the_oldest_sample_makes_room() {
        let mut memory = Memory::default();
        for sample in 0..=u32::try_from(MAX_SAMPLES).unwrap() {
            memory.add(arrival(sample));
        }
        assert_eq!(memory.samples.len(), MAX_SAMPLES);
        assert!(memory.tell(0).arrivals.is_empty());
        assert_eq!(memory.tell(1).arrivals.len(), 1);
    }

    #[test]
    fn the_longest_answer_fits_what_the_client_takes() {
        let longest = Arrival {
            at: u64::MAX,
            from: "[2001:db8:1111:1111:1111:1111:1111:1111]:65535".parse().unwrap(),
            mark: Mark {
                name: ZoneName::Insecure,
                sample: u32::MAX,
                number: u16::MAX,
                expires: u32::MAX,
            },
            id: u16::MAX,
            qtype: u16::MAX,
            edns: Some(u16::MAX),
            query_bytes: u16::MAX,
            ..arrival(0)
        };
        let one = serde_json::to_vec(&longest).unwrap().len();
        assert!(
            (one + 1) * MAX_ARRIVALS + 256 < crate::client::LARGEST_RESPONSE,
            "{one} bytes each"
        );
    }
}
