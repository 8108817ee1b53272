//! How attackers write the same thing in other ways, and what a rule still sees of it.
//!
//! A matching event is rewritten as somebody would who knows the rule: letters in another case,
//! quotes that the shell takes away, other dashes, other spellings of a path, a shorter parameter, a
//! renamed program. Each [`Variation`] keeps what the command does, changes one thing, and has a
//! cost: 1 for what anybody types in a second, 5 for what takes work and skill. The score of a rule
//! is the share of variations that it still catches, and the cheapest one that it does not is its
//! weakest point.
//!
//! Everything is decided by the event, so the same event always gives the same variations. Only
//! what the log would show is varied: carets and environment variables are seen in the command line
//! of a shell (`cmd /c ...`) and nowhere else, because the shell takes them away before the program
//! that is started is logged.

use event::{Event, Logsource};
use matcher::plain;
use sigma::expr::Expr;

/// The most variations of one event.
pub const VARIATIONS_MAX: usize = 400;

/// The longest text that is varied, in bytes.
const TEXT_BYTES_MAX: usize = 16 * 1024;

/// An event rewritten in one way.
#[derive(Debug, Clone)]
pub struct Variation {
    /// The way, in a few words.
    pub name: &'static str,
    /// What it costs the attacker: 1 (typed differently) to 5 (takes work and skill).
    pub cost: u8,
    /// The field that was changed.
    pub field: String,
    /// Its text before.
    pub before: String,
    /// Its text now.
    pub after: String,
    /// The rewritten event.
    pub event: Event,
}

/// What a rule catches of the variations of an event.
#[derive(Debug, Clone)]
pub struct Score {
    /// How many variations there are.
    pub tried: usize,
    /// How many of them the rule matches.
    pub caught: usize,
    /// The others, the cheapest first.
    pub evasions: Vec<Variation>,
}

impl Score {
    /// The variation that the rule misses at the lowest cost.
    pub fn cheapest_evasion(&self) -> Option<&Variation> {
        self.evasions.first()
    }

    /// The share of variations that are caught, in percent; `None` when the event has nothing to
    /// vary.
    pub fn percent(&self) -> Option<u32> {
        let caught = (self.caught * 100).checked_div(self.tried)?;
        u32::try_from(caught).ok()
    }
}

/// Which fields hold what attackers choose the writing of.
#[derive(Debug, Clone)]
pub struct Roles<'a> {
    /// Command lines.
    pub command_lines: &'a [&'a str],
    /// Paths of the programs that run, each with the command line that it was started with, if any.
    pub images: &'a [(&'a str, Option<&'a str>)],
    /// Scripts in PowerShell.
    pub scripts: &'a [&'a str],
    /// Paths of files that are read, written or loaded.
    pub files: &'a [&'a str],
    /// Host names and addresses of the web.
    pub hosts: &'a [&'a str],
    /// Addresses of pages, or their path.
    pub urls: &'a [&'a str],
}

/// The names of Sigma's Windows and Linux taxonomies, and of the event model.
impl Default for Roles<'_> {
    fn default() -> Self {
        Roles {
            command_lines: &[
                "CommandLine",
                "ParentCommandLine",
                "process.command_line",
                "process.parent.command_line",
            ],
            images: &[
                ("Image", Some("CommandLine")),
                ("NewProcessName", Some("CommandLine")),
                ("ParentImage", Some("ParentCommandLine")),
                ("ParentProcessName", None),
                ("process.executable", Some("process.command_line")),
                ("process.parent.executable", Some("process.parent.command_line")),
            ],
            scripts: &["ScriptBlockText", "powershell.file.script_block_text"],
            files: &["TargetFilename", "ImageLoaded", "file.path", "dll.path"],
            hosts: &[
                "QueryName",
                "DestinationHostname",
                "cs-host",
                "dns.question.name",
                "url.domain",
            ],
            urls: &["c-uri", "cs-uri", "cs-uri-stem", "cs-uri-query", "url.original", "url.path"],
        }
    }
}

/// What the rule catches of an event's variations. A bare command line, as witnesses have it, is
/// first given its program, if the rule matches then too.
pub fn score(expr: &Expr, event: &Event, roles: &Roles<'_>) -> Score {
    let mut event = event.clone();
    for (image, command_line) in roles.images {
        let (Some(program), Some(name)) = (event.str(image), *command_line) else { continue };
        let Some(line) = event.str(name) else { continue };
        if line.to_lowercase().contains(&file_name(program).to_lowercase()) {
            continue;
        }
        let mut whole = event.clone();
        whole.set(name, format!("{program} {}", line.trim_start()).as_str());
        if plain::matches(expr, &whole) {
            event = whole;
        }
    }
    let variations = mutations(&event, roles);
    let tried = variations.len();
    let mut evasions: Vec<Variation> = variations
        .into_iter()
        .filter(|variation| !plain::matches(expr, &variation.event))
        .collect();
    evasions.sort_by_key(|variation| variation.cost);
    Score { tried, caught: tried - evasions.len(), evasions }
}

/// The variations of an event, in the order of its roles.
pub fn mutations(event: &Event, roles: &Roles<'_>) -> Vec<Variation> {
    let mut made = Made { event, variations: Vec::new() };
    for name in roles.command_lines {
        let Some(line) = made.text(name) else { continue };
        let image = roles
            .images
            .iter()
            .find(|(_, command_line)| *command_line == Some(*name))
            .and_then(|(image, _)| event.str(image));
        let command = Command::read(line, image, event);
        command_line(&command, &mut |name_of, cost, after| made.add(name_of, cost, name, after));
    }
    for (name, line) in roles.images {
        if made.text(name).is_some() {
            renamed(&mut made, name, *line);
        }
    }
    for name in roles.scripts {
        if let Some(script) = made.text(name) {
            script_text(script, &mut |name_of, cost, after| made.add(name_of, cost, name, after));
        }
    }
    for name in roles.files {
        if let Some(path) = made.text(name) {
            // Elsewhere, a path in other letters is another file.
            if path.contains('\\') {
                made.add("letters in other cases", 1, name, mixed_case(path));
            }
            made.add("a path by the own share", 2, name, on_share(path));
            made.add("short 8.3 names", 2, name, short_names(path));
        }
    }
    for name in roles.hosts {
        if let Some(host) = made.text(name) {
            made.add("letters in other cases", 1, name, mixed_case(host));
            made.add("a dot at the end", 1, name, format!("{host}."));
            made.add("another subdomain", 3, name, format!("cdn7.{host}"));
        }
    }
    for name in roles.urls {
        if let Some(url) = made.text(name) {
            made.add("letters in other cases", 2, name, mixed_case(url));
            made.add("a letter percent-encoded", 1, name, percent_encoded(url));
            made.add("a parameter more", 1, name, with_parameter(url));
            made.add("a slash more", 1, name, doubled_slash(url));
        }
    }
    made.variations
}

struct Made<'e> {
    event: &'e Event,
    variations: Vec<Variation>,
}

impl<'e> Made<'e> {
    fn text(&self, name: &str) -> Option<&'e str> {
        self.event.str(name).filter(|text| !text.is_empty() && text.len() <= TEXT_BYTES_MAX)
    }

    fn add(&mut self, name: &'static str, cost: u8, field: &str, after: String) {
        let before = self.text(field).unwrap_or_default();
        let known = |other: &Variation| other.field == field && other.after == after;
        if before == after
            || self.variations.len() >= VARIATIONS_MAX
            || self.variations.iter().any(known)
        {
            return;
        }
        let mut event = self.event.clone();
        event.set(field, after.as_str());
        let (field, before) = (field.to_owned(), before.to_owned());
        self.variations.push(Variation { name, cost, field, before, after, event });
    }
}

/// A command line taken apart.
struct Command<'c> {
    line: &'c str,
    /// Its first word, with the quotes around it.
    program: &'c str,
    /// What follows, with the space before it.
    rest: &'c str,
    /// The program's name in lower case, without folder and `.exe`.
    name: String,
    windows: bool,
}

/// Command interpreters of Windows that read carets and `%variables%`.
const SHELLS: &[&str] = &["cmd"];
const POWERSHELLS: &[&str] = &["powershell", "pwsh", "powershell_ise"];
/// Programs that take `/x` and `-x` alike. That most of Windows' own do is the reason to try.
const DASH_ONLY: &[&str] =
    &["curl", "ssh", "python", "python3", "node", "java", "rclone", "certipy"];

impl<'c> Command<'c> {
    fn read(line: &'c str, image: Option<&str>, event: &Event) -> Command<'c> {
        let trimmed = line.trim_start();
        let end = match trimmed.strip_prefix('"') {
            Some(quoted) => quoted.find('"').map_or(trimmed.len(), |at| at + 2),
            None => trimmed.find(char::is_whitespace).unwrap_or(trimmed.len()),
        };
        let (first, _) = trimmed.split_at(end);
        let bare = first.trim_matches('"');
        let windows = match Logsource::of(event).product {
            Some(product) => product == "windows",
            None => !bare.starts_with('/') && image.is_none_or(|image| !image.starts_with('/')),
        };
        let stem = |path: &str| {
            let name = file_name(path).to_lowercase();
            name.strip_suffix(".exe").unwrap_or(&name).to_owned()
        };
        let by_image = image.map(stem);
        let looks_so = bare.contains(['\\', '/'])
            || bare.to_lowercase().ends_with(".exe")
            || by_image.as_ref().is_some_and(|name| *name == stem(bare))
            || SHELLS.iter().chain(POWERSHELLS).any(|known| *known == stem(bare));
        // Without a program in front, all is arguments.
        let at =
            if looks_so && !bare.starts_with('-') { line.len() - trimmed.len() + end } else { 0 };
        let (program, rest) = line.split_at(at);
        let name = by_image.unwrap_or_else(|| stem(bare));
        Command { line, program: program.trim_start(), rest, name, windows }
    }

    fn is(&self, names: &[&str]) -> bool {
        names.contains(&self.name.as_str())
    }

    fn with_program(&self, program: &str) -> String {
        if self.program.is_empty() {
            self.line.to_owned()
        } else {
            format!("{program}{}", self.rest)
        }
    }

    fn with_rest(&self, rest: &str) -> String {
        format!("{}{rest}", self.program)
    }
}

fn command_line(command: &Command<'_>, add: &mut dyn FnMut(&'static str, u8, String)) {
    let rest = command.rest;
    add("more spaces", 1, command.with_rest(&rest.replace(' ', "  ")));
    add("tabs for spaces", 2, command.with_rest(&rest.replace(' ', "\t")));
    add("a space at the end", 1, format!("{} ", command.line));
    add("no space at the end", 1, command.line.trim_end().to_owned());
    let signs: &[char] = if command.windows { &['-', '/'] } else { &['-'] };
    add("arguments in another order", 2, command.with_rest(&swapped_arguments(rest, signs)));
    add("arguments in reverse order", 2, command.with_rest(&reversed_arguments(rest, signs)));
    let bare = command.program.trim_matches('"');
    if command.windows {
        windows_command_line(command, bare, add);
    } else {
        let path = |change: &dyn Fn(&str) -> String| {
            let word =
                |word: &str| if word.starts_with('/') { change(word) } else { word.to_owned() };
            command.line.split(' ').map(word).collect::<Vec<String>>().join(" ")
        };
        add("doubled slashes", 1, path(&|path| path.replace('/', "//")));
        add("a folder that is the same", 1, path(&|path| path.replacen('/', "/./", 1)));
        add("program without its folder", 1, command.with_program(file_name(bare)));
        add("short options together", 2, command.with_rest(&joined_options(rest)));
        add("short options apart", 2, command.with_rest(&split_options(rest)));
        add("value after an equals sign", 2, command.with_rest(&equals_values(rest)));
    }
}

fn windows_command_line(
    command: &Command<'_>,
    bare: &str,
    add: &mut dyn FnMut(&'static str, u8, String),
) {
    let (line, rest) = (command.line, command.rest);
    add("letters in other cases", 1, mixed_case(line));
    add("all upper case", 1, upper_case(line));
    add("quotes around the program", 1, command.with_program(&format!("\"{bare}\"")));
    add("quotes around arguments", 1, command.with_rest(&each_word(rest, &quoted)));
    add("quotes within words", 1, command.with_rest(&each_word(rest, &quotes_within)));
    add("program without its folder", 1, command.with_program(file_name(bare)));
    let lower = bare.to_lowercase();
    match lower.strip_suffix(".exe") {
        Some(stem) => {
            let shorter = bare.get(..stem.len()).unwrap_or(bare);
            add("program without .exe", 1, command.with_program(shorter));
        }
        None => add("program with .exe", 1, command.with_program(&format!("{bare}.exe"))),
    }
    if !command.is(DASH_ONLY) {
        add("slashes for dashes", 1, command.with_rest(&switches(rest, '-', "/")));
        add("dashes for slashes", 1, command.with_rest(&switches(rest, '/', "-")));
        add("en dashes", 2, command.with_rest(&switches(rest, '-', "\u{2013}")));
        add("em dashes", 2, command.with_rest(&switches(rest, '-', "\u{2014}")));
        add("horizontal bars", 2, command.with_rest(&switches(rest, '-', "\u{2015}")));
    }
    add("no space after a switch's colon", 2, command.with_rest(&rest.replace(": ", ":")));
    add("forward slashes in paths", 2, forward_slashes(line));
    add("doubled backslashes", 2, doubled_backslashes(line));
    add(r"a path with \.\ in it", 1, each_path(line, &|path| path.replacen('\\', r"\.\", 1)));
    add("up a folder and down again", 2, each_path(line, &up_and_down));
    add(r"a path behind \\?\", 2, each_path(line, &|path| format!(r"\\?\{path}")));
    add("a path by the own share", 2, each_path(line, &on_share));
    add("short 8.3 names", 2, short_names(line));
    let shell = command.is(SHELLS) || has_word(line, "cmd") || has_word(line, "cmd.exe");
    if shell {
        add("carets within words", 1, command.with_rest(&each_word(rest, &carets_within)));
        add("folders by variables", 2, by_variables(line));
        add("letters cut out of a variable", 3, command.with_rest(&each_word(rest, &cut_letter)));
        add("%COMSPEC% for cmd", 2, replace_word(line, &["cmd.exe", "cmd"], "%COMSPEC%"));
    }
    if command.is(POWERSHELLS) || POWERSHELLS.iter().any(|name| line.to_lowercase().contains(name))
    {
        powershell(line, add);
    }
}

/// Parameters of `powershell.exe` and what else they may be called.
const POWERSHELL_PARAMETERS: &[(&str, &[&str])] = &[
    ("encodedcommand", &["e", "ec", "en", "enc", "enco", "encodedcomman"]),
    ("executionpolicy", &["ep", "ex", "exec", "executionpol"]),
    ("windowstyle", &["w", "wi", "win", "windowsty"]),
    ("noprofile", &["nop", "noprof"]),
    ("noninteractive", &["noni", "nonint"]),
    ("nologo", &["nol"]),
    ("command", &["c", "com"]),
    ("file", &["f", "fi"]),
];

fn powershell(line: &str, add: &mut dyn FnMut(&'static str, u8, String)) {
    let words: Vec<&str> = line.split(' ').collect();
    for (at, word) in words.iter().enumerate() {
        let Some(parameter) = word.strip_prefix(['-', '/']) else { continue };
        let parameter = parameter.to_lowercase();
        let known = POWERSHELL_PARAMETERS
            .iter()
            .find(|(whole, short)| *whole == parameter || short.contains(&parameter.as_str()));
        let Some((whole, short)) = known else { continue };
        for other in short.iter().chain([whole]).filter(|other| **other != parameter) {
            let mut changed = words.clone();
            let other = format!("-{other}");
            if let Some(word) = changed.get_mut(at) {
                *word = &other;
            }
            add("another form of a PowerShell parameter", 1, changed.join(" "));
        }
        if *whole == "windowstyle" {
            add("a number for a word", 1, replace_word(line, &["hidden"], "1"));
        }
        if *whole == "command" {
            let script: Vec<&str> = words.iter().skip(at + 1).copied().collect();
            let script = script.join(" ");
            let script = script.trim_matches('"');
            if !script.is_empty() {
                let before: Vec<&str> = words.iter().take(at).copied().collect();
                let encoded = base64(&utf16(script));
                add("the command in Base64", 2, format!("{} -enc {encoded}", before.join(" ")));
            }
        }
    }
    add("backticks within words", 1, each_script_word(line, &ticks_within));
}

fn script_text(script: &str, add: &mut dyn FnMut(&'static str, u8, String)) {
    add("letters in other cases", 1, mixed_case(script));
    add("backticks within words", 1, each_script_word(script, &ticks_within));
    add("more spaces", 1, script.replace(' ', "  "));
    let strings = each_script_word(script, &|word| match word.split_at_checked(word.len() / 2) {
        Some((front, back)) => format!("('{front}'+'{back}')"),
        None => word.to_owned(),
    });
    add("words put together from parts", 2, strings);
    let format = each_script_word(script, &|word| match word.split_at_checked(word.len() / 2) {
        Some((front, back)) => format!("('{{1}}{{0}}'-f'{back}','{front}')"),
        None => word.to_owned(),
    });
    add("words put together by a format", 2, format);
    add(
        "all of it in Base64",
        3,
        format!(
            "iex([Text.Encoding]::Unicode.GetString([Convert]::FromBase64String('{}')))",
            base64(&utf16(script))
        ),
    );
    add("aliases for commands", 1, aliased(script));
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

fn aliased(script: &str) -> String {
    ALIASES.iter().fold(script.to_owned(), |text, (name, alias)| replace_text(&text, name, alias))
}

/// The program under another name, or in another folder.
fn renamed(made: &mut Made<'_>, name: &str, line: Option<&str>) {
    let Some(image) = made.text(name) else { return };
    let own = file_name(image);
    let windows = image.contains('\\') || !image.contains('/');
    let (other, elsewhere) = if windows {
        (r"C:\Users\Public\svc7.exe".to_owned(), format!(r"C:\Users\Public\{own}"))
    } else {
        ("/tmp/.svc7".to_owned(), format!("/tmp/{own}"))
    };
    // The original file name stays as it is: it is in the file, and copying does not change it.
    for (variation, cost, path) in [
        ("the program copied under another name", 2, other),
        ("the program in another folder", 2, elsewhere),
    ] {
        let before = made.variations.len();
        made.add(variation, cost, name, path.clone());
        let Some(line) = line else { continue };
        let (Some(text), true) = (made.text(line), made.variations.len() > before) else {
            continue;
        };
        let command = Command::read(text, Some(image), made.event);
        if !command.program.is_empty() {
            let text = command.with_program(&path);
            if let Some(variation) = made.variations.last_mut() {
                variation.event.set(line, text.as_str());
            }
        }
    }
    if windows {
        made.add("letters in other cases", 1, name, mixed_case(image));
        made.add("short 8.3 names", 2, name, short_names(image));
        made.add("a path by the own share", 2, name, on_share(image));
    }
}

// How texts are rewritten.

fn file_name(path: &str) -> &str {
    path.rsplit(['\\', '/']).next().unwrap_or(path)
}

/// Letters lower and upper by turns, but not in what is probably Base64.
fn mixed_case(text: &str) -> String {
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

fn upper_case(text: &str) -> String {
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
fn each_word(text: &str, change: &dyn Fn(&str) -> String) -> String {
    if text.contains('"') {
        return text.to_owned();
    }
    let word = |word: &str| if word.chars().count() < 3 { word.to_owned() } else { change(word) };
    text.split(' ').map(word).collect::<Vec<String>>().join(" ")
}

fn quoted(word: &str) -> String {
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

fn quotes_within(word: &str) -> String {
    in_the_middle(word, "\"\"")
}

fn carets_within(word: &str) -> String {
    in_the_middle(word, "^")
}

/// A letter that is cut out of a variable which every system has: `%PROGRAMDATA:~0,1%` is `C`.
fn cut_letter(word: &str) -> String {
    let Some(at) = word.find(['c', 'C']) else { return word.to_owned() };
    let (front, back) = word.split_at(at);
    format!("{front}%PROGRAMDATA:~0,1%{}", back.get(1..).unwrap_or_default())
}

/// The words of a script that are names of commands or strings: letters and hyphens.
fn each_script_word(script: &str, change: &dyn Fn(&str) -> String) -> String {
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
fn ticks_within(word: &str) -> String {
    let plain = |c: &char| c.is_ascii_alphabetic() && !"0abefnrtuvABEFNRTUV".contains(*c);
    let place = word.char_indices().skip(1).find(|(_, c)| plain(c)).map(|(place, _)| place);
    match place.and_then(|place| word.split_at_checked(place)) {
        Some((front, back)) => format!("{front}`{back}"),
        None => word.to_owned(),
    }
}

/// Switches with another first character: what stands after a space.
fn switches(text: &str, from: char, to: &str) -> String {
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

fn swapped_arguments(rest: &str, signs: &[char]) -> String {
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

fn reversed_arguments(rest: &str, signs: &[char]) -> String {
    let groups = argument_groups(rest, signs);
    let first = groups.iter().position(|group| group.starts_with(signs));
    let Some(first) = first.filter(|_| !rest.contains('"')) else { return rest.to_owned() };
    let (front, switches) = groups.split_at(first);
    let mut all = front.to_vec();
    all.extend(switches.iter().rev().cloned());
    format!(" {}", all.join(" "))
}

/// `-l -a` as `-la`.
fn joined_options(rest: &str) -> String {
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
fn split_options(rest: &str) -> String {
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
fn equals_values(rest: &str) -> String {
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
fn each_path(text: &str, change: &dyn Fn(&str) -> String) -> String {
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

fn on_share(path: &str) -> String {
    match path.split_once(r":\") {
        Some((drive, rest)) if drive.len() == 1 => format!(r"\\localhost\{drive}$\{rest}"),
        _ => path.to_owned(),
    }
}

fn forward_slashes(line: &str) -> String {
    each_path(line, &|path| path.replace('\\', "/"))
}

fn doubled_backslashes(line: &str) -> String {
    each_path(line, &|path| path.replace('\\', r"\\"))
}

/// `C:\Windows\x` as `C:\Windows\..\Windows\x`.
fn up_and_down(path: &str) -> String {
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

fn short_names(text: &str) -> String {
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

fn by_variables(line: &str) -> String {
    VARIABLES.iter().fold(line.to_owned(), |line, (path, by)| replace_text(&line, path, by))
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

fn has_word(text: &str, word: &str) -> bool {
    text.to_lowercase().split([' ', '"', '\\', '/']).any(|own| own == word)
}

/// Replaces the first word that is one of these, in any letter case.
fn replace_word(text: &str, words: &[&str], by: &str) -> String {
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

fn percent_encoded(url: &str) -> String {
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

fn with_parameter(url: &str) -> String {
    let sign = if url.contains('?') { '&' } else { '?' };
    format!("{url}{sign}v=7")
}

fn doubled_slash(url: &str) -> String {
    match url.rfind('/') {
        Some(at) if !url.get(..at).is_some_and(|front| front.ends_with(['/', ':'])) => {
            let (front, back) = url.split_at(at);
            format!("{front}/{back}")
        }
        _ => url.to_owned(),
    }
}

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

/// RFC 4648 with padding.
fn base64(bytes: &[u8]) -> String {
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

    fn variations(fields: &[(&str, &str)]) -> Vec<String> {
        let mut event = Event::new();
        fields.iter().for_each(|(name, value)| event.set(name, *value));
        mutations(&event, &Roles::default())
            .iter()
            .map(|variation| format!("{} {}: {}", variation.cost, variation.name, variation.after))
            .collect()
    }

    #[test]
    fn a_command_line_of_powershell() {
        let found = variations(&[
            ("Image", r"C:\Windows\System32\WindowsPowerShell\v1.0\powershell.exe"),
            ("CommandLine", "powershell.exe -NoP -Command \"Get-Item x\""),
        ]);
        for expected in [
            "1 letters in other cases: pOwErShElL.eXe -NoP -cOmMaNd \"GeT-iTeM x\"",
            "1 program without .exe: powershell -NoP -Command \"Get-Item x\"",
            "1 slashes for dashes: powershell.exe /NoP /Command \"Get-Item x\"",
            "2 en dashes: powershell.exe \u{2013}NoP \u{2013}Command \"Get-Item x\"",
            "1 another form of a PowerShell parameter: powershell.exe -NoP -c \"Get-Item x\"",
            "2 the command in Base64: powershell.exe -NoP -enc RwBlAHQALQBJAHQAZQBtACAAeAA=",
            "2 the program copied under another name: C:\\Users\\Public\\svc7.exe",
        ] {
            assert!(found.iter().any(|text| text == expected), "{expected} in {found:#?}");
        }
    }

    #[test]
    fn a_command_line_of_cmd() {
        let found = variations(&[("CommandLine", r"cmd.exe /c whoami > C:\Windows\Temp\o")]);
        for expected in [
            r#"1 quotes within words: cmd.exe /c who""ami > C:\Windo""ws\Temp\o"#,
            r"1 carets within words: cmd.exe /c who^ami > C:\Windo^ws\Temp\o",
            r"2 folders by variables: cmd.exe /c whoami > %SystemRoot%\Temp\o",
            r"2 forward slashes in paths: cmd.exe /c whoami > C:/Windows/Temp/o",
            r"2 a path by the own share: cmd.exe /c whoami > \\localhost\C$\Windows\Temp\o",
            r"2 up a folder and down again: cmd.exe /c whoami > C:\Windows\..\Windows\Temp\o",
        ] {
            assert!(found.iter().any(|text| text == expected), "{expected} in {found:#?}");
        }
    }

    #[test]
    fn a_command_line_of_linux() {
        let found = variations(&[
            ("Image", "/usr/bin/curl"),
            ("CommandLine", "curl -s -k --output /tmp/x http://a.b/c"),
        ]);
        for expected in [
            "2 short options together: curl -sk --output /tmp/x http://a.b/c",
            "2 value after an equals sign: curl -s -k --output=/tmp/x http://a.b/c",
            "1 doubled slashes: curl -s -k --output //tmp//x http://a.b/c",
            "2 arguments in another order: curl -s --output /tmp/x http://a.b/c -k",
        ] {
            assert!(found.iter().any(|text| text == expected), "{expected} in {found:#?}");
        }
        assert!(!found.iter().any(|text| text.contains('^')), "{found:#?}");
    }

    #[test]
    fn a_rule_is_scored_by_what_it_misses() {
        use sigma::expr::{Atom, Pattern, Test};
        let test = Test::Text(Pattern::parse("*whoami*", false));
        let expr = Expr::Atom(Atom { field: Some("CommandLine".into()), test });
        let mut event = Event::new();
        event.set("CommandLine", "cmd.exe /c whoami");
        let score = score(&expr, &event, &Roles::default());
        assert!(score.caught > 3 && score.caught < score.tried, "{score:?}");
        let cheapest = score.cheapest_evasion().unwrap();
        assert_eq!((cheapest.cost, cheapest.name), (1, "quotes within words"));
    }

    #[test]
    fn base64_as_everybody_writes_it() {
        assert_eq!(base64(b""), "");
        assert_eq!(base64(b"f"), "Zg==");
        assert_eq!(base64(b"fo"), "Zm8=");
        assert_eq!(base64(b"foobar"), "Zm9vYmFy");
    }
}
