//! Backups in a folder, through the crate's own functions: what is copied, what is removed, and what
//! happens when both are done at once.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use backup::{
    About, Backup, BackupError, Created, Fault, Key, PIECE_BYTES, Place, fetch, list, remove,
    verify,
};

struct Rooms {
    folder: tempfile::TempDir,
    place: Place,
}

impl Rooms {
    fn new() -> Rooms {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::open(folder.path().join("place").to_str().unwrap()).unwrap();
        Rooms { folder, place }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn file(&self, name: &str, content: &[u8]) -> File {
        std::fs::write(self.at(name), content).unwrap();
        File::open(self.at(name)).unwrap()
    }

    fn create(&self, key: Option<&Key>, files: &[(&str, &File)]) -> Created {
        let mut backup = Backup::begin(&self.place, key).unwrap();
        for (path, file) in files {
            backup.add(path, file).unwrap();
        }
        backup.finish(About::default()).unwrap()
    }

    fn objects(&self) -> usize {
        let folders = std::fs::read_dir(self.at("place/objects")).into_iter().flatten();
        folders.map(|folder| std::fs::read_dir(folder.unwrap().path()).unwrap().count()).sum()
    }
}

fn only(name: &str) -> BTreeSet<String> {
    BTreeSet::from([name.to_owned()])
}

fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap()
}

#[test]
fn only_pieces_that_changed_are_copied_again() {
    let rooms = Rooms::new();
    let mut content = vec![7; PIECE_BYTES + 1000];
    let file = rooms.file("large", &content);
    let first = rooms.create(None, &[("a/large", &file), ("b/same", &file)]);
    assert_eq!(first.copied_bytes, content.len() as u64, "what is there twice is copied once");
    let again = rooms.create(None, &[("a/large", &file)]);
    assert_eq!(again.copied_bytes, 0);
    *content.last_mut().unwrap() = 8;
    let changed = rooms.create(None, &[("a/large", &rooms.file("large", &content))]);
    assert_eq!(changed.copied_bytes, 1000);

    let target = rooms.at("target");
    std::fs::create_dir(&target).unwrap();
    fetch(&rooms.place, None, &first.manifest, &target, &mut |_| {}).unwrap();
    assert_eq!(read(&target.join("b/same")), vec![7; PIECE_BYTES + 1000]);
    let verified = verify(&rooms.place, None, &changed.manifest, &mut |_| {}).unwrap();
    assert_eq!((verified.files, verified.bytes), (1, content.len() as u64));
    assert_eq!(verified.faults, []);
}

#[test]
fn a_file_is_taken_as_it_is_when_it_is_added() {
    let rooms = Rooms::new();
    let file = rooms.file("log", b"one\n");
    let mut backup = Backup::begin(&rooms.place, None).unwrap();
    backup.add("log", &file).unwrap();
    let mut log = File::options().append(true).open(rooms.at("log")).unwrap();
    log.write_all(b"two\n").unwrap();
    std::fs::remove_file(rooms.at("log")).unwrap();
    backup.add_bytes("empty", b"").unwrap();
    let made = backup.finish(About::default()).unwrap();
    let target = rooms.at("target");
    std::fs::create_dir(&target).unwrap();
    fetch(&rooms.place, None, &made.manifest, &target, &mut |_| {}).unwrap();
    assert_eq!(read(&target.join("log")), b"one\n");
    assert_eq!(read(&target.join("empty")), b"");
}

#[test]
fn removing_keeps_what_other_backups_need() {
    let rooms = Rooms::new();
    let (shared, old, new) =
        (rooms.file("s", b"shared"), rooms.file("o", b"old"), rooms.file("n", b"new"));
    let first = rooms.create(None, &[("s", &shared), ("o", &old)]);
    let second = rooms.create(None, &[("s", &shared), ("n", &new)]);
    let removed = remove(&rooms.place, None, &only(&first.manifest.name)).unwrap();
    assert_eq!((removed.objects, removed.bytes), (1, 3));
    assert_eq!(rooms.objects(), 2);
    let verified = verify(&rooms.place, None, &second.manifest, &mut |_| {}).unwrap();
    assert_eq!(verified.faults, []);
    remove(&rooms.place, None, &only(&second.manifest.name)).unwrap();
    assert_eq!(rooms.objects(), 0);
}

#[test]
fn nothing_is_removed_while_it_is_not_known_what_a_backup_needs() {
    let rooms = Rooms::new();
    let first = rooms.create(None, &[("o", &rooms.file("o", b"old"))]);
    let second = rooms.create(None, &[("n", &rooms.file("n", b"new"))]);
    let manifest = rooms.at(&format!("place/backups/{}.json", second.manifest.name));
    let mut damaged = read(&manifest);
    *damaged.last_mut().unwrap() = b' ';
    std::fs::write(&manifest, damaged).unwrap();
    let error = remove(&rooms.place, None, &only(&first.manifest.name)).unwrap_err();
    assert!(error.to_string().contains("is damaged: its checksum is another"), "{error}");
    assert_eq!((list(&rooms.place).unwrap().len(), rooms.objects()), (2, 2));
}

/// A backup relies on a piece of one that is removed before it is complete.
#[test]
fn a_backup_whose_objects_are_removed_meanwhile_is_none() {
    let rooms = Rooms::new();
    let file = rooms.file("o", b"old");
    let first = rooms.create(None, &[("o", &file)]);
    let mut backup = Backup::begin(&rooms.place, None).unwrap();
    backup.add("o", &file).unwrap();
    remove(&rooms.place, None, &only(&first.manifest.name)).unwrap();
    let error = backup.finish(About::default()).unwrap_err();
    assert!(matches!(error, BackupError::Removed { objects: 1, .. }), "{error}");
    assert_eq!(list(&rooms.place).unwrap(), []);
    let again = rooms.create(None, &[("o", &file)]);
    assert_eq!(again.copied_bytes, 3);
}

#[test]
fn a_mark_that_a_killed_removal_left_stops_nothing() {
    let rooms = Rooms::new();
    std::fs::write(rooms.at("place/removing"), "2026-01-01T00:00:00Z").unwrap();
    let made = rooms.create(None, &[("o", &rooms.file("o", b"old"))]);
    remove(&rooms.place, None, &only(&made.manifest.name)).unwrap();
    assert!(!rooms.at("place/removing").exists());
}

#[test]
fn pieces_that_change_their_places_are_refused() {
    let rooms = Rooms::new();
    let key_file = rooms.at("key");
    std::fs::write(&key_file, "0123456789abcdef".repeat(4)).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&key_file, mode).unwrap();
    let key = Key::read(&key_file).unwrap();
    for key in [None, Some(&key)] {
        let (one, other) = (rooms.file("1", b"one"), rooms.file("2", b"two"));
        let made = rooms.create(key, &[("1", &one), ("2", &other)]);
        let path = |file: usize| {
            let name = &made.manifest.files[file].pieces[0];
            rooms.at("place/objects").join(name.get(..2).unwrap()).join(name)
        };
        std::fs::copy(path(0), path(1)).unwrap();
        let verified = verify(&rooms.place, key, &made.manifest, &mut |_| {}).unwrap();
        let faults: Vec<(&str, Fault)> =
            verified.faults.iter().map(|(file, _, fault)| (file.as_str(), *fault)).collect();
        assert_eq!(faults, [("2", Fault::Damaged)]);
    }
}
