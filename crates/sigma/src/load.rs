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

/// Loads files, and folders recursively (`.yml` and `.yaml`). A file that is named itself is read
/// whatever its extension.
pub fn load<P: AsRef<Path>>(paths: &[P]) -> Loaded {
    let mut loaded = Loaded::default();
    let mut files = Vec::new();
    for path in paths {
        let mut found = Vec::new();
        let path = path.as_ref();
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => list(path, 0, &mut found, &mut loaded),
            Ok(_) => found.push(path.to_owned()),
            Err(error) => loaded.unreadable(path, &error),
        }
        found.sort();
        files.append(&mut found);
    }
    for file in files {
        loaded.read(&file);
    }
    loaded
}

impl Loaded {
    /// The rules among the documents.
    pub fn rules(&self) -> impl Iterator<Item = &crate::Rule> {
        self.documents.iter().filter_map(Document::as_rule)
    }

    fn read(&mut self, path: &Path) {
        self.files += 1;
        let name = path.to_string_lossy();
        let bytes = match read_bounded(path) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => {
                let message = format!("the file has more than {FILE_BYTES_MAX} bytes");
                return self.fault(path, Code::TooLarge, message);
            }
            Err(error) => return self.unreadable(path, &error),
        };
        match String::from_utf8(bytes) {
            Ok(text) => {
                let (mut documents, mut diagnostics) = parse_documents(&text, &name);
                self.documents.append(&mut documents);
                self.diagnostics.append(&mut diagnostics);
            }
            Err(error) => {
                let valid = error.utf8_error().valid_up_to();
                let message = format!("the file is not UTF-8 (at byte {valid})");
                self.fault(path, Code::Unreadable, message);
            }
        }
    }

    fn unreadable(&mut self, path: &Path, error: &std::io::Error) {
        self.fault(path, Code::Unreadable, format!("the file can't be read: {error}"));
    }

    fn fault(&mut self, path: &Path, code: Code, message: String) {
        let diagnostic = Diagnostic::error(code, Span::default(), message);
        self.diagnostics.push(diagnostic.in_file(&path.to_string_lossy()));
    }
}

fn read_bounded(path: &Path) -> std::io::Result<Option<Vec<u8>>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(FILE_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() <= FILE_BYTES_MAX).then_some(bytes))
}

fn list(folder: &Path, depth: usize, files: &mut Vec<PathBuf>, loaded: &mut Loaded) {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => return loaded.unreadable(folder, &error),
    };
    for entry in entries {
        let (path, kind) = match entry.and_then(|entry| Ok((entry.path(), entry.file_type()?))) {
            Ok(entry) => entry,
            Err(error) => {
                loaded.unreadable(folder, &error);
                continue;
            }
        };
        if kind.is_dir() {
            if depth == FOLDER_DEPTH_MAX {
                let message = format!("folders are nested deeper than {FOLDER_DEPTH_MAX}");
                loaded.fault(&path, Code::TooLarge, message);
            } else {
                list(&path, depth + 1, files, loaded);
            }
        } else if path
            .extension()
            .is_some_and(|extension| extension == "yml" || extension == "yaml")
        {
            if files.len() == FILES_MAX {
                let message =
                    format!("there are more than {FILES_MAX} files; the rest is left out");
                return loaded.fault(&path, Code::TooLarge, message);
            }
            files.push(path);
        }
    }
}
