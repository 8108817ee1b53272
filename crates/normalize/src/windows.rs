//! Records of Windows event logs, in the four shapes in which they travel, as one.
//!
//! EVTX as the `evtx` crate renders it (`{"Event":{"System":...}}`), the XML that Windows itself
//! renders, Winlogbeat's documents (`winlog.event_data.*`) and flat objects as NXLog writes them
//! (`EventID` and `Channel` beside the data). Each becomes the same record: the header under
//! `event.*`, `winlog.*` and `host.name`, each EventData field X as `winlog.event_data.X`, each
//! UserData field as `winlog.user_data.X`.
//!
//! What events mean is not known here; the sources in `detections/sources` with `decode: windows`
//! say it, by channel and provider.

mod xml;

use event::{Event, Value};

use crate::mapped::Mapper;
use crate::{Decoded, default, set_time};

/// Where the header stands in one of the shapes; the first path that is there counts.
struct Shape {
    code: &'static [&'static str],
    channel: &'static [&'static str],
    provider: &'static [&'static str],
    computer: &'static [&'static str],
    keywords: &'static [&'static str],
    level: &'static [&'static str],
    times: &'static [&'static str],
    /// Copies the rest of a record.
    copy: fn(&Event, &str, &mut Event),
}

const EVTX: Shape = Shape {
    code: &["Event.System.EventID", "Event.System.EventID.#text"],
    channel: &["Event.System.Channel"],
    provider: &[
        "Event.System.Provider.#attributes.Name",
        "Event.System.Provider_attributes.Name",
        "Event.System.Provider.#attributes.EventSourceName",
    ],
    computer: &["Event.System.Computer"],
    keywords: &["Event.System.Keywords"],
    level: &["Event.System.Level"],
    times: &[
        "Event.System.TimeCreated.#attributes.SystemTime",
        "Event.System.TimeCreated_attributes.SystemTime",
    ],
    copy: copy_evtx,
};

const WINLOGBEAT: Shape = Shape {
    code: &["winlog.event_id", "event.code"],
    channel: &["winlog.channel"],
    provider: &["winlog.provider_name", "event.provider"],
    computer: &["winlog.computer_name", "host.name"],
    keywords: &["winlog.keywords"],
    level: &["winlog.level"],
    times: &["@timestamp", "winlog.time_created"],
    copy: copy_winlogbeat,
};

const FLAT: Shape = Shape {
    code: &["EventID", "EventId"],
    channel: &["Channel"],
    provider: &["Provider_Name", "ProviderName", "SourceName"],
    computer: &["Hostname", "Computer", "ComputerName"],
    keywords: &["Keywords"],
    level: &["Level"],
    // NXLog's EventTime is local time without its zone, so it comes last.
    times: &["TimeCreated", "UtcTime", "@timestamp", "EventTime", "EventReceivedTime"],
    copy: copy_flat,
};

/// Reads a JSON document in any of the shapes.
pub(crate) fn decode(source: &Event, mapper: &mut Mapper, out: &mut Event) -> Decoded {
    let Some((shape, code)) = shape(source) else { return Decoded::No };
    let Some(code) = to_number(code).and_then(|code| u32::try_from(code).ok()) else {
        return Decoded::No;
    };
    let text = |paths| first(source, paths).and_then(Value::as_str).unwrap_or_default();
    let (channel, provider) = (text(shape.channel), text(shape.provider));
    mapper.windows(channel, provider, out, &mut |record| {
        (shape.copy)(source, channel, record);
        write_header(source, shape, (code, channel, provider), record);
    });
    Decoded::Yes
}

/// Reads the XML of a record.
pub(crate) fn decode_xml(text: &str, mapper: &mut Mapper, out: &mut Event) -> Decoded {
    let mut source = Event::new();
    match xml::read(text, &mut source) {
        Decoded::Yes => decode(&source, mapper, out),
        Decoded::No => Decoded::No,
    }
}

/// The shape of a record, and its event id.
fn shape(source: &Event) -> Option<(&'static Shape, Value<'_>)> {
    if let Some(code) = first(source, EVTX.code) {
        return Some((&EVTX, code));
    }
    let is_there = |paths| first(source, paths).is_some();
    if is_there(WINLOGBEAT.channel) || source.get("winlog.provider_name").is_some() {
        return first(source, WINLOGBEAT.code).map(|code| (&WINLOGBEAT, code));
    }
    let code = first(source, FLAT.code)?;
    (is_there(FLAT.channel) || is_there(FLAT.provider)).then_some((&FLAT, code))
}

/// The first of these fields that is there and not `null`.
fn first<'a>(source: &'a Event, paths: &[&str]) -> Option<Value<'a>> {
    paths.iter().find_map(|path| source.get(path)).filter(|value| *value != Value::Null)
}

const EVENT_DATA: &str = "winlog.event_data.";
const USER_DATA: &str = "winlog.user_data.";

fn copy_evtx(source: &Event, _: &str, out: &mut Event) {
    out.clone_renamed(source, &mut |native, path| {
        let Some(rest) = native.strip_prefix("Event.") else {
            // What a reader put beside the record.
            if native != "Event" {
                path.push_str(native);
            }
            return;
        };
        // Attributes of data elements repeat what the name says; text is the element's value.
        let plain = rest.strip_suffix(".#text").unwrap_or(rest);
        if let Some(name) = plain.strip_prefix("EventData.") {
            if !name.contains("#attributes") {
                path.push_str(EVENT_DATA);
                path.push_str(name);
            }
        } else if plain == "EventData" {
            path.push_str("winlog.event_data.Data");
        } else if let Some(name) = plain.strip_prefix("UserData.") {
            if let Some((_root, name)) = name.split_once('.')
                && !name.contains("#attributes")
            {
                path.push_str(USER_DATA);
                path.push_str(name);
            }
        } else if let Some(name) = plain.strip_prefix("ProcessingErrorData.") {
            path.push_str("winlog.processing_error.");
            path.push_str(name);
        } else {
            path.push_str(match rest {
                "RenderingInfo.Message" => "message",
                "System.Provider.#attributes.Guid" | "System.Provider_attributes.Guid" => {
                    "winlog.provider_guid"
                }
                "System.EventRecordID" => "winlog.record_id",
                "System.Version" => "winlog.version",
                "System.Task" => "winlog.task",
                "System.Opcode" => "winlog.opcode",
                "System.Correlation.#attributes.ActivityID" => "winlog.activity_id",
                "System.Correlation.#attributes.RelatedActivityID" => "winlog.related_activity_id",
                "System.Execution.#attributes.ProcessID" => "winlog.process.pid",
                "System.Execution.#attributes.ThreadID" => "winlog.process.thread.id",
                "System.Security.#attributes.UserID" => "winlog.user.identifier",
                // The rest of the header is written by `write_header`.
                _ => "",
            });
        }
    });
}

/// Winlogbeat's names are the record's.
fn copy_winlogbeat(source: &Event, _: &str, out: &mut Event) {
    out.clone_from(source);
}

fn copy_flat(source: &Event, channel: &str, out: &mut Event) {
    // NXLog has its own `EventType`, unless the data has a field of that name.
    let own_type = source.str("EventType").is_some_and(|kind| {
        ["INFO", "WARNING", "ERROR", "CRITICAL", "DEBUG", "VERBOSE", "AUDIT_SUCCESS"]
            .contains(&kind)
            || kind == "AUDIT_FAILURE"
    });
    out.clone_renamed(source, &mut |native, path| {
        let name = match native {
            "EventID" | "EventId" | "Channel" | "Provider_Name" | "ProviderName" | "SourceName"
            | "Hostname" | "Computer" | "ComputerName" | "Keywords" | "Level" | "TimeCreated" => {
                return;
            }
            "ProviderGuid" => "winlog.provider_guid",
            "RecordNumber" | "EventRecordID" | "RecordID" => "winlog.record_id",
            "Version" => "winlog.version",
            "Task" => "winlog.task",
            "OpcodeValue" => "winlog.opcode",
            "ActivityID" => "winlog.activity_id",
            "RelatedActivityID" => "winlog.related_activity_id",
            "ExecutionProcessID" => "winlog.process.pid",
            "ThreadID" => "winlog.process.thread.id",
            "UserID" => "winlog.user.identifier",
            // The System log's `AccountName` is the account of a service.
            "AccountName" if !channel.eq_ignore_ascii_case("System") => "winlog.user.name",
            "AccountType" => "winlog.user.type",
            "Domain" => "winlog.user.domain",
            "Message" => "message",
            // When it was taken in by a collector.
            "@timestamp" => "event.created",
            "tags" | "message" => native,
            "EventTime" | "EventReceivedTime" | "EventTypeOrignal" | "Severity"
            | "SeverityValue" | "SourceModuleName" | "SourceModuleType" | "Opcode" | "Category"
            | "host" | "port" | "@version" => {
                path.push_str("nxlog.");
                native
            }
            "EventType" if own_type => "nxlog.EventType",
            _ => match native.strip_prefix("ExtraEventData.") {
                Some(name) => {
                    path.push_str(EVENT_DATA);
                    name
                }
                // A shipper's own objects (`agent.name`).
                None if native.contains('.') => native,
                None => {
                    path.push_str(EVENT_DATA);
                    native
                }
            },
        };
        path.push_str(name);
    });
    // Where NXLog's name won, what Sysmon said is only in the rendered message.
    if own_type
        && channel.contains("Sysmon")
        && let Some(kind) = out.str("message").and_then(|message| {
            message.lines().find_map(|line| line.strip_prefix("EventType: ")).map(str::to_owned)
        })
    {
        out.set("winlog.event_data.EventType", kind.trim());
    }
}

fn write_header(
    source: &Event,
    shape: &Shape,
    (code, channel, provider): (u32, &str, &str),
    out: &mut Event,
) {
    out.set("event.code", code.to_string().as_str());
    for (path, text) in [
        ("event.provider", provider),
        ("winlog.provider_name", provider),
        ("winlog.channel", channel),
    ] {
        if !text.is_empty() {
            out.set(path, text);
        }
    }
    if let Some(computer) = first(source, shape.computer).and_then(Value::as_str) {
        out.set("winlog.computer_name", computer);
        default(out, "host.name", computer);
    }

    let timed = shape
        .times
        .iter()
        .any(|path| source.str(path).is_some_and(|text| set_time(out, "@timestamp", text)));
    if !timed {
        out.remove("@timestamp");
    }
    if out.str("event.created").is_some_and(|created| Some(created) == source.str("@timestamp"))
        && out.time("event.created") == out.timestamp()
    {
        out.remove("event.created");
    }

    if let Some(level) = first(source, shape.level).and_then(to_number) {
        out.set("winlog.level", level);
        // Level 0 is "log always", which Windows shows as information.
        let name = match level {
            1 => "critical",
            2 => "error",
            3 => "warning",
            5 => "verbose",
            _ => "information",
        };
        default(out, "log.level", name);
    }
    let keywords = first(source, shape.keywords);
    if let Some(bits) = keywords.and_then(keyword_bits) {
        out.set("winlog.keywords", format!("{bits:#x}").as_str());
        // Bits 53 and 52: audit success, audit failure.
        if bits & (1 << 53) != 0 {
            out.set("event.outcome", "success");
        } else if bits & (1 << 52) != 0 {
            out.set("event.outcome", "failure");
        }
    } else {
        let says = |text: &str| {
            shape.keywords.iter().any(|path| source.values(path).any(|v| v == Value::Text(text)))
        };
        if says("Audit Success") {
            out.set("event.outcome", "success");
        } else if says("Audit Failure") {
            out.set("event.outcome", "failure");
        }
    }
}

/// The bits of a record's keywords, written in hexadecimal (EVTX) or as a signed number (NXLog).
fn keyword_bits(value: Value<'_>) -> Option<u64> {
    match value {
        Value::Int(number) => Some(number as u64),
        Value::Uint(number) => Some(number),
        Value::Text(text) => match text.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16).ok(),
            None => text.parse::<i64>().ok().map(|number| number as u64),
        },
        _ => None,
    }
}

/// A whole number, written in any way.
fn to_number(value: Value<'_>) -> Option<i64> {
    match value {
        Value::Int(number) => Some(number),
        Value::Text(text) => match text.strip_prefix("0x") {
            Some(digits) => i64::from_str_radix(digits, 16).ok(),
            None => text.parse().ok(),
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use event::{Event, RawRecord, Timestamp};
    use insta::assert_snapshot;

    use crate::Normalizer;

    /// The record that a text holds, before any source says what it means.
    fn record(text: &str) -> String {
        let raw = RawRecord::new(text.as_bytes(), Timestamp::EPOCH);
        let mut seen = Event::new();
        Normalizer::default().normalize(&raw, None, &mut |event| seen = event.clone()).unwrap();
        for same in ["ecs.version", "data_stream.namespace", "event.ingested", "event.original"] {
            seen.remove(same);
        }
        seen.to_json()
    }

    #[test]
    fn all_shapes_are_one_record() {
        let evtx = record(
            r##"{"Event":{"#attributes":{"xmlns":"x"},"System":{"Provider":{"#attributes":{"Name":"Acme","Guid":"{G}"}},"EventID":{"#attributes":{"Qualifiers":0},"#text":9},"Version":2,"Level":3,"Task":1,"Opcode":0,"Keywords":"0x8010000000000000","TimeCreated":{"#attributes":{"SystemTime":"2026-11-24T10:00:00.123Z"}},"EventRecordID":77,"Correlation":null,"Execution":{"#attributes":{"ProcessID":4,"ThreadID":8}},"Channel":"Acme/Log","Computer":"pc1.example","Security":{"#attributes":{"UserID":"S-1-5-18"}}},"EventData":{"A":"x","B":"5"},"RenderingInfo":{"Message":"text"}}}"##,
        );
        assert_snapshot!(evtx, @r#"{"@timestamp":"2026-11-24T10:00:00.123Z","event":{"code":"9","dataset":"unknown","kind":"event","module":"unknown","outcome":"failure","provider":"Acme"},"host":{"name":"pc1.example"},"log":{"level":"warning"},"message":"text","related":{"hosts":["pc1.example"]},"winlog":{"channel":"Acme/Log","computer_name":"pc1.example","event_data":{"A":"x","B":"5"},"keywords":"0x8010000000000000","level":3,"opcode":0,"process":{"pid":4,"thread":{"id":8}},"provider_guid":"{G}","provider_name":"Acme","record_id":77,"task":1,"user":{"identifier":"S-1-5-18"},"version":2}}"#);
        let xml = record(
            "<?xml version='1.0'?>\n<Event xmlns='x'><System><Provider Name='Acme' Guid='{G}'/><EventID Qualifiers='0'>9</EventID><Version>2</Version><Level>3</Level><Task>1</Task><Opcode>0</Opcode><Keywords>0x8010000000000000</Keywords><TimeCreated SystemTime='2026-11-24T10:00:00.123Z'/><EventRecordID>77</EventRecordID><Correlation/><Execution ProcessID='4' ThreadID='8'/><Channel>Acme/Log</Channel><Computer>pc1.example</Computer><Security UserID='S-1-5-18'/></System><EventData><Data Name='A'>x</Data><Data Name='B'>5</Data></EventData><RenderingInfo><Message>text</Message></RenderingInfo></Event>",
        );
        assert_eq!(xml, evtx);
        let flat = record(
            r#"{"EventID":9,"SourceName":"Acme","ProviderGuid":"{G}","Version":2,"Level":3,"Task":1,"OpcodeValue":0,"Keywords":-9218868437227405312,"TimeCreated":"2026-11-24T10:00:00.123Z","RecordNumber":77,"ExecutionProcessID":4,"ThreadID":8,"Channel":"Acme/Log","Hostname":"pc1.example","UserID":"S-1-5-18","A":"x","B":"5","Message":"text"}"#,
        );
        assert_eq!(flat, evtx);
        // Winlogbeat's documents have the record's names, and what it says itself beside them.
        assert_snapshot!(record(r#"{"@timestamp":"2026-11-24T10:00:00.123Z","agent":{"type":"winlogbeat"},"event":{"code":"9","created":"2026-11-24T10:00:00.123Z"},"winlog":{"channel":"Acme/Log","computer_name":"pc1.example","event_id":9,"keywords":["Audit Failure"],"event_data":{"A":"x"}},"message":"text"}"#), @r#"{"@timestamp":"2026-11-24T10:00:00.123Z","agent":{"type":"winlogbeat"},"event":{"code":"9","dataset":"unknown","kind":"event","module":"unknown","outcome":"failure"},"host":{"name":"pc1.example"},"message":"text","related":{"hosts":["pc1.example"]},"winlog":{"channel":"Acme/Log","computer_name":"pc1.example","event_data":{"A":"x"},"event_id":9,"keywords":["Audit Failure"]}}"#);
    }

    #[test]
    fn data_of_all_kinds_is_kept() {
        let with = |data: &str| {
            let system = r#""System":{"EventID":9,"Channel":"Acme/Log"}"#;
            record(&format!(r#"{{"Event":{{{system},{data}}}}}"#))
        };
        assert_snapshot!(with(r##""EventData":{"Data":{"#text":["a","b"]},"C":null,"#attributes":{"Name":"x"}}"##), @r#"{"@timestamp":"1970-01-01T00:00:00Z","event":{"code":"9","dataset":"unknown","kind":"event","module":"unknown"},"tags":["missing_time"],"winlog":{"channel":"Acme/Log","event_data":{"C":null,"Data":["a","b"]}}}"#);
        assert_snapshot!(with(r##""UserData":{"Cleared":{"#attributes":{"xmlns":"x"},"By":"anna","More":{"Deep":1}}}"##), @r#"{"@timestamp":"1970-01-01T00:00:00Z","event":{"code":"9","dataset":"unknown","kind":"event","module":"unknown"},"tags":["missing_time"],"winlog":{"channel":"Acme/Log","user_data":{"By":"anna","More":{"Deep":1}}}}"#);
        assert_snapshot!(with(r#""ProcessingErrorData":{"ErrorCode":15003}"#), @r#"{"@timestamp":"1970-01-01T00:00:00Z","event":{"code":"9","dataset":"unknown","kind":"event","module":"unknown"},"tags":["missing_time"],"winlog":{"channel":"Acme/Log","processing_error":{"ErrorCode":15003}}}"#);
    }

    #[test]
    fn a_shippers_names_give_way_to_the_datas() {
        let flat = |more: &str| {
            let event = record(&format!(
                r#"{{"EventID":12,"SourceName":"Microsoft-Windows-Sysmon","Channel":"Microsoft-Windows-Sysmon/Operational",{more}}}"#
            ));
            let mut read = Event::new();
            read.parse_json(event.as_bytes()).unwrap();
            read.str("winlog.event_data.EventType").map(str::to_owned)
        };
        assert_eq!(flat(r#""EventType":"CreateKey""#).as_deref(), Some("CreateKey"));
        assert_eq!(flat(r#""EventType":"INFO""#), None);
        let told = r#""EventType":"INFO","Message":"Registry object:\r\nRuleName: -\r\nEventType: DeleteKey\r\n""#;
        assert_eq!(flat(told).as_deref(), Some("DeleteKey"));
    }

    #[test]
    fn what_is_no_windows_event_is_left() {
        for text in [
            r#"{"EventID":1}"#,
            r#"{"EventID":"x","Channel":"Security"}"#,
            r#"{"EventID":-1,"Channel":"Security"}"#,
            r#"{"Channel":"Security"}"#,
            "<Event><System><Channel>Security</Channel></System></Event>",
        ] {
            assert!(!record(text).contains("winlog"), "{text}");
        }
    }
}
