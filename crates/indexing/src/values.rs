//! Which documents have a value that passes, by the columns of a field.

use std::ops::Range;

use event::Timestamp;
use event::ecs::{Type, field_type};
use query::{Bound, Number, Scalar, Test};
use tantivy::columnar::{Column, DynamicColumn, StrColumn};
use tantivy::{DateTime, Term};

use crate::bits::Bits;
use crate::dictionary::accepted;
use crate::filter::{CLOCK_EVERY, with_word};
use crate::segment::{Segment, Stop};

/// From how many different values on a column is not worth looking through when few documents are
/// left, or words can be asked first.
const DICTIONARY_LARGE: usize = 4096;

/// Adds the documents whose value in a column passes.
pub(crate) fn in_column(
    segment: &Segment<'_>,
    path: &str,
    column: &DynamicColumn,
    test: &Test,
    within: &Bits,
    found: &mut Bits,
) -> Result<(), Stop> {
    let docs = &within.span();
    match column {
        DynamicColumn::Str(column) => texts(segment, path, column, test, within, found)?,
        DynamicColumn::I64(column) => match whole_range(test) {
            Some((low, high)) => {
                let clamp = |n: i128| n.clamp(i64::MIN.into(), i64::MAX.into()) as i64;
                if low <= i64::MAX.into() && high >= i64::MIN.into() && low <= high {
                    rows_in(column, clamp(low), clamp(high), docs, found);
                }
            }
            None => {
                each(column, docs, found, |n| test.accepts(Scalar::Number(Number::Int(n.into()))))
            }
        },
        DynamicColumn::U64(column) => match whole_range(test) {
            Some((low, high)) => {
                let clamp = |n: i128| n.clamp(0, u64::MAX.into()) as u64;
                if low <= u64::MAX.into() && high >= 0 && low <= high {
                    rows_in(column, clamp(low), clamp(high), docs, found);
                }
            }
            None => {
                each(column, docs, found, |n| test.accepts(Scalar::Number(Number::Int(n.into()))))
            }
        },
        DynamicColumn::F64(column) => {
            each(column, docs, found, |n| {
                query::scalar("", event::Value::Float(n)).is_some_and(|s| test.accepts(s))
            });
        }
        DynamicColumn::Bool(column) => each(column, docs, found, |b| test.accepts(Scalar::Bool(b))),
        DynamicColumn::DateTime(column) => match time_range(test) {
            Some((low, high)) => {
                if low <= high {
                    let time = DateTime::from_timestamp_nanos;
                    rows_in(column, time(low), time(high), docs, found);
                }
            }
            None => each(column, docs, found, |time: DateTime| {
                let time = Timestamp::from_nanos(time.into_timestamp_nanos());
                test.accepts(Scalar::Time(time))
            }),
        },
        // Nothing writes these.
        DynamicColumn::IpAddr(_) | DynamicColumn::Bytes(_) => {}
    }
    Ok(())
}

/// Adds the documents whose `@timestamp` passes.
pub(crate) fn times(
    segment: &Segment<'_>,
    test: &Test,
    within: &Bits,
    found: &mut Bits,
) -> Result<(), Stop> {
    let column = &segment.columns.time;
    match time_range(test) {
        Some((low, high)) if low <= high => rows_in(column, low, high, &within.span(), found),
        Some(_) => {}
        None => {
            for (n, doc) in within.iter().enumerate() {
                if n % CLOCK_EVERY == 0 {
                    segment.check_time()?;
                }
                let time = Timestamp::from_nanos(column.values.get_val(doc));
                if test.accepts(Scalar::Time(time)) {
                    found.insert(doc);
                }
            }
        }
    }
    Ok(())
}

/// The whole numbers that pass, if they are one range; it may be empty (`low > high`).
fn whole_range(test: &Test) -> Option<(i128, i128)> {
    const NONE: (i128, i128) = (1, 0);
    let floor = |n: f64| n.floor() as i128;
    match test {
        Test::Equal(term) => match term.number() {
            None => Some(NONE),
            Some(Number::Int(n)) => Some((n, n)),
            Some(Number::Float(_)) => None,
        },
        Test::Range { low, high } => {
            let from = match low {
                Bound::Open => i128::MIN,
                Bound::Including(term) => match term.number() {
                    None => return Some(NONE),
                    Some(Number::Int(n)) => n,
                    Some(Number::Float(n)) => n.ceil() as i128,
                },
                Bound::Excluding(term) => match term.number() {
                    None => return Some(NONE),
                    Some(Number::Int(n)) => n + 1,
                    Some(Number::Float(n)) => floor(n).saturating_add(1),
                },
            };
            let to = match high {
                Bound::Open => i128::MAX,
                Bound::Including(term) => match term.number() {
                    None => return Some(NONE),
                    Some(Number::Int(n)) => n,
                    Some(Number::Float(n)) => floor(n),
                },
                Bound::Excluding(term) => match term.number() {
                    None => return Some(NONE),
                    Some(Number::Int(n)) => n - 1,
                    Some(Number::Float(n)) => (n.ceil() as i128).saturating_sub(1),
                },
            };
            Some((from, to))
        }
        Test::Exists | Test::Like(_) | Test::Regex(_) => None,
    }
}

/// The times that pass, in nanoseconds, if they are one range; it may be empty.
fn time_range(test: &Test) -> Option<(i64, i64)> {
    const NONE: (i64, i64) = (1, 0);
    match test {
        Test::Equal(term) => {
            Some(term.moments().map_or(NONE, |(first, last)| (first.as_nanos(), last.as_nanos())))
        }
        Test::Range { low, high } => {
            let from = match low {
                Bound::Open => i64::MIN,
                Bound::Including(term) => match term.time() {
                    None => return Some(NONE),
                    Some(time) => time.as_nanos(),
                },
                Bound::Excluding(term) => match term.time() {
                    None => return Some(NONE),
                    Some(time) => time.as_nanos().saturating_add(1),
                },
            };
            let to = match high {
                Bound::Open => i64::MAX,
                Bound::Including(term) => match term.time() {
                    None => return Some(NONE),
                    Some(time) => time.as_nanos(),
                },
                Bound::Excluding(term) => match term.time() {
                    None => return Some(NONE),
                    Some(time) => time.as_nanos().saturating_sub(1),
                },
            };
            Some((from, to))
        }
        Test::Exists | Test::Like(_) | Test::Regex(_) => None,
    }
}

/// Adds those of the documents that have a value between two, both included.
pub(crate) fn rows_in<T>(column: &Column<T>, low: T, high: T, docs: &Range<u32>, found: &mut Bits)
where
    T: PartialOrd + Copy + std::fmt::Debug + Send + Sync + 'static,
{
    // Cut to the column's own range: a column of one value does not look at the ends it is given.
    let (least, greatest) = (column.values.min_value(), column.values.max_value());
    let low = if low < least { least } else { low };
    let high = if high > greatest { greatest } else { high };
    if low > high {
        return;
    }
    let mut rows = Vec::new();
    column.get_docids_for_value_range(low..=high, docs.clone(), &mut rows);
    rows.iter().for_each(|doc| found.insert(*doc));
}

/// Adds those of the documents that have a value that passes.
fn each<T>(column: &Column<T>, docs: &Range<u32>, found: &mut Bits, passes: impl Fn(T) -> bool)
where
    T: PartialOrd + Copy + std::fmt::Debug + Send + Sync + 'static,
{
    let range = column.index.docid_range_to_rowids(docs.clone());
    let mut rows: Vec<u32> = range.filter(|row| passes(column.values.get_val(*row))).collect();
    column.index.select_batch_in_place(docs.start, &mut rows);
    rows.iter().for_each(|doc| found.insert(*doc));
}

/// Adds the documents whose text passes: which texts do is found in the dictionary, once for each
/// different one.
fn texts(
    segment: &Segment<'_>,
    path: &str,
    column: &StrColumn,
    test: &Test,
    within: &Bits,
    found: &mut Bits,
) -> Result<(), Stop> {
    let terms = column.num_terms();
    let mut narrowed;
    let mut within = within;
    if terms > DICTIONARY_LARGE
        && let Some(rare) = rarest_word(segment, path, test)?
    {
        narrowed = Bits::empty(within.len());
        with_word(segment, segment.partition.fields.words, &rare, &within.span(), &mut narrowed)?;
        narrowed.and(within);
        within = &narrowed;
    }
    let left = within.count() as usize;
    if left == 0 {
        return Ok(());
    }
    let mut passing = Bits::empty(u32::try_from(terms).unwrap_or(u32::MAX));
    let mut ords: Vec<u64> = Vec::new();
    if left * segment.slices() < terms / 8 {
        // Few documents are left: look at their texts only.
        for doc in within.iter() {
            ords.extend(column.term_ords(doc));
        }
        ords.sort_unstable();
        ords.dedup();
        let passes = |term: &[u8]| {
            std::str::from_utf8(term).is_ok_and(|text| test.accepts(Scalar::Text(text)))
        };
        let mut verdicts = Vec::with_capacity(ords.len());
        column.dictionary().sorted_ords_to_term_cb(&ords, |term| verdicts.push(passes(term)))?;
        let mut verdicts = verdicts.into_iter();
        ords.retain(|_| verdicts.next().unwrap_or(false));
    } else {
        ords = accepted(segment, path, column, test)?;
    }
    let (Some(first), Some(last)) = (ords.first().copied(), ords.last().copied()) else {
        return Ok(());
    };
    let column = column.ords();
    if left * 16 < column.index.docid_range_to_rowids(within.span()).len() {
        ords.iter().for_each(|ord| passing.insert(u32::try_from(*ord).unwrap_or(u32::MAX)));
        for doc in within.iter() {
            let hit = |ord: u64| u32::try_from(ord).is_ok_and(|ord| passing.contains(ord));
            if column.values_for_doc(doc).any(hit) {
                found.insert(doc);
            }
        }
    } else if last - first + 1 == ords.len() as u64 {
        let mut hits = Bits::empty(within.len());
        rows_in(column, first, last, &within.span(), &mut hits);
        hits.and(within);
        found.or(&hits);
    } else {
        ords.iter().for_each(|ord| passing.insert(u32::try_from(*ord).unwrap_or(u32::MAX)));
        let mut hits = Bits::empty(within.len());
        each(column, &within.span(), &mut hits, |ord| {
            u32::try_from(ord).is_ok_and(|ord| passing.contains(ord))
        });
        hits.and(within);
        found.or(&hits);
    }
    Ok(())
}

/// The word that the fewest documents have, of those that a value must have to pass.
fn rarest_word(segment: &Segment<'_>, path: &str, test: &Test) -> Result<Option<String>, Stop> {
    let Test::Equal(term) = test else { return Ok(None) };
    // An address may be written in several ways, and dates have no words in the index.
    if term.network().is_some() || field_type(path) == Some(Type::Date) {
        return Ok(None);
    }
    let field = segment.partition.fields.words;
    let index = segment.reader.inverted_index(field)?;
    let mut rarest: Option<(u32, String)> = None;
    for word in query::words(term.raw()) {
        let count = index.doc_freq(&Term::from_field_text(field, &word))?;
        if rarest.as_ref().is_none_or(|(least, _)| count < *least) {
            rarest = Some((count, word));
        }
    }
    Ok(rarest.map(|(_, word)| word))
}
