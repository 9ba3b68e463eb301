//! CPU time of Envoy's worker, without valgrind: of usual requests, and of forged tokens.

use std::collections::BTreeMap;
use std::fs;
use std::time::Instant;

use super::BenchError;
use super::contestants::{BASE, Contestant, OURS};
use super::site::{Site, expect};
use super::workload::{PATH, Session, Shape};
use crate::client::Connection;
use crate::envoy::{Envoy, EnvoyBinary};
use crate::keys::base64url;

/// Microseconds of CPU, and requests a second.
pub(super) struct Cpu {
    /// By name: a plain request, of several connections at once; the smallest of all rounds.
    pub(super) micros: BTreeMap<&'static str, f64>,
    pub(super) flood: Flood,
}

/// Requests a second of the worker's CPU time, from several connections at once.
pub(super) struct Flood {
    /// Without a filter.
    pub(super) base: f64,
    /// The same forged token again and again.
    pub(super) repeated: f64,
    /// Forged tokens of which none comes twice.
    pub(super) different: f64,
    /// By the clock, in the same order: what the client saw.
    pub(super) by_clock: [f64; 3],
}

impl Cpu {
    /// What somebody adds to no filter.
    pub(super) fn over(&self, name: &str) -> f64 {
        self.of(name) - self.of(BASE)
    }

    fn of(&self, name: &str) -> f64 {
        self.micros.get(name).copied().unwrap_or(f64::NAN)
    }
}

pub(super) fn measure(
    binary: &EnvoyBinary,
    contestants: &[Contestant],
    session: &Session,
) -> Result<Cpu, BenchError> {
    let site = Site::start(binary, contestants.iter().map(|who| &who.listener), |_| {})?;
    for who in contestants {
        site.check(who, session)?;
    }
    let worker = Worker::of(&site.envoy)?;
    let mut turns = Vec::new();
    for who in contestants.iter().filter(|who| who.shapes.contains(&Shape::Plain)) {
        let request = Shape::Plain.request(PATH, who.token(session)).to_http1();
        let connections: Result<Vec<_>, _> =
            (0..FLOOD_CONNECTIONS).map(|_| site.connect(who.name)).collect();
        turns.push((who.name, connections?, vec![request; FLOOD_CONNECTIONS * PIPELINED]));
    }
    let mut micros = BTreeMap::new();
    for _ in 0..ROUNDS {
        for (name, connections, batch) in &mut turns {
            // Many at once: a worker that sleeps between requests spends more on being woken than
            // on most of the filters.
            let mut send = || (0..BATCHES).try_for_each(|_| send_at_once(connections, batch, 200));
            send()?;
            let before = worker.nanoseconds()?;
            send()?;
            let spent = worker.nanoseconds()? - before;
            let each = spent as f64 / (BATCHES * batch.len()) as f64 / 1_000.0;
            let least = micros.entry(*name).or_insert(f64::INFINITY);
            *least = least.min(each);
        }
    }
    drop(turns);
    let flood = flood(&site, &worker, session)?;
    Ok(Cpu { micros, flood })
}

fn flood(site: &Site, worker: &Worker, session: &Session) -> Result<Flood, BenchError> {
    let mut number = 0_u64;
    let mut best = [0.0_f64; 3];
    let mut by_clock = [0.0_f64; 3];
    for _ in 0..FLOOD_ROUNDS {
        for (place, (name, status, different)) in
            [(BASE, 200, true), (OURS, 401, false), (OURS, 401, true)].into_iter().enumerate()
        {
            let mut connections = Vec::new();
            for _ in 0..FLOOD_CONNECTIONS {
                connections.push(site.connect(name)?);
            }
            let requests: Vec<_> = (0..FLOOD_REQUESTS)
                .map(|_| {
                    number += u64::from(different);
                    Shape::Plain.request(PATH, &forged(&session.rs256, number)).to_http1()
                })
                .collect();
            let (before, begin) = (worker.nanoseconds()?, Instant::now());
            for batch in requests.chunks(FLOOD_CONNECTIONS * PIPELINED) {
                send_at_once(&mut connections, batch, status)?;
            }
            let spent = (worker.nanoseconds()? - before) as f64 / 1e9;
            let count = requests.len() as f64;
            best[place] = best[place].max(count / spent);
            by_clock[place] = by_clock[place].max(count / begin.elapsed().as_secs_f64());
        }
    }
    let [base, repeated, different] = best;
    Ok(Flood { base, repeated, different, by_clock })
}

fn send_at_once(
    connections: &mut [Connection],
    batch: &[Vec<u8>],
    status: u16,
) -> Result<(), BenchError> {
    let shares = || batch.chunks(PIPELINED);
    for (connection, share) in connections.iter_mut().zip(shares()) {
        connection.write(&share.concat())?;
    }
    for (connection, share) in connections.iter_mut().zip(shares()) {
        for _ in share {
            expect(connection, status)?;
        }
    }
    Ok(())
}

/// A token whose signature is as large a number as the right one, and another for each `number`.
fn forged(token: &str, number: u64) -> String {
    let (rest, signature) = token.rsplit_once('.').unwrap_or_default();
    let (head, tail) = signature.split_at(40);
    let mark = base64url(&number.to_be_bytes());
    format!("{rest}.{head}{mark}{}A", &tail[mark.len() + 1..])
}

/// Envoy's only worker thread.
struct Worker(String);

impl Worker {
    fn of(envoy: &Envoy) -> Result<Self, BenchError> {
        let tasks = format!("/proc/{}/task", envoy.pid());
        let missing = |error| BenchError::File(tasks.clone().into(), error);
        for task in fs::read_dir(&tasks).map_err(missing)? {
            let path = task.map_err(missing)?.path();
            let name = fs::read_to_string(path.join("comm")).unwrap_or_default();
            if name.trim() == "wrk:worker_0" {
                return Ok(Self(path.join("schedstat").display().to_string()));
            }
        }
        Err(missing(std::io::Error::other("no thread of Envoy's is called wrk:worker_0")))
    }

    /// On a CPU so far.
    fn nanoseconds(&self) -> Result<u64, BenchError> {
        let missing = |error| BenchError::File(self.0.clone().into(), error);
        let text = fs::read_to_string(&self.0).map_err(missing)?;
        text.split_whitespace()
            .next()
            .and_then(|number| number.parse().ok())
            .ok_or_else(|| missing(std::io::Error::other("no number at its front")))
    }
}

const ROUNDS: u32 = 100;
/// As many to warm up in each turn. Few, so that some rounds have the machine for themselves.
const BATCHES: usize = 4;
const FLOOD_ROUNDS: u32 = 3;
const FLOOD_REQUESTS: usize = 6_000;
const FLOOD_CONNECTIONS: usize = 8;
/// Envoy closes an HTTP/1.1 connection for which it has more answers of its own in its queue.
const PIPELINED: usize = 2;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::keys::Algorithm;

    #[test]
    fn every_forgery_is_another_signature_of_the_same_length() {
        let session = Session::new();
        let forgeries: BTreeSet<_> =
            (0..300).map(|number| forged(&session.rs256, number)).collect();
        assert_eq!(forgeries.len(), 300);
        let (claims, _) = session.rs256.rsplit_once('.').unwrap();
        for forgery in &forgeries {
            assert!(forgery.starts_with(claims) && forgery.len() == session.rs256.len());
            assert_ne!(*forgery, session.rs256);
        }
        assert_eq!(session.rs256_key.algorithm(), Algorithm::RS256);
    }
}
