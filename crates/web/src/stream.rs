//! Answers that are written while they are read: the body of a response, fed from another thread.
//!
//! The channel is short, so who writes waits for who reads, and learns when nobody does any more: the
//! body is dropped with the connection.

use std::io::{Error, ErrorKind, Write};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::Frame;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::search::CancelOnDrop;

/// How many pieces wait to be read.
const PIECES_WAITING: usize = 8;

/// The length of a piece; larger ones make it no faster.
const PIECE_BYTES: usize = 64 * 1024;

/// How long a reader may take nothing before its answer ends: a stalled one would hold a place for ever.
const STALL_MAX: Duration = Duration::from_secs(60);

/// How often a waiting writer looks whether there is room.
const LOOK_EVERY: Duration = Duration::from_millis(5);

type Piece = Result<Bytes, Error>;

/// Where an answer is written, from a thread that may block.
pub(crate) struct Output {
    pieces: Sender<Piece>,
    buffer: Vec<u8>,
}

/// A body and what it is fed with. When the body is dropped, `gone` is.
pub(crate) fn body(gone: Option<CancelOnDrop>) -> (Output, Body) {
    let (pieces, waiting) = channel(PIECES_WAITING);
    let body = Body::new(Fed { waiting, _gone: gone });
    (Output { pieces, buffer: Vec::new() }, body)
}

impl Output {
    /// Whether nobody reads any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.pieces.is_closed()
    }

    /// Breaks the answer off, so that its reader cannot take it for whole.
    pub(crate) fn fail(mut self, reason: &dyn std::fmt::Display) {
        // It may be gone, and then needs no word.
        self.send(Err(Error::other(reason.to_string()))).ok();
    }

    fn send(&mut self, piece: Piece) -> Result<(), Error> {
        let mut piece = piece;
        let since = Instant::now();
        loop {
            match self.pieces.try_send(piece) {
                Ok(()) => return Ok(()),
                Err(TrySendError::Closed(_)) => return Err(ErrorKind::BrokenPipe.into()),
                Err(TrySendError::Full(_)) if since.elapsed() >= STALL_MAX => {
                    let text = format!("the reader took nothing for {STALL_MAX:?}");
                    return Err(Error::new(ErrorKind::TimedOut, text));
                }
                Err(TrySendError::Full(back)) => piece = back,
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Error> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= PIECE_BYTES {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<(), Error> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let piece = Bytes::from(std::mem::take(&mut self.buffer));
        self.send(Ok(piece))
    }
}

struct Fed {
    waiting: Receiver<Piece>,
    _gone: Option<CancelOnDrop>,
}

impl HttpBody for Fed {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        self.waiting.poll_recv(context).map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }
}
