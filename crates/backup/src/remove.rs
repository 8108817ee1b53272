//! Removing backups, and the objects that no other needs.
//!
//! A backup that is being made relies on objects that are there, and no manifest says so yet. So a
//! removal leaves a mark while it runs, and a backup that is complete waits until there is none, and
//! looks whether it still is. A mark that nobody renews is of a removal that was killed.

use std::collections::{BTreeSet, HashSet};
use std::time::{Duration, Instant};

use event::Timestamp;
use fail::fail_point;

use crate::create::{object, pieces};
use crate::manifest::{list, read};
use crate::{BackupError, Key, Place};

/// The mark: an object with the time when it was left.
const REMOVING: &str = "removing";

/// How often the mark is renewed.
const RENEWED_EVERY: Duration = Duration::from_secs(20);

/// After so long without being renewed a mark means nothing. It is compared over machines, whose
/// clocks may differ by a minute.
const MARK_AGE_MAX: Duration = Duration::from_secs(180);

/// What was removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Removed {
    /// Objects that no backup needs any more.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Removes backups by their names, and every object that no other needs.
///
/// # Errors
/// When the place does not answer, or the manifest of a backup that stays cannot be read: then it is
/// not known what it needs, and nothing is removed.
pub fn remove(
    place: &Place,
    key: Option<&Key>,
    names: &BTreeSet<String>,
) -> Result<Removed, BackupError> {
    let all = list(place)?;
    for found in all.iter().filter(|found| !names.contains(&found.name)) {
        read(place, key, found)?;
    }
    mark(place)?;
    let mut marked = Instant::now();
    for found in all.iter().filter(|found| names.contains(&found.name)) {
        place.delete(&found.object())?;
        fail_point!("remove-between-backups", |_| std::process::abort());
    }
    let mut needed: HashSet<String> = HashSet::new();
    // Listed again: one that was made meanwhile is among these, or waits until we are done.
    for found in list(place)? {
        let files = read(place, key, &found)?.files;
        needed.extend(files.into_iter().flat_map(|file| file.pieces));
    }
    let mut removed = Removed::default();
    for (name, bytes) in pieces(place)? {
        if needed.contains(&name) {
            continue;
        }
        if marked.elapsed() > RENEWED_EVERY {
            mark(place)?;
            marked = Instant::now();
        }
        place.delete(&object(&name))?;
        removed.objects += 1;
        removed.bytes += bytes;
    }
    place.delete(REMOVING)?;
    Ok(removed)
}

fn mark(place: &Place) -> Result<(), BackupError> {
    Ok(place.put(REMOVING, Timestamp::now().to_string().into_bytes())?)
}

/// Waits until no removal runs.
pub(crate) fn wait_for_removal(place: &Place) -> Result<(), BackupError> {
    while let Some(mark) = place.get(REMOVING)? {
        let mark = str::from_utf8(&mark).ok().and_then(Timestamp::parse_rfc3339);
        let age = mark.map(|mark| Timestamp::now().as_millis().abs_diff(mark.as_millis()));
        if age.is_none_or(|age| u128::from(age) > MARK_AGE_MAX.as_millis()) {
            break;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    Ok(())
}
