//! How texts are written in other ways: plain functions from a text to a text.
//!
//! Which of them is applied to which field of an event, under which name and at which cost, is said
//! in [`crate::vary`]. A function to which a text gives nothing to rewrite gives it back as it is,
//! and the caller drops what did not change.

pub(crate) fn file_name(path: &str) -> &str {
    path.rsplit(['\\', '/']).next().unwrap_or(path)
}

/// Letters lower and upper by turns, but not in what is probably Base64.
pub(crate) fn mixed_case(text: &str) -> String {
    let mut count = 0;
    let mut swapped = |c: char| {
        count += usize::from(c.is_ascii_alphabetic());
        match c {
            _ if !c.is_ascii_alphabetic() => c,
            _ if count % 2 == 1 => c.to_ascii_lowercase(),
            _ => c.to_ascii_uppercase(),
        }
    };
    let mut word = |word: &str| match is_encoded(word) {
        true => word.to_owned(),
        false => word.chars().map(&mut swapped).collect(),
    };
    text.split(' ').map(&mut word).collect::<Vec<String>>().join(" ")
}

pub(crate) fn upper_case(text: &str) -> String {
    let word = |word: &str| if is_encoded(word) { word.to_owned() } else { word.to_uppercase() };
    text.split(' ').map(word).collect::<Vec<String>>().join(" ")
}

/// Whether a word is probably Base64, where letter case is meaning.
fn is_encoded(word: &str) -> bool {
    let word = word.trim_matches(['"', '\'']);
    let letter = |c: char| c.is_ascii_alphanumeric() || "+/=".contains(c);
    word.len() >= 20 && word.chars().all(letter) && word.chars().any(|c| c.is_ascii_uppercase())
}

/// Applies to the words between spaces; what is quoted already is left.
pub(crate) fn each_word(text: &str, change: &dyn Fn(&str) -> String) -> String {
    if text.contains('"') {
        return text.to_owned();
    }
    let word = |word: &str| if word.chars().count() < 3 { word.to_owned() } else { change(word) };
    text.split(' ').map(word).collect::<Vec<String>>().join(" ")
}

pub(crate) fn quoted(word: &str) -> String {
    format!("\"{word}\"")
}

/// Puts something before the letter in the middle, if letters are at both sides.
fn in_the_middle(word: &str, put: &str) -> String {
    let letters: Vec<(usize, char)> = word.char_indices().collect();
    let mut places = (1..letters.len()).filter_map(|at| {
        let (place, c) = letters.get(at)?;
        let (_, before) = letters.get(at - 1)?;
        (c.is_ascii_alphanumeric() && before.is_ascii_alphanumeric()).then_some(*place)
    });
    let count = places.clone().count();
    match places.nth(count / 2).and_then(|place| word.split_at_checked(place)) {
        Some((front, back)) => format!("{front}{put}{back}"),
        None => word.to_owned(),
    }
}

pub(crate) fn quotes_within(word: &str) -> String {
    in_the_middle(word, "\"\"")
}

pub(crate) fn carets_within(word: &str) -> String {
    in_the_middle(word, "^")
}

/// A letter that is cut out of a variable which every system has: `%PROGRAMDATA:~0,1%` is `C`.
pub(crate) fn cut_letter(word: &str) -> String {
    let Some(at) = word.find(['c', 'C']) else { return word.to_owned() };
    let (front, back) = word.split_at(at);
    format!("{front}%PROGRAMDATA:~0,1%{}", back.get(1..).unwrap_or_default())
}

/// The words of a script that are names of commands or strings: letters and hyphens.
pub(crate) fn each_script_word(script: &str, change: &dyn Fn(&str) -> String) -> String {
    let mut changed = String::new();
    let mut word = String::new();
    let flush = |word: &mut String, changed: &mut String| {
        let is_name = word.len() >= 6 && word.contains('-') && !word.starts_with('-');
        changed.push_str(&if is_name { change(word) } else { std::mem::take(word) });
        word.clear();
    };
    for c in script.chars() {
        if c.is_ascii_alphabetic() || c == '-' {
            word.push(c);
        } else {
            flush(&mut word, &mut changed);
            changed.push(c);
        }
    }
    flush(&mut word, &mut changed);
    changed
}

/// A backtick before a letter that it gives no meaning.
pub(crate) fn ticks_within(word: &str) -> String {
    let plain = |c: &char| c.is_ascii_alphabetic() && !"0abefnrtuvABEFNRTUV".contains(*c);
    let place = word.char_indices().skip(1).find(|(_, c)| plain(c)).map(|(place, _)| place);
    match place.and_then(|place| word.split_at_checked(place)) {
        Some((front, back)) => format!("{front}`{back}"),
        None => word.to_owned(),
    }
}

/// Switches with another first character: what stands after a space.
pub(crate) fn switches(text: &str, from: char, to: &str) -> String {
    let mut changed = String::new();
    let mut before = ' ';
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        let letter = rest.peek().is_some_and(|next| next.is_ascii_alphanumeric() || *next == '-');
        if c == from && before == ' ' && letter {
            changed.push_str(to);
        } else {
            changed.push(c);
        }
        before = c;
    }
    changed
}

/// The arguments, each switch with the values that follow it.
fn argument_groups(rest: &str, signs: &[char]) -> Vec<String> {
    let mut groups: Vec<String> = Vec::new();
    for word in rest.split(' ').filter(|word| !word.is_empty()) {
        let switch = word.starts_with(signs);
        match groups.last_mut() {
            Some(group) if !switch && group.starts_with(signs) => {
                group.push(' ');
                group.push_str(word);
            }
            _ => groups.push(word.to_owned()),
        }
    }
    groups
}

pub(crate) fn swapped_arguments(rest: &str, signs: &[char]) -> String {
    let mut groups = argument_groups(rest, signs);
    let switches: Vec<usize> = groups
        .iter()
        .enumerate()
        .filter(|(_, group)| group.starts_with(signs))
        .map(|(at, _)| at)
        .collect();
    match switches.as_slice() {
        [.., one, other] if !rest.contains('"') => {
            groups.swap(*one, *other);
            format!(" {}", groups.join(" "))
        }
        _ => rest.to_owned(),
    }
}

pub(crate) fn reversed_arguments(rest: &str, signs: &[char]) -> String {
    let groups = argument_groups(rest, signs);
    let first = groups.iter().position(|group| group.starts_with(signs));
    let Some(first) = first.filter(|_| !rest.contains('"')) else { return rest.to_owned() };
    let (front, switches) = groups.split_at(first);
    let mut all = front.to_vec();
    all.extend(switches.iter().rev().cloned());
    format!(" {}", all.join(" "))
}

/// `-l -a` as `-la`.
pub(crate) fn joined_options(rest: &str) -> String {
    let mut words: Vec<String> = Vec::new();
    let short = |word: &str| {
        word.len() >= 2 && word.starts_with('-') && word.chars().skip(1).all(char::is_alphabetic)
    };
    for word in rest.split(' ') {
        match words.last_mut() {
            Some(last) if short(last) && short(word) && last.len() + word.len() < 8 => {
                last.push_str(word.get(1..).unwrap_or_default());
            }
            _ => words.push(word.to_owned()),
        }
    }
    words.join(" ")
}

/// `-la` as `-l -a`.
pub(crate) fn split_options(rest: &str) -> String {
    let word = |word: &str| {
        let letters = word.strip_prefix('-').unwrap_or_default();
        let together = (2..=4).contains(&letters.len()) && letters.chars().all(char::is_alphabetic);
        if !together {
            return word.to_owned();
        }
        letters.chars().map(|c| format!("-{c}")).collect::<Vec<String>>().join(" ")
    };
    rest.split(' ').map(word).collect::<Vec<String>>().join(" ")
}

/// `--output file` as `--output=file`.
pub(crate) fn equals_values(rest: &str) -> String {
    let mut words: Vec<String> = Vec::new();
    for word in rest.split(' ') {
        match words.last_mut() {
            Some(last)
                if last.starts_with("--")
                    && !last.contains('=')
                    && !word.starts_with('-')
                    && !word.is_empty() =>
            {
                last.push('=');
                last.push_str(word);
            }
            _ => words.push(word.to_owned()),
        }
    }
    words.join(" ")
}

/// Applies to each path with a drive, up to the next space or quote.
pub(crate) fn each_path(text: &str, change: &dyn Fn(&str) -> String) -> String {
    let mut changed = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(r":\") {
        let start = rest
            .char_indices()
            .take_while(|(place, _)| *place < at)
            .last()
            .filter(|(_, c)| c.is_ascii_alphabetic())
            .map_or(at, |(place, _)| place);
        let (before, path) = rest.split_at(start);
        let end = path.find(['"', ' ', ',', ';', '\'']).unwrap_or(path.len());
        let (path, after) = path.split_at(end.max(2).min(path.len()));
        changed.push_str(before);
        changed.push_str(&if start < at { change(path) } else { path.to_owned() });
        rest = after;
    }
    changed.push_str(rest);
    changed
}

pub(crate) fn on_share(path: &str) -> String {
    match path.split_once(r":\") {
        Some((drive, rest)) if drive.len() == 1 => format!(r"\\localhost\{drive}$\{rest}"),
        _ => path.to_owned(),
    }
}

pub(crate) fn forward_slashes(line: &str) -> String {
    each_path(line, &|path| path.replace('\\', "/"))
}

pub(crate) fn doubled_backslashes(line: &str) -> String {
    each_path(line, &|path| path.replace('\\', r"\\"))
}

/// `C:\Windows\x` as `C:\Windows\..\Windows\x`.
pub(crate) fn up_and_down(path: &str) -> String {
    match path.split('\\').nth(1) {
        Some(folder) if path.split('\\').count() > 2 => {
            path.replacen(&format!(r"\{folder}\"), &format!(r"\{folder}\..\{folder}\"), 1)
        }
        _ => path.to_owned(),
    }
}

/// Folders with a short name on most systems.
const SHORT_NAMES: &[(&str, &str)] = &[
    ("Program Files (x86)", "PROGRA~2"),
    ("Program Files", "PROGRA~1"),
    ("ProgramData", "PROGRA~3"),
    ("Documents and Settings", "DOCUME~1"),
    ("WindowsPowerShell", "WINDOW~1"),
    ("powershell.exe", "POWERS~1.EXE"),
    ("Microsoft", "MICROS~1"),
];

pub(crate) fn short_names(text: &str) -> String {
    SHORT_NAMES.iter().fold(text.to_owned(), |text, (name, short)| replace_text(&text, name, short))
}

/// Folders and the variables that name them.
const VARIABLES: &[(&str, &str)] = &[
    (r"C:\Windows\System32\cmd.exe", "%COMSPEC%"),
    (r"C:\Windows", "%SystemRoot%"),
    (r"C:\Users\Public", "%PUBLIC%"),
    (r"C:\ProgramData", "%ALLUSERSPROFILE%"),
    (r"C:\Program Files (x86)", "%ProgramFiles(x86)%"),
    (r"C:\Program Files", "%ProgramFiles%"),
    (r"C:\", r"%SystemDrive%\"),
];

pub(crate) fn by_variables(line: &str) -> String {
    VARIABLES.iter().fold(line.to_owned(), |line, (path, by)| replace_text(&line, path, by))
}

/// Commands of PowerShell and a shorter name for each.
const ALIASES: &[(&str, &str)] = &[
    ("Invoke-Expression", "iex"),
    ("Invoke-WebRequest", "iwr"),
    ("Invoke-Command", "icm"),
    ("Invoke-RestMethod", "irm"),
    ("Get-ChildItem", "gci"),
    ("Get-Content", "gc"),
    ("Get-Item", "gi"),
    ("Get-ItemProperty", "gp"),
    ("Get-Process", "gps"),
    ("Get-Service", "gsv"),
    ("Get-WmiObject", "gwmi"),
    ("Invoke-WmiMethod", "iwmi"),
    ("Copy-Item", "cpi"),
    ("Move-Item", "mi"),
    ("New-Item", "ni"),
    ("Remove-Item", "ri"),
    ("Set-Content", "sc"),
    ("Set-ItemProperty", "sp"),
    ("Set-Item", "si"),
    ("Start-Process", "saps"),
    ("Stop-Process", "spps"),
    ("Stop-Service", "spsv"),
    ("Start-Job", "sajb"),
    ("Where-Object", "?"),
    ("ForEach-Object", "%"),
    ("Select-Object", "select"),
    ("Select-String", "sls"),
];

pub(crate) fn aliased(script: &str) -> String {
    ALIASES.iter().fold(script.to_owned(), |text, (name, alias)| replace_text(&text, name, alias))
}

/// Replaces every place where a text stands, in any letter case.
fn replace_text(text: &str, from: &str, to: &str) -> String {
    let lower = text.to_ascii_lowercase();
    let mut changed = String::new();
    let mut at = 0;
    for (place, _) in lower.match_indices(&from.to_ascii_lowercase()) {
        changed.push_str(text.get(at..place).unwrap_or_default());
        changed.push_str(to);
        at = place + from.len();
    }
    changed.push_str(text.get(at..).unwrap_or_default());
    changed
}

pub(crate) fn has_word(text: &str, word: &str) -> bool {
    text.to_lowercase().split([' ', '"', '\\', '/']).any(|own| own == word)
}

/// Replaces the first word that is one of these, in any letter case.
pub(crate) fn replace_word(text: &str, words: &[&str], by: &str) -> String {
    let mut done = false;
    text.split(' ')
        .map(|own| {
            let lower = own.to_lowercase();
            if !done && words.contains(&lower.as_str()) {
                done = true;
                by.to_owned()
            } else {
                own.to_owned()
            }
        })
        .collect::<Vec<String>>()
        .join(" ")
}

pub(crate) fn percent_encoded(url: &str) -> String {
    let path = url.find("://").map_or(0, |at| at + 3);
    let from = url.get(path..).and_then(|rest| rest.find('/')).map_or(path, |at| path + at);
    let letter = url.char_indices().rfind(|(place, c)| *place > from && c.is_ascii_alphabetic());
    match letter {
        Some((place, c)) => {
            let (front, back) = url.split_at(place);
            format!("{front}%{:02X}{}", u32::from(c), back.get(1..).unwrap_or_default())
        }
        None => url.to_owned(),
    }
}

pub(crate) fn with_parameter(url: &str) -> String {
    let sign = if url.contains('?') { '&' } else { '?' };
    format!("{url}{sign}v=7")
}

pub(crate) fn doubled_slash(url: &str) -> String {
    match url.rfind('/') {
        Some(at) if !url.get(..at).is_some_and(|front| front.ends_with(['/', ':'])) => {
            let (front, back) = url.split_at(at);
            format!("{front}/{back}")
        }
        _ => url.to_owned(),
    }
}

pub(crate) fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

/// RFC 4648 with padding.
pub(crate) fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * place) & 63) as usize];
            text.push(if place <= chunk.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_as_everybody_writes_it() {
        assert_eq!(base64(b""), "");
        assert_eq!(base64(b"f"), "Zg==");
        assert_eq!(base64(b"fo"), "Zm8=");
        assert_eq!(base64(b"foobar"), "Zm9vYmFy");
    }
}
