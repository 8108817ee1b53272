//! Purges: what matches a query is taken out of the index for good, and that is shown.
//!
//! A purge is a file in the folder `purges` of the data folder, asked for by one process and done by the one that writes the
//! index: a running server, or the command itself where none runs. It holds for everything that had
//! arrived when it was asked for, also what is still on its way through the bus, or is read from it
//! again later; see [`Purges::concern`]. So no replay, rebuilt partition or `renormalize` undoes it,
//! and the file stays. The index notes which purges were done in it, so a purge is done again in an
//! index that was restored from an older backup.
//!
//! It is done in steps that can all be repeated: remove and commit, merge every segment that lacks
//! documents, let tantivy remove files that belong to no segment. Whoever is killed in between finds
//! the purge still to be done and begins again. Then it is proved: a search finds nothing, no segment
//! has removed documents whose bytes would still be in its files, no file belongs to no segment, and
//! the ids of what was purged are in no term dictionary. A damaged partition that was set aside and
//! could not be made again whole may have anything, so it fails the proof until somebody removes it.
//!
//! An alert is purged when it matches itself, or when an event that it carries as evidence does.
//!
//! What it refuses: to touch what a legal hold keeps. Then nothing is removed at all.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use event::{Event, Timestamp};
use fail::fail_point;
use query::{Filter, matches};
use serde::{Deserialize, Serialize};
use tantivy::schema::IndexRecordOption;
use tantivy::{DocSet, TERMINATED, Term};

use crate::audit::{self, Act};
use crate::error::IndexError;
use crate::hold;
use crate::index::{Index, Inner, guarded};
use crate::metrics;
use crate::partition::{Kind, Partition};
use crate::removal::Removal;
use crate::request::Deadline;
use crate::retention::arrival;
use crate::segment::{Segment, Stop};
use crate::set_aside::{self, write_whole};
use crate::writer::IndexWriter;

/// The folder of purges in the data folder.
const FOLDER: &str = "purges";

/// The file in the index folder that names the purges that were done in this index.
pub const PURGED_FILE: &str = "purged.json";

/// The most ids of a purge that are looked for in term dictionaries afterwards.
const PROOF_IDS_MAX: usize = 10_000;

/// How long reading one segment may take.
const SEGMENT_TIME_MAX: Duration = Duration::from_secs(3600);

/// Files of a partition that belong to no segment, but to the index.
const INDEX_FILES: [&str; 4] =
    ["meta.json", ".managed.json", ".tantivy-meta.lock", ".tantivy-writer.lock"];

/// A purge, asked for or done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Purge {
    /// Its name: when it was asked for, so that no two have the same.
    pub id: String,
    /// What is purged, in the search language, without pipes.
    pub query: String,
    /// Who asked for it.
    pub who: String,
    /// Why.
    pub reason: String,
    /// When; what arrived later is not meant.
    pub asked: Timestamp,
    /// How much was counted then.
    pub counted: Found,
    /// What came of it.
    pub state: PurgeState,
}

/// What came of a purge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum PurgeState {
    /// It is still to be done.
    Pending,
    /// A legal hold keeps some of it; nothing was removed.
    Held {
        /// By hold, how many events and alerts it keeps.
        holds: BTreeMap<String, u64>,
    },
    /// It is done, and nothing is left.
    Done {
        /// How many events and alerts were removed, by the last try if it was interrupted.
        removed: Found,
        /// How many ids were looked for in the term dictionaries afterwards.
        ids_looked_for: usize,
    },
    /// It could not be done, or something is left; it is tried again at the next start.
    Failed {
        /// Why.
        reason: String,
    },
}

/// How many events and alerts a purge is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Found {
    /// Events.
    pub events: u64,
    /// Alerts that match, or carry an event that does.
    pub alerts: u64,
}

impl Purge {
    /// Asks for a purge of what was counted; whoever writes the index does it.
    ///
    /// # Errors
    /// When the query is wrong, or the file cannot be written.
    pub fn ask(
        data_dir: &Path,
        query: &str,
        counted: Found,
        who: &str,
        reason: &str,
    ) -> Result<Purge, IndexError> {
        hold::filter_of(query)?;
        let asked = Timestamp::now();
        let purge = Purge {
            id: format!("{}", asked.as_nanos()),
            query: query.to_owned(),
            who: who.to_owned(),
            reason: reason.to_owned(),
            asked,
            counted,
            state: PurgeState::Pending,
        };
        let folder = data_dir.join(FOLDER);
        std::fs::create_dir_all(&folder).map_err(IndexError::io("create the folder", &folder))?;
        purge.write(data_dir)?;
        Ok(purge)
    }

    /// This purge as it is now.
    ///
    /// # Errors
    /// When its file cannot be read.
    pub fn look(&self, data_dir: &Path) -> Result<Purge, IndexError> {
        read(&self.path(data_dir))
    }

    fn is_done(&self) -> bool {
        matches!(self.state, PurgeState::Done { .. })
    }

    fn path(&self, data_dir: &Path) -> PathBuf {
        data_dir.join(FOLDER).join(format!("{}.json", self.id))
    }

    fn write(&self, data_dir: &Path) -> Result<(), IndexError> {
        let path = self.path(data_dir);
        let json = serde_json::to_vec_pretty(self).unwrap_or_default();
        write_whole(&path, &json).map_err(IndexError::io("write", &path))
    }
}

impl Index {
    /// How much a purge would remove, and by hold how much of it may not be.
    ///
    /// # Errors
    /// When the query is wrong, or a partition cannot be read.
    pub fn preview_purge(&self, query: &str) -> Result<(Found, BTreeMap<String, u64>), IndexError> {
        let filter = hold::filter_of(query)?;
        let holds = hold::filters(&self.inner.data_dir)?;
        let mut found = Found::default();
        let mut held = BTreeMap::new();
        for partition in self.inner.partitions() {
            let count = count(&partition, &filter, &holds, &mut held)?;
            match partition.id.kind {
                Kind::Events => found.events += count,
                Kind::Alerts => found.alerts += count,
            }
        }
        Ok((found, held))
    }
}

/// The purges that are in force for what is added.
#[derive(Default)]
pub(crate) struct Purges {
    known: Vec<(Purge, Filter)>,
    /// Those that this process has tried.
    tried: BTreeSet<String>,
    /// Those that were done in this index.
    done: BTreeSet<String>,
}

impl Purges {
    /// Those of an index.
    pub(crate) fn of(inner: &Inner) -> Result<Purges, IndexError> {
        // If it cannot be read, all are done once more.
        let json = std::fs::read(inner.dir.join(PURGED_FILE)).unwrap_or_default();
        let done = serde_json::from_slice(&json).unwrap_or_default();
        let mut purges = Purges { done, ..Purges::default() };
        purges.refresh(&inner.data_dir)?;
        Ok(purges)
    }

    /// Whether an event or alert was purged: it had arrived when the purge was asked for, and matches
    /// it, or carries an event of which that is true.
    pub(crate) fn concern(&self, kind: Kind, event: &Event, time: Timestamp) -> bool {
        if self.known.is_empty() {
            return false;
        }
        let arrived = event.time(arrival(kind)).unwrap_or(time);
        // One that is still to be done removes by itself, and may yet be refused.
        let in_force = self
            .known
            .iter()
            .filter(|(purge, _)| purge.is_done() || self.tried.contains(&purge.id));
        in_force.into_iter().any(|(purge, filter)| {
            (arrived <= purge.asked && matches(filter, event))
                || (kind == Kind::Alerts
                    && evidence(event).iter().any(|event| {
                        let arrived = event.time(arrival(Kind::Events)).unwrap_or(time);
                        arrived <= purge.asked && matches(filter, event)
                    }))
        })
    }

    /// Takes in what was asked for since.
    fn refresh(&mut self, data_dir: &Path) -> Result<(), IndexError> {
        let folder = data_dir.join(FOLDER);
        let entries = match std::fs::read_dir(&folder) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            entries => entries.map_err(IndexError::io("list", &folder))?,
        };
        for entry in entries {
            let path = entry.map_err(IndexError::io("list", &folder))?.path();
            let Some(id) = path.file_stem().and_then(|name| name.to_str()) else { continue };
            let is_known = self.tried.contains(id) || self.known.iter().any(|(p, _)| p.id == id);
            if is_known || path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            let purge = read(&path)?;
            if matches!(purge.state, PurgeState::Held { .. }) {
                self.tried.insert(purge.id);
                continue;
            }
            let filter = hold::filter_of(&purge.query)?;
            self.known.push((purge, filter));
        }
        Ok(())
    }

    /// The oldest that is to be done.
    fn due(&self) -> Option<(Purge, Filter)> {
        let due = self.known.iter().filter(|(purge, _)| {
            let is_done = purge.is_done() && self.done.contains(&purge.id);
            !is_done && !self.tried.contains(&purge.id)
        });
        due.min_by_key(|(purge, _)| purge.asked).cloned()
    }
}

fn read(path: &Path) -> Result<Purge, IndexError> {
    let json = std::fs::read(path).map_err(IndexError::io("read", path))?;
    serde_json::from_slice(&json).map_err(|error| {
        IndexError::Query(format!("the purge in {} cannot be read: {error}", path.display()))
    })
}

impl IndexWriter {
    /// Does the purges that were asked for; what was added is committed first. While a damaged
    /// partition is made again they wait, because nobody knows what is still to come.
    ///
    /// # Errors
    /// When files cannot be read or written; the purge is still to be done then.
    pub fn run_purges(&mut self) -> Result<(), IndexError> {
        self.purges.refresh(&self.inner.data_dir)?;
        if self.is_rebuilding() {
            return Ok(());
        }
        while let Some((mut purge, filter)) = self.purges.due() {
            let was_done = purge.is_done();
            purge.state = self.purge(&filter)?;
            self.record(&purge)?;
            self.purges.tried.insert(purge.id.clone());
            if purge.is_done() {
                self.purges.done.insert(purge.id.clone());
                let path = self.inner.dir.join(PURGED_FILE);
                let json = serde_json::to_vec(&self.purges.done).unwrap_or_default();
                write_whole(&path, &json).map_err(IndexError::io("write", &path))?;
            } else if was_done {
                // It came back with a restored index. What was done stays in force, and is tried again.
                continue;
            }
            purge.write(&self.inner.data_dir)?;
            if matches!(purge.state, PurgeState::Held { .. }) {
                self.purges.known.retain(|(known, _)| known.id != purge.id);
            }
        }
        Ok(())
    }

    /// One purge, from the look at holds to the proof.
    fn purge(&mut self, filter: &Filter) -> Result<PurgeState, IndexError> {
        self.commit()?;
        self.settle()?;
        let holds = hold::filters(&self.inner.data_dir)?;
        let partitions = self.inner.partitions();
        let mut held = BTreeMap::new();
        for partition in &partitions {
            count(partition, filter, &holds, &mut held)?;
        }
        if !held.is_empty() {
            return Ok(PurgeState::Held { holds: held });
        }
        let mut removed = Found::default();
        let mut ids = BTreeSet::new();
        for partition in &partitions {
            let id = partition.id;
            let purged = match id.kind {
                Kind::Events => {
                    let removal = Removal { partition: partition.clone(), filter: filter.clone() };
                    let purged = removal.count()?;
                    if purged > 0 {
                        each(partition, filter, &mut |event| note_id(event, &mut ids))?;
                        self.remove_passing(removal)?;
                    }
                    removed.events += purged;
                    purged
                }
                Kind::Alerts => {
                    let mut alerts = Vec::new();
                    concerned(partition, filter, &mut |alert| {
                        note_id(alert, &mut ids);
                        alerts.extend(alert.str("event.id").map(str::to_owned));
                    })?;
                    self.remove_ids(id, &alerts)?;
                    removed.alerts += alerts.len() as u64;
                    alerts.len() as u64
                }
            };
            fail_point!("purge-before-merge", |_| std::process::abort());
            if purged > 0 || !partition.segments_over(0).is_empty() || has_strays(partition)? {
                self.merge_whole(partition)?;
                fail_point!("purge-after-merge", |_| std::process::abort());
            }
        }
        fail_point!("purge-before-record", |_| std::process::abort());
        let left = self.prove(filter, &ids)?;
        metrics::PURGED.inc_by(removed.events + removed.alerts);
        Ok(match left.is_empty() {
            true => PurgeState::Done { removed, ids_looked_for: ids.len() },
            false => PurgeState::Failed { reason: left.join("; ") },
        })
    }

    /// What is left of a purge; nothing if it is gone.
    fn prove(&self, filter: &Filter, ids: &BTreeSet<String>) -> Result<Vec<String>, IndexError> {
        // What cannot be read cannot be searched, so all of it must go.
        let set_aside = set_aside::notes(&self.inner.dir).into_iter().map(|note| {
            let place = note.moved_to(&self.inner.dir);
            format!(
                "{} was damaged and set aside, and may have some of it; remove {}",
                note.partition,
                place.display()
            )
        });
        let mut left: Vec<String> = set_aside.collect();
        for partition in self.inner.partitions() {
            let found = count(&partition, filter, &[], &mut BTreeMap::new())?;
            if found > 0 {
                left.push(format!("{} still has {found} that match", partition.id));
            }
            let unmerged = partition.segments_over(0).len();
            if unmerged > 0 {
                left.push(format!("{} has {unmerged} segments not merged", partition.id));
            }
            if has_strays(&partition)? {
                left.push(format!("{} has files of segments that are gone", partition.id));
            }
            let known = ids.iter().filter(|id| has_id(&partition, id).unwrap_or(true)).count();
            if known > 0 {
                left.push(format!("{} still has {known} of the ids", partition.id));
            }
        }
        Ok(left)
    }

    fn record(&self, purge: &Purge) -> Result<(), IndexError> {
        let outcome = match &purge.state {
            PurgeState::Done { .. } => "success",
            _ => "failure",
        };
        tracing::info!(purge = purge.id, who = purge.who, outcome, state = ?purge.state, "a purge came to its end");
        let details = serde_json::json!({ "purge": purge });
        let act = Act { action: "purge", outcome, who: &purge.who, reason: &purge.reason, details };
        audit::record(&self.inner.data_dir, &act)
    }
}

fn note_id(event: &Event, ids: &mut BTreeSet<String>) {
    if ids.len() < PROOF_IDS_MAX {
        ids.extend(event.str("event.id").map(str::to_owned));
    }
}

/// How many documents of a partition a purge is about; adds by hold how many of them are held.
fn count(
    partition: &std::sync::Arc<Partition>,
    filter: &Filter,
    holds: &[(String, Filter)],
    held: &mut BTreeMap<String, u64>,
) -> Result<u64, IndexError> {
    if partition.id.kind == Kind::Alerts {
        let mut count = 0;
        concerned(partition, filter, &mut |alert| {
            count += 1;
            for (hold, _) in holds.iter().filter(|(_, held)| is_concerned(held, alert)) {
                *held.entry(hold.clone()).or_default() += 1;
            }
        })?;
        return Ok(count);
    }
    let removal = |filter| Removal { partition: partition.clone(), filter };
    for (hold, kept) in holds {
        let both = removal(Filter::and(vec![filter.clone(), kept.clone()])).count()?;
        if both > 0 {
            *held.entry(hold.clone()).or_default() += both;
        }
    }
    removal(filter.clone()).count()
}

/// Shows the alerts of a partition that match, or carry an event that does.
fn concerned(
    partition: &Partition,
    filter: &Filter,
    show: &mut dyn FnMut(&Event),
) -> Result<(), IndexError> {
    each(partition, &Filter::All, &mut |alert| {
        if is_concerned(filter, alert) {
            show(alert);
        }
    })
}

fn is_concerned(filter: &Filter, alert: &Event) -> bool {
    matches(filter, alert) || evidence(alert).iter().any(|event| matches(filter, event))
}

/// The events that an alert carries.
fn evidence(alert: &Event) -> Vec<Event> {
    #[derive(Deserialize)]
    struct Carried {
        event: serde_json::Value,
    }
    let text = alert.str("watchpost.alert.evidence").unwrap_or("[]");
    let carried: Vec<Carried> = serde_json::from_str(text).unwrap_or_default();
    let events = carried.into_iter().filter_map(|carried| {
        let mut event = Event::new();
        event.parse_json(carried.event.to_string().as_bytes()).ok()?;
        Some(event)
    });
    events.collect()
}

/// Shows every document of a partition that passes, whole.
fn each(
    partition: &Partition,
    filter: &Filter,
    show: &mut dyn FnMut(&Event),
) -> Result<(), IndexError> {
    let wrong = || IndexError::partition(partition.id, "reading what is purged");
    guarded(partition, || {
        for reader in partition.searcher().segment_readers() {
            let segment = Segment::new(partition, reader, Deadline::within(SEGMENT_TIME_MAX))?;
            let failed = |stop: Stop| match stop {
                Stop::Failed(error) => wrong()(error),
                Stop::Timeout | Stop::OverBudget => IndexError::Damaged {
                    partition: partition.id.to_string(),
                    reason: format!("reading a segment took more than {SEGMENT_TIME_MAX:?}"),
                },
            };
            let bits =
                crate::filter::passing(&segment, filter, &segment.alive()).map_err(failed)?;
            for doc in bits.iter() {
                let mut event = Event::new();
                // It was parsed before it was stored.
                event.parse_json(&segment.source(doc).map_err(failed)?).unwrap_or_default();
                show(&event);
            }
        }
        Ok(())
    })
}

/// Whether a partition's term dictionaries have an id.
fn has_id(partition: &Partition, id: &str) -> Result<bool, IndexError> {
    let wrong = || IndexError::partition(partition.id, "looking for a purged id");
    let term = Term::from_field_text(partition.fields.id, id);
    for reader in partition.searcher().segment_readers() {
        let index = reader.inverted_index(partition.fields.id).map_err(wrong())?;
        let docs = index
            .read_postings(&term, IndexRecordOption::Basic)
            .map_err(|error| wrong()(error.into()))?;
        if docs.is_some_and(|docs| docs.doc() != TERMINATED) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether a partition's folder has files of segments that are gone.
fn has_strays(partition: &Partition) -> Result<bool, IndexError> {
    let searcher = partition.searcher();
    let live: Vec<String> =
        searcher.segment_readers().iter().map(|s| s.segment_id().uuid_string()).collect();
    let list = |error| IndexError::io("list", &partition.dir)(error);
    for entry in std::fs::read_dir(&partition.dir).map_err(list)? {
        let name = entry.map_err(list)?.file_name();
        let Some(name) = name.to_str() else { continue };
        if !INDEX_FILES.contains(&name) && !live.iter().any(|segment| name.starts_with(segment)) {
            return Ok(true);
        }
    }
    Ok(false)
}
