//! What pipes work on: cells, and tables of them.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};

use event::Timestamp;
use serde::ser::{Serialize, SerializeSeq, Serializer};

use crate::eval::{Fields, Scalar, whole};
use crate::term::Number;
use crate::tree::FieldName;

/// One value of a table.
#[derive(Debug, Clone, Default)]
pub enum Cell {
    /// Nothing.
    #[default]
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Any other number; never a whole one that fits [`Cell::Int`], never infinite.
    Float(f64),
    /// A time.
    Time(Timestamp),
    /// A text.
    Text(String),
    /// Several values of one field.
    List(Vec<Cell>),
}

impl Cell {
    /// A number; whole ones become [`Cell::Int`], what is no number becomes [`Cell::Null`].
    pub fn number(number: f64) -> Cell {
        if !number.is_finite() {
            return Cell::Null;
        }
        match whole(number) {
            Number::Int(number) => i64::try_from(number).map_or(Cell::Null, Cell::Int),
            Number::Float(number) => Cell::Float(number),
        }
    }

    /// From a value as tests see it.
    pub fn from_scalar(value: Scalar<'_>) -> Cell {
        match value {
            Scalar::Text(text) => Cell::Text(text.to_owned()),
            Scalar::Bool(value) => Cell::Bool(value),
            Scalar::Time(time) => Cell::Time(time),
            Scalar::Number(Number::Int(number)) => {
                i64::try_from(number).map_or(Cell::Float(number as f64), Cell::Int)
            }
            Scalar::Number(Number::Float(number)) => Cell::Float(number),
        }
    }

    /// As a number: one itself, or a text that is one.
    pub fn as_number(&self) -> Option<Number> {
        match self {
            Cell::Int(number) => Some(Number::Int(i128::from(*number))),
            Cell::Float(number) => Some(Number::Float(*number)),
            Cell::Text(text) => Number::parse(text),
            _ => None,
        }
    }

    fn rank(&self) -> u8 {
        match self {
            Cell::Null => 0,
            Cell::Bool(_) => 1,
            Cell::Int(_) | Cell::Float(_) => 2,
            Cell::Time(_) => 3,
            Cell::Text(_) => 4,
            Cell::List(_) => 5,
        }
    }

    /// As tests see it; `None` for nothing and for lists.
    pub fn scalar(&self) -> Option<Scalar<'_>> {
        Some(match self {
            Cell::Null | Cell::List(_) => return None,
            Cell::Bool(value) => Scalar::Bool(*value),
            Cell::Int(number) => Scalar::Number(Number::Int(i128::from(*number))),
            Cell::Float(number) => Scalar::Number(Number::Float(*number)),
            Cell::Time(time) => Scalar::Time(*time),
            Cell::Text(text) => Scalar::Text(text),
        })
    }
}

impl PartialEq for Cell {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl Eq for Cell {}

impl PartialOrd for Cell {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Cell {
    /// Nothing first, then truth values, numbers by value, times, texts, lists.
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Cell::Bool(a), Cell::Bool(b)) => a.cmp(b),
            (Cell::Int(a), Cell::Int(b)) => a.cmp(b),
            (Cell::Float(a), Cell::Float(b)) => a.total_cmp(b),
            // An equal pair of the two kinds does not exist, see `Cell::number`; were there one,
            // the kind would decide, so that the order stays total.
            (Cell::Int(a), Cell::Float(b)) => (*a as f64).total_cmp(b).then(Ordering::Less),
            (Cell::Float(a), Cell::Int(b)) => a.total_cmp(&(*b as f64)).then(Ordering::Greater),
            (Cell::Time(a), Cell::Time(b)) => a.cmp(b),
            (Cell::Text(a), Cell::Text(b)) => a.cmp(b),
            (Cell::List(a), Cell::List(b)) => a.cmp(b),
            _ => self.rank().cmp(&other.rank()),
        }
    }
}

impl Hash for Cell {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.rank().hash(state);
        match self {
            Cell::Null => {}
            Cell::Bool(value) => value.hash(state),
            Cell::Int(number) => number.hash(state),
            Cell::Float(number) => number.to_bits().hash(state),
            Cell::Time(time) => time.hash(state),
            Cell::Text(text) => text.hash(state),
            Cell::List(cells) => cells.hash(state),
        }
    }
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cell::Null => Ok(()),
            Cell::Bool(value) => value.fmt(f),
            Cell::Int(number) => number.fmt(f),
            Cell::Float(number) => write!(f, "{number:?}"),
            Cell::Time(time) => time.fmt(f),
            Cell::Text(text) => text.fmt(f),
            Cell::List(cells) => {
                for (n, cell) in cells.iter().enumerate() {
                    f.write_str(if n > 0 { ", " } else { "" })?;
                    cell.fmt(f)?;
                }
                Ok(())
            }
        }
    }
}

impl Serialize for Cell {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Cell::Null => serializer.serialize_unit(),
            Cell::Bool(value) => serializer.serialize_bool(*value),
            Cell::Int(number) => serializer.serialize_i64(*number),
            Cell::Float(number) => serializer.serialize_f64(*number),
            Cell::Time(time) => time.serialize(serializer),
            Cell::Text(text) => serializer.serialize_str(text),
            Cell::List(cells) => {
                let mut list = serializer.serialize_seq(Some(cells.len()))?;
                for cell in cells {
                    list.serialize_element(cell)?;
                }
                list.end()
            }
        }
    }
}

/// Rows of cells under named columns.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
pub struct Table {
    /// The names of the columns.
    pub columns: Vec<String>,
    /// The rows, each with a cell for every column.
    pub rows: Vec<Vec<Cell>>,
}

impl Table {
    /// Where a column stands.
    pub fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column == name)
    }
}

/// One row of a table, with its columns' names.
pub(crate) struct TableRow<'t> {
    pub(crate) columns: &'t [String],
    pub(crate) cells: &'t [Cell],
}

impl TableRow<'_> {
    fn scalars(&self) -> impl Iterator<Item = (&str, Scalar<'_>)> {
        self.columns.iter().zip(self.cells).flat_map(|(name, cell)| {
            let cells = match cell {
                Cell::List(cells) => cells.as_slice(),
                one => std::slice::from_ref(one),
            };
            cells.iter().filter_map(Cell::scalar).map(move |scalar| (name.as_str(), scalar))
        })
    }
}

impl Fields for TableRow<'_> {
    fn any_value(&self, field: &FieldName, test: &mut dyn FnMut(&str, Scalar<'_>) -> bool) -> bool {
        self.scalars().any(|(name, value)| field.names(name) && test(name, value))
    }

    fn has(&self, field: &FieldName) -> bool {
        self.scalars().any(|(name, _)| field.names(name))
    }

    fn any_searched(&self, test: &mut dyn FnMut(Scalar<'_>) -> bool) -> bool {
        self.scalars().any(|(_, value)| test(value))
    }
}
