//! The answers of all segments, put together.

use std::collections::BTreeMap;
use std::sync::Arc;

use query::{Cell, Groups, Rows, Sequencer, Step};

use crate::error::IndexError;
use crate::index::guarded;
use crate::partition::Partition;
use crate::request::{Answer, Facet, FacetValue, Histogram, Hit, Partial};
use crate::search::{Found, Plan, hit};
use crate::segment::{Segment, Stop};
use crate::sequence::Steps;

/// The answers of all segments, put together.
pub(crate) struct Merged {
    pub(crate) total: u64,
    /// The newest, with their time, segment and document.
    newest: Vec<(i64, usize, u32)>,
    pub(crate) histogram: Option<Histogram>,
    pub(crate) groups: Option<Groups>,
    pub(crate) groups_left_out: bool,
    steps: Steps,
    /// For each facet, how many events have the field, and its values.
    facets: Vec<(u64, Option<Groups>)>,
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
            steps: Steps::default(),
            facets: plan
                .facets
                .iter()
                .map(|facet| {
                    let stats = facet.grouping.as_ref();
                    (0, stats.map(|stats| Groups::new(&stats.aggregates, groups_max)))
                })
                .collect(),
            timed_out: false,
        }
    }

    pub(crate) fn take(
        &mut self,
        at: usize,
        outcome: Result<Found<Groups>, IndexError>,
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
        self.steps.steps.extend(found.steps.steps);
        self.steps.left_out |= found.steps.left_out;
        for ((events, groups), (more_events, more)) in self.facets.iter_mut().zip(found.facets) {
            *events += more_events;
            if let (Some(groups), Some(more)) = (groups, more) {
                groups.merge_all(more);
            }
        }
    }

    pub(crate) fn answer(
        &mut self,
        plan: &Plan<'_>,
        work: &[(Arc<Partition>, tantivy::Searcher, usize)],
    ) -> (Answer, Vec<Partial>) {
        let mut partial = Vec::new();
        let mut exceeded = Vec::new();
        let table = if let Some((pipe, stats)) = &plan.grouped {
            let groups = self.groups.take().unwrap_or_else(|| Groups::new(&stats.aggregates, 0));
            self.groups_left_out = groups.overflowed();
            let table = pipe.finish(groups.into_table(&stats.by));
            query::run_table(plan.pipes, table, &mut exceeded)
        } else if let Some((wanted, _)) = &plan.sequence {
            let Steps { mut steps, left_out } = std::mem::take(&mut self.steps);
            if left_out {
                partial.push(Partial::SequenceEvents(plan.request.limits.sequence_events));
            }
            steps.sort_by(Step::order);
            let mut sequencer = Sequencer::new(wanted);
            steps.into_iter().for_each(|step| sequencer.take(step));
            let table = sequencer.finish(&mut exceeded);
            query::run_table(plan.pipes, table, &mut exceeded)
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
            let events = hits.iter().map(Hit::event).collect();
            match query::run(plan.pipes, events, &mut exceeded) {
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
        partial.extend(exceeded.into_iter().map(Partial::Pipes));
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
                let segment = Segment::new(partition, reader, plan.deadline.clone())?;
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

    pub(crate) fn facets(&mut self, plan: &Plan<'_>) -> Vec<Facet> {
        let facets = std::mem::take(&mut self.facets);
        plan.request
            .facets
            .iter()
            .zip(&plan.facets)
            .zip(facets)
            .map(|((field, facet), (events, groups))| {
                let mut found = Facet {
                    field: (*field).to_owned(),
                    events,
                    distinct: None,
                    whole: true,
                    values: Vec::new(),
                };
                if let (Some(groups), Some(stats)) = (groups, &facet.grouping) {
                    found.distinct = u64::try_from(groups.len()).ok();
                    found.whole = !groups.overflowed();
                    let table = facet.pipe.finish(groups.into_table(&stats.by));
                    found.values = table.rows.into_iter().filter_map(facet_value).collect();
                }
                found
            })
            .collect()
    }
}

fn facet_value(row: Vec<Cell>) -> Option<FacetValue> {
    match <[Cell; 2]>::try_from(row) {
        Ok([value, Cell::Int(count)]) => {
            Some(FacetValue { value, count: u64::try_from(count).unwrap_or(0) })
        }
        _ => None,
    }
}
