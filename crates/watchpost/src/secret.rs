//! Secrets in the data folder: made once, of the system's random source, for their owner's eyes.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::engine::{EngineError, io};

/// The bytes of the access token.
pub(crate) const TOKEN_BYTES: usize = 32;

/// The bytes of the log's identity, which is a part of every event's id.
pub(crate) const LOG_ID_BYTES: usize = 4;

/// The bytes of the name that a process has among the copies on a cluster, if it has no other.
pub(crate) const INSTANCE_BYTES: usize = 4;

/// Reads a file of hexadecimal digits, or makes it from the system's random source, readable by
/// its owner only.
pub(crate) fn secret(path: &Path, bytes: usize) -> Result<String, EngineError> {
    match std::fs::read_to_string(path) {
        Ok(text) if text.trim().len() >= bytes * 2 => return Ok(text.trim().to_owned()),
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(source) => return Err(io("read", path)(source)),
    }
    let text = random(bytes).map_err(io("make", path))?;
    // Written beside and renamed, so that a crash leaves no half of it.
    let new = path.with_extension("new");
    std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&new)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        })
        .and_then(|()| std::fs::rename(&new, path))
        .map_err(io("write", path))?;
    Ok(text)
}

/// The bytes that so many hexadecimal digits are.
pub(crate) fn bytes_of<const N: usize>(digits: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    if digits.len() != N * 2 {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

/// So many bytes of the system's random source, as hexadecimal digits.
pub(crate) fn random(bytes: usize) -> std::io::Result<String> {
    let mut random = vec![0u8; bytes];
    getrandom::fill(&mut random).map_err(|error| std::io::Error::other(error.to_string()))?;
    Ok(random.iter().map(|byte| format!("{byte:02x}")).collect())
}
