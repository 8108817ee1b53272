//! What the cluster knows of each field.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;

use indexing::FieldInfo;
use serde_json::Value;

/// The field that has the words of all others, see `template`.
pub(crate) const WORDS: &str = "watchpost_words";

/// How a field is indexed, as far as it matters to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A text that is compared whole.
    Keyword,
    /// A text that is compared by its words.
    Text,
    /// A whole number.
    Long,
    /// A number.
    Double,
    /// A time.
    Date,
    /// True or false.
    Boolean,
    /// An address.
    Ip,
    /// No value, but others below it.
    Object,
    /// Something else, or not the same in all indices: it can be told whether it is there.
    Other,
}

impl Kind {
    /// The type of its values, where there is one.
    fn as_str(self) -> Option<&'static str> {
        Some(match self {
            Kind::Keyword => "keyword",
            Kind::Text => "text",
            Kind::Long => "long",
            Kind::Double => "float",
            Kind::Date => "date",
            Kind::Boolean => "boolean",
            Kind::Ip => "ip",
            Kind::Object | Kind::Other => return None,
        })
    }
}

/// All fields of some indices, as one search sees them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fields {
    kinds: Arc<BTreeMap<String, Kind>>,
    /// Whether it asked for one that is not there.
    missed: Cell<bool>,
}

impl Fields {
    /// Reads what `_field_caps` answers.
    pub(crate) fn read(answer: &Value) -> Fields {
        let mut kinds = BTreeMap::new();
        let all = answer.get("fields").and_then(Value::as_object);
        for (name, types) in all.into_iter().flatten() {
            let Some(types) = types.as_object() else { continue };
            let is_own = |about: &Value| about.get("metadata_field") == Some(&Value::Bool(true));
            if types.values().any(is_own) || name.starts_with('_') {
                continue;
            }
            let mut found = types.keys().map(|name| kind_of(name));
            let first = found.next().unwrap_or(Kind::Other);
            let kind = if found.all(|kind| kind == first) { first } else { Kind::Other };
            kinds.insert(name.clone(), kind);
        }
        Fields { kinds: Arc::new(kinds), missed: Cell::new(false) }
    }

    /// The same, as another search sees them.
    pub(crate) fn anew(&self) -> Fields {
        Fields { kinds: Arc::clone(&self.kinds), missed: Cell::new(false) }
    }

    /// Whether these are what another search sees, told by the cluster at one time.
    pub(crate) fn is_as_old(&self, other: &Fields) -> bool {
        Arc::ptr_eq(&self.kinds, &other.kinds)
    }

    /// Whether a field was asked for that is not there. It may be new.
    pub(crate) fn missed(&self) -> bool {
        self.missed.get()
    }

    /// How a field is indexed; `None` if no event has it.
    pub(crate) fn kind(&self, name: &str) -> Option<Kind> {
        let kind = self.kinds.get(name).copied();
        self.missed.set(self.missed.get() || kind.is_none());
        kind
    }

    /// All fields with values, but the one of words.
    pub(crate) fn infos(&self) -> Vec<FieldInfo> {
        let own = self.kinds.iter().filter(|(name, kind)| *name != WORDS && **kind != Kind::Object);
        own.map(|(name, kind)| FieldInfo {
            name: name.clone(),
            types: kind.as_str().into_iter().collect(),
        })
        .collect()
    }

    /// The names of all fields but the one of words.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.kinds.keys().map(String::as_str).filter(|name| *name != WORDS)
    }
}

fn kind_of(name: &str) -> Kind {
    match name {
        "keyword" | "constant_keyword" | "wildcard" => Kind::Keyword,
        "text" | "match_only_text" => Kind::Text,
        "long" | "integer" | "short" | "byte" | "unsigned_long" => Kind::Long,
        "double" | "float" | "half_float" | "scaled_float" => Kind::Double,
        "date" | "date_nanos" => Kind::Date,
        "boolean" => Kind::Boolean,
        "ip" => Kind::Ip,
        "object" | "nested" => Kind::Object,
        _ => Kind::Other,
    }
}
