//! The set of partitions: opening, listing, dropping, setting aside.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use crate::checkpoint::Offsets;
use crate::error::IndexError;
use crate::metrics;
use crate::partition::{Partition, PartitionId};
use crate::retention::Retention;
use crate::search::Searcher;
use crate::set_aside::{self, Note};
use crate::writer::IndexWriter;

/// The file in the index folder that whoever writes the index has locked.
pub const WRITER_LOCK: &str = "writer.lock";

/// How an index is kept.
#[derive(Debug, Clone)]
pub struct Options {
    /// The memory that all partitions together may take for what is not yet on disk.
    pub memory_bytes_max: usize,
    /// The most partitions that are written at the same time. Events of further days wait while
    /// another partition is committed and closed.
    pub writers_max: usize,
    /// Threads that index one partition.
    pub threads: usize,
    /// The longest time from an event's arrival to its commit.
    pub commit_every: Duration,
    /// How many bytes of documents are taken in before a commit, whatever the time.
    pub commit_bytes_max: usize,
    /// How long events and alerts are kept.
    pub retention: Retention,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            memory_bytes_max: 256 * 1024 * 1024,
            writers_max: 4,
            threads: 2,
            commit_every: Duration::from_millis(800),
            commit_bytes_max: 256 * 1024 * 1024,
            retention: Retention::default(),
        }
    }
}

/// An index folder. Clones are the same index.
#[derive(Clone)]
pub struct Index {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    /// The data folder: what is held, what is purged, the audit log.
    pub(crate) data_dir: PathBuf,
    /// The index in it.
    pub(crate) dir: PathBuf,
    pub(crate) options: Options,
    pub(crate) read_only: bool,
    partitions: RwLock<BTreeMap<PartitionId, Arc<Partition>>>,
    problems: Mutex<Vec<Problem>>,
    /// Those of partitions that were set aside.
    set_aside: Mutex<Vec<Problem>>,
}

/// The right to write an index, which one process has at a time; it ends with the value.
#[derive(Debug)]
pub struct Claim {
    _file: File,
}

/// A partition that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Which.
    pub partition: String,
    /// What is wrong, and what was done about it.
    pub reason: String,
}

/// What is known of a partition.
#[derive(Debug, Clone)]
pub struct PartitionInfo {
    /// Its name.
    pub id: PartitionId,
    /// How many events or alerts it has.
    pub documents: u64,
    /// How many bytes its files take.
    pub bytes: u64,
}

/// A field that some event has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldInfo {
    /// Its name.
    pub name: String,
    /// The types of its values: `keyword`, `text`, `long`, `float`, `date`, `boolean`; in a cluster
    /// also `ip`.
    pub types: Vec<&'static str>,
}

impl Index {
    /// Opens the index of a data folder for reading and writing, and makes it if there is none. A
    /// partition that cannot be opened is moved to `index/set-aside`, told by [`Index::problems`], and
    /// made again from the log.
    ///
    /// # Errors
    /// When the folder cannot be made or read.
    pub fn open(data_dir: &Path, options: Options) -> Result<Index, IndexError> {
        let dir = data_dir.join("index");
        std::fs::create_dir_all(&dir).map_err(IndexError::io("create the folder", &dir))?;
        Index::with(data_dir, dir, options, false)
    }

    /// Opens an index for reading while another process may write it. Nothing is changed.
    ///
    /// # Errors
    /// When there is no index, or the folder cannot be read.
    pub fn open_read_only(data_dir: &Path) -> Result<Index, IndexError> {
        let dir = data_dir.join("index");
        if !dir.is_dir() {
            return Err(IndexError::Missing(data_dir.to_owned()));
        }
        Index::with(data_dir, dir, Options::default(), true)
    }

    fn with(
        data_dir: &Path,
        dir: PathBuf,
        options: Options,
        read_only: bool,
    ) -> Result<Index, IndexError> {
        let inner = Arc::new(Inner {
            data_dir: data_dir.to_owned(),
            dir,
            options,
            read_only,
            partitions: RwLock::default(),
            problems: Mutex::default(),
            set_aside: Mutex::default(),
        });
        inner.scan()?;
        Ok(Index { inner })
    }

    /// The writer of what is read from the log of this identity. There must be one at a time; the
    /// stage holds it.
    ///
    /// # Errors
    /// When the index was opened for reading only, or what was purged cannot be read.
    pub fn writer(&self, log: &str) -> Result<IndexWriter, IndexError> {
        if self.inner.read_only {
            return Err(IndexError::ReadOnly(self.inner.dir.clone()));
        }
        IndexWriter::new(self.inner.clone(), log)
    }

    /// Claims the right to write, for as long as the claim is kept.
    ///
    /// # Errors
    /// When another process has it.
    pub fn claim(&self) -> Result<Claim, IndexError> {
        let path = self.inner.dir.join(WRITER_LOCK);
        let file = File::create(&path).map_err(IndexError::io("open", &path))?;
        match file.try_lock() {
            Ok(()) => Ok(Claim { _file: file }),
            Err(TryLockError::WouldBlock) => Err(IndexError::InUse(self.inner.dir.clone())),
            Err(TryLockError::Error(error)) => Err(IndexError::io("lock", &path)(error)),
        }
    }

    /// What answers queries; cheap to clone, shared between threads.
    pub fn searcher(&self) -> Searcher {
        Searcher::new(self.inner.clone())
    }

    /// Sees what another process wrote since. Within the writing process commits are seen by
    /// themselves.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn refresh(&self) -> Result<(), IndexError> {
        if self.inner.read_only {
            self.inner.scan()?;
        }
        for partition in self.inner.partitions() {
            if let Err(error) = partition.reload() {
                self.inner.report(partition.id.to_string(), error.to_string());
            }
        }
        Ok(())
    }

    /// All partitions, oldest first.
    pub fn partitions(&self) -> Vec<PartitionInfo> {
        self.inner
            .partitions()
            .iter()
            .map(|partition| PartitionInfo {
                id: partition.id,
                documents: partition.searcher().num_docs(),
                bytes: partition.bytes(),
            })
            .collect()
    }

    /// Partitions that could not be used.
    pub fn problems(&self) -> Vec<Problem> {
        self.inner.problems()
    }

    /// Every field that some event or alert has, sorted by name.
    pub fn fields(&self) -> Vec<FieldInfo> {
        use tantivy::columnar::ColumnType;
        let mut fields: BTreeMap<String, BTreeSet<&'static str>> = BTreeMap::new();
        fields.entry(crate::document::TIME.to_owned()).or_default().insert("date");
        for partition in self.inner.partitions() {
            for segment in partition.searcher().segment_readers() {
                let Ok(columns) = partition.columns(segment) else { continue };
                for (name, handles) in &columns.data {
                    let types = fields.entry(name.clone()).or_default();
                    types.extend(handles.iter().map(|handle| match handle.column_type() {
                        ColumnType::I64 | ColumnType::U64 => "long",
                        ColumnType::F64 => "float",
                        ColumnType::Bool => "boolean",
                        ColumnType::DateTime => "date",
                        _ => "keyword",
                    }));
                }
                for name in columns.kept.keys() {
                    fields.entry(name.clone()).or_default().insert("text");
                }
            }
        }
        fields
            .into_iter()
            .map(|(name, types)| FieldInfo { name, types: types.into_iter().collect() })
            .collect()
    }
}

impl Inner {
    /// Finds partitions that are not open yet, and forgets those that are gone.
    fn scan(&self) -> Result<(), IndexError> {
        let read = |error| IndexError::io("list", &self.dir)(error);
        let mut found = BTreeSet::new();
        for entry in std::fs::read_dir(&self.dir).map_err(read)? {
            let entry = entry.map_err(read)?;
            let name = entry.file_name();
            if let Some(id) = name.to_str().and_then(|name| name.parse::<PartitionId>().ok()) {
                found.insert(id);
            }
        }
        self.partitions
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|id, _| found.contains(id));
        for id in found {
            if self.partition(id).is_some() {
                continue;
            }
            let dir = self.partition_dir(id);
            if !dir.join("meta.json").exists() {
                // Made but never committed, or half removed: a crash came in between.
                if !self.read_only {
                    std::fs::remove_dir_all(&dir).map_err(IndexError::io("remove", &dir))?;
                }
                continue;
            }
            match caught(id, || Partition::open(id, &dir)) {
                Ok(partition) => self.insert(partition),
                Err(error) if self.read_only => self.report(id.to_string(), error.to_string()),
                Err(error) => {
                    let until = Offsets::read_checkpoint(&self.dir);
                    self.set_aside(id, error.to_string(), &until)?;
                }
            }
        }
        self.report_set_aside();
        Ok(())
    }

    /// Tells of the partitions that were set aside, as their notes are now.
    pub(crate) fn report_set_aside(&self) {
        let notes = set_aside::notes(&self.dir);
        *self.set_aside.lock().unwrap_or_else(PoisonError::into_inner) =
            notes.iter().filter_map(|note| note.problem(&self.dir)).collect();
    }

    fn insert(&self, partition: Partition) {
        self.partitions
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(partition.id, Arc::new(partition));
    }

    /// A partition, made if there is none.
    pub(crate) fn partition_or_create(
        &self,
        id: PartitionId,
    ) -> Result<Arc<Partition>, IndexError> {
        if let Some(partition) = self.partition(id) {
            return Ok(partition);
        }
        self.insert(Partition::create(id, &self.partition_dir(id))?);
        self.partition(id).ok_or_else(|| IndexError::Damaged {
            partition: id.to_string(),
            reason: "it vanished while it was made".to_owned(),
        })
    }

    pub(crate) fn partition(&self, id: PartitionId) -> Option<Arc<Partition>> {
        self.partitions.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    /// All partitions, oldest first.
    pub(crate) fn partitions(&self) -> Vec<Arc<Partition>> {
        self.partitions.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    fn partition_dir(&self, id: PartitionId) -> PathBuf {
        self.dir.join(id.to_string())
    }

    /// Moves a damaged partition out of the way, and sees to it that the log is read again from its
    /// beginning; see `set_aside`.
    pub(crate) fn set_aside(
        &self,
        id: PartitionId,
        reason: String,
        until: &Offsets,
    ) -> Result<(), IndexError> {
        let from = self.partition_dir(id);
        let left = set_aside::left_of(&from);
        let mut until = until.clone();
        // A partition may be further than the checkpoint, if the last stop was none in order; and while
        // another one is made again, the checkpoint is not as far as it was.
        for note in set_aside::notes(&self.dir).iter().filter(|note| note.rebuilt.is_none()) {
            until.include_all(&Offsets::parse(&note.until).unwrap_or_default());
        }
        if let Some((_, offsets)) = &left {
            until.include_all(offsets);
        }
        let documents = left.map(|(documents, _)| documents);
        let note = Note::new(id, reason, documents, until.to_json());
        note.write(&self.dir)?;
        Offsets::remove_checkpoint(&self.dir)?;
        self.forget(id);
        std::fs::rename(&from, note.moved_to(&self.dir)).map_err(IndexError::io("move", &from))?;
        metrics::SET_ASIDE.inc();
        tracing::error!(partition = %id, reason = note.reason, "an index partition is damaged; it was set aside and is made again from the log");
        self.report_set_aside();
        Ok(())
    }

    /// Notes that the files of the partition that an error names should be checked.
    pub(crate) fn suspect(&self, error: &IndexError) {
        if let IndexError::Partition { partition, .. } | IndexError::Damaged { partition, .. } =
            error
            && let Ok(id) = partition.parse()
            && let Some(partition) = self.partition(id)
        {
            partition.suspect();
        }
    }

    fn report(&self, partition: String, reason: String) {
        let mut problems = self.problems.lock().unwrap_or_else(PoisonError::into_inner);
        problems.retain(|problem| problem.partition != partition);
        problems.push(Problem { partition, reason });
    }

    pub(crate) fn problems(&self) -> Vec<Problem> {
        let list = |problems: &Mutex<Vec<Problem>>| {
            problems.lock().unwrap_or_else(PoisonError::into_inner).clone()
        };
        [list(&self.problems), list(&self.set_aside)].concat()
    }

    /// Removes a partition of which nothing is kept. Searches that run go on: its files stay until
    /// they let go of them.
    pub(crate) fn drop_partition(&self, partition: &Partition) -> Result<(), IndexError> {
        self.forget(partition.id);
        let remove = || -> std::io::Result<()> {
            // First what makes it a partition: cut off in between, it is none any more, not a damaged one.
            std::fs::remove_file(partition.dir.join("meta.json"))?;
            File::open(&partition.dir)?.sync_all()?;
            std::fs::remove_dir_all(&partition.dir)
        };
        remove().map_err(IndexError::io("remove", &partition.dir))
    }

    fn forget(&self, id: PartitionId) {
        self.partitions.write().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }
}

/// Reads a partition, whose files may be damaged. What fails makes it suspect.
pub(crate) fn guarded<T>(
    partition: &Partition,
    run: impl FnOnce() -> Result<T, IndexError>,
) -> Result<T, IndexError> {
    caught(partition.id, run).inspect_err(|_| partition.suspect())
}

/// Runs something that reads files which may be damaged: tantivy checks much, but not all, and a
/// damaged file may make it panic.
fn caught<T>(
    id: PartitionId,
    run: impl FnOnce() -> Result<T, IndexError>,
) -> Result<T, IndexError> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let reason = panic
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "reading it failed".to_owned());
        Err(IndexError::Damaged { partition: id.to_string(), reason })
    })
}
