//! An event in one line, for lists in the terminal and on pages.

use crate::Event;

/// What tells an event from its neighbours, most telling first.
const TELLING: [&str; 12] = [
    ACTION,
    "process.command_line",
    "process.executable",
    "powershell.file.script_block_text",
    "file.path",
    "registry.path",
    "dns.question.name",
    "source.ip",
    "destination.ip",
    "url.original",
    "user.name",
    "event.outcome",
];

const ACTION: &str = "event.action";

impl Event {
    /// What the event says in a line: its own message, or else what it did and to what. Of a
    /// message of several lines, as Windows has them, the first stands for the action: what follows
    /// are all fields of the event, the telling ones somewhere among them. The text is
    /// as long and as hostile as the event; whoever shows it clips and escapes it.
    pub fn summary(&self) -> String {
        let mut buffer = String::new();
        let mut line = String::new();
        if let Some(message) = self.str("message").filter(|message| !message.is_empty()) {
            let Some((title, _)) = message.trim().split_once('\n') else {
                return message.to_owned();
            };
            line.push_str(title.trim_end().trim_end_matches([':', '.']));
        }
        let has_title = !line.is_empty();
        for path in TELLING {
            let is_told = (path == ACTION && has_title)
                || (path == "process.executable" && self.get("process.command_line").is_some());
            if is_told {
                continue;
            }
            if let Some(text) = self.get(path).and_then(|value| value.text(&mut buffer)) {
                if !line.is_empty() {
                    line.push_str(" · ");
                }
                line.push_str(text);
            }
        }
        if line.is_empty() {
            line.push_str(self.str("event.original").unwrap_or("(no text)"));
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use crate::Event;

    #[test]
    fn an_event_is_told_in_a_line() {
        let check = |json: &str, expected: &str| {
            let mut event = Event::new();
            event.parse_json(json.as_bytes()).unwrap();
            assert_eq!(event.summary(), expected);
        };
        check(r#"{"message":"hello","event.action":"x"}"#, "hello");
        check(
            r#"{"event.action":"start","process":{"command_line":"ls -l","executable":"/bin/ls"}}"#,
            "start · ls -l",
        );
        check(
            r#"{"message":"Process Create:\r\nProcessGuid: {1}\r\nImage: C:\\a.exe","event.action":"start","process":{"command_line":"a.exe -x"}}"#,
            "Process Create · a.exe -x",
        );
        check(r#"{"message":"Panic\n at main"}"#, "Panic");
        check(r#"{"event.original":"raw"}"#, "raw");
        check("{}", "(no text)");
    }
}
