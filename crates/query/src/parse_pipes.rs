//! Reads the pipes of a query.

use crate::error::{ParseError, nearest};
use crate::lexer::{Cursor, Place};
use crate::parse::unclosed;
use crate::pipes::columns;
use crate::time::parse_duration;
use crate::tree::{Aggregate, Column, Function, Pattern, Percent, Pipe, Sequence, SortKey, Stats};

/// The most pipes of one query.
const PIPES_MAX: usize = 50;

/// How many rows `head` and `top` give if not said.
const ROWS_DEFAULT: usize = 10;

/// Every pipe, and what it is for.
pub(crate) const PIPES: &[(&str, &str)] = &[
    ("stats", "one row for each group"),
    ("timechart", "one row for each step of time"),
    ("top", "the most frequent values"),
    ("rare", "the least frequent values"),
    ("sort", "in this order"),
    ("head", "the first rows"),
    ("fields", "only these columns"),
    ("where", "only rows where this holds"),
    ("dedup", "one row for each value"),
    ("sequence", "events that follow each other"),
];

/// What others call our pipes; not read, but known to who asks for them.
const PIPES_ELSEWHERE: &[(&str, &str)] = &[
    ("summarize", "stats"),
    ("eventstats", "stats"),
    ("aggregate", "stats"),
    ("limit", "head"),
    ("take", "head"),
    ("project", "fields"),
    ("table", "fields"),
    ("keep", "fields"),
    ("filter", "where"),
    ("search", "where"),
    ("order", "sort"),
    ("uniq", "dedup"),
    ("distinct", "dedup"),
    ("transaction", "sequence"),
    ("bin", "timechart"),
];

/// Every function, as it is shown, and what it gives.
pub(crate) const FUNCTIONS: &[(&str, &str)] = &[
    ("count", "how many rows, or values of a field"),
    ("dc", "how many different values"),
    ("sum", "the sum of the numbers"),
    ("avg", "their average"),
    ("min", "the least value"),
    ("max", "the greatest value"),
    ("first", "the value of the earliest event"),
    ("last", "the value of the latest event"),
    ("p50", "half of the numbers are not above"),
    ("p95", "95 percent of the numbers are not above"),
    ("p99", "99 percent of the numbers are not above"),
    ("percentile", "as many percent as its second argument says"),
];

/// Other names of functions, as Splunk and Kusto have them.
const FUNCTIONS_ELSEWHERE: &[(&str, Function)] = &[
    ("c", Function::Count),
    ("distinct_count", Function::Distinct),
    ("dcount", Function::Distinct),
    ("mean", Function::Avg),
    ("median", Function::Percentile(Percent::HALF)),
    ("earliest", Function::First),
    ("latest", Function::Last),
];

/// Reads all pipes up to the end.
pub(crate) fn pipes(cursor: &mut Cursor<'_>) -> Result<Vec<Pipe>, ParseError> {
    let mut pipes = Vec::new();
    while cursor.take('|') {
        if pipes.len() == PIPES_MAX {
            return Err(cursor.error(cursor.at - 1, format!("more than {PIPES_MAX} pipes")));
        }
        cursor.skip_space();
        let at = cursor.at;
        let pipe = pipe(cursor)?;
        if matches!(pipe, Pipe::Sequence(_)) && columns(&pipes).is_some() {
            return Err(cursor
                .error(at, "`sequence` needs events, and the pipes before it make a table")
                .length("sequence".len())
                .help("put it before them"));
        }
        pipes.push(pipe);
    }
    Ok(pipes)
}

fn pipe(cursor: &mut Cursor<'_>) -> Result<Pipe, ParseError> {
    if cursor.is_end() || cursor.peek() == Some('|') {
        return Err(cursor
            .error(cursor.at, "a pipe is missing here")
            .help(format!("there are {}", names_of(PIPES))));
    }
    let (name, at) = word(cursor)?;
    let lower = name.to_ascii_lowercase();
    match lower.as_str() {
        "stats" => Ok(Pipe::Stats(stats(cursor)?)),
        "timechart" => timechart(cursor),
        "top" => top(cursor, false),
        "rare" => top(cursor, true),
        "head" => Ok(Pipe::Head(count(cursor)?.unwrap_or(ROWS_DEFAULT))),
        "sort" => sort(cursor),
        "fields" => fields(cursor),
        "dedup" => {
            let count = count(cursor)?.unwrap_or(1);
            Ok(Pipe::Dedup { count, fields: names(cursor, &[])? })
        }
        "where" => {
            if cursor.is_end() || cursor.peek() == Some('|') {
                return Err(cursor.error(cursor.at, "`where` needs a condition"));
            }
            Ok(Pipe::Where(crate::parse::filter(cursor)?))
        }
        "sequence" => sequence(cursor),
        other => {
            let error = cursor.error_from(at, format!("there is no pipe `{other}`"));
            let known = PIPES.iter().map(|(name, _)| *name);
            let elsewhere = PIPES_ELSEWHERE.iter().find(|(name, _)| *name == other);
            Err(match elsewhere.map(|(_, ours)| *ours).or_else(|| nearest(other, known)) {
                Some(near) => error.suggest(near),
                None => error.help(format!("there are {}", names_of(PIPES))),
            })
        }
    }
}

fn names_of(all: &[(&str, &str)]) -> String {
    all.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

fn stats(cursor: &mut Cursor<'_>) -> Result<Stats, ParseError> {
    let mut aggregates = Vec::new();
    loop {
        aggregates.push(aggregate(cursor)?);
        if !cursor.take(',') {
            break;
        }
    }
    Ok(Stats { aggregates, by: by(cursor, &[])? })
}

/// The fields after `by`, if it is next.
fn by(cursor: &mut Cursor<'_>, until: &[&str]) -> Result<Vec<String>, ParseError> {
    if !keyword(cursor, "by") {
        return Ok(Vec::new());
    }
    names(cursor, until)
}

/// Takes a keyword if it is next.
fn keyword(cursor: &mut Cursor<'_>, wanted: &str) -> bool {
    cursor.skip_space();
    let found = cursor.peek_keyword() == wanted;
    cursor.at += if found { wanted.len() } else { 0 };
    found
}

fn aggregate(cursor: &mut Cursor<'_>) -> Result<Aggregate, ParseError> {
    let (name, at) = word(cursor)?;
    let lower = name.to_ascii_lowercase();
    let asks_percent = lower == "percentile";
    let function = match function(&lower) {
        Some(function) => function,
        // Its percent comes after its field.
        None if asks_percent => Function::Percentile(Percent::HALF),
        None => {
            let error = cursor.error_from(at, format!("there is no function `{name}`"));
            let known = FUNCTIONS.iter().map(|(name, _)| *name);
            return Err(match nearest(&lower, known) {
                Some(near) => error.suggest(near),
                None => error.help(format!("there are {}", names_of(FUNCTIONS))),
            });
        }
    };
    let name_end = cursor.at;
    let mut function = function;
    let mut field = None;
    cursor.skip_space();
    let open = cursor.at;
    if cursor.take('(') {
        cursor.skip_space();
        // `count(*)` is `count`.
        if function == Function::Count && cursor.peek() == Some('*') {
            cursor.at += 1;
        } else if cursor.peek() != Some(')') {
            field = Some(word(cursor)?.0);
        }
        if asks_percent {
            function = Function::Percentile(percent(cursor)?);
        }
        if cursor.take(',') {
            let message = format!("`{lower}` takes one field");
            return Err(cursor.error(cursor.at - 1, message));
        }
        if !cursor.take(')') {
            return Err(unclosed(cursor, open));
        }
    } else {
        cursor.at = name_end;
    }
    if field.is_none() && function != Function::Count {
        let example = if asks_percent { "process.pid, 99.9" } else { "process.pid" };
        return Err(cursor
            .error(at, format!("`{lower}` needs a field"))
            .length(name.chars().count())
            .help(format!("write {lower}({example})")));
    }
    let name = match &field {
        Some(field) => format!("{function}({field})"),
        None => function.to_string(),
    };
    Ok(Aggregate { function, field, name: renamed(cursor)?.unwrap_or(name) })
}

/// A function by its name: `p` and a number is a percentile.
fn function(lower: &str) -> Option<Function> {
    let percent = || Percent::parse(lower.strip_prefix('p')?).map(Function::Percentile);
    let named = Function::NAMED.into_iter().find(|function| function.to_string() == lower);
    let elsewhere = || FUNCTIONS_ELSEWHERE.iter().find(|(name, _)| *name == lower);
    named.or_else(percent).or_else(|| elsewhere().map(|(_, function)| *function))
}

/// The second argument of `percentile`.
fn percent(cursor: &mut Cursor<'_>) -> Result<Percent, ParseError> {
    if !cursor.take(',') {
        return Err(cursor
            .error(cursor.at, "`percentile` needs a number of percent")
            .help("write percentile(process.pid, 99.9)"));
    }
    let (text, at) = word(cursor)?;
    Percent::parse(&text).ok_or_else(|| {
        cursor
            .error_from(at, format!("`{text}` is no number of percent"))
            .help("it is from 0 to 100, with up to three places: 95, 99.9")
    })
}

/// The name after `as`, if it is next.
fn renamed(cursor: &mut Cursor<'_>) -> Result<Option<String>, ParseError> {
    if keyword(cursor, "as") { Ok(Some(word(cursor)?.0)) } else { Ok(None) }
}

fn timechart(cursor: &mut Cursor<'_>) -> Result<Pipe, ParseError> {
    const HELP: &str = "write timechart span=1h count by host.name";
    let missing = "`timechart` needs the length of a step";
    if cursor.is_end() || cursor.peek() == Some('|') {
        return Err(cursor.error(cursor.at, missing).help(HELP));
    }
    let (name, at) = word(cursor)?;
    let name_end = cursor.at;
    if !name.eq_ignore_ascii_case("span") || !cursor.take('=') {
        cursor.at = name_end;
        return Err(cursor.error_from(at, missing).help(HELP));
    }
    let span_nanos = duration(cursor)?;
    cursor.skip_space();
    let plain = matches!(cursor.peek(), None | Some('|')) || cursor.peek_keyword() == "by";
    let stats = if plain {
        let count = Aggregate { function: Function::Count, field: None, name: "count".to_owned() };
        Stats { aggregates: vec![count], by: by(cursor, &[])? }
    } else {
        stats(cursor)?
    };
    Ok(Pipe::Timechart { span_nanos, stats })
}

fn duration(cursor: &mut Cursor<'_>) -> Result<i64, ParseError> {
    let (text, at) = word(cursor)?;
    parse_duration(&text).ok_or_else(|| {
        cursor
            .error_from(at, format!("`{text}` is no length of time"))
            .help("use 30s, 15m, 1h or 1d")
    })
}

fn top(cursor: &mut Cursor<'_>, rare: bool) -> Result<Pipe, ParseError> {
    let count = count(cursor)?.unwrap_or(ROWS_DEFAULT);
    Ok(Pipe::Top { count, fields: names(cursor, &["by"])?, by: by(cursor, &[])?, rare })
}

fn sort(cursor: &mut Cursor<'_>) -> Result<Pipe, ParseError> {
    let mut keys = Vec::new();
    loop {
        cursor.skip_space();
        let sign = cursor.peek().filter(|c| matches!(c, '-' | '+'));
        cursor.at += usize::from(sign.is_some());
        let (mut field, _) = word(cursor)?;
        // `-count(x)`: the name of a column may have parentheses.
        if cursor.peek() == Some('(') {
            let open = cursor.at;
            cursor.at += 1;
            field.push('(');
            field.push_str(&word(cursor)?.0);
            field.push(')');
            if !cursor.take(')') {
                return Err(unclosed(cursor, open));
            }
        }
        let descending = keyword(cursor, "desc");
        let ascending = !descending && keyword(cursor, "asc");
        if sign.is_some() && (descending || ascending) {
            let length = if descending { "desc".len() } else { "asc".len() };
            return Err(cursor
                .error(cursor.at - length, "the order is given twice")
                .length(length)
                .help("write `-` before the field, or `desc` after it"));
        }
        keys.push(SortKey { field, descending: descending || sign == Some('-') });
        if !cursor.take(',') {
            return Ok(Pipe::Sort(keys));
        }
    }
}

fn fields(cursor: &mut Cursor<'_>) -> Result<Pipe, ParseError> {
    let mut columns = Vec::new();
    loop {
        let (field, _) = word(cursor)?;
        let name = renamed(cursor)?.unwrap_or_else(|| field.clone());
        columns.push(Column { field, name });
        if !more(cursor, &[]) {
            return Ok(Pipe::Fields(columns));
        }
    }
}

/// Names with commas or spaces between them, up to one of these keywords.
fn names(cursor: &mut Cursor<'_>, until: &[&str]) -> Result<Vec<String>, ParseError> {
    let mut names = vec![word(cursor)?.0];
    while more(cursor, until) {
        names.push(word(cursor)?.0);
    }
    Ok(names)
}

/// Whether a list goes on.
fn more(cursor: &mut Cursor<'_>, until: &[&str]) -> bool {
    let comma = cursor.take(',');
    cursor.skip_space();
    comma
        || !(matches!(cursor.peek(), None | Some('|' | ')' | '['))
            || until.contains(&cursor.peek_keyword().as_str()))
}

fn sequence(cursor: &mut Cursor<'_>) -> Result<Pipe, ParseError> {
    const HELP: &str =
        "write sequence by host.name within 5m [process.name:whoami] [process.name:net.exe]";
    let mut by_fields = by(cursor, &["within"])?;
    if !keyword(cursor, "within") {
        return Err(cursor.error(cursor.at, "`sequence` needs `within`, a time").help(HELP));
    }
    let within_nanos = duration(cursor)?;
    if by_fields.is_empty() {
        by_fields = by(cursor, &[])?;
    }
    let mut steps = Vec::new();
    while cursor.take('[') {
        let open = cursor.at - 1;
        if steps.len() == Sequence::STEPS_MAX {
            let message = format!("more than {} steps", Sequence::STEPS_MAX);
            return Err(cursor.error(open, message));
        }
        cursor.in_step = true;
        let step = crate::parse::filter(cursor);
        cursor.in_step = false;
        steps.push(step?);
        if !cursor.take(']') {
            return Err(match cursor.peek() {
                Some(')') => crate::parse::unexpected(cursor),
                _ => cursor.error(open, "this bracket is not closed").help("add a `]`"),
            });
        }
    }
    if steps.len() < 2 {
        return Err(cursor.error(cursor.at, "a sequence has two steps or more").help(HELP));
    }
    Ok(Pipe::Sequence(Sequence { by: by_fields, within_nanos, steps }))
}

/// A number of rows, if one is next.
fn count(cursor: &mut Cursor<'_>) -> Result<Option<usize>, ParseError> {
    cursor.skip_space();
    let negative = cursor.peek() == Some('-');
    let digit = cursor.peek_at(usize::from(negative)).is_some_and(|c| c.is_ascii_digit());
    if !digit {
        return Ok(None);
    }
    let (text, at) = word(cursor)?;
    match text.parse::<usize>() {
        Ok(count) => Ok(Some(count)),
        Err(_) => Err(cursor
            .error_from(at, format!("`{text}` is no number of rows"))
            .help("it is 0 or more; a field that begins with a digit goes into quotes")),
    }
}

/// A word of a pipe's arguments, in quotes if it has odd characters, and where it stood.
fn word(cursor: &mut Cursor<'_>) -> Result<(String, usize), ParseError> {
    cursor.skip_space();
    let at = cursor.at;
    if cursor.peek() == Some('"') {
        return Ok((cursor.quoted()?, at));
    }
    match cursor.bare(Place::Argument) {
        Pattern::Text(text) if !text.is_empty() => Ok((text, at)),
        Pattern::Text(_) => Err(match cursor.peek() {
            None => cursor.error(at, "the query ends too early").help("a word is missing here"),
            Some(c) => cursor.error(at, format!("a word is missing before `{c}`")),
        }),
        Pattern::Glob(_) => Err(cursor
            .error_from(at, "wildcards have no meaning here")
            .help("put quotes around the name if the star is meant")),
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use crate::parse;

    fn shown(text: &str) -> String {
        match parse(text) {
            Ok(query) => query.to_string(),
            Err(error) => error.render(),
        }
    }

    #[test]
    fn pipes_are_read() {
        assert_snapshot!(shown("a | stats count by host.name | sort -count | head 20"), @"a | stats count by host.name | sort -count | head 20");
        assert_snapshot!(shown("|STATS dc(user.name) as users, max(x) by a,b"), @"* | stats dc(user.name) as users, max(x) by a, b");
        assert_snapshot!(shown("* | timechart span=1h | top user.name | rare 3 x"), @"* | timechart span=1h count | top 10 user.name | rare 3 x");
        assert_snapshot!(shown("* | timechart span=90s avg(x) by y"), @"* | timechart span=90s avg(x) by y");
        assert_snapshot!(shown("* | where count > 5 and x:y | fields a b | dedup a"), @"* | where count>5 and x:y | fields a, b | dedup a");
        assert_snapshot!(shown("* | stats max(x) | sort -max(x), y"), @r#"* | stats max(x) | sort -"max(x)", y"#);
    }

    #[test]
    fn what_others_write_is_read() {
        assert_snapshot!(shown("* | stats count(*), distinct_count(a), dcount(a), mean(b), median(b), earliest(c), latest(c)"), @"* | stats count, dc(a), dc(a), avg(b), p50(b), first(c), last(c)");
        assert_snapshot!(shown("* | stats P95(x), percentile(x, 99.90), percentile(x,50) as half, p0.5(x)"), @"* | stats p95(x), p99.9(x), p50(x) as half, p0.5(x)");
        assert_snapshot!(shown("* | timechart span=5m count by host.name"), @"* | timechart span=5m count by host.name");
        assert_snapshot!(shown("* | stats count | sort -count, host.name desc, c asc"), @"* | stats count | sort -count, -host.name, c");
        assert_snapshot!(shown("* | dedup 2 host.name | dedup 1 2x"), @"* | dedup 2 host.name | dedup 1 2x");
        assert_snapshot!(shown("* | top 3 a, b by c d | rare a by \"by\""), @r#"* | top 3 a, b by c, d | rare 10 a by "by""#);
        assert_snapshot!(shown("* | fields a as b, c"), @"* | fields a as b, c");
        assert_snapshot!(shown(r#"* | sequence by host.name within 5m [process.name:whoami] [process.name:(net.exe or /x]/)] [y:"]" z:[1 TO 2]]"#), @r#"* | sequence by host.name within 5m [process.name:whoami] [process.name:net.exe or process.name:/x]/] [y:"]" and z:[1 TO 2]]"#);
        assert_snapshot!(shown("* | sequence within 300s by a [*] [b and (c or d)] | head 1"), @"* | sequence by a within 5m [*] [b and (c or d)] | head 1");
    }

    #[test]
    fn errors_of_pipes_suggest() {
        assert_snapshot!(shown("a | stat count"), @r"
        a | stat count
            ^^^^ there is no pipe `stat`
                 did you mean `stats`?
        ");
        assert_snapshot!(shown("a | summarize count() by b"), @r"
        a | summarize count() by b
            ^^^^^^^^^ there is no pipe `summarize`
                      did you mean `stats`?
        ");
        assert_snapshot!(shown("a | stats coutn by b"), @r"
        a | stats coutn by b
                  ^^^^^ there is no function `coutn`
                        did you mean `count`?
        ");
        assert_snapshot!(shown("a | stats sum by b"), @r"
        a | stats sum by b
                  ^^^ `sum` needs a field
                      write sum(process.pid)
        ");
        assert_snapshot!(shown("a | stats sum(b"), @r"
        a | stats sum(b
                     ^ this parenthesis is not closed
                       add a `)`, or write `\(` for a parenthesis that is meant
        ");
        assert_snapshot!(shown("a | stats percentile(b) by c"), @r"
        a | stats percentile(b) by c
                              ^ `percentile` needs a number of percent
                                write percentile(process.pid, 99.9)
        ");
        assert_snapshot!(shown("a | stats percentile(b, high)"), @r"
        a | stats percentile(b, high)
                                ^^^^ `high` is no number of percent
                                     it is from 0 to 100, with up to three places: 95, 99.9
        ");
        assert_snapshot!(shown("a | stats p101(b)"), @r"
        a | stats p101(b)
                  ^^^^ there is no function `p101`
                       did you mean `p50`?
        ");
        assert_snapshot!(shown("a | frobnicate"), @r"
        a | frobnicate
            ^^^^^^^^^^ there is no pipe `frobnicate`
                       there are stats, timechart, top, rare, sort, head, fields, where, dedup, sequence
        ");
        assert_snapshot!(shown("a |"), @r"
        a |
           ^ a pipe is missing here
             there are stats, timechart, top, rare, sort, head, fields, where, dedup, sequence
        ");
        assert_snapshot!(shown("a | head x"), @r"
        a | head x
                 ^ `x` is not expected here
        ");
        assert_snapshot!(shown("a | head -5"), @r"
        a | head -5
                 ^^ `-5` is no number of rows
                    it is 0 or more; a field that begins with a digit goes into quotes
        ");
        assert_snapshot!(shown("a | timechart 1h"), @r"
        a | timechart 1h
                      ^^ `timechart` needs the length of a step
                         write timechart span=1h count by host.name
        ");
        assert_snapshot!(shown("a | timechart span=soon"), @r"
        a | timechart span=soon
                           ^^^^ `soon` is no length of time
                                use 30s, 15m, 1h or 1d
        ");
        assert_snapshot!(shown("a | sort -b desc"), @r"
        a | sort -b desc
                    ^^^^ the order is given twice
                         write `-` before the field, or `desc` after it
        ");
        assert_snapshot!(shown("a | sequence by b [c] [d]"), @r"
        a | sequence by b [c] [d]
                          ^ `sequence` needs `within`, a time
                            write sequence by host.name within 5m [process.name:whoami] [process.name:net.exe]
        ");
        assert_snapshot!(shown("a | sequence within 5m [c]"), @r"
        a | sequence within 5m [c]
                                  ^ a sequence has two steps or more
                                    write sequence by host.name within 5m [process.name:whoami] [process.name:net.exe]
        ");
        assert_snapshot!(shown("a | sequence within 5m [c] [d"), @r"
        a | sequence within 5m [c] [d
                                   ^ this bracket is not closed
                                     add a `]`
        ");
        assert_snapshot!(shown("a | sequence within 5m [] [d]"), @r"
        a | sequence within 5m [] [d]
                                ^ a condition is missing before this bracket
        ");
        assert_snapshot!(shown("a | stats count | sequence within 5m [c] [d]"), @r"
        a | stats count | sequence within 5m [c] [d]
                          ^^^^^^^^ `sequence` needs events, and the pipes before it make a table
                                   put it before them
        ");
    }
}
