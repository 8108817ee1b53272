//! From PCRE, which Sigma's regular expressions are written in, to the `regex` crate's syntax.
//!
//! The two agree on almost all that rules use. Where they write the same thing differently
//! (`\<`, a lone `{`, `[` in a class, `\h`, `\Q..\E`), the expression is rewritten. What can't be
//! matched in linear time (lookaround, backreferences, atomic groups, recursion) is refused by
//! name: a rule that hangs the engine on a crafted event is worse than a rule that does not load.

use std::iter::Peekable;
use std::str::Chars;

/// The most memory of one compiled expression, in bytes. The largest public one, a `\w{1,64}`,
/// takes 3.5 MB.
pub const REGEX_BYTES_MAX: usize = 10 << 20;

/// The expression in the `regex` crate's syntax, compiled once to see that it is right.
pub(crate) fn check(
    source: &str,
    ignore_case: bool,
    multi_line: bool,
    dot_all: bool,
) -> Result<String, String> {
    let translated = translate(source)?;
    let built = regex::RegexBuilder::new(&translated)
        .case_insensitive(ignore_case)
        .multi_line(multi_line)
        .dot_matches_new_line(dot_all)
        .size_limit(REGEX_BYTES_MAX)
        .build();
    match built {
        Ok(_) => Ok(translated),
        Err(regex::Error::CompiledTooBig(_)) => Err(format!(
            "the regular expression takes more than {REGEX_BYTES_MAX} bytes when compiled; use \
             smaller repetitions"
        )),
        Err(error) => {
            let text = error.to_string();
            let last = text.lines().last().unwrap_or_default();
            let reason = last.strip_prefix("error: ").unwrap_or(last);
            Err(format!("not a valid regular expression: {reason}"))
        }
    }
}

fn translate(source: &str) -> Result<String, String> {
    let mut out = String::with_capacity(source.len() + 8);
    let mut rest = source.chars().peekable();
    // Whether the last thing was a quantifier: a `+` after it would make it possessive.
    let mut quantified = false;
    while let Some(c) = rest.next() {
        let was_quantified = std::mem::take(&mut quantified);
        match c {
            '\\' => escape(&mut rest, &mut out, false)?,
            '[' => class(&mut rest, &mut out)?,
            '(' => group(&mut rest, &mut out)?,
            '+' if was_quantified => return Err(refused("a possessive quantifier", "+")),
            '?' if was_quantified => out.push('?'),
            '*' | '+' | '?' => {
                quantified = true;
                out.push(c);
            }
            '{' => match quantifier(&rest) {
                Some(text) => {
                    for _ in text.chars() {
                        rest.next();
                    }
                    quantified = true;
                    out.push('{');
                    out.push_str(&text);
                }
                None => out.push_str(r"\{"),
            },
            _ => out.push(c),
        }
    }
    Ok(out)
}

/// `n}`, `n,}` or `n,m}`, when that is what follows a `{`.
fn quantifier(rest: &Peekable<Chars<'_>>) -> Option<String> {
    let inner: String = rest.clone().take_while(|c| *c != '}').take(QUANTIFIER_CHARS_MAX).collect();
    if rest.clone().nth(inner.chars().count()) != Some('}') {
        return None;
    }
    let number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let valid = match inner.split_once(',') {
        None => number(&inner),
        Some((least, most)) => number(least) && (most.is_empty() || number(most)),
    };
    valid.then(|| format!("{inner}}}"))
}

/// Longer ones than `{4294967295,4294967295}` are none.
const QUANTIFIER_CHARS_MAX: usize = 24;

/// What follows a backslash.
fn escape(rest: &mut Peekable<Chars<'_>>, out: &mut String, in_class: bool) -> Result<(), String> {
    let Some(c) = rest.next() else {
        return Err("the regular expression ends with a backslash; write `\\\\`".to_owned());
    };
    match c {
        '1'..='9' if !in_class => Err(refused("a backreference", &format!("\\{c}"))),
        'k' | 'g' if !in_class => Err(refused("a backreference", &format!("\\{c}"))),
        'K' | 'G' | 'X' | 'C' if !in_class => Err(refused("the escape", &format!("\\{c}"))),
        '0' => push(out, r"\x00"),
        'e' => push(out, r"\x1B"),
        'h' if in_class => push(out, r" \t"),
        'h' => push(out, r"[ \t]"),
        'H' if !in_class => push(out, r"[^ \t]"),
        'R' if !in_class => push(out, r"(?:\r\n|\n|\r)"),
        'N' if !in_class => push(out, r"[^\n]"),
        'Z' if !in_class => push(out, r"(?:\n?\z)"),
        'Q' => {
            while let Some(c) = rest.next() {
                if c == '\\' && rest.next_if_eq(&'E').is_some() {
                    break;
                }
                push_literal(out, c);
            }
            Ok(())
        }
        'E' => Ok(()),
        _ if c.is_ascii_alphanumeric() => {
            out.push('\\');
            out.push(c);
            Ok(())
        }
        _ => {
            push_literal(out, c);
            Ok(())
        }
    }
}

fn push(out: &mut String, text: &str) -> Result<(), String> {
    out.push_str(text);
    Ok(())
}

fn push_literal(out: &mut String, c: char) {
    match c {
        // In extended mode a bare space means nothing.
        ' ' => out.push_str(r"\x20"),
        _ => out.push_str(&regex::escape(c.encode_utf8(&mut [0; 4]))),
    }
}

/// What follows a `(`.
fn group(rest: &mut Peekable<Chars<'_>>, out: &mut String) -> Result<(), String> {
    let ahead: String = rest.clone().take(4).collect();
    const REFUSED: &[(&str, &str)] = &[
        ("?=", "a lookahead"),
        ("?!", "a negative lookahead"),
        ("?<=", "a lookbehind"),
        ("?<!", "a negative lookbehind"),
        ("?>", "an atomic group"),
        ("?(", "a conditional group"),
        ("?|", "a branch reset group"),
        ("?&", "a recursion"),
        ("?R", "a recursion"),
        ("?P=", "a backreference"),
        ("?P>", "a recursion"),
        ("*", "a backtracking verb"),
    ];
    if let Some((construct, name)) = REFUSED.iter().find(|(start, _)| ahead.starts_with(start)) {
        return Err(refused(name, &format!("({construct}")));
    }
    if ahead.starts_with("?#") {
        rest.by_ref().take_while(|c| *c != ')').for_each(drop);
        return Ok(());
    }
    out.push('(');
    // The `?` of `(?:` is no quantifier.
    if rest.next_if_eq(&'?').is_some() {
        out.push('?');
    }
    Ok(())
}

/// What follows a `[`.
fn class(rest: &mut Peekable<Chars<'_>>, out: &mut String) -> Result<(), String> {
    out.push('[');
    if rest.next_if_eq(&'^').is_some() {
        out.push('^');
    }
    if rest.next_if_eq(&']').is_some() {
        out.push_str(r"\]");
    }
    // Whether the last thing was a class such as `\w`, after which `-` is plain.
    let mut after_class = false;
    while let Some(c) = rest.next() {
        let was_class = std::mem::take(&mut after_class);
        match c {
            ']' => {
                out.push(']');
                return Ok(());
            }
            '\\' => {
                after_class = rest.peek().is_some_and(|next| "wWdDsShpP".contains(*next));
                escape(rest, out, true)?;
            }
            '[' => {
                let name: String = rest.clone().take_while(|c| *c != ']').collect();
                if name.starts_with(':') && name.ends_with(':') && name.len() > 2 {
                    out.push('[');
                    out.push_str(&name);
                    out.push(']');
                    rest.by_ref().take(name.chars().count() + 1).for_each(drop);
                    after_class = true;
                } else {
                    out.push_str(r"\[");
                }
            }
            '-' => {
                let ahead: Vec<char> = rest.clone().take(2).collect();
                let to_class =
                    matches!(ahead.as_slice(), ['\\', 'w' | 'W' | 'd' | 'D' | 's' | 'S']);
                let plain = was_class || to_class;
                out.push_str(if plain { r"\-" } else { "-" });
                // `[+--]`: the end of a range that is itself a dash.
                if !plain && rest.next_if_eq(&'-').is_some() {
                    out.push_str(r"\-");
                }
            }
            '&' | '~' => {
                out.push('\\');
                out.push(c);
            }
            _ => out.push(c),
        }
    }
    Err("the regular expression has a `[` that is never closed".to_owned())
}

fn refused(name: &str, construct: &str) -> String {
    format!(
        "the regular expression uses {name} (`{construct}`), which can't be matched in linear time"
    )
}

#[cfg(test)]
mod tests {

    #[test]
    fn what_differs_is_rewritten() {
        let check = |source: &str, expected: &str| {
            assert_eq!(super::check(source, false, false, false).as_deref(), Ok(expected));
        };
        check(r"a\/b\-c\<d\>", r"a/b\-c<d>");
        check(r"\$\{jndi{1,2}", r"\$\{jndi{1,2}");
        check(r"${x}", r"$\{x}");
        check(r"a{,3}b{", r"a\{,3}b\{");
        check(r"[[a&&b~]+[^]x]", r"[\[a\&\&b\~]+[^\]x]");
        check(r"[\w-.]", r"[\w\-.]");
        check(r"[[:alpha:]_]", r"[[:alpha:]_]");
        check(r"\Qa.b\E.\h", r"a\.b.[ \t]");
        check(r"(?:a|b)(?i)c(?<n>d)(?#note)e", r"(?:a|b)(?i)c(?<n>d)e");
        check(r"a+?b*?c??\++", r"a+?b*?c??\++");
        check("\\é", "é");
    }

    #[test]
    fn what_cannot_be_matched_is_named() {
        let check = |source: &str| super::check(source, false, false, false).expect_err(source);
        insta::assert_snapshot!(check("(?=a)"), @"the regular expression uses a lookahead (`(?=`), which can't be matched in linear time");
        insta::assert_snapshot!(check(r"(a)\1"), @r"the regular expression uses a backreference (`\1`), which can't be matched in linear time");
        for source in
            ["(?!a)", "(?<=a)b", "(?<!a)b", "(?>a)", "a++", "a{2}+", "(?R)", r"\Ka", "(*SKIP)"]
        {
            assert!(check(source).contains("can't be matched in linear time"), "{source}");
        }
        insta::assert_snapshot!(check("a("), @"not a valid regular expression: unclosed group");
        insta::assert_snapshot!(check(r"(\w{500}){500}"), @"the regular expression takes more than 10485760 bytes when compiled; use smaller repetitions");
        for source in ["[a", r"a\", "*", r"\"] {
            check(source);
        }
    }
}
