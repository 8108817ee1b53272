//! Which files there are: paths as they were named, and folders gone through.
//!
//! In a folder no link is followed, so that none is read twice and no circle is possible, and only
//! ordinary files are read; the rest is told as a problem. What is named itself is taken, link or
//! pipe or not: whoever names it means it.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use super::{File, Place, Problem, STDIN};

/// How deep folders in folders are gone through.
pub const FOLDERS_DEEP_MAX: usize = 64;

/// The most files of one listing; their paths are all in memory.
pub const FILES_MAX: usize = 1_000_000;

/// The files found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// The files, in the order of the paths; those of a folder are sorted by name.
    pub files: Vec<File>,
    /// What was named or found and can't be read.
    pub problems: Vec<Problem>,
}

/// Finds the files that these paths name: files, folders (with all that is in them), or `-` for
/// standard input.
pub fn list(paths: &[PathBuf]) -> Listing {
    let mut listing = Listing::default();
    for path in paths {
        if path.as_os_str() == OsStr::new(STDIN) {
            if listing.files.iter().any(File::is_stdin) {
                listing.problem(path, "is named twice; it can be read once");
            } else {
                listing.files.push(File::new(STDIN, 0));
            }
            continue;
        }
        match fs::metadata(path) {
            Ok(found) if found.is_dir() => listing.folder(path, 1),
            Ok(found) => listing.file(path, if found.is_file() { found.len() } else { 0 }),
            Err(error) => listing.problem(path, format!("cannot be read: {error}")),
        }
    }
    listing
}

impl Listing {
    fn folder(&mut self, folder: &Path, depth: usize) {
        if depth > FOLDERS_DEEP_MAX {
            let message = format!("is more than {FOLDERS_DEEP_MAX} folders deep; not read");
            return self.problem(folder, message);
        }
        let entries = fs::read_dir(folder).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let mut entries = match entries {
            Ok(entries) => entries,
            Err(error) => return self.problem(folder, format!("cannot be read: {error}")),
        };
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let path = entry.path();
            match entry.metadata() {
                Ok(found) if found.is_dir() => self.folder(&path, depth + 1),
                Ok(found) if found.is_file() => self.file(&path, found.len()),
                Ok(found) if found.is_symlink() => {
                    self.problem(&path, "is a link, which is not followed; name it to read it");
                }
                Ok(_) => self.problem(&path, "is no ordinary file; name it to read it"),
                Err(error) => self.problem(&path, format!("cannot be read: {error}")),
            }
        }
    }

    fn file(&mut self, path: &Path, bytes: u64) {
        if self.files.len() >= FILES_MAX {
            return self.problem(path, format!("is beyond the first {FILES_MAX} files; not read"));
        }
        self.files.push(File::new(path, bytes));
    }

    fn problem(&mut self, path: &Path, message: impl Into<String>) {
        // As many as files: a folder of nothing but links must not fill the memory.
        if self.problems.len() < FILES_MAX {
            let (file, message) = (path.to_string_lossy().into_owned(), message.into());
            self.problems.push(Problem { file, place: Place::File, message });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_gone_through_in_order_and_links_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir_all(at("b/deep")).unwrap();
        for name in ["c.log", "a.log", "b/2.json", "b/deep/1.evtx"] {
            fs::write(at(name), "x").unwrap();
        }
        std::os::unix::fs::symlink(folder.path(), at("b/circle")).unwrap();
        let listing =
            list(&[folder.path().into(), at("c.log"), at("none"), "-".into(), "-".into()]);
        let base = format!("{}/", folder.path().display());
        let names: Vec<&str> = listing
            .files
            .iter()
            .map(|file| file.name().strip_prefix(&base).unwrap_or(file.name()))
            .collect();
        assert_eq!(names, ["a.log", "b/2.json", "b/deep/1.evtx", "c.log", "c.log", "-"]);
        assert_eq!(listing.files[0].bytes(), 1);
        let problems: Vec<String> = listing.problems.iter().map(ToString::to_string).collect();
        assert!(problems[0].contains("b/circle: is a link"), "{problems:?}");
        assert!(problems[1].contains("none: cannot be read: No such file"), "{problems:?}");
        assert!(problems[2].contains("-: is named twice"), "{problems:?}");
        assert_eq!(problems.len(), 3);
    }

    #[test]
    fn a_link_that_is_named_is_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        fs::write(&file, "x").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let listing = list(std::slice::from_ref(&link));
        assert_eq!(listing.files, [File::new(link, 1)]);
    }
}
