//! Honest and bad sources of ports and ids, simulated. Each is set up anew for every sample: another pool, another start.

/// Numbers that are even enough for this and the same on every machine (`SplitMix64`).
pub(crate) struct Mix(pub(crate) u64);

impl Mix {
    /// A number from 0 to one below the bound, which is at most 65,536.
    pub(crate) fn below(&mut self, bound: u32) -> u16 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        u16::try_from((z ^ (z >> 31)) % u64::from(bound)).unwrap_or(u16::MAX)
    }
}

/// What the values stand for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum What {
    Ports,
    Ids,
}

/// How a source is judged.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Expected {
    /// Accused at most once in 1,000 samples.
    Honest,
    /// Accused in at least 99 of 100 samples of this size or more.
    CaughtFrom(usize),
    /// Accused in some samples: where the rule ends.
    Partly,
    /// Bad, but accused hardly more than an honest one: what the rule cannot see.
    Unseen,
}

/// A simulated source.
pub(crate) struct Source {
    pub(crate) name: &'static str,
    pub(crate) what: What,
    pub(crate) expected: Expected,
    pub(crate) sample: fn(&mut Mix, usize) -> Vec<u16>,
}

const fn ports(name: &'static str, expected: Expected, sample: fn(&mut Mix, usize) -> Vec<u16>) -> Source {
    Source {
        name,
        what: What::Ports,
        expected,
        sample,
    }
}

const fn ids(name: &'static str, expected: Expected, sample: fn(&mut Mix, usize) -> Vec<u16>) -> Source {
    Source {
        name,
        what: What::Ids,
        expected,
        sample,
    }
}

/// All of them.
pub(crate) const SOURCES: [Source; 26] = [
    ports("Linux, 32768–60999", Expected::Honest, linux),
    ports("1024–65535", Expected::Honest, |mix, n| {
        each(n, || 1024 + mix.below(64_512))
    }),
    ports(
        "1024–65535 without avoided ports",
        Expected::Honest,
        |mix, n| each(n, || unavoided(mix)),
    ),
    ids("ids, 16 bits", Expected::Honest, even_ids),
    ports("one fixed port", Expected::CaughtFrom(64), |mix, n| {
        pool(mix, n, 1)
    }),
    ports("pool of 20 sockets", Expected::CaughtFrom(64), |mix, n| {
        pool(mix, n, 20)
    }),
    ports("pool of 100 sockets", Expected::CaughtFrom(64), |mix, n| {
        pool(mix, n, 100)
    }),
    ports("pool of 1,000 sockets", Expected::CaughtFrom(256), |mix, n| {
        pool(mix, n, 1000)
    }),
    ports("pool of 5,000 sockets", Expected::Partly, |mix, n| {
        pool(mix, n, 5000)
    }),
    ports("block of 64 ports", Expected::CaughtFrom(64), |mix, n| {
        block(mix, n, 64)
    }),
    ports(
        "MAP-E, 240 ports in one block",
        Expected::CaughtFrom(64),
        |mix, n| block(mix, n, 240),
    ),
    ports(
        "MAP-E, 240 ports in 15 blocks (RFC 7597, 5.1)",
        Expected::CaughtFrom(64),
        map_e,
    ),
    ports("block of 1,024 ports", Expected::CaughtFrom(64), |mix, n| {
        block(mix, n, 1024)
    }),
    ports("counter, +1", Expected::CaughtFrom(64), |mix, n| {
        walk(mix, n, |_| 1)
    }),
    ports(
        "counter with gaps, +1 to +40",
        Expected::CaughtFrom(64),
        |mix, n| walk(mix, n, |mix| 1 + mix.below(40)),
    ),
    ports(
        "counter with gaps, +1 to +5,000",
        Expected::CaughtFrom(256),
        |mix, n| walk(mix, n, |mix| 1 + mix.below(5000)),
    ),
    ports("counter with gaps, +1 to +9,000", Expected::Partly, |mix, n| {
        walk(mix, n, |mix| 1 + mix.below(9000))
    }),
    ports(
        "constant stride over 1024–65535",
        Expected::CaughtFrom(64),
        |mix, n| stride(mix, n, 1),
    ),
    ports("stride with jitter of 200", Expected::CaughtFrom(64), |mix, n| {
        stride(mix, n, 200)
    }),
    ports("generator that can be computed", Expected::Unseen, |mix, n| {
        let mut state = u32::from(mix.below(65_536));
        each(n, || {
            1024 + u16::try_from(computed(&mut state) % 64_512).unwrap_or(0)
        })
    }),
    ids("ids: counter", Expected::CaughtFrom(64), |mix, n| {
        let mut at = mix.below(65_536);
        each(n, || step(&mut at, 1))
    }),
    ids(
        "ids: counter with gaps, +1 to +200",
        Expected::CaughtFrom(64),
        |mix, n| {
            let mut at = mix.below(65_536);
            each(n, || step(&mut at, 1 + mix.below(200)))
        },
    ),
    ids("ids: 15 bits", Expected::CaughtFrom(64), |mix, n| {
        each(n, || mix.below(32_768))
    }),
    ids("ids: pool of 100", Expected::CaughtFrom(64), |mix, n| {
        let few = even_ids(mix, 100);
        each(n, || any(mix, &few))
    }),
    ids("ids: even numbers only", Expected::Unseen, |mix, n| {
        each(n, || 2 * mix.below(32_768))
    }),
    ids(
        "ids: generator that can be computed",
        Expected::Unseen,
        |mix, n| {
            let mut state = u32::from(mix.below(65_536));
            each(n, || u16::try_from(computed(&mut state) % 65_536).unwrap_or(0))
        },
    ),
];

/// A port from Linux's default ephemeral range for each question.
pub(crate) fn linux(mix: &mut Mix, n: usize) -> Vec<u16> {
    each(n, || 32_768 + mix.below(28_232))
}

/// Any id for each question.
pub(crate) fn even_ids(mix: &mut Mix, n: usize) -> Vec<u16> {
    each(n, || mix.below(65_536))
}

/// A resolver that leaves out the ports which IANA has assigned: all below 4096 and one in 16 up to 49151, which is about
/// as many as there are and not the same.
fn unavoided(mix: &mut Mix) -> u16 {
    loop {
        let port = 4096 + mix.below(61_440);
        if port > 49_151 || !port.is_multiple_of(16) {
            return port;
        }
    }
}

fn pool(mix: &mut Mix, n: usize, sockets: usize) -> Vec<u16> {
    let open = linux(mix, sockets);
    each(n, || any(mix, &open))
}

fn block(mix: &mut Mix, n: usize, size: u16) -> Vec<u16> {
    let low = 1024 + mix.below(64_512 - u32::from(size));
    each(n, || low + mix.below(size.into()))
}

/// A port set with an offset of 4 and an id of 8 bits: 16 neighbours in each block but the first.
fn map_e(mix: &mut Mix, n: usize) -> Vec<u16> {
    let set = mix.below(256) << 4;
    each(n, || ((1 + mix.below(15)) << 12) | set | mix.below(16))
}

/// Goes around Linux's range.
fn walk(mix: &mut Mix, n: usize, gap: fn(&mut Mix) -> u16) -> Vec<u16> {
    let mut at = mix.below(28_232);
    each(n, || {
        at = (at + gap(mix)) % 28_232;
        32_768 + at
    })
}

/// Goes around 1024–65535 in great strides, each longer by less than the jitter.
fn stride(mix: &mut Mix, n: usize, jitter: u32) -> Vec<u16> {
    let stride = 10_000 + u32::from(mix.below(40_000));
    let mut at = u32::from(mix.below(64_512));
    each(n, || {
        at = (at + stride + u32::from(mix.below(jitter))) % 64_512;
        1024 + u16::try_from(at).unwrap_or(0)
    })
}

/// A linear generator with 32 bits of state, of which 17 are shown: enough for anybody to go on from a few values.
fn computed(state: &mut u32) -> u32 {
    *state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
    *state >> 15
}

fn step(at: &mut u16, by: u16) -> u16 {
    *at = at.wrapping_add(by);
    *at
}

fn any(mix: &mut Mix, from: &[u16]) -> u16 {
    let bound = u32::try_from(from.len()).unwrap_or(u32::MAX);
    from.get(usize::from(mix.below(bound))).copied().unwrap_or(0)
}

fn each(n: usize, value: impl FnMut() -> u16) -> Vec<u16> {
    std::iter::repeat_with(value).take(n).collect()
}
