//! What is asked: ten questions of an analyst's day, in the words of each engine.

/// A question.
pub(crate) struct Question {
    /// What it is, in the table.
    pub(crate) name: &'static str,
    /// In our language. Where it is a filter, a histogram of 50 buckets is asked for beside it.
    pub(crate) ours: &'static str,
    /// In DuckDB's SQL: a condition, or a whole statement.
    pub(crate) sql: &'static str,
    /// In VictoriaLogs' LogsQL.
    pub(crate) logsql: &'static str,
    /// What plain tantivy is asked.
    pub(crate) plain: Plain,
}

/// A question to a plain tantivy index.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Plain {
    /// Fields with these values.
    Terms(&'static [(&'static str, &'static str)]),
    /// Words of the message, one after the other.
    Phrase(&'static [&'static str]),
    /// A number above this.
    Above(&'static str, u64),
    /// An address between two, and a field with this value.
    Between(&'static str, &'static str, &'static str, (&'static str, &'static str)),
    /// A value that fits a regular expression.
    Regex(&'static str, &'static str),
    /// Counts by these fields.
    By(&'static [&'static str]),
    /// Counts by hour and this field.
    ByHour(&'static str),
}

pub(crate) const QUESTIONS: [Question; 10] = [
    Question {
        name: "term",
        ours: "process.name:powershell.exe",
        sql: "process.name = 'powershell.exe'",
        logsql: "process.name:=powershell.exe",
        plain: Plain::Terms(&[("process.name", "powershell.exe")]),
    },
    Question {
        name: "two terms",
        ours: "host.name:ws-0017 and user.name:user17",
        sql: "host.name = 'ws-0017' and \"user\".name = 'user17'",
        logsql: "host.name:=ws-0017 user.name:=user17",
        plain: Plain::Terms(&[("host.name", "ws-0017"), ("user.name", "user17")]),
    },
    Question {
        name: "one event's id",
        ours: "event.id:ev-123457",
        sql: "event.id = 'ev-123457'",
        logsql: "event.id:=ev-123457",
        plain: Plain::Terms(&[("event.id", "ev-123457")]),
    },
    Question {
        name: "phrase",
        ours: "message:\"failed password for invalid\"",
        sql: "message ilike '%failed password for invalid%'",
        logsql: "_msg:i(\"failed password for invalid\")",
        plain: Plain::Phrase(&["failed", "password", "for", "invalid"]),
    },
    Question {
        name: "range of numbers",
        ours: "process.pid>60000",
        sql: "process.pid > 60000",
        logsql: "process.pid:>60000",
        plain: Plain::Above("process.pid", 60_000),
    },
    Question {
        name: "network",
        ours: "event.code:4624 and source.ip:10.1.0.0/16",
        sql: "event.code = '4624' and source.ip like '10.1.%'",
        logsql: "event.code:=4624 source.ip:ipv4_range(\"10.1.0.0/16\")",
        plain: Plain::Between("source.ip", "10.1.0.0", "10.1.255.255", ("event.code", "4624")),
    },
    Question {
        name: "*part* of a command line",
        ours: "process.command_line:*handle=1777,abc*",
        sql: "process.command_line ilike '%handle=1777,abc%'",
        logsql: "process.command_line:~\"(?i)handle=1777,abc\"",
        plain: Plain::Regex("process.command_line", ".*handle=1777,abc.*"),
    },
    Question {
        name: "count by one field",
        ours: "* | stats count by host.name | sort -count | head 100",
        sql: "select host.name, count(*) from events group by 1 order by 2 desc limit 100",
        logsql: "* | stats by (host.name) count() c | sort by (c desc) limit 100",
        plain: Plain::By(&["host.name"]),
    },
    Question {
        name: "count by three fields",
        ours: "* | stats count by host.name, user.name, event.code | sort -count | head 100",
        sql: "select host.name, \"user\".name, event.code, count(*) from events group by 1, 2, 3 order by 4 desc limit 100",
        logsql: "* | stats by (host.name, user.name, event.code) count() c | sort by (c desc) limit 100",
        plain: Plain::By(&["host.name", "user.name", "event.code"]),
    },
    Question {
        name: "count by hour and dataset",
        ours: "* | timechart span=1h count by event.dataset",
        sql: "select time_bucket(interval 1 hour, \"@timestamp\"), event.dataset, count(*) from events group by 1, 2",
        logsql: "* | stats by (_time:1h, event.dataset) count() c",
        plain: Plain::ByHour("event.dataset"),
    },
];
