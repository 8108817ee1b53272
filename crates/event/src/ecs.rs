//! The fields of the Elastic Common Schema that Watchpost fills, with their types.
//!
//! A hand-kept list, not the whole schema: what is not here is either a product's own field
//! (`winlog.event_data.*`) or none that we write. The conformance check holds every entry against
//! the schema's own list of fields.

/// The type that ECS gives a field, as far as storing and searching it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Type {
    /// A name, code or id, compared whole.
    Keyword,
    /// Free text, searched by words.
    Text,
    /// A long text that is searched by its parts, such as a command line.
    Wildcard,
    /// An IPv4 or IPv6 address.
    Ip,
    /// A whole number.
    Long,
    /// A number.
    Float,
    /// A time.
    Date,
    /// True or false.
    Boolean,
}

/// Every known field with its type, sorted by name.
pub const FIELDS: &[(&str, Type)] = &[("@timestamp", Type::Date), ("message", Type::Text)];

/// The type of a field, if it is a known one.
pub fn field_type(path: &str) -> Option<Type> {
    FIELDS
        .binary_search_by(|(name, _)| (*name).cmp(path))
        .ok()
        .and_then(|at| FIELDS.get(at))
        .map(|f| f.1)
}

#[cfg(test)]
mod tests {
    use super::FIELDS;

    #[test]
    fn fields_are_sorted_and_single() {
        assert!(FIELDS.is_sorted_by(|a, b| a.0 < b.0));
    }
}
