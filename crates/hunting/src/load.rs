//! Reads hunt files and folders of them.
//!
//! What can't be read is a diagnostic and never stops the rest. Links to folders are not followed.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use sigma::{Code, Diagnostic, FOLDER_DEPTH_MAX, Span};

use crate::hunt::Hunt;
use crate::read::HUNT_BYTES_MAX;

/// The most files of one load, so that a wrong path such as `/` ends.
const FILES_MAX: usize = 10_000;

/// Hunts, and what is wrong with those that are missing among them.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The hunts without a fault, each id once, in the order of their files.
    pub hunts: Vec<Hunt>,
    /// The faults of the others.
    pub diagnostics: Vec<Diagnostic>,
    /// How many files were read.
    pub files: usize,
}

/// Loads files, and folders recursively (`.yml` and `.yaml`). A file that is named itself is read
/// whatever its ending.
pub fn load<P: AsRef<Path>>(paths: &[P]) -> Loaded {
    let mut loaded = Loaded::default();
    for path in paths {
        loaded.read(path.as_ref());
    }
    loaded
}

impl Loaded {
    /// The hunt with this id.
    pub fn find(&self, id: &str) -> Option<&Hunt> {
        self.hunts.iter().find(|hunt| hunt.id == id)
    }

    /// Adds the hunt of a text, such as one that the binary carries.
    pub fn add(&mut self, text: &str, file: &str) {
        self.files += 1;
        match Hunt::parse(text, file) {
            Err(faults) => self.diagnostics.extend(faults),
            Ok(hunt) => match self.find(&hunt.id) {
                None => self.hunts.push(hunt),
                Some(first) => {
                    let message = format!("there is a hunt with the id `{}` already", hunt.id);
                    let fault = Diagnostic::error(Code::DuplicateId, hunt.span, message)
                        .with_help(format!("it is in {}; give this one an `id`", first.file))
                        .in_file(file);
                    self.diagnostics.push(fault);
                }
            },
        }
    }

    /// Adds what a path holds.
    pub fn read(&mut self, path: &Path) {
        let mut files = Vec::new();
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => self.list(path, 0, &mut files),
            Ok(_) => files.push(path.to_owned()),
            Err(error) => self.unreadable(path, &error),
        }
        files.sort();
        for file in files {
            self.read_file(&file);
        }
    }

    fn read_file(&mut self, path: &Path) {
        let mut bytes = Vec::new();
        let read = fs::File::open(path)
            .and_then(|file| file.take(HUNT_BYTES_MAX as u64 + 1).read_to_end(&mut bytes));
        if let Err(error) = read {
            return self.unreadable(path, &error);
        }
        match String::from_utf8(bytes) {
            Ok(text) => self.add(&text, &path.to_string_lossy()),
            // A long file may be cut within a character.
            Err(error) if error.as_bytes().len() > HUNT_BYTES_MAX => {
                let message = format!("the file has more than {HUNT_BYTES_MAX} bytes");
                self.fault(path, Code::TooLarge, message);
            }
            Err(error) => {
                let valid = error.utf8_error().valid_up_to();
                let message = format!("the file is not UTF-8 (at byte {valid})");
                self.fault(path, Code::Unreadable, message);
            }
        }
    }

    fn list(&mut self, folder: &Path, depth: usize, files: &mut Vec<PathBuf>) {
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) => return self.unreadable(folder, &error),
        };
        for entry in entries {
            let (path, kind) = match entry.and_then(|entry| Ok((entry.path(), entry.file_type()?)))
            {
                Ok(entry) => entry,
                Err(error) => {
                    self.unreadable(folder, &error);
                    continue;
                }
            };
            let ending = path.extension().unwrap_or_default();
            if kind.is_dir() {
                if depth == FOLDER_DEPTH_MAX {
                    let message = format!("folders are nested deeper than {FOLDER_DEPTH_MAX}");
                    self.fault(&path, Code::TooLarge, message);
                } else {
                    self.list(&path, depth + 1, files);
                }
            } else if ending == "yml" || ending == "yaml" {
                if files.len() == FILES_MAX {
                    let message =
                        format!("there are more than {FILES_MAX} files; the rest is left out");
                    return self.fault(&path, Code::TooLarge, message);
                }
                files.push(path);
            }
        }
    }

    fn unreadable(&mut self, path: &Path, error: &std::io::Error) {
        self.fault(path, Code::Unreadable, format!("it can't be read: {error}"));
    }

    fn fault(&mut self, path: &Path, code: Code, message: String) {
        let fault = Diagnostic::error(code, Span::default(), message);
        self.diagnostics.push(fault.in_file(&path.to_string_lossy()));
    }
}
