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

use crate::rewrite::{
    aliased, base64, by_variables, carets_within, cut_letter, doubled_backslashes, doubled_slash,
    each_path, each_script_word, each_word, equals_values, file_name, forward_slashes, has_word,
    joined_options, mixed_case, on_share, percent_encoded, quoted, quotes_within, replace_word,
    reversed_arguments, short_names, split_options, swapped_arguments, switches, ticks_within,
    up_and_down, upper_case, utf16, with_parameter,
};

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
}
