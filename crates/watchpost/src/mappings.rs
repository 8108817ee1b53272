//! The sources that records are mapped by: those that come with Watchpost, and the user's own.

use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use mapping::Mappings;
use sigma::Diagnostic;

static BUILTIN: LazyLock<Arc<Mappings>> = LazyLock::new(|| {
    let (mappings, faults) = load(&[]);
    // A test reads every file; what is left out here is not in the binary's tests either.
    debug_assert!(faults.is_empty(), "{faults:?}");
    Arc::new(mappings)
});

/// Those that come with Watchpost.
pub(crate) fn builtin() -> Arc<Mappings> {
    Arc::clone(&BUILTIN)
}

/// The same with those of files and folders, which replace one of the same name. What is wrong with
/// a file comes back, and it is left out.
pub(crate) fn load(paths: &[PathBuf]) -> (Mappings, Vec<Diagnostic>) {
    let (files, mut faults) = sigma::list_files(paths);
    let mut own = Vec::new();
    for file in files {
        match sigma::read_file(&file) {
            Ok(text) => own.push((file.display().to_string(), text)),
            Err(fault) => faults.push(fault),
        }
    }
    let builtin = detections::sources().map(|file| (file.path, file.text));
    let own = own.iter().map(|(path, text)| (path.as_str(), text.as_str()));
    let (mappings, wrong) = Mappings::load(builtin.chain(own));
    faults.extend(wrong);
    (mappings, faults)
}
