//! The answers of all segments, put together.

use std::collections::BTreeMap;
use std::sync::Arc;

use query::{Cell, Groups, Rows};

use crate::error::IndexError;
use crate::index::guarded;
use crate::partition::Partition;
use crate::request::{Answer, FacetValue, Histogram, Hit, Partial};
use crate::search::{Found, Plan, hit};
use crate::segment::{Segment, Stop};

/// The answers of all segments, put together.
pub(crate) struct Merged {
    pub(crate) total: u64,
    /// The newest, with their time, segment and document.
    newest: Vec<(i64, usize, u32)>,
    pub(crate) histogram: Option<Histogram>,
    pub(crate) groups: Option<Groups>,
    pub(crate) groups_left_out: bool,
    facets: Vec<Groups>,
    pub(crate) timed_out: bool,
}

impl Merged {
    pub(crate) fn new(plan: &Plan<'_>, histogram: Option<Histogram>) -> Self {
        let groups_max = plan.request.limits.groups;
        Merged {
            total: 0,
            newest: Vec::new(),
            histogram,
            groups: plan
                .grouped
                .as_ref()
                .map(|(_, stats)| Groups::new(&stats.aggregates, groups_max)),
            groups_left_out: false,
            facets: plan
                .facets
                .iter()
                .map(|(_, stats)| Groups::new(&stats.aggregates, groups_max))
                .collect(),
            timed_out: false,
        }
    }

    pub(crate) fn take(
        &mut self,
        at: usize,
        outcome: Result<Found, IndexError>,
        partial: &mut Vec<Partial>,
    ) {
        let found = match outcome {
            Ok(found) => found,
            Err(error) => {
                let partition = match &error {
                    IndexError::Partition { partition, .. }
                    | IndexError::Damaged { partition, .. } => partition.clone(),
                    _ => String::new(),
                };
                tracing::error!(%error, "a search could not read an index partition");
                let problem = Partial::Partition { partition, reason: error.to_string() };
                if !partial.contains(&problem) {
                    partial.push(problem);
                }
                return;
            }
        };
        self.total += found.total;
        self.timed_out |= found.timed_out;
        self.newest.extend(found.newest.into_iter().map(|(time, doc)| (time, at, doc)));
        if let (Some(histogram), Some(counts)) = (&mut self.histogram, found.histogram) {
            histogram.counts.iter_mut().zip(counts).for_each(|(count, more)| *count += more);
        }
        if let (Some(groups), Some(more)) = (&mut self.groups, found.groups) {
            groups.merge_all(more);
        }
        for (groups, more) in self.facets.iter_mut().zip(found.facets) {
            groups.merge_all(more);
        }
    }

    pub(crate) fn answer(
        &mut self,
        plan: &Plan<'_>,
        work: &[(Arc<Partition>, tantivy::Searcher, usize)],
    ) -> (Answer, Vec<Partial>) {
        let mut partial = Vec::new();
        let table = if let Some((pipe, stats)) = &plan.grouped {
            let groups = self.groups.take().unwrap_or_else(|| Groups::new(&stats.aggregates, 0));
            self.groups_left_out = groups.overflowed();
            query::run_table(plan.pipes, pipe.finish(groups.into_table(&stats.by)))
        } else {
            // Equal times are ordered by where they stand, so that the same question has the same
            // answer.
            self.newest.sort_unstable_by(|a, b| b.cmp(a));
            self.newest.truncate(plan.wanted);
            if plan.needs_all && self.total > self.newest.len() as u64 {
                partial.push(Partial::Documents(plan.request.limits.documents));
            }
            let hits = self.read(plan, work, &mut partial);
            if plan.pipes.is_empty() {
                return (Answer::Hits(hits), partial);
            }
            match query::run(plan.pipes, hits.iter().map(Hit::event).collect()) {
                Rows::Table(table) => table,
                Rows::Events(mut events) => {
                    if events.len() > plan.request.limits.rows {
                        events.truncate(plan.request.limits.rows);
                        partial.push(Partial::Rows(plan.request.limits.rows));
                    }
                    let hits = events
                        .iter()
                        .map(|event| Hit {
                            time: event.timestamp().unwrap_or_default(),
                            json: event.to_json(),
                        })
                        .collect();
                    return (Answer::Hits(hits), partial);
                }
            }
        };
        let mut table = table;
        if table.rows.len() > plan.request.limits.rows {
            table.rows.truncate(plan.request.limits.rows);
            partial.push(Partial::Rows(plan.request.limits.rows));
        }
        (Answer::Table(table), partial)
    }

    /// Reads the newest documents; in the order of the store, and returns them newest first.
    fn read(
        &mut self,
        plan: &Plan<'_>,
        work: &[(Arc<Partition>, tantivy::Searcher, usize)],
        partial: &mut Vec<Partial>,
    ) -> Vec<Hit> {
        let mut places: Vec<(usize, u32, usize)> =
            self.newest.iter().enumerate().map(|(n, (_, at, doc))| (*at, *doc, n)).collect();
        places.sort_unstable();
        let mut hits: BTreeMap<usize, Hit> = BTreeMap::new();
        for chunk in places.chunk_by(|a, b| a.0 == b.0) {
            let Some((at, _, _)) = chunk.first() else { continue };
            let Some((partition, searcher, n)) = work.get(*at) else { continue };
            let Some(reader) = searcher.segment_readers().get(*n) else { continue };
            let read = guarded(partition, || {
                let segment = Segment::new(partition, reader, plan.deadline)?;
                for (n, (_, doc, place)) in chunk.iter().enumerate() {
                    // Some hits are always shown, however late it is.
                    if n % 64 == 63 && segment.check_time().is_err() {
                        return Ok(true);
                    }
                    match hit(&segment, *doc) {
                        Ok(hit) => hits.insert(*place, hit),
                        Err(Stop::Timeout | Stop::OverBudget) => return Ok(true),
                        Err(Stop::Failed(error)) => {
                            return Err(IndexError::partition(partition.id, "reading events")(
                                error,
                            ));
                        }
                    };
                }
                Ok(false)
            });
            match read {
                Ok(late) => self.timed_out |= late,
                Err(error) => partial.push(Partial::Partition {
                    partition: partition.id.to_string(),
                    reason: error.to_string(),
                }),
            }
        }
        hits.into_values().collect()
    }

    pub(crate) fn facets(&mut self, plan: &Plan<'_>) -> Vec<(String, Vec<FacetValue>)> {
        let facets = std::mem::take(&mut self.facets);
        plan.facets
            .iter()
            .zip(facets)
            .map(|((pipe, stats), groups)| {
                let table = pipe.finish(groups.into_table(&stats.by));
                let values = table
                    .rows
                    .into_iter()
                    .filter_map(|row| match <[Cell; 2]>::try_from(row) {
                        Ok([value, Cell::Int(count)]) => {
                            Some(FacetValue { value, count: u64::try_from(count).unwrap_or(0) })
                        }
                        _ => None,
                    })
                    .collect();
                (stats.by.first().cloned().unwrap_or_default(), values)
            })
            .collect()
    }
}
