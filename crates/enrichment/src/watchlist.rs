//! The operator's own tables: assets and how critical they are, people and their departments, known
//! bad addresses, vulnerabilities of hosts, approved windows of change.
//!
//! A table is a CSV file with a line of column names, a JSON list of objects, or NDJSON. One column
//! is the key; what its rows say goes onto every event in which a field has that key. Rows may hold
//! for a time only, and many rows may have one key.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use event::{Event, Timestamp, Value};
use foldhash::fast::RandomState;
use ipnet::IpNet;
use serde::Deserialize;
use serde_json::{Map, Value as Json};

use crate::cache::Fact;
use crate::{Error, count, read_file};

/// The most rows of a table.
pub const ROWS_MAX: usize = 1_000_000;

/// The most columns of a table.
const COLUMNS_MAX: usize = 256;

/// The longest row, in bytes of its values.
pub const ROW_BYTES_MAX: usize = 64 * 1024;

/// The most rows of one table that go onto one event; the others are left out and counted.
const ROWS_PER_EVENT_MAX: usize = 100;

/// A table, as the configuration names it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WatchlistSettings {
    /// Its name; without `fields`, what it says goes to `watchlist.<name>.<column>`.
    pub name: String,
    /// The file: `.csv`, `.json`, `.ndjson` or `.jsonl`.
    pub file: PathBuf,
    /// The column of the key.
    pub key: String,
    /// What the keys are.
    #[serde(default)]
    pub kind: KeyKind,
    /// The fields of events that are looked up.
    #[serde(rename = "match")]
    pub fields_matched: Vec<String>,
    /// Which columns are told, and under which names. Empty: all, below `watchlist.<name>.`.
    #[serde(default)]
    pub fields: std::collections::BTreeMap<String, String>,
    /// The column with the time from which a row holds, in RFC 3339; empty in a row that always did.
    #[serde(default)]
    pub from: Option<String>,
    /// The column with the time from which it does not any more.
    #[serde(default)]
    pub until: Option<String>,
}

/// What the keys of a table are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyKind {
    /// Text, in capital letters or not.
    #[default]
    Text,
    /// Addresses and networks (`10.1.0.0/16`); the smallest network that holds an address counts.
    Network,
}

#[derive(Debug)]
struct Row {
    /// By the column's place in [`Watchlist::columns`].
    values: Vec<(u16, Fact)>,
    from: Option<Timestamp>,
    until: Option<Timestamp>,
}

/// A table in memory.
#[derive(Debug)]
pub struct Watchlist {
    name: String,
    matched: Vec<String>,
    /// The fields of events that columns go to.
    columns: Vec<String>,
    rows: Vec<Row>,
    by_text: HashMap<Box<str>, Vec<u32>, RandomState>,
    by_network: HashMap<IpNet, Vec<u32>, RandomState>,
    /// The lengths of prefixes that occur, longest first, for IPv4 and IPv6.
    lengths: [Vec<u8>; 2],
}

impl Watchlist {
    pub(crate) fn load(settings: &WatchlistSettings) -> Result<Watchlist, Error> {
        let path = &settings.file;
        let bytes = read_file(path)?;
        let mut list = Builder::new(settings)?;
        let extension = path.extension().and_then(|extension| extension.to_str());
        match extension.unwrap_or_default().to_ascii_lowercase().as_str() {
            "csv" => list.read_csv(&bytes)?,
            "json" => list.read_json(&bytes)?,
            "ndjson" | "jsonl" => list.read_lines(&bytes)?,
            _ => return Err(fault(path, 0, "the name must end in .csv, .json, .ndjson or .jsonl")),
        }
        Ok(list.finish())
    }

    /// Adds what the table says of the event's fields.
    pub(crate) fn apply(&self, event: &mut Event, key: &mut String) {
        let mut time = None;
        let mut told = 0;
        for field in &self.matched {
            let mut found = Vec::new();
            for value in event.values(field) {
                if let Some(rows) = self.rows_of(value, key) {
                    found.extend_from_slice(rows);
                }
            }
            for row in found.iter().filter_map(|at| self.rows.get(*at as usize)) {
                if row.from.is_some() || row.until.is_some() {
                    let now = *time.get_or_insert_with(|| event.timestamp());
                    let is_past = |limit: Timestamp| now.is_some_and(|now| now >= limit);
                    if !row.from.is_none_or(is_past) || row.until.is_some_and(is_past) {
                        continue;
                    }
                }
                told += 1;
                if told > ROWS_PER_EVENT_MAX {
                    crate::LOOKUPS.with_label_values(&[self.name.as_str(), "left_out"]).inc();
                    continue;
                }
                for (column, fact) in &row.values {
                    let Some(name) = self.columns.get(usize::from(*column)) else { continue };
                    // One value is a value, several are a list; the same is said once.
                    let value = fact.value();
                    if !event.values(name).any(|known| known == value) {
                        event.add(name, value);
                    }
                }
            }
        }
        count(&self.name, told > 0);
    }

    fn rows_of(&self, value: Value<'_>, key: &mut String) -> Option<&[u32]> {
        key.clear();
        let mut buffer = String::new();
        let text = value.text(&mut buffer)?;
        if self.by_network.is_empty() {
            key.push_str(text);
            key.make_ascii_lowercase();
            return self.by_text.get(key.as_str()).map(Vec::as_slice);
        }
        let address = text.parse::<IpAddr>().ok()?.to_canonical();
        let lengths = &self.lengths[usize::from(address.is_ipv6())];
        lengths.iter().find_map(|length| {
            let network = IpNet::new(address, *length).ok()?.trunc();
            self.by_network.get(&network).map(Vec::as_slice)
        })
    }
}

struct Builder<'a> {
    settings: &'a WatchlistSettings,
    list: Watchlist,
    /// Where a column's values go, by its name.
    places: HashMap<String, u16>,
    keyless: u64,
}

impl<'a> Builder<'a> {
    fn new(settings: &'a WatchlistSettings) -> Result<Builder<'a>, Error> {
        let faulty = |problem: &str| Err(fault(&settings.file, 0, problem));
        if settings.name.is_empty() || settings.name.contains(['.', ' ']) {
            return faulty("a watchlist needs a name, of one word without dots");
        }
        if settings.fields_matched.is_empty() {
            return faulty("`match` must name the fields of events that are looked up");
        }
        let list = Watchlist {
            name: settings.name.clone(),
            matched: settings.fields_matched.clone(),
            columns: Vec::new(),
            rows: Vec::new(),
            by_text: HashMap::default(),
            by_network: HashMap::default(),
            lengths: [Vec::new(), Vec::new()],
        };
        Ok(Builder { settings, list, places: HashMap::new(), keyless: 0 })
    }

    fn fault(&self, line: u64, problem: impl Into<String>) -> Error {
        fault(&self.settings.file, line, problem)
    }

    fn read_csv(&mut self, bytes: &[u8]) -> Result<(), Error> {
        // Spreadsheets begin their files with a mark.
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(bytes);
        let line_of = |error: &csv::Error| error.position().map_or(0, csv::Position::line);
        let names = match reader.headers() {
            Ok(names) => names.clone(),
            Err(error) => return Err(self.fault(line_of(&error), error.to_string())),
        };
        self.check_columns(names.iter())?;
        let mut record = csv::StringRecord::new();
        loop {
            match reader.read_record(&mut record) {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                Err(error) => return Err(self.fault(line_of(&error), error.to_string())),
            }
            let line = record.position().map_or(0, csv::Position::line);
            let cells = names.iter().zip(record.iter());
            self.add(line, cells.map(|(name, cell)| (name, Fact::from(cell))))?;
        }
    }

    /// Whether the columns that the settings name are there.
    fn check_columns<'n>(&self, names: impl Iterator<Item = &'n str>) -> Result<(), Error> {
        let names: Vec<&str> = names.collect();
        let settings = self.settings;
        let named = [&settings.key].into_iter().chain(&settings.from).chain(&settings.until);
        for column in named.chain(settings.fields.keys()) {
            if !names.contains(&column.as_str()) {
                let there = names.join(", ");
                return Err(
                    self.fault(1, format!("there is no column `{column}`; there are {there}"))
                );
            }
        }
        Ok(())
    }

    fn read_json(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let rows: Vec<Map<String, Json>> = serde_json::from_slice(bytes).map_err(|error| {
            let problem = format!("not a list of objects: {error}");
            self.fault(error.line() as u64, problem)
        })?;
        for (index, row) in rows.into_iter().enumerate() {
            self.add_object(index as u64 + 1, row)?;
        }
        Ok(())
    }

    fn read_lines(&mut self, bytes: &[u8]) -> Result<(), Error> {
        for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
            if line.trim_ascii().is_empty() {
                continue;
            }
            let row = serde_json::from_slice(line)
                .map_err(|error| self.fault(index as u64 + 1, format!("not an object: {error}")))?;
            self.add_object(index as u64 + 1, row)?;
        }
        Ok(())
    }

    fn add_object(&mut self, line: u64, row: Map<String, Json>) -> Result<(), Error> {
        let mut cells = Vec::new();
        for (name, value) in &row {
            let values = match value {
                Json::Array(values) => values.as_slice(),
                other => std::slice::from_ref(other),
            };
            for value in values {
                let fact = match value {
                    Json::Null => continue,
                    Json::Bool(is_so) => Fact::Bool(*is_so),
                    Json::String(text) => text.as_str().into(),
                    Json::Number(number) => match number.as_i64() {
                        Some(number) => Fact::Int(number),
                        None => Fact::Float(number.as_f64().unwrap_or_default()),
                    },
                    Json::Array(_) | Json::Object(_) => value.to_string().as_str().into(),
                };
                cells.push((name.as_str(), fact));
            }
        }
        self.add(line, cells.into_iter())
    }

    fn add<'n>(
        &mut self,
        line: u64,
        cells: impl Iterator<Item = (&'n str, Fact)>,
    ) -> Result<(), Error> {
        if self.list.rows.len() == ROWS_MAX {
            return Err(self.fault(line, format!("more than {ROWS_MAX} rows")));
        }
        let settings = self.settings;
        let mut keys = Vec::new();
        let mut row = Row { values: Vec::new(), from: None, until: None };
        let mut bytes = 0;
        for (name, fact) in cells {
            let text = fact.to_text();
            bytes += text.len();
            if text.is_empty() {
                continue;
            }
            if bytes > ROW_BYTES_MAX {
                return Err(self.fault(line, format!("a row of more than {ROW_BYTES_MAX} bytes")));
            }
            let is = |column: &Option<String>| column.as_deref() == Some(name);
            if name == settings.key {
                keys.push(text);
            } else if is(&settings.from) {
                row.from = Some(self.time(line, name, &text)?);
            } else if is(&settings.until) {
                row.until = Some(self.time(line, name, &text)?);
            }
            if let Some(place) = self.place(line, name)? {
                row.values.push((place, fact));
            }
        }
        if keys.is_empty() {
            self.keyless += 1;
            return Ok(());
        }
        let at = self.list.rows.len() as u32;
        self.list.rows.push(row);
        for key in keys {
            self.add_key(line, &key, at)?;
        }
        Ok(())
    }

    fn add_key(&mut self, line: u64, key: &str, row: u32) -> Result<(), Error> {
        match self.settings.kind {
            KeyKind::Text => {
                let key = key.to_ascii_lowercase().into_boxed_str();
                self.list.by_text.entry(key).or_default().push(row);
            }
            KeyKind::Network => {
                let address = || key.parse::<IpAddr>().map(|ip| IpNet::from(ip.to_canonical()));
                let Ok(network) = key.parse::<IpNet>().or_else(|_| address()) else {
                    let problem = format!("`{key}` is no address and no network (10.1.0.0/16)");
                    return Err(self.fault(line, problem));
                };
                self.list.by_network.entry(network.trunc()).or_default().push(row);
            }
        }
        Ok(())
    }

    fn time(&self, line: u64, column: &str, text: &str) -> Result<Timestamp, Error> {
        Timestamp::parse_rfc3339(text).ok_or_else(|| {
            let meant = "such as 2026-11-24T22:00:00Z";
            self.fault(line, format!("`{text}` in column `{column}` is no time {meant}"))
        })
    }

    /// Where a column's values go; none if they are not told.
    fn place(&mut self, line: u64, name: &str) -> Result<Option<u16>, Error> {
        let settings = self.settings;
        let field = if let Some(field) = settings.fields.get(name) {
            field.clone()
        } else if settings.fields.is_empty() && name != settings.key {
            format!("watchlist.{}.{name}", settings.name)
        } else {
            return Ok(None);
        };
        if let Some(place) = self.places.get(name) {
            return Ok(Some(*place));
        }
        if self.list.columns.len() == COLUMNS_MAX {
            return Err(self.fault(line, format!("more than {COLUMNS_MAX} columns")));
        }
        let place = self.list.columns.len() as u16;
        self.list.columns.push(field);
        self.places.insert(name.to_owned(), place);
        Ok(Some(place))
    }

    fn finish(self) -> Watchlist {
        let Builder { settings, mut list, keyless, .. } = self;
        if keyless > 0 {
            tracing::warn!(
                watchlist = settings.name,
                rows = keyless,
                column = settings.key,
                "rows without a key are left out"
            );
        }
        for network in list.by_network.keys() {
            let lengths = &mut list.lengths[usize::from(network.addr().is_ipv6())];
            if !lengths.contains(&network.prefix_len()) {
                lengths.push(network.prefix_len());
            }
        }
        for lengths in &mut list.lengths {
            lengths.sort_unstable_by(|a, b| b.cmp(a));
        }
        list
    }
}

fn fault(path: &Path, line: u64, problem: impl Into<String>) -> Error {
    Error::Watchlist { path: path.to_owned(), line, problem: problem.into() }
}

#[cfg(test)]
mod tests {
    use event::Event;
    use proptest::prelude::*;

    use super::{KeyKind, Watchlist, WatchlistSettings};

    fn settings(folder: &tempfile::TempDir, name: &str, text: &str) -> WatchlistSettings {
        let file = folder.path().join(name);
        std::fs::write(&file, text).unwrap();
        WatchlistSettings {
            name: "assets".to_owned(),
            file,
            key: "host".to_owned(),
            kind: KeyKind::Text,
            fields_matched: vec!["host.name".to_owned(), "host.hostname".to_owned()],
            fields: [].into(),
            from: None,
            until: None,
        }
    }

    fn applied(list: &Watchlist, json: &str) -> String {
        let mut event = Event::new();
        event.parse_json(json.as_bytes()).unwrap();
        list.apply(&mut event, &mut String::new());
        event.to_json()
    }

    #[test]
    fn what_a_table_says_goes_onto_events_of_its_keys() {
        let folder = tempfile::tempdir().unwrap();
        let csv = "\u{feff}host, owner ,criticality\nDC01,\"Doe, Jo\",high\nweb1,,low\nDC01,Ops,high\n,x,y\n";
        let list = Watchlist::load(&settings(&folder, "a.csv", csv)).unwrap();
        assert_eq!(
            applied(&list, r#"{"host":{"name":"dc01"}}"#),
            r#"{"host":{"name":"dc01"},"watchlist":{"assets":{"criticality":"high","owner":["Doe, Jo","Ops"]}}}"#
        );
        assert_eq!(
            applied(&list, r#"{"host":{"hostname":"web1"}}"#),
            r#"{"host":{"hostname":"web1"},"watchlist":{"assets":{"criticality":"low"}}}"#
        );
        assert_eq!(applied(&list, r#"{"host":{"name":"db"}}"#), r#"{"host":{"name":"db"}}"#);
    }

    #[test]
    fn columns_are_chosen_and_named() {
        let folder = tempfile::tempdir().unwrap();
        let lines = "{\"host\":\"a\",\"cve\":[\"CVE-1\",\"CVE-2\"],\"score\":9.8,\"x\":1}\n\n{\"host\":\"a\",\"cve\":\"CVE-2\"}";
        let mut settings = settings(&folder, "v.ndjson", lines);
        settings.fields = [("cve".to_owned(), "host.vulnerabilities".to_owned())].into();
        let list = Watchlist::load(&settings).unwrap();
        assert_eq!(
            applied(&list, r#"{"host":{"name":"a"}}"#),
            r#"{"host":{"name":"a","vulnerabilities":["CVE-1","CVE-2"]}}"#
        );
    }

    #[test]
    fn the_smallest_network_counts() {
        let folder = tempfile::tempdir().unwrap();
        let json = r#"[{"host":"10.0.0.0/8","zone":"inside"},{"host":"10.1.0.0/16","zone":"dmz"},{"host":"10.1.2.3","zone":"proxy"},{"host":"2001:db8::/32","zone":"six"}]"#;
        let mut settings = settings(&folder, "n.json", json);
        settings.kind = KeyKind::Network;
        settings.fields_matched = vec!["source.ip".to_owned()];
        let list = Watchlist::load(&settings).unwrap();
        let zone = |ip: &str| {
            let json = applied(&list, &format!(r#"{{"source":{{"ip":"{ip}"}}}}"#));
            json.split("zone\":\"").nth(1).map(|rest| rest.split('"').next().unwrap().to_owned())
        };
        assert_eq!(zone("10.9.9.9").as_deref(), Some("inside"));
        assert_eq!(zone("10.1.9.9").as_deref(), Some("dmz"));
        assert_eq!(zone("10.1.2.3").as_deref(), Some("proxy"));
        assert_eq!(zone("2001:db8:1::1").as_deref(), Some("six"));
        assert_eq!(zone("::ffff:10.9.9.9").as_deref(), Some("inside"));
        assert_eq!(zone("192.0.2.1"), None);
    }

    #[test]
    fn a_window_of_change_holds_within_its_times() {
        let folder = tempfile::tempdir().unwrap();
        let csv = "host,start,end,change\na,2026-11-24T22:00:00Z,2026-11-25T02:00:00Z,CHG-7\n";
        let mut settings = settings(&folder, "c.csv", csv);
        settings.from = Some("start".to_owned());
        settings.until = Some("end".to_owned());
        settings.fields = [("change".to_owned(), "change.id".to_owned())].into();
        let list = Watchlist::load(&settings).unwrap();
        let is_told = |time: &str| {
            let json = format!(r#"{{"@timestamp":"{time}","host":{{"name":"a"}}}}"#);
            applied(&list, &json).contains("CHG-7")
        };
        assert!(!is_told("2026-11-24T21:59:59Z"));
        assert!(is_told("2026-11-24T22:00:00Z"));
        assert!(is_told("2026-11-25T01:59:59Z"));
        assert!(!is_told("2026-11-25T02:00:00Z"));
    }

    #[test]
    fn faults_are_told_with_their_lines() {
        let folder = tempfile::tempdir().unwrap();
        let told = |name: &str, text: &str, change: &dyn Fn(&mut WatchlistSettings)| {
            let mut settings = settings(&folder, name, text);
            change(&mut settings);
            let error = Watchlist::load(&settings).unwrap_err().to_string();
            error.split_once(name).unwrap().1.to_owned()
        };
        assert_eq!(
            told("k.csv", "name,owner\na,b\n", &|_| {}),
            ":1: there is no column `host`; there are name, owner"
        );
        assert!(told("l.csv", "host,owner\na,b\nc\n", &|_| {}).starts_with(":3: "));
        assert_eq!(
            told("n.csv", "host\n10.0.0.0/8\nten\n", &|s| s.kind = KeyKind::Network),
            ":3: `ten` is no address and no network (10.1.0.0/16)"
        );
        let timed = &|s: &mut WatchlistSettings| s.from = Some("from".to_owned());
        assert_eq!(
            told("t.csv", "host,from\na,yesterday\n", timed),
            ":2: `yesterday` in column `from` is no time such as 2026-11-24T22:00:00Z"
        );
        assert!(told("o.json", "{}", &|_| {}).contains("not a list of objects"));
        assert!(told("o.txt", "", &|_| {}).contains("must end in"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_table_or_a_fault(
            bytes in prop::collection::vec(any::<u8>(), 0..200), kind in 0..3usize,
        ) {
            let folder = tempfile::tempdir().unwrap();
            let name = ["x.csv", "x.json", "x.ndjson"][kind];
            let settings = settings(&folder, name, "");
            std::fs::write(&settings.file, bytes).unwrap();
            drop(Watchlist::load(&settings));
        }
    }
}
