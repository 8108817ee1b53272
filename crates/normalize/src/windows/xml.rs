//! The XML that Windows renders of a record (`wevtutil /f:xml`; Splunk, NXLog and others ship it).
//!
//! It is read into the names that the `evtx` crate gives the same record as JSON.
//! <https://learn.microsoft.com/windows/win32/wes/eventschema-elements>

use event::{Event, Value};
use roxmltree::{Document, Node, ParsingOptions};

use crate::Decoded;

/// The most elements, attributes not counted. What a record holds is bounded by its 64 KiB.
const NODES_MAX: u32 = 10_000;

/// The most fields that are read of one record.
const FIELDS_MAX: usize = 1_000;

/// The deepest element of UserData that is looked into.
const DEPTH_MAX: usize = 16;

/// Reads a text, if it is one `Event` element.
pub(super) fn read(text: &str, out: &mut Event) -> Decoded {
    let text = text.trim_start_matches('\u{feff}').trim();
    if !text.starts_with("<Event") && !text.starts_with("<?xml") {
        return Decoded::No;
    }
    let options = ParsingOptions { nodes_limit: NODES_MAX, ..ParsingOptions::default() };
    let Ok(document) = Document::parse_with_options(text, options) else { return Decoded::No };
    let root = document.root_element();
    if root.tag_name().name() != "Event" {
        return Decoded::No;
    }
    for part in root.children().filter(Node::is_element) {
        match part.tag_name().name() {
            "System" => system(part, out),
            "EventData" => data(part, out),
            name => elements(part, &format!("Event.{name}"), 0, out),
        }
    }
    Decoded::Yes
}

fn system(part: Node<'_, '_>, out: &mut Event) {
    for element in part.children().filter(Node::is_element) {
        let path = format!("Event.System.{}", element.tag_name().name());
        if let Some(text) = element.text() {
            header(&path, text, out);
        }
        for attribute in element.attributes() {
            header(&format!("{path}.#attributes.{}", attribute.name()), attribute.value(), out);
        }
    }
}

/// Adds a field of the header; a number is one, as in the JSON.
fn header(path: &str, text: &str, out: &mut Event) {
    match text.parse::<i64>() {
        Ok(number) => add(path, number, out),
        Err(_) => add(path, text, out),
    }
}

/// Adds the data, whose types are lost: all of it is text.
fn data(part: Node<'_, '_>, out: &mut Event) {
    for element in part.children().filter(Node::is_element) {
        let name = element.attribute("Name").unwrap_or_else(|| element.tag_name().name());
        add(&format!("Event.EventData.{name}"), element.text().unwrap_or_default(), out);
    }
}

fn elements(part: Node<'_, '_>, path: &str, depth: usize, out: &mut Event) {
    let mut inside = part.children().filter(Node::is_element).peekable();
    if inside.peek().is_none() {
        return add(path, part.text().unwrap_or_default(), out);
    }
    if depth < DEPTH_MAX {
        for element in inside {
            elements(element, &format!("{path}.{}", element.tag_name().name()), depth + 1, out);
        }
    }
}

fn add<'v>(path: &str, value: impl Into<Value<'v>>, out: &mut Event) {
    if out.len() < FIELDS_MAX {
        out.add(path, value);
    }
}

#[cfg(test)]
mod tests {
    use event::Event;
    use insta::assert_snapshot;

    use super::read;
    use crate::Decoded;

    fn json(text: &str) -> String {
        let mut out = Event::new();
        match read(text, &mut out) {
            Decoded::Yes => out.to_json(),
            Decoded::No => "no".into(),
        }
    }

    #[test]
    fn elements_have_the_names_of_the_json() {
        assert_snapshot!(json("<?xml version=\"1.0\"?>\n<Event xmlns='http://schemas.microsoft.com/win/2004/08/events/event'><System><Provider Name='Acme' Guid='{G}'/><EventID Qualifiers='0'>4</EventID><Keywords>0x8080000000000000</Keywords><TimeCreated SystemTime='2026-11-24T10:00:00.1234567Z'/><Channel>Acme/Log</Channel><Security/></System><EventData><Data Name='A'>x &amp; y</Data><Data Name='N'>007</Data><Data>one</Data><Data>2</Data><Binary/></EventData></Event>"), @r##"{"Event":{"EventData":{"A":"x & y","Binary":"","Data":["one","2"],"N":"007"},"System":{"Channel":"Acme/Log","EventID":4,"EventID.#attributes.Qualifiers":0,"Keywords":"0x8080000000000000","Provider":{"#attributes":{"Guid":"{G}","Name":"Acme"}},"TimeCreated":{"#attributes":{"SystemTime":"2026-11-24T10:00:00.1234567Z"}}}}}"##);
        assert_snapshot!(json("<Event><UserData><Cleared xmlns:a='x' a:b='c'><By>anna</By><More><Deep>1</Deep></More></Cleared></UserData><RenderingInfo Culture='en-US'><Message>It was\ncleared</Message></RenderingInfo></Event>"), @r#"{"Event":{"RenderingInfo":{"Message":"It was\ncleared"},"UserData":{"Cleared":{"By":"anna","More":{"Deep":"1"}}}}}"#);
    }

    #[test]
    fn other_texts_are_left() {
        for text in [
            "<Events/>",
            "<Event>",
            "<Event></Event> more",
            "<!DOCTYPE x [<!ENTITY a 'b'>]><Event>&a;</Event>",
            "<?xml version='1.0'?><!DOCTYPE x [<!ENTITY a 'b'>]><Event>&a;</Event>",
            "<13>Nov 24 10:00:00 host program: text",
            "",
        ] {
            assert_eq!(json(text), "no", "{text}");
        }
        let deep = format!("<Event>{}{}</Event>", "<a>".repeat(9_000), "</a>".repeat(9_000));
        assert_eq!(json(&deep), "{}");
        let wide =
            format!("<Event><EventData>{}</EventData></Event>", "<Data>x</Data>".repeat(4_000));
        assert_eq!(json(&wide).matches("\"x\"").count(), 1_000);
        let wider = "<Data/>".repeat(10_000);
        assert_eq!(json(&format!("<Event>{wider}</Event>")), "no");
    }
}
