//! Statistics over columns, without reading documents.
//!
//! Documents are taken a block at a time. A group's key is a few small numbers (ordinals of
//! dictionaries, or numbers given out to values as they are met). What slices of one segment counted is
//! put together by these numbers, and only when a segment is done are they turned into values and handed
//! to [`Groups`], which merges segments and gives the table.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};

use event::Timestamp;
use foldhash::fast::FixedState;
use query::{Cell, Function, Groups, Pipe, State, Stats};
use tantivy::columnar::{Cardinality, Column, DynamicColumn, StrColumn};

use crate::bits::Bits;
use crate::document::TIME;
use crate::explore::sort_rank;
use crate::segment::{Segment, Stop};

/// How many fields a group may have; their codes share 128 bits.
const KEYS_MAX: usize = 4;

/// How many documents are read from a column at once.
const BLOCK: usize = 1024;

/// The most places of a [`Lookup::Dense`], of four bytes each.
const DENSE_PLACES_MAX: usize = 8 * 1024 * 1024;

/// How many places a [`Lookup::Dense`] may have for each document, so that they are used.
const DENSE_PLACES_PER_DOCUMENT: usize = 4;

/// Whether a pipe's statistics can be had from columns alone.
pub(crate) fn is_columnar(stats: &Stats) -> bool {
    let fields = stats.by.iter().chain(stats.aggregates.iter().filter_map(|a| a.field.as_ref()));
    stats.by.len() <= KEYS_MAX
        && fields.into_iter().all(|field| !query::is_text(field) && !query::is_unsearched(field))
}

/// What was counted of a segment, or of a slice of it.
pub(crate) struct Counted {
    counter: Counter,
    keys: Vec<Coder>,
    values: Vec<Option<Coder>>,
}

/// Counts documents of a segment.
pub(crate) fn count(
    segment: &Segment<'_>,
    bits: &Bits,
    pipe: &Pipe,
    stats: &Stats,
    groups_max: usize,
) -> Result<Counted, Stop> {
    let mut keys = Vec::new();
    for (n, field) in stats.by.iter().enumerate() {
        let cut = (n == 0 && matches!(pipe, Pipe::Timechart { .. })).then_some(pipe);
        keys.push(Coder::new(segment, field, cut)?);
    }
    let mut values = Vec::new();
    for aggregate in &stats.aggregates {
        values.push(match &aggregate.field {
            Some(field) => Some(Coder::new(segment, field, None)?),
            None => None,
        });
    }
    let mut counter = Counter {
        times: segment.columns.time.clone(),
        functions: stats.aggregates.iter().map(|aggregate| aggregate.function).collect(),
        groups: Lookup::new(&keys, bits.count() as usize),
        states: Vec::new(),
        keys: Vec::new(),
        groups_max,
        left_out: false,
    };
    let mut docs = Vec::with_capacity(BLOCK);
    let mut all = bits.iter();
    loop {
        docs.clear();
        docs.extend(all.by_ref().take(BLOCK));
        if docs.is_empty() {
            break;
        }
        segment.check_time()?;
        counter.block(&docs, &mut keys, &mut values);
    }
    Ok(Counted { counter, keys, values })
}

impl Counted {
    /// Takes in what was counted of another slice of the same segment.
    pub(crate) fn absorb(&mut self, other: Counted) {
        let adopt = |own: &mut Coder, other: &Coder| own.adopt(other);
        let keys: Vec<_> =
            self.keys.iter_mut().zip(&other.keys).map(|(own, other)| adopt(own, other)).collect();
        let values: Vec<_> = self
            .values
            .iter_mut()
            .zip(&other.values)
            .map(|(own, other)| adopt(own.as_mut()?, other.as_ref()?))
            .collect();
        self.counter.absorb(other.counter, &keys, &values);
    }

    /// Turns numbers into values.
    pub(crate) fn finish(self, stats: &Stats) -> tantivy::Result<Groups> {
        self.counter.finish(stats, &self.keys, &self.values)
    }
}

/// What the codes of another slice are here; none if they are the same.
type Recoded = Option<Vec<u32>>;

fn recoded(codes: Option<&Recoded>, code: u32) -> u32 {
    let Some(Some(codes)) = codes else { return code };
    codes.get(code as usize).copied().unwrap_or(code)
}

/// What one aggregate knows of one group in this segment.
enum Local {
    Rows(u64),
    /// How often each value's code came.
    Codes(HashMap<u32, u64, FixedState>),
    /// Numbers go straight into the state.
    Direct(State),
    /// The codes of the earliest or the latest documents, and their time.
    AtTime(i64, BTreeSet<u32>),
}

impl Local {
    fn recoded(self, codes: &Recoded) -> Local {
        match self {
            Local::Codes(counts) if codes.is_some() => Local::Codes(
                counts.into_iter().map(|(code, n)| (recoded(Some(codes), code), n)).collect(),
            ),
            Local::AtTime(at, own) if codes.is_some() => {
                Local::AtTime(at, own.into_iter().map(|code| recoded(Some(codes), code)).collect())
            }
            same => same,
        }
    }

    fn merge(&mut self, function: Function, other: Local) {
        match (self, other) {
            (Local::Rows(count), Local::Rows(more)) => *count += more,
            (Local::Codes(counts), Local::Codes(more)) => {
                for (code, n) in more {
                    *counts.entry(code).or_default() += n;
                }
            }
            (Local::Direct(state), Local::Direct(more)) => state.merge(function, more),
            (Local::AtTime(at, codes), Local::AtTime(more_at, more)) if !more.is_empty() => {
                let better = match function {
                    Function::First => more_at < *at,
                    _ => more_at > *at,
                };
                if better || codes.is_empty() {
                    (*at, *codes) = (more_at, more);
                } else if more_at == *at {
                    codes.extend(more);
                }
            }
            _ => {}
        }
    }
}

/// Where a group is found by its key. A place out of two or three megabytes is found several times as
/// fast as one of a hash table, and most statistics are by dictionaries that are that small.
enum Lookup {
    /// For every key that there can be, the number of its group plus one, or 0; and how far apart two
    /// keys are that differ by one in each of their codes.
    Dense { places: Vec<u32>, strides: Vec<usize> },
    /// Any keys.
    Sparse(HashMap<u128, u32, FixedState>),
}

impl Lookup {
    /// For groups of so many documents by these.
    fn new(keys: &[Coder], documents: usize) -> Lookup {
        let mut strides = Vec::with_capacity(keys.len());
        let mut places = 1usize;
        for key in keys.iter().rev() {
            strides.push(places);
            let codes = key.codes_max().unwrap_or(usize::MAX);
            places = places.saturating_mul(codes);
        }
        strides.reverse();
        let most = documents.saturating_mul(DENSE_PLACES_PER_DOCUMENT).min(DENSE_PLACES_MAX);
        if places > most {
            return Lookup::Sparse(HashMap::default());
        }
        Lookup::Dense { places: vec![0; places], strides }
    }

    /// The number of a key's group, which `next` becomes if it has none; the latter is told.
    fn find(&mut self, key: u128, next: u32) -> (u32, bool) {
        match self {
            Lookup::Dense { places, strides } => {
                let code = |n: usize| (key >> (32 * (strides.len() - 1 - n))) as u32 as usize;
                let at: usize = strides.iter().enumerate().map(|(n, by)| code(n) * by).sum();
                match places.get_mut(at) {
                    Some(0) => {
                        if let Some(place) = places.get_mut(at) {
                            *place = next + 1;
                        }
                        (next, true)
                    }
                    Some(group) => (*group - 1, false),
                    None => (next, true),
                }
            }
            Lookup::Sparse(groups) => match groups.entry(key) {
                Entry::Occupied(entry) => (*entry.get(), false),
                Entry::Vacant(entry) => (*entry.insert(next), true),
            },
        }
    }
}

struct Counter {
    times: Column<i64>,
    functions: Vec<Function>,
    groups: Lookup,
    /// For each group, one for each aggregate.
    states: Vec<Local>,
    keys: Vec<u128>,
    groups_max: usize,
    left_out: bool,
}

impl Counter {
    fn block(&mut self, docs: &[u32], keys: &mut [Coder], values: &mut [Option<Coder>]) {
        if keys.iter().all(|key| !key.is_multiple()) {
            let codes: Vec<Vec<Option<u32>>> = keys.iter_mut().map(|key| key.block(docs)).collect();
            for (n, doc) in docs.iter().enumerate() {
                let key = codes.iter().try_fold(0u128, |key, codes| {
                    let code = codes.get(n).copied().flatten()?;
                    Some(key << 32 | u128::from(code))
                });
                if let Some(key) = key {
                    self.add(key, *doc, values);
                }
            }
            return;
        }
        let mut combined = Vec::new();
        for doc in docs {
            combined.clear();
            combined.push(0u128);
            for key in keys.iter_mut() {
                let own = key.codes(*doc);
                combined = combined
                    .iter()
                    .flat_map(|before| own.iter().map(move |code| before << 32 | u128::from(*code)))
                    .collect();
            }
            for key in &combined {
                self.add(*key, *doc, values);
            }
        }
    }

    fn add(&mut self, key: u128, doc: u32, values: &mut [Option<Coder>]) {
        let width = self.functions.len();
        let next = u32::try_from(self.keys.len()).unwrap_or(u32::MAX);
        let (group, is_new) = self.groups.find(key, next);
        let group = group as usize;
        if is_new && self.keys.len() < self.groups_max {
            self.keys.push(key);
            for (function, coder) in self.functions.iter().zip(values.iter()) {
                self.states.push(match coder {
                    None => Local::Rows(0),
                    Some(_) if function.is_by_time() => Local::AtTime(0, BTreeSet::new()),
                    Some(coder) if coder.is_number() => Local::Direct(State::new(*function)),
                    Some(_) => Local::Codes(HashMap::default()),
                });
            }
        } else if group >= self.keys.len() {
            self.left_out = true;
            return;
        }
        let states = self.states.iter_mut().skip(group * width).take(width);
        for ((state, function), coder) in states.zip(&self.functions).zip(values) {
            match (state, coder) {
                (Local::Rows(count), _) => *count += 1,
                (Local::Codes(counts), Some(coder)) => {
                    for code in coder.codes(doc) {
                        *counts.entry(code).or_default() += 1;
                    }
                }
                (Local::Direct(state), Some(coder)) => {
                    coder.numbers(doc, |cell| state.add(*function, &cell, 1, None));
                }
                (Local::AtTime(at, codes), Some(coder)) => {
                    let time = self.times.values.get_val(doc);
                    let better = match function {
                        Function::First => time < *at,
                        _ => time > *at,
                    };
                    if better || codes.is_empty() || time == *at {
                        let own = coder.codes(doc);
                        if better && !own.is_empty() {
                            codes.clear();
                        }
                        if !own.is_empty() {
                            *at = time;
                            codes.extend(own);
                        }
                    }
                }
                _ => {}
            }
        }
    }

    fn absorb(&mut self, other: Counter, keys: &[Recoded], values: &[Recoded]) {
        let width = self.functions.len();
        self.left_out |= other.left_out;
        let mut states = other.states.into_iter();
        for key in other.keys {
            let own = keys.iter().enumerate().fold(0u128, |own, (n, _)| {
                let code = (key >> (32 * (keys.len() - 1 - n))) as u32;
                own << 32 | u128::from(recoded(keys.get(n), code))
            });
            let more = states.by_ref().take(width);
            let more = more.zip(values).map(|(state, codes)| state.recoded(codes));
            let next = u32::try_from(self.keys.len()).unwrap_or(u32::MAX);
            let (group, is_new) = self.groups.find(own, next);
            let group = group as usize;
            if is_new && self.keys.len() < self.groups_max {
                self.keys.push(own);
                self.states.extend(more);
            } else if group >= self.keys.len() {
                self.left_out = true;
                more.for_each(drop);
            } else {
                let into = self.states.iter_mut().skip(group * width).take(width);
                for ((into, more), function) in into.zip(more).zip(&self.functions) {
                    into.merge(*function, more);
                }
            }
        }
    }

    fn finish(
        self,
        stats: &Stats,
        keys: &[Coder],
        values: &[Option<Coder>],
    ) -> tantivy::Result<Groups> {
        let mut groups = Groups::new(&stats.aggregates, self.groups_max);
        let code_of = |key: u128, n: usize| (key >> (32 * (keys.len() - 1 - n))) as u32;
        let mut names = Vec::with_capacity(keys.len());
        for (n, coder) in keys.iter().enumerate() {
            names.push(coder.cells(self.keys.iter().map(|key| code_of(*key, n)).collect())?);
        }
        let width = self.functions.len().max(1);
        let mut value_names: Vec<HashMap<u32, Cell, FixedState>> = Vec::new();
        for (n, coder) in values.iter().enumerate() {
            let mut used = Vec::new();
            for state in self.states.iter().skip(n).step_by(width) {
                match state {
                    Local::Codes(counts) => used.extend(counts.keys().copied()),
                    Local::AtTime(_, codes) => used.extend(codes),
                    Local::Rows(_) | Local::Direct(_) => {}
                }
            }
            value_names.push(match coder {
                Some(coder) => coder.cells(used)?,
                None => HashMap::default(),
            });
        }
        let mut states = self.states.into_iter();
        for key in &self.keys {
            let cells = names
                .iter()
                .enumerate()
                .map(|(n, names)| names.get(&code_of(*key, n)).cloned().unwrap_or_default())
                .collect();
            let finished = self
                .functions
                .iter()
                .zip(&value_names)
                .zip(states.by_ref())
                .map(|((function, names), local)| match local {
                    Local::Rows(count) => State::Count(count),
                    Local::Direct(state) => state,
                    Local::Codes(counts) => {
                        let mut state = State::new(*function);
                        for (code, times) in counts {
                            if let Some(cell) = names.get(&code) {
                                state.add(*function, cell, times, None);
                            }
                        }
                        state
                    }
                    Local::AtTime(at, codes) => {
                        let mut state = State::new(*function);
                        let at = Some(Timestamp::from_nanos(at));
                        for cell in codes.iter().filter_map(|code| names.get(code)) {
                            state.add(*function, cell, 1, at);
                        }
                        state
                    }
                })
                .collect();
            groups.merge(cells, finished);
        }
        if self.left_out {
            groups.set_overflowed();
        }
        Ok(groups)
    }
}

/// Turns the values of a field into small numbers, and back.
pub(crate) struct Coder {
    columns: Vec<Source>,
    /// Cuts times to steps.
    cut: Option<Pipe>,
    /// The codes given out, unless codes are the ordinals of the one dictionary.
    given: HashMap<(u8, u64), u32, FixedState>,
    origins: Vec<(u8, u64)>,
}

/// A value that is no text as [`Coder::sort_keys`] gives it; times by whole milliseconds.
fn sort_key(cell: &Cell) -> (u8, i128) {
    let value = match cell {
        Cell::Bool(value) => i128::from(*value),
        Cell::Time(time) => i128::from(time.as_millis()),
        Cell::Int(number) => ordered(*number as f64, i128::from(*number)),
        Cell::Float(number) => ordered(*number, 0),
        Cell::Null | Cell::Text(_) | Cell::List(_) => 0,
    };
    (sort_rank(cell), value)
}

/// A number by its size as a float, and whole ones beyond the precision of floats by themselves.
fn ordered(number: f64, whole: i128) -> i128 {
    let bits = number.to_bits() as i64;
    // The usual turn: negative floats stand in the order of their bits, backwards.
    let order = if bits < 0 { i64::MIN ^ !bits } else { bits };
    (i128::from(order) << 64) + whole
}

enum Source {
    Text(StrColumn),
    Int(Column<i64>),
    Uint(Column<u64>),
    Float(Column<f64>),
    Bool(Column<bool>),
    Date(Column<tantivy::DateTime>),
    /// `@timestamp`, which every document has.
    Time(Column<i64>),
}

impl Coder {
    pub(crate) fn new(
        segment: &Segment<'_>,
        field: &str,
        cut: Option<&Pipe>,
    ) -> Result<Coder, Stop> {
        let mut columns = Vec::new();
        if field == TIME {
            columns.push(Source::Time(segment.columns.time.clone()));
        }
        // A step of time wants times only.
        if cut.is_none() {
            for column in segment.columns.open(field)? {
                columns.push(match column {
                    DynamicColumn::Str(column) => Source::Text(column),
                    DynamicColumn::I64(column) => Source::Int(column),
                    DynamicColumn::U64(column) => Source::Uint(column),
                    DynamicColumn::F64(column) => Source::Float(column),
                    DynamicColumn::Bool(column) => Source::Bool(column),
                    DynamicColumn::DateTime(column) => Source::Date(column),
                    DynamicColumn::IpAddr(_) | DynamicColumn::Bytes(_) => continue,
                });
            }
        }
        Ok(Coder { columns, cut: cut.cloned(), given: HashMap::default(), origins: Vec::new() })
    }

    /// Gives codes to the values that another slice of the same segment met; says what its codes are
    /// here, unless they are the same.
    fn adopt(&mut self, other: &Coder) -> Recoded {
        if matches!(self.columns.as_slice(), [Source::Text(_)]) {
            return None;
        }
        Some(other.origins.iter().map(|origin| self.code(*origin)).collect())
    }

    /// The code of a value.
    fn code(&mut self, origin: (u8, u64)) -> u32 {
        let origins = &mut self.origins;
        *self.given.entry(origin).or_insert_with(|| {
            origins.push(origin);
            u32::try_from(origins.len() - 1).unwrap_or(u32::MAX)
        })
    }

    fn is_multiple(&self) -> bool {
        match self.columns.as_slice() {
            [] => false,
            [one] => one.cardinality() == Cardinality::Multivalued,
            _ => true,
        }
    }

    /// One more than the greatest code there can be, if that is known before.
    fn codes_max(&self) -> Option<usize> {
        match self.columns.as_slice() {
            [] => Some(1),
            [Source::Text(column)] => Some(column.num_terms().max(1)),
            _ => None,
        }
    }

    /// Whether values are numbers or times of one type.
    fn is_number(&self) -> bool {
        matches!(self.columns.as_slice(), [one] if !matches!(one, Source::Text(_)))
    }

    /// The codes of a block of documents, of a field with at most one value in each.
    fn block(&mut self, docs: &[u32]) -> Vec<Option<u32>> {
        if let [Source::Text(column)] = self.columns.as_slice() {
            let mut ords = vec![None; docs.len()];
            column.ords().first_vals(docs, &mut ords);
            return ords
                .into_iter()
                .map(|ord| ord.and_then(|ord| u32::try_from(ord).ok()))
                .collect();
        }
        let [column] = self.columns.as_slice() else { return vec![None; docs.len()] };
        let (given, origins, cut) = (&mut self.given, &mut self.origins, &self.cut);
        // Times come in runs of the same step, and many numbers in runs of the same value.
        let mut last: Option<(u64, u32)> = None;
        docs.iter()
            .map(|doc| {
                let mut found = None;
                column.bits(*doc, |bits| found = Some(bits));
                let bits = match cut {
                    Some(pipe) => {
                        let time = Timestamp::from_nanos(found? as i64);
                        pipe.cut_time(time).as_nanos() as u64
                    }
                    None => found?,
                };
                if let Some((_, code)) = last.filter(|(before, _)| *before == bits) {
                    return Some(code);
                }
                let code = *given.entry((0, bits)).or_insert_with(|| {
                    origins.push((0, bits));
                    u32::try_from(origins.len() - 1).unwrap_or(u32::MAX)
                });
                last = Some((bits, code));
                Some(code)
            })
            .collect()
    }

    /// The codes of a document's different values.
    pub(crate) fn codes(&mut self, doc: u32) -> Vec<u32> {
        if let [Source::Text(column)] = self.columns.as_slice() {
            let mut codes: Vec<u32> =
                column.term_ords(doc).filter_map(|ord| u32::try_from(ord).ok()).collect();
            codes.sort_unstable();
            codes.dedup();
            return codes;
        }
        let mut raw = Vec::new();
        for (n, column) in (0u8..).zip(&self.columns) {
            column.bits(doc, |bits| raw.push((n, bits)));
        }
        if let Some(pipe) = &self.cut {
            for (_, bits) in &mut raw {
                let time = Timestamp::from_nanos(*bits as i64);
                *bits = pipe.cut_time(time).as_nanos() as u64;
            }
        }
        raw.sort_unstable();
        raw.dedup();
        raw.into_iter().map(|origin| self.code(origin)).collect()
    }

    /// The different numbers of a document.
    fn numbers(&self, doc: u32, mut each: impl FnMut(Cell)) {
        let Some(column) = self.columns.first() else { return };
        let mut seen: Option<u64> = None;
        let mut more: Vec<u64> = Vec::new();
        column.bits(doc, |bits| {
            if seen.is_some_and(|seen| seen == bits) || more.contains(&bits) {
                return;
            }
            match seen {
                None => seen = Some(bits),
                Some(_) => more.push(bits),
            }
            each(column.cell(bits));
        });
    }

    /// The different values of a document that are no texts.
    pub(crate) fn each(&self, doc: u32, mut each: impl FnMut(Cell)) {
        let mut seen: Vec<(u8, u64)> = Vec::new();
        for (n, column) in (0u8..).zip(&self.columns) {
            if matches!(column, Source::Text(_)) {
                continue;
            }
            column.bits(doc, |bits| {
                if !seen.contains(&(n, bits)) {
                    seen.push((n, bits));
                    each(column.cell(bits));
                }
            });
        }
    }

    /// All values of a document.
    pub(crate) fn values(&self, doc: u32, cells: &mut Vec<Cell>) -> Result<(), Stop> {
        self.each(doc, |cell| cells.push(cell));
        for column in &self.columns {
            let Source::Text(column) = column else { continue };
            let mut text = String::new();
            for ord in column.term_ords(doc) {
                text.clear();
                if column.ord_to_str(ord, &mut text)? {
                    cells.push(Cell::Text(text.clone()));
                }
            }
        }
        Ok(())
    }

    /// The values of a document as numbers that stand to each other as the values do: of what type it
    /// is, and which of that type.
    pub(crate) fn sort_keys(&self, doc: u32, mut each: impl FnMut((u8, i128))) {
        for column in &self.columns {
            match column {
                // Odd places are for texts that are not in the dictionary.
                Source::Text(column) => {
                    let rank = sort_rank(&Cell::Text(String::new()));
                    column.term_ords(doc).for_each(|ord| each((rank, 2 * i128::from(ord) + 1)));
                }
                other => other.bits(doc, |bits| each(sort_key(&other.cell(bits)))),
            }
        }
    }

    /// Where a value stands among those of [`Coder::sort_keys`].
    pub(crate) fn sort_key_of(&self, cell: &Cell) -> Result<(u8, i128), Stop> {
        let Cell::Text(text) = cell else { return Ok(sort_key(cell)) };
        let mut place = 0;
        for column in &self.columns {
            let Source::Text(column) = column else { continue };
            let (mut low, mut high) = (0, column.num_terms() as u64);
            let mut term = String::new();
            while low < high {
                let middle = low + (high - low) / 2;
                term.clear();
                column.ord_to_str(middle, &mut term)?;
                match term.as_str().cmp(text) {
                    std::cmp::Ordering::Less => low = middle + 1,
                    std::cmp::Ordering::Greater => high = middle,
                    std::cmp::Ordering::Equal => {
                        return Ok((sort_rank(cell), 2 * i128::from(middle) + 1));
                    }
                }
            }
            place = 2 * i128::from(low);
        }
        Ok((sort_rank(cell), place))
    }

    /// What these codes stand for.
    pub(crate) fn cells(
        &self,
        mut codes: Vec<u32>,
    ) -> tantivy::Result<HashMap<u32, Cell, FixedState>> {
        sort_codes(&mut codes);
        let mut cells = HashMap::with_capacity_and_hasher(codes.len(), FixedState::default());
        let mut texts: Vec<(u8, u64, u32)> = Vec::new();
        let plain = matches!(self.columns.as_slice(), [Source::Text(_)]);
        for code in codes {
            let origin = if plain {
                Some((0, u64::from(code)))
            } else {
                self.origins.get(code as usize).copied()
            };
            let Some((n, bits)) = origin else { continue };
            match self.columns.get(usize::from(n)) {
                Some(Source::Text(_)) => texts.push((n, bits, code)),
                Some(column) => {
                    cells.insert(code, column.cell(bits));
                }
                None => {}
            }
        }
        texts.sort_unstable();
        for (n, column) in (0u8..).zip(&self.columns) {
            let Source::Text(column) = column else { continue };
            let own: Vec<(u64, u32)> = texts
                .iter()
                .filter(|(of, ..)| *of == n)
                .map(|(_, ord, code)| (*ord, *code))
                .collect();
            let ords: Vec<u64> = own.iter().map(|(ord, _)| *ord).collect();
            let mut codes = own.iter().map(|(_, code)| *code);
            column.dictionary().sorted_ords_to_term_cb(&ords, |term| {
                if let Some(code) = codes.next() {
                    cells.insert(code, Cell::Text(String::from_utf8_lossy(term).into_owned()));
                }
            })?;
        }
        Ok(cells)
    }
}

/// Sorts codes, each once. They are small numbers, and there may be one for each group.
fn sort_codes(codes: &mut Vec<u32>) {
    let most = codes.iter().copied().max().unwrap_or_default() as usize;
    if most > 8 * codes.len() {
        codes.sort_unstable();
        codes.dedup();
        return;
    }
    let mut is_used = vec![false; most + 1];
    for code in codes.iter() {
        if let Some(used) = is_used.get_mut(*code as usize) {
            *used = true;
        }
    }
    codes.clear();
    codes.extend((0u32..).zip(is_used).filter(|(_, used)| *used).map(|(code, _)| code));
}

impl Source {
    fn cardinality(&self) -> Cardinality {
        match self {
            Source::Text(column) => column.ords().get_cardinality(),
            Source::Int(column) | Source::Time(column) => column.get_cardinality(),
            Source::Uint(column) => column.get_cardinality(),
            Source::Float(column) => column.get_cardinality(),
            Source::Bool(column) => column.get_cardinality(),
            Source::Date(column) => column.get_cardinality(),
        }
    }

    /// The values of a document as 64 bits, which [`Source::cell`] reads back.
    fn bits(&self, doc: u32, each: impl FnMut(u64)) {
        match self {
            Source::Text(column) => column.term_ords(doc).for_each(each),
            Source::Int(column) | Source::Time(column) => {
                column.values_for_doc(doc).map(|n| n as u64).for_each(each);
            }
            Source::Uint(column) => column.values_for_doc(doc).for_each(each),
            Source::Float(column) => column.values_for_doc(doc).map(f64::to_bits).for_each(each),
            Source::Bool(column) => column.values_for_doc(doc).map(u64::from).for_each(each),
            Source::Date(column) => {
                let nanos = |time: tantivy::DateTime| time.into_timestamp_nanos() as u64;
                column.values_for_doc(doc).map(nanos).for_each(each);
            }
        }
    }

    fn cell(&self, bits: u64) -> Cell {
        match self {
            Source::Text(_) => Cell::Null,
            Source::Int(_) => Cell::Int(bits as i64),
            Source::Uint(_) => i64::try_from(bits).map_or(Cell::Float(bits as f64), Cell::Int),
            Source::Float(_) => Cell::number(f64::from_bits(bits)),
            Source::Bool(_) => Cell::Bool(bits == 1),
            Source::Date(_) | Source::Time(_) => Cell::Time(Timestamp::from_nanos(bits as i64)),
        }
    }
}
