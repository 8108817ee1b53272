//! The set of partitions: opening, listing, dropping, setting aside.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use event::Timestamp;

use crate::error::IndexError;
use crate::partition::{Partition, PartitionId};
use crate::search::Searcher;
use crate::writer::IndexWriter;

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
    /// How long events and alerts are kept, in days; for ever if `None`.
    pub retention_days: Option<u32>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            memory_bytes_max: 256 * 1024 * 1024,
            writers_max: 4,
            threads: 2,
            commit_every: Duration::from_millis(800),
            commit_bytes_max: 256 * 1024 * 1024,
            retention_days: None,
        }
    }
}

/// An index folder. Clones are the same index.
#[derive(Clone)]
pub struct Index {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) dir: PathBuf,
    pub(crate) options: Options,
    pub(crate) read_only: bool,
    partitions: RwLock<BTreeMap<PartitionId, Arc<Partition>>>,
    problems: Mutex<Vec<Problem>>,
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
    /// partition that cannot be opened is moved to `index/set-aside` and told by
    /// [`Index::problems`].
    ///
    /// # Errors
    /// When the folder cannot be made or read.
    pub fn open(data_dir: &Path, options: Options) -> Result<Index, IndexError> {
        let dir = data_dir.join("index");
        std::fs::create_dir_all(&dir).map_err(IndexError::io("create the folder", &dir))?;
        Index::with(dir, options, false)
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
        Index::with(dir, Options::default(), true)
    }

    fn with(dir: PathBuf, options: Options, read_only: bool) -> Result<Index, IndexError> {
        let inner = Arc::new(Inner {
            dir,
            options,
            read_only,
            partitions: RwLock::default(),
            problems: Mutex::default(),
        });
        inner.scan()?;
        Ok(Index { inner })
    }

    /// The writer of what is read from the log of this identity. There must be one at a time; the
    /// stage holds it.
    ///
    /// # Errors
    /// When the index was opened for reading only.
    pub fn writer(&self, log: &str) -> Result<IndexWriter, IndexError> {
        if self.inner.read_only {
            return Err(IndexError::ReadOnly(self.inner.dir.clone()));
        }
        Ok(IndexWriter::new(self.inner.clone(), log))
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
        self.inner.problems.lock().unwrap_or_else(PoisonError::into_inner).clone()
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
                // Made, but never committed: a crash came in between. Nothing is in it.
                if !self.read_only {
                    std::fs::remove_dir_all(&dir).map_err(IndexError::io("remove", &dir))?;
                }
                continue;
            }
            match guarded(id, || Partition::open(id, &dir)) {
                Ok(partition) => self.insert(partition),
                Err(error) => self.set_aside(id, &error),
            }
        }
        Ok(())
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

    /// Moves a damaged partition out of the way; its files stay for whoever wants to look.
    fn set_aside(&self, id: PartitionId, error: &IndexError) {
        let mut reason = error.to_string();
        if !self.read_only {
            let to = self.dir.join("set-aside");
            let from = self.partition_dir(id);
            let target = to.join(format!("{id}-{}", Timestamp::now().as_millis()));
            let moved = std::fs::create_dir_all(&to).and_then(|()| std::fs::rename(&from, &target));
            reason.push_str(&match moved {
                Ok(()) => format!("; it was moved to {}", target.display()),
                Err(error) => format!("; it could not be moved away: {error}"),
            });
        }
        tracing::error!(partition = %id, %reason, "an index partition cannot be used");
        self.report(id.to_string(), reason);
    }

    fn report(&self, partition: String, reason: String) {
        let mut problems = self.problems.lock().unwrap_or_else(PoisonError::into_inner);
        problems.retain(|problem| problem.partition != partition);
        problems.push(Problem { partition, reason });
    }

    pub(crate) fn problems(&self) -> Vec<Problem> {
        self.problems.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The first moment that is kept.
    pub(crate) fn kept_since(&self, now: Timestamp) -> Option<Timestamp> {
        const DAY_NANOS: i64 = 86_400 * 1_000_000_000;
        self.options
            .retention_days
            .map(|days| now.plus_nanos(i64::from(days).saturating_mul(-DAY_NANOS)))
    }

    /// Removes partitions that are older than this moment, but for those that are being written. Searches that run go on: their files stay
    /// until they let go of them.
    pub(crate) fn drop_before(
        &self,
        moment: Timestamp,
        in_use: &[PartitionId],
    ) -> Result<usize, IndexError> {
        let old: Vec<Arc<Partition>> = self
            .partitions()
            .into_iter()
            .filter(|partition| partition.is_older_than(moment) && !in_use.contains(&partition.id))
            .collect();
        for partition in &old {
            self.partitions.write().unwrap_or_else(PoisonError::into_inner).remove(&partition.id);
            std::fs::remove_dir_all(&partition.dir)
                .map_err(IndexError::io("remove", &partition.dir))?;
            tracing::info!(partition = %partition.id, "dropped an index partition by its age");
        }
        Ok(old.len())
    }
}

/// Runs something that reads files which may be damaged: tantivy checks much, but not all, and a
/// damaged file may make it panic.
pub(crate) fn guarded<T>(
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
