//! Files that are followed as they are written: log files on the machine that Watchpost runs on.
//!
//! One plain thread looks at the files (`stat`) again and again, and reads what is new. There is no
//! inotify in it: that does not work on NFS, forgets under load, and needs a second look anyway.
//! Looking at 2,000 quiet files costs about 2 % of a core.
//!
//! The idea is that nothing is kept of a file but a place: a position at which a record begins,
//! and hashes of what stands before it. A record is taken when it is complete; what is not is read
//! again when there is more. So a half-written line needs no buffer, a crash loses nothing that was
//! in one, and there is one number that says how far a file is.
//!
//! A place moves on once its records are durable, and the places go to disk about once a second
//! (a checkpoint). What was appended after that is found on the bus at the next start and not
//! appended again: what is cut in the same way is on the bus once.
//!
//! What it refuses to do: guess. Where a file may be a copy of one that was read and nothing proves
//! it, it is read. Doubled is better than lost.

mod appended;
mod checkpoint;
mod lines;
mod lookup;
mod place;
mod settings;
mod status;
mod whole;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::fs::{self, File, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use bus::{BusError, Topic};
use event::Timestamp;
use event::raw::{Encoding, LISTENER_FILE, RawRecord};

use crate::files::{Whole, Wide};
use crate::{Batch, Intake, count_too_large, metrics};
use appended::Appended;
use checkpoint::{Checkpoint, Entry};
use lines::{Cut, End};
use lookup::{Found, Told};
use place::{Id, Place, STAMP_BYTES, Stamp, read_at};
use settings::Source;
use whole::{Next, WholeReader};

pub use appended::RECOVERY_RECORDS_MAX;
pub use lookup::PATHS_MAX;
pub use settings::{FileSettings, From, MULTILINE_LINES_MAX, PATTERNS_MAX};
pub use status::{Status, Statuses};

/// The most files that are followed at once; those beyond are told and wait until others are gone.
pub const FILES_FOLLOWED_MAX: usize = 10_000;

/// The most files that stay open between two looks. A file that was read to its end and is not
/// open is found again by its path; if it is removed meanwhile, what was added last is not seen.
pub const FILES_OPEN_MAX: usize = 512;

/// How many bytes of a file are read before the next file gets its turn, but for longer records.
pub const TURN_BYTES: usize = 512 * 1024;

/// An append has about so many bytes at most: enough that a sync's few milliseconds are spread.
pub const APPEND_BYTES_MAX: usize = 4 * 1024 * 1024;

/// And so many records.
pub const APPEND_RECORDS_MAX: usize = 20_000;

/// How often files are looked at: while there is something to read, and when it is quiet.
const POLL_WAIT: Duration = Duration::from_millis(100);
const POLL_WAIT_MAX: Duration = Duration::from_secs(1);

/// How often it is looked for files.
const LOOKUP_WAIT: Duration = Duration::from_secs(5);

/// A file that did not change for so long is looked at only as often as it is looked for files.
const IDLE_AFTER: Duration = Duration::from_secs(600);

/// How often the checkpoint is written: after changes, and at least, so that the bus need not be
/// read far back after a crash.
const CHECKPOINT_WAIT: Duration = Duration::from_secs(1);
const CHECKPOINT_WAIT_MAX: Duration = Duration::from_secs(60);

/// A line without its end in a file that was renamed or removed is a record after so long.
const ROTATED_LINE_WAIT: Duration = Duration::from_secs(5);

/// A removed file is let go when it was quiet for so long: while we hold it, its disk space is not
/// free.
const REMOVED_WAIT: Duration = Duration::from_secs(10);

/// One that was renamed to where no pattern reaches: its writer may take long to open the new one.
const RENAMED_WAIT: Duration = Duration::from_secs(300);

/// A file that begins like another of a similar name may be a copy in the making, before the other
/// is emptied. It waits so long from its last change.
const COPY_WAIT: Duration = Duration::from_secs(5);

/// How long a copy of what was overwritten is expected, and of how many files.
const COPY_EXPECTED_MS: i64 = 60 * 60 * 1000;
const COPIES_EXPECTED_MAX: usize = 1000;

/// A file that is read as a whole must not have changed for so long.
const SETTLED_AFTER: Duration = Duration::from_secs(5);

/// A file that waits for another that is read as a whole looks again after this.
const WHOLE_WAIT: Duration = Duration::from_millis(200);

/// How long a file that is gone is remembered, and how many are.
const GONE_DAYS_MAX: i64 = 30;
const GONE_FILES_MAX: usize = 20_000;

/// How long after a start what is on the bus already is kept in mind.
const RECOVERY_WAIT: Duration = Duration::from_secs(600);

/// Follows files. See the head of this module.
pub struct Tail {
    sources: Vec<Source>,
    intake: Intake,
    checkpoint: PathBuf,
    files: BTreeMap<u64, Followed>,
    by_id: HashMap<Id, u64>,
    next_key: u64,
    /// Files that have something to read, in the order of their turns.
    ready: VecDeque<u64>,
    /// Files that have another text: they get their turn once the checkpoint says so. After a crash
    /// it is known then under which name and from where they were read.
    ready_once_saved: Vec<u64>,
    /// Files that were followed and are gone.
    gone: HashMap<Id, Entry>,
    /// Texts that were overwritten, and may be in a copy.
    overwritten: Vec<Entry>,
    /// Patterns that were followed before this start.
    known_patterns: BTreeSet<String>,
    appended: Appended,
    whole: Option<WholeReader>,
    batch: Batch,
    /// Where the files of the batch were before it.
    undo: Vec<(u64, Place)>,
    buffer: Vec<u8>,
    statuses: Statuses,
    told: Told,
    looked_up: bool,
    lookup_due: Duration,
    poll_due: Duration,
    saved_at: Duration,
    save_cost: Duration,
    saved_ends: Vec<u64>,
    is_dirty: bool,
    open_files: usize,
}

/// Why files can't be followed.
#[derive(Debug, thiserror::Error)]
pub enum TailError {
    /// A setting is wrong.
    #[error("[[files]] number {index}: `{setting}` {reason}")]
    Setting {
        /// Which `[[files]]`, from 1.
        index: usize,
        /// Its setting.
        setting: &'static str,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// The checkpoint can't be read or written.
    #[error(
        "the checkpoint of followed files {path} cannot be used: {reason}; mend that, or remove it to follow all files as new"
    )]
    Checkpoint {
        /// Where it is.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The bus failed. Nothing is lost: what was not appended is read again.
    #[error("the records of files cannot be appended: {0}")]
    Bus(#[from] BusError),
}

/// A moment, by both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Since the start; it does not jump.
    pub elapsed: Duration,
    /// The time of day, for records.
    pub time: Timestamp,
}

/// What a pass did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Passed {
    /// How many records were appended.
    pub records: u64,
    /// Whether there is more to read at once.
    pub is_busy: bool,
}

/// A file that is followed.
#[derive(Debug)]
struct Followed {
    id: Id,
    source: usize,
    path: PathBuf,
    /// The name of its records. It does not change when the file is renamed, so that what one
    /// writer wrote stays together and in order.
    name: String,
    place: Place,
    passed: Vec<place::Passed>,
    kind: Kind,
    open: Option<File>,
    size: u64,
    modified: Option<SystemTime>,
    /// The largest size seen of this text.
    size_max: u64,
    changed_at: Duration,
    /// When it is worth another turn without a change.
    again_at: Option<Duration>,
    gone_at: Option<Duration>,
    is_renamed: bool,
    is_queued: bool,
    problem: Option<String>,
    last_read: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// It was not looked at since it was met.
    Unknown,
    Lines(Option<Wide>),
    Whole(Whole),
}

/// How a turn ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    More,
    /// The file has another text.
    Overwritten,
    Done,
}

/// Where the text of a new file is from.
enum Origin {
    New,
    /// It was read up to here, under another name.
    Copy(Place),
    /// It can't be said yet.
    Wait,
}

impl Tail {
    /// Follows what these settings name, from where the checkpoint says. Reads what was appended
    /// since the checkpoint from the bus behind the intake.
    ///
    /// # Errors
    /// [`TailError`] when a setting is wrong, or the checkpoint or the bus can't be read.
    pub fn open(
        settings: &[FileSettings],
        checkpoint: impl Into<PathBuf>,
        intake: Intake,
    ) -> Result<Tail, TailError> {
        let checkpoint = checkpoint.into();
        let sources = settings.iter().enumerate().map(|(index, one)| Source::new(index, one));
        let sources: Vec<Source> = sources.collect::<Result<_, _>>()?;
        let read = Checkpoint::read(&checkpoint)?;
        let appended = match &read {
            Some(read) => Appended::since(intake.bus(), &read.raw_ends)?,
            None => Appended::default(),
        };
        let mut read = read.unwrap_or_default();
        let saved_ends = std::mem::take(&mut read.raw_ends);
        let (overwritten, gone): (Vec<_>, Vec<_>) =
            read.files.into_iter().partition(|entry| entry.is_overwritten);
        Ok(Tail {
            sources,
            intake,
            checkpoint,
            files: BTreeMap::new(),
            by_id: HashMap::new(),
            next_key: 0,
            ready: VecDeque::new(),
            ready_once_saved: Vec::new(),
            gone: gone.into_iter().map(|entry| (entry.id, entry)).collect(),
            overwritten,
            known_patterns: read.patterns.into_iter().collect(),
            appended,
            whole: None,
            batch: Batch::new(),
            undo: Vec::new(),
            buffer: Vec::new(),
            statuses: Statuses::default(),
            told: Told::default(),
            looked_up: false,
            lookup_due: Duration::ZERO,
            poll_due: Duration::ZERO,
            saved_at: Duration::ZERO,
            save_cost: Duration::ZERO,
            saved_ends,
            is_dirty: false,
            open_files: 0,
        })
    }

    /// How the files are, also while they are followed by another thread.
    pub fn statuses(&self) -> Statuses {
        self.statuses.clone()
    }

    /// Follows the files on a thread of its own. It ends within about a second after `stop` is set,
    /// unless a disk hangs.
    ///
    /// # Errors
    /// The system's, if it gives no thread.
    pub fn start(mut self, stop: Arc<AtomicBool>) -> io::Result<JoinHandle<Result<(), TailError>>> {
        thread::Builder::new().name("tail".to_owned()).spawn(move || self.run(&stop))
    }

    /// Follows the files until `stop` is set, and writes the checkpoint.
    ///
    /// # Errors
    /// [`TailError`] when the bus fails for good, or the last checkpoint can't be written.
    pub fn run(&mut self, stop: &AtomicBool) -> Result<(), TailError> {
        let started = Instant::now();
        let is_stopped = || stop.load(Ordering::Relaxed);
        let mut pause = POLL_WAIT;
        let mut result = Ok(());
        while !is_stopped() {
            let moment = Moment { elapsed: started.elapsed(), time: Timestamp::now() };
            let passed = match self.pass(moment, stop) {
                Ok(passed) => passed,
                Err(error) => {
                    result = Err(error);
                    break;
                }
            };
            if passed.is_busy {
                continue;
            }
            pause = if passed.records > 0 { POLL_WAIT } else { (pause * 2).min(POLL_WAIT_MAX) };
            let until = Instant::now() + pause;
            while !is_stopped() && Instant::now() < until {
                thread::sleep(POLL_WAIT.min(until.saturating_duration_since(Instant::now())));
            }
        }
        let saved = self.close();
        result.and(saved)
    }

    /// One pass: looks for files and at files if that is due, reads what is new until an append is
    /// full or nothing is left, makes it durable, and writes the checkpoint if that is due. For
    /// those that drive it by hand; [`Tail::run`] calls it again and again.
    ///
    /// # Errors
    /// [`TailError::Bus`] when the bus fails for good.
    pub fn pass(&mut self, moment: Moment, stop: &AtomicBool) -> Result<Passed, TailError> {
        if moment.elapsed >= self.lookup_due {
            self.look_up(moment, stop);
        }
        if moment.elapsed >= self.poll_due {
            self.poll(moment);
        }
        // What is found later in this pass gets its turn in the next: a file that asks for a turn
        // again and again must not keep us here.
        let mut turns = 0;
        while !self.is_batch_full()
            && !stop.load(Ordering::Relaxed)
            && turns <= self.files.len().max(APPEND_BYTES_MAX / TURN_BYTES)
            && let Some(key) = self.ready.pop_front()
        {
            self.turn(key, moment);
            turns += 1;
        }
        let records = self.append(stop)?;
        if !self.ready_once_saved.is_empty() {
            self.save_and_tell(moment);
            self.ready.extend(self.ready_once_saved.drain(..));
        }
        if !self.appended.is_empty() && moment.elapsed > RECOVERY_WAIT {
            self.appended = Appended::default();
        }
        self.save_if_due(moment);
        Ok(Passed { records, is_busy: !self.ready.is_empty() })
    }

    /// Writes the checkpoint, and lets all files go. Also what [`Tail::run`] does at its end.
    ///
    /// # Errors
    /// [`TailError::Checkpoint`].
    pub fn close(&mut self) -> Result<(), TailError> {
        self.whole = None;
        let saved = if self.looked_up { self.save(Timestamp::now()) } else { Ok(()) };
        metrics::FILES_FOLLOWED.set(0);
        metrics::FILES_OPEN.set(0);
        metrics::FILES_LAG_BYTES.set(0);
        saved
    }

    fn is_batch_full(&self) -> bool {
        self.batch.bytes_len() >= APPEND_BYTES_MAX || self.batch.len() >= APPEND_RECORDS_MAX
    }
}

/// Which files there are.
impl Tail {
    fn look_up(&mut self, moment: Moment, stop: &AtomicBool) {
        self.lookup_due = moment.elapsed + LOOKUP_WAIT;
        let (files, by_id) = (&self.files, &self.by_id);
        let is_known = |id: Id, path: &Path| {
            by_id.get(&id).and_then(|key| files.get(key)).is_some_and(|file| file.path == path)
        };
        let is_stopped = || stop.load(Ordering::Relaxed);
        let Some(mut found) =
            lookup::look_up(&self.sources, &is_known, &mut self.told, &is_stopped)
        else {
            return;
        };
        let mut is_new = !self.looked_up;
        for (&key, file) in &mut self.files {
            match found.remove(&file.id) {
                Some(now) => {
                    if now.path != file.path {
                        tracing::info!(from = %file.path.display(), to = %now.path.display(), "a followed file was renamed");
                        file.path = now.path;
                        file.is_renamed = true;
                        is_new = true;
                    }
                    file.gone_at = None;
                    if file.see(&now.metadata, moment) {
                        file.queue(key, &mut self.ready);
                    }
                }
                None => _ = file.gone_at.get_or_insert(moment.elapsed),
            }
            let is_rotated = file.is_renamed || file.gone_at.is_some();
            if is_rotated && file.size > file.place.position {
                // Its last line may have been waiting for longer.
                let at = file.changed_at + ROTATED_LINE_WAIT;
                file.again_at = Some(file.again_at.map_or(at, |again| again.min(at)));
            }
        }
        let mut ready = std::mem::take(&mut self.ready);
        is_new |= self.let_go(moment, &mut ready);
        self.ready = ready;
        is_new |= self.follow_new(found, moment);
        self.known_patterns = self.sources.iter().flat_map(|source| source.paths.clone()).collect();
        self.looked_up = true;
        self.forget(moment.time);
        if is_new {
            // Before anything of a new file is appended: after a crash it is known where it began.
            self.save_and_tell(moment);
        }
    }

    /// Lets go of what is gone and was read to its end.
    fn let_go(&mut self, moment: Moment, ready: &mut VecDeque<u64>) -> bool {
        let mut ended = Vec::new();
        for (&key, file) in &mut self.files {
            let Some(gone_at) = file.gone_at else { continue };
            let Some(open) = &file.open else {
                ended.push(key);
                continue;
            };
            let Ok(metadata) = open.metadata() else {
                ended.push(key);
                continue;
            };
            use std::os::unix::fs::MetadataExt;
            let wait = if metadata.nlink() == 0 { REMOVED_WAIT } else { RENAMED_WAIT };
            if file.see(&metadata, moment) {
                file.queue(key, ready);
            }
            let quiet_since = file.changed_at.max(gone_at);
            if !file.is_queued && moment.elapsed >= quiet_since + wait {
                ended.push(key);
            }
        }
        for key in &ended {
            if let Some(file) = self.files.remove(key) {
                self.by_id.remove(&file.id);
                tracing::info!(path = %file.path.display(), position = file.place.position, "a followed file is gone");
                let entry = Entry { gone_since_ms: Some(moment.time.as_millis()), ..file.entry() };
                self.gone.insert(file.id, entry);
            }
        }
        !ended.is_empty()
    }

    /// Begins to follow what was found, the oldest first.
    fn follow_new(&mut self, found: BTreeMap<Id, Found>, moment: Moment) -> bool {
        let mut found: Vec<(Id, Found)> = found.into_iter().collect();
        found.sort_by_key(|(id, found)| {
            (!self.gone.contains_key(id), found.metadata.modified().ok(), found.path.clone())
        });
        // A device may get another number at a start of the machine, and editors write a new file:
        // the name and the text say then that it is the same.
        let mut by_path: HashMap<PathBuf, Id> = HashMap::new();
        if !self.looked_up {
            let all: BTreeSet<Id> = found.iter().map(|(id, _)| *id).collect();
            by_path = self
                .gone
                .values()
                .filter(|entry| !all.contains(&entry.id))
                .map(|entry| (entry.path.clone(), entry.id))
                .collect();
        }
        let mut is_new = false;
        for (id, Found { path, source, pattern, metadata }) in found {
            let Some(settings) = self.sources.get(source) else { continue };
            let age = metadata.modified().ok().and_then(|modified| {
                let now = SystemTime::UNIX_EPOCH
                    + Duration::from_millis(moment.time.as_millis().max(0) as u64);
                now.duration_since(modified).ok()
            });
            let is_old = settings.ignore_older.is_some_and(|max| age.is_some_and(|age| age > max));
            if is_old && !self.gone.contains_key(&id) && !by_path.contains_key(&path) {
                continue;
            }
            if self.files.len() >= FILES_FOLLOWED_MAX {
                let message = format!(
                    "{FILES_FOLLOWED_MAX} files are followed already; narrow the patterns, or lower `ignore_older_days`"
                );
                self.told.tell("limit", Path::new(&pattern), &message);
                break;
            }
            let is_end = settings.from == From::End
                && !self.looked_up
                && !self.known_patterns.contains(&pattern);
            let mut file = Followed::new(id, source, path, &metadata, moment);
            if let Some(entry) = self.gone.remove(&id) {
                file.is_renamed = entry.name != file.name;
                (file.name, file.place, file.passed) = (entry.name, entry.place, entry.passed);
            } else if let Some(old) = by_path.get(&file.path).copied() {
                let same = self.gone.get(&old).filter(|entry| {
                    let place = &entry.place;
                    place.head.is_full()
                        && place.before.is_full()
                        && File::open(&file.path)
                            .is_ok_and(|open| place.is_in(&open).unwrap_or(false))
                });
                if same.is_some()
                    && let Some(entry) = self.gone.remove(&old)
                {
                    (file.name, file.place, file.passed) = (entry.name, entry.place, entry.passed);
                }
            } else if is_end {
                match place_at_end(&file.path, metadata.len()) {
                    Ok(place) => file.place = place,
                    // It is followed later, as new: better read than lost.
                    Err(error) => self.told.tell("open", &file.path, &error.to_string()),
                }
            }
            let key = self.next_key;
            self.next_key += 1;
            self.open_file(&mut file, moment);
            if self.open_files > FILES_OPEN_MAX && file.open.take().is_some() {
                self.open_files -= 1;
            }
            tracing::info!(path = %file.path.display(), position = file.place.position, size = file.size, "following a file");
            file.queue(key, &mut self.ready);
            self.files.insert(key, file);
            self.by_id.insert(id, key);
            is_new = true;
        }
        is_new
    }

    /// Forgets what is gone for long.
    fn forget(&mut self, now: Timestamp) {
        let now = now.as_millis();
        let oldest = now - GONE_DAYS_MAX * 86_400_000;
        for entry in self.gone.values_mut() {
            entry.gone_since_ms.get_or_insert(now);
        }
        self.gone.retain(|_, entry| entry.gone_since_ms.is_none_or(|since| since >= oldest));
        if self.gone.len() > GONE_FILES_MAX {
            let mut by_age: Vec<_> =
                self.gone.values().map(|entry| (entry.gone_since_ms, entry.id)).collect();
            by_age.sort_unstable();
            for (_, id) in by_age.iter().take(self.gone.len() - GONE_FILES_MAX) {
                self.gone.remove(id);
            }
        }
        self.overwritten.retain(|entry| {
            entry.gone_since_ms.is_some_and(|since| since >= now - COPY_EXPECTED_MS)
        });
    }

    /// Looks at the files.
    fn poll(&mut self, moment: Moment) {
        self.poll_due = moment.elapsed + POLL_WAIT;
        let is_crowded = self.files.len() > FILES_OPEN_MAX;
        self.open_files = self.files.values().filter(|file| file.open.is_some()).count();
        for (&key, file) in &mut self.files {
            if file.is_queued {
                continue;
            }
            if file.again_at.is_some_and(|at| moment.elapsed >= at) {
                file.queue(key, &mut self.ready);
                continue;
            }
            if file.quiet(moment) > IDLE_AFTER {
                if is_crowded {
                    file.open = None;
                }
                continue;
            }
            let by_path = fs::metadata(&file.path).ok().filter(|found| Id::of(found) == file.id);
            if by_path.is_none() && file.gone_at.is_none() {
                // It was renamed or removed: it is looked for at once, and not once a poll.
                file.gone_at = Some(moment.elapsed);
                self.lookup_due = moment.elapsed;
            }
            let now = match (by_path, &file.open) {
                (Some(now), _) => now,
                (None, Some(open)) => match open.metadata() {
                    Ok(now) => now,
                    Err(_) => continue,
                },
                (None, None) => continue,
            };
            if file.see(&now, moment) {
                file.queue(key, &mut self.ready);
            }
        }
    }
}

/// Reading.
impl Tail {
    fn turn(&mut self, key: u64, moment: Moment) {
        let Some(mut file) = self.files.remove(&key) else { return };
        (file.is_queued, file.again_at) = (false, None);
        let was = file.place;
        if self.open_file(&mut file, moment) {
            let read = match file.place == was {
                true => self.read(key, &mut file, moment),
                false => Ok(Turn::Overwritten),
            };
            match read {
                Ok(Turn::Overwritten) => {
                    file.is_queued = true;
                    self.ready_once_saved.push(key);
                }
                Ok(Turn::More) => file.queue(key, &mut self.ready),
                Ok(Turn::Done) => {}
                Err(error) => {
                    self.told.tell("read", &file.path, &error.to_string());
                    file.problem = Some(error.to_string());
                    file.open = None;
                    file.again_at = Some(moment.elapsed + LOOKUP_WAIT);
                }
            }
            if self.open_files > FILES_OPEN_MAX && !file.is_queued && file.gone_at.is_none() {
                file.open = None;
                self.open_files -= 1;
            }
        }
        self.files.insert(key, file);
    }

    /// Opens a file that is not, and looks whether it is what it was.
    fn open_file(&mut self, file: &mut Followed, moment: Moment) -> bool {
        if file.open.is_some() {
            return true;
        }
        let opened = File::open(&file.path).and_then(|open| {
            let metadata = open.metadata()?;
            let is_same = file.place.is_in(&open)?;
            Ok((open, metadata, is_same))
        });
        match opened {
            Ok((_, metadata, _)) if Id::of(&metadata) != file.id => {
                file.gone_at.get_or_insert(moment.elapsed);
                false
            }
            Ok((open, _, is_same)) => {
                self.told.forget("open", &file.path);
                (file.open, file.problem) = (Some(open), None);
                self.open_files += 1;
                if !is_same {
                    self.overwritten(None, file, moment);
                }
                true
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                file.gone_at.get_or_insert(moment.elapsed);
                false
            }
            Err(error) => {
                self.told.tell("open", &file.path, &error.to_string());
                file.problem = Some(error.to_string());
                file.again_at = Some(moment.elapsed + LOOKUP_WAIT);
                false
            }
        }
    }

    fn read(&mut self, key: u64, file: &mut Followed, moment: Moment) -> io::Result<Turn> {
        let Some(open) = &file.open else { return Ok(Turn::Done) };
        let now = open.metadata()?;
        file.see(&now, moment);
        if file.kind == Kind::Unknown && !self.begin(key, file, moment)? {
            return Ok(Turn::Done);
        }
        match file.kind {
            Kind::Unknown => Ok(Turn::Done),
            Kind::Lines(wide) => self.read_lines(key, file, wide, moment),
            Kind::Whole(kind) => self.read_whole(key, file, kind, moment),
        }
    }

    /// Finds out what a file is, and whether its text was read under another name. False if that
    /// can't be said yet.
    fn begin(&mut self, key: u64, file: &mut Followed, moment: Moment) -> io::Result<bool> {
        let Some(open) = &file.open else { return Ok(false) };
        let mut head = [0; STAMP_BYTES];
        let length = read_at(open, &mut head, 0)?;
        let head = head.get(..length).unwrap_or_default();
        if head.is_empty() {
            return Ok(false);
        }
        if may_be_more(head) && file.quiet(moment) < ROTATED_LINE_WAIT {
            file.again_at = Some(file.changed_at + ROTATED_LINE_WAIT);
            return Ok(false);
        }
        let whole = Whole::of(head);
        if whole.is_some() && file.quiet(moment) < SETTLED_AFTER {
            file.again_at = Some(file.changed_at + SETTLED_AFTER);
            return Ok(false);
        }
        if file.place == Place::default() {
            let origin = match whole {
                Some(Whole::Compressed) => self.origin_of_packed(file),
                Some(Whole::Evtx) => Origin::New,
                None => self.origin(file, head, moment)?,
            };
            match origin {
                Origin::New => {}
                Origin::Wait => {
                    file.again_at = Some(moment.elapsed + POLL_WAIT_MAX);
                    return Ok(false);
                }
                Origin::Copy(place) => {
                    tracing::info!(path = %file.path.display(), position = place.position, "a file is a copy of one that was read");
                    self.undo.push((key, file.place));
                    file.place = place;
                }
            }
        }
        file.kind = match whole {
            Some(whole) => {
                if file.place.head == Stamp::default() {
                    file.place.head = Stamp::of(head);
                }
                Kind::Whole(whole)
            }
            None => Kind::Lines(Wide::of(head)),
        };
        Ok(true)
    }

    /// Whether a new file is the copy that logrotate's `copytruncate` makes of one that we read.
    fn origin(&mut self, file: &Followed, head: &[u8], moment: Moment) -> io::Result<Origin> {
        let Some(open) = &file.open else { return Ok(Origin::New) };
        for (index, entry) in self.overwritten.iter().enumerate() {
            if is_rotation_of(&entry.path, &file.path)
                && let Some(place) = entry.place.in_copy(&entry.passed, open)?
            {
                self.overwritten.remove(index);
                return Ok(Origin::Copy(place));
            }
        }
        // It may not be emptied yet.
        let begins_like = |other: &Followed| {
            let stamp = other.place.head;
            match head.get(..stamp.bytes as usize) {
                Some(same) => Stamp::of(same) == stamp,
                None => other.open.as_ref().is_some_and(|open| {
                    let mut theirs = vec![0; head.len()];
                    read_at(open, &mut theirs, 0).is_ok() && theirs == head
                }),
            }
        };
        let is_made = self.files.values().any(|other| {
            other.place.position > 0
                && other.gone_at.is_none()
                && !other.is_renamed
                && is_rotation_of(&other.path, &file.path)
                && begins_like(other)
        });
        let is_waiting = is_made && file.quiet(moment) < COPY_WAIT;
        Ok(if is_waiting { Origin::Wait } else { Origin::New })
    }

    /// Whether a new compressed file is a file that we read to its end.
    fn origin_of_packed(&self, file: &Followed) -> Origin {
        let followed = self.files.values().map(|other| (&other.path, &other.name, other.place));
        let gone = self.gone.values().chain(&self.overwritten);
        let gone = gone.map(|entry| (&entry.path, &entry.name, entry.place));
        for (path, name, place) in followed.chain(gone) {
            let is_like = place.position > 0
                && place.before != Stamp::default()
                && (is_rotation_of(path, &file.path)
                    || is_rotation_of(Path::new(name), &file.path));
            // What can't be unpacked is read, and told then.
            if is_like
                && File::open(&file.path)
                    .and_then(|packed| whole::holds(packed, &place))
                    .unwrap_or(false)
            {
                return Origin::Copy(Place { position: file.size, ..Place::default() });
            }
        }
        Origin::New
    }

    /// The file has another text than the one we were reading.
    fn overwritten(&mut self, key: Option<u64>, file: &mut Followed, moment: Moment) {
        let unread = file.size_max.saturating_sub(file.place.position);
        metrics::FILES_TRUNCATED.inc();
        metrics::FILES_TRUNCATED_UNREAD_BYTES.inc_by(unread);
        tracing::warn!(path = %file.path.display(), position = file.place.position, size = file.size, unread, "a followed file was emptied or overwritten; it is read from its beginning");
        if file.place.position > 0 {
            if self.overwritten.len() >= COPIES_EXPECTED_MAX {
                self.overwritten.remove(0);
            }
            let gone_since_ms = Some(moment.time.as_millis());
            self.overwritten.push(Entry { gone_since_ms, is_overwritten: true, ..file.entry() });
        }
        if let Some(key) = key {
            self.undo.push((key, file.place));
            if self.whole.as_ref().is_some_and(|whole| whole.file == key) {
                self.whole = None;
            }
        }
        file.passed.clear();
        file.name = file.path.to_string_lossy().into_owned();
        (file.place, file.kind) = (Place::default(), Kind::Unknown);
        (file.is_renamed, file.size_max) = (false, file.size);
        self.is_dirty = true;
    }

    fn read_lines(
        &mut self,
        key: u64,
        file: &mut Followed,
        wide: Option<Wide>,
        moment: Moment,
    ) -> io::Result<Turn> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let turn = self.read_lines_into(&mut buffer, key, file, wide, moment);
        // A long line's memory is given back.
        buffer.truncate(STAMP_BYTES + TURN_BYTES);
        buffer.shrink_to(STAMP_BYTES + TURN_BYTES);
        self.buffer = buffer;
        turn
    }

    fn read_lines_into(
        &mut self,
        buffer: &mut Vec<u8>,
        key: u64,
        file: &mut Followed,
        wide: Option<Wide>,
        moment: Moment,
    ) -> io::Result<Turn> {
        let (Some(open), Some(source)) = (&file.open, self.sources.get(file.source)) else {
            return Ok(Turn::Done);
        };
        let (line_wait, multiline_wait) = (source.line_wait, source.multiline_wait);
        let is_multiline = source.rules.start.is_some();
        let bytes_max = source.rules.bytes_max + lines::LINE_END_BYTES_MAX;
        let known = file.place.before.bytes as usize;
        let is_rotated = file.is_renamed || file.gone_at.is_some();
        let line_wait = if is_rotated { line_wait.min(ROTATED_LINE_WAIT) } else { line_wait };
        let quiet = file.quiet(moment);
        let at_end = if quiet >= line_wait {
            End::Last
        } else if is_multiline && quiet >= multiline_wait {
            End::Quiet
        } else {
            End::Open
        };
        let before = file.place;
        let mut wanted = TURN_BYTES;
        let (taken, length, is_end) = loop {
            if buffer.len() < known + wanted {
                buffer.resize(known + wanted, 0);
            }
            let space = buffer.get_mut(..known + wanted).unwrap_or_default();
            let length = read_at(open, space, before.stamp_from())?;
            let (stamp, bytes) =
                buffer.get(..length).unwrap_or_default().split_at(known.min(length));
            // It is looked at in the same read: between a look and a read it could be emptied.
            if Stamp::of(stamp) != before.before {
                self.overwritten(Some(key), file, moment);
                return Ok(Turn::Overwritten);
            }
            let is_end = length < known + wanted;
            let end = if is_end { at_end } else { End::More };
            let mut taken = if before.position == 0 { lines::mark_bytes(bytes) } else { 0 };
            let mut is_skipping = before.is_skipping;
            while let Some(rest) = bytes.get(taken..).filter(|rest| !rest.is_empty()) {
                if self.batch.bytes_len() >= APPEND_BYTES_MAX
                    || self.batch.len() >= APPEND_RECORDS_MAX
                {
                    break;
                }
                let position = before.position + taken as u64;
                if is_skipping {
                    match lines::after_line(rest, wide) {
                        Some(next) => (taken, is_skipping) = (taken + next, false),
                        None => {
                            taken += if wide.is_some() { rest.len() & !1 } else { rest.len() };
                            break;
                        }
                    }
                    continue;
                }
                match lines::cut(rest, &source.rules, wide, end) {
                    Cut::Record { taken: next, text } => {
                        let text = lines::narrow(text, wide);
                        if self.appended.is_empty()
                            || !self.appended.take(&file.name, position, &text)
                        {
                            self.batch.push(&RawRecord {
                                payload: &text,
                                received: moment.time,
                                listener: LISTENER_FILE,
                                peer: &file.name,
                                sender: "",
                                dataset: &source.dataset,
                                namespace: &source.namespace,
                                position: Some(position),
                                encoding: Encoding::Unknown,
                            });
                        } else {
                            metrics::FILES_RECOVERED.inc();
                        }
                        taken += next;
                    }
                    Cut::Nothing { taken: next } => taken += next,
                    Cut::TooLong { taken: next, is_open } => {
                        count_too_large(LISTENER_FILE);
                        tracing::warn!(path = %file.path.display(), position, max = source.rules.bytes_max, "a line is too long; it is left out");
                        (taken, is_skipping) = (taken + next, is_open);
                    }
                    Cut::Incomplete => break,
                }
            }
            let is_stuck = taken == 0 && !is_end && !self.is_batch_full();
            if !is_stuck || wanted >= bytes_max {
                file.place.is_skipping = is_skipping;
                break (taken, length, is_end);
            }
            wanted = (wanted * 4).min(bytes_max);
        };
        if taken > 0 {
            self.undo.push((key, before));
            if before.position > 0 && !before.is_skipping {
                if file.passed.len() >= place::PASSED_MAX {
                    file.passed.remove(0);
                }
                file.passed.push(before.passed());
            }
            file.place.advance(buffer.get(..length).unwrap_or_default(), taken);
            file.last_read = Some(moment.time);
            self.is_dirty = true;
        }
        if !is_end || self.is_batch_full() {
            return Ok(Turn::More);
        }
        if length > known + taken {
            file.again_at = match at_end {
                End::Open if is_multiline => Some(file.changed_at + multiline_wait.min(line_wait)),
                End::Open | End::Quiet => Some(file.changed_at + line_wait),
                End::Last | End::More => None,
            };
        }
        Ok(Turn::Done)
    }

    fn read_whole(
        &mut self,
        key: u64,
        file: &mut Followed,
        kind: Whole,
        moment: Moment,
    ) -> io::Result<Turn> {
        let (Some(open), Some(source)) = (&file.open, self.sources.get(file.source)) else {
            return Ok(Turn::Done);
        };
        let mut reader = match self.whole.take() {
            Some(reader) if reader.file == key => reader,
            Some(other) => {
                self.whole = Some(other);
                file.again_at = Some(moment.elapsed + WHOLE_WAIT);
                return Ok(Turn::Done);
            }
            None if file.size == file.place.position => return Ok(Turn::Done),
            None if file.quiet(moment) < SETTLED_AFTER => {
                file.again_at = Some(file.changed_at + SETTLED_AFTER);
                return Ok(Turn::Done);
            }
            None => {
                let place = Place { position: 0, ..file.place };
                if !place.is_in(open)? {
                    self.overwritten(Some(key), file, moment);
                    return Ok(Turn::Overwritten);
                }
                // By its path: a second handle has a place of its own.
                let again = File::open(&file.path)?;
                if Id::of(&again.metadata()?) != file.id {
                    file.gone_at.get_or_insert(moment.elapsed);
                    return Ok(Turn::Done);
                }
                let line_bytes_max = source.rules.bytes_max;
                WholeReader::start(key, again, &file.name, file.size, kind, place, line_bytes_max)?
            }
        };
        match reader.next() {
            Next::NotYet => {}
            Next::Portion(portion) => {
                self.undo.push((key, file.place));
                for (payload, position, encoding) in portion.iter() {
                    file.place.records += 1;
                    reader.record_id = reader.record_id.max(position);
                    if self.appended.take(&file.name, position, payload) {
                        metrics::FILES_RECOVERED.inc();
                        continue;
                    }
                    self.batch.push(&RawRecord {
                        payload,
                        received: moment.time,
                        listener: LISTENER_FILE,
                        peer: &file.name,
                        sender: "",
                        dataset: &source.dataset,
                        namespace: &source.namespace,
                        position: Some(position),
                        encoding,
                    });
                }
                file.last_read = Some(moment.time);
                self.is_dirty = true;
            }
            Next::End(read) => {
                self.undo.push((key, file.place));
                for problem in &read.problems {
                    metrics::FILES_ERRORS.with_label_values(&["damaged"]).inc();
                    tracing::warn!(%problem, "a part of a file cannot be read");
                }
                metrics::FILES_ERRORS.with_label_values(&["damaged"]).inc_by(read.problems_more);
                file.problem = read.problems.first().map(ToString::to_string);
                file.place.position = reader.size;
                if kind == Whole::Evtx {
                    (file.place.record_id, file.place.records) = (reader.record_id, 0);
                }
                self.is_dirty = true;
                return Ok(Turn::Done);
            }
        }
        self.whole = Some(reader);
        Ok(Turn::More)
    }
}

/// Making durable.
impl Tail {
    /// Appends the batch; after that the places of its files hold.
    fn append(&mut self, stop: &AtomicBool) -> Result<u64, TailError> {
        loop {
            let records = self.batch.len() as u64;
            let is_stopped = || stop.load(Ordering::Relaxed);
            match self.intake.append_blocking(&mut self.batch, LISTENER_FILE, &is_stopped) {
                Ok(()) => {
                    self.undo.clear();
                    return Ok(records);
                }
                // The bus may take smaller records than our settings allow.
                Err(BusError::RecordTooLarge { index, bytes, bytes_max, .. }) => {
                    count_too_large(LISTENER_FILE);
                    tracing::error!(
                        bytes,
                        bytes_max,
                        "a record of a file is larger than the bus takes; it is left out"
                    );
                    self.batch.remove(index);
                }
                Err(error) => {
                    self.roll_back();
                    return if error.is_transient() { Ok(0) } else { Err(error.into()) };
                }
            }
        }
    }

    /// Forgets what was read and is not durable.
    fn roll_back(&mut self) {
        self.batch.clear();
        self.whole = None;
        for (key, place) in self.undo.drain(..).rev() {
            if let Some(file) = self.files.get_mut(&key) {
                (file.place, file.kind) = (place, Kind::Unknown);
                file.queue(key, &mut self.ready);
            }
        }
    }

    fn save_if_due(&mut self, moment: Moment) {
        // A slow disk is not kept busy with it.
        let wait = CHECKPOINT_WAIT.max(self.save_cost * 20);
        let waited = moment.elapsed.saturating_sub(self.saved_at);
        if waited < wait {
            return;
        }
        if self.is_dirty || (waited >= CHECKPOINT_WAIT_MAX && self.raw_ends() != self.saved_ends) {
            self.save_and_tell(moment);
        }
        self.publish();
    }

    fn save_and_tell(&mut self, moment: Moment) {
        let started = Instant::now();
        if let Err(error) = self.save(moment.time) {
            metrics::FILES_ERRORS.with_label_values(&["checkpoint"]).inc();
            tracing::error!(%error, "going on; after a crash some records may be doubled");
        }
        (self.saved_at, self.save_cost) = (moment.elapsed, started.elapsed());
        self.publish();
    }

    /// Writes the checkpoint. Nothing may be in the batch.
    fn save(&mut self, now: Timestamp) -> Result<(), TailError> {
        self.forget(now);
        let mut checkpoint = Checkpoint::default();
        checkpoint.patterns = self.known_patterns.iter().cloned().collect();
        checkpoint.raw_ends = self.raw_ends();
        checkpoint.files = self
            .files
            .values()
            .map(Followed::entry)
            .chain(self.gone.values().cloned())
            .chain(self.overwritten.iter().cloned())
            .collect();
        checkpoint.write(&self.checkpoint).map_err(|error| TailError::Checkpoint {
            path: self.checkpoint.clone(),
            reason: error.to_string(),
        })?;
        self.saved_ends = checkpoint.raw_ends;
        self.is_dirty = false;
        Ok(())
    }

    /// Where the topic ends; but while we look for what was appended before a crash, where that
    /// begins, so that the next crash finds it too. Without it the bus is not read after a crash,
    /// and some records are doubled then.
    fn raw_ends(&self) -> Vec<u64> {
        if !self.appended.is_empty() {
            return self.saved_ends.clone();
        }
        match self.intake.bus().extents(Topic::Raw) {
            Ok(extents) => extents.iter().map(|extent| extent.end.0).collect(),
            Err(error) => {
                tracing::warn!(%error, "the end of the topic raw is not known");
                Vec::new()
            }
        }
    }

    /// Shows how the files are.
    fn publish(&self) {
        let mut lag = 0;
        let mut open = 0;
        let mut statuses = Vec::with_capacity(self.files.len());
        for file in self.files.values() {
            lag += file.size.saturating_sub(file.place.position);
            open += i64::from(file.open.is_some());
            statuses.push(Status {
                path: file.path.clone(),
                name: file.name.clone(),
                position: file.place.position,
                size: file.size,
                last_read: file.last_read,
                is_gone: file.gone_at.is_some(),
                problem: file.problem.clone(),
            });
        }
        metrics::FILES_FOLLOWED.set(self.files.len() as i64);
        metrics::FILES_OPEN.set(open);
        metrics::FILES_LAG_BYTES.set(i64::try_from(lag).unwrap_or(i64::MAX));
        self.statuses.set(statuses);
    }
}

impl Followed {
    fn new(id: Id, source: usize, path: PathBuf, found: &Metadata, moment: Moment) -> Self {
        Followed {
            id,
            source,
            name: path.to_string_lossy().into_owned(),
            path,
            place: Place::default(),
            passed: Vec::new(),
            kind: Kind::Unknown,
            open: None,
            size: found.len(),
            modified: found.modified().ok(),
            size_max: found.len(),
            changed_at: moment.elapsed,
            again_at: None,
            gone_at: None,
            is_renamed: false,
            is_queued: false,
            problem: None,
            last_read: None,
        }
    }

    /// Takes note of how it is now; whether it changed.
    fn see(&mut self, now: &Metadata, moment: Moment) -> bool {
        let modified = now.modified().ok();
        if (self.size, self.modified) == (now.len(), modified) {
            return false;
        }
        (self.size, self.modified) = (now.len(), modified);
        self.size_max = self.size_max.max(self.size);
        self.changed_at = moment.elapsed;
        true
    }

    fn quiet(&self, moment: Moment) -> Duration {
        moment.elapsed.saturating_sub(self.changed_at)
    }

    fn queue(&mut self, key: u64, ready: &mut VecDeque<u64>) {
        if !std::mem::replace(&mut self.is_queued, true) {
            ready.push_back(key);
        }
    }

    fn entry(&self) -> Entry {
        Entry {
            id: self.id,
            path: self.path.clone(),
            name: self.name.clone(),
            place: self.place,
            passed: self.passed.clone(),
            gone_since_ms: None,
            is_overwritten: false,
        }
    }
}

/// The place behind what a file has, or within a line that is being written.
fn place_at_end(path: &Path, size: u64) -> io::Result<Place> {
    let open = File::open(path)?;
    let mut start = [0; 2];
    read_at(&open, &mut start, 0)?;
    let wide = Wide::of(&start);
    let unit = if wide.is_some() { 2 } else { 1 };
    let size = size / unit * unit;
    let mut last = vec![0; unit as usize];
    read_at(&open, &mut last, size.saturating_sub(unit))?;
    let is_line_end = lines::after_line(&last, wide).is_some();
    Ok(Place { is_skipping: size > 0 && !is_line_end, ..Place::at(&open, size)? })
}

/// Whether a file that begins so may turn out to be no text, or wide text, once it has more.
fn may_be_more(head: &[u8]) -> bool {
    const BEGINNINGS: [&[u8]; 6] =
        [b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff", b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"ElfFile\0"];
    BEGINNINGS.iter().any(|whole| head.len() < whole.len() && whole.starts_with(head))
}

/// Whether a name may be what a rotation makes of another: `app.log` becomes `app.log.1`,
/// `app.log-20260101.gz` or `app-20260101.log`, in any folder.
fn is_rotation_of(original: &Path, path: &Path) -> bool {
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let (mut stem, name) = (name(original), name(path));
    while let Some((rest, last)) = stem.rsplit_once('.') {
        let is_number = !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit());
        stem = rest.to_owned();
        if !is_number {
            break;
        }
    }
    let rest = name.strip_prefix(&stem).filter(|_| original != path && !stem.is_empty());
    rest.is_some_and(|rest| rest.starts_with(['.', '-', '_']))
}
