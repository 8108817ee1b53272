//! What is exported is what the query finds, in each format, also over many pages.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::io::Write;

use event::{Event, Timestamp};
use export::{Export, ExportError, Format, Request};
use indexing::{Cancel, Document, Index, Kind, Kinds, Options};
use parquet::file::reader::{FileReader, SerializedFileReader};
use query::TimeRange;
use serde_json::{Value, json};

const START_MILLIS: i64 = 1_785_900_000_000;

fn indexed(dir: &std::path::Path, events: impl Iterator<Item = Value>) -> Index {
    let index = Index::open(dir, Options { threads: 1, ..Options::default() }).unwrap();
    let mut writer = index.writer("log").unwrap();
    for json in events {
        let mut event = Event::new();
        event.parse_json(json.to_string().as_bytes()).unwrap();
        let (time, json) = (event.timestamp().unwrap(), event.to_json().into_bytes());
        writer.add(Document { kind: Kind::Events, time, event, json, position: None });
    }
    writer.commit().unwrap();
    index
}

fn few() -> impl Iterator<Item = Value> {
    (0..3i64).map(|n| {
        json!({
            "@timestamp": Timestamp::from_millis(START_MILLIS + n).to_string(),
            "event.id": format!("e{n}"),
            "process.pid": n,
            "host.ip": if n == 1 { json!(["10.0.0.1", "10.0.0.2"]) } else { json!("10.0.0.3") },
            "user.name": if n == 2 { json!("a \"b\", c\nd") } else { Value::Null },
            "event.risk_score": n as f64 / 2.0,
        })
    })
}

fn request(query: &str, format: Format) -> Request {
    Request {
        query: query::parse(query).unwrap(),
        kinds: Kinds::Events,
        range: TimeRange::ALL,
        format,
        cancel: Cancel::default(),
    }
}

fn written(index: &Index, request: Request) -> Vec<u8> {
    let mut out = Vec::new();
    let rows = Export::begin(index, request).unwrap().write(&mut out).unwrap();
    assert!(rows > 0, "nothing was written");
    out
}

fn text(index: &Index, request: Request) -> String {
    String::from_utf8(written(index, request)).unwrap()
}

#[test]
fn each_format_has_the_rows_newest_first() {
    let dir = tempfile::tempdir().unwrap();
    let index = indexed(dir.path(), few());
    let fields = "* | fields @timestamp, process.pid, host.ip, user.name, nothing";
    insta::assert_snapshot!(text(&index, request("process.pid > 0", Format::Ndjson)), @r#"
    {"@timestamp":"2026-08-05T03:20:00.002Z","event":{"id":"e2","risk_score":1.0},"host":{"ip":"10.0.0.3"},"process":{"pid":2},"user":{"name":"a \"b\", c\nd"}}
    {"@timestamp":"2026-08-05T03:20:00.001Z","event":{"id":"e1","risk_score":0.5},"host":{"ip":["10.0.0.1","10.0.0.2"]},"process":{"pid":1},"user":{"name":null}}
    "#);
    insta::assert_snapshot!(text(&index, request(fields, Format::Ndjson)), @r#"
    {"@timestamp":"2026-08-05T03:20:00.002Z","process.pid":2,"host.ip":"10.0.0.3","user.name":"a \"b\", c\nd"}
    {"@timestamp":"2026-08-05T03:20:00.001Z","process.pid":1,"host.ip":["10.0.0.1","10.0.0.2"]}
    {"@timestamp":"2026-08-05T03:20:00Z","process.pid":0,"host.ip":"10.0.0.3"}
    "#);
    insta::assert_snapshot!(text(&index, request(fields, Format::Csv)), @r#"
    @timestamp,process.pid,host.ip,user.name,nothing
    2026-08-05T03:20:00.002Z,2,10.0.0.3,"a ""b"", c
    d",
    2026-08-05T03:20:00.001Z,1,"[""10.0.0.1"",""10.0.0.2""]",,
    2026-08-05T03:20:00Z,0,10.0.0.3,,
    "#);
    let piped = "* | stats count, max(process.pid) by host.ip | sort host.ip";
    insta::assert_snapshot!(text(&index, request(piped, Format::Csv)), @r#"
    host.ip,count,max(process.pid)
    10.0.0.1,1,1
    10.0.0.2,1,1
    10.0.0.3,2,2
    "#);
    let newest = "* | where process.pid < 2 | head 1";
    insta::assert_snapshot!(text(&index, request(newest, Format::Csv)), @r#"
    @timestamp,event.id,event.dataset,event.action,host.name,user.name,source.ip,process.executable,message
    2026-08-05T03:20:00.001Z,e1,,,,,,,
    "#);
    let named = "* | fields process.pid as pid, event.id | head 1";
    assert_eq!(text(&index, request(named, Format::Csv)), "pid,event.id\n2,e2\n");
    let sorted = "* | sort process.pid | head 2";
    insta::assert_snapshot!(text(&index, request(sorted, Format::Csv)), @r#"
    @timestamp,event.id,event.dataset,event.action,host.name,user.name,source.ip,process.executable,message
    2026-08-05T03:20:00Z,e0,,,,,,,
    2026-08-05T03:20:00.001Z,e1,,,,,,,
    "#);
}

#[test]
fn no_text_in_csv_is_a_formula() {
    let dir = tempfile::tempdir().unwrap();
    let index = indexed(
        dir.path(),
        [r#"=cmd|' /C calc'!A0"#, "-e", "+1", "@SUM(1)", "a=b", "\tx"].into_iter().enumerate().map(
            |(n, line)| {
                json!({
                    "@timestamp": Timestamp::from_millis(START_MILLIS - n as i64).to_string(),
                    "event.id": format!("e{n}"),
                    "process.command_line": line,
                    "process.exit_code": -1,
                })
            },
        ),
    );
    let fields = "* | fields process.command_line, process.exit_code";
    insta::assert_snapshot!(text(&index, request(fields, Format::Csv)), @r#"
    process.command_line,process.exit_code
    '=cmd|' /C calc'!A0,-1
    '-e,-1
    '+1,-1
    '@SUM(1),-1
    a=b,-1
    '	x,-1
    "#);
    let ndjson = text(&index, request(fields, Format::Ndjson));
    assert!(ndjson.contains(r#"{"process.command_line":"-e","process.exit_code":-1}"#), "{ndjson}");
}

#[test]
fn parquet_keeps_types() {
    let dir = tempfile::tempdir().unwrap();
    let index = indexed(dir.path(), few());
    let fields = "* | fields @timestamp, process.pid, host.ip, user.name, event.risk_score";
    let path = dir.path().join("out.parquet");
    std::fs::write(&path, written(&index, request(fields, Format::Parquet))).unwrap();
    let reader = SerializedFileReader::new(std::fs::File::open(&path).unwrap()).unwrap();
    let columns = reader.metadata().file_metadata().schema_descr();
    let types: Vec<String> = (0..columns.num_columns())
        .map(|n| {
            let column = columns.column(n);
            format!("{} {} {:?}", column.name(), column.physical_type(), column.logical_type_ref())
        })
        .collect();
    insta::assert_snapshot!(types.join("\n"), @r#"
    @timestamp INT64 Some(Timestamp(TimestampType { is_adjusted_to_u_t_c: true, unit: NANOS }))
    process.pid INT64 None
    host.ip BYTE_ARRAY Some(String)
    user.name BYTE_ARRAY Some(String)
    event.risk_score DOUBLE None
    "#);
    let rows: Vec<String> =
        reader.get_row_iter(None).unwrap().map(|row| row.unwrap().to_string()).collect();
    insta::assert_snapshot!(rows.join("\n"), @r#"
    {@timestamp: 1785900000002000000, process.pid: 2, host.ip: "10.0.0.3", user.name: "a "b", c
    d", event.risk_score: 1.0}
    {@timestamp: 1785900000001000000, process.pid: 1, host.ip: "["10.0.0.1","10.0.0.2"]", user.name: null, event.risk_score: 0.5}
    {@timestamp: 1785900000000000000, process.pid: 0, host.ip: "10.0.0.3", user.name: null, event.risk_score: 0E0}
    "#);
    let path = dir.path().join("table.parquet");
    let table = written(&index, request("* | stats count by host.ip", Format::Parquet));
    std::fs::write(&path, table).unwrap();
    let reader = SerializedFileReader::new(std::fs::File::open(&path).unwrap()).unwrap();
    assert_eq!(reader.metadata().file_metadata().num_rows(), 3);
}

/// Many events at one moment, and pages that end among them.
#[test]
fn an_export_of_many_pages_has_every_event_once() {
    const EVENTS: i64 = 23_456;
    let dir = tempfile::tempdir().unwrap();
    let index = indexed(
        dir.path(),
        (0..EVENTS).map(|n| {
            json!({
                "@timestamp": Timestamp::from_millis(START_MILLIS + n / 5000).to_string(),
                "event.id": format!("e{n}"),
            })
        }),
    );
    let lines = text(&index, request("* | fields event.id", Format::Csv));
    let ids: BTreeSet<&str> = lines.lines().skip(1).collect();
    assert_eq!((lines.lines().count() - 1, ids.len()), (23_456, 23_456));
    let limited = request("* | head 12345 | fields event.id", Format::Csv);
    let first: Vec<String> = text(&index, limited).lines().map(str::to_owned).collect();
    assert_eq!(first, lines.lines().take(12_346).collect::<Vec<_>>());
}

/// Ends an export as a client does that goes away.
struct Gone(usize);

impl Write for Gone {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += 1;
        if self.0 > 1 {
            return Err(std::io::ErrorKind::BrokenPipe.into());
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn an_export_ends_when_nobody_reads_it() {
    let dir = tempfile::tempdir().unwrap();
    let index = indexed(dir.path(), few());
    for format in [Format::Ndjson, Format::Csv, Format::Parquet] {
        let export = Export::begin(&index, request("*", format)).unwrap();
        let mut gone = Gone(1);
        assert!(export.write(&mut gone).is_err(), "{format:?}");
    }
}

#[test]
fn what_cannot_be_exported_is_told_before_the_first_byte() {
    let dir = tempfile::tempdir().unwrap();
    let index = indexed(dir.path(), few());
    let many = format!("* | fields {}", vec!["a"; export::FIELDS_MAX + 1].join(", "));
    let refused = |request| match Export::begin(&index, request) {
        Ok(_) => panic!("it was exported"),
        Err(error) => error.to_string(),
    };
    insta::assert_snapshot!(refused(request(&many, Format::Csv)), @"at most 200 fields are exported");
    insta::assert_snapshot!("xml".parse::<Format>().unwrap_err().to_string(), @"`xml` is no format; it is one of ndjson, csv, parquet");
    let partial = ExportError::TooMany { found: 7_000_000 };
    insta::assert_snapshot!(partial.to_string(), @"7000000 events match, and an export has at most 1000000 rows; narrow the range of time or the filter, or ask for the newest with `| head 1000000`");
}
