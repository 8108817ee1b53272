//! Where in a file a character of a YAML scalar stands.
//!
//! A query is a scalar, and a fault in it has a column in the query. YAML lets one text be written
//! in five styles over several lines; the file and the text are walked side by side, and where
//! they part (an escape such as `\x41`) the whole scalar is pointed at instead. Only faults pay
//! for this.

use crate::Span;

/// The place of the character with this number (from 0) of `text`, which stands at `node`.
pub fn place(source: &str, node: Span, text: &str, at: usize, length: usize) -> Span {
    walk(source, node, text, at)
        .map(|(line, column)| Span { line, column, length: number(length.max(1)) })
        .unwrap_or(node)
}

fn walk(source: &str, node: Span, text: &str, at: usize) -> Option<(u32, u32)> {
    let source = source.strip_prefix('\u{feff}').unwrap_or(source);
    let mut file = Vec::new();
    for (line, content) in (1u32..).zip(source.split_inclusive('\n')) {
        if line < node.line {
            continue;
        }
        let skipped = if line == node.line { node.column.saturating_sub(1) } else { 0 };
        let columns = (1u32..).zip(content.chars()).skip(skipped as usize);
        file.extend(columns.map(|(column, c)| (c, line, column)));
    }
    let style = file.first()?.0;
    let mut next = match style {
        '\'' | '"' => 1,
        '|' | '>' => file.iter().position(|(c, ..)| *c == '\n')? + 1,
        _ => 0,
    };
    let mut after_last = file.get(next).map(|(_, line, column)| (*line, *column))?;
    for (n, c) in text.chars().enumerate() {
        if c.is_whitespace() {
            if n == at {
                return Some(after_last);
            }
            if let Some((' ' | '\t', line, column)) = file.get(next) {
                after_last = (*line, column + 1);
                next += 1;
            }
            continue;
        }
        while file.get(next).is_some_and(|(c, ..)| c.is_whitespace()) {
            next += 1;
        }
        let (here, line, column) = *file.get(next)?;
        let escaped = matches!((style, here), ('\'', '\'') | ('"', '\\'));
        let width = 1 + usize::from(escaped);
        if file.get(next + width - 1)?.0 != c {
            return None;
        }
        if n == at {
            return Some((line, column));
        }
        next += width;
        after_last = (line, column + number(width));
    }
    Some(after_last)
}

fn number(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use crate::yaml;

    /// The character of the file that the `!` of the query is found at.
    fn found(file: &str) -> Option<char> {
        let node = yaml::parse(file).remove(0).expect("valid");
        let query = node.get("query").expect("there");
        let text = query.to_text().expect("a text");
        let at = text.chars().position(|c| c == '!').expect("a mark");
        let span = super::place(file, query.span, &text, at, 1);
        file.lines().nth(span.line as usize - 1)?.chars().nth(span.column as usize - 1)
    }

    #[test]
    fn the_place_is_found_in_every_style() {
        for file in [
            "query: a b ! c\n",
            "a: 1\nquery: 'a ''b'' ! c'\n",
            "query: \"a \\\"b\\\" \\\\ ! c\" # not\n",
            "query: |\n  a b\n  c ! d\n",
            "query: >-\n    a b\n    c\n\n    ! d\nother: 1\n",
            "query: a b\n  c\n  ! d\n",
            "query: 'a b\n\n  ! d'\n",
            "query: 'ä→ ! d'\n",
        ] {
            assert_eq!(found(file), Some('!'), "{file}");
        }
    }

    #[test]
    fn an_escape_that_is_not_followed_points_at_the_scalar() {
        assert_eq!(found("query: \"\\x41 ! b\"\n"), Some('"'));
    }
}
