//! The handshake of the forward protocol: each side proves that it knows the shared key, without
//! saying it. We send HELO with a nonce; the client's PING has a digest of its salt, its name, our
//! nonce and the key; our PONG answers with a digest of its salt, our name, the nonce and the key.
//!
//! Whose secret the key is tells who sends. There are no user names beside it: the protocol has
//! them on top of a shared key, and here each sender has a key of its own.

use std::fmt::Write;

use rmp::encode::{write_array_len, write_bin, write_bool, write_map_len, write_str};
use sha2::{Digest, Sha512};
use subtle::{Choice, ConstantTimeEq};

use super::msgpack::{Reader, Value};
use crate::metrics;
use crate::protocol::{Turn, Violation};

/// The largest message before the sender is known, in bytes. A PING has about 300; its salt is
/// hashed with every secret.
pub(super) const MESSAGE_BYTES_MAX: usize = 4096;

/// Our name in the handshake. Clients refuse a server that has the same name as they.
const NAME: &str = "watchpost";

const NONCE_BYTES: usize = 16;

/// A handshake that is under way.
#[derive(Debug)]
pub(super) struct Handshake {
    nonce: [u8; NONCE_BYTES],
}

impl Handshake {
    /// Sends HELO.
    pub(super) fn begin(turn: &mut Turn<'_>) -> Self {
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut nonce).expect("the system gives random bytes");
        let helo = written(|out| {
            write_array_len(out, 2)?;
            write_str(out, "HELO")?;
            write_map_len(out, 3)?;
            write_str(out, "nonce")?;
            write_bin(out, &nonce)?;
            // No user names are asked for.
            write_str(out, "auth")?;
            write_bin(out, b"")?;
            write_str(out, "keepalive")?;
            write_bool(out, true).map_err(rmp::encode::ValueWriteError::InvalidMarkerWrite)
        });
        turn.answer(&helo);
        Handshake { nonce }
    }

    /// Takes PING, and sends PONG.
    ///
    /// # Errors
    /// When it is no PING, or its digest was made of nobody's secret.
    pub(super) fn ping(&self, message: &[u8], turn: &mut Turn<'_>) -> Result<(), Violation> {
        let Some([name, salt, offered]) = read_ping(message) else {
            return Err(denied(
                "it does not begin with PING: a shared key is asked for; set `shared_key` in its configuration",
            ));
        };
        let proof = |secret: &[u8]| -> Choice {
            digest(&[salt, name, &self.nonce, secret]).as_bytes().ct_eq(offered)
        };
        let found = turn.senders().by_proof(turn.peer().address, proof);
        let secret = found.as_ref().and_then(|sender| sender.secret());
        let (Some(sender), Some(secret)) = (&found, secret) else {
            turn.answer(&pong(false, "shared_key mismatch", ""));
            return Err(denied(
                "the shared key is of no sender; see `secret_file` and `addresses` in `[[senders]]`",
            ));
        };
        let ours = digest(&[salt, NAME.as_bytes(), &self.nonce, secret]);
        turn.answer(&pong(true, "", &ours));
        turn.identify(sender.clone());
        Ok(())
    }
}

fn denied(text: &str) -> Violation {
    metrics::DENIED.with_label_values(&["credentials"]).inc();
    Violation::denied(text)
}

/// The name, the salt and the digest in `["PING", name, salt, digest, user, password]`.
fn read_ping(message: &[u8]) -> Option<[&[u8]; 3]> {
    let mut reader = Reader::new(message);
    let Ok(Value::Array(4..)) = reader.read() else { return None };
    let mut text = || reader.read().ok().and_then(Value::bytes);
    if text()? != b"PING" {
        return None;
    }
    Some([text()?, text()?, text()?])
}

fn pong(is_known: bool, reason: &str, digest: &str) -> Vec<u8> {
    written(|out| {
        write_array_len(out, 5)?;
        write_str(out, "PONG")?;
        write_bool(out, is_known).map_err(rmp::encode::ValueWriteError::InvalidMarkerWrite)?;
        write_str(out, reason)?;
        write_str(out, NAME)?;
        write_str(out, digest)
    })
}

/// The bytes that this writes.
fn written(
    write: impl FnOnce(&mut Vec<u8>) -> Result<(), rmp::encode::ValueWriteError>,
) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out).expect("memory takes what it is given");
    out
}

/// SHA-512 of these parts, one after the other, in hexadecimal.
pub(super) fn digest(parts: &[&[u8]]) -> String {
    let mut hash = Sha512::new();
    for part in parts {
        hash.update(part);
    }
    hash.finalize().iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes what it is given");
        text
    })
}
