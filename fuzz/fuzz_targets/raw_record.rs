//! Any bytes as a raw record: events come out, or a reason, and each event is JSON again.
#![no_main]

use std::sync::{Arc, LazyLock};

use event::{Event, RawRecord, Timestamp};
use libfuzzer_sys::fuzz_target;
use mapping::Mappings;
use normalize::{Normalizer, Options};

static MAPPINGS: LazyLock<Arc<Mappings>> = LazyLock::new(|| {
    let files = detections::sources().map(|file| (file.path, file.text));
    Arc::new(Mappings::load(files).0)
});

fuzz_target!(|bytes: &[u8]| {
    let raw = RawRecord::new(bytes, Timestamp::from_millis(1_780_000_000_000));
    let mappings = Arc::clone(&MAPPINGS);
    let mut normalizer = Normalizer::new(Options { mappings, ..Options::default() });
    let done = normalizer.normalize(&raw, None, &mut |event| {
        let json = event.to_json();
        Event::new().parse_json(json.as_bytes()).expect("an event is written as JSON");
    });
    // A refusal is an answer too.
    drop(done);
});
