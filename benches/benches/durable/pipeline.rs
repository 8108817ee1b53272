//! From a request to the index: events posted over HTTP until a search finds all of them, with all
//! stages and the built-in rules, on the embedded log and on Kafka.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::process::{Server, wait_until};
use crate::{Fault, Setting, best, emptied, fresh_prefix, number, payload};

const SENDERS: usize = 4;
const BATCH_EVENTS: usize = 500;

/// Partitions of each topic, on either bus; the embedded log's default.
const PARTITIONS: &str = "2";

/// The moderate rate: so many events each time.
const STEADY_EVENTS: usize = 50;
const STEADY_EVERY: Duration = Duration::from_millis(100);

const CHECK_EVERY: Duration = Duration::from_millis(20);
const TIME_MAX: Duration = Duration::from_secs(600);

pub(crate) fn run(setting: &Setting) -> Result<(), Fault> {
    let batches = number("EVENTS", 60_000)? / BATCH_EVENTS;
    let steady_batches = (number("STEADY_SECONDS", 10.0)? / STEADY_EVERY.as_secs_f64()) as usize;
    let mut random = Rng::with_seed(1);
    let bodies: Vec<String> =
        (0..batches.max(1)).map(|_| body(&mut random, BATCH_EVENTS)).collect();
    let steady: Vec<String> =
        (0..steady_batches.max(1)).map(|_| body(&mut random, STEADY_EVENTS)).collect();
    let events = bodies.len() * BATCH_EVENTS;
    let bytes: usize = bodies.iter().map(String::len).sum();
    println!(
        "{events} events of {} bytes, {SENDERS} senders, {BATCH_EVENTS} a request; then {} events/s",
        bytes / events,
        STEADY_EVENTS as f64 / STEADY_EVERY.as_secs_f64()
    );
    let mut turns: [Vec<Turn>; 2] = Default::default();
    for _ in 0..setting.rounds {
        let folder = || emptied(setting.folder.join("pipeline"));
        turns[0].push(turn(&folder()?, &[], &bodies, &steady)?);
        if let Some(brokers) = &setting.kafka {
            let (url, prefix) = (format!("kafka://{brokers}"), fresh_prefix());
            let environment = [
                ("WATCHPOST_BUS_URL", url.as_str()),
                ("WATCHPOST_KAFKA_TOPIC_PREFIX", prefix.as_str()),
                ("WATCHPOST_KAFKA_PARTITIONS", PARTITIONS),
            ];
            turns[1].push(turn(&folder()?, &environment, &bodies, &steady)?);
        }
        folder()?;
    }
    println!(
        "{:<9} | {:>10} {:>6} | {:>12} | {:>16} | {:>8} {:>8}",
        "", "events/s", "ratio", "acknowledged", "CPU s / M events", "p50 ms", "p99 ms"
    );
    let rate = |turns: &[Turn], seconds: fn(&Turn) -> f64| {
        best(&turns.iter().map(|turn| events as f64 / seconds(turn)).collect::<Vec<f64>>())
    };
    let ours = rate(&turns[0], |turn| turn.seconds);
    for (name, turns) in ["embedded", "kafka"].iter().zip(&turns).filter(|(_, t)| !t.is_empty()) {
        let least = |of: fn(&Turn) -> f64| turns.iter().map(of).fold(f64::INFINITY, f64::min);
        let searchable = rate(turns, |turn| turn.seconds);
        println!(
            "{name:<9} | {searchable:>10.0} {:>6.2} | {:>12.0} | {:>16.1} | {:>8.0} {:>8.0}",
            searchable / ours,
            rate(turns, |turn| turn.acknowledged_seconds),
            least(|turn| turn.cpu_seconds) * 1e6 / events as f64,
            least(|turn| turn.median * 1e3),
            least(|turn| turn.high * 1e3),
        );
    }
    Ok(())
}

struct Turn {
    /// Until all were found and nothing was left to do.
    seconds: f64,
    /// Until the last request was answered.
    acknowledged_seconds: f64,
    cpu_seconds: f64,
    /// From arrival to searchable at the moderate rate, for half of the events and for 99 of 100.
    median: f64,
    high: f64,
}

fn body(random: &mut Rng, events: usize) -> String {
    let events: Vec<String> = (0..events)
        .map(|_| {
            let number = random.usize(..1000);
            payload::shop_event(random, number)
        })
        .collect();
    events.join("\n")
}

fn turn(
    folder: &Path,
    environment: &[(&str, &str)],
    bodies: &[String],
    steady: &[String],
) -> Result<Turn, Fault> {
    let server = Server::start(&folder.join("data"), &[], environment)?;
    // Consumer groups form when there is something to consume; that is not measured.
    let warm_up = body(&mut Rng::with_seed(2), STEADY_EVENTS);
    post(&server, &warm_up)?;
    wait_until(CHECK_EVERY, TIME_MAX, || is_done(&server, STEADY_EVENTS))?;

    let cpu_before = server.process.cpu_seconds()?;
    let started = Instant::now();
    let next = AtomicUsize::new(0);
    let send = || {
        while let Some(body) = bodies.get(next.fetch_add(1, Ordering::Relaxed)) {
            post(&server, body)?;
        }
        Ok::<f64, Fault>(started.elapsed().as_secs_f64())
    };
    let acknowledged: Result<Vec<f64>, Fault> = std::thread::scope(|scope| {
        let senders: Vec<_> = (0..SENDERS).map(|_| scope.spawn(send)).collect();
        senders.into_iter().map(|s| s.join().map_err(|_| "a sender panicked")?).collect()
    });
    let acknowledged_seconds = best(&acknowledged?);
    let all = STEADY_EVENTS + bodies.len() * BATCH_EVENTS;
    wait_until(CHECK_EVERY, TIME_MAX, || is_done(&server, all))?;
    let seconds = started.elapsed().as_secs_f64();
    let cpu_seconds = server.process.cpu_seconds()? - cpu_before;

    let mut delays = delays(&server, all, steady)?;
    delays.sort_by(f64::total_cmp);
    let part = |share: f64| delays.get((delays.len() as f64 * share) as usize).copied();
    let (median, high) = (part(0.5).unwrap_or(f64::NAN), part(0.99).unwrap_or(f64::NAN));
    Ok(Turn { seconds, acknowledged_seconds, cpu_seconds, median, high })
}

fn post(server: &Server, body: &str) -> Result<(), Fault> {
    server.post("/ingest/shop.access", body.as_bytes())
}

/// How many events a search finds.
fn found(server: &Server) -> Result<usize, Fault> {
    let answer = server.get_json("/api/v1/search?since=all&limit=0&q=")?;
    Ok(answer["total"].as_u64().ok_or("an answer without a total")? as usize)
}

/// Whether so many events are found and no stage has anything left to read.
fn is_done(server: &Server, events: usize) -> Result<bool, Fault> {
    if found(server)? < events {
        return Ok(false);
    }
    let status = server.get_json("/api/v1/status")?;
    let lags = status["lag"].as_array().ok_or("a status without a lag")?;
    Ok(lags.iter().all(|lag| lag["records"] == 0))
}

/// Posts at the moderate rate, beside one who searches all the time. The seconds from the beginning
/// of each request until the number of events found says that its own are among them.
fn delays(server: &Server, before: usize, bodies: &[String]) -> Result<Vec<f64>, Fault> {
    let all = before + bodies.len() * STEADY_EVENTS;
    let has_failed = AtomicBool::new(false);
    let started = Instant::now();
    std::thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let mut arrivals = Vec::new();
            for (number, body) in bodies.iter().enumerate() {
                let due = STEADY_EVERY * number as u32;
                std::thread::sleep(due.saturating_sub(started.elapsed()));
                arrivals.push(started.elapsed());
                if let Err(error) = post(server, body) {
                    has_failed.store(true, Ordering::Relaxed);
                    return Err(error);
                }
            }
            Ok(arrivals)
        });
        let mut seen = Vec::new();
        wait_until(Duration::from_millis(5), TIME_MAX, || {
            let total = found(server)?;
            seen.push((started.elapsed(), total));
            Ok(total >= all || has_failed.load(Ordering::Relaxed))
        })?;
        let arrivals = sender.join().map_err(|_| "the sender panicked")??;
        let delay = |(number, arrival): (usize, Duration)| {
            let wanted = before + (number + 1) * STEADY_EVENTS;
            let (at, _) = seen.iter().find(|(_, total)| *total >= wanted)?;
            Some(at.saturating_sub(arrival).as_secs_f64())
        };
        Ok(arrivals.into_iter().enumerate().filter_map(delay).collect())
    })
}
