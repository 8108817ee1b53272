//! Which documents of a segment pass a filter.
//!
//! Every part of a filter gives a set of documents. It is told which documents still matter, so
//! that the cheap parts of an `and` run first and the dear ones look only at what is left.

use std::ops::Range;

use event::{Event, Timestamp};
use query::{FieldTest, Filter, Glob, Test, Words};
use tantivy::columnar::DynamicColumn;
use tantivy::query::{EnableScoring, PhraseQuery, Query as _};
use tantivy::schema::{Field, IndexRecordOption};
use tantivy::{DocSet, Term};

use crate::bits::Bits;
use crate::document::TIME;
use crate::segment::{Segment, Stop};
use crate::values::{in_column, rows_in, times};

/// How many documents or terms are looked at between two looks at the clock.
pub(crate) const CLOCK_EVERY: usize = 4096;

/// As [`CLOCK_EVERY`], for whole documents.
const CLOCK_EVERY_DOCUMENTS: usize = 128;

/// The documents within `within` that pass.
pub(crate) fn passing(segment: &Segment<'_>, filter: &Filter, within: &Bits) -> Result<Bits, Stop> {
    segment.check_time()?;
    if within.is_empty() {
        return Ok(within.clone());
    }
    match filter {
        Filter::All => Ok(within.clone()),
        Filter::Not(inner) => {
            let mut left = within.clone();
            left.and_not(&passing(segment, inner, within)?);
            Ok(left)
        }
        Filter::And(all) => {
            let mut order: Vec<&Filter> = all.iter().collect();
            order.sort_by_key(|filter| cost(filter));
            let mut left = within.clone();
            for filter in order {
                left = passing(segment, filter, &left)?;
            }
            Ok(left)
        }
        Filter::Or(all) => {
            let mut found = Bits::empty(within.len());
            let mut left = within.clone();
            for filter in all {
                let more = passing(segment, filter, &left)?;
                left.and_not(&more);
                found.or(&more);
            }
            Ok(found)
        }
        Filter::Words(test) => {
            let fields = &segment.partition.fields;
            let mut found = Bits::empty(within.len());
            for field in std::iter::once(fields.words).chain(fields.texts.iter().map(|(_, f)| *f)) {
                found.or(&with_words(segment, field, &test.words, &within.span())?);
            }
            found.and(within);
            verified_if(segment, filter, found, is_approximate(&test.words))
        }
        Filter::Field(test) => field(segment, filter, test, within),
    }
}

/// The documents of a range of time. `None` if none can be.
pub(crate) fn in_range(
    segment: &Segment<'_>,
    range: query::TimeRange,
    mut bits: Bits,
) -> Option<Bits> {
    let time = &segment.columns.time;
    let first = range.since.map_or(i64::MIN, Timestamp::as_nanos);
    let last = range.until.map_or(i64::MAX, |until| until.as_nanos().saturating_sub(1));
    if time.max_value() < first || last < time.min_value() || first > last {
        return None;
    }
    if time.min_value() < first || last < time.max_value() {
        let mut inside = Bits::empty(bits.len());
        rows_in(time, first, last, &bits.span(), &mut inside);
        bits.and(&inside);
    }
    Some(bits)
}

/// Roughly how dear a filter is; cheap ones run first.
fn cost(filter: &Filter) -> u32 {
    match filter {
        Filter::All => 0,
        Filter::Words(test) => match &test.words {
            Words::Plain(_) => 1,
            Words::Globs(_) => 20,
        },
        Filter::Field(test) => {
            let base = match &test.test {
                Test::Exists => 1,
                Test::Equal(_) => 2,
                Test::Range { .. } => 4,
                Test::Like(_) => 10,
                Test::Regex(_) => 12,
            };
            let name = test.field.as_str();
            let reads_documents =
                query::is_unsearched(name) || (query::is_text(name) && test.test.words().is_none());
            base + if reads_documents { 1000 } else { 0 }
                + if test.field.is_pattern() { 50 } else { 0 }
        }
        Filter::Not(inner) => cost(inner),
        Filter::And(all) | Filter::Or(all) => all.iter().map(cost).sum(),
    }
}

fn field(
    segment: &Segment<'_>,
    filter: &Filter,
    test: &FieldTest,
    within: &Bits,
) -> Result<Bits, Stop> {
    let columns = &segment.columns;
    let mut found = Bits::empty(within.len());
    if matches!(test.test, Test::Exists) {
        exists(segment, test, &within.span(), &mut found)?;
        found.and(within);
        return Ok(found);
    }
    let mut paths: Vec<&str> = Vec::new();
    if test.field.is_pattern() {
        let names = columns.data.keys().chain(columns.kept.keys()).map(String::as_str);
        paths.extend(names.chain([TIME]).filter(|name| test.field.names(name)));
        paths.sort_unstable();
        paths.dedup();
    } else {
        paths.push(test.field.as_str());
    }
    let mut unsure = Bits::empty(within.len());
    for path in paths {
        let mut left = within.clone();
        left.and_not(&found);
        if let Some(own) = segment.partition.fields.text(path) {
            match test.test.words() {
                Some(words) => {
                    let mut hits = with_words(segment, own, &words, &left.span())?;
                    hits.and(&left);
                    if is_approximate(&words) { unsure.or(&hits) } else { found.or(&hits) }
                }
                None => {
                    let mut there = kept(segment, path, &left.span())?;
                    there.and(&left);
                    unsure.or(&there);
                }
            }
        } else if query::is_unsearched(path) {
            let mut there = kept(segment, path, &left.span())?;
            there.and(&left);
            unsure.or(&there);
        } else if query::is_text(path) {
            // The partition is older than the catalogue's entry and holds it like any other field.
            for column in columns.open(path)? {
                present(&column, &within.span(), &mut unsure);
            }
            unsure.and(within);
        } else {
            if path == TIME {
                times(segment, &test.test, &left, &mut found)?;
            }
            for column in columns.open(path)? {
                in_column(segment, path, &column, &test.test, &left, &mut found)?;
            }
        }
    }
    found.and(within);
    unsure.and_not(&found);
    if !unsure.is_empty() {
        found.or(&verified(segment, filter, &unsure)?);
    }
    Ok(found)
}

fn exists(
    segment: &Segment<'_>,
    test: &FieldTest,
    docs: &Range<u32>,
    found: &mut Bits,
) -> Result<(), Stop> {
    let name = test.field.as_str();
    let meant = |path: &str| {
        test.field.names(path) || path.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'))
    };
    if meant(TIME) {
        *found = Bits::full(found.len());
        return Ok(());
    }
    for (path, handles) in &segment.columns.data {
        if meant(path) {
            for handle in handles {
                present(&handle.open()?, docs, found);
            }
        }
    }
    for (path, handle) in &segment.columns.kept {
        if meant(path) {
            present(&handle.open()?, docs, found);
        }
    }
    Ok(())
}

fn kept(segment: &Segment<'_>, path: &str, docs: &Range<u32>) -> Result<Bits, Stop> {
    let mut bits = Bits::empty(segment.reader.max_doc());
    if let Some(handle) = segment.columns.kept.get(path) {
        present(&handle.open()?, docs, &mut bits);
    }
    Ok(bits)
}

/// Adds those of the documents that have a value in a column.
fn present(column: &DynamicColumn, docs: &Range<u32>, found: &mut Bits) {
    let index = column.column_index();
    let mut rows: Vec<u32> = index.docid_range_to_rowids(docs.clone()).collect();
    index.select_batch_in_place(docs.start, &mut rows);
    rows.iter().for_each(|doc| found.insert(*doc));
}

/// Whether what the postings say must be looked up in the documents: patterns of several words,
/// whose order the postings of all words like them do not tell.
fn is_approximate(words: &Words) -> bool {
    matches!(words, Words::Globs(globs) if globs.len() > 1)
}

fn verified_if(
    segment: &Segment<'_>,
    filter: &Filter,
    bits: Bits,
    approximate: bool,
) -> Result<Bits, Stop> {
    if approximate { verified(segment, filter, &bits) } else { Ok(bits) }
}

/// Reads the documents and asks the plain evaluator.
fn verified(segment: &Segment<'_>, filter: &Filter, candidates: &Bits) -> Result<Bits, Stop> {
    let mut found = Bits::empty(candidates.len());
    let mut event = Event::new();
    for (n, doc) in candidates.iter().enumerate() {
        if n % CLOCK_EVERY_DOCUMENTS == 0 {
            segment.check_time()?;
        }
        let passes =
            event.parse_json(&segment.source(doc)?).is_ok() && query::matches(filter, &event);
        if passes {
            found.insert(doc);
        }
    }
    Ok(found)
}

/// Those of the documents that have these words in a field of words, and maybe others.
fn with_words(
    segment: &Segment<'_>,
    field: Field,
    words: &Words,
    within: &Range<u32>,
) -> Result<Bits, Stop> {
    let mut found = Bits::empty(segment.reader.max_doc());
    match words {
        Words::Plain(words) => match words.as_slice() {
            [] => {}
            [word] => with_word(segment, field, word, within, &mut found)?,
            many => {
                let terms = many.iter().map(|word| Term::from_field_text(field, word)).collect();
                let schema = segment.partition.index.schema();
                let weight =
                    PhraseQuery::new(terms).weight(EnableScoring::disabled_from_schema(&schema))?;
                let mut docs = weight.scorer(segment.reader, 1.0)?;
                if docs.doc() < within.start {
                    docs.seek(within.start);
                }
                let mut n = 0;
                while docs.doc() < within.end {
                    found.insert(docs.doc());
                    docs.advance();
                    n += 1;
                    if n % CLOCK_EVERY == 0 {
                        segment.check_time()?;
                    }
                }
            }
        },
        Words::Globs(globs) => {
            let mut globs = globs.iter();
            if let Some(first) = globs.next() {
                like_word(segment, field, first, within, &mut found)?;
            }
            for glob in globs {
                let mut more = Bits::empty(found.len());
                like_word(segment, field, glob, within, &mut more)?;
                found.and(&more);
            }
        }
    }
    Ok(found)
}

pub(crate) fn with_word(
    segment: &Segment<'_>,
    field: Field,
    word: &str,
    within: &Range<u32>,
    found: &mut Bits,
) -> Result<(), Stop> {
    let index = segment.reader.inverted_index(field)?;
    let term = Term::from_field_text(field, word);
    if let Some(mut docs) = index.read_block_postings(&term, IndexRecordOption::Basic)? {
        docs.seek(within.start);
        loop {
            let block = docs.docs();
            if block.first().is_none_or(|first| *first >= within.end) {
                break;
            }
            block.iter().for_each(|doc| found.insert(*doc));
            docs.advance();
        }
    }
    Ok(())
}

/// Those of the documents that have a word like this, and maybe others.
fn like_word(
    segment: &Segment<'_>,
    field: Field,
    glob: &Glob,
    within: &Range<u32>,
    found: &mut Bits,
) -> Result<(), Stop> {
    if let Some(word) = glob.literal() {
        return with_word(segment, field, &query::fold(word), within, found);
    }
    let index = segment.reader.inverted_index(field)?;
    let prefix = glob.prefix();
    let terms = index.terms();
    let mut stream = terms.range().ge(&prefix).into_stream()?;
    let mut n = 0;
    while stream.advance() {
        n += 1;
        if n % CLOCK_EVERY == 0 {
            segment.check_time()?;
        }
        let Ok(word) = std::str::from_utf8(stream.key()) else { continue };
        if !word.starts_with(prefix.as_str()) {
            break;
        }
        if glob.matches_folded(word) {
            let info = stream.value();
            let mut docs = index.read_postings_from_terminfo(info, IndexRecordOption::Basic)?;
            if docs.doc() < within.start {
                docs.seek(within.start);
            }
            while docs.doc() < within.end {
                found.insert(docs.doc());
                docs.advance();
            }
        }
    }
    Ok(())
}
