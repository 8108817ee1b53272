//! What is wrong, where, and what to do about it.
//!
//! Everything this crate has to say about a file is a [`Diagnostic`]: a fault that refuses a rule,
//! or an advice that does not. Each knows its file, line and column, so that it can be shown in
//! the way of a good compiler, in an editor, or (as SARIF) beside the line in a code review.
//! Codes are an enum and their names a contract: people silence and count diagnostics by code.

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::json;

/// One thing to say about one place of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// Which kind of thing it is.
    pub code: Code,
    /// What is wrong, in a sentence without a full stop.
    pub message: String,
    /// The file, as the caller named it.
    pub file: String,
    /// The line, from 1; 0 when the file as a whole is meant.
    pub line: u32,
    /// The column in characters, from 1; 0 when the line as a whole is meant.
    pub column: u32,
    /// How many characters are meant, at least 1 when the column is known.
    pub length: u32,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

/// How bad a diagnostic is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing; nothing is wrong.
    Note,
    /// The rule works, but probably not as meant.
    Warning,
    /// The rule, or the file, is refused.
    Error,
}

/// A place in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize)]
pub struct Span {
    /// The line, from 1.
    pub line: u32,
    /// The column in characters, from 1.
    pub column: u32,
    /// The number of characters on that line.
    pub length: u32,
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// The kinds of diagnostics.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        pub enum Code {
            $($(#[$doc])* #[serde(rename = $text)] $name,)*
        }

        impl Code {
            /// Every code there is.
            pub const ALL: &[Code] = &[$(Code::$name),*];

            /// The code as people write it.
            pub fn as_str(self) -> &'static str {
                match self { $(Code::$name => $text),* }
            }
        }
    };
}

codes! {
    /// The file can't be read.
    Unreadable = "unreadable",
    /// The file, or what it holds, is larger than a rule file may be.
    TooLarge = "too-large",
    /// The text is not YAML.
    Yaml = "yaml",
    /// A map has the same key twice.
    DuplicateKey = "duplicate-key",
    /// A document is no rule, correlation or filter.
    NotSigma = "not-sigma",
    /// Something that must be there is not.
    Missing = "missing",
    /// A value is of the wrong kind.
    WrongType = "wrong-type",
    /// A value is none of those allowed.
    UnknownValue = "unknown-value",
    /// There is no such modifier.
    UnknownModifier = "unknown-modifier",
    /// Modifiers that don't go together, or with this value.
    ModifierMisuse = "modifier-misuse",
    /// The condition can't be parsed.
    Condition = "condition",
    /// The condition names a selection that is not there.
    UnknownSelection = "unknown-selection",
    /// The old aggregation form, which correlation rules replaced.
    Aggregation = "aggregation",
    /// A regular expression is wrong, too large, or uses what can't be matched in linear time.
    Regex = "regex",
    /// A value can't be read as its modifiers say.
    Value = "value",
    /// A placeholder that no pipeline filled.
    Placeholder = "placeholder",
    /// The rule would grow too large.
    RuleTooLarge = "rule-too-large",
    /// A pipeline refuses the rule.
    RefusedByPipeline = "refused-by-pipeline",
    /// A pipeline file is wrong.
    Pipeline = "pipeline",
    /// A correlation is wrong.
    Correlation = "correlation",
    /// A correlation or filter names a rule that is not there.
    UnknownRule = "unknown-rule",
    /// Two documents have the same id or name.
    DuplicateId = "duplicate-id",
    /// An id is not a UUID.
    BadId = "bad-id",
    /// A selection that no condition uses.
    UnusedSelection = "unused-selection",
    /// The condition can never hold.
    NeverMatches = "never-matches",
    /// The condition always holds, or holds for almost every event.
    AlwaysMatches = "always-matches",
    /// The rule can't be found by any literal text, so each event of its logsource pays for it.
    CostlyPattern = "costly-pattern",
    /// A wildcard at an end where a modifier says it better, or does nothing.
    RedundantWildcard = "redundant-wildcard",
    /// The same value twice in a list.
    DuplicateValue = "duplicate-value",
    /// `all` on a single value.
    SingleAll = "single-all",
    /// A number that YAML reads otherwise than it is written.
    NumberForm = "number-form",
    /// The rule has no ATT&CK tag.
    NoAttackTag = "no-attack-tag",
    /// A tag that is not of a known namespace or form.
    BadTag = "bad-tag",
    /// The rule is deprecated or unsupported.
    Deprecated = "deprecated",
    /// No level is given.
    NoLevel = "no-level",
    /// A date is not in the form YYYY-MM-DD.
    BadDate = "bad-date",
    /// A filter that keeps only what it names.
    FilterKeeps = "filter-keeps",
    /// The logsource names nothing.
    EmptyLogsource = "empty-logsource",
    /// A field that the logsource does not have.
    UnknownField = "unknown-field",
    /// No source that is there can feed the rule.
    NeverFed = "never-fed",
    /// A key that a file of this kind does not have.
    UnknownKey = "unknown-key",
    /// A query in the search language is wrong.
    Query = "query",
    /// A hunt names a step that is not there, or not yet.
    UnknownStep = "unknown-step",
    /// A step of a hunt that its verdict does not rest on.
    UnusedStep = "unused-step",
    /// A hunt that does not say which data it needs.
    NoNeeds = "no-needs",
}

impl Diagnostic {
    /// A diagnostic at a place of a file that is named later, by [`Diagnostic::in_file`].
    pub fn new(severity: Severity, code: Code, span: Span, message: impl Into<String>) -> Self {
        Diagnostic {
            severity,
            code,
            message: message.into(),
            file: String::new(),
            line: span.line,
            column: span.column,
            length: span.length,
            help: None,
        }
    }

    /// An error at a place.
    pub fn error(code: Code, span: Span, message: impl Into<String>) -> Self {
        Self::new(Severity::Error, code, span, message)
    }

    /// A warning at a place.
    pub fn warning(code: Code, span: Span, message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, code, span, message)
    }

    /// The same, with what to do about it.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The same, in a file.
    #[must_use]
    pub fn in_file(mut self, file: &str) -> Self {
        file.clone_into(&mut self.file);
        self
    }

    /// Where it is.
    pub fn span(&self) -> Span {
        Span { line: self.line, column: self.column, length: self.length }
    }

    /// The text form. `source` is the whole text of the file; without it, only the position is
    /// shown.
    pub fn render(&self, source: Option<&str>) -> String {
        let severity = self.severity.as_str();
        let mut out = format!("{severity}[{}]: {}\n", self.code.as_str(), self.message);
        let number = self.line.to_string();
        let margin = " ".repeat(number.len());
        let place = match (self.line, self.column) {
            (0, _) => self.file.clone(),
            (line, 0) => format!("{}:{line}", self.file),
            (line, column) => format!("{}:{line}:{column}", self.file),
        };
        push_line(&mut out, &format!("{margin}--> {place}"));
        let text = (self.line > 0).then(|| source_line(source?, self.line)).flatten();
        if let Some(text) = text {
            push_line(&mut out, &format!("{margin} |"));
            self.push_source(&mut out, &number, &margin, text);
        }
        if let Some(help) = &self.help {
            push_line(&mut out, &format!("{margin} = help: {help}"));
        }
        out
    }

    /// The source line and the carets under it, shortened around the place when it is long.
    fn push_source(&self, out: &mut String, number: &str, margin: &str, text: &str) {
        let characters = text.chars().count();
        let start = (self.column as usize).saturating_sub(1).min(characters);
        let length = (self.length as usize).clamp(1, (characters - start).max(1));
        let skipped = start.saturating_sub(SOURCE_CHARS_MAX / 2);
        let skipped = if characters <= SOURCE_CHARS_MAX { 0 } else { skipped };
        let mut shown: String = text
            .chars()
            .skip(skipped)
            .take(SOURCE_CHARS_MAX)
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        if characters > skipped + SOURCE_CHARS_MAX {
            shown.push('…');
        }
        let lead = if skipped > 0 { "…" } else { "" };
        push_line(out, &format!("{number} | {lead}{shown}"));
        if self.column > 0 {
            let indent = " ".repeat(start - skipped + lead.chars().count());
            let carets = "^".repeat(length.min(SOURCE_CHARS_MAX));
            push_line(out, &format!("{margin} | {indent}{carets}"));
        }
    }
}

/// The most characters of a source line that a rendering shows: a terminal line or two.
const SOURCE_CHARS_MAX: usize = 160;

impl std::fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Diagnostic { severity, code, message, file, line, column, .. } = self;
        let (severity, code) = (severity.as_str(), code.as_str());
        write!(f, "{file}:{line}:{column}: {severity}[{code}]: {message}")?;
        match &self.help {
            Some(help) => write!(f, " ({help})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Diagnostic {}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Severity {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Error => "error",
        }
    }
}

/// The diagnostics as one SARIF 2.1.0 log, which code review tools show beside the lines.
pub fn sarif(diagnostics: &[Diagnostic]) -> serde_json::Value {
    let mut used: Vec<Code> = diagnostics.iter().map(|diagnostic| diagnostic.code).collect();
    used.sort_unstable();
    used.dedup();
    let results: Vec<_> = diagnostics
        .iter()
        .map(|diagnostic| {
            let mut text = diagnostic.message.clone();
            if let Some(help) = &diagnostic.help {
                // Writing to a String can't fail.
                _ = write!(text, ". Help: {help}");
            }
            let mut location = json!({
                "artifactLocation": { "uri": diagnostic.file.replace('\\', "/") },
            });
            if diagnostic.line > 0 {
                let column = diagnostic.column.max(1);
                location["region"] = json!({
                    "startLine": diagnostic.line,
                    "startColumn": column,
                    "endColumn": column + diagnostic.length.max(1),
                });
            }
            json!({
                "ruleId": diagnostic.code.as_str(),
                "level": diagnostic.severity.as_str(),
                "message": { "text": text },
                "locations": [{ "physicalLocation": location }],
            })
        })
        .collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "watchpost",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": used.iter().map(|code| json!({ "id": code.as_str() })).collect::<Vec<_>>(),
            }},
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    })
}

/// Collects what is wrong with one document.
#[derive(Debug)]
pub(crate) struct Faults {
    file: String,
    list: Vec<Diagnostic>,
}

impl Faults {
    pub(crate) fn new(file: &str) -> Self {
        Faults { file: file.to_owned(), list: Vec::new() }
    }

    pub(crate) fn push(&mut self, diagnostic: Diagnostic) {
        if self.list.len() < FAULTS_MAX {
            self.list.push(diagnostic.in_file(&self.file));
        }
    }

    pub(crate) fn error(&mut self, code: Code, span: Span, message: impl Into<String>) {
        self.push(Diagnostic::error(code, span, message));
    }

    /// How many errors there are so far, to see whether a part was without fault.
    pub(crate) fn errors(&self) -> usize {
        self.list.iter().filter(|fault| fault.severity == Severity::Error).count()
    }

    pub(crate) fn into_list(self) -> Vec<Diagnostic> {
        self.list
    }
}

/// The most diagnostics of one document; the rest of a hopeless one helps nobody.
const FAULTS_MAX: usize = 200;

fn push_line(out: &mut String, line: &str) {
    out.push_str(line.trim_end());
    out.push('\n');
}

fn source_line(source: &str, line: u32) -> Option<&str> {
    source.lines().nth(line as usize - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rendered_like_a_compiler() {
        let source = "title: x\nlevel: hihg\n";
        let span = Span { line: 2, column: 8, length: 4 };
        let diagnostic = Diagnostic::error(Code::UnknownValue, span, "`hihg` is not a level")
            .with_help("did you mean `high`?")
            .in_file("rules/x.yml");
        insta::assert_snapshot!(diagnostic.render(Some(source)), @r"
        error[unknown-value]: `hihg` is not a level
         --> rules/x.yml:2:8
          |
        2 | level: hihg
          |        ^^^^
          = help: did you mean `high`?
        ");
        insta::assert_snapshot!(diagnostic.render(None), @r"
        error[unknown-value]: `hihg` is not a level
         --> rules/x.yml:2:8
          = help: did you mean `high`?
        ");
    }

    #[test]
    fn long_lines_are_cut_around_the_place() {
        let source = format!("{}needle{}", "a".repeat(500), "b".repeat(500));
        let span = Span { line: 1, column: 501, length: 6 };
        let text = Diagnostic::error(Code::Value, span, "bad").render(Some(&source));
        let lines: Vec<&str> = text.lines().collect();
        let caret = lines[4].chars().position(|c| c == '^').expect("a caret");
        let under: String = lines[3].chars().skip(caret).take(6).collect();
        assert_eq!(under, "needle");
    }

    #[test]
    fn places_outside_the_source_do_no_harm() {
        for (line, column, length) in [(9, 9, 9), (1, 900, 1), (1, 0, 0), (0, 0, 0)] {
            let span = Span { line, column, length };
            Diagnostic::error(Code::Yaml, span, "bad").render(Some("short"));
        }
    }

    #[test]
    fn sarif_names_the_place() {
        let span = Span { line: 2, column: 8, length: 4 };
        let log = sarif(&[Diagnostic::error(Code::Yaml, span, "bad").in_file("a\\b.yml")]);
        let result = &log["runs"][0]["results"][0];
        assert_eq!(result["ruleId"], "yaml");
        let place = &result["locations"][0]["physicalLocation"];
        assert_eq!(place["artifactLocation"]["uri"], "a/b.yml");
        assert_eq!(place["region"]["endColumn"], 12);
    }
}
