//! The query DSL: from JSON to a filter.
//!
//! Every query is an object with one entry, its name. What does not change which events are found
//! (`boost`, `_name`, caching) is let pass; every other option must be known.

use event::Timestamp;
use event::ecs::{Type, field_type};
use indexing::TIE_BREAKER;
use jiff::tz::TimeZone;
use query::{
    At, Bound, FieldName, FieldTest, Filter, Glob, Pattern, Piece, Term, Test, TimeRange, WordTest,
};
use serde_json::{Map, Value};

use crate::error::Refusal;
use crate::json::{self, known, list, object, only, scalar, text, texts, truth};
use crate::{dates, lucene};

/// How deep queries may nest. Programs that write them stay below ten.
const DEPTH_MAX: usize = 32;

/// The most values of one list; Elasticsearch's own bound.
const TERMS_MAX: usize = 65_536;

/// The most alternatives of which several must hold. All their combinations are written out.
const SHOULD_OF_MAX: usize = 10;

/// The most memory that a compiled regular expression may take; a request may have hundreds.
const REGEX_BYTES_MAX: usize = 1024 * 1024;

/// What never changes which events are found.
const HARMLESS: &[&str] = &["boost", "_name"];

/// Queries that are refused although they are known, and why.
const REFUSED: &[(&str, &str)] = &[
    (
        "nested",
        "objects in lists are flattened here, so that a list of objects has no members to look into one by one; name the field itself (`a.b`)",
    ),
    ("fuzzy", "words are compared exactly; use [wildcard] or [regexp]"),
    ("function_score", "nothing is scored; send its [query] alone"),
    ("script", "no scripts are run; say it with [range], [terms] or [query_string]"),
    ("script_score", "no scripts are run; send its [query] alone"),
    ("more_like_this", "nothing is scored; use [match]"),
    ("geo_distance", "there are no geographical queries; use [terms] on a place's name or code"),
    (
        "geo_bounding_box",
        "there are no geographical queries; use [terms] on a place's name or code",
    ),
    ("has_child", "events have no children"),
    ("has_parent", "events have no parents"),
    ("knn", "there are no vectors here"),
];

/// Reads a query.
///
/// # Errors
/// When it is not known, or something in it is wrong.
pub fn filter(query: &Value, now: Timestamp) -> Result<Filter, Refusal> {
    Reader { now }.query("query", query, 0)
}

/// The range of time outside of which nothing passes: what is said of `@timestamp` for all events.
pub fn time_range(filter: &Filter) -> TimeRange {
    let mut range = TimeRange::ALL;
    let parts = match filter {
        Filter::And(all) => all.as_slice(),
        one => std::slice::from_ref(one),
    };
    for part in parts {
        let Filter::Field(test) = part else { continue };
        let Test::Range { low, high } = &test.test else { continue };
        if test.field.as_str() != "@timestamp" {
            continue;
        }
        if let Bound::Including(term) | Bound::Excluding(term) = low
            && let Some(time) = term.time()
        {
            range.since = Some(range.since.map_or(time, |since| since.max(time)));
        }
        if let Bound::Including(term) | Bound::Excluding(term) = high
            && let Some(time) = term.time()
        {
            let until = time.plus_nanos(1);
            range.until = Some(range.until.map_or(until, |before| before.min(until)));
        }
    }
    range
}

/// The field that a name means. Elastic's templates index some fields of ECS in several ways, under
/// names of their own, which are one here.
pub(crate) fn field_name(name: &str) -> &str {
    if name == "_id" {
        return TIE_BREAKER;
    }
    match name.rsplit_once('.') {
        Some((field, "keyword")) => field,
        Some((field, "caseless" | "text")) if field_type(field).is_some() => field,
        _ => name,
    }
}

/// Whether a field holds times.
pub(crate) fn is_date(field: &str) -> bool {
    field == "@timestamp" || field_type(field) == Some(Type::Date)
}

/// A test of a field.
pub(crate) fn test(field: &str, test: Test) -> Filter {
    Filter::Field(FieldTest { field: FieldName::new(field_name(field)), test, at: At(0) })
}

/// No event.
pub(crate) fn nothing() -> Filter {
    Filter::All.negated()
}

/// Words in any field; no words are in none.
pub(crate) fn words(pattern: Pattern) -> Filter {
    let words = pattern.words();
    if words.is_empty() {
        return nothing();
    }
    Filter::Words(WordTest { pattern, words, at: At(0) })
}

/// A field that looks like this; anything will do if it is there.
pub(crate) fn like(field: &str, glob: Glob) -> Filter {
    match glob.literal() {
        _ if glob.pieces() == [Piece::Any] => test(field, Test::Exists),
        Some(text) => test(field, Test::Equal(Term::new(text))),
        None => test(field, Test::Like(glob)),
    }
}

/// A regular expression of Lucene's, which is for the whole value.
pub(crate) fn regex(
    path: &str,
    field: &str,
    text: &str,
    case_insensitive: bool,
) -> Result<Filter, Refusal> {
    let mut escaped = false;
    let mut class = false;
    for c in text.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '[' => class = true,
            ']' => class = false,
            '~' | '&' | '<' | '>' | '#' | '@' if !class => {
                let reason = format!(
                    "`{c}` is one of Lucene's operators in a regular expression, of which none is supported; write `\\{c}` for the letter"
                );
                return Err(Refusal::parsing(path, reason));
            }
            _ => {}
        }
    }
    // Lucene's classes are of ASCII, and more letters may be escaped there than here.
    let mut pattern = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let next = (c == '\\').then(|| chars.next()).flatten();
        match next {
            None => pattern.push(c),
            Some('d') => pattern.push_str("[0-9]"),
            Some('w') => pattern.push_str("[0-9A-Za-z_]"),
            Some('s') => pattern.push_str("[ \\t\\n\\r]"),
            Some('D') => pattern.push_str("[^0-9]"),
            Some('W') => pattern.push_str("[^0-9A-Za-z_]"),
            Some('S') => pattern.push_str("[^ \\t\\n\\r]"),
            Some(next) if next.is_ascii_alphanumeric() => pattern.extend(['\\', next]),
            Some(next) => pattern.push_str(&regex::escape(next.encode_utf8(&mut [0; 4]))),
        }
    }
    // Flags are written out, so that expressions of the same text are the same.
    let flags = if case_insensitive { "is" } else { "s-i" };
    let built = regex::RegexBuilder::new(&format!("(?{flags})^(?:{pattern})$"))
        .size_limit(REGEX_BYTES_MAX)
        .dfa_size_limit(REGEX_BYTES_MAX)
        .build();
    match built {
        Ok(regex) => Ok(test(field, Test::Regex(regex))),
        Err(error) => {
            let error = error.to_string();
            let line = error.lines().last().unwrap_or_default().trim();
            Err(Refusal::parsing(path, format!("no regular expression: {line}")))
        }
    }
}

/// The ends of a range, as they are written.
#[derive(Debug, Default)]
pub(crate) struct Ends<'a> {
    pub(crate) gt: Option<String>,
    pub(crate) gte: Option<String>,
    pub(crate) lt: Option<String>,
    pub(crate) lte: Option<String>,
    pub(crate) format: Option<&'a str>,
    pub(crate) zone: Option<&'a str>,
}

/// A range of a field's values.
pub(crate) fn range(
    path: &str,
    field: &str,
    ends: &Ends<'_>,
    now: Timestamp,
) -> Result<Filter, Refusal> {
    let field = field_name(field);
    let reckons = [&ends.gt, &ends.gte, &ends.lt, &ends.lte]
        .into_iter()
        .flatten()
        .any(|text| text.starts_with("now") || text.contains("||"));
    let zone = match ends.zone {
        Some(zone) => dates::zone(zone)
            .ok_or_else(|| Refusal::parsing(path, format!("there is no time zone [{zone}]")))?,
        None => TimeZone::UTC,
    };
    let as_dates = is_date(field) || reckons || ends.format.is_some();
    // Which moment of what is written counts: its first, or the first after it.
    let term = |text: &str, after: bool| -> Result<Term, Refusal> {
        if !as_dates {
            return Ok(Term::new(text));
        }
        let Some((first, end)) = dates::read(text, now, ends.format, &zone) else {
            let reason = format!(
                "failed to parse date [{text}]; milliseconds, ISO 8601 and reckoning (now-15m/d) are read"
            );
            return Err(Refusal::parsing(path, reason));
        };
        Ok(Term::new(if after { end } else { first }.to_string()))
    };
    let low = match (&ends.gte, &ends.gt) {
        (Some(_), Some(_)) => return Err(Refusal::parsing(path, "there is both [gt] and [gte]")),
        (Some(text), None) => Bound::Including(term(text, false)?),
        (None, Some(text)) if as_dates => Bound::Including(term(text, true)?),
        (None, Some(text)) => Bound::Excluding(term(text, true)?),
        (None, None) => Bound::Open,
    };
    let high = match (&ends.lte, &ends.lt) {
        (Some(_), Some(_)) => return Err(Refusal::parsing(path, "there is both [lt] and [lte]")),
        (Some(text), None) if as_dates => Bound::Excluding(term(text, true)?),
        (Some(text), None) => Bound::Including(term(text, true)?),
        (None, Some(text)) => Bound::Excluding(term(text, false)?),
        (None, None) => Bound::Open,
    };
    if low == Bound::Open && high == Bound::Open {
        return Ok(test(field, Test::Exists));
    }
    Ok(test(field, Test::Range { low, high }))
}

struct Reader {
    now: Timestamp,
}

impl Reader {
    fn query(&self, path: &str, query: &Value, depth: usize) -> Result<Filter, Refusal> {
        if depth > DEPTH_MAX {
            return Err(Refusal::parsing(path, format!("nested deeper than {DEPTH_MAX} levels")));
        }
        let (name, body) = only(path, query)?;
        let path = format!("{path}.{name}");
        let path = path.as_str();
        match name {
            "match_all" => {
                known(path, object(path, body)?, &[], HARMLESS)?;
                Ok(Filter::All)
            }
            "match_none" => {
                known(path, object(path, body)?, &[], HARMLESS)?;
                Ok(nothing())
            }
            "bool" => self.bool(path, body, depth),
            "constant_score" => {
                let map = object(path, body)?;
                known(path, map, &["filter"], HARMLESS)?;
                let inner = map.get("filter").ok_or_else(|| missing(path, "filter"))?;
                self.query(&format!("{path}.filter"), inner, depth + 1)
            }
            "dis_max" => {
                let map = object(path, body)?;
                known(path, map, &["queries"], &["boost", "_name", "tie_breaker"])?;
                let queries = map.get("queries").ok_or_else(|| missing(path, "queries"))?;
                Ok(Filter::or(self.queries(&format!("{path}.queries"), queries, depth)?))
            }
            "term" => {
                let (field, value) =
                    self.field_value(path, body, "value", &["case_insensitive"])?;
                Ok(test(field, Test::Equal(Term::new(value))))
            }
            "terms" => self.terms(path, body),
            "match" => {
                let options = &[
                    "operator",
                    "minimum_should_match",
                    "lenient",
                    "analyzer",
                    "zero_terms_query",
                    "auto_generate_synonyms_phrase_query",
                ];
                let (field, value) = self.field_value(path, body, "query", options)?;
                let all = self.is_and(path, options_of(body))?;
                self.least(path, options_of(body))?;
                Ok(some_words(field, &value, all))
            }
            "match_phrase" | "match_phrase_prefix" => {
                let options = &["slop", "analyzer", "max_expansions", "zero_terms_query"];
                let (field, value) = self.field_value(path, body, "query", options)?;
                if let Some(slop) = options_of(body).and_then(|options| options.get("slop"))
                    && json::count(path, slop)? > 0
                {
                    return Err(Refusal::parsing(
                        path,
                        "the words of a phrase must stand side by side; [slop] must be 0",
                    ));
                }
                Ok(phrase(field, &value, name == "match_phrase_prefix"))
            }
            "multi_match" => self.multi_match(path, body),
            "range" => self.range(path, body),
            "exists" => {
                let map = object(path, body)?;
                known(path, map, &["field"], HARMLESS)?;
                let field = text(path, map.get("field").ok_or_else(|| missing(path, "field"))?)?;
                Ok(test(field, Test::Exists))
            }
            "prefix" => {
                let (field, value) =
                    self.field_value(path, body, "value", &["case_insensitive", "rewrite"])?;
                Ok(like(field, Glob::new([Piece::Literal(value), Piece::Any])))
            }
            "wildcard" => {
                let options = &["case_insensitive", "rewrite"];
                let key = if options_of(body).is_some_and(|o| o.contains_key("wildcard")) {
                    "wildcard"
                } else {
                    "value"
                };
                let (field, value) = self.field_value(path, body, key, options)?;
                Ok(like(field, lucene::glob(&value)))
            }
            "regexp" => {
                let options = &["case_insensitive", "flags", "max_determinized_states", "rewrite"];
                let (field, value) = self.field_value(path, body, "value", options)?;
                let insensitive = match options_of(body).and_then(|o| o.get("case_insensitive")) {
                    Some(value) => truth(path, value)?,
                    None => false,
                };
                regex(path, field, &value, insensitive)
            }
            "ids" => {
                let map = object(path, body)?;
                known(path, map, &["values"], HARMLESS)?;
                let values =
                    texts(path, map.get("values").ok_or_else(|| missing(path, "values"))?)?;
                Ok(one_of(path, TIE_BREAKER, values)?)
            }
            "query_string" => self.query_string(path, body),
            "simple_query_string" => self.simple_query_string(path, body),
            other => Err(match REFUSED.iter().find(|(name, _)| *name == other) {
                Some((_, why)) => {
                    Refusal::parsing(path, format!("[{other}] is not supported: {why}"))
                }
                None => Refusal::parsing(path, format!("unknown query [{other}]")),
            }),
        }
    }

    fn queries(&self, path: &str, value: &Value, depth: usize) -> Result<Vec<Filter>, Refusal> {
        let many = value.is_array();
        list(value)
            .iter()
            .enumerate()
            .map(|(n, query)| {
                let path = if many { format!("{path}[{n}]") } else { path.to_owned() };
                self.query(&path, query, depth + 1)
            })
            .collect()
    }

    fn bool(&self, path: &str, body: &Value, depth: usize) -> Result<Filter, Refusal> {
        let map = object(path, body)?;
        known(
            path,
            map,
            &["must", "filter", "should", "must_not", "minimum_should_match"],
            &["boost", "_name", "adjust_pure_negative"],
        )?;
        let part = |name: &str| match map.get(name) {
            Some(value) => self.queries(&format!("{path}.{name}"), value, depth),
            None => Ok(Vec::new()),
        };
        let mut all = part("must")?;
        all.extend(part("filter")?);
        let should = part("should")?;
        let least = match map.get("minimum_should_match") {
            Some(value) => minimum(path, value, should.len())?,
            None => usize::from(all.is_empty() && !should.is_empty()),
        };
        if least > 0 {
            all.push(at_least(path, least, should)?);
        }
        all.extend(part("must_not")?.into_iter().map(Filter::negated));
        Ok(Filter::and(all))
    }

    /// `{"field": value}` or `{"field": {key: value, ..}}`.
    fn field_value<'v>(
        &self,
        path: &str,
        body: &'v Value,
        key: &str,
        options: &[&str],
    ) -> Result<(&'v str, String), Refusal> {
        let (field, value) = only(path, body)?;
        let Value::Object(map) = value else { return Ok((field, scalar(path, value)?)) };
        let mut read = vec![key];
        read.extend(options);
        let path = format!("{path}.{field}");
        known(&path, map, &read, HARMLESS)?;
        Ok((field, scalar(&path, map.get(key).ok_or_else(|| missing(&path, key))?)?))
    }

    fn terms(&self, path: &str, body: &Value) -> Result<Filter, Refusal> {
        let map = object(path, body)?;
        let mut fields = map.iter().filter(|(name, _)| !HARMLESS.contains(&name.as_str()));
        let (Some((field, values)), None) = (fields.next(), fields.next()) else {
            return Err(Refusal::parsing(path, "one field with a list of values is expected here"));
        };
        let Value::Array(values) = values else {
            return Err(Refusal::parsing(
                path,
                "a list of values is expected; terms are not looked up in other indices",
            ));
        };
        let values = values.iter().map(|value| scalar(path, value)).collect::<Result<_, _>>()?;
        one_of(path, field, values)
    }

    fn is_and(&self, path: &str, options: Option<&Map<String, Value>>) -> Result<bool, Refusal> {
        let Some(value) = options.and_then(|options| options.get("operator")) else {
            return Ok(false);
        };
        operator(path, value)
    }

    fn least(&self, path: &str, options: Option<&Map<String, Value>>) -> Result<(), Refusal> {
        match options.and_then(|options| options.get("minimum_should_match")) {
            None => Ok(()),
            Some(value) if scalar(path, value)? == "1" => Ok(()),
            Some(_) => Err(Refusal::parsing(
                path,
                "[minimum_should_match] of words must be 1; use [operator] and",
            )),
        }
    }

    fn multi_match(&self, path: &str, body: &Value) -> Result<Filter, Refusal> {
        let map = object(path, body)?;
        let harmless = &["boost", "_name", "tie_breaker", "lenient", "analyzer", "max_expansions"];
        known(
            path,
            map,
            &["query", "fields", "type", "operator", "minimum_should_match"],
            harmless,
        )?;
        self.least(path, Some(map))?;
        let value = scalar(path, map.get("query").ok_or_else(|| missing(path, "query"))?)?;
        let all = self.is_and(path, Some(map))?;
        let fields = self.fields(path, map)?;
        let kind = map.get("type").map(|kind| text(path, kind)).transpose()?;
        let each = |field: &str| match kind {
            None | Some("best_fields" | "most_fields" | "cross_fields") => {
                Ok(some_words(field, &value, all))
            }
            Some("phrase") => Ok(phrase(field, &value, false)),
            Some("phrase_prefix") => Ok(phrase(field, &value, true)),
            Some(other) => {
                Err(Refusal::parsing(path, format!("[type] [{other}] is not supported")))
            }
        };
        if fields.is_empty() {
            return each("*");
        }
        Ok(Filter::or(fields.iter().map(|field| each(field)).collect::<Result<_, _>>()?))
    }

    /// The fields that free words look into, without their boosts; all if there are none.
    fn fields(&self, path: &str, map: &Map<String, Value>) -> Result<Vec<String>, Refusal> {
        let mut fields = match (map.get("fields"), map.get("default_field")) {
            (Some(fields), _) => texts(path, fields)?,
            (None, Some(field)) => vec![text(path, field)?.to_owned()],
            (None, None) => Vec::new(),
        };
        for field in &mut fields {
            if let Some((name, _)) = field.split_once('^') {
                *field = name.to_owned();
            }
        }
        if fields.iter().any(|field| field == "*" || field == "_all") {
            fields.clear();
        }
        Ok(fields)
    }

    fn range(&self, path: &str, body: &Value) -> Result<Filter, Refusal> {
        let (field, value) = only(path, body)?;
        let path = format!("{path}.{field}");
        let path = path.as_str();
        let map = object(path, value)?;
        let read = &[
            "gt",
            "gte",
            "lt",
            "lte",
            "from",
            "to",
            "include_lower",
            "include_upper",
            "format",
            "time_zone",
        ];
        known(path, map, read, HARMLESS)?;
        let end = |name: &str| match map.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => scalar(path, value).map(Some),
        };
        let include = |name: &str| map.get(name).map_or(Ok(true), |value| truth(path, value));
        let mut ends = Ends {
            gt: end("gt")?,
            gte: end("gte")?,
            lt: end("lt")?,
            lte: end("lte")?,
            ..Ends::default()
        };
        // The form before `gte`, which some programs still write.
        if let Some(from) = end("from")? {
            *if include("include_lower")? { &mut ends.gte } else { &mut ends.gt } = Some(from);
        }
        if let Some(to) = end("to")? {
            *if include("include_upper")? { &mut ends.lte } else { &mut ends.lt } = Some(to);
        }
        ends.format = map.get("format").map(|format| text(path, format)).transpose()?;
        ends.zone = map.get("time_zone").map(|zone| text(path, zone)).transpose()?;
        range(path, field, &ends, self.now)
    }

    fn query_string(&self, path: &str, body: &Value) -> Result<Filter, Refusal> {
        let map = object(path, body)?;
        let harmless = &[
            "boost",
            "_name",
            "analyze_wildcard",
            "lenient",
            "allow_leading_wildcard",
            "rewrite",
            "analyzer",
            "quote_analyzer",
            "max_determinized_states",
            "enable_position_increments",
            "auto_generate_synonyms_phrase_query",
            "tie_breaker",
        ];
        let read = &["query", "default_field", "fields", "default_operator", "type", "time_zone"];
        known(path, map, read, harmless)?;
        let query = text(path, map.get("query").ok_or_else(|| missing(path, "query"))?)?;
        let options = lucene::Options {
            fields: self.fields(path, map)?,
            all: map.get("default_operator").map_or(Ok(false), |value| operator(path, value))?,
            zone: map.get("time_zone").map(|zone| text(path, zone)).transpose()?,
            now: self.now,
        };
        lucene::parse(query, &options).map_err(|error| Refusal::parsing(path, error.reason))
    }

    fn simple_query_string(&self, path: &str, body: &Value) -> Result<Filter, Refusal> {
        let map = object(path, body)?;
        let harmless = &["boost", "_name", "analyze_wildcard", "lenient", "analyzer"];
        known(path, map, &["query", "fields", "default_operator"], harmless)?;
        let query = text(path, map.get("query").ok_or_else(|| missing(path, "query"))?)?;
        let all = map.get("default_operator").map_or(Ok(false), |value| operator(path, value))?;
        lucene::parse_simple(query, &self.fields(path, map)?, all)
            .map_err(|error| Refusal::parsing(path, error.reason))
    }
}

fn missing(path: &str, key: &str) -> Refusal {
    Refusal::parsing(path, format!("[{key}] is missing"))
}

/// What is said of the one field of a query beside its value.
fn options_of(body: &Value) -> Option<&Map<String, Value>> {
    body.as_object()?.values().next()?.as_object()
}

/// Whether all words must be there.
fn operator(path: &str, value: &Value) -> Result<bool, Refusal> {
    match text(path, value)?.to_ascii_lowercase().as_str() {
        "and" => Ok(true),
        "or" => Ok(false),
        other => {
            Err(Refusal::parsing(path, format!("[{other}] is no operator; it is `and` or `or`")))
        }
    }
}

/// One of these values.
fn one_of(path: &str, field: &str, values: Vec<String>) -> Result<Filter, Refusal> {
    if values.len() > TERMS_MAX {
        return Err(Refusal::parsing(path, format!("more than {TERMS_MAX} values")));
    }
    if values.is_empty() {
        return Ok(nothing());
    }
    Ok(Filter::or(
        values.into_iter().map(|value| test(field, Test::Equal(Term::new(value)))).collect(),
    ))
}

/// One of the words of a text, or all; a field that is no text is compared whole.
pub(crate) fn some_words(field: &str, value: &str, all: bool) -> Filter {
    let any_field = field == "*";
    if !any_field && !query::is_text(field_name(field)) {
        return test(field, Test::Equal(Term::new(value)));
    }
    let each: Vec<Filter> = query::words(value)
        .into_iter()
        .map(|word| match any_field {
            true => words(Pattern::Text(word)),
            false => test(field, Test::Equal(Term::new(word))),
        })
        .collect();
    if each.is_empty() {
        return nothing();
    }
    if all { Filter::and(each) } else { Filter::or(each) }
}

/// Words side by side, the last of them perhaps only begun.
pub(crate) fn phrase(field: &str, value: &str, prefix: bool) -> Filter {
    if prefix {
        let glob = Glob::new([Piece::Literal(value.to_owned()), Piece::Any]);
        return if field == "*" { words(Pattern::Glob(glob)) } else { like(field, glob) };
    }
    match field {
        "*" => words(Pattern::Text(value.to_owned())),
        field => test(field, Test::Equal(Term::new(value))),
    }
}

/// How many of `of` alternatives must hold: a number, less than all (`-1`), a part (`75%`).
fn minimum(path: &str, value: &Value, of: usize) -> Result<usize, Refusal> {
    let text = scalar(path, value)?;
    let wrong = || {
        Refusal::parsing(
            path,
            format!(
                "[minimum_should_match] [{text}] is not supported; it is a number or a percentage"
            ),
        )
    };
    let of = i64::try_from(of).unwrap_or(i64::MAX);
    let least = match text.strip_suffix('%') {
        Some(percent) => {
            let part = percent.parse::<i64>().ok().filter(|p| p.abs() <= 100).ok_or_else(wrong)?
                * of
                / 100;
            if part < 0 { of + part } else { part }
        }
        None => {
            let number = text.parse::<i64>().map_err(|_| wrong())?;
            if number < 0 { of.saturating_add(number) } else { number }
        }
    };
    Ok(usize::try_from(least).unwrap_or(0))
}

fn at_least(path: &str, least: usize, mut filters: Vec<Filter>) -> Result<Filter, Refusal> {
    if least > filters.len() {
        return Ok(nothing());
    }
    if least <= 1 {
        return Ok(Filter::or(filters));
    }
    if least == filters.len() {
        return Ok(Filter::and(filters));
    }
    if filters.len() > SHOULD_OF_MAX {
        let reason = format!("several of more than {SHOULD_OF_MAX} alternatives are not supported");
        return Err(Refusal::parsing(path, reason));
    }
    let Some(last) = filters.pop() else { return Ok(nothing()) };
    let with = Filter::and(vec![at_least(path, least - 1, filters.clone())?, last]);
    Ok(Filter::or(vec![with, at_least(path, least, filters)?]))
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;
    use serde_json::json;

    use super::*;

    fn read(query: Value) -> String {
        let now = Timestamp::parse_rfc3339("2026-08-05T12:00:00Z").unwrap();
        match filter(&query, now) {
            Ok(filter) => filter.to_string(),
            Err(refusal) => format!("{}: {}", refusal.kind, refusal.reason),
        }
    }

    #[test]
    fn queries_become_filters() {
        assert_snapshot!(read(json!({"match_all": {}})), @"*");
        assert_snapshot!(read(json!({"term": {"user.name.keyword": "anna"}})), @"user.name:anna");
        assert_snapshot!(read(json!({"term": {"event.code": {"value": 4624, "boost": 2}}})), @"event.code:4624");
        assert_snapshot!(read(json!({"terms": {"host.name": ["a", "b"]}})), @"host.name:a or host.name:b");
        assert_snapshot!(read(json!({"terms": {"host.name": []}})), @"not *");
        assert_snapshot!(read(json!({"match": {"message": "logon failed"}})), @"message:logon or message:failed");
        assert_snapshot!(read(json!({"match": {"message": {"query": "logon failed", "operator": "AND"}}})), @"message:logon and message:failed");
        assert_snapshot!(read(json!({"match": {"process.name": "a b.exe"}})), @r#"process.name:"a b.exe""#);
        assert_snapshot!(read(json!({"match_phrase": {"message": "logon failed"}})), @r#"message:"logon failed""#);
        assert_snapshot!(read(json!({"match_phrase_prefix": {"message": "logon fai"}})), @r#"message:logon\ fai*"#);
        assert_snapshot!(read(json!({"multi_match": {"query": "anna", "fields": ["user.name^2", "message"]}})), @"user.name:anna or message:anna");
        assert_snapshot!(read(json!({"multi_match": {"query": "anna b"}})), @"anna or b");
        assert_snapshot!(read(json!({"range": {"@timestamp": {"gte": "now-15m", "lte": "now"}}})), @r#"@timestamp:["2026-08-05T11:45:00Z" TO "2026-08-05T12:00:00.001Z"}"#);
        assert_snapshot!(read(json!({"range": {"@timestamp": {"gt": 1785931200000i64, "lt": "2026-08-06", "format": "epoch_millis||strict_date_optional_time"}}})), @r#"@timestamp:["2026-08-05T12:00:00.001Z" TO "2026-08-06T00:00:00Z"}"#);
        assert_snapshot!(read(json!({"range": {"process.pid": {"gte": 4, "lt": 10.5}}})), @"process.pid:[4 TO 10.5}");
        assert_snapshot!(read(json!({"range": {"process.pid": {"from": 4, "to": 5, "include_upper": false}}})), @"process.pid:[4 TO 5}");
        assert_snapshot!(read(json!({"exists": {"field": "user"}})), @"user:*");
        assert_snapshot!(read(json!({"prefix": {"file.path": "C:\\Win*"}})), @r#"file.path:C\:\\Win\**"#);
        assert_snapshot!(read(json!({"wildcard": {"process.name": {"value": "p*\\*?", "case_insensitive": true}}})), @r#"process.name:p*\*?"#);
        assert_snapshot!(read(json!({"regexp": {"process.name": "cmd\\.exe|a.*"}})), @r#"process.name:/(?s-i)^(?:cmd\.exe|a.*)$/"#);
        assert_snapshot!(read(json!({"ids": {"values": ["e1"]}})), @"event.id:e1");
        assert_snapshot!(read(json!({"constant_score": {"filter": {"exists": {"field": "a"}}, "boost": 1.2}})), @"a:*");
        assert_snapshot!(read(json!({"bool": {
            "must": {"term": {"a": 1}}, "filter": [{"term": {"b": true}}],
            "should": [{"term": {"c": "x"}}], "must_not": [{"exists": {"field": "d"}}],
        }})), @"a:1 and b:true and not d:*");
        assert_snapshot!(read(json!({"bool": {
            "should": [{"term": {"a": 1}}, {"term": {"b": 2}}, {"term": {"c": 3}}], "minimum_should_match": 2,
        }})), @"((a:1 or b:2) and c:3) or (a:1 and b:2)");
        assert_snapshot!(read(json!({"bool": {}})), @"*");
    }

    /// Nothing that changes the answer is passed over.
    #[test]
    fn what_is_not_known_is_refused_with_its_path() {
        assert_snapshot!(read(json!({"bool": {"must": [{"term": {"a": 1}}, {"fuzy": {}}]}})), @"parsing_exception: [query.bool.must[1].fuzy] unknown query [fuzy]");
        assert_snapshot!(read(json!({"nested": {"path": "a", "query": {}}})), @"parsing_exception: [query.nested] [nested] is not supported: objects in lists are flattened here, so that a list of objects has no members to look into one by one; name the field itself (`a.b`)");
        assert_snapshot!(read(json!({"term": {"a": {"value": 1, "fuzz": 2}}})), @"parsing_exception: [query.term.a] [fuzz] is not supported here; there are value, case_insensitive");
        assert_snapshot!(read(json!({"term": {"a": 1, "b": 2}})), @"parsing_exception: [query.term] one entry is expected here, but there are [a] and [b]");
        assert_snapshot!(read(json!({"range": {"@timestamp": {"gte": "yesterday"}}})), @"parsing_exception: [query.range.@timestamp] failed to parse date [yesterday]; milliseconds, ISO 8601 and reckoning (now-15m/d) are read");
        assert_snapshot!(read(json!({"match_phrase": {"message": {"query": "a b", "slop": 2}}})), @"parsing_exception: [query.match_phrase] the words of a phrase must stand side by side; [slop] must be 0");
        assert_snapshot!(read(json!({"regexp": {"a": "<1-5>"}})), @r#"parsing_exception: [query.regexp] `<` is one of Lucene's operators in a regular expression, of which none is supported; write `\<` for the letter"#);
        assert_snapshot!(read(json!({"regexp": {"a": "("}})), @"parsing_exception: [query.regexp] no regular expression: error: unclosed group");
        assert_snapshot!(read(json!([])), @"parsing_exception: [query] an object is expected here, but this is a list");
        let mut deep = json!({"match_all": {}});
        for _ in 0..40 {
            deep = json!({"bool": {"must": deep}});
        }
        assert!(read(deep).ends_with("nested deeper than 32 levels"));
    }

    #[test]
    fn what_is_said_of_the_time_prunes() {
        let now = Timestamp::parse_rfc3339("2026-08-05T12:00:00Z").unwrap();
        let query = json!({"bool": {"filter": [
            {"range": {"@timestamp": {"gte": "2026-08-01", "lte": "2026-08-03"}}},
            {"term": {"a": 1}},
        ], "must_not": {"range": {"@timestamp": {"gte": "2026-08-02"}}}}});
        let range = time_range(&filter(&query, now).unwrap());
        assert_eq!(range.since.unwrap().to_string(), "2026-08-01T00:00:00Z");
        assert_eq!(range.until.unwrap().to_string(), "2026-08-04T00:00:00.000000001Z");
    }
}
