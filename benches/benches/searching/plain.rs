//! Plain tantivy: a schema made by hand of the fields that are asked for, its own queries and
//! aggregations. The floor: what the library gives to somebody who knows the questions before.

use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv6Addr};
use std::ops::Bound;
use std::path::Path;
use std::time::Instant;

use serde_json::{Value, json};
use tantivy::aggregation::AggregationCollector;
use tantivy::aggregation::agg_req::Aggregations;
use tantivy::collector::{Count, MultiCollector, TopDocs};
use tantivy::query::{
    AllQuery, BooleanQuery, PhraseQuery, Query, RangeQuery, RegexQuery, TermQuery,
};
use tantivy::schema::{
    DateOptions, FAST, Field, INDEXED, IndexRecordOption, STORED, STRING, Schema, TEXT,
};
use tantivy::store::{Compressor, ZstdCompressor};
use tantivy::{DateTime, Index, IndexSettings, IndexWriter, Order, TantivyDocument, Term};

use crate::questions::{Plain, Question};
use crate::{Answered, Fault, Loaded, bytes_below, drop_cached};

/// What the writer may hold in memory.
const WRITER_BYTES: usize = 512 * 1024 * 1024;

/// Fields of texts that are compared whole.
const STRINGS: [&str; 8] = [
    "event.id",
    "event.code",
    "event.dataset",
    "host.name",
    "user.name",
    "process.name",
    "process.command_line",
    "watchpost.logsource.product",
];

fn schema() -> Schema {
    let mut schema = Schema::builder();
    schema.add_date_field("@timestamp", DateOptions::default() | FAST | INDEXED);
    for name in STRINGS {
        // A dot in a name would be a path.
        schema.add_text_field(&name.replace('.', "_"), STRING | FAST);
    }
    schema.add_u64_field("process_pid", FAST | INDEXED);
    schema.add_ip_addr_field("source_ip", FAST | INDEXED);
    schema.add_text_field("message", TEXT);
    // Every word of every value, as a search without a field needs it.
    schema.add_text_field("words", TEXT);
    schema.add_bytes_field("source", STORED);
    schema.build()
}

pub(crate) fn load(lines: &Path, folder: &Path) -> Result<Loaded, Fault> {
    std::fs::create_dir_all(folder)?;
    let settings = IndexSettings {
        docstore_compression: Compressor::Zstd(ZstdCompressor::default()),
        ..IndexSettings::default()
    };
    let index = Index::builder().schema(schema()).settings(settings).create_in_dir(folder)?;
    let mut writer: IndexWriter = index.writer(WRITER_BYTES)?;
    let schema = index.schema();
    let field = |name: &str| schema.get_field(&name.replace('.', "_"));
    let strings: Vec<(&str, Field)> =
        STRINGS.iter().map(|name| Ok((*name, field(name)?))).collect::<Result<_, Fault>>()?;
    let (time, pid, ip) = (field("@timestamp")?, field("process.pid")?, field("source.ip")?);
    let (message, words, source) = (field("message")?, field("words")?, field("source")?);
    let started = Instant::now();
    for line in BufReader::new(std::fs::File::open(lines)?).split(b'\n') {
        let line = line?;
        let value: Value = serde_json::from_slice(&line)?;
        let mut document = TantivyDocument::default();
        let at = |path: &str| value.pointer(&format!("/{}", path.replace('.', "/")));
        let text = |path: &str| at(path).and_then(Value::as_str);
        if let Some(when) = text("@timestamp").and_then(event::Timestamp::parse_rfc3339) {
            document.add_date(time, DateTime::from_timestamp_nanos(when.as_nanos()));
        }
        for (name, field) in &strings {
            if let Some(text) = text(name) {
                document.add_text(*field, text);
            }
        }
        if let Some(number) = at("process.pid").and_then(Value::as_u64) {
            document.add_u64(pid, number);
        }
        if let Some(address) = text("source.ip").and_then(|text| text.parse::<IpAddr>().ok()) {
            document.add_ip_addr(ip, in_v6(address));
        }
        if let Some(text) = text("message") {
            document.add_text(message, text);
        }
        each_text(&value, &mut |text| document.add_text(words, text));
        document.add_bytes(source, &line);
        writer.add_document(document)?;
    }
    writer.commit()?;
    let took = started.elapsed();
    let merging = Instant::now();
    // What merges by itself ends before the rest is merged.
    writer.wait_merging_threads()?;
    let segments = index.searchable_segment_ids()?;
    let mut writer: IndexWriter = index.writer(WRITER_BYTES)?;
    if segments.len() > 1 {
        writer.merge(&segments).wait()?;
    }
    writer.garbage_collect_files().wait()?;
    writer.wait_merging_threads()?;
    Ok(Loaded { took, merged: merging.elapsed(), bytes: bytes_below(folder)? })
}

fn in_v6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

fn each_text(value: &Value, each: &mut dyn FnMut(&str)) {
    match value {
        Value::String(text) => each(text),
        Value::Array(all) => all.iter().for_each(|value| each_text(value, each)),
        Value::Object(all) => all.values().for_each(|value| each_text(value, each)),
        _ => {}
    }
}

pub(crate) fn ask(folder: &Path, question: &Question, rounds: usize) -> Result<Answered, Fault> {
    drop_cached(folder)?;
    let index = Index::open_in_dir(folder)?;
    let reader = index.reader()?;
    let searcher = reader.searcher();
    let schema = index.schema();
    let field = |name: &str| schema.get_field(&name.replace('.', "_"));
    let term = |(name, value): &(&str, &str)| -> Result<Box<dyn Query>, Fault> {
        let term = Term::from_field_text(field(name)?, value);
        Ok(Box::new(TermQuery::new(term, IndexRecordOption::Basic)))
    };
    let mut answered = Answered::default();
    let query: Box<dyn Query> = match question.plain {
        Plain::Terms(terms) => {
            let all: Result<Vec<_>, Fault> = terms.iter().map(term).collect();
            Box::new(BooleanQuery::intersection(all?))
        }
        Plain::Phrase(words) => {
            let message = field("message")?;
            let terms = words.iter().map(|word| Term::from_field_text(message, word)).collect();
            Box::new(PhraseQuery::new(terms))
        }
        Plain::Above(name, number) => {
            let low = Term::from_field_u64(field(name)?, number);
            Box::new(RangeQuery::new(Bound::Excluded(low), Bound::Unbounded))
        }
        Plain::Between(name, low, high, other) => {
            let ip = field(name)?;
            let bound = |text: &str| -> Result<Bound<Term>, Fault> {
                Ok(Bound::Included(Term::from_field_ip_addr(ip, in_v6(text.parse()?))))
            };
            let range = RangeQuery::new(bound(low)?, bound(high)?);
            Box::new(BooleanQuery::intersection(vec![Box::new(range), term(&other)?]))
        }
        Plain::Regex(name, pattern) => Box::new(RegexQuery::from_pattern(pattern, field(name)?)?),
        Plain::By(_) | Plain::ByHour(_) => Box::new(AllQuery),
    };
    let histogram =
        json!({"h": {"date_histogram": {"field": "@timestamp", "fixed_interval": "1728s"}}});
    let request = match question.plain {
        Plain::By(names) => names.iter().rev().fold(Value::Null, |inner, name| {
            let mut by = json!({"terms": {"field": name.replace('.', "_"), "size": 100}});
            if !inner.is_null() {
                by["aggs"] = inner;
            }
            json!({"by": by})
        }),
        Plain::ByHour(name) => json!({"h": {
            "date_histogram": {"field": "@timestamp", "fixed_interval": "1h"},
            "aggs": {"by": {"terms": {"field": name.replace('.', "_"), "size": 100}}},
        }}),
        _ => histogram,
    };
    let request: Aggregations = serde_json::from_value(request)?;
    let is_filter = !matches!(question.plain, Plain::By(_) | Plain::ByHour(_));
    for _ in 0..=rounds {
        let started = Instant::now();
        let mut all = MultiCollector::new();
        let count = all.add_collector(Count);
        let groups =
            all.add_collector(AggregationCollector::from_aggs(request.clone(), Default::default()));
        let newest = is_filter.then(|| {
            let newest = TopDocs::with_limit(100);
            all.add_collector(newest.order_by_fast_field::<DateTime>("@timestamp", Order::Desc))
        });
        let mut fruit = searcher.search(&query, &all)?;
        groups.extract(&mut fruit);
        if let Some(newest) = newest {
            for (_, place) in newest.extract(&mut fruit) {
                std::hint::black_box(searcher.doc::<TantivyDocument>(place)?);
            }
        }
        answered.hits = count.extract(&mut fruit) as u64;
        answered.took(started.elapsed());
    }
    Ok(answered)
}
