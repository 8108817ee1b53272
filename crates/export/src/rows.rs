//! Cells as text, where a format has nothing else for them.

use query::Cell;

/// A value as text; several are a list in JSON. Nothing is `None`, which an empty text is not.
pub(crate) fn text(cell: &Cell) -> Option<String> {
    match cell {
        Cell::Null => None,
        Cell::List(_) => serde_json::to_string(cell).ok(),
        other => Some(other.to_string()),
    }
}
