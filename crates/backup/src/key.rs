//! The key of an encrypted backup: names that tell nothing, and pieces that cannot be changed.
//!
//! One key is given; three come of it by BLAKE3's key derivation: one for names, and for each sealed
//! piece one of its own, from a random salt that is stored with it. So no nonce is ever used twice,
//! and a nonce of zeros is right. What is sealed is bound to where it belongs (the name of the piece,
//! or of the backup), which a changed, exchanged or cut one does not fit.

use std::path::{Path, PathBuf};

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};

/// What a sealed piece begins with: the form and its version.
const FORM: &[u8; 4] = b"wpe1";

const SALT_BYTES: usize = 32;

/// What a piece grows by when it is sealed.
pub(crate) const SEAL_BYTES: usize = FORM.len() + SALT_BYTES + 16;

const NAMES: &str = "watchpost 2026-11 backup: names of pieces";
const PIECES: &str = "watchpost 2026-11 backup: keys of pieces";

/// A secret of 32 bytes.
#[derive(Clone)]
pub struct Key([u8; 32]);

/// Why a key is not taken, or does not open something.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Its file.
    #[error("cannot read the key of the backup in {}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// What is in the file.
    #[error(
        "{} holds no key: 64 hexadecimal digits are wanted (`openssl rand -hex 32` makes them)", .0.display()
    )]
    NotAKey(PathBuf),
    /// Others may read it.
    #[error("{} can be read by others; take that from them (chmod 600)", .0.display())]
    Exposed(PathBuf),
    /// There is no randomness to seal with.
    #[error("the system gives no random bytes: {0}")]
    Random(String),
    /// An encrypted backup without a key.
    #[error("the backup {0} is encrypted; name the file of its key with --key-file")]
    Missing(String),
    /// The key is another, or what was sealed is not what is read.
    #[error("{0} does not open: the key is another one, or it was changed")]
    DoesNotOpen(String),
}

impl std::fmt::Debug for Key {
    /// Never shows the secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(..)")
    }
}

impl Key {
    /// Reads a key from a file of 64 hexadecimal digits that only its owner may read.
    ///
    /// # Errors
    /// When it cannot be read, is no key, or others may read it.
    pub fn read(path: &Path) -> Result<Key, KeyError> {
        use std::os::unix::fs::PermissionsExt;
        let failed = |source| KeyError::Read { path: path.to_owned(), source };
        let mode = std::fs::metadata(path).map_err(failed)?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(KeyError::Exposed(path.to_owned()));
        }
        let text = std::fs::read_to_string(path).map_err(failed)?;
        Key::of_digits(text.trim()).ok_or_else(|| KeyError::NotAKey(path.to_owned()))
    }

    fn of_digits(digits: &str) -> Option<Key> {
        let mut key = [0; 32];
        if digits.len() != key.len() * 2 {
            return None;
        }
        for (byte, pair) in key.iter_mut().zip(digits.as_bytes().chunks(2)) {
            // Also `+f` would be read as a number.
            if !pair.iter().all(u8::is_ascii_hexdigit) {
                return None;
            }
            *byte = u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(Key(key))
    }

    /// The name of a piece under this key.
    pub(crate) fn name_of(&self, piece: &[u8]) -> String {
        let names = blake3::derive_key(NAMES, &self.0);
        blake3::keyed_hash(&names, piece).to_hex().to_string()
    }

    /// Encrypts a piece for the place where it belongs.
    pub(crate) fn seal(&self, place: &str, piece: &[u8]) -> Result<Vec<u8>, KeyError> {
        let mut salt = [0; SALT_BYTES];
        getrandom::fill(&mut salt).map_err(|error| KeyError::Random(error.to_string()))?;
        let mut body = Vec::with_capacity(piece.len() + SEAL_BYTES);
        body.extend_from_slice(piece);
        self.of_salt(&salt)
            .and_then(|key| key.seal_in_place_append_tag(zeros(), Aad::from(place), &mut body))
            .map_err(|_| KeyError::Random("a piece cannot be sealed".to_owned()))?;
        let mut sealed = Vec::with_capacity(body.len() + SEAL_BYTES);
        sealed.extend_from_slice(FORM);
        sealed.extend_from_slice(&salt);
        sealed.extend_from_slice(&body);
        Ok(sealed)
    }

    /// Decrypts what was sealed for this place; `None` if it is not that.
    pub(crate) fn open(&self, place: &str, sealed: &[u8]) -> Option<Vec<u8>> {
        let (salt, body) = sealed.strip_prefix(FORM)?.split_first_chunk::<SALT_BYTES>()?;
        let mut body = body.to_vec();
        let key = self.of_salt(salt).ok()?;
        let length = key.open_in_place(zeros(), Aad::from(place), &mut body).ok()?.len();
        body.truncate(length);
        Some(body)
    }

    fn of_salt(&self, salt: &[u8; SALT_BYTES]) -> Result<LessSafeKey, ring::error::Unspecified> {
        let mut material = [0; 64];
        let (secret, random) = material.split_at_mut(32);
        secret.copy_from_slice(&self.0);
        random.copy_from_slice(salt);
        let key = blake3::derive_key(PIECES, &material);
        Ok(LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, &key)?))
    }
}

/// Right because no key is used twice.
fn zeros() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_sealed_opens_for_its_place_and_key_only(
            piece in prop::collection::vec(any::<u8>(), 0..200),
            at in any::<prop::sample::Index>(),
            bit in 0..8u8,
        ) {
            let key = Key([7; 32]);
            let sealed = key.seal("a", &piece).unwrap();
            prop_assert_eq!(sealed.len(), piece.len() + SEAL_BYTES);
            prop_assert_eq!(key.open("a", &sealed), Some(piece.clone()));
            prop_assert_eq!(key.open("b", &sealed), None);
            prop_assert_eq!(Key([8; 32]).open("a", &sealed), None);
            let mut changed = sealed.clone();
            changed[at.index(sealed.len())] ^= 1 << bit;
            prop_assert_eq!(key.open("a", &changed), None);
            prop_assert_eq!(key.open("a", &sealed[..at.index(sealed.len())]), None);
            prop_assert_ne!(key.seal("a", &piece).unwrap(), sealed);
            prop_assert_ne!(key.name_of(&piece), blake3::hash(&piece).to_hex().to_string());
        }
    }

    #[test]
    fn a_key_is_64_digits_that_nobody_else_may_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let check = |text: &str, mode: u32| {
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            Key::read(&path)
        };
        let digits = "0123456789abcdef".repeat(4);
        assert!(check(&format!("{digits}\n"), 0o600).is_ok());
        assert!(matches!(check(&digits, 0o644), Err(KeyError::Exposed(_))));
        assert!(matches!(check(digits.get(1..).unwrap(), 0o600), Err(KeyError::NotAKey(_))));
        assert!(matches!(check(&digits.replace('f', "+"), 0o600), Err(KeyError::NotAKey(_))));
        assert_eq!(format!("{:?}", check(&digits, 0o400).unwrap()), "Key(..)");
    }
}
