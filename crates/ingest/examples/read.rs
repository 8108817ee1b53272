//! How fast files are read: `cargo run -p ingest --example read -- PATH...`.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Instant;

use event::Timestamp;
use ingest::files::{self, ReadOptions};

#[expect(clippy::print_stdout, reason = "an example prints what it measured")]
fn main() {
    let paths: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let listing = files::list(&paths);
    let options = ReadOptions::new(Timestamp::now());
    let (started, mut records, mut bytes) = (Instant::now(), 0, 0);
    let mut problems = listing.problems;
    for file in &listing.files {
        let read = files::read(file, &options, &mut |_| ControlFlow::Continue(()));
        records += read.records;
        bytes += read.bytes;
        problems.extend(read.problems);
    }
    let seconds = started.elapsed().as_secs_f64();
    for problem in &problems {
        println!("{problem}");
    }
    println!(
        "{} files, {records} records, {:.1} MB of payload in {seconds:.2} s: {:.0} records/s, {:.0} MB/s",
        listing.files.len(),
        bytes as f64 / 1e6,
        records as f64 / seconds,
        bytes as f64 / 1e6 / seconds
    );
}
