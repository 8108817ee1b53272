//! The files that are followed on this machine (`[[files]]`), from the engine's side.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use ingest::Intake;
use ingest::tail::{FileSettings, Statuses, Tail, TailError};
use web::files::FollowedFile;

/// Followed files; nothing if none are named. Clones are of the same.
#[derive(Clone, Default)]
pub(crate) struct FollowedFiles {
    statuses: Statuses,
    stop: Arc<AtomicBool>,
    follower: Arc<Mutex<Follower>>,
}

#[derive(Default)]
enum Follower {
    #[default]
    None,
    Opened(Box<Tail>),
    Runs(JoinHandle<Result<(), TailError>>),
    Ended(String),
}

impl FollowedFiles {
    /// Checks the settings and finds where each file was left; reads nothing of them yet.
    ///
    /// # Errors
    /// When a setting is wrong, or the checkpoint or the bus can't be read.
    pub(crate) fn open(
        settings: &[FileSettings],
        checkpoint: &Path,
        intake: &Intake,
    ) -> Result<FollowedFiles, TailError> {
        let files = FollowedFiles::default();
        if settings.is_empty() {
            return Ok(files);
        }
        let tail = Tail::open(settings, checkpoint, intake.clone())?;
        let statuses = tail.statuses();
        *lock(&files.follower) = Follower::Opened(Box::new(tail));
        Ok(FollowedFiles { statuses, ..files })
    }

    /// Follows them from now on.
    ///
    /// # Errors
    /// The system's, if it gives no thread.
    pub(crate) fn start(&self) -> io::Result<()> {
        let mut follower = lock(&self.follower);
        *follower = match std::mem::take(&mut *follower) {
            Follower::Opened(tail) => Follower::Runs(tail.start(Arc::clone(&self.stop))?),
            other => other,
        };
        Ok(())
    }

    /// Ends it, with all places written down.
    pub(crate) fn close(&self) {
        self.stop.store(true, Ordering::Relaxed);
        let follower = std::mem::take(&mut *lock(&self.follower));
        if let Follower::Runs(thread) = follower
            && let Some(why) = outcome(thread)
        {
            tracing::error!("{why}");
        }
    }

    /// Why they are not followed any more, if that is so.
    pub(crate) fn problem(&self) -> Option<String> {
        let mut follower = lock(&self.follower);
        if matches!(&*follower, Follower::Runs(thread) if thread.is_finished())
            && let Follower::Runs(thread) = std::mem::take(&mut *follower)
            && let Some(why) = outcome(thread)
        {
            tracing::error!("{why}");
            *follower = Follower::Ended(why);
        }
        match &*follower {
            Follower::Ended(why) => Some(why.clone()),
            _ => None,
        }
    }

    /// How each file is.
    pub(crate) fn list(&self) -> Vec<FollowedFile> {
        let shown = |status: ingest::tail::Status| FollowedFile {
            path: status.path.display().to_string(),
            name: status.name,
            position: status.position,
            size: status.size,
            last_read: status.last_read.map(|time| time.to_string()).unwrap_or_default(),
            gone: status.is_gone,
            problem: status.problem.unwrap_or_default(),
        };
        self.statuses.get().into_iter().map(shown).collect()
    }
}

/// What went wrong on a thread that ended.
fn outcome(thread: JoinHandle<Result<(), TailError>>) -> Option<String> {
    let why = match thread.join() {
        Ok(Ok(())) => return None,
        Ok(Err(error)) => error.to_string(),
        Err(_) => "the thread that follows them panicked".to_owned(),
    };
    Some(format!("files are not followed any more: {why}"))
}

fn lock(follower: &Mutex<Follower>) -> std::sync::MutexGuard<'_, Follower> {
    follower.lock().unwrap_or_else(PoisonError::into_inner)
}
