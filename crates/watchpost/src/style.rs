//! Colour in the terminal, where there is one and nobody asked to leave it out.

use std::io::IsTerminal;
use std::sync::OnceLock;

/// Whether standard output is a terminal that wants colour (`NO_COLOR` says no).
pub(crate) fn is_on() -> bool {
    static ON: OnceLock<bool> = OnceLock::new();
    *ON.get_or_init(|| {
        std::io::stdout().is_terminal()
            && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
    })
}

fn paint(code: &str, text: &str) -> String {
    if is_on() { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
}

/// A heading.
pub(crate) fn bold(text: &str) -> String {
    paint("1", text)
}

/// Something less important.
pub(crate) fn dim(text: &str) -> String {
    paint("2", text)
}

/// Something that went wrong.
pub(crate) fn error(text: &str) -> String {
    paint("1;31", text)
}

/// Something that went well.
pub(crate) fn good(text: &str) -> String {
    paint("32", text)
}

/// A level, in its colour, padded to the longest that is common.
pub(crate) fn level(level: event::Level) -> String {
    let code = match level {
        event::Level::Informational => "2",
        event::Level::Low => "34",
        event::Level::Medium => "33",
        event::Level::High => "31",
        event::Level::Critical => "1;31",
    };
    paint(code, &format!("{:<8}", level.as_str()))
}

/// A text from an event, safe to print: control characters would let a log line drive the
/// terminal, and marks of writing direction show a path as another one. Ends of lines and tabs
/// become spaces.
pub(crate) fn plain(text: &str) -> String {
    let plain = |c: char| match c {
        '\n' | '\r' | '\t' => ' ',
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '\u{fffd}',
        c if c.is_control() => '\u{fffd}',
        c => c,
    };
    text.chars().map(plain).collect()
}

/// At most so many characters, with an ellipsis where it was longer.
pub(crate) fn clip(text: &str, chars_max: usize) -> String {
    let mut chars = text.char_indices();
    match chars.nth(chars_max) {
        None => text.to_owned(),
        Some(_) => {
            let kept: String = text.chars().take(chars_max.saturating_sub(1)).collect();
            format!("{kept}…")
        }
    }
}

/// A table with aligned columns; the last one is not padded.
pub(crate) fn table(columns: &[String], rows: &[Vec<String>], cell_chars_max: usize) -> String {
    let mut widths: Vec<usize> = columns.iter().map(|name| name.chars().count()).collect();
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| row.iter().map(|cell| clip(&plain(cell), cell_chars_max)).collect())
        .collect();
    for row in &cells {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |row: &[String]| {
        let mut line = String::new();
        for (index, cell) in row.iter().enumerate() {
            if index + 1 == row.len() {
                line.push_str(cell);
            } else {
                let width = widths.get(index).copied().unwrap_or(0);
                line.push_str(&format!("{cell:<width$}  "));
            }
        }
        line.trim_end().to_owned()
    };
    let mut text = bold(&line(columns));
    for row in &cells {
        text.push('\n');
        text.push_str(&line(row));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{clip, plain, table};

    #[test]
    fn log_text_cannot_drive_the_terminal() {
        assert_eq!(plain("a\x1b[2Jb\r\n"), "a\u{fffd}[2Jb  ");
        assert_eq!(plain("exe\u{202e}gpj"), "exe\u{fffd}gpj");
    }

    #[test]
    fn long_text_is_clipped_by_characters() {
        assert_eq!(clip("äöü", 3), "äöü");
        assert_eq!(clip("äöüß", 3), "äö…");
    }

    #[test]
    fn tables_are_aligned() {
        let rows = [vec!["a".into(), "1".into()], vec!["long one".into(), "22".into()]];
        insta::assert_snapshot!(table(&["name".into(), "n".into()], &rows, 40), @r"
        name      n
        a         1
        long one  22
        ");
    }
}
