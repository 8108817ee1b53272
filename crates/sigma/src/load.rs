//! Reads rule files and folders of them.
//!
//! Files come in the order of their paths, so that two runs over the same tree give the same
//! rules in the same order. What can't be read is a diagnostic and never stops the rest. Links to
//! folders are not followed: a rule tree that loops should not hang a server.

use std::fs;
use std::path::{Path, PathBuf};

use crate::diagnostic::{Code, Diagnostic, Span};
use crate::documents::{Document, parse_documents};
use crate::yaml::FILE_BYTES_MAX;

/// The most files of one load, so that a wrong path such as `/` ends.
pub const FILES_MAX: usize = 200_000;
/// The most nested folders.
pub const FOLDER_DEPTH_MAX: usize = 32;

/// What was loaded.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The documents without a fault, in the order of their files.
    pub documents: Vec<Document>,
    /// What is wrong with the others.
    pub diagnostics: Vec<Diagnostic>,
    /// How many files were read.
    pub files: usize,
}

/// How the names of a rule's tests end; such files lie beside the rules and are none.
const TEST_ENDINGS: [&str; 2] = [".test.yml", ".test.yaml"];

/// Loads files, and folders recursively (`.yml` and `.yaml`). A file that is named itself is read
/// whatever its extension.
pub fn load<P: AsRef<Path>>(paths: &[P]) -> Loaded {
    let (files, diagnostics) = list_files(paths);
    let mut loaded = Loaded { diagnostics, ..Loaded::default() };
    for file in files {
        loaded.files += 1;
        match read_file(&file) {
            Ok(text) => {
                let (mut documents, mut diagnostics) =
                    parse_documents(&text, &file.to_string_lossy());
                loaded.documents.append(&mut documents);
                loaded.diagnostics.append(&mut diagnostics);
            }
            Err(fault) => loaded.diagnostics.push(fault),
        }
    }
    loaded
}

/// The files that [`load`] reads, in its order, and what can't be listed.
pub fn list_files<P: AsRef<Path>>(paths: &[P]) -> (Vec<PathBuf>, Vec<Diagnostic>) {
    let mut files = Vec::new();
    let mut faults = Vec::new();
    for path in paths {
        let mut found = Vec::new();
        let path = path.as_ref();
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => list(path, 0, &mut found, &mut faults),
            Ok(_) => found.push(path.to_owned()),
            Err(error) => faults.push(unreadable(path, &error)),
        }
        found.sort();
        files.append(&mut found);
    }
    (files, faults)
}

/// The text of a rule file, or why it can't be read.
pub fn read_file(path: &Path) -> Result<String, Diagnostic> {
    let bytes = match read_bounded(path) {
        Ok(Some(bytes)) => bytes,
        Ok(None) => {
            let message = format!("the file has more than {FILE_BYTES_MAX} bytes");
            return Err(fault(path, Code::TooLarge, message));
        }
        Err(error) => return Err(unreadable(path, &error)),
    };
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        fault(path, Code::Unreadable, format!("the file is not UTF-8 (at byte {valid})"))
    })
}

impl Loaded {
    /// The rules among the documents.
    pub fn rules(&self) -> impl Iterator<Item = &crate::Rule> {
        self.documents.iter().filter_map(Document::as_rule)
    }
}

fn unreadable(path: &Path, error: &std::io::Error) -> Diagnostic {
    fault(path, Code::Unreadable, format!("the file can't be read: {error}"))
}

fn fault(path: &Path, code: Code, message: String) -> Diagnostic {
    Diagnostic::error(code, Span::default(), message).in_file(&path.to_string_lossy())
}

fn read_bounded(path: &Path) -> std::io::Result<Option<Vec<u8>>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() <= FILE_BYTES_MAX).then_some(bytes))
}

fn is_rule_file(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let is_yaml = name.ends_with(".yml") || name.ends_with(".yaml");
    is_yaml && !TEST_ENDINGS.iter().any(|ending| name.ends_with(ending))
}

fn list(folder: &Path, depth: usize, files: &mut Vec<PathBuf>, faults: &mut Vec<Diagnostic>) {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => return faults.push(unreadable(folder, &error)),
    };
    for entry in entries {
        let (path, kind) = match entry.and_then(|entry| Ok((entry.path(), entry.file_type()?))) {
            Ok(entry) => entry,
            Err(error) => {
                faults.push(unreadable(folder, &error));
                continue;
            }
        };
        if kind.is_dir() {
            if depth == FOLDER_DEPTH_MAX {
                let message = format!("folders are nested deeper than {FOLDER_DEPTH_MAX}");
                faults.push(fault(&path, Code::TooLarge, message));
            } else {
                list(&path, depth + 1, files, faults);
            }
        } else if is_rule_file(&path) {
            if files.len() == FILES_MAX {
                let message =
                    format!("there are more than {FILES_MAX} files; the rest is left out");
                return faults.push(fault(&path, Code::TooLarge, message));
            }
            files.push(path);
        }
    }
}
