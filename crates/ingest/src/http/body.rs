//! A request's body, unpacked piece by piece as it arrives, within limits.

use std::fmt::Display;
use std::future::poll_fn;
use std::io::{self, Write};
use std::pin::Pin;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::HeaderMap;
use axum::http::header::CONTENT_ENCODING;
use flate2::write::{MultiGzDecoder, ZlibDecoder};

use super::{HttpLimits, Refusal};

/// The largest window of a zstd frame, as a power of two: 8 MiB, which RFC 9659 sets for HTTP.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// Below so many bytes the ratio of a compressed body does not matter: there is no harm in it.
const RATIO_FREE_BYTES: u64 = 16 * 1024 * 1024;

/// What takes a body.
pub(super) trait Sink {
    /// Takes the next bytes.
    fn take(&mut self, bytes: &[u8]) -> Result<(), Refusal>;

    /// Where in the body it is, for messages.
    fn place(&self) -> String {
        String::new()
    }
}

/// Gives a body to a sink, unpacked, and returns the sink.
pub(super) async fn receive<S: Sink>(
    body: Body,
    headers: &HeaderMap,
    limits: &HttpLimits,
    sink: S,
) -> Result<S, Refusal> {
    let coding = Coding::of(headers)?;
    let receiving = pump(body, coding.unpacker(Measured::new(sink, *limits))?);
    tokio::time::timeout(limits.body_wait_max, receiving)
        .await
        .map_err(|_| {
            Refusal::Slow(format!(
                "the body did not arrive within {} s; nothing is stored",
                limits.body_wait_max.as_secs()
            ))
        })?
        .map_err(|refusal| refusal.told("Nothing of it is stored"))
}

async fn pump<S: Sink>(mut body: Body, mut unpacker: Unpacker<S>) -> Result<S, Refusal> {
    let limit = unpacker.measured().limits.body_bytes_max;
    let named = body.size_hint().exact();
    if named.is_some_and(|bytes| bytes > limit as u64) {
        return Err(too_large(limit));
    }
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        let frame = frame.map_err(|error| {
            let sent = unpacker.measured().sent_bytes;
            Refusal::Wrong(format!("the body ended early, after {sent} bytes: {error}"))
        })?;
        if let Ok(bytes) = frame.into_data() {
            unpacker = match unpacker {
                Unpacker::Identity(measured) if measured.sent_bytes == 0 => {
                    Coding::seen_in(&bytes).unpacker(measured)?
                }
                known => known,
            };
            unpacker.write(&bytes)?;
        }
    }
    unpacker.finish()
}

fn too_large(limit: usize) -> Refusal {
    Refusal::TooLarge(format!("the body has more than {limit} bytes; send it in smaller parts"))
}

/// How a body is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coding {
    Identity,
    Gzip,
    Deflate,
    Zstd,
}

impl Coding {
    pub(super) fn of(headers: &HeaderMap) -> Result<Coding, Refusal> {
        let mut codings = headers
            .get_all(CONTENT_ENCODING)
            .iter()
            .flat_map(|value| value.to_str().unwrap_or("?").split(','))
            .map(|coding| coding.trim().to_ascii_lowercase())
            // Loki's clients name snappy, which is a part of its format; it is opened there.
            .filter(|coding| !matches!(coding.as_str(), "" | "identity" | "snappy"));
        let coding = match codings.next().as_deref() {
            None => Coding::Identity,
            Some("gzip" | "x-gzip") => Coding::Gzip,
            Some("deflate") => Coding::Deflate,
            Some("zstd") => Coding::Zstd,
            Some(other) => {
                return Err(Refusal::Encoding(format!(
                    "`Content-Encoding: {other}` is not read; send `gzip`, `zstd` or none"
                )));
            }
        };
        if codings.next().is_some() {
            return Err(Refusal::Encoding("a body that is encoded twice is not read".into()));
        }
        Ok(coding)
    }

    /// What a body is that names no encoding: `curl --data-binary @app.ndjson.gz` names none, and
    /// no text begins like this.
    fn seen_in(bytes: &[u8]) -> Coding {
        match bytes {
            [0x1f, 0x8b, 0x08, ..] => Coding::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Coding::Zstd,
            _ => Coding::Identity,
        }
    }

    /// What unpacks it into a sink.
    pub(super) fn unpacker<S: Sink>(self, measured: Measured<S>) -> Result<Unpacker<S>, Refusal> {
        Ok(match self {
            Coding::Identity => Unpacker::Identity(measured),
            Coding::Gzip => Unpacker::Gzip(MultiGzDecoder::new(measured)),
            Coding::Deflate => Unpacker::Deflate(ZlibDecoder::new(measured)),
            Coding::Zstd => {
                let memory = |error| Refusal::Wrong(format!("zstd can't be read now: {error}"));
                let mut decoder = zstd::stream::write::Decoder::new(measured).map_err(memory)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(memory)?;
                Unpacker::Zstd(decoder)
            }
        })
    }
}

/// Unpacks what is written into it.
pub(super) enum Unpacker<S: Sink> {
    Identity(Measured<S>),
    Gzip(MultiGzDecoder<Measured<S>>),
    Deflate(ZlibDecoder<Measured<S>>),
    Zstd(zstd::stream::write::Decoder<'static, Measured<S>>),
}

impl<S: Sink> Unpacker<S> {
    fn measured(&mut self) -> &mut Measured<S> {
        match self {
            Unpacker::Identity(measured) => measured,
            Unpacker::Gzip(decoder) => decoder.get_mut(),
            Unpacker::Deflate(decoder) => decoder.get_mut(),
            Unpacker::Zstd(decoder) => decoder.get_mut(),
        }
    }

    /// What takes the unpacked bytes.
    pub(super) fn sink(&mut self) -> &mut S {
        &mut self.measured().sink
    }

    /// Takes a part of the body as it was sent.
    pub(super) fn write(&mut self, bytes: &Bytes) -> Result<(), Refusal> {
        let measured = self.measured();
        measured.sent_bytes += bytes.len() as u64;
        if measured.sent_bytes > measured.limits.body_bytes_max as u64 {
            return Err(too_large(measured.limits.body_bytes_max));
        }
        let written = match self {
            Unpacker::Identity(measured) => measured.write_all(bytes),
            Unpacker::Gzip(decoder) => decoder.write_all(bytes),
            Unpacker::Deflate(decoder) => decoder.write_all(bytes),
            Unpacker::Zstd(decoder) => decoder.write_all(bytes),
        };
        written.map_err(|error| self.refusal(&error))
    }

    /// Gives the sink all that has come, where the unpacker holds it back until more comes.
    pub(super) fn flush(&mut self) -> Result<(), Refusal> {
        let flushed = match self {
            Unpacker::Identity(measured) => measured.flush(),
            Unpacker::Gzip(decoder) => decoder.flush(),
            Unpacker::Deflate(decoder) => decoder.flush(),
            Unpacker::Zstd(decoder) => decoder.flush(),
        };
        flushed.map_err(|error| self.refusal(&error))
    }

    /// The body has ended.
    pub(super) fn finish(mut self) -> Result<S, Refusal> {
        let finished = match &mut self {
            Unpacker::Identity(_) => Ok(()),
            Unpacker::Gzip(decoder) => decoder.try_finish(),
            Unpacker::Deflate(decoder) => decoder.try_finish(),
            Unpacker::Zstd(decoder) => decoder.do_finish(),
        };
        finished.map_err(|error| self.refusal(&error))?;
        let measured = match self {
            Unpacker::Identity(measured) => measured,
            // They have finished already; this only takes them apart.
            Unpacker::Gzip(decoder) => decoder.finish().map_err(|error| unpackable(&error))?,
            Unpacker::Deflate(decoder) => decoder.finish().map_err(|error| unpackable(&error))?,
            Unpacker::Zstd(decoder) => decoder.into_inner(),
        };
        Ok(measured.sink)
    }

    /// Why a write failed: what the sink says, or else the bytes can't be unpacked.
    fn refusal(&mut self, error: &io::Error) -> Refusal {
        let measured = self.measured();
        measured.refusal.take().unwrap_or_else(|| {
            let (sent, unpacked) = (measured.sent_bytes, measured.unpacked_bytes);
            let place = measured.sink.place();
            unpackable(&format_args!(
                "{error}, within its first {sent} bytes as sent, after {unpacked} bytes as unpacked{place}"
            ))
        })
    }
}

fn unpackable(error: &dyn Display) -> Refusal {
    Refusal::Wrong(format!("the body can't be unpacked: {error}"))
}

/// Counts unpacked bytes before the sink takes them.
pub(super) struct Measured<S> {
    sink: S,
    limits: HttpLimits,
    sent_bytes: u64,
    unpacked_bytes: u64,
    /// Why a write failed, when it was not for the bytes.
    refusal: Option<Refusal>,
}

impl<S: Sink> Write for Measured<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.take(bytes) {
            Ok(()) => Ok(bytes.len()),
            Err(refusal) => {
                self.refusal = Some(refusal);
                Err(io::Error::other("refused"))
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<S: Sink> Measured<S> {
    pub(super) fn new(sink: S, limits: HttpLimits) -> Self {
        Measured { sink, limits, sent_bytes: 0, unpacked_bytes: 0, refusal: None }
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        self.unpacked_bytes += bytes.len() as u64;
        let HttpLimits { body_bytes_max, ratio_max, .. } = self.limits;
        if self.unpacked_bytes > body_bytes_max as u64 {
            return Err(too_large(body_bytes_max));
        }
        if self.unpacked_bytes > RATIO_FREE_BYTES
            && self.unpacked_bytes > self.sent_bytes.saturating_mul(ratio_max)
        {
            return Err(Refusal::TooLarge(format!(
                "the body unpacks to more than {ratio_max} times its size, which no logs do; send it less compressed"
            )));
        }
        self.sink.take(bytes)
    }
}
