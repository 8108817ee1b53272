//! How well real logs become events with the sources that come with Watchpost: whether a record has
//! its dataset, category, time and Sigma class, and values of their ECS types.
//!
//! Skipped without the data, as `real_data.rs`. The figures are printed (`--nocapture`).

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use event::ecs::{Type, field_type};
use event::{Event, Logsource, RawRecord, Timestamp, Value};
use mapping::Mappings;
use normalize::{MISSING_TIME, Normalizer, Options, UNPARSED};

const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data");

fn data(path: &str) -> Option<PathBuf> {
    let path = Path::new(DATA).join(path);
    if path.exists() {
        return Some(path);
    }
    let needed = std::env::var_os("WATCHPOST_TEST_NEEDS_ALL").is_some();
    assert!(!needed, "{} is missing", path.display());
    eprintln!("skipped: {} is not there", path.display());
    None
}

/// What came of the records of one kind.
#[derive(Debug, Default)]
struct Figures {
    records: u32,
    complete: u32,
    /// What records lack, and how many.
    lacks: BTreeMap<String, u32>,
    /// Values that are not of their field's type.
    wrong: BTreeMap<String, u32>,
}

impl Figures {
    fn count(&mut self, event: &Event, timed: bool) {
        self.records += 1;
        let tagged = |tag: &str| event.values("tags").any(|value| value.as_str() == Some(tag));
        let dataset = event.str("event.dataset").unwrap_or_default();
        let class = Logsource::of(event);
        let lacks = [
            ("parsing", tagged(UNPARSED)),
            ("dataset", matches!(dataset, "" | "unknown")),
            ("category", event.get("event.category").is_none()),
            ("time", timed && tagged(MISSING_TIME)),
            (
                "class",
                class.product.is_none() && class.service.is_none() && class.category.is_none(),
            ),
        ];
        for (what, _) in lacks.iter().filter(|(_, lacks)| *lacks) {
            let example = event.str("event.action").or(event.str("event.code")).unwrap_or("-");
            *self.lacks.entry(format!("{what} ({dataset} {example})")).or_default() += 1;
        }
        self.complete += u32::from(lacks.iter().all(|(_, lacks)| !lacks));
        for (_, name, value) in event.fields() {
            if !fits(name, value) {
                *self.wrong.entry(format!("{name} = {value:?}")).or_default() += 1;
            }
        }
    }

    fn share(&self) -> f64 {
        f64::from(self.complete) / f64::from(self.records.max(1))
    }

    fn check(&self, name: &str) -> Vec<String> {
        let lacks: Vec<_> = {
            let mut all: Vec<_> = self.lacks.iter().collect();
            all.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
            all.into_iter().take(8).collect()
        };
        eprintln!(
            "{name}: {} of {} complete ({:.1} %), {lacks:?}",
            self.complete,
            self.records,
            self.share() * 100.0
        );
        let mut faults = Vec::new();
        if self.share() < 0.95 {
            faults.push(format!(
                "{name}: only {:.1} % are complete: {lacks:?}",
                self.share() * 100.0
            ));
        }
        if !self.wrong.is_empty() {
            let wrong: Vec<_> = self.wrong.iter().take(10).collect();
            faults.push(format!("{name}: values of a wrong type: {wrong:?}"));
        }
        faults
    }
}

/// Whether a value is of its field's type; fields that ECS does not know may have any.
fn fits(name: &str, value: Value<'_>) -> bool {
    let Some(wanted) = field_type(name) else { return true };
    match (wanted, value) {
        (_, Value::Null) => true,
        (Type::Keyword | Type::Text | Type::Wildcard, Value::Text(_)) => true,
        (Type::Ip, Value::Text(text)) => text.parse::<IpAddr>().is_ok(),
        (Type::Long, Value::Int(_) | Value::Uint(_)) => true,
        (Type::Float, Value::Int(_) | Value::Uint(_) | Value::Float(_)) => true,
        (Type::Date, Value::Text(text)) => Timestamp::parse_rfc3339(text).is_some(),
        (Type::Boolean, Value::Bool(_)) => true,
        _ => false,
    }
}

struct Reader(Normalizer);

impl Reader {
    fn new() -> Reader {
        let files = detections::sources().map(|file| (file.path, file.text));
        let (mappings, faults) = Mappings::load(files);
        assert!(faults.is_empty(), "{faults:?}");
        let mappings = Arc::new(mappings);
        Reader(Normalizer::new(Options { mappings, ..Options::default() }))
    }

    /// `timed` if the record has a time to be found.
    fn read(&mut self, payload: &[u8], dataset: &str, timed: bool, figures: &mut Figures) {
        let received = Timestamp::parse_rfc3339("2026-11-24T12:00:00Z").unwrap();
        let raw = RawRecord { dataset, ..RawRecord::new(payload, received) };
        let mut originals = 0;
        self.0
            .normalize(&raw, None, &mut |event| {
                let original = event.str("event.original").unwrap_or_default();
                let payload = String::from_utf8_lossy(payload.trim_ascii());
                assert!(payload.contains(original) && !original.is_empty(), "{payload}");
                originals += original.len();
                figures.count(event, timed);
            })
            .unwrap();
        // All of it, but for what stands around the records of a document that holds several.
        assert!(originals * 10 >= payload.trim_ascii().len() * 9, "something of it is lost");
    }
}

fn lines(path: &Path) -> impl Iterator<Item = Vec<u8>> {
    let file = std::fs::File::open(path).unwrap();
    let is_packed = path.extension().is_some_and(|extension| extension == "zst");
    let reader: Box<dyn BufRead> = match is_packed {
        true => Box::new(BufReader::new(zstd::Decoder::new(file).unwrap())),
        false => Box::new(BufReader::new(file)),
    };
    reader.split(b'\n').map(Result::unwrap).filter(|line| !line.trim_ascii().is_empty())
}

/// The log types that a source is there for, and what their senders call them. The samples were
/// written for the tests of a data lake: many are parts of records, with few fields, without a time
/// or with the lake's names, so that nothing but the sender's word tells what they are.
const SAAS: [(&str, &str); 21] = [
    ("AWS.CloudTrail", "aws.cloudtrail"),
    ("AWS.GuardDuty", "aws.guardduty"),
    ("AWS.VPCDns", ""),
    ("AWS.VPCFlow", "aws.vpcflow_json"),
    ("AWS.WAFWebACL", "aws.waf"),
    ("Amazon.EKS.Audit", "kubernetes.audit"),
    ("Azure.Audit", ""),
    ("Azure.MonitorActivity", ""),
    ("Crowdstrike.DNSRequest", "crowdstrike.fdr"),
    ("Crowdstrike.DetectionSummary", "crowdstrike.falcon"),
    ("Crowdstrike.FDREvent", ""),
    ("GCP.AuditLog", "gcp.audit"),
    ("GSuite.ActivityEvent", "google_workspace.activity"),
    ("GitHub.Audit", "github.audit"),
    ("Microsoft365.Audit.AzureActiveDirectory", ""),
    ("Microsoft365.Audit.Exchange", ""),
    ("Microsoft365.Audit.SharePoint", ""),
    ("Okta.SystemLog", "okta.system"),
    ("Osquery.Differential", "osquery.result"),
    ("Slack.AuditLogs", "slack.audit"),
    ("Windows.EventLogs", ""),
];

/// Whether a record has anything that could be its time.
fn has_time(value: &serde_json::Value) -> bool {
    use serde_json::Value as Json;
    match value {
        Json::String(text) => {
            let text = text.replacen(' ', "T", 1);
            Timestamp::parse_rfc3339(&text).is_some()
                || Timestamp::parse_rfc3339(&format!("{text}Z")).is_some()
        }
        Json::Number(number) => number.as_f64().is_some_and(|number| {
            let seconds = 1_300_000_000.0..2_000_000_000.0;
            seconds.contains(&number) || seconds.contains(&(number / 1000.0))
        }),
        Json::Array(values) => values.iter().any(has_time),
        Json::Object(members) => members.values().any(has_time),
        _ => false,
    }
}

#[test]
fn records_of_cloud_services_are_complete() {
    let Some(path) = data("saas-samples/samples.jsonl.zst") else { return };
    let (mut named, mut alone) = (BTreeMap::new(), BTreeMap::<&str, Figures>::new());
    let mut reader = Reader::new();
    for line in lines(&path) {
        let sample: serde_json::Value = serde_json::from_slice(&line).unwrap();
        let log = sample["log"].to_string();
        let known = SAAS.iter().find(|(name, _)| *name == sample["log_type"]);
        let Some((name, dataset)) = known else { continue };
        let timed = has_time(&sample["log"]);
        reader.read(log.as_bytes(), dataset, timed, named.entry(*name).or_default());
        reader.read(log.as_bytes(), "", timed, alone.entry(name).or_default());
    }
    for (name, figures) in &alone {
        figures.check(&format!("{name}, found out"));
    }
    let faults: Vec<String> =
        named.iter().flat_map(|(name, figures): (&&str, &Figures)| figures.check(name)).collect();
    assert!(faults.is_empty(), "{faults:#?}");
}

#[test]
fn records_of_hosts_are_complete() {
    let mut faults = Vec::new();
    let mut check = |name: &str, files: &[PathBuf], each_max: usize| {
        let mut reader = Reader::new();
        let mut figures = Figures::default();
        for line in files.iter().flat_map(|file| lines(file).take(each_max)) {
            reader.read(&line, "", true, &mut figures);
        }
        faults.extend(figures.check(name));
    };
    for name in ["Linux", "OpenSSH", "Apache"] {
        let Some(path) = data(&format!("loghub/{name}_2k.log")) else { return };
        check(name, &[path], usize::MAX);
    }
    let Some(evtx) = data("evtx/evtx-attack.jsonl.zst") else { return };
    check("evtx", &[evtx], usize::MAX);
    // The recordings repeat themselves, and are large.
    for (folder, each_max) in [("cloudtrail", usize::MAX), ("mordor", 1_000)] {
        let Some(at) = data(folder) else { return };
        let mut files: Vec<PathBuf> =
            std::fs::read_dir(at).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.retain(|path| path.extension().is_some_and(|extension| extension == "zst"));
        files.sort();
        check(folder, &files, each_max);
    }
    assert!(faults.is_empty(), "{faults:#?}");
}
