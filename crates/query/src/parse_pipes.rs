//! Reads the pipes of a query.

use crate::error::{ParseError, nearest};
use crate::lexer::{Cursor, Place};
use crate::time::parse_duration;
use crate::tree::{Aggregate, Function, Pattern, Pipe, SortKey, Stats};

/// The most pipes of one query.
const PIPES_MAX: usize = 50;

/// How many rows `head` and `top` give if not said.
const ROWS_DEFAULT: usize = 10;

const NAMES: &[&str] =
    &["stats", "timechart", "top", "rare", "head", "sort", "fields", "where", "dedup"];

/// Reads all pipes up to the end.
pub(crate) fn pipes(cursor: &mut Cursor<'_>) -> Result<Vec<Pipe>, ParseError> {
    let mut pipes = Vec::new();
    while cursor.take('|') {
        if pipes.len() == PIPES_MAX {
            return Err(cursor.error(cursor.at - 1, format!("more than {PIPES_MAX} pipes")));
        }
        pipes.push(pipe(cursor)?);
    }
    Ok(pipes)
}

fn pipe(cursor: &mut Cursor<'_>) -> Result<Pipe, ParseError> {
    let (name, at) = word(cursor)?;
    match name.to_ascii_lowercase().as_str() {
        "stats" => Ok(Pipe::Stats(stats(cursor)?)),
        "timechart" => timechart(cursor),
        "top" => top(cursor, false),
        "rare" => top(cursor, true),
        "head" => Ok(Pipe::Head(count(cursor)?.unwrap_or(ROWS_DEFAULT))),
        "sort" => sort(cursor),
        "fields" => Ok(Pipe::Fields(names(cursor)?)),
        "dedup" => Ok(Pipe::Dedup(names(cursor)?)),
        "where" => {
            if cursor.is_end() || cursor.peek() == Some('|') {
                return Err(cursor.error(cursor.at, "`where` needs a condition"));
            }
            Ok(Pipe::Where(crate::parse::filter(cursor)?))
        }
        other => {
            let error = cursor.error(at, format!("there is no pipe `{other}`"));
            Err(match nearest(other, NAMES) {
                Some(near) => error.help(format!("did you mean `{near}`?")),
                None => error.help(format!("there are {}", NAMES.join(", "))),
            })
        }
    }
}

fn stats(cursor: &mut Cursor<'_>) -> Result<Stats, ParseError> {
    let mut aggregates = Vec::new();
    loop {
        aggregates.push(aggregate(cursor)?);
        if !cursor.take(',') {
            break;
        }
    }
    Ok(Stats { aggregates, by: by(cursor)? })
}

fn by(cursor: &mut Cursor<'_>) -> Result<Vec<String>, ParseError> {
    cursor.skip_space();
    if cursor.peek_keyword() != "by" {
        return Ok(Vec::new());
    }
    cursor.at += 2;
    names(cursor)
}

fn aggregate(cursor: &mut Cursor<'_>) -> Result<Aggregate, ParseError> {
    let (name, at) = word(cursor)?;
    let lower = name.to_ascii_lowercase();
    let known = Function::ALL.into_iter().find(|function| function.as_str() == lower);
    let Some(function) = known.or((lower == "distinct_count").then_some(Function::Distinct)) else {
        let error = cursor.error(at, format!("there is no function `{name}`"));
        let all = Function::ALL.map(Function::as_str);
        return Err(match nearest(&lower, &all) {
            Some(near) => error.help(format!("did you mean `{near}`?")),
            None => error.help(format!("there are {}", all.join(", "))),
        });
    };
    let mut field = None;
    let open = cursor.at;
    if cursor.take('(') {
        cursor.skip_space();
        if cursor.peek() != Some(')') {
            field = Some(word(cursor)?.0);
        }
        if !cursor.take(')') {
            return Err(cursor.error(open, "this parenthesis is not closed"));
        }
    }
    if field.is_none() && function != Function::Count {
        return Err(cursor
            .error(at, format!("`{lower}` needs a field"))
            .help(format!("write {lower}(process.pid)")));
    }
    let mut name = match &field {
        Some(field) => format!("{}({field})", function.as_str()),
        None => function.as_str().to_owned(),
    };
    cursor.skip_space();
    if cursor.peek_keyword() == "as" {
        cursor.at += 2;
        name = word(cursor)?.0;
    }
    Ok(Aggregate { function, field, name })
}

fn timechart(cursor: &mut Cursor<'_>) -> Result<Pipe, ParseError> {
    const HELP: &str = "write timechart span=1h count by host.name";
    let (name, at) = word(cursor)?;
    if name != "span" || !cursor.take('=') {
        return Err(cursor.error(at, "`timechart` needs the length of a step").help(HELP));
    }
    let (text, at) = word(cursor)?;
    let Some(span_nanos) = parse_duration(&text) else {
        return Err(cursor
            .error(at, format!("`{text}` is no length of time"))
            .help("use 30s, 15m, 1h or 1d"));
    };
    cursor.skip_space();
    let plain = matches!(cursor.peek(), None | Some('|')) || cursor.peek_keyword() == "by";
    let stats = if plain {
        let count = Aggregate { function: Function::Count, field: None, name: "count".to_owned() };
        Stats { aggregates: vec![count], by: by(cursor)? }
    } else {
        stats(cursor)?
    };
    Ok(Pipe::Timechart { span_nanos, stats })
}

fn top(cursor: &mut Cursor<'_>, rare: bool) -> Result<Pipe, ParseError> {
    let count = count(cursor)?.unwrap_or(ROWS_DEFAULT);
    let (field, _) = word(cursor)?;
    Ok(Pipe::Top { count, field, rare })
}

fn sort(cursor: &mut Cursor<'_>) -> Result<Pipe, ParseError> {
    let mut keys = Vec::new();
    loop {
        cursor.skip_space();
        let descending = cursor.peek() == Some('-');
        if descending || cursor.peek() == Some('+') {
            cursor.at += 1;
        }
        let (mut field, _) = word(cursor)?;
        // `-count(x)`: the name of a column may have parentheses.
        if cursor.peek() == Some('(') {
            cursor.at += 1;
            field.push('(');
            field.push_str(&word(cursor)?.0);
            field.push(')');
            if !cursor.take(')') {
                return Err(cursor.error(cursor.at, "a closing parenthesis is missing here"));
            }
        }
        keys.push(SortKey { field, descending });
        if !cursor.take(',') {
            return Ok(Pipe::Sort(keys));
        }
    }
}

fn names(cursor: &mut Cursor<'_>) -> Result<Vec<String>, ParseError> {
    let mut names = vec![word(cursor)?.0];
    loop {
        let comma = cursor.take(',');
        cursor.skip_space();
        if !comma && matches!(cursor.peek(), None | Some('|' | ')')) {
            return Ok(names);
        }
        names.push(word(cursor)?.0);
    }
}

/// A number of rows, if one is next.
fn count(cursor: &mut Cursor<'_>) -> Result<Option<usize>, ParseError> {
    cursor.skip_space();
    if !cursor.peek().is_some_and(|c| c.is_ascii_digit()) {
        return Ok(None);
    }
    let (text, at) = word(cursor)?;
    match text.parse::<usize>() {
        Ok(count) => Ok(Some(count)),
        Err(_) => Err(cursor.error(at, format!("`{text}` is no number of rows"))),
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
            .error(at, "wildcards have no meaning here")
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
    fn errors_of_pipes_suggest() {
        assert_snapshot!(shown("a | stat count"), @r"
        a | stat count
            ^ there is no pipe `stat`
              did you mean `stats`?
        ");
        assert_snapshot!(shown("a | stats coutn by b"), @r"
        a | stats coutn by b
                  ^ there is no function `coutn`
                    did you mean `count`?
        ");
        assert_snapshot!(shown("a | stats sum by b"), @r"
        a | stats sum by b
                  ^ `sum` needs a field
                    write sum(process.pid)
        ");
        assert_snapshot!(shown("a | frobnicate"), @r"
        a | frobnicate
            ^ there is no pipe `frobnicate`
              there are stats, timechart, top, rare, head, sort, fields, where, dedup
        ");
        assert_snapshot!(shown("a |"), @r"
        a |
           ^ the query ends too early
             a word is missing here
        ");
        assert_snapshot!(shown("a | head x"), @r"
        a | head x
                 ^ `x` is not expected here
        ");
        assert_snapshot!(shown("a | timechart 1h"), @r"
        a | timechart 1h
                      ^ `timechart` needs the length of a step
                        write timechart span=1h count by host.name
        ");
    }
}
