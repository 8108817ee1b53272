//! Ctrl-C and `SIGTERM`, as something a plain loop can wait for.
//!
//! The first one asks for an orderly stop; a second one ends the process at once, for whoever has
//! no time for it (nothing acknowledged is lost by that either).

use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

/// Signals that were caught.
pub(crate) struct Signals {
    asked: Receiver<()>,
}

impl Signals {
    /// Catches them from now on.
    ///
    /// # Errors
    /// When the system refuses.
    pub(crate) fn catch() -> std::io::Result<Signals> {
        let (sender, asked) = channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (mut interrupt, mut terminate) = {
            let _guard = runtime.enter();
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
        };
        std::thread::Builder::new().name("signals".into()).spawn(move || {
            runtime.block_on(async {
                let mut count = 0;
                loop {
                    tokio::select! {
                        _ = interrupt.recv() => {}
                        _ = terminate.recv() => {}
                    }
                    count += 1;
                    if count > 1 {
                        std::process::exit(130);
                    }
                    // Nobody listening any more means that the stop is under way.
                    sender.send(()).ok();
                }
            });
        })?;
        Ok(Signals { asked })
    }

    /// Waits so long. True once a stop was asked for.
    pub(crate) fn wait(&self, time: Duration) -> bool {
        match self.asked.recv_timeout(time) {
            Ok(()) => true,
            Err(RecvTimeoutError::Timeout) => false,
            Err(RecvTimeoutError::Disconnected) => true,
        }
    }
}
