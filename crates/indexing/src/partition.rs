//! One partition: a day of events or of alerts, as one tantivy index.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use event::Timestamp;
use tantivy::directory::MmapDirectory;
use tantivy::index::SegmentId;
use tantivy::store::{Compressor, ZstdCompressor};
use tantivy::{IndexReader, IndexSettings, ReloadPolicy, SegmentReader};

use crate::check::check;
use crate::columns::Columns;
use crate::error::IndexError;
use crate::schema::{self, Fields};
use crate::usage::{self, Usage};

const DAY_SECONDS: i64 = 86_400;

/// What a partition holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Normalised events.
    Events,
    /// Alerts.
    Alerts,
}

impl Kind {
    /// The first part of a partition's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Kind::Events => "events",
            Kind::Alerts => "alerts",
        }
    }
}

/// The name of a partition: what it holds and the UTC day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionId {
    /// What it holds.
    pub kind: Kind,
    /// Days since 1970-01-01.
    pub day: i64,
}

impl PartitionId {
    /// The partition of a moment.
    pub fn of(kind: Kind, time: Timestamp) -> Self {
        PartitionId { kind, day: time.as_seconds().div_euclid(DAY_SECONDS) }
    }

    /// The first moment.
    pub fn start(self) -> Timestamp {
        Timestamp::from_millis(self.day.saturating_mul(DAY_SECONDS * 1000))
    }

    /// The first moment of the next day.
    pub fn end(self) -> Timestamp {
        PartitionId { day: self.day.saturating_add(1), ..self }.start()
    }
}

impl fmt::Display for PartitionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let day = self.start().to_string();
        write!(f, "{}-{}", self.kind.as_str(), day.split('T').next().unwrap_or_default())
    }
}

impl FromStr for PartitionId {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        let (kind, day) = name.split_once('-').ok_or(())?;
        let kind = match kind {
            "events" => Kind::Events,
            "alerts" => Kind::Alerts,
            _ => return Err(()),
        };
        let start = Timestamp::parse_rfc3339(&format!("{day}T00:00:00Z")).ok_or(())?;
        Ok(PartitionId::of(kind, start))
    }
}

/// An open partition. Reading it never waits for whoever writes.
pub(crate) struct Partition {
    pub(crate) id: PartitionId,
    pub(crate) dir: PathBuf,
    pub(crate) index: tantivy::Index,
    pub(crate) fields: Fields,
    reader: IndexReader,
    /// What columns the segments have; asked for by every query, and found by reading.
    columns: Mutex<HashMap<SegmentId, Arc<Columns>>>,
    /// What each dataset takes of a segment, and how many of its documents were removed by then.
    usage: Mutex<HashMap<SegmentId, (u32, Arc<Usage>)>>,
    /// Whether reading it failed, so that its files should be checked.
    is_suspect: AtomicBool,
    /// When its files were last checked because of that, and found whole.
    found_whole: Mutex<Option<Instant>>,
}

/// How long a partition whose files are whole is trusted, whatever reading it gives: a fault of ours
/// must not make us read all of it again and again.
const TRUSTED: Duration = Duration::from_secs(10 * 60);

impl Partition {
    /// Opens a partition that is there.
    pub(crate) fn open(id: PartitionId, dir: &Path) -> Result<Partition, IndexError> {
        let opened = MmapDirectory::open(dir)
            .map_err(tantivy::TantivyError::from)
            .and_then(tantivy::Index::open);
        Partition::with(id, dir, opened, "opening it")
    }

    /// Makes a new one.
    pub(crate) fn create(id: PartitionId, dir: &Path) -> Result<Partition, IndexError> {
        std::fs::create_dir_all(dir).map_err(IndexError::io("create the folder", dir))?;
        let settings = IndexSettings {
            docstore_compression: Compressor::Zstd(ZstdCompressor {
                compression_level: Some(STORE_LEVEL),
            }),
            docstore_blocksize: STORE_BLOCK_BYTES,
            ..IndexSettings::default()
        };
        let made = MmapDirectory::open(dir)
            .map_err(tantivy::TantivyError::from)
            .and_then(|directory| tantivy::Index::create(directory, schema::schema(), settings));
        Partition::with(id, dir, made, "creating it")
    }

    fn with(
        id: PartitionId,
        dir: &Path,
        index: tantivy::Result<tantivy::Index>,
        doing: &'static str,
    ) -> Result<Partition, IndexError> {
        let wrong = || IndexError::partition(id, doing);
        let index = index.map_err(wrong())?;
        schema::register(&index);
        let fields = schema::fields(&index.schema()).map_err(wrong())?;
        let reader = index
            .reader_builder()
            .reload_policy(ReloadPolicy::Manual)
            .try_into()
            .map_err(wrong())?;
        Ok(Partition {
            id,
            dir: dir.to_owned(),
            index,
            fields,
            reader,
            columns: Mutex::default(),
            usage: Mutex::default(),
            is_suspect: AtomicBool::new(false),
            found_whole: Mutex::default(),
        })
    }

    /// Sees what was committed since.
    pub(crate) fn reload(&self) -> Result<(), IndexError> {
        self.reader.reload().map_err(IndexError::partition(self.id, "reading what is new"))
    }

    pub(crate) fn searcher(&self) -> tantivy::Searcher {
        self.reader.searcher()
    }

    /// The columns of a segment.
    pub(crate) fn columns(&self, segment: &SegmentReader) -> Result<Arc<Columns>, IndexError> {
        let id = segment.segment_id();
        let known = self.columns.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned();
        if let Some(columns) = known {
            return Ok(columns);
        }
        let columns = Arc::new(
            Columns::read(segment)
                .map_err(IndexError::partition(self.id, "reading its columns"))?,
        );
        let live: Vec<SegmentId> =
            self.searcher().segment_readers().iter().map(SegmentReader::segment_id).collect();
        let mut cache = self.columns.lock().unwrap_or_else(PoisonError::into_inner);
        cache.retain(|id, _| live.contains(id));
        cache.insert(id, columns.clone());
        Ok(columns)
    }

    /// Notes that its files should be checked.
    pub(crate) fn suspect(&self) {
        self.is_suspect.store(true, Ordering::Relaxed);
    }

    /// What is wrong with its files, if there was reason to look.
    pub(crate) fn damage(&self) -> Option<String> {
        if !self.is_suspect.swap(false, Ordering::Relaxed) {
            return None;
        }
        if lock(&self.found_whole).is_some_and(|then| then.elapsed() < TRUSTED) {
            return None;
        }
        match check(self) {
            Ok(checked) if checked.damage.is_empty() => {
                *lock(&self.found_whole) = Some(Instant::now());
                None
            }
            Ok(checked) => Some(checked.damage.join(", ")),
            Err(error) => Some(error.to_string()),
        }
    }

    /// What each dataset takes of it.
    pub(crate) fn usage(&self) -> Result<Usage, IndexError> {
        let mut all = Usage::new();
        let searcher = self.searcher();
        let live: Vec<SegmentId> =
            searcher.segment_readers().iter().map(SegmentReader::segment_id).collect();
        for segment in searcher.segment_readers() {
            let (id, removed) = (segment.segment_id(), segment.num_deleted_docs());
            let known = lock(&self.usage).get(&id).cloned();
            let usage = match known {
                Some((then, usage)) if then == removed => usage,
                _ => {
                    let usage = Arc::new(usage::of_segment(self, segment)?);
                    lock(&self.usage).insert(id, (removed, usage.clone()));
                    usage
                }
            };
            for (dataset, share) in usage.iter() {
                all.entry(dataset.clone()).or_default().add(*share);
            }
        }
        lock(&self.usage).retain(|id, _| live.contains(id));
        Ok(all)
    }

    /// The segments of which more than this share of documents was removed.
    pub(crate) fn segments_over(&self, removed_percent: u32) -> Vec<SegmentId> {
        let searcher = self.searcher();
        let over = searcher.segment_readers().iter().filter(|segment| {
            let removed = u64::from(segment.num_deleted_docs());
            removed * 100 > u64::from(segment.max_doc()) * u64::from(removed_percent)
        });
        over.map(SegmentReader::segment_id).collect()
    }

    /// When it was last changed, if the system says so.
    pub(crate) fn changed(&self) -> Option<Timestamp> {
        let changed =
            std::fs::metadata(self.dir.join("meta.json")).and_then(|meta| meta.modified());
        let since = changed.ok()?.duration_since(SystemTime::UNIX_EPOCH).ok()?;
        i64::try_from(since.as_millis()).ok().map(Timestamp::from_millis)
    }

    /// Whether its day ended, and it was last changed, before this moment.
    pub(crate) fn is_older_than(&self, moment: Timestamp) -> bool {
        self.id.end() <= moment && self.changed().is_some_and(|changed| changed < moment)
    }

    /// The segments that are merged once a day is over, so that it is searched as one: all, or all but
    /// one that has nine tenths of the documents, since a few late events are no reason to write a
    /// whole day again. None if there are less than two.
    pub(crate) fn segments_to_seal(&self) -> Vec<SegmentId> {
        let searcher = self.searcher();
        let segments = searcher.segment_readers();
        let largest = segments.iter().max_by_key(|segment| segment.num_docs());
        let kept = largest.filter(|largest| {
            u64::from(largest.num_docs()) * 10 >= searcher.num_docs() * 9 && segments.len() > 1
        });
        let mut ids: Vec<SegmentId> = segments.iter().map(SegmentReader::segment_id).collect();
        ids.retain(|id| kept.is_none_or(|kept| kept.segment_id() != *id));
        if ids.len() > 1 { ids } else { Vec::new() }
    }

    /// Whether there are files of segments that it has no more. Only for one that nobody writes.
    pub(crate) fn has_left_overs(&self) -> Result<bool, IndexError> {
        let wrong = IndexError::partition(self.id, "listing its segments");
        let segments = self.index.searchable_segment_ids().map_err(wrong)?;
        let names: HashSet<String> = segments.iter().map(SegmentId::uuid_string).collect();
        let entries = std::fs::read_dir(&self.dir).map_err(IndexError::io("list", &self.dir))?;
        let files = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        Ok(files
            .filter_map(|name| name.strip_suffix(".store").map(str::to_owned))
            .any(|segment| !names.contains(&segment)))
    }

    /// How many bytes the files of a segment take.
    pub(crate) fn segment_bytes(&self, segment: SegmentId) -> u64 {
        let start = segment.uuid_string();
        self.files(|name| name.starts_with(&start))
    }

    /// How many bytes its files take.
    pub(crate) fn bytes(&self) -> u64 {
        self.files(|_| true)
    }

    fn files(&self, wanted: impl Fn(&str) -> bool) -> u64 {
        let Ok(entries) = std::fs::read_dir(&self.dir) else { return 0 };
        let wanted = entries
            .flatten()
            .filter(|entry| entry.file_name().to_str().is_some_and(&wanted))
            .filter_map(|entry| entry.metadata().ok());
        wanted.map(|meta| meta.len()).sum()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How hard documents are compressed. Level 3 makes them a fifth smaller than 1 for a tenth of the
/// indexing time.
const STORE_LEVEL: i32 = 3;

/// How many bytes of documents are compressed together. Larger blocks compress better, and cost
/// more to show one event: 64 KB take some 60 microseconds.
const STORE_BLOCK_BYTES: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use event::Timestamp;

    use super::{Kind, PartitionId};

    #[test]
    fn names_are_read_back() {
        let time = Timestamp::parse_rfc3339("2026-08-05T23:59:59.999Z").unwrap();
        let id = PartitionId::of(Kind::Events, time);
        assert_eq!(id.to_string(), "events-2026-08-05");
        assert_eq!("events-2026-08-05".parse(), Ok(id));
        assert!(id.start() <= time && time < id.end());
        assert_eq!(
            PartitionId::of(Kind::Alerts, Timestamp::from_nanos(-1)).to_string(),
            "alerts-1969-12-31"
        );
        assert!("events-2026".parse::<PartitionId>().is_err());
    }
}
