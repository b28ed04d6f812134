//! How often the rule for source ports and ids accuses a good resolver: real programs, measured a thousand times each. The
//! simulation of `cargo xtask bench --ports` says how often it should; this says that real ones are no worse.

use std::{
    net::{SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use tsutsumi_controls::randomness::{Ids, Sample, WANTED};
use tsutsumi_e2e::{
    dns,
    overheard::{Overheard, Question},
    resolver::{Habits, Program, Resolver, Zone},
    scenario::{self, From},
};

/// Of each good resolver.
const MEASUREMENTS: u32 = 1000;
/// So many false alarms come about by chance less than once in 1,000 runs of this test where one measurement in 1,000 is
/// falsely accused (Poisson's distribution around 1).
const TOO_MANY: usize = 6;
/// Of each bad one, which is accused every time.
const OF_A_BAD_ONE: u32 = 20;
/// Questions under way at once, which no receive buffer overflows by.
const UNDER_WAY: usize = 32;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(2);

#[test]
fn a_good_resolver_is_hardly_ever_accused_and_a_bad_one_always() -> Result<()> {
    scenario::run(From::Bare, async |s| {
        println!("| resolver | measurements | accused | of what | seconds |\n|---|---|---|---|---|");
        let few = Habits {
            random_ports: false,
            ..Habits::GOOD
        };
        for program in Program::ALL {
            let zone = Overheard::start(s.rig.node_port.ip())?;
            let known = Zone::overheard(&zone)?;
            if program.chooses_ports() {
                let _running = Resolver::start(&s.rig, program, few, Some(&known)).await?;
                let accused = accused(&zone, Resolver::address(&s.rig), OF_A_BAD_ONE)?;
                println!("{}", row(program, "few ports", OF_A_BAD_ONE, &accused));
                ensure!(
                    accused.count == usize::try_from(OF_A_BAD_ONE)?,
                    "{} with few ports was accused {} times of {OF_A_BAD_ONE}",
                    program.name(),
                    accused.count
                );
            }
            let _running = Resolver::start(&s.rig, program, Habits::GOOD, Some(&known)).await?;
            let accused = accused(&zone, Resolver::address(&s.rig), MEASUREMENTS)?;
            println!("{}", row(program, "well", MEASUREMENTS, &accused));
            ensure!(
                accused.count < TOO_MANY,
                "{} was accused {} times of {MEASUREMENTS}: {:?}",
                program.name(),
                accused.count,
                accused.flaws
            );
        }
        Ok(())
    })
}

struct Accused {
    count: usize,
    /// The first few accusations.
    flaws: Vec<String>,
    took: Duration,
}

fn row(program: Program, how: &str, of: u32, accused: &Accused) -> String {
    format!(
        "| {}, {how} | {of} | {} | {} | {:.0} |",
        program.name(),
        accused.count,
        accused.flaws.join(", "),
        accused.took.as_secs_f64()
    )
}

/// Measures a resolver so many times, and judges each measurement.
fn accused(zone: &Overheard, resolver: SocketAddr, measurements: u32) -> Result<Accused> {
    let socket = UdpSocket::bind((zone.server.ip(), 0))?;
    socket.connect(resolver)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let mut accused = Accused {
        count: 0,
        flaws: Vec::new(),
        took: Duration::ZERO,
    };
    let begun = Instant::now();
    for sample in 1..=measurements {
        let failures = ask(zone, &socket, sample)?;
        let flaws = flaws(&zone.take(sample), failures).with_context(|| format!("measurement {sample}"))?;
        accused.count += usize::from(!flaws.is_empty());
        if accused.flaws.len() < TOO_MANY {
            accused.flaws.extend(flaws);
        }
    }
    accused.took = begun.elapsed();
    Ok(accused)
}

/// Asks for one sample, and counts what was not answered.
fn ask(zone: &Overheard, socket: &UdpSocket, sample: u32) -> Result<usize> {
    let numbers: Vec<u16> = (0..u16::try_from(WANTED)?).collect();
    let mut failures = 0;
    for numbers in numbers.chunks(UNDER_WAY) {
        for &number in numbers {
            let question = dns::Question::a(zone.name(sample, number)?);
            socket.send(&question.encode(number)?)?;
        }
        let mut waiting = numbers.to_vec();
        let mut answer = [0; 1232];
        while !waiting.is_empty() && socket.recv(&mut answer).is_ok() {
            let id = u16::from_be_bytes([answer[0], answer[1]]);
            waiting.retain(|number| *number != id);
        }
        failures += waiting.len();
    }
    Ok(failures)
}

fn flaws(heard: &[Question], failures: usize) -> Result<Vec<String>> {
    let ports: Vec<u16> = heard.iter().map(|question| question.port).collect();
    let ids: Vec<u16> = heard.iter().map(|question| question.id).collect();
    let ports = Sample::new(&ports, failures)?.randomness().flaws();
    let ids = Ids::of(&ids, failures)?.flaws();
    let ports = ports.iter().map(|flaw| format!("ports: {flaw:?}"));
    let ids = ids.iter().map(|flaw| format!("ids: {flaw:?}"));
    Ok(ports.chain(ids).collect())
}
