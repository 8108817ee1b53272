//! Everything that a query finds, as NDJSON, CSV or Parquet.
//!
//! The index is read page by page, newest first, and each page is written before the next is read: an
//! export takes the memory of one page, whatever its length, and ends as soon as whoever reads it is gone.
//! The first page is read before anything is written, so that what is wrong with the question is told
//! instead of an answer. Pipes other than `where`, `head` and `fields` need all events at once; what they
//! give is made first, under the bounds of a search, and then written.
//!
//! What it refuses to do: pass a part off as the whole. More than the bound is refused before the first
//! byte, and a page that cannot be read ends the export with an error.

mod columns;
mod parquet;
mod rows;
mod writer;

use std::io::Write;
use std::str::FromStr;
use std::time::{Duration, Instant};

use event::{Event, Timestamp};
use indexing::{
    Answer, Cancel, ExploreRequest, FoundHit, Hit, Index, Kind, Kinds, Limits, Order, PartitionId,
    SearchRequest,
};
use query::{Cell, Filter, Pipe, Query, Table, TimeRange};

use crate::columns::Columns;
use crate::writer::Writer;

/// The most rows of one export: events of about a kilobyte each make a gigabyte.
pub const ROWS_MAX: usize = 1_000_000;

/// How many events are read at a time; also the length of Parquet's row groups.
const PAGE: usize = 10_000;

/// The most columns; Parquet holds a page of each in memory.
pub const FIELDS_MAX: usize = 200;

/// The longest time until the last page.
const TIME_MAX: Duration = Duration::from_secs(600);

/// The longest time of one page.
const PAGE_TIME_MAX: Duration = Duration::from_secs(30);

/// The columns of CSV and Parquet, if the query names none with `fields`.
pub const FIELDS_DEFAULT: [&str; 9] = [
    "@timestamp",
    "event.id",
    "event.dataset",
    "event.action",
    "host.name",
    "user.name",
    "source.ip",
    "process.executable",
    "message",
];

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A JSON object per line: whole events, or the fields that are named.
    Ndjson,
    /// Comma-separated values under a line of names.
    Csv,
    /// Apache Parquet, compressed with zstd; numbers, times and truth values keep their types.
    Parquet,
}

impl Format {
    /// The type of its content.
    pub const fn content_type(self) -> &'static str {
        match self {
            Format::Ndjson => "application/x-ndjson",
            Format::Csv => "text/csv; charset=utf-8",
            Format::Parquet => "application/vnd.apache.parquet",
        }
    }

    /// The end of a file's name.
    pub const fn extension(self) -> &'static str {
        match self {
            Format::Ndjson => "ndjson",
            Format::Csv => "csv",
            Format::Parquet => "parquet",
        }
    }
}

impl FromStr for Format {
    type Err = ExportError;

    fn from_str(name: &str) -> Result<Self, ExportError> {
        match name {
            "ndjson" => Ok(Format::Ndjson),
            "csv" => Ok(Format::Csv),
            "parquet" => Ok(Format::Parquet),
            other => Err(ExportError::Request(format!(
                "`{other}` is no format; it is one of ndjson, csv, parquet"
            ))),
        }
    }
}

/// What is exported.
#[derive(Debug, Clone)]
pub struct Request {
    /// The query. Its `fields` are the columns, its `head` the most rows.
    pub query: Query,
    /// What is searched.
    pub kinds: Kinds,
    /// The range of time.
    pub range: TimeRange,
    /// How it is written.
    pub format: Format,
    /// Ends the reading when whoever asked is gone.
    pub cancel: Cancel,
}

/// Why there is no export, or why it ended early.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// Something of the request is wrong.
    #[error("{0}")]
    Request(String),
    /// It would be too long.
    #[error(
        "{found} events match, and an export has at most {ROWS_MAX} rows; narrow the range of time or the filter, or ask for the newest with `| head {ROWS_MAX}`"
    )]
    TooMany {
        /// How many match.
        found: u64,
    },
    /// A part could not be read, so that the rest would be less than the whole.
    #[error("the export would not be whole: {0}")]
    Partial(String),
    /// It could not be written; usually whoever reads is gone.
    #[error("cannot write the export: {0}")]
    Write(#[from] std::io::Error),
    /// Parquet refused what it was given.
    #[error("cannot write Parquet: {0}")]
    Parquet(#[from] ::parquet::errors::ParquetError),
}

/// An export whose first page is read.
pub struct Export {
    index: Index,
    request: Request,
    columns: Columns,
    first: First,
    started: Instant,
}

/// What is written first, and whether there is more.
enum First {
    Page(Pages, Vec<FoundHit>),
    /// What pipes gave.
    Hits(Vec<Hit>),
    Table(Table),
}

/// A query that looks at one event at a time, so that it can be read page by page.
struct Pages {
    filter: Filter,
    /// What `head` asks for.
    head: Option<usize>,
    /// What `fields` names; whole events, or the usual columns, if it names none.
    fields: Vec<query::Column>,
    partitions: Vec<PartitionId>,
}

impl Export {
    /// Reads the first page.
    ///
    /// # Errors
    /// When the request is wrong, too much matches, or the index cannot be read.
    pub fn begin(index: &Index, request: Request) -> Result<Export, ExportError> {
        // A page does not tell of those that were set aside.
        if let Some(problem) = index.problems().first() {
            let (partition, reason) = (&problem.partition, &problem.reason);
            let reason = format!("the partition {partition} cannot be read: {reason}");
            return Err(ExportError::Partial(reason));
        }
        let started = Instant::now();
        let (columns, first) = match Pages::of(&request, index) {
            Some(pages) => {
                if pages.fields.len() > FIELDS_MAX {
                    let reason = format!("at most {FIELDS_MAX} fields are exported");
                    return Err(ExportError::Request(reason));
                }
                let (page, found) =
                    pages.read(index, &request, None, pages.rows_max().min(PAGE))?;
                let wanted = pages.head.map_or(found, |head| found.min(head as u64));
                if wanted > ROWS_MAX as u64 {
                    return Err(ExportError::TooMany { found });
                }
                (Columns::of_events(&pages.fields, request.format, index), First::Page(pages, page))
            }
            None => match piped(index, &request)? {
                Answer::Table(table) => (Columns::of_table(&table), First::Table(table)),
                Answer::Hits(hits) => {
                    (Columns::of_events(&[], request.format, index), First::Hits(hits))
                }
            },
        };
        Ok(Export { index: index.clone(), request, columns, first, started })
    }

    /// Writes all of it, and tells how many rows there were.
    ///
    /// # Errors
    /// When a page cannot be read, or nothing can be written any more.
    pub fn write(self, out: impl Write + Send) -> Result<u64, ExportError> {
        let mut writer = Writer::new(self.request.format, &self.columns, out)?;
        match self.first {
            First::Table(table) => {
                for rows in table.rows.chunks(PAGE) {
                    writer.rows(&self.columns, rows)?;
                }
            }
            First::Hits(hits) => {
                for hits in hits.chunks(PAGE) {
                    writer.hits(&self.columns, hits.iter())?;
                }
            }
            First::Page(pages, mut page) => {
                let mut left = pages.rows_max();
                loop {
                    left = left.saturating_sub(page.len());
                    writer.hits(&self.columns, page.iter().map(|found| &found.hit))?;
                    let Some(last) = page.last().filter(|_| page.len() == PAGE && left > 0) else {
                        break;
                    };
                    if self.started.elapsed() > TIME_MAX {
                        let reason = format!("it took longer than {TIME_MAX:?}");
                        return Err(ExportError::Partial(reason));
                    }
                    let after = last.sort.clone();
                    let next = left.min(PAGE);
                    (page, _) = pages.read(&self.index, &self.request, Some(&after), next)?;
                }
            }
        }
        writer.finish()
    }
}

impl Pages {
    /// `None` if a pipe needs all events at once.
    fn of(request: &Request, index: &Index) -> Option<Pages> {
        let mut filters = vec![request.query.filter.clone()];
        let mut pipes = request.query.pipes.as_slice();
        while let Some((Pipe::Where(filter), rest)) = pipes.split_first() {
            filters.push(filter.clone());
            pipes = rest;
        }
        let (mut head, mut fields) = (None, Vec::new());
        for pipe in pipes {
            match pipe {
                Pipe::Head(count) => {
                    head = Some(head.map_or(*count, |head: usize| head.min(*count)))
                }
                Pipe::Fields(columns) if fields.is_empty() => fields.clone_from(columns),
                _ => return None,
            }
        }
        let partitions = partitions(index, request.kinds);
        Some(Pages { filter: Filter::and(filters), head, fields, partitions })
    }

    fn rows_max(&self) -> usize {
        self.head.unwrap_or(ROWS_MAX).min(ROWS_MAX)
    }

    /// The hits after this one, and how many there are in all.
    fn read(
        &self,
        index: &Index,
        request: &Request,
        after: Option<&[Cell]>,
        hits: usize,
    ) -> Result<(Vec<FoundHit>, u64), ExportError> {
        let mut range = request.range;
        // What is newer was written, and need not be looked at again.
        if let Some(Cell::Time(time)) = after.and_then(<[Cell]>::first) {
            let end = Timestamp::from_millis(time.as_millis().saturating_add(1));
            range.until = Some(range.until.map_or(end, |until| until.min(end)));
        }
        let explored = index.searcher().explore(&ExploreRequest {
            filter: &self.filter,
            partitions: &self.partitions,
            range,
            hits,
            sort: &[Order {
                field: "@timestamp".to_owned(),
                descending: true,
                missing_first: false,
            }],
            after,
            aggregations: &[],
            time: PAGE_TIME_MAX,
            threads: Limits::default().threads,
            values: 0,
            cancel: request.cancel.clone(),
        });
        match explored.partial.first() {
            Some(partial) => Err(ExportError::Partial(partial.to_string())),
            None => Ok((explored.hits, explored.total)),
        }
    }
}

/// What the query's pipes make, if it is whole.
fn piped(index: &Index, request: &Request) -> Result<Answer, ExportError> {
    let mut search = SearchRequest::new(&request.query);
    search.kinds = request.kinds;
    search.range = request.range;
    search.limits.rows = ROWS_MAX;
    search.limits.hits = ROWS_MAX;
    search.limits.cancel = request.cancel.clone();
    let results = index.searcher().search(&search);
    match results.partial.first() {
        Some(partial) => Err(ExportError::Partial(partial.to_string())),
        None => Ok(results.answer),
    }
}

fn partitions(index: &Index, kinds: Kinds) -> Vec<PartitionId> {
    let wanted = |kind: Kind| match kinds {
        Kinds::Events => kind == Kind::Events,
        Kinds::Alerts => kind == Kind::Alerts,
        Kinds::Both => true,
    };
    index.partitions().iter().map(|info| info.id).filter(|id| wanted(id.kind)).collect()
}

/// The values of an event under columns.
fn row(event: &Event, columns: &Columns) -> Vec<Cell> {
    columns
        .0
        .iter()
        .map(|column| {
            let mut cells = query::cells(event, &column.field);
            match cells.len() {
                0 => Cell::Null,
                1 => cells.remove(0),
                _ => Cell::List(cells),
            }
        })
        .collect()
}
