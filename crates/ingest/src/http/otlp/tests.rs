//! Requests taken apart, and `prost` as the twin that reads them into structs.

use event::raw::Encoding;
use proptest::prelude::*;
use prost::Message;
use serde_json::{Map, Value as JsonValue, json};

use super::*;
use crate::http::HttpLimits;
use crate::http::envelope::tests::with_envelopes;

#[derive(Clone, PartialEq, Message)]
struct Request {
    #[prost(message, repeated, tag = "1")]
    resource_logs: Vec<ResourceLogs>,
}

#[derive(Clone, PartialEq, Message)]
struct ResourceLogs {
    #[prost(message, optional, tag = "1")]
    resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    scope_logs: Vec<ScopeLogs>,
    #[prost(string, tag = "3")]
    schema_url: String,
}

#[derive(Clone, PartialEq, Message)]
struct Resource {
    #[prost(message, repeated, tag = "1")]
    attributes: Vec<KeyValue>,
    #[prost(uint32, tag = "2")]
    dropped_attributes_count: u32,
}

#[derive(Clone, PartialEq, Message)]
struct ScopeLogs {
    #[prost(message, optional, tag = "1")]
    scope: Option<Scope>,
    #[prost(message, repeated, tag = "2")]
    log_records: Vec<LogRecord>,
    #[prost(string, tag = "3")]
    schema_url: String,
}

#[derive(Clone, PartialEq, Message)]
struct Scope {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    version: String,
    #[prost(message, repeated, tag = "3")]
    attributes: Vec<KeyValue>,
    #[prost(uint32, tag = "4")]
    dropped_attributes_count: u32,
}

#[derive(Clone, PartialEq, Message)]
struct LogRecord {
    #[prost(fixed64, tag = "1")]
    time_unix_nano: u64,
    #[prost(int32, tag = "2")]
    severity_number: i32,
    #[prost(string, tag = "3")]
    severity_text: String,
    #[prost(message, optional, tag = "5")]
    body: Option<AnyValue>,
    #[prost(message, repeated, tag = "6")]
    attributes: Vec<KeyValue>,
    #[prost(uint32, tag = "7")]
    dropped_attributes_count: u32,
    #[prost(fixed32, tag = "8")]
    flags: u32,
    #[prost(bytes = "vec", tag = "9")]
    trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "10")]
    span_id: Vec<u8>,
    #[prost(fixed64, tag = "11")]
    observed_time_unix_nano: u64,
    #[prost(string, tag = "12")]
    event_name: String,
}

#[derive(Clone, PartialEq, Message)]
struct KeyValue {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(message, optional, tag = "2")]
    value: Option<AnyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct AnyValue {
    #[prost(oneof = "Any", tags = "1, 2, 3, 4, 5, 6, 7")]
    value: Option<Any>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Any {
    #[prost(string, tag = "1")]
    String(String),
    #[prost(bool, tag = "2")]
    Bool(bool),
    #[prost(int64, tag = "3")]
    Int(i64),
    #[prost(double, tag = "4")]
    Double(f64),
    #[prost(message, tag = "5")]
    Array(ArrayValue),
    #[prost(message, tag = "6")]
    List(KeyValueList),
    #[prost(bytes = "vec", tag = "7")]
    Bytes(Vec<u8>),
}

#[derive(Clone, PartialEq, Message)]
struct ArrayValue {
    #[prost(message, repeated, tag = "1")]
    values: Vec<AnyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct KeyValueList {
    #[prost(message, repeated, tag = "1")]
    values: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct ExportResponse {
    #[prost(message, optional, tag = "1")]
    partial_success: Option<PartialSuccess>,
}

#[derive(Clone, PartialEq, Message)]
struct PartialSuccess {
    #[prost(int64, tag = "1")]
    rejected_log_records: i64,
    #[prost(string, tag = "2")]
    error_message: String,
}

/// What is taken of a request, what is told of the rest, or why it is refused.
fn taken(form: Form, request: &[u8]) -> Result<(Vec<String>, Option<String>), Refusal> {
    let limits = HttpLimits { line_bytes_max: 2000, ..HttpLimits::default() };
    with_envelopes(Encoding::Otlp, limits, |envelopes| {
        match form {
            Form::Protobuf => take_protobuf(request, envelopes)?,
            Form::Json => take_json(&String::from_utf8_lossy(request), envelopes)?,
        }
        Ok((envelopes.taken(), envelopes.refused_text()))
    })
}

fn text(text: &str) -> Option<AnyValue> {
    Some(AnyValue { value: Some(Any::String(text.into())) })
}

fn one(record: LogRecord) -> Request {
    let scope_logs = ScopeLogs { log_records: vec![record], ..ScopeLogs::default() };
    let resource_logs = ResourceLogs { scope_logs: vec![scope_logs], ..ResourceLogs::default() };
    Request { resource_logs: vec![resource_logs] }
}

#[test]
fn each_record_stands_with_its_resource_and_scope() {
    let record = LogRecord {
        time_unix_nano: 1_795_518_000_123_456_789,
        observed_time_unix_nano: u64::MAX,
        severity_number: 17,
        severity_text: "ERROR".into(),
        event_name: "payment.failed".into(),
        body: text("no \"money\""),
        attributes: vec![
            KeyValue { key: "n".into(), value: Some(AnyValue { value: Some(Any::Int(-1)) }) },
            KeyValue { key: "none".into(), value: None },
        ],
        dropped_attributes_count: 2,
        flags: 1,
        trace_id: b"\x5b\x8e\xff\xf7\x98\x03\x81\x03\xd2\x69\xb6\x33\x81\x3f\xc6\x0c".to_vec(),
        span_id: b"\xee\xe1\x9b\x7e\xc3\xc1\xb1\x74".to_vec(),
    };
    let mut request = one(record);
    let logs = &mut request.resource_logs[0];
    logs.schema_url = "https://example/1".into();
    logs.resource = Some(Resource {
        attributes: vec![KeyValue { key: "service.name".into(), value: text("shop") }],
        dropped_attributes_count: 0,
    });
    logs.scope_logs[0].scope =
        Some(Scope { name: "pay".into(), version: "1.2".into(), ..Scope::default() });
    logs.scope_logs[0].schema_url = "https://example/2".into();
    logs.scope_logs[0].log_records.push(LogRecord::default());
    let source = r#"{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"shop"}}]},"scope":{"name":"pay","version":"1.2"},"resourceSchemaUrl":"https://example/1","scopeSchemaUrl":"https://example/2","#;
    let (records, refused) = taken(Form::Protobuf, &request.encode_to_vec()).unwrap();
    assert_eq!(refused, None);
    assert_eq!(
        records,
        [
            format!(
                r#"{source}"logRecord":{{"timeUnixNano":"1795518000123456789","observedTimeUnixNano":"18446744073709551615","severityNumber":17,"severityText":"ERROR","eventName":"payment.failed","body":{{"stringValue":"no \"money\""}},"attributes":[{{"key":"n","value":{{"intValue":"-1"}}}},{{"key":"none","value":{{}}}}],"droppedAttributesCount":2,"flags":1,"traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174"}}}}"#
            ),
            format!(r#"{source}"logRecord":{{}}}}"#),
        ]
    );
}

#[test]
fn records_in_json_are_kept_as_they_are_written() {
    let request = r#" {"resourceLogs" : [
      {"scopeLogs":[
         {"logRecords":[{"body":{"stringValue":"é\u00e9"}, "timeUnixNano" : 1e3}, {"severityNumber":"X","new":[]}], "scope": {"name":"s"}},
         {"scope":null,"logRecords":[{}]}, {}, {"logRecords":null}
       ], "resource": {"attributes":[]}, "unknown": 1},
      {"resource":null,"schemaUrl":"u","scopeLogs":[{"logRecords":[{ }]}]},
      {}
    ]}"#;
    let (records, refused) = taken(Form::Json, request.as_bytes()).unwrap();
    assert_eq!(refused, None);
    assert_eq!(
        records,
        [
            r#"{"resource":{"attributes":[]},"scope":{"name":"s"},"logRecord":{"body":{"stringValue":"é\u00e9"}, "timeUnixNano" : 1e3}}"#,
            r#"{"resource":{"attributes":[]},"scope":{"name":"s"},"logRecord":{"severityNumber":"X","new":[]}}"#,
            r#"{"resource":{"attributes":[]},"scope":{},"logRecord":{}}"#,
            r#"{"resource":{},"scope":{},"resourceSchemaUrl":"u","logRecord":{ }}"#,
        ]
    );
    for nothing in ["{}", r#"{"resourceLogs":[]}"#, r#"{"resourceLogs":null}"#] {
        assert_eq!(taken(Form::Json, nothing.as_bytes()).unwrap(), (vec![], None));
    }
    assert_eq!(taken(Form::Protobuf, b"").unwrap(), (vec![], None));
}

#[test]
fn what_is_no_request_is_refused() {
    for request in [
        "",
        "[]",
        "{",
        r#"{"resourceLogs":5}"#,
        r#"{"resourceLogs":[5]}"#,
        r#"{"resourceLogs":[{"scopeLogs":{}}]}"#,
        r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{},]}]}]}"#,
    ] {
        let refusal = taken(Form::Json, request.as_bytes()).unwrap_err();
        assert!(matches!(refusal, Refusal::Wrong(_)), "{request}: {refusal:?}");
    }
    let request = one(LogRecord { body: text("a"), ..LogRecord::default() }).encode_to_vec();
    for cut in 1..8 {
        assert!(matches!(taken(Form::Protobuf, &request[..cut]), Err(Refusal::Wrong(_))), "{cut}");
    }
}

#[test]
fn a_bad_record_leaves_the_others() {
    let refused = |form, request: &[u8]| {
        let (records, refused) = taken(form, request).unwrap();
        (records.len(), refused.unwrap())
    };
    let long = "x".repeat(2000);
    let json = format!(
        r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{{}},{{"body":{{"stringValue":"{long}"}}}},5,{{}}]}}]}}]}}"#
    );
    let (stored, told) = refused(Form::Json, json.as_bytes());
    assert_eq!((stored, told.contains("record 2")), (2, true));
    assert!(told.starts_with("2 of 4 records were refused"), "{told}");

    // Protobuf whose inside is broken.
    let mut records = Vec::new();
    put_bytes(&mut records, 2, &LogRecord { flags: 1, ..LogRecord::default() }.encode_to_vec());
    put_bytes(&mut records, 2, b"\x0a\xff");
    put_bytes(&mut records, 2, b"\x2a\x02\x0a\xff");
    let mut scopes = Vec::new();
    put_bytes(&mut scopes, 2, &records);
    let mut request = Vec::new();
    put_bytes(&mut request, 1, &scopes);
    let (stored, told) = refused(Form::Protobuf, &request);
    assert_eq!((stored, told.contains("record 2: the protobuf message is broken")), (1, true));

    // A resource that nobody can read takes its records with it, and no others.
    let json = r#"{"resourceLogs":[{"resource":5,"scopeLogs":[{"logRecords":[{},{}]}]},{"scopeLogs":[{"logRecords":[{}]}]}]}"#;
    let (stored, told) = refused(Form::Json, json.as_bytes());
    assert_eq!((stored, told.contains("2 of 3")), (1, true));
}

#[test]
fn nesting_is_bounded() {
    let nested = |depth| {
        (0..depth).fold(AnyValue { value: Some(Any::Bool(true)) }, |value, _| AnyValue {
            value: Some(Any::Array(ArrayValue { values: vec![value] })),
        })
    };
    let record = |depth| LogRecord { body: Some(nested(depth)), ..LogRecord::default() };
    let protobuf = |depth| taken(Form::Protobuf, &one(record(depth)).encode_to_vec()).unwrap();
    let (records, refused) = protobuf(30);
    assert_eq!((records.len(), refused), (1, None));
    serde_json::from_str::<JsonValue>(&records[0]).unwrap();
    let (records, refused) = protobuf(40);
    assert!(records.is_empty() && refused.unwrap().contains("nested"));
    // Deeper than the twin could write.
    let mut message = Vec::new();
    for number in [1, 5].repeat(5000).into_iter().chain([5, 2, 2, 1]) {
        let inner = std::mem::take(&mut message);
        put_bytes(&mut message, number, &inner);
    }
    let (records, refused) = taken(Form::Protobuf, &message).unwrap();
    assert!(records.is_empty() && refused.unwrap().contains("nested"));
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    for json in [
        format!(r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{{"a":{deep}}}]}}]}}]}}"#),
        format!(
            r#"{{"resourceLogs":[{{"resource":{{"a":{deep}}},"scopeLogs":[{{"logRecords":[{{}}]}}]}}]}}"#
        ),
    ] {
        let (records, refused) = taken(Form::Json, json.as_bytes()).unwrap();
        assert!(records.is_empty() && refused.unwrap().contains("nested"));
    }
}

#[test]
fn text_that_is_not_utf_8_is_taken() {
    let mut value = Vec::new();
    put_bytes(&mut value, 1, b"a\xffb");
    let mut record = Vec::new();
    put_bytes(&mut record, 5, &value);
    let mut bytes = Vec::new();
    for number in [2, 2, 1] {
        put_bytes(&mut bytes, number, &record);
        record = std::mem::take(&mut bytes);
    }
    let (records, _) = taken(Form::Protobuf, &record).unwrap();
    assert!(records[0].contains("a\u{fffd}b"), "{records:?}");
}

#[test]
fn answers_are_those_of_the_protocol() {
    let all = Refused { count: 0, text: String::new() };
    assert_eq!(all.answer(Form::Json), b"{}");
    assert_eq!(all.answer(Form::Protobuf), b"");
    let some = Refused { count: 300, text: "why".into() };
    assert_eq!(
        serde_json::from_slice::<JsonValue>(&some.answer(Form::Json)).unwrap(),
        json!({"partialSuccess": {"rejectedLogRecords": "300", "errorMessage": "why"}})
    );
    let decoded = ExportResponse::decode(&*some.answer(Form::Protobuf)).unwrap();
    let partial = PartialSuccess { rejected_log_records: 300, error_message: "why".into() };
    assert_eq!(decoded.partial_success, Some(partial));
}

// ---- the twin ----

fn of_value(value: Option<&AnyValue>) -> JsonValue {
    let Some(AnyValue { value: Some(value) }) = value else { return json!({}) };
    match value {
        Any::String(text) => json!({"stringValue": text}),
        Any::Bool(value) => json!({"boolValue": value}),
        Any::Int(value) => json!({"intValue": value.to_string()}),
        Any::Double(value) if value.is_nan() => json!({"doubleValue": "NaN"}),
        Any::Double(value) if value.is_infinite() && *value > 0.0 => {
            json!({"doubleValue": "Infinity"})
        }
        Any::Double(value) if value.is_infinite() => json!({"doubleValue": "-Infinity"}),
        Any::Double(value) => json!({"doubleValue": value}),
        Any::Array(array) => {
            let values: Vec<_> = array.values.iter().map(|value| of_value(Some(value))).collect();
            json!({"arrayValue": {"values": values}})
        }
        Any::List(list) => json!({"kvlistValue": {"values": of_pairs(&list.values)}}),
        Any::Bytes(bytes) => {
            json!({"bytesValue": Base64Display::new(bytes, &STANDARD).to_string()})
        }
    }
}

fn of_pairs(pairs: &[KeyValue]) -> JsonValue {
    let pair =
        |KeyValue { key, value }: &KeyValue| json!({"key": key, "value": of_value(value.as_ref())});
    pairs.iter().map(pair).collect()
}

/// An object of what is not the default of protobuf.
fn of_members(members: &[(&str, JsonValue)]) -> JsonValue {
    let is_default =
        |value: &JsonValue| [json!(0), json!(""), json!([]), json!(null)].contains(value);
    let set = members.iter().filter(|(_, value)| !is_default(value));
    JsonValue::Object(
        set.map(|(name, value)| ((*name).to_owned(), value.clone())).collect::<Map<_, _>>(),
    )
}

fn of_time(nanos: u64) -> JsonValue {
    if nanos == 0 { JsonValue::Null } else { nanos.to_string().into() }
}

fn of_request(request: &Request) -> Vec<JsonValue> {
    let mut records = Vec::new();
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    for logs in &request.resource_logs {
        let resource = logs.resource.clone().unwrap_or_default();
        let resource = of_members(&[
            ("attributes", of_pairs(&resource.attributes)),
            ("droppedAttributesCount", resource.dropped_attributes_count.into()),
        ]);
        for scopes in &logs.scope_logs {
            let scope = scopes.scope.clone().unwrap_or_default();
            let scope = of_members(&[
                ("name", scope.name.into()),
                ("version", scope.version.into()),
                ("attributes", of_pairs(&scope.attributes)),
                ("droppedAttributesCount", scope.dropped_attributes_count.into()),
            ]);
            for record in &scopes.log_records {
                let body = record.body.as_ref();
                let log_record = of_members(&[
                    ("timeUnixNano", of_time(record.time_unix_nano)),
                    ("observedTimeUnixNano", of_time(record.observed_time_unix_nano)),
                    ("severityNumber", record.severity_number.into()),
                    ("severityText", record.severity_text.clone().into()),
                    ("eventName", record.event_name.clone().into()),
                    ("body", body.map_or(JsonValue::Null, |body| of_value(Some(body)))),
                    ("attributes", of_pairs(&record.attributes)),
                    ("droppedAttributesCount", record.dropped_attributes_count.into()),
                    ("flags", record.flags.into()),
                    ("traceId", hex(&record.trace_id).into()),
                    ("spanId", hex(&record.span_id).into()),
                ]);
                let mut envelope = of_members(&[
                    ("resourceSchemaUrl", logs.schema_url.clone().into()),
                    ("scopeSchemaUrl", scopes.schema_url.clone().into()),
                ]);
                envelope["resource"] = resource.clone();
                envelope["scope"] = scope.clone();
                envelope["logRecord"] = log_record;
                records.push(envelope);
            }
        }
    }
    records
}

fn any_value() -> impl Strategy<Value = AnyValue> {
    let bytes = prop::collection::vec(any::<u8>(), 0..6);
    let leaf = prop_oneof![
        Just(None),
        ".{0,6}".prop_map(|text| Some(Any::String(text))),
        any::<bool>().prop_map(|value| Some(Any::Bool(value))),
        any::<i64>().prop_map(|value| Some(Any::Int(value))),
        any::<f64>().prop_map(|value| Some(Any::Double(value))),
        bytes.prop_map(|bytes| Some(Any::Bytes(bytes))),
    ];
    leaf.prop_map(|value| AnyValue { value }).prop_recursive(4, 20, 4, |inner| {
        let array = prop::collection::vec(inner.clone(), 0..4)
            .prop_map(|values| Any::Array(ArrayValue { values }));
        let list = prop::collection::vec(("[a-z.]{0,4}", prop::option::of(inner)), 0..4).prop_map(
            |pairs| {
                let pair = |(key, value)| KeyValue { key, value };
                Any::List(KeyValueList { values: pairs.into_iter().map(pair).collect() })
            },
        );
        prop_oneof![array, list].prop_map(|value| AnyValue { value: Some(value) })
    })
}

fn attributes() -> impl Strategy<Value = Vec<KeyValue>> {
    let pair = ("[a-z.]{0,6}", prop::option::of(any_value()));
    prop::collection::vec(pair.prop_map(|(key, value)| KeyValue { key, value }), 0..4)
}

prop_compose! {
    fn log_record()(
        time_unix_nano: u64,
        observed_time_unix_nano: u64,
        severity_number in 0..30_i32,
        texts in prop::array::uniform2(".{0,4}"),
        body in prop::option::of(any_value()),
        attributes in attributes(),
        dropped_attributes_count in 0..3_u32,
        flags in 0..3_u32,
        trace_id in prop::collection::vec(any::<u8>(), 0..17),
        span_id in prop::collection::vec(any::<u8>(), 0..9),
    ) -> LogRecord {
        let [severity_text, event_name] = texts;
        LogRecord {
            time_unix_nano, observed_time_unix_nano, severity_number, severity_text, event_name,
            body, attributes, dropped_attributes_count, flags, trace_id, span_id,
        }
    }
}

prop_compose! {
    fn request()(
        records in prop::collection::vec(log_record(), 0..4),
        resource in prop::option::of((attributes(), 0..2_u32)),
        scope in prop::option::of((".{0,4}", ".{0,4}", attributes())),
        schema_urls in prop::array::uniform2("[a-z]{0,4}"),
    ) -> Request {
        let [of_resource, of_scope] = schema_urls;
        let scope = scope.map(|(name, version, attributes)| {
            Scope { name, version, attributes, dropped_attributes_count: 0 }
        });
        let resource = resource.map(|(attributes, dropped_attributes_count)| {
            Resource { attributes, dropped_attributes_count }
        });
        let scope_logs = ScopeLogs { scope, log_records: records, schema_url: of_scope };
        Request { resource_logs: vec![ResourceLogs {
            resource,
            scope_logs: vec![scope_logs.clone(), scope_logs],
            schema_url: of_resource,
        }] }
    }
}

/// A request without bounds that the twin does not have.
fn all_taken(form: Form, request: &[u8]) -> Vec<JsonValue> {
    with_envelopes(Encoding::Otlp, HttpLimits::default(), |envelopes| {
        match form {
            Form::Protobuf => take_protobuf(request, envelopes).unwrap(),
            Form::Json => take_json(std::str::from_utf8(request).unwrap(), envelopes).unwrap(),
        }
        assert_eq!(envelopes.refused_text(), None);
        let records = envelopes.taken();
        records.iter().map(|record| serde_json::from_str(record).unwrap()).collect()
    })
}

proptest! {
    #[test]
    fn both_read_the_same(request in request()) {
        let expected = of_request(&request);
        // What reads JSON here rounds the last digits of some numbers; it has to do so for both.
        let rounded: Vec<JsonValue> = expected
            .iter()
            .map(|record| serde_json::from_str(&record.to_string()).unwrap())
            .collect();
        let found = all_taken(Form::Protobuf, &request.encode_to_vec());
        prop_assert_eq!(&found, &rounded);
        // And as JSON, as an SDK would send it.
        let json = json!({"resourceLogs": expected.iter().map(|record| json!({
            "resource": record["resource"],
            "schemaUrl": record.get("resourceSchemaUrl"),
            "scopeLogs": [{
                "scope": record["scope"],
                "schemaUrl": record.get("scopeSchemaUrl"),
                "logRecords": [record["logRecord"]],
            }],
        })).collect::<Vec<_>>()});
        prop_assert_eq!(all_taken(Form::Json, json.to_string().as_bytes()), rounded);
    }

    #[test]
    fn any_bytes_are_answered(
        request in request(),
        cut in any::<prop::sample::Index>(),
        changed in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        noise in prop::collection::vec(any::<u8>(), 0..100),
    ) {
        let mut bytes = request.encode_to_vec();
        bytes.push(0);
        bytes.truncate(cut.index(bytes.len()) + 1);
        for (at, byte) in changed {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        for bytes in [&bytes, &noise] {
            for form in [Form::Protobuf, Form::Json] {
                if let Ok((records, _)) = taken(form, bytes) {
                    for record in records {
                        serde_json::from_str::<JsonValue>(&record).unwrap();
                    }
                }
            }
        }
    }

    #[test]
    fn json_cut_anywhere_is_refused_or_nothing(request in request(), cut in any::<prop::sample::Index>()) {
        let records: Vec<_> = of_request(&request).into_iter().map(|mut record| record["logRecord"].take()).collect();
        let json = json!({"resourceLogs": [{"scopeLogs": [{"logRecords": records}]}]}).to_string();
        let cut = &json.as_bytes()[..cut.index(json.len())];
        prop_assert!(taken(Form::Json, cut).is_err());
    }
}
