//! The tables that events are enriched from are read again when their files change.

use std::path::Path;
use std::thread::JoinHandle;

use bus::Shutdown;
use enrichment::Enrichment;

use crate::engine::{EngineError, io};

/// Watches the files in a thread of its own, if there are any.
///
/// # Errors
/// If there can be no thread.
pub(crate) fn start(
    enrichment: &Enrichment,
    shutdown: &Shutdown,
) -> Result<Option<JoinHandle<()>>, EngineError> {
    let Some(every) = enrichment.reload_every() else { return Ok(None) };
    let (enrichment, shutdown) = (enrichment.clone(), shutdown.clone());
    let watching = std::thread::Builder::new().name("tables".to_owned()).spawn(move || {
        while shutdown.sleep(every) {
            match enrichment.refresh() {
                Ok(true) => tracing::info!("tables that events are enriched from were read again"),
                Ok(false) => {}
                Err(error) => {
                    tracing::error!(%error, "tables cannot be read again, the former ones stay");
                }
            }
        }
    });
    watching.map(Some).map_err(io("start a thread for", Path::new("tables")))
}
