//! The columns of an export, and their types.
//!
//! Types are those that values have: of an event's field in the index, of a table's column in the table.
//! What has several types is text, so that no value is left out for want of its type.

use indexing::Index;
use query::{Cell, Table};

use crate::{FIELDS_DEFAULT, Format};

/// One column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Column {
    /// Whose values of an event it has; of a table, the column.
    pub(crate) field: String,
    pub(crate) name: String,
    pub(crate) kind: ColumnKind,
}

/// What a column's values are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ColumnKind {
    Text,
    Whole,
    Float,
    Bool,
    Time,
}

/// All columns; none for whole events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Columns(pub(crate) Vec<Column>);

impl Columns {
    /// Whether events are written as they are stored.
    pub(crate) fn are_whole(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|column| column.name.as_str())
    }

    /// These, or else whole events in NDJSON and the usual fields elsewhere.
    pub(crate) fn of_events(wanted: &[query::Column], format: Format, index: &Index) -> Columns {
        let same = |field: &str| query::Column { field: field.to_owned(), name: field.to_owned() };
        let wanted = match (wanted, format) {
            ([], Format::Ndjson) => return Columns(Vec::new()),
            ([], _) => FIELDS_DEFAULT.map(same).to_vec(),
            (wanted, _) => wanted.to_vec(),
        };
        let known = index.fields();
        let columns = wanted.into_iter().map(|query::Column { field, name }| {
            let types = known
                .binary_search_by(|known| known.name.as_str().cmp(&field))
                .ok()
                .and_then(|at| known.get(at))
                .map(|field| field.types.as_slice());
            let kind = match types {
                Some(["long"]) => ColumnKind::Whole,
                Some(["float"] | ["float", "long"]) => ColumnKind::Float,
                Some(["boolean"]) => ColumnKind::Bool,
                Some(["date"]) => ColumnKind::Time,
                _ => ColumnKind::Text,
            };
            Column { field, name, kind }
        });
        Columns(columns.collect())
    }

    pub(crate) fn of_table(table: &Table) -> Columns {
        let kind = |n: usize| {
            let mut kind = None;
            for cell in table.rows.iter().filter_map(|row| row.get(n)) {
                let own = match cell {
                    Cell::Null => continue,
                    Cell::Bool(_) => ColumnKind::Bool,
                    Cell::Int(_) => ColumnKind::Whole,
                    Cell::Float(_) => ColumnKind::Float,
                    Cell::Time(_) => ColumnKind::Time,
                    Cell::Text(_) | Cell::List(_) => ColumnKind::Text,
                };
                kind = match (kind, own) {
                    (None, own) => Some(own),
                    (Some(before), own) if before == own => Some(own),
                    (
                        Some(ColumnKind::Whole | ColumnKind::Float),
                        ColumnKind::Whole | ColumnKind::Float,
                    ) => Some(ColumnKind::Float),
                    _ => return ColumnKind::Text,
                };
            }
            kind.unwrap_or(ColumnKind::Text)
        };
        let columns = table.columns.iter().enumerate().map(|(n, name)| Column {
            field: name.clone(),
            name: name.clone(),
            kind: kind(n),
        });
        Columns(columns.collect())
    }
}
