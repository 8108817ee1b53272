//! The names that a sender chooses: dataset and namespace.
//!
//! They become parts of index names, state keys and access rules, so they are held to what Elastic's
//! data streams allow, and are checked where they come in. Inside, they are right.

use std::fmt;
use std::str::FromStr;

/// The longest name, in bytes; Elastic's limit for each part of a data stream's name.
pub(crate) const NAME_BYTES_MAX: usize = 100;

/// A dataset: parts of `a-z`, `0-9`, `_` (and `-` after the first), with dots between.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct DatasetName(String);

/// A namespace: `a-z`, `0-9`, `_`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Namespace(String);

/// Why a name is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Not a dataset.
    #[error(
        "`{0}` is no dataset name: use lower case letters, digits and `_`, in parts with dots between (`-` is allowed after the first dot), at most {NAME_BYTES_MAX} bytes, such as `nginx.access`"
    )]
    Dataset(String),
    /// Not a namespace.
    #[error(
        "`{0}` is no namespace: use lower case letters, digits and `_`, at most {NAME_BYTES_MAX} bytes"
    )]
    Namespace(String),
}

impl DatasetName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for DatasetName {
    type Err = NameError;

    fn from_str(name: &str) -> Result<Self, NameError> {
        let mut parts = name.split('.');
        let right = name.len() <= NAME_BYTES_MAX
            && parts.next().is_some_and(is_word)
            && parts.all(|part| {
                !part.is_empty() && part.bytes().all(|byte| is_word_byte(byte) || byte == b'-')
            });
        if right { Ok(DatasetName(name.to_owned())) } else { Err(NameError::Dataset(shown(name))) }
    }
}

impl fmt::Display for DatasetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Namespace {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Namespace {
    fn default() -> Self {
        Namespace(event::raw::NAMESPACE_DEFAULT.to_owned())
    }
}

impl FromStr for Namespace {
    type Err = NameError;

    fn from_str(name: &str) -> Result<Self, NameError> {
        if name.len() <= NAME_BYTES_MAX && is_word(name) {
            Ok(Namespace(name.to_owned()))
        } else {
            Err(NameError::Namespace(shown(name)))
        }
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_word(part: &str) -> bool {
    !part.is_empty() && part.bytes().all(is_word_byte)
}

fn is_word_byte(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_'
}

/// As much of a wrong name as an error repeats.
fn shown(name: &str) -> String {
    name.chars().take(NAME_BYTES_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let long = "a".repeat(100);
        for right in ["a", "nginx.access", "_x.y-z.0", "windows.sysmon_operational", &long] {
            assert_eq!(right.parse::<DatasetName>().unwrap().as_str(), right);
        }
        let too_long = "a".repeat(101);
        for wrong in ["", ".", "a.", ".a", "a..b", "A", "a-b", "a/b", "a b", "é", &too_long] {
            let error = wrong.parse::<DatasetName>().unwrap_err();
            assert!(error.to_string().contains("lower case letters"), "{error}");
        }
        assert_eq!("drill_1".parse::<Namespace>().unwrap().as_str(), "drill_1");
        for wrong in ["", "a.b", "a-b", "Ä", &too_long] {
            wrong.parse::<Namespace>().unwrap_err();
        }
    }
}
