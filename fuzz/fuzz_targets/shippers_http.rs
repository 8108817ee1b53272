//! Any bytes as the body of a request of OTLP, Loki, the journal, Elasticsearch or Splunk: each is
//! answered, and whatever becomes a record is JSON. The first byte chooses the protocol.
#![no_main]

use std::sync::Arc;

use axum::body::Body;
use axum::http::Request;
use bus::{Batch, Bus, MemoryBus, PollLimits, Topic};
use ingest::http::{HttpLimits, shippers};
use ingest::{Intake, IntakeLimits, SenderSettings, Senders};
use libfuzzer_sys::fuzz_target;
use tower::ServiceExt;

const SECRET: &str = "0123456789abcdef";

const REQUESTS: [(&str, &str); 9] = [
    ("/v1/logs", "application/x-protobuf"),
    ("/v1/logs", "application/json"),
    ("/opentelemetry.proto.collector.logs.v1.LogsService/Export", "application/grpc"),
    ("/loki/api/v1/push", "application/x-protobuf"),
    ("/loki/api/v1/push", "application/json"),
    ("/upload", "application/vnd.fdo.journal"),
    ("/x/_bulk", "application/x-ndjson"),
    ("/x/_doc", "application/json"),
    ("/services/collector", "application/json"),
];

fuzz_target!(|bytes: &[u8]| {
    let Some((&first, body)) = bytes.split_first() else { return };
    let (path, content_type) = REQUESTS[usize::from(first) % REQUESTS.len()];
    let bus = Arc::new(MemoryBus::default());
    let intake = Intake::new(bus.clone(), IntakeLimits::default());
    let sender =
        SenderSettings { name: "fuzz".into(), secret: SECRET.into(), ..SenderSettings::default() };
    let senders = Senders::new(&[sender], false).expect("the sender is well-formed");
    let router = shippers(intake, senders, HttpLimits::default());
    let request = Request::post(path)
        .header("content-type", content_type)
        .header("grpc-encoding", "gzip")
        .header("authorization", format!("Bearer {SECRET}"))
        .body(Body::from(body.to_vec()))
        .expect("the request is well-formed");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let response = runtime.expect("there is a runtime").block_on(router.oneshot(request));
    assert!(!response.expect("the router always answers").status().is_informational());

    let mut consumer = bus.consumer("fuzz", &[Topic::Raw]).expect("the bus is in memory");
    let mut batch = Batch::new();
    let limits = PollLimits { wait: std::time::Duration::ZERO, ..PollLimits::default() };
    // The first poll only learns what there is to read.
    for _ in 0..3 {
        consumer.poll(&limits, &mut batch).expect("the bus is in memory");
        for record in batch.iter() {
            serde_json::from_slice::<serde::de::IgnoredAny>(record.value)
                .expect("an envelope is JSON");
        }
    }
});
