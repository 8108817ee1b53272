//! What of a record must not be stored.
//!
//! Rules of the operator name fields of JSON documents and patterns in texts, for all records or for
//! those of some datasets or senders. They are applied in the intake, before the bus, so that the
//! topic `raw`, the events, the index and every backup only ever have what is left: nothing, a mask,
//! or a hash under a key of the operator's, by which the same value is still found again.
//!
//! Where it can't be told whether a document has such a field, because it is no JSON, the document
//! is withheld whole. Rules would rather hide too much than too little.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::LazyLock;

use bus::{RecordRef, Records};
use event::raw::{DATASET, SENDER};
use prometheus::IntCounterVec;
use regex::bytes::{Regex, RegexBuilder};
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::metrics;

/// The most rules.
pub const RULES_MAX: usize = 100;

/// The most memory of a compiled pattern.
const PATTERN_BYTES_MAX: usize = 1024 * 1024;

/// How deep documents may be nested, text in JSON that is JSON itself included.
const DEPTH_MAX: usize = 64;

/// So much larger than it came a record may become: hashes are longer than what they hide.
const GROWTH_BYTES_MAX: usize = 256 * 1024;

/// What stands where something was masked.
const MASK: &str = "[masked]";

/// What a hash begins with; 32 hexadecimal digits follow.
const HASH: &str = "hash:";

/// A rule, as the configuration names it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PrivacyRule {
    /// The datasets whose records it is for, as their senders name them; `okta.*` for all that begin
    /// so. Empty: all records.
    pub datasets: Vec<String>,
    /// The senders whose records it is for. Empty: all.
    pub senders: Vec<String>,
    /// Fields of JSON documents by their dotted names, at whatever depth of the document they begin.
    pub fields: Vec<String>,
    /// Regular expressions over the record as it came. What their groups matched is hidden; without
    /// a group, all that they matched.
    pub patterns: Vec<String>,
    /// What is done.
    pub action: Action,
}

/// What is done with a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// A field becomes `null`, a part of a text nothing.
    Drop,
    /// It becomes `[masked]`.
    #[default]
    Mask,
    /// It becomes a hash under the key: the same value has the same hash.
    Hash,
}

/// Why rules can't be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PrivacyError {
    /// More than [`RULES_MAX`].
    #[error("there are {0} privacy rules; at most {RULES_MAX} are taken")]
    TooMany(usize),
    /// One that would never do anything.
    #[error("privacy rule {0} names neither fields nor patterns")]
    Empty(usize),
    /// A pattern that is no regular expression.
    #[error("privacy rule {rule}, pattern `{pattern}`: {source}")]
    Pattern {
        /// The rule's number, from 1.
        rule: usize,
        /// The pattern.
        pattern: String,
        /// Why.
        source: regex::Error,
    },
    /// Hashes are wanted and the key can't be had.
    #[error("the key of privacy rules, {}: {problem}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// Why.
        problem: String,
    },
}

/// All rules, ready to be applied.
#[derive(Default)]
pub struct Privacy {
    rules: Vec<Rule>,
    key: [u8; 32],
}

impl fmt::Debug for Privacy {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Privacy").field("rules", &self.rules.len()).finish_non_exhaustive()
    }
}

struct Rule {
    datasets: Vec<String>,
    senders: Vec<String>,
    fields: Vec<String>,
    patterns: Vec<Regex>,
    action: Action,
}

/// Whether hashes are wanted, and so a key.
pub fn wants_key(rules: &[PrivacyRule]) -> bool {
    rules.iter().any(|rule| rule.action == Action::Hash)
}

impl Privacy {
    /// Reads the rules. `key` is what hashes are made with; whoever has it can try values.
    ///
    /// # Errors
    /// [`PrivacyError`], for the first rule that can't be used.
    pub fn new(rules: &[PrivacyRule], key: [u8; 32]) -> Result<Privacy, PrivacyError> {
        if rules.len() > RULES_MAX {
            return Err(PrivacyError::TooMany(rules.len()));
        }
        let read = |(index, rule): (usize, &PrivacyRule)| {
            let number = index + 1;
            if rule.fields.is_empty() && rule.patterns.is_empty() {
                return Err(PrivacyError::Empty(number));
            }
            let compile = |pattern: &String| {
                let compiled = RegexBuilder::new(pattern).size_limit(PATTERN_BYTES_MAX).build();
                compiled.map_err(|source| PrivacyError::Pattern {
                    rule: number,
                    pattern: pattern.clone(),
                    source,
                })
            };
            Ok(Rule {
                datasets: rule.datasets.clone(),
                senders: rule.senders.clone(),
                fields: rule.fields.clone(),
                patterns: rule.patterns.iter().map(compile).collect::<Result<_, _>>()?,
                action: rule.action,
            })
        };
        Ok(Privacy { rules: rules.iter().enumerate().map(read).collect::<Result<_, _>>()?, key })
    }

    /// Whether there is nothing to hide.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Applies the rules to all records from `first` on.
    pub(crate) fn apply(&self, records: &mut Records, first: usize) {
        let is_touched = |record: &RecordRef<'_>| self.rules.iter().any(|rule| rule.is_for(record));
        if self.is_empty() || !records.iter().skip(first).any(|record| is_touched(&record)) {
            return;
        }
        let mut kept = Records::new();
        for (index, record) in records.iter().enumerate() {
            if index < first || !is_touched(&record) {
                kept.push_record(record);
                continue;
            }
            let value = self.hidden(&record);
            let headers: Vec<(&str, &[u8])> = record.headers.iter().collect();
            kept.push(record.key, &headers, &value);
        }
        *records = kept;
    }

    /// What is left of a record.
    fn hidden<'v>(&self, record: &RecordRef<'v>) -> Cow<'v, [u8]> {
        let rules: Vec<&Rule> = self.rules.iter().filter(|rule| rule.is_for(record)).collect();
        let mut value = Cow::Borrowed(record.value);
        if rules.iter().any(|rule| !rule.fields.is_empty()) && is_document(&value) {
            let mut writer = Writer { privacy: self, rules: &rules, path: String::new() };
            let read = str::from_utf8(&value).ok().and_then(|text| writer.document(text, 0).ok());
            match read {
                Some(None) => {}
                Some(Some(text)) => value = Cow::Owned(text.into_bytes()),
                None => return withheld(value.len(), "can't be read as one"),
            }
        }
        for rule in rules {
            for pattern in &rule.patterns {
                if let Some(text) = self.replace(pattern, rule.action, &value) {
                    value = Cow::Owned(text);
                }
            }
        }
        if value.len() > record.value.len() + GROWTH_BYTES_MAX {
            return withheld(record.value.len(), "would become too long");
        }
        value
    }

    /// Hides what a pattern matches; none if it matches nothing.
    fn replace(&self, pattern: &Regex, action: Action, text: &[u8]) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        let mut copied = 0;
        for found in pattern.captures_iter(text) {
            let has_groups = found.iter().skip(1).any(|group| group.is_some());
            let parts = found.iter().skip(usize::from(has_groups)).flatten();
            for part in parts.take(if has_groups { usize::MAX } else { 1 }) {
                // A group within another one is hidden with it.
                if part.start() < copied || part.is_empty() {
                    continue;
                }
                out.extend_from_slice(text.get(copied..part.start()).unwrap_or_default());
                out.extend_from_slice(self.instead(action, part.as_bytes()).as_bytes());
                copied = part.end();
            }
        }
        if copied == 0 {
            return None;
        }
        out.extend_from_slice(text.get(copied..).unwrap_or_default());
        Some(out)
    }

    /// What stands in a value's place.
    fn instead(&self, action: Action, value: &[u8]) -> Cow<'static, str> {
        match action {
            Action::Drop => {
                count("drop");
                Cow::Borrowed("")
            }
            Action::Mask => {
                count("mask");
                Cow::Borrowed(MASK)
            }
            Action::Hash => {
                count("hash");
                let hash = blake3::keyed_hash(&self.key, value).to_hex();
                // 128 bits: no two values that anybody has share one.
                Cow::Owned(format!("{HASH}{}", hash.as_str().get(..32).unwrap_or_default()))
            }
        }
    }
}

impl Rule {
    fn is_for(&self, record: &RecordRef<'_>) -> bool {
        let of = |name| record.headers.get_str(name).unwrap_or_default();
        let is_its = |named: &[String], name: &str| {
            named.is_empty()
                || named.iter().any(|each| match each.strip_suffix('*') {
                    Some(start) => name.starts_with(start),
                    None => each == name,
                })
        };
        is_its(&self.datasets, of(DATASET)) && is_its(&self.senders, of(SENDER))
    }
}

/// What stands in the place of a record of so many bytes.
fn withheld<'v>(bytes: usize, why: &str) -> Cow<'v, [u8]> {
    count("withheld");
    let told = format!(
        "[withheld: a privacy rule hides fields of documents, and these {bytes} bytes {why}]"
    );
    Cow::Owned(told.into_bytes())
}

/// Whether a text means to be a JSON document, also behind a byte-order mark, which readers further
/// on may forgive.
fn is_document(value: &[u8]) -> bool {
    let value = value.trim_ascii_start();
    let value = value.strip_prefix(b"\xef\xbb\xbf").unwrap_or(value);
    matches!(value.trim_ascii_start().first(), Some(b'{' | b'['))
}

/// A document that can't be read.
struct Unreadable;

impl From<serde_json::Error> for Unreadable {
    fn from(_: serde_json::Error) -> Self {
        Unreadable
    }
}

/// Writes a document anew, where something in it is hidden.
struct Writer<'a> {
    privacy: &'a Privacy,
    rules: &'a [&'a Rule],
    /// The dotted name of the value that is looked at.
    path: String,
}

impl Writer<'_> {
    /// The text with its fields hidden; none if it has none of them.
    fn document(&mut self, text: &str, depth: usize) -> Result<Option<String>, Unreadable> {
        let value: &RawValue = serde_json::from_str(text.trim_ascii())?;
        self.value(value.get(), None, depth)
    }

    /// One value; `hide` if it is in a field that is hidden.
    fn value(
        &mut self,
        json: &str,
        hide: Option<Action>,
        depth: usize,
    ) -> Result<Option<String>, Unreadable> {
        if depth > DEPTH_MAX {
            return Err(Unreadable);
        }
        match json.as_bytes().first() {
            _ if hide == Some(Action::Drop) => {
                count("drop");
                Ok(Some("null".to_owned()))
            }
            Some(b'{') => {
                let Members(members) = serde_json::from_str(json)?;
                let mut edits = Vec::new();
                for (name, value) in members {
                    let before = self.path.len();
                    if before > 0 {
                        self.path.push('.');
                    }
                    self.path.push_str(&name);
                    let hide = hide.or_else(|| self.action());
                    let edited = self.value(value.get(), hide, depth + 1)?;
                    self.path.truncate(before);
                    edits.extend(edited.map(|text| (place(json, value), text)));
                }
                Ok(edit(json, edits))
            }
            Some(b'[') => {
                let values: Vec<&RawValue> = serde_json::from_str(json)?;
                let mut edits = Vec::new();
                for value in values {
                    let edited = self.value(value.get(), hide, depth + 1)?;
                    edits.extend(edited.map(|text| (place(json, value), text)));
                }
                Ok(edit(json, edits))
            }
            Some(b'"') => {
                let text: String = serde_json::from_str(json)?;
                match hide {
                    Some(action) => Ok(Some(self.instead(action, &text)?)),
                    // A document in a document: a line that a collector put into its own.
                    None if is_document(text.as_bytes()) => {
                        // Text that only looks like one is text.
                        let inner = self.document(&text, depth + 1).ok().flatten();
                        Ok(inner.map(|text| serde_json::to_string(&text)).transpose()?)
                    }
                    None => Ok(None),
                }
            }
            _ if json == "null" => Ok(None),
            _ => hide.map(|action| self.instead(action, json)).transpose(),
        }
    }

    fn instead(&self, action: Action, value: &str) -> Result<String, Unreadable> {
        Ok(serde_json::to_string(&self.privacy.instead(action, value.as_bytes()))?)
    }

    /// What is done with the field at the path, if something is.
    fn action(&self) -> Option<Action> {
        let path = &self.path;
        let is_it = |field: &String| {
            path.strip_suffix(field.as_str())
                .is_some_and(|before| before.is_empty() || before.ends_with('.'))
        };
        let rule = self.rules.iter().find(|rule| rule.fields.iter().any(is_it));
        rule.map(|rule| rule.action)
    }
}

/// Where in the text a value stands, which was read from it.
fn place(json: &str, value: &RawValue) -> Range<usize> {
    let start = value.get().as_ptr() as usize - json.as_ptr() as usize;
    start..start + value.get().len()
}

/// The text with parts replaced, which come in their order; none if there are none.
fn edit(json: &str, edits: Vec<(Range<usize>, String)>) -> Option<String> {
    if edits.is_empty() {
        return None;
    }
    let mut out = String::with_capacity(json.len());
    let mut copied = 0;
    for (part, text) in edits {
        out.push_str(json.get(copied..part.start).unwrap_or_default());
        out.push_str(&text);
        copied = part.end;
    }
    out.push_str(json.get(copied..).unwrap_or_default());
    Some(out)
}

/// The members of an object, also those of one name.
struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Vec<(Cow<'de, str>, &'de RawValue)>;

            fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                out.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
                let mut members = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, &RawValue>()? {
                    members.push((Cow::Owned(name), value));
                }
                Ok(members)
            }
        }
        from.deserialize_map(Read).map(Members)
    }
}

fn count(action: &str) {
    HIDDEN.with_label_values(&[action]).inc();
}

static HIDDEN: LazyLock<IntCounterVec> = LazyLock::new(|| {
    metrics::counters(
        "watchpost_privacy_hidden_total",
        "Values that privacy rules hid, by what was done (drop, mask, hash), and documents that were withheld whole.",
        &["action"],
    )
});

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rule(fields: &[&str], patterns: &[&str], action: Action) -> PrivacyRule {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        PrivacyRule {
            fields: owned(fields),
            patterns: owned(patterns),
            action,
            ..PrivacyRule::default()
        }
    }

    fn applied(rules: &[PrivacyRule], value: &str) -> String {
        let privacy = Privacy::new(rules, [7; 32]).unwrap();
        let mut records = Records::new();
        records.push(b"key", &[(DATASET, b"okta.system"), (SENDER, b"edge")], value.as_bytes());
        privacy.apply(&mut records, 0);
        let record = records.iter().next().unwrap();
        assert_eq!(
            (record.key, record.headers.get_str(DATASET)),
            (b"key".as_slice(), Some("okta.system"))
        );
        String::from_utf8(record.value.to_vec()).unwrap()
    }

    #[test]
    fn fields_are_hidden_at_any_depth() {
        let mask = [rule(&["actor.mail", "ip"], &[], Action::Mask)];
        assert_eq!(
            applied(
                &mask,
                r#"{ "a" : 1.50, "actor": {"mail": "ann@x.org", "id": 7},"ip":[ "1.2.3.4", 5 ], "zip":"9" }"#
            ),
            r#"{ "a" : 1.50, "actor": {"mail": "[masked]", "id": 7},"ip":[ "[masked]", "[masked]" ], "zip":"9" }"#
        );
        // Within an envelope, by a dotted name, in a text that is JSON, and twice.
        assert_eq!(
            applied(
                &mask,
                r#"{"event":{"actor.mail":"x","ip":null},"line":"{\"ip\":\"1.2.3.4\",\"n\":1}","ip":1,"ip":2}"#
            ),
            r#"{"event":{"actor.mail":"[masked]","ip":null},"line":"{\"ip\":\"[masked]\",\"n\":1}","ip":"[masked]","ip":"[masked]"}"#
        );
        let drop = [rule(&["actor"], &[], Action::Drop)];
        assert_eq!(
            applied(&drop, r#"[{"actor":{"mail":"x"}},{"factor":2}]"#),
            r#"[{"actor":null},{"factor":2}]"#
        );
        // Everything below a hidden field is hidden.
        let all = [rule(&["actor"], &[], Action::Mask)];
        assert_eq!(
            applied(&all, r#"{"actor":{"mail":"x","tags":[true]}}"#),
            r#"{"actor":{"mail":"[masked]","tags":["[masked]"]}}"#
        );
    }

    #[test]
    fn a_hash_finds_the_same_again() {
        let hash = [rule(&["user"], &["user=([a-z]+)"], Action::Hash)];
        let first = applied(&hash, r#"{"user":"ann"}"#);
        let token = first.split('"').nth(3).unwrap();
        assert!(token.starts_with("hash:") && token.len() == 37, "{token}");
        assert_eq!(applied(&hash, "login user=ann ok"), format!("login user={token} ok"));
        assert_ne!(applied(&hash, r#"{"user":"bob"}"#), first);
        let other = Privacy::new(&hash, [8; 32]).unwrap();
        assert_ne!(other.instead(Action::Hash, b"ann"), token);
    }

    #[test]
    fn patterns_hide_their_groups_or_all() {
        let all = [rule(&[], &[r"\b\d{4}-\d{4}\b"], Action::Mask)];
        assert_eq!(applied(&all, "card 1234-5678, 1111-2222."), "card [masked], [masked].");
        assert_eq!(applied(&all, "nothing"), "nothing");
        let groups = [rule(&[], &["(?:pin|code)=(\\d+)(;x(\\d))?"], Action::Drop)];
        assert_eq!(applied(&groups, "pin=12;x3 code=4"), "pin= code=");
    }

    #[test]
    fn rules_are_for_their_datasets_and_senders() {
        let mut one = rule(&["a"], &[], Action::Mask);
        one.datasets = vec!["okta.*".to_owned()];
        one.senders = vec!["edge".to_owned()];
        let record = r#"{"a":1}"#;
        assert_eq!(applied(std::slice::from_ref(&one), record), r#"{"a":"[masked]"}"#);
        one.senders = vec!["core".to_owned()];
        assert_eq!(applied(std::slice::from_ref(&one), record), record);
        one.senders.clear();
        one.datasets = vec!["okta".to_owned()];
        assert_eq!(applied(&[one], record), record);
    }

    #[test]
    fn what_cannot_be_read_is_withheld() {
        let mask = [rule(&["secret"], &[], Action::Mask)];
        for broken in [r#"{"secret":"x""#, "{'secret':1}", "[1,", " \u{feff} {\"secret\":1}"] {
            let left = applied(&mask, broken);
            assert!(left.starts_with("[withheld") && !left.contains("secret\""), "{left}");
        }
        let deep = format!("{}1{}", r#"{"a":"#.repeat(70), "}".repeat(70));
        assert!(applied(&mask, &deep).starts_with("[withheld"));
        let many = format!("{{\"secret\":[{}1]}}", "1,".repeat(60_000));
        assert!(applied(&mask, &many).starts_with("[withheld"));
        // A line is no document; patterns are for those.
        assert_eq!(applied(&mask, "secret=1"), "secret=1");
    }

    #[test]
    fn what_was_hidden_already_is_left() {
        let privacy = Privacy::new(&[rule(&["a"], &[], Action::Hash)], [7; 32]).unwrap();
        let mut records = Records::new();
        records.push(b"", &[], br#"{"a":1}"#);
        privacy.apply(&mut records, 0);
        let once: Vec<Vec<u8>> = records.iter().map(|record| record.value.to_vec()).collect();
        privacy.apply(&mut records, 1);
        let twice: Vec<Vec<u8>> = records.iter().map(|record| record.value.to_vec()).collect();
        assert_eq!(once, twice);
    }

    #[test]
    fn faults_are_told() {
        let error = |rules: &[PrivacyRule]| Privacy::new(rules, [0; 32]).unwrap_err().to_string();
        assert_eq!(
            error(&[PrivacyRule::default()]),
            "privacy rule 1 names neither fields nor patterns"
        );
        let wrong = rule(&[], &["("], Action::Mask);
        assert!(
            error(&[rule(&["a"], &[], Action::Mask), wrong])
                .starts_with("privacy rule 2, pattern `(`")
        );
        assert!(error(&vec![PrivacyRule::default(); 101]).contains("at most 100"));
    }

    fn json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(serde_json::Value::from),
            any::<i64>().prop_map(serde_json::Value::from),
            "[a-z\"\\\\{ ]{0,8}".prop_map(serde_json::Value::from),
            Just(serde_json::Value::from("needle")),
        ];
        leaf.prop_recursive(4, 40, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(serde_json::Value::from),
                prop::collection::btree_map("[a-c]|secret|secret\\.a", inner, 0..4)
                    .prop_map(serde_json::Value::from_iter),
            ]
        })
    }

    /// The same, plainly.
    fn plain(value: &serde_json::Value, path: &str, hide: bool) -> serde_json::Value {
        use serde_json::Value as Json;
        match value {
            Json::Object(members) => members
                .iter()
                .map(|(name, value)| {
                    let path =
                        if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                    let is_it = path == "secret" || path.ends_with(".secret");
                    (name.clone(), plain(value, &path, hide || is_it))
                })
                .collect(),
            Json::Array(values) => values.iter().map(|value| plain(value, path, hide)).collect(),
            Json::Null => Json::Null,
            _ if hide => Json::from(MASK),
            other => other.clone(),
        }
    }

    proptest! {
        #[test]
        fn documents_are_hidden_as_plainly(value in json()) {
            let text = serde_json::json!({ "x": value }).to_string();
            let left = applied(&[rule(&["secret"], &[], Action::Mask)], &text);
            let expected = plain(&serde_json::from_str(&text).unwrap(), "", false);
            prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&left).unwrap(), expected);
        }

        #[test]
        fn any_text_is_taken(text in "\\PC{0,60}", pattern in "[a-z(|)*.]{0,6}") {
            let rules = [rule(&["a"], &[&pattern], Action::Hash)];
            if let Ok(privacy) = Privacy::new(&rules, [1; 32]) {
                let mut records = Records::new();
                records.push(b"", &[], text.as_bytes());
                privacy.apply(&mut records, 0);
                prop_assert_eq!(records.len(), 1);
            }
        }
    }
}
