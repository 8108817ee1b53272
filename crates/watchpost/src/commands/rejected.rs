//! `watchpost rejected`: dead letters, and putting them back.
//!
//! A running server is asked over its API; without one the bus is opened here. Both give the same
//! plain data ([`web::rejected`]), and what is printed is made of that.

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use bus::rejected::Place;
use bus::{Bus, BusError, EmbeddedBus, Retention, Topic};
use event::Timestamp;
use serde::de::DeserializeOwned;
use web::rejected::{
    Content, ListRequest, RejectedDetail, RejectedList, RejectedSummary, ReplayAnswer, ReplayDone,
    ReplayOutcome, ReplayRequest,
};

use crate::args::{Format, RejectedArgs, RejectedCommand, RejectedOn, RejectedWhich};
use crate::commands::server::Server;
use crate::commands::{Outcome, checked};
use crate::config::Config;
use crate::open_bus;
use crate::style;

/// How long a server may take to read the whole topic, or to put back all that is in it.
const TIME_MAX: Duration = Duration::from_secs(60 * 60);

/// The widest cell of a printed table; the reason is cut to it.
const CELL_CHARS_MAX: usize = 100;

/// The most stages and reasons whose counts are printed.
const COUNTS_SHOWN_MAX: usize = 20;

type Error = Box<dyn std::error::Error>;

pub(crate) fn run(args: &RejectedArgs) -> Outcome {
    match &args.command {
        RejectedCommand::List { on, which, limit, format } => list(on, which, *limit, *format),
        RejectedCommand::Show { on, raw, place } => show(on, *place, *raw),
        RejectedCommand::Replay { on, all, which, again, dry_run, places } => {
            let [stage, topic, reason, since] = texts(which);
            let places = places.iter().map(Place::to_string).collect();
            let (all, again, dry_run) = (*all, *again, *dry_run);
            replay(on, &ReplayRequest { places, all, stage, topic, reason, since, again, dry_run })
        }
    }
}

/// Where rejected records are.
pub(crate) enum Reached {
    Server(Server),
    /// The bus, and the consumer group of the index beside it.
    Bus(Arc<dyn Bus>, String),
}

pub(crate) fn reach(on: &RejectedOn, time_max: Duration) -> Result<Reached, Error> {
    match &on.server {
        Some(server) => Ok(Reached::Server(Server::new(server, time_max)?)),
        None => open_bus(on).map(|(bus, index_group)| Reached::Bus(bus, index_group)),
    }
}

/// Opens the bus that is meant: the one way to it without a server.
fn open_bus(on: &RejectedOn) -> Result<(Arc<dyn Bus>, String), Error> {
    let mut config = Config::load(on.config.as_deref())?;
    if let Some(data) = &on.data {
        config.data.folder.clone_from(data);
    }
    if let Some(url) = &on.bus {
        config.bus.url.clone_from(url);
    }
    if config.bus.url != open_bus::EMBEDDED {
        let open = open_bus::open(&config)?;
        return Ok((open.bus, open.index_group));
    }
    Ok((Arc::new(open_embedded(&config.data.folder)?), open_bus::EMBEDDED_INDEX_GROUP.to_owned()))
}

/// The log of a data folder. Whoever looks at it removes nothing: how long records are kept is the
/// server's business, whose settings are not known here.
fn open_embedded(data: &Path) -> Result<EmbeddedBus, Error> {
    let folder = data.join("bus");
    // Opening would make it.
    if !folder.is_dir() {
        return Err(format!(
            "{} is no data folder of Watchpost; name one with --data, or a running server with --server URL",
            data.display()
        )
        .into());
    }
    let mut settings = bus::Settings::default();
    for topic in Topic::ALL {
        settings.topic_mut(topic).retention = Retention::default();
    }
    EmbeddedBus::open(folder, settings).map_err(|error| match error {
        BusError::InUse { .. } => format!(
            "the data folder {} is in use by a running server; ask that one with --server URL, and set WATCHPOST_TOKEN to what the file `token` in that folder has",
            data.display()
        )
        .into(),
        other => other.into(),
    })
}

/// The filter as the API takes it.
fn texts(which: &RejectedWhich) -> [String; 4] {
    let RejectedWhich { stage, topic, reason, since } = which;
    [
        stage.clone().unwrap_or_default(),
        topic.map(|topic| topic.to_string()).unwrap_or_default(),
        reason.clone().unwrap_or_default(),
        since.clone().unwrap_or_default(),
    ]
}

fn read<T: DeserializeOwned>(json: &str) -> Result<T, Error> {
    serde_json::from_str(json)
        .map_err(|error| format!("the server's answer is not understood: {error}").into())
}

fn list(on: &RejectedOn, which: &RejectedWhich, limit: usize, format: Format) -> Outcome {
    let [stage, topic, reason, since] = texts(which);
    let found: RejectedList = match reach(on, TIME_MAX)? {
        Reached::Server(server) => {
            let limit = limit.to_string();
            let query = [
                ("stage", stage.as_str()),
                ("topic", &topic),
                ("reason", &reason),
                ("since", &since),
                ("limit", &limit),
            ];
            read(&server.get("/api/v1/rejected", &query)?)?
        }
        Reached::Bus(bus, _) => {
            let request = ListRequest { stage, topic, reason, since, limit: Some(limit) };
            web::rejected::list(bus.as_ref(), &request, Timestamp::now())?
        }
    };
    let text = match format {
        Format::Table => table(&found.records),
        Format::Jsonl => {
            let lines: Result<Vec<String>, _> =
                found.records.iter().map(serde_json::to_string).collect();
            lines?.into_iter().map(|line| line + "\n").collect()
        }
    };
    print(text.as_bytes())?;
    eprint!("{}", summary(&found));
    Ok(ExitCode::SUCCESS)
}

fn show(on: &RejectedOn, place: Place, raw: bool) -> Outcome {
    let found: Option<RejectedDetail> = match reach(on, TIME_MAX)? {
        Reached::Server(server) => {
            let found = server.find(&format!("/api/v1/rejected/{place}"))?;
            found.map(|json| read(&json)).transpose()?
        }
        Reached::Bus(bus, _) => web::rejected::show(bus.as_ref(), place)?,
    };
    let Some(record) = found else {
        return Err(format!(
            "there is no rejected record at {place}, or not any more; `watchpost rejected list` says where they are"
        )
        .into());
    };
    if raw {
        let value = record.value.bytes().ok_or("the server's answer is not understood")?;
        print(&value)?;
        if std::io::stdout().is_terminal() {
            println!();
        }
    } else {
        print(detail(&record).as_bytes())?;
    }
    Ok(ExitCode::SUCCESS)
}

fn replay(on: &RejectedOn, request: &ReplayRequest) -> Outcome {
    let answer: ReplayAnswer = match reach(on, TIME_MAX)? {
        Reached::Server(server) => {
            let json = serde_json::to_string(request)?;
            read(&server.post("/api/v1/rejected/replay", &json)?)?
        }
        Reached::Bus(bus, _) => web::rejected::replay(bus.as_ref(), request, Timestamp::now())?,
    };
    print(outcomes(&answer, request.all).as_bytes())?;
    eprintln!("{}", totals(&answer));
    // Who names a record means it to be put back; who says all means those that are left.
    let left = answer.refused + if request.all { 0 } else { answer.before };
    Ok(checked(left == 0))
}

/// Writes to standard output. Whoever reads us may have read enough, as `head` does.
fn print(bytes: &[u8]) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

fn time(time: Timestamp) -> String {
    time.to_jiff().strftime("%Y-%m-%d %H:%M:%S").to_string()
}

fn origin(record: &RejectedSummary) -> Option<String> {
    let RejectedSummary { topic, partition, offset, .. } = record;
    Some(format!("{}/{}/{}", topic.as_deref()?, (*partition)?, (*offset)?))
}

fn or_dash(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { text.to_owned() }
}

fn table(records: &[RejectedSummary]) -> String {
    if records.is_empty() {
        return String::new();
    }
    let columns =
        ["place", "rejected", "stage", "from", "bytes", "replay", "reason"].map(str::to_owned);
    let rows: Vec<Vec<String>> = records
        .iter()
        .map(|record| {
            let of = record.replay_of.as_ref().map(|place| format!("of {place}"));
            let done = (record.replays > 0).then(|| "put back".to_owned());
            let replay: Vec<String> = of.into_iter().chain(done).collect();
            vec![
                record.place.clone(),
                time(record.time),
                or_dash(&record.stage),
                or_dash(&origin(record).unwrap_or_default()),
                record.bytes.to_string(),
                or_dash(&replay.join(", ")),
                or_dash(&record.reason),
            ]
        })
        .collect();
    style::table(&columns, &rows, CELL_CHARS_MAX) + "\n"
}

/// What is not in the table: how many there are of what kind.
fn summary(found: &RejectedList) -> String {
    let mut lines = Vec::new();
    for count in found.counts.iter().take(COUNTS_SHOWN_MAX) {
        let reason = style::clip(&style::plain(&count.reason), CELL_CHARS_MAX);
        let stage = or_dash(&style::plain(&count.stage));
        lines.push(format!("{:>6}  {stage}: {}", count.records, or_dash(&reason)));
    }
    let counted = found.counts.iter().skip(COUNTS_SHOWN_MAX);
    let rest = counted.map(|count| count.records).sum::<u64>() + found.uncounted;
    if rest > 0 {
        lines.push(format!("{rest:>6}  for other reasons"));
    }
    let total = found.total;
    lines.push(match (total, found.replayed) {
        (0, _) => "no rejected records".to_owned(),
        (_, 0) => format!("{total} rejected, none of them put back"),
        (_, replayed) => format!("{total} rejected, {replayed} of them put back"),
    });
    let shown = found.records.len() as u64;
    if shown < total {
        let more = match found.records.len() < web::rejected::LIMIT_MAX {
            true => "--limit shows more",
            false => "--stage, --topic and --reason choose among them",
        };
        lines.push(format!("only the newest {shown} of them are shown; {more}"));
    }
    lines.into_iter().map(|line| style::dim(&line) + "\n").collect()
}

fn detail(record: &RejectedDetail) -> String {
    let RejectedDetail { summary, key, headers, value } = record;
    let mut lines = Vec::new();
    let mut line = |name: &str, text: &str| lines.push(format!("{name:<9} {text}"));
    line("place", &summary.place);
    line("rejected", &time(summary.time));
    line("stage", &or_dash(&style::plain(&summary.stage)));
    line("reason", &or_dash(&style::plain(&summary.reason)));
    let unknown = "unknown, so it cannot be put back".to_owned();
    line("from", &origin(summary).unwrap_or(unknown));
    if let Some(last) = summary.replayed {
        let last = time(last);
        line(
            "put back",
            &match summary.replays {
                1 => last,
                times => format!("{times} times, the last time {last}"),
            },
        );
    }
    if let Some(place) = &summary.replay_of {
        line("replay of", place);
    }
    line("key", &or_dash(&inline(key)));
    lines.push("headers".to_owned());
    for header in headers {
        lines.push(format!("  {}: {}", style::plain(&header.name), inline(&header.value)));
    }
    match value {
        Content::Text(text) => {
            lines.push(format!("value, {} bytes of text", text.len()));
            lines.extend(text.lines().map(style::plain));
        }
        Content::Hex(_) => {
            let bytes = value.bytes().unwrap_or_default();
            lines.push(format!("value, {} bytes that are no text", bytes.len()));
            lines.extend(dump(&bytes));
        }
    }
    lines.join("\n") + "\n"
}

/// Bytes on one line.
fn inline(content: &Content) -> String {
    match content {
        Content::Text(text) => style::plain(text),
        Content::Hex(digits) => format!("0x{digits}"),
    }
}

/// Sixteen bytes to a line: offset, digits, and what of it is printable.
fn dump(bytes: &[u8]) -> impl Iterator<Item = String> {
    bytes.chunks(16).enumerate().map(|(row, bytes)| {
        let digits: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let printable = |byte: &u8| byte.is_ascii_graphic() || *byte == b' ';
        let letters: String = bytes
            .iter()
            .map(|byte| if printable(byte) { char::from(*byte) } else { '.' })
            .collect();
        format!("{:08x}  {:<47}  |{letters}|", row * 16, digits.join(" "))
    })
}

/// A line for each record of a replay. Of all that were put back before, only the number is of
/// interest, unless they were named.
fn outcomes(answer: &ReplayAnswer, all: bool) -> String {
    let will = if answer.dry_run { "would go back" } else { "put back" };
    let told = |outcome: &&ReplayOutcome| !all || outcome.done != ReplayDone::Before;
    let mut text = String::new();
    for outcome in answer.records.iter().filter(told) {
        let what = match (outcome.done, &outcome.origin) {
            (ReplayDone::PutBack, origin) => {
                let origin = origin.as_deref().unwrap_or_default();
                let topic = origin.split('/').next().unwrap_or_default();
                format!("{will} into {topic}, from {origin}")
            }
            (ReplayDone::Before, _) => {
                let when = outcome.replayed.map(time).unwrap_or_default();
                format!("left alone: it was put back at {when}; --again does it again")
            }
            (ReplayDone::Missing, _) => "refused: nothing is there, or not any more".to_owned(),
            (ReplayDone::NoOrigin, _) => {
                "refused: its headers do not say where it came from".to_owned()
            }
            (ReplayDone::TooLarge, _) => {
                "refused: with the headers of a replay it is larger than a record may be".to_owned()
            }
        };
        text.push_str(&format!("{}  {}\n", outcome.place, style::plain(&what)));
    }
    let all_of_them = answer.put_back + answer.before + answer.refused;
    let more = all_of_them.saturating_sub(answer.records.len() as u64);
    if more > 0 {
        text.push_str(&format!("and {more} more, which are only counted\n"));
    }
    text
}

fn totals(answer: &ReplayAnswer) -> String {
    let ReplayAnswer { dry_run, put_back, before, refused, .. } = answer;
    let will = if *dry_run { "would be put back" } else { "put back" };
    let dry = if *dry_run { "; nothing was done, because of --dry-run" } else { "" };
    format!("{put_back} {will}, {before} left alone (put back before), {refused} refused{dry}")
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;
    use web::rejected::{Header, RejectedCount};

    use super::*;

    fn record(place: &str, reason: &str) -> RejectedSummary {
        RejectedSummary {
            place: place.into(),
            time: Timestamp::parse_rfc3339("2026-11-24T12:00:01Z").unwrap(),
            stage: "normalize".into(),
            topic: Some("raw".into()),
            partition: Some(1),
            offset: Some(41),
            reason: reason.into(),
            bytes: 12,
            replays: 0,
            replayed: None,
            replay_of: None,
        }
    }

    fn replayed(times: u32, record: RejectedSummary) -> RejectedSummary {
        let last = Timestamp::parse_rfc3339("2026-11-25T08:30:00Z");
        RejectedSummary { replays: times, replayed: last, ..record }
    }

    #[test]
    fn records_are_listed() {
        let foreign = RejectedSummary {
            stage: String::new(),
            topic: None,
            partition: None,
            offset: None,
            ..record("1/0", "")
        };
        let again =
            RejectedSummary { replay_of: Some("0/17".into()), ..record("0/20", "no\x1b[2J") };
        let records = [
            foreign,
            replayed(1, record("0/17", "more than 100000 records in one document")),
            replayed(2, again),
        ];
        assert_snapshot!(table(&records), @r"
        place  rejected             stage      from      bytes  replay             reason
        1/0    2026-11-24 12:00:01  -          -         12     -                  -
        0/17   2026-11-24 12:00:01  normalize  raw/1/41  12     put back           more than 100000 records in one document
        0/20   2026-11-24 12:00:01  normalize  raw/1/41  12     of 0/17, put back  no�[2J
        ");
        assert_eq!(table(&[]), "");
    }

    #[test]
    fn records_are_counted() {
        let count = |records, reason: &str| RejectedCount {
            stage: "normalize".into(),
            reason: reason.into(),
            records,
        };
        let mut found = RejectedList {
            total: 120,
            replayed: 3,
            counts: vec![count(100, "more than 100000 records"), count(15, "it\nis no event")],
            uncounted: 5,
            records: vec![record("0/0", "x")],
        };
        assert_snapshot!(summary(&found), @r"
           100  normalize: more than 100000 records
            15  normalize: it is no event
             5  for other reasons
        120 rejected, 3 of them put back
        only the newest 1 of them are shown; --limit shows more
        ");
        found.counts = (0..30).map(|number| count(1, &format!("reason {number}"))).collect();
        assert_eq!(summary(&found).lines().count(), COUNTS_SHOWN_MAX + 3);
        assert_snapshot!(summary(&RejectedList::default()), @"no rejected records");
    }

    #[test]
    fn a_record_is_shown() {
        let header =
            |name: &str, value: &[u8]| Header { name: name.into(), value: Content::of(value) };
        let mut shown = RejectedDetail {
            summary: replayed(2, record("0/17", "more than 100000 records in one document")),
            key: Content::of(b""),
            headers: vec![
                header("rejected.stage", b"normalize"),
                header("peer", b"10.0.0.1\x1b[2J"),
                header("digest", b"\xff\x01"),
            ],
            value: Content::of("{\"Records\":\n\x1b[2J[]}\u{e4}\n".as_bytes()),
        };
        assert_snapshot!(detail(&shown), @r#"
        place     0/17
        rejected  2026-11-24 12:00:01
        stage     normalize
        reason    more than 100000 records in one document
        from      raw/1/41
        put back  2 times, the last time 2026-11-25 08:30:00
        key       -
        headers
          rejected.stage: normalize
          peer: 10.0.0.1�[2J
          digest: 0xff01
        value, 22 bytes of text
        {"Records":
        �[2J[]}ä
        "#);
        shown.summary.topic = None;
        shown.summary.replay_of = Some("0/3".into());
        shown.value = Content::of(b"GET /\x00\xff \x7f0123456789abcdef");
        assert_snapshot!(detail(&shown), @r"
        place     0/17
        rejected  2026-11-24 12:00:01
        stage     normalize
        reason    more than 100000 records in one document
        from      unknown, so it cannot be put back
        put back  2 times, the last time 2026-11-25 08:30:00
        replay of 0/3
        key       -
        headers
          rejected.stage: normalize
          peer: 10.0.0.1�[2J
          digest: 0xff01
        value, 25 bytes that are no text
        00000000  47 45 54 20 2f 00 ff 20 7f 30 31 32 33 34 35 36  |GET /.. .0123456|
        00000010  37 38 39 61 62 63 64 65 66                       |789abcdef|
        ");
    }

    #[test]
    fn what_became_of_records_is_told() {
        let outcome = |place: &str, done| ReplayOutcome {
            place: place.into(),
            origin: Some("raw/1/41".into()),
            done,
            replayed: Timestamp::parse_rfc3339("2026-11-25T08:30:00Z"),
        };
        let mut answer = ReplayAnswer {
            dry_run: false,
            put_back: 1003,
            before: 1,
            refused: 3,
            records: vec![
                outcome("0/1", ReplayDone::PutBack),
                outcome("0/2", ReplayDone::Before),
                outcome("0/3", ReplayDone::Missing),
                outcome("0/4", ReplayDone::NoOrigin),
                outcome("0/5", ReplayDone::TooLarge),
            ],
        };
        assert_snapshot!(outcomes(&answer, false), @r"
        0/1  put back into raw, from raw/1/41
        0/2  left alone: it was put back at 2026-11-25 08:30:00; --again does it again
        0/3  refused: nothing is there, or not any more
        0/4  refused: its headers do not say where it came from
        0/5  refused: with the headers of a replay it is larger than a record may be
        and 1002 more, which are only counted
        ");
        assert_snapshot!(totals(&answer), @"1003 put back, 1 left alone (put back before), 3 refused");
        answer.dry_run = true;
        answer.put_back = 1;
        assert_eq!(outcomes(&answer, true).lines().count(), 4);
        assert_snapshot!(outcomes(&answer, true).lines().next().unwrap_or_default(), @"0/1  would go back into raw, from raw/1/41");
        assert_snapshot!(totals(&answer), @"1 would be put back, 1 left alone (put back before), 3 refused; nothing was done, because of --dry-run");
    }
}
