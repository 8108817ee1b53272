//! The index template: how a cluster has to index events so that searches mean what they mean here.

use event::ecs::{FIELDS, Type};
use serde_json::{Map, Value, json};

use crate::fields::WORDS;

/// The longest text that is compared whole, in characters: of up to four bytes each, they stay below
/// the 32,766 bytes that Lucene takes as one term.
const KEYWORD_CHARS_MAX: usize = 8191;

/// The most fields of an index. Clusters allow 1,000 unless told otherwise; ECS alone has more.
const FIELDS_MAX: usize = 10_000;

/// The words of a text: runs of letters and digits, without case.
const ANALYZER: &str = "watchpost_words";

/// The template for indices of these patterns, in the form of `PUT _index_template`.
pub fn template(patterns: &[&str]) -> Value {
    let mut properties = Map::new();
    properties
        .insert(WORDS.to_owned(), json!({"type": "text", "analyzer": ANALYZER, "norms": false}));
    for (name, kind) in FIELDS {
        properties.insert((*name).to_owned(), property(name, *kind));
    }
    let text = |kind: Value| json!({"match_mapping_type": kind});
    let dynamic = [
        ("texts", "string", Type::Keyword),
        ("wholes", "long", Type::Long),
        ("numbers", "double", Type::Float),
    ]
    .map(|(name, json_type, kind)| {
        let mut rule = text(json_type.into());
        rule["mapping"] = property("", kind);
        json!({name: rule})
    });
    json!({
        "index_patterns": patterns,
        "priority": 200,
        "template": {
            "settings": {
                "index": {
                    "number_of_shards": 1,
                    "refresh_interval": "1s",
                    "codec": "best_compression",
                    // What does not fit its field is stored and found by its words.
                    "mapping": {
                        "ignore_malformed": true,
                        "total_fields": {"limit": FIELDS_MAX},
                    },
                    "analysis": {
                        "tokenizer": {
                            ANALYZER: {"type": "pattern", "pattern": "[^\\p{IsAlphabetic}\\p{N}]+"},
                        },
                        "filter": {
                            ANALYZER: {"type": "truncate", "length": query::WORD_CHARS_MAX},
                        },
                        "analyzer": {
                            ANALYZER: {
                                "type": "custom",
                                "tokenizer": ANALYZER,
                                "filter": ["lowercase", ANALYZER],
                            },
                        },
                    },
                },
            },
            "mappings": {
                "date_detection": false,
                "numeric_detection": false,
                "dynamic_templates": dynamic,
                "properties": properties,
            },
        },
        "_meta": {"description": "Events and alerts of Watchpost, by the Elastic Common Schema"},
    })
}

fn property(name: &str, kind: Type) -> Value {
    let mut property = match kind {
        Type::Keyword | Type::Wildcard => {
            json!({"type": "keyword", "ignore_above": KEYWORD_CHARS_MAX})
        }
        Type::Text => json!({"type": "text", "analyzer": ANALYZER, "norms": false}),
        Type::Ip => json!({"type": "ip"}),
        Type::Long => json!({"type": "long"}),
        Type::Float => return json!({"type": "double"}),
        // To the nanosecond, because the order of events is.
        Type::Date => return json!({"type": "date_nanos"}),
        Type::Boolean => return json!({"type": "boolean"}),
    };
    if query::is_unsearched(name) {
        // Read by nobody but whoever looks at the event: only that it is there is kept.
        return json!({"type": "text", "analyzer": ANALYZER, "norms": false, "index_options": "docs"});
    }
    property["copy_to"] = WORDS.into();
    property
}

#[cfg(test)]
mod tests {
    use super::template;
    use crate::Settings;

    #[test]
    fn the_template_of_who_feeds_by_other_means_is_the_same() {
        let path =
            concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/opensearch/index-template.json");
        let Settings { events, alerts, .. } = Settings::default();
        let made = template(&[&events, &alerts]);
        if std::env::var_os("WATCHPOST_TEST_WRITE_TEMPLATE").is_some() {
            let text = serde_json::to_string_pretty(&made).unwrap() + "\n";
            std::fs::write(path, text).unwrap();
        }
        let written: serde_json::Value =
            serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        assert!(
            written == made,
            "{path} is old: WATCHPOST_TEST_WRITE_TEMPLATE=1 cargo test -p cluster"
        );
    }
}
