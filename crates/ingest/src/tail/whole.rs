//! Files that are read as a whole: what is compressed, and Windows event logs.
//!
//! A thread of their own reads them, a bounded step ahead, so that a large archive does not keep
//! the files waiting that are being written.

use std::fs::File;
use std::io::Read;
use std::ops::ControlFlow;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

use event::Timestamp;
use event::raw::Encoding;

use super::place::{Place, STAMP_BYTES, Stamp};
use crate::files::{self, FileRead, ReadOptions, Whole};

/// Records are handed over in portions of about this size.
const PORTION_BYTES: usize = 256 * 1024;

/// How many portions are read ahead.
const PORTIONS_MAX: usize = 4;

/// How long a portion is waited for before other files get their turn.
const PORTION_WAIT: Duration = Duration::from_millis(5);

/// A file under way.
#[derive(Debug)]
pub(super) struct WholeReader {
    pub(super) file: u64,
    portions: Receiver<Message>,
    /// How large the file was when it was begun.
    pub(super) size: u64,
    /// The highest record id of this reading.
    pub(super) record_id: u64,
}

/// Some records.
#[derive(Debug, Default)]
pub(super) struct Portion {
    bytes: Vec<u8>,
    /// End in `bytes`, position, encoding.
    records: Vec<(usize, u64, Encoding)>,
}

#[derive(Debug)]
enum Message {
    Portion(Portion),
    End(FileRead),
}

/// What comes next of a file.
#[derive(Debug)]
pub(super) enum Next {
    Portion(Portion),
    NotYet,
    End(FileRead),
}

impl WholeReader {
    /// Begins a file. Records that are done are left out.
    pub(super) fn start(
        file: u64,
        source: File,
        name: &str,
        size: u64,
        kind: Whole,
        place: Place,
        line_bytes_max: usize,
    ) -> std::io::Result<WholeReader> {
        let (sender, portions) = sync_channel(PORTIONS_MAX);
        let name = name.to_owned();
        // An event log that has wrapped around is not in the order of its ids: what an earlier
        // reading had is known by id, what this one had by count.
        let id_done = if kind == Whole::Evtx { place.record_id } else { 0 };
        thread::Builder::new().name("tail-whole".to_owned()).spawn(move || {
            send(source, &name, line_bytes_max, place.records, id_done, &sender);
        })?;
        Ok(WholeReader { file, portions, size, record_id: place.record_id })
    }

    pub(super) fn next(&self) -> Next {
        match self.portions.recv_timeout(PORTION_WAIT) {
            Ok(Message::Portion(portion)) => Next::Portion(portion),
            Ok(Message::End(read)) => Next::End(read),
            Err(RecvTimeoutError::Timeout) => Next::NotYet,
            // The readers catch their parsers' panics; should one come through, the file is over.
            Err(RecvTimeoutError::Disconnected) => Next::End(FileRead::default()),
        }
    }
}

impl Portion {
    pub(super) fn iter(&self) -> impl Iterator<Item = (&[u8], u64, Encoding)> {
        let mut from = 0;
        self.records.iter().map(move |&(end, position, encoding)| {
            let payload = self.bytes.get(from..end).unwrap_or_default();
            from = end;
            (payload, position, encoding)
        })
    }
}

fn send(
    mut source: File,
    name: &str,
    line_bytes_max: usize,
    records_done: u64,
    id_done: u64,
    sender: &SyncSender<Message>,
) {
    let options = ReadOptions { line_bytes_max, ..ReadOptions::new(Timestamp::EPOCH) };
    let file = files::File::new(name, 0);
    let (mut portion, mut count) = (Portion::default(), 0);
    let read = files::read_from(&mut source, &file, &options, &mut |record| {
        let position = record.position.unwrap_or_default();
        if id_done > 0 && position <= id_done {
            return ControlFlow::Continue(());
        }
        count += 1;
        if count <= records_done {
            return ControlFlow::Continue(());
        }
        portion.bytes.extend_from_slice(record.payload);
        portion.records.push((portion.bytes.len(), position, record.encoding));
        if portion.bytes.len() < PORTION_BYTES {
            return ControlFlow::Continue(());
        }
        // Nobody wants it any more after a stop.
        match sender.send(Message::Portion(std::mem::take(&mut portion))) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    });
    if sender.send(Message::Portion(portion)).is_ok() {
        sender.send(Message::End(read)).ok();
    }
}

/// Whether a compressed file holds just the text that was read up to this place, and no more.
pub(super) fn holds(source: File, place: &Place) -> std::io::Result<bool> {
    let mut text = files::unpack(source)?;
    let mut last: Vec<u8> = Vec::with_capacity(2 * STAMP_BYTES);
    let mut buffer = vec![0; PORTION_BYTES];
    let mut length = 0_u64;
    loop {
        let read = text.read(&mut buffer)?;
        let portion = buffer.get(..read).unwrap_or_default();
        if read == 0 {
            break;
        }
        let knew_head = length >= place.head.bytes;
        length += read as u64;
        last.extend_from_slice(portion);
        if !knew_head && length >= place.head.bytes {
            // Whatever is in `last` begins with the text: it is not cut before the head is known.
            let head = last.get(..place.head.bytes as usize).unwrap_or_default();
            if Stamp::of(head) != place.head {
                return Ok(false);
            }
        }
        if length > place.position {
            return Ok(false);
        }
        if length >= place.head.bytes {
            let old = last.len().saturating_sub(STAMP_BYTES);
            last.drain(..old);
        }
    }
    let before = last.len().saturating_sub(place.before.bytes as usize);
    Ok(length == place.position
        && Stamp::of(last.get(before..).unwrap_or_default()) == place.before)
}
