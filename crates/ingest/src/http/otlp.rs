//! OTLP's logs: what OpenTelemetry's SDKs and Collector send, over HTTP and gRPC.
//!
//! `POST /v1/logs` takes protobuf or JSON, and the service `LogsService` the same protobuf over
//! gRPC ([`grpc`]). Each log record becomes a raw record, in the JSON of OTLP, together with
//! its resource and its scope. What came as JSON is kept as it was written.
//!
//! | status | gRPC | means |
//! | --- | --- | --- |
//! | 200 | `OK` | durable; `partialSuccess` tells of records that were refused |
//! | 400 | `INVALID_ARGUMENT` | the request cannot be read; nothing is stored, sending again is useless |
//! | 401, 403 | `UNAUTHENTICATED`, `PERMISSION_DENIED` | who sends is unknown, or may not |
//! | 408 | `DEADLINE_EXCEEDED` | the body took too long to arrive; nothing is stored |
//! | 413 | `RESOURCE_EXHAUSTED` | a limit is passed; nothing is stored |
//! | 415 | `UNIMPLEMENTED` | a content type or an encoding that is not read |
//! | 429, 503 | `UNAVAILABLE` | nothing is stored; send it again after `Retry-After` or `RetryInfo` |
//!
//! A client may take `RESOURCE_EXHAUSTED` as final, so what passes is `UNAVAILABLE`, as the
//! specification says. Errors are `google.rpc.Status` in the encoding of the request.
//!
//! <https://opentelemetry.io/docs/specs/otlp/>

mod grpc;
#[cfg(test)]
mod tests;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use base64::display::Base64Display;
use base64::engine::general_purpose::STANDARD;
use event::raw::Encoding;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use super::envelope::{Envelopes, Fault, Json, NESTING_MAX, each_element, is_object, nesting};
use super::protobuf::{Value, fields, put_bytes, put_varint};
use super::{Caller, Refusal, Shippers, count};
use crate::Batch;

/// The name of this listener in records and metrics.
const LISTENER: &str = "otlp";

const PROTOBUF: &str = "application/x-protobuf";
const JSON: &str = "application/json";

/// The routes of this listener.
pub(super) fn router() -> Router<Shippers> {
    let post = post(receive).fallback(|| async { Refusal::Method });
    Router::new().route("/v1/logs", post).merge(grpc::router())
}

/// How a request is written, and its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Protobuf,
    Json,
}

impl Form {
    fn of(headers: &HeaderMap) -> Result<Form, Refusal> {
        let named = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let named = named.unwrap_or_default().split(';').next().unwrap_or_default();
        match named.trim().to_ascii_lowercase().as_str() {
            PROTOBUF | "application/protobuf" => Ok(Form::Protobuf),
            JSON => Ok(Form::Json),
            other => Err(Refusal::Encoding(format!(
                "`Content-Type: {other}` is not read; send `{PROTOBUF}` or `{JSON}`"
            ))),
        }
    }

    fn content_type(self) -> &'static str {
        match self {
            Form::Protobuf => PROTOBUF,
            Form::Json => JSON,
        }
    }
}

async fn receive(State(shippers): State<Shippers>, request: Request) -> Response {
    let (form, taken) = match Form::of(request.headers()) {
        Ok(form) => (form, take(&shippers, form, request).await),
        Err(refusal) => (Form::Json, Err(refusal)),
    };
    let content_type = [(CONTENT_TYPE, form.content_type())];
    let response = match taken {
        Ok(refused) => (content_type, refused.answer(form)).into_response(),
        Err(refusal) => refusal.with_body((content_type, status(form, &refusal))),
    };
    count(LISTENER, &response);
    response
}

async fn take(shippers: &Shippers, form: Form, request: Request) -> Result<Refused, Refusal> {
    let (head, body) = request.into_parts();
    let caller = shippers.caller(&head.headers, &head.extensions)?;
    let (body, batch) = shippers.whole(body, &head.headers).await?;
    store(shippers, &caller, form, body, batch).await
}

/// Makes the records of a request durable. The batch has room for it.
async fn store(
    shippers: &Shippers,
    caller: &Caller,
    form: Form,
    body: Vec<u8>,
    batch: Batch,
) -> Result<Refused, Refusal> {
    let mut envelopes =
        Envelopes::new(shippers, caller, LISTENER, Encoding::Otlp, batch, body.len());
    match form {
        Form::Protobuf => take_protobuf(&body, &mut envelopes)?,
        Form::Json => take_json(&String::from_utf8_lossy(&body), &mut envelopes)?,
    }
    drop(body);
    envelopes.append().await?;
    Ok(Refused { count: envelopes.refused(), text: envelopes.refused_text().unwrap_or_default() })
}

/// What of a request was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Refused {
    count: u64,
    text: String,
}

impl Refused {
    /// An `ExportLogsServiceResponse`.
    fn answer(&self, form: Form) -> Vec<u8> {
        match form {
            Form::Json if self.count == 0 => b"{}".to_vec(),
            Form::Json => json!({"partialSuccess": {
                "rejectedLogRecords": self.count.to_string(),
                "errorMessage": self.text,
            }})
            .to_string()
            .into_bytes(),
            Form::Protobuf => {
                let mut response = Vec::new();
                if self.count > 0 {
                    let mut partial = Vec::new();
                    put_varint(&mut partial, 1, self.count);
                    put_bytes(&mut partial, 2, self.text.as_bytes());
                    put_bytes(&mut response, 1, &partial);
                }
                response
            }
        }
    }
}

/// A `google.rpc.Status`.
fn status(form: Form, refusal: &Refusal) -> Vec<u8> {
    let (code, message) = (grpc::code(refusal), refusal.text());
    match form {
        Form::Json => json!({"code": code, "message": message}).to_string().into_bytes(),
        Form::Protobuf => {
            let mut status = Vec::new();
            put_varint(&mut status, 1, code);
            put_bytes(&mut status, 2, message.as_bytes());
            status
        }
    }
}

/// What the records of a resource or scope share, written once; or why none of them is taken.
type Shared = Result<Vec<u8>, Fault>;

/// Members of an envelope that records share.
struct Source<'a> {
    resource: &'a Shared,
    resource_schema: &'a [u8],
    scope: &'a Shared,
    scope_schema: &'a [u8],
}

impl Source<'_> {
    fn write(&self, json: &mut Json) -> Result<(), Fault> {
        json.open(b'{')?;
        for (name, value) in [("resource", self.resource), ("scope", self.scope)] {
            let value = value.as_ref().map_err(Clone::clone)?;
            json.key(name)?;
            json.raw(value)?;
        }
        // No member that others know, but nothing that was sent is lost.
        for (name, url) in
            [("resourceSchemaUrl", self.resource_schema), ("scopeSchemaUrl", self.scope_schema)]
        {
            if !url.is_empty() {
                json.key(name)?;
                json.text(url)?;
            }
        }
        json.key("logRecord")
    }
}

// ---- protobuf ----

/// Takes an `ExportLogsServiceRequest` apart.
fn take_protobuf(request: &[u8], envelopes: &mut Envelopes<'_>) -> Result<(), Refusal> {
    for resource_logs in messages(request, 1) {
        let resource_logs = resource_logs?;
        let resource = shared(resource_logs, write_resource, envelopes)?;
        let resource_schema = last(resource_logs, 3)?;
        for scope_logs in messages(resource_logs, 2) {
            let scope_logs = scope_logs?;
            let scope = shared(scope_logs, write_scope, envelopes)?;
            let scope_schema = last(scope_logs, 3)?;
            let source =
                Source { resource: &resource, resource_schema, scope: &scope, scope_schema };
            for record in messages(scope_logs, 2) {
                let record = record?;
                envelopes.push(|json| {
                    source.write(json)?;
                    write_record(record, json)?;
                    json.close(b'}')
                })?;
            }
        }
    }
    Ok(())
}

/// The messages in a repeated field. What is broken out here is the request.
fn messages(message: &[u8], number: u64) -> impl Iterator<Item = Result<&[u8], Refusal>> {
    fields(message).filter_map(move |field| match field {
        Ok((found, Value::Bytes(bytes))) if found == number => Some(Ok(bytes)),
        Ok(_) => None,
        Err(error) => Some(Err(Refusal::Wrong(error.to_string()))),
    })
}

/// A field that is there once, or the last of it as protobuf has it; empty if there is none.
fn last(message: &[u8], number: u64) -> Result<&[u8], Refusal> {
    messages(message, number).try_fold(&[][..], |_, found| found)
}

/// Writes what stands in field 1, for all records beside it.
fn shared(
    message: &[u8],
    write: fn(&[u8], &mut Json) -> Result<(), Fault>,
    envelopes: &mut Envelopes<'_>,
) -> Result<Shared, Refusal> {
    let shared = last(message, 1)?;
    // As deep as it will stand in the envelope.
    let mut json = envelopes.part();
    Ok(write(shared, &mut json).map(|()| json.bytes().to_vec()))
}

fn write_resource(resource: &[u8], json: &mut Json) -> Result<(), Fault> {
    json.open(b'{')?;
    write_attributes(resource, 1, json)?;
    write_count("droppedAttributesCount", resource, 2, json)?;
    json.close(b'}')
}

fn write_scope(scope: &[u8], json: &mut Json) -> Result<(), Fault> {
    json.open(b'{')?;
    for (number, name) in [(1, "name"), (2, "version")] {
        write_text(name, scope, number, json)?;
    }
    write_attributes(scope, 3, json)?;
    write_count("droppedAttributesCount", scope, 4, json)?;
    json.close(b'}')
}

fn write_record(record: &[u8], json: &mut Json) -> Result<(), Fault> {
    json.open(b'{')?;
    for (number, name) in [(1, "timeUnixNano"), (11, "observedTimeUnixNano")] {
        if let Some(Value::Fixed64(nanos)) = field(record, number)?
            && nanos != 0
        {
            json.key(name)?;
            json.shown(format_args!("\"{nanos}\""))?;
        }
    }
    write_count("severityNumber", record, 2, json)?;
    write_text("severityText", record, 3, json)?;
    write_text("eventName", record, 12, json)?;
    if let Some(Value::Bytes(body)) = field(record, 5)? {
        json.key("body")?;
        write_value(body, json)?;
    }
    write_attributes(record, 6, json)?;
    write_count("droppedAttributesCount", record, 7, json)?;
    if let Some(Value::Fixed32(flags)) = field(record, 8)?
        && flags != 0
    {
        json.key("flags")?;
        json.shown(flags)?;
    }
    for (number, name) in [(9, "traceId"), (10, "spanId")] {
        if let Some(Value::Bytes(id)) = field(record, number)?
            && !id.is_empty()
        {
            json.key(name)?;
            json.raw(b"\"")?;
            id.iter().try_for_each(|byte| json.shown(format_args!("{byte:02x}")))?;
            json.raw(b"\"")?;
        }
    }
    json.close(b'}')
}

/// The last value of a field.
fn field(message: &[u8], number: u64) -> Result<Option<Value<'_>>, Fault> {
    let mut value = None;
    for field in fields(message) {
        let (found, found_value) = field?;
        if found == number {
            value = Some(found_value);
        }
    }
    Ok(value)
}

fn write_count(name: &str, message: &[u8], number: u64, json: &mut Json) -> Result<(), Fault> {
    if let Some(Value::Varint(value)) = field(message, number)?
        && value != 0
    {
        json.key(name)?;
        // All that there are have 32 bits.
        json.shown(value as u32)?;
    }
    Ok(())
}

fn write_text(name: &str, message: &[u8], number: u64, json: &mut Json) -> Result<(), Fault> {
    if let Some(Value::Bytes(text)) = field(message, number)?
        && !text.is_empty()
    {
        json.key(name)?;
        json.text(text)?;
    }
    Ok(())
}

/// The `KeyValue`s in a repeated field, if there are any.
fn write_attributes(message: &[u8], number: u64, json: &mut Json) -> Result<(), Fault> {
    if field(message, number)?.is_none() {
        return Ok(());
    }
    json.key("attributes")?;
    write_pairs(message, number, json)
}

fn write_pairs(message: &[u8], number: u64, json: &mut Json) -> Result<(), Fault> {
    json.open(b'[')?;
    for pair in fields(message) {
        let (found, Value::Bytes(pair)) = pair? else { continue };
        if found != number {
            continue;
        }
        let bytes = |number| match field(pair, number)? {
            Some(Value::Bytes(bytes)) => Ok::<_, Fault>(bytes),
            _ => Ok(&[][..]),
        };
        json.element()?;
        json.open(b'{')?;
        json.key("key")?;
        json.text(bytes(1)?)?;
        json.key("value")?;
        write_value(bytes(2)?, json)?;
        json.close(b'}')?;
    }
    json.close(b']')
}

/// An `AnyValue`. How deep it goes the envelope bounds, and so our stack.
fn write_value(value: &[u8], json: &mut Json) -> Result<(), Fault> {
    let mut last = None;
    for field in fields(value) {
        let field = field?;
        if matches!(
            field,
            (1 | 5 | 6 | 7, Value::Bytes(_)) | (2 | 3, Value::Varint(_)) | (4, Value::Fixed64(_))
        ) {
            last = Some(field);
        }
    }
    json.open(b'{')?;
    match last {
        Some((1, Value::Bytes(text))) => {
            json.key("stringValue")?;
            json.text(text)?;
        }
        Some((2, Value::Varint(value))) => {
            json.key("boolValue")?;
            json.shown(value != 0)?;
        }
        Some((3, Value::Varint(value))) => {
            json.key("intValue")?;
            json.shown(format_args!("\"{}\"", value as i64))?;
        }
        Some((4, Value::Fixed64(bits))) => {
            json.key("doubleValue")?;
            write_double(f64::from_bits(bits), json)?;
        }
        Some((5, Value::Bytes(array))) => {
            json.key("arrayValue")?;
            json.open(b'{')?;
            json.key("values")?;
            json.open(b'[')?;
            for field in fields(array) {
                if let (1, Value::Bytes(element)) = field? {
                    json.element()?;
                    write_value(element, json)?;
                }
            }
            json.close(b']')?;
            json.close(b'}')?;
        }
        Some((6, Value::Bytes(list))) => {
            json.key("kvlistValue")?;
            json.open(b'{')?;
            json.key("values")?;
            write_pairs(list, 1, json)?;
            json.close(b'}')?;
        }
        Some((_, Value::Bytes(bytes))) => {
            json.key("bytesValue")?;
            json.shown(format_args!("\"{}\"", Base64Display::new(bytes, &STANDARD)))?;
        }
        _ => {}
    }
    json.close(b'}')
}

/// A number, or what JSON has no number for by its name.
fn write_double(value: f64, json: &mut Json) -> Result<(), Fault> {
    match value {
        _ if value.is_nan() => json.raw(b"\"NaN\""),
        f64::INFINITY => json.raw(b"\"Infinity\""),
        f64::NEG_INFINITY => json.raw(b"\"-Infinity\""),
        _ => serde_json::to_writer(json, &value).map_err(|_| Fault::TooLarge),
    }
}

// ---- JSON ----

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ExportRequest<'a> {
    #[serde(borrow)]
    resource_logs: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ResourceLogs<'a> {
    #[serde(borrow)]
    resource: Option<&'a RawValue>,
    #[serde(borrow)]
    scope_logs: Option<&'a RawValue>,
    schema_url: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ScopeLogs<'a> {
    #[serde(borrow)]
    scope: Option<&'a RawValue>,
    #[serde(borrow)]
    log_records: Option<&'a RawValue>,
    schema_url: Option<String>,
}

/// Takes a request in JSON apart. An array in it is gone through, never held.
fn take_json(request: &str, envelopes: &mut Envelopes<'_>) -> Result<(), Refusal> {
    let ExportRequest { resource_logs: Some(all) } = parse(request)? else { return Ok(()) };
    each_element(all, &mut |resource_logs| {
        let ResourceLogs { resource, scope_logs, schema_url } = parse(resource_logs.get())?;
        let Some(all) = scope_logs else { return Ok(()) };
        let resource = shared_json(resource);
        let resource_schema = schema_url.unwrap_or_default();
        each_element(all, &mut |scope_logs| {
            let ScopeLogs { scope, log_records, schema_url } = parse(scope_logs.get())?;
            let Some(all) = log_records else { return Ok(()) };
            let scope = shared_json(scope);
            let source = Source {
                resource: &resource,
                resource_schema: resource_schema.as_bytes(),
                scope: &scope,
                scope_schema: schema_url.as_deref().unwrap_or_default().as_bytes(),
            };
            each_element(all, &mut |record| {
                envelopes.push(|json| {
                    if !is_object(record) {
                        return Err(Fault::malformed("it is no object"));
                    }
                    source.write(json)?;
                    json.sent(record)?;
                    json.close(b'}')
                })
            })
        })
    })
}

fn parse<'a, T: Deserialize<'a>>(json: &'a str) -> Result<T, Refusal> {
    serde_json::from_str(json).map_err(|error| {
        Refusal::Wrong(format!(
            "this is no request of OTLP in JSON: {error}. Nothing of it is stored"
        ))
    })
}

fn shared_json(value: Option<&RawValue>) -> Shared {
    let Some(value) = value else { return Ok(b"{}".to_vec()) };
    if !is_object(value) {
        return Err(Fault::malformed("its resource or scope is no object"));
    }
    let json = value.get().as_bytes();
    if nesting(json) >= NESTING_MAX {
        return Err(Fault::malformed("its resource or scope is nested too deeply"));
    }
    Ok(json.to_vec())
}
