//! The ledger is looked at all the time, and an imbalance is an alert.
//!
//! The engine that loses events and looks healthy is what operators fear most, so it watches itself:
//! where records are missing or too many it says so as a problem of its health, in a metric, in the
//! log, and as an alert like any other.

use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use bus::{Bus, BusError, Shutdown};
use event::{Level, Timestamp};
use prometheus::{IntGauge, Opts};
use web::ledger::LedgerAnswer;

use crate::own_alert::{OwnAlert, raise};

/// How often it is looked at.
const EVERY: Duration = Duration::from_secs(60);

/// What the alerts are of, where a rule stands otherwise.
const RULE_ID: &str = "watchpost.ledger";

static IMBALANCE: LazyLock<IntGauge> = LazyLock::new(|| {
    let options = Opts::new(
        "watchpost_ledger_imbalance",
        "Records that the ledger of conservation misses or has too many. Zero, or a fault.",
    );
    let gauge = IntGauge::with_opts(options).expect("the name is valid");
    // A name that is taken already is a mistake in this file; the metric still counts, unseen.
    prometheus::register(Box::new(gauge.clone())).ok();
    gauge
});

/// What is wrong with the ledger, for whoever asks how the engine does.
#[derive(Debug, Clone, Default)]
pub(crate) struct LedgerProblem(Arc<Mutex<Option<String>>>);

impl LedgerProblem {
    pub(crate) fn get(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, problem: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = problem;
    }
}

/// Watches the ledger in a thread of its own.
pub(crate) fn start(
    bus: Arc<dyn Bus>,
    index_group: String,
    problem: LedgerProblem,
    shutdown: Shutdown,
) -> std::io::Result<std::thread::JoinHandle<()>> {
    std::thread::Builder::new().name("ledger".to_owned()).spawn(move || {
        let mut watch = Watch::default();
        while shutdown.sleep(EVERY) {
            match web::ledger::read(bus.as_ref(), &index_group) {
                Ok(ledger) => watch.look(bus.as_ref(), &ledger, &problem, Timestamp::now()),
                Err(error) => tracing::debug!(%error, "the ledger cannot be read now"),
            }
        }
    })
}

#[derive(Debug, Default)]
struct Watch {
    /// The imbalance at the last look; one that is there twice is no matter of the moment.
    last: u64,
    /// The imbalance that was alerted last.
    alerted: u64,
}

impl Watch {
    fn look(
        &mut self,
        bus: &dyn Bus,
        ledger: &LedgerAnswer,
        problem: &LedgerProblem,
        now: Timestamp,
    ) {
        let imbalance = ledger.imbalance;
        let stays = imbalance > 0 && self.last > 0;
        self.last = imbalance;
        if imbalance == 0 {
            IMBALANCE.set(0);
            problem.set(None);
            self.alerted = 0;
            return;
        }
        if !stays {
            return;
        }
        let reason = reason(ledger);
        IMBALANCE.set(i64::try_from(imbalance).unwrap_or(i64::MAX));
        problem.set(Some(reason.clone()));
        if self.alerted == imbalance {
            return;
        }
        tracing::error!(imbalance, reason, "the ledger of conservation does not balance");
        match alert(bus, reason, now) {
            Ok(()) => self.alerted = imbalance,
            Err(error) => tracing::error!(%error, "the alert about the ledger was not stored"),
        }
    }
}

/// What does not balance, with the worst source.
fn reason(ledger: &LedgerAnswer) -> String {
    let worst = ledger.sources.iter().max_by_key(|of| of.error.unsigned_abs());
    let of = match worst.filter(|of| of.error != 0) {
        Some(of) if of.error < 0 => {
            format!("{} events of {} are missing", of.error.unsigned_abs(), of.source)
        }
        Some(of) => format!("{} events of {} are too many", of.error, of.source),
        None => format!("{} records were counted for no source", ledger.uncounted),
    };
    format!("The ledger is out of balance by {}: {of}", ledger.imbalance)
}

fn alert(bus: &dyn Bus, reason: String, now: Timestamp) -> Result<(), BusError> {
    let alert = OwnAlert {
        rule: RULE_ID,
        title: "The ledger of conservation does not balance",
        level: Level::High,
        identity: &reason.clone(),
        reason,
        group: Vec::new(),
    };
    raise(bus, alert, now)
}

#[cfg(test)]
mod tests {
    use bus::{MemoryBus, Topic};
    use web::ledger::SourceAccount;

    use super::*;

    #[test]
    fn what_stays_out_of_balance_is_alerted_once() {
        let bus = MemoryBus::default();
        let problem = LedgerProblem::default();
        let mut watch = Watch::default();
        let account = SourceAccount {
            source: "10.0.0.1".to_owned(),
            received: 9,
            dropped: 0,
            rejected: 0,
            events: 9,
            stored: 7,
            in_flight: 0,
            error: -2,
            ..SourceAccount::default()
        };
        let mut ledger = LedgerAnswer {
            imbalance: 2,
            raw_in_flight: 0,
            events_in_flight: 0,
            uncounted: 0,
            partial: false,
            sources: vec![account],
        };
        let alerts = || bus.extents(Topic::Alerts).unwrap().iter().map(|e| e.end.0).sum::<u64>();
        watch.look(&bus, &ledger, &problem, Timestamp::EPOCH);
        assert_eq!((alerts(), problem.get()), (0, None), "once may be a matter of the moment");
        watch.look(&bus, &ledger, &problem, Timestamp::EPOCH);
        watch.look(&bus, &ledger, &problem, Timestamp::EPOCH);
        assert_eq!(alerts(), 1);
        let said = problem.get().unwrap();
        assert_eq!(said, "The ledger is out of balance by 2: 2 events of 10.0.0.1 are missing");
        ledger.imbalance = 0;
        watch.look(&bus, &ledger, &problem, Timestamp::EPOCH);
        assert_eq!(problem.get(), None);
    }
}
