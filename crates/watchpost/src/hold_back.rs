//! How far the stages are is watched, and senders are held back while one is too far behind.
//!
//! What is acknowledged waits on the bus until every stage has read it, and the bus keeps only so
//! much. So before the oldest record could go unread, nothing more is taken: HTTP answers 429 with
//! `Retry-After`, TCP stops reading, datagrams are dropped and counted. When the stage has caught up
//! by a tenth of the bound, it goes on by itself.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use bus::{Bus, BusError, Shutdown, Topic};
use ingest::Gate;

/// How often it is looked at.
const EVERY: Duration = Duration::from_millis(500);

/// How far behind a stage may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) records_max: u64,
    pub(crate) bytes_max: u64,
}

/// A consumer group, and what it reads.
pub(crate) struct Reader {
    pub(crate) group: String,
    pub(crate) topics: Vec<Topic>,
}

/// Watches the stages in a thread of its own. Without a gate it only tells the metrics.
pub(crate) fn start(
    bus: Arc<dyn Bus>,
    gate: Option<Gate>,
    readers: Vec<Reader>,
    bounds: Bounds,
    shutdown: Shutdown,
) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name("hold-back".to_owned()).spawn(move || {
        while !shutdown.is_triggered() {
            look(bus.as_ref(), gate.as_ref(), &readers, bounds);
            shutdown.sleep(EVERY);
        }
    })
}

/// Tells how far the stages are, and closes or opens the gate.
fn look(bus: &dyn Bus, gate: Option<&Gate>, readers: &[Reader], bounds: Bounds) {
    let was_closed = gate.is_some_and(Gate::is_closed);
    let bounds = if was_closed {
        Bounds {
            records_max: bounds.records_max - bounds.records_max / 10,
            bytes_max: bounds.bytes_max - bounds.bytes_max / 10,
        }
    } else {
        bounds
    };
    let mut too_far: Option<BusError> = None;
    for reader in readers {
        match behind(bus, reader) {
            Ok((records, bytes)) => {
                if records > bounds.records_max || bytes > bounds.bytes_max {
                    let group = reader.group.clone();
                    too_far.get_or_insert(BusError::Behind { group, records, bytes });
                }
            }
            // A bus that does not answer takes no appends either.
            Err(error) => tracing::debug!(%error, stage = reader.group, "asking how far it is"),
        }
    }
    let Some(gate) = gate else { return };
    match too_far {
        Some(error) => {
            if !was_closed {
                tracing::warn!(%error, "senders are held back");
            }
            gate.close(error);
        }
        None if was_closed => {
            tracing::info!("the stages have caught up; senders go on");
            gate.open();
        }
        None => {}
    }
}

/// How many records, and about how many bytes on disk, a group has still to read. One that never
/// read anything waits for nothing.
fn behind(bus: &dyn Bus, reader: &Reader) -> Result<(u64, u64), BusError> {
    let (mut records, mut bytes) = (0, 0);
    for &topic in &reader.topics {
        let committed = bus.committed(&reader.group, topic)?;
        if committed.iter().all(Option::is_none) {
            continue;
        }
        let before = records;
        for (extent, at) in bus.extents(topic)?.iter().zip(committed) {
            let at = at.unwrap_or(extent.begin).max(extent.begin);
            let unread = extent.end.0.saturating_sub(at.0);
            let kept = extent.end.0.saturating_sub(extent.begin.0).max(1);
            records += unread;
            let share = u128::from(extent.bytes.unwrap_or(0)) * u128::from(unread);
            bytes += u64::try_from(share / u128::from(kept)).unwrap_or(u64::MAX);
        }
        bus::backend::report_lag(&reader.group, topic, records - before);
    }
    Ok((records, bytes))
}

#[cfg(test)]
mod tests {
    use bus::{Batch, MemoryBus, Output, PollLimits, Records};

    use super::*;

    fn append(bus: &MemoryBus, count: usize) {
        let mut records = Records::new();
        for _ in 0..count {
            records.push(b"", &[], b"0123456789");
        }
        bus.append(Topic::Raw, &mut records).unwrap();
    }

    #[test]
    fn the_gate_follows_the_slowest_reader() {
        let bus = MemoryBus::default();
        let gate = Gate::default();
        let readers = [Reader { group: "slow".to_owned(), topics: vec![Topic::Raw] }];
        let bounds = Bounds { records_max: 100, bytes_max: u64::MAX };
        append(&bus, 1000);
        look(&bus, Some(&gate), &readers, bounds);
        assert!(!gate.is_closed(), "a group that never read holds nobody back");

        let mut consumer = bus.consumer("slow", &[Topic::Raw]).unwrap();
        let mut batch = Batch::new();
        let mut read = |count: usize| {
            let mut left = count;
            while left > 0 {
                let limits = PollLimits { records_max: left, ..PollLimits::default() };
                consumer.poll(&limits, &mut batch).unwrap();
                left -= batch.len();
            }
            consumer.commit(&mut Output::new()).unwrap();
        };
        read(899);
        look(&bus, Some(&gate), &readers, bounds);
        assert!(gate.is_closed());
        let said = gate.closed().unwrap().to_string();
        assert!(said.contains("slow") && said.contains("101"), "{said}");
        // At the bound it is not opened yet, so that it does not flutter.
        read(5);
        look(&bus, Some(&gate), &readers, bounds);
        assert!(gate.is_closed());
        read(6);
        look(&bus, Some(&gate), &readers, bounds);
        assert!(!gate.is_closed());

        let bounds = Bounds { records_max: u64::MAX, bytes_max: 1000 };
        look(&bus, Some(&gate), &readers, bounds);
        assert!(gate.is_closed());
    }
}
