//! Files as raw records: EVTX, JSON and text, plain or compressed, and standard input.
//!
//! [`list`] finds the files, [`read`] reads one; a scan spreads files over threads, an import reads
//! them in order. What a file is, its content says: a `.log` that is gzip inside is unpacked, and
//! JSON is found whatever the name. Reading streams, so the size of a file does not matter.
//!
//! Nothing here fails as a whole. What can't be read is a [`Problem`] with the file and the place,
//! and reading goes on behind it.

mod evtx;
mod list;
mod text;

use std::fmt;
use std::io::{self, BufReader, Read};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use event::Timestamp;
use event::raw::{Encoding, NAMESPACE_DEFAULT, RawRecord};
use flate2::bufread::MultiGzDecoder;

pub use list::{FILES_MAX, FOLDERS_DEEP_MAX, Listing, list};
pub(crate) use text::Wide;

/// The name of this reader in records and metrics.
pub const LISTENER: &str = event::raw::LISTENER_FILE;

/// How many problems of one file are told; the rest is counted. A file that is no log at all would
/// otherwise fill the memory with them.
pub const PROBLEMS_MAX: usize = 100;

/// How many bytes are read at once.
const READ_BYTES: usize = 256 * 1024;

/// How many bytes of a file are looked at to find out what it is.
const SNIFF_BYTES: usize = 8192;

/// How many of them tell what it is.
const MAGIC_BYTES_MAX: usize = 16;

/// A file to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    path: PathBuf,
    name: String,
    bytes: u64,
}

/// Something that could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file or folder as it was named.
    pub file: String,
    /// Where in it.
    pub place: Place,
    /// What is wrong, and what became of it.
    pub message: String,
}

/// A place in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// All of it.
    File,
    /// A line, from 1.
    Line(u64),
    /// An element of a JSON array, from 1.
    Element(u64),
    /// After so many bytes (of the unpacked file, if it is compressed).
    Byte(u64),
    /// A chunk of an EVTX file, from 0.
    Chunk(u64),
    /// A record of an EVTX file, by its record id.
    Record(u64),
}

/// What a reader can't know from the file.
#[derive(Debug, Clone, Copy)]
pub struct ReadOptions<'a> {
    /// When the records are received: now.
    pub received: Timestamp,
    /// The dataset; empty when normalisation shall find it out.
    pub dataset: &'a str,
    /// The namespace.
    pub namespace: &'a str,
    /// The longest line or element; longer ones are problems.
    pub line_bytes_max: usize,
}

impl ReadOptions<'_> {
    /// What is usual, for records received at this time.
    pub fn new(received: Timestamp) -> Self {
        ReadOptions {
            received,
            dataset: "",
            namespace: NAMESPACE_DEFAULT,
            line_bytes_max: crate::LINE_BYTES_MAX,
        }
    }
}

/// How the reading of a file went.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileRead {
    /// Records handed on.
    pub records: u64,
    /// Their payloads' bytes.
    pub bytes: u64,
    /// What could not be read; the first [`PROBLEMS_MAX`].
    pub problems: Vec<Problem>,
    /// How many more problems there were.
    pub problems_more: u64,
}

impl File {
    /// A file by its path; `-` is standard input.
    pub fn new(path: impl Into<PathBuf>, bytes: u64) -> Self {
        let path = path.into();
        let name = path.to_string_lossy().into_owned();
        File { path, name, bytes }
    }

    /// The path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path as text: how records and problems name the file.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How large it was when it was listed; 0 for what has no size.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether it is standard input.
    pub fn is_stdin(&self) -> bool {
        self.path.as_os_str() == STDIN
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::File => Ok(()),
            Place::Line(number) => write!(f, "line {number}"),
            Place::Element(number) => write!(f, "element {number}"),
            Place::Byte(number) => write!(f, "byte {number}"),
            Place::Chunk(number) => write!(f, "chunk {number}"),
            Place::Record(number) => write!(f, "record {number}"),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            Place::File => write!(f, "{}: {}", self.file, self.message),
            Place::Line(line) => write!(f, "{}:{line}: {}", self.file, self.message),
            place => write!(f, "{}: {place}: {}", self.file, self.message),
        }
    }
}

/// Reads a file and hands on its records, in their order. Ends early when `each` breaks.
pub fn read(
    file: &File,
    options: &ReadOptions<'_>,
    each: &mut dyn FnMut(RawRecord<'_>) -> ControlFlow<()>,
) -> FileRead {
    if file.is_stdin() {
        return read_from(&mut io::stdin().lock(), file, options, each);
    }
    match std::fs::File::open(&file.path) {
        Ok(mut opened) => read_from(&mut opened, file, options, each),
        Err(error) => {
            let mut reading = Reading::new(file, options, each);
            reading.problem(Place::File, format!("cannot be opened: {error}"));
            reading.read
        }
    }
}

/// Reads what comes from `source` as the content of `file`.
pub fn read_from(
    source: &mut dyn Read,
    file: &File,
    options: &ReadOptions<'_>,
    each: &mut dyn FnMut(RawRecord<'_>) -> ControlFlow<()>,
) -> FileRead {
    let mut reading = Reading::new(file, options, each);
    // That `each` broke off is known to the caller.
    match content(source, &mut reading) {
        ControlFlow::Continue(()) | ControlFlow::Break(()) => reading.read,
    }
}

/// The name that stands for standard input.
const STDIN: &str = "-";

/// A reading under way: where records and problems go.
struct Reading<'a> {
    file: &'a File,
    options: &'a ReadOptions<'a>,
    each: &'a mut dyn FnMut(RawRecord<'_>) -> ControlFlow<()>,
    read: FileRead,
}

impl<'a> Reading<'a> {
    fn new(
        file: &'a File,
        options: &'a ReadOptions<'a>,
        each: &'a mut dyn FnMut(RawRecord<'_>) -> ControlFlow<()>,
    ) -> Self {
        Reading { file, options, each, read: FileRead::default() }
    }

    fn record(&mut self, payload: &[u8], position: u64, encoding: Encoding) -> ControlFlow<()> {
        self.read.records += 1;
        self.read.bytes += payload.len() as u64;
        (self.each)(RawRecord {
            payload,
            received: self.options.received,
            listener: LISTENER,
            peer: &self.file.name,
            sender: "",
            dataset: self.options.dataset,
            namespace: self.options.namespace,
            position: Some(position),
            encoding,
        })
    }

    fn problem(&mut self, place: Place, message: impl Into<String>) {
        if self.read.problems.len() >= PROBLEMS_MAX {
            self.read.problems_more += 1;
            return;
        }
        let (file, message) = (self.file.name.clone(), message.into());
        self.read.problems.push(Problem { file, place, message });
    }

    /// The file's name without the ending of a compression, lower case.
    fn plain_name(&self) -> String {
        let name = self.file.name.to_ascii_lowercase();
        [".gz", ".zst", ".gzip", ".zstd"]
            .iter()
            .find_map(|ending| name.strip_suffix(ending))
            .map_or(name.clone(), str::to_owned)
    }
}

/// Unpacks if that is needed, and reads what is inside.
fn content(source: &mut dyn Read, reading: &mut Reading<'_>) -> ControlFlow<()> {
    let head = match sniff(source) {
        Ok(head) => head,
        Err(error) => {
            reading.problem(Place::File, format!("cannot be read: {error}"));
            return ControlFlow::Continue(());
        }
    };
    let mut whole = head.as_slice().chain(source);
    let mut unpacked: Box<dyn Read + '_> = match head.as_slice() {
        [0x1f, 0x8b, ..] => {
            Box::new(MultiGzDecoder::new(BufReader::with_capacity(READ_BYTES, whole)))
        }
        // A frame, or a frame to skip as `pzstd` begins with.
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => {
            match zstd::stream::read::Decoder::new(whole) {
                Ok(decoder) => Box::new(decoder),
                Err(error) => {
                    reading.problem(Place::File, format!("cannot be unpacked: {error}"));
                    return ControlFlow::Continue(());
                }
            }
        }
        _ => return plain(&mut whole, &head, reading),
    };
    match sniff(&mut *unpacked) {
        Ok(head) => plain(&mut head.as_slice().chain(unpacked), &head, reading),
        Err(error) => {
            reading.problem(Place::Byte(0), format!("cannot be unpacked: {error}"));
            ControlFlow::Continue(())
        }
    }
}

/// What must be read as a whole, by the first bytes of a file: it is not lines that can be followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whole {
    /// gzip or zstd.
    Compressed,
    /// A Windows event log.
    Evtx,
}

impl Whole {
    /// What these first bytes say.
    pub(crate) fn of(head: &[u8]) -> Option<Whole> {
        match head {
            [0x1f, 0x8b, ..]
            | [0x28, 0xb5, 0x2f, 0xfd, ..]
            | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Some(Whole::Compressed),
            _ if head.starts_with(evtx::MAGIC) => Some(Whole::Evtx),
            _ => None,
        }
    }
}

/// Unpacks what is gzip or zstd.
pub(crate) fn unpack(source: std::fs::File) -> io::Result<Box<dyn Read>> {
    let mut source = source;
    let head = sniff(&mut source)?;
    let is_gzip = head.starts_with(&[0x1f, 0x8b]);
    let whole = io::Cursor::new(head).chain(source);
    if is_gzip {
        return Ok(Box::new(MultiGzDecoder::new(BufReader::with_capacity(READ_BYTES, whole))));
    }
    Ok(Box::new(zstd::stream::read::Decoder::new(whole)?))
}

/// Reads what is not compressed, or not any more.
fn plain(source: &mut dyn Read, head: &[u8], reading: &mut Reading<'_>) -> ControlFlow<()> {
    let name = reading.plain_name();
    let is_text_by_name = [".json", ".jsonl", ".ndjson", ".log", ".txt", ".csv"]
        .iter()
        .any(|ending| name.ends_with(ending));
    if head.starts_with(evtx::MAGIC) {
        return evtx::read(source, reading);
    }
    if name.ends_with(".evtx") {
        let what = if head.is_empty() { "it is empty" } else { "it does not begin as one" };
        reading.problem(Place::File, format!("is no EVTX file: {what}"));
        return ControlFlow::Continue(());
    }
    let wide = text::Wide::of(head);
    if let Some(what) = unreadable(head).filter(|_| wide.is_none()) {
        reading.problem(Place::File, format!("{what}; not read"));
        return ControlFlow::Continue(());
    }
    if wide.is_none() && !is_text_by_name && memchr::memchr(0, head).is_some() {
        reading.problem(
            Place::File,
            "is binary and in no form that is known; not read (if it is text, name it `.log`)",
        );
        return ControlFlow::Continue(());
    }
    text::read(source, wide, reading)
}

/// Forms that people have logs in and that must be unpacked by hand.
fn unreadable(head: &[u8]) -> Option<&'static str> {
    let known: [(&[u8], &str); 7] = [
        (b"PK\x03\x04", "is a zip archive: unpack it first"),
        (b"\xfd7zXZ\0", "is xz: unpack it first"),
        (b"BZh9", "is bzip2: unpack it first"),
        (b"7z\xbc\xaf\x27\x1c", "is a 7z archive: unpack it first"),
        (b"PAR1", "is Parquet: convert it to JSON lines first"),
        (b"\x1f\x8b", "is compressed twice: unpack it once"),
        (b"LPKSHHRH", "is a binary journal of systemd: use `journalctl -o json` first"),
    ];
    known.iter().find(|(magic, _)| head.starts_with(magic)).map(|&(_, what)| what)
}

/// The first bytes of a source: what one read gives, if that tells what it is. A pipe that is slow
/// is not waited for longer.
fn sniff(source: &mut dyn Read) -> io::Result<Vec<u8>> {
    let mut head = vec![0; SNIFF_BYTES];
    let mut length = 0;
    while length < MAGIC_BYTES_MAX {
        match source.read(head.get_mut(length..).unwrap_or_default()) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if length == 0 => return Err(error),
            // It comes again when the rest is read, and what came before it is read first.
            Err(_) => break,
        }
    }
    head.truncate(length);
    Ok(head)
}
