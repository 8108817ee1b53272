//! How many events a second one core normalises: `cargo run --release --example speed -- FILE...`
//!
//! The files hold one record a line, unpacked. They are read before the time starts; writing each
//! event as JSON is part of it, as it is for the stage.

use std::process::ExitCode;
use std::time::Instant;

use event::{RawRecord, Timestamp};
use mapping::Mappings;
use normalize::{Normalizer, Options};

fn main() -> ExitCode {
    let files = detections::sources().map(|file| (file.path, file.text));
    let (mappings, _) = Mappings::load(files);
    let mut normalizer =
        Normalizer::new(Options { mappings: mappings.into(), ..Options::default() });
    let mut json = Vec::new();
    for path in std::env::args().skip(1) {
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) => {
                eprintln!("{path}: {error}");
                return ExitCode::FAILURE;
            }
        };
        let lines: Vec<&[u8]> = bytes.split(|b| *b == b'\n').filter(|l| !l.is_empty()).collect();
        let start = Instant::now();
        let (mut events, mut written) = (0u64, 0);
        for line in &lines {
            let raw = RawRecord::new(line, Timestamp::EPOCH);
            let made = normalizer.normalize(&raw, None, &mut |event| {
                json.clear();
                event.write_json(&mut json);
                events += 1;
                written += json.len();
            });
            if let Err(error) = made {
                eprintln!("{path}: {error}");
            }
        }
        let seconds = start.elapsed().as_secs_f64();
        eprintln!(
            "{path}: {events} events of {} bytes in, {} out: {:.0} events/s",
            bytes.len() as u64 / events.max(1),
            written as u64 / events.max(1),
            events as f64 / seconds,
        );
    }
    ExitCode::SUCCESS
}
