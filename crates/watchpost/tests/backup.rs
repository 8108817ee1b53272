//! The restore drill: what is backed up from a running server is restored elsewhere, and every document
//! compared; and what is killed, damaged or asked with the wrong key on the way leaves nothing behind
//! that is not whole.
//!
//! `WATCHPOST_TEST_KILLS` says how often the drills of kills kill.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::{Server, free_port, needed_in_ci, stderr, stdout, watchpost};
use serde_json::Value;

/// How long stages may take to catch up.
const CATCH_UP_MAX: Duration = Duration::from_secs(120);

/// Documents by their ids.
type Documents = BTreeMap<String, Value>;

/// Every event and alert of a server, whole.
fn documents(server: &Server) -> Documents {
    let mut all = Documents::new();
    for document in server.documents("events").into_iter().chain(server.documents("alerts")) {
        let id = document["event"]["id"].as_str().unwrap().to_owned();
        assert!(all.insert(id, document).is_none(), "an id is there twice");
    }
    all
}

/// Lines of a log over three days, among them some that alert.
fn lines(from: usize, count: usize) -> String {
    (from..from + count)
        .map(|n| {
            let day = 3 + n % 3;
            let what = if n.is_multiple_of(50) { "Accepted" } else { "Failed" };
            format!(
                "<86>2026-08-0{day}T12:{:02}:{:02}Z web-1 sshd[1]: {what} password for root from 203.0.113.{} port 22 ssh2 no={n}\n",
                n / 60 % 60,
                n % 60,
                n % 200
            )
        })
        .collect()
}

fn ingest(server: &Server, from: usize, count: usize) {
    let (status, answer) = server.post("/ingest/system.auth", lines(from, count).as_bytes());
    assert_eq!(status, 200, "{answer}");
}

/// A folder with places for everything.
struct Rooms {
    folder: tempfile::TempDir,
}

impl Rooms {
    fn new() -> Rooms {
        Rooms { folder: tempfile::tempdir().unwrap() }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn key(&self, name: &str, digit: &str) -> PathBuf {
        let path = self.at(name);
        std::fs::write(&path, digit.repeat(64)).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn backup_command(args: &[&str], environment: &[(&str, &str)]) -> Command {
    let mut command = watchpost(&["backup"]);
    command.args(args).stdin(Stdio::null()).envs(environment.iter().copied());
    command
}

fn with<'a>(args: &[&'a str], more: &[&'a str]) -> Vec<&'a str> {
    [args, more].concat()
}

fn backup(args: &[&str]) -> Output {
    backup_command(args, &[]).output().unwrap()
}

/// Runs it, and it must succeed; returns what it wrote.
fn done(args: &[&str]) -> String {
    let output = backup(args);
    assert_eq!(output.status.code(), Some(0), "{args:?}: {}", stderr(&output));
    stdout(&output).trim().to_owned()
}

/// Runs it, and it must fail; returns what it told.
fn refused(args: &[&str]) -> String {
    let output = backup(args);
    assert_ne!(output.status.code(), Some(0), "{args:?}: {}", stdout(&output));
    format!("{}{}", stdout(&output), stderr(&output))
}

fn names(place: &Path) -> Vec<String> {
    let listed = done(&["list", text(place), "--format", "jsonl"]);
    let name = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        line["name"].as_str().unwrap().to_owned()
    };
    listed.lines().map(name).collect()
}

/// All files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    let Ok(entries) = std::fs::read_dir(folder) else { return all };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() { all.extend(files(&path)) } else { all.push(path) }
    }
    all.sort();
    all
}

fn bytes(folder: &Path) -> u64 {
    files(folder).iter().map(|file| file.metadata().unwrap().len()).sum()
}

/// A data folder with an index, made without a server.
fn imported(rooms: &Rooms, name: &str, from: usize, count: usize) -> PathBuf {
    let (log, data) = (rooms.at(&format!("{name}.log")), rooms.at(name));
    std::fs::write(&log, lines(from, count)).unwrap();
    let output =
        common::run(&["import", "--data", text(&data), "--dataset", "system.auth", text(&log)]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    data
}

#[test]
fn a_restored_backup_of_a_running_server_has_every_document() {
    let rooms = Rooms::new();
    let (data, place, restored) = (rooms.at("data"), rooms.at("place"), rooms.at("restored"));
    let key = rooms.key("key", "5");
    let key = ["--key-file", text(&key)];
    let server = Server::start(&data);
    ingest(&server, 0, 3000);
    server.catch_up(CATCH_UP_MAX);
    let before = documents(&server);
    assert!(before.len() > 3000, "{} documents, with alerts", before.len());

    // It goes on while the backup is made.
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut from = 3000;
            while !stop.load(Ordering::Relaxed) {
                ingest(&server, from, 100);
                from += 100;
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        std::thread::sleep(Duration::from_millis(500));
        let made = done(&with(&["create", text(&place), "--data", text(&data)], &key));
        assert_eq!(names(&place), [made]);
        stop.store(true, Ordering::Relaxed);
    });
    server.catch_up(CATCH_UP_MAX);
    let after = documents(&server);
    assert!(after.len() > before.len());

    done(&with(&["verify", text(&place)], &key));
    done(&with(&["restore", text(&place), "--data", text(&restored)], &key));
    let copy = Server::start(&restored);
    assert_eq!(copy.token, server.token, "small files are restored too");
    let found = documents(&copy);
    for (id, document) in &before {
        assert_eq!(found.get(id), Some(document), "what was there before the backup is in it");
    }
    for (id, document) in &found {
        let original = after.get(id).unwrap_or_else(|| panic!("{document} is not of the original"));
        // An alert that is counted on is made again, with more events.
        if document["event"]["kind"] != "alert" {
            assert_eq!(document, original);
        }
    }
    println!(
        "{} documents before, {} restored, {} at last",
        before.len(),
        found.len(),
        after.len()
    );

    // The copy goes on with a log of its own: what comes is added, and nothing is taken for known.
    ingest(&copy, 900_000, 500);
    copy.catch_up(CATCH_UP_MAX);
    let grown = documents(&copy);
    let events = |of: &Documents| of.values().filter(|it| it["event"]["kind"] != "alert").count();
    assert_eq!(events(&grown), events(&found) + 500);
    copy.kill();
    let copy = Server::start(&restored);
    copy.catch_up(CATCH_UP_MAX);
    assert_eq!(documents(&copy), grown);

    // The second one copies what is new. Segments of this day were merged, those of others are as
    // they were.
    let first = bytes(&place);
    let second = done(&with(&["create", text(&place), "--data", text(&restored)], &key));
    done(&with(&["verify", text(&place), &second], &key));
    let third = done(&with(&["create", text(&place), "--data", text(&restored)], &key));
    assert_eq!(names(&place).len(), 3);
    let copied = bytes(&place) - first;
    println!("{first} bytes at first, {copied} with two more");

    // Only the newest stays, whole.
    done(&with(&["remove", text(&place), "--keep", "1"], &key));
    assert_eq!(names(&place), std::slice::from_ref(&third));
    done(&with(&["verify", text(&place)], &key));
}

#[test]
fn a_second_backup_copies_what_is_new_and_removing_gives_the_rest_back() {
    let rooms = Rooms::new();
    let place = rooms.at("place");
    let data = imported(&rooms, "data", 0, 3000);
    done(&["create", text(&place), "--data", text(&data)]);
    let first = bytes(&place.join("objects"));
    // Another day.
    let log = rooms.at("more.log");
    std::fs::write(&log, lines(0, 30).replace("2026-08-0", "2026-09-0")).unwrap();
    let output = common::run(&["import", "--data", text(&data), text(&log)]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let second = done(&["create", text(&place), "--data", text(&data)]);
    let more = bytes(&place.join("objects")) - first;
    println!("{first} bytes, then {more}");
    assert!(more * 3 < first, "{more} of {first} bytes were copied again");
    assert_eq!(names(&place).len(), 2);

    let third = done(&["create", text(&place), "--data", text(&data), "--keep", "1"]);
    assert_eq!(names(&place), std::slice::from_ref(&third));
    done(&["verify", text(&place)]);
    let told = refused(&["verify", text(&place), &second]);
    assert!(told.contains(&format!("there is no backup {second}")), "{told}");
    done(&["remove", text(&place), &third]);
    assert_eq!(files(&place), [] as [PathBuf; 0], "nothing is left of what no backup needs");
    let told = refused(&["restore", text(&place), "--data", text(&rooms.at("x"))]);
    assert!(told.contains("there is no backup in"), "{told}");
}

#[test]
fn an_installation_gets_an_older_index_back_and_catches_up_from_its_bus() {
    let rooms = Rooms::new();
    let (data, place) = (rooms.at("data"), rooms.at("place"));
    let server = Server::start(&data);
    ingest(&server, 0, 1500);
    server.catch_up(CATCH_UP_MAX);
    done(&["create", text(&place), "--data", text(&data)]);
    ingest(&server, 1500, 1500);
    server.catch_up(CATCH_UP_MAX);
    let all = documents(&server);
    let token = server.token.clone();
    let args = ["restore", text(&place), "--data", text(&data)];
    let told = refused(&args);
    assert!(told.contains("uses") && told.contains("stop it first"), "{told}");
    server.kill();
    let told = refused(&args);
    assert!(told.contains("--replace-index"), "{told}");
    // The index is lost in part.
    for file in files(&data.join("index")).iter().step_by(3) {
        std::fs::write(file, "lost").unwrap();
    }
    let output = backup(&with(&args, &["--replace-index"]));
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stderr(&output).contains("stayed as it is"), "{}", stderr(&output));

    let server = Server::start(&data);
    assert_eq!(server.token, token);
    let status = server.catch_up(CATCH_UP_MAX);
    assert_eq!(status["problems"], serde_json::json!([]));
    server.search_total("*", 3000);
    assert_eq!(documents(&server), all, "what came after the backup is read from the bus again");
    let ledger = server.json("/api/v1/ledger");
    assert_eq!(ledger["imbalance"], 0, "{ledger:#}");
}

#[test]
fn what_is_damaged_is_named_and_nothing_of_it_is_put_in_place() {
    let rooms = Rooms::new();
    let place = rooms.at("place");
    let data = imported(&rooms, "data", 0, 300);
    let (key, other) = (rooms.key("key", "a"), rooms.key("other", "b"));
    for key in [None, Some(&key)] {
        std::fs::remove_dir_all(&place).ok();
        let key: Vec<&str> = key.map(|key| vec!["--key-file", text(key)]).unwrap_or_default();
        let run = |args: &[&str]| backup(&with(args, &key));
        let create = run(&["create", text(&place), "--data", text(&data)]);
        assert_eq!(create.status.code(), Some(0), "{}", stderr(&create));
        assert_eq!(run(&["verify", text(&place)]).status.code(), Some(0));
        let objects = files(&place.join("objects"));
        let largest = objects.iter().max_by_key(|file| file.metadata().unwrap().len()).unwrap();
        let content = std::fs::read(largest).unwrap();
        let mut changed = content.clone();
        let middle = changed.len() / 2;
        changed[middle] ^= 1;
        let name = largest.file_name().unwrap().to_str().unwrap();
        let damages: [(&str, Option<&[u8]>); 3] = [
            ("an object is damaged", Some(&changed)),
            ("an object is damaged", Some(&content[..middle])),
            ("an object is missing", None),
        ];
        for (fault, damage) in damages {
            match damage {
                Some(damage) => std::fs::write(largest, damage).unwrap(),
                None => std::fs::remove_file(largest).unwrap(),
            }
            let verified = run(&["verify", text(&place)]);
            assert_eq!(verified.status.code(), Some(1));
            let told = stdout(&verified);
            assert!(told.contains(fault) && told.contains(name), "{told}");
            assert!(told.contains("index/events-2026-08-0"), "{told}");
            let target = rooms.at("target");
            let restored = run(&["restore", text(&place), "--data", text(&target)]);
            assert_ne!(restored.status.code(), Some(0));
            let told = stderr(&restored);
            assert!(told.contains(fault) && told.contains("index/events-2026-08-0"), "{told}");
            assert!(!target.join("index").exists() && !target.join("token").exists());
            std::fs::remove_dir_all(&target).unwrap();
        }
        // The next backup mends it.
        let create = run(&["create", text(&place), "--data", text(&data)]);
        assert_eq!(create.status.code(), Some(0), "{}", stderr(&create));
        assert_eq!(run(&["verify", text(&place)]).status.code(), Some(0));
    }
    let (target, place) = (rooms.at("target"), text(&place));
    let target = text(&target);
    let told = refused(&["restore", place, "--data", target]);
    assert!(told.contains("is encrypted; name the file of its key with --key-file"), "{told}");
    for command in ["verify", "remove"] {
        let more: &[&str] = if command == "remove" { &["--keep", "1"] } else { &[] };
        let told = refused(&with(&[command, place, "--key-file", text(&other)], more));
        assert!(told.contains("does not open: the key is another one"), "{told}");
        assert!(!told.contains("bbbb"), "{told}");
    }
    // A key that others may read is none.
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let told = refused(&["verify", place, "--key-file", text(&key)]);
    assert!(told.contains("chmod 600"), "{told}");
    let told = refused(&["create", text(&data.join("backups")), "--data", text(&data)]);
    assert!(told.contains("is in the data folder"), "{told}");
    // What is encrypted says nothing of what is in it.
    for file in files(Path::new(place)) {
        let content = std::fs::read(&file).unwrap();
        let found = content.windows(5).any(|part| part == b"token" || part == b"web-1");
        assert!(!found, "{}", file.display());
    }
}

/// The documents that a server finds in a data folder.
fn documents_of(data: &Path) -> Documents {
    let server = Server::start(data);
    let status = server.catch_up(CATCH_UP_MAX);
    assert_eq!(status["problems"], serde_json::json!([]));
    documents(&server)
}

#[test]
fn a_kill_at_any_step_leaves_whole_backups_and_a_whole_index() {
    let rooms = Rooms::new();
    let place = rooms.at("place");
    let data = imported(&rooms, "data", 0, 300);
    let create = ["create", text(&place), "--data", text(&data)];
    let killed = |args: &[&str], instant: &str| {
        let output = backup_command(args, &[("FAILPOINTS", instant)]).output().unwrap();
        assert_eq!(output.status.code(), None, "it was not killed: {}", stderr(&output));
    };
    killed(&create, "backup-between-files=5*off->return");
    killed(&create, "backup-before-manifest=return");
    assert_eq!(names(&place), [] as [String; 0]);
    done(&create);
    assert_eq!(names(&place).len(), 1);
    done(&["verify", text(&place)]);
    let original = documents_of(&data);

    // Into an empty folder.
    let target = rooms.at("target");
    let restore = ["restore", text(&place), "--data", text(&target)];
    killed(&restore, "restore-between-files=5*off->return");
    killed(&restore, "restore-before-index=return");
    assert!(!target.join("index").exists());
    done(&restore);
    assert_eq!(documents_of(&target), original);

    // In the place of another one.
    let other = imported(&rooms, "other", 5000, 200);
    let others = documents_of(&other);
    let restore = ["restore", text(&place), "--data", text(&other), "--replace-index"];
    killed(&restore, "restore-between-files=5*off->return");
    killed(&restore, "restore-before-index=return");
    assert_eq!(documents_of(&other), others, "the former index is whole");
    killed(&restore, "restore-after-index=return");
    assert_eq!(documents_of(&other), original, "the new one is");
    done(&restore);
    assert_eq!(documents_of(&other), original);
    assert!(!other.join("restoring").exists());

    // While one of two is removed.
    done(&create);
    killed(&["remove", text(&place), "--keep", "1"], "remove-between-backups=return");
    assert_eq!(names(&place).len(), 1);
    done(&["verify", text(&place)]);
    done(&["remove", text(&place), "--keep", "1"]);
    done(&["verify", text(&place)]);
}

#[test]
fn kills_at_random_moments_leave_whole_backups_and_a_whole_index() {
    let kills = std::env::var("WATCHPOST_TEST_KILLS").ok().and_then(|text| text.parse().ok());
    let kills: u32 = kills.unwrap_or(12).min(60);
    let rooms = Rooms::new();
    let (data, place, other) = (rooms.at("data"), rooms.at("place"), rooms.at("other"));
    let server = Server::start(&data);
    ingest(&server, 0, 500);
    let create = ["create", text(&place), "--data", text(&data)];
    let started = Instant::now();
    done(&create);
    let whole = started.elapsed();
    imported(&rooms, "other", 7000, 50);
    let restore = ["restore", text(&place), "--data", text(&other), "--replace-index"];
    for kill in 0..kills {
        ingest(&server, 1000 * (kill as usize + 1), 200);
        let args: &[&str] = if kill % 2 == 0 { &create } else { &restore };
        let mut command = backup_command(args, &[]);
        let mut child = command.stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        std::thread::sleep(whole * (1 + kill * 7 % 20) / 20);
        child.kill().unwrap();
        child.wait().unwrap();
        for name in names(&place) {
            done(&["verify", text(&place), &name]);
        }
        // Whatever it is, it is whole.
        let found =
            common::run(&["search", "--data", text(&other), "--since", "all", "* | stats count"]);
        assert_eq!(found.status.code(), Some(0), "{}", stderr(&found));
        assert!(!stderr(&found).contains("not whole"), "{}", stderr(&found));
    }
    server.catch_up(CATCH_UP_MAX);
    done(&create);
    done(&restore);
    let original = documents(&server);
    let found = documents_of(&other);
    assert_eq!(found.len(), original.len());
    assert_eq!(found, original);
    println!("{kills} kills, {} backups, {} documents", names(&place).len(), found.len());
}

/// A server that speaks S3, in a Python that has it.
struct S3 {
    child: Child,
    port: u16,
}

impl S3 {
    fn start() -> Option<S3> {
        let named = std::env::var_os("WATCHPOST_TEST_PYTHON").map(PathBuf::from);
        let python = named.unwrap_or_else(|| PathBuf::from("python3"));
        let mut try_import = Command::new(&python);
        try_import.args(["-c", "import moto.server"]).stderr(Stdio::null());
        if !try_import.status().is_ok_and(|status| status.success()) {
            needed_in_ci("there is no Python with moto[server], which speaks S3");
            return None;
        }
        let port = free_port();
        let child = Command::new(python)
            .args(["-m", "moto.server", "-H", "127.0.0.1", "-p", &port.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let s3 = S3 { child, port };
        let until = Instant::now() + Duration::from_secs(60);
        while !s3.put("logs", b"") {
            assert!(Instant::now() < until, "moto does not start");
            std::thread::sleep(Duration::from_millis(200));
        }
        Some(s3)
    }

    /// Makes a bucket, or an object.
    fn put(&self, path: &str, content: &[u8]) -> bool {
        // Whoever it is, this server believes it.
        let signed = "AWS4-HMAC-SHA256 Credential=who/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0";
        let request = ureq::put(format!("http://127.0.0.1:{}/{path}", self.port));
        request.header("authorization", signed).send(content).is_ok()
    }

    fn run(&self, args: &[&str]) -> Output {
        let endpoint = format!("http://127.0.0.1:{}", self.port);
        let environment = [
            ("AWS_ACCESS_KEY_ID", "who"),
            ("AWS_SECRET_ACCESS_KEY", "a-secret-that-is-never-told"),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ENDPOINT", &endpoint),
            ("AWS_ALLOW_HTTP", "true"),
            ("WATCHPOST_LOG", "debug"),
        ];
        let output = backup_command(args, &environment).output().unwrap();
        let told = format!("{}{}", stdout(&output), stderr(&output));
        assert!(!told.contains("a-secret-that-is-never-told"), "{told}");
        output
    }

    fn done(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert_eq!(output.status.code(), Some(0), "{args:?}: {}", stderr(&output));
        stdout(&output).trim().to_owned()
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[test]
fn a_bucket_is_as_good_as_a_folder() {
    let Some(s3) = S3::start() else { return };
    let rooms = Rooms::new();
    let data = imported(&rooms, "data", 0, 300);
    let key = rooms.key("key", "7");
    let place = "s3://logs/watchpost/one";
    let create = ["create", place, "--data", text(&data), "--key-file", text(&key)];
    let first = s3.done(&create);
    s3.done(&["verify", place, "--key-file", text(&key)]);
    let restored = rooms.at("restored");
    let restore = ["restore", place, "--data", text(&restored), "--key-file", text(&key)];
    s3.done(&restore);
    assert_eq!(documents_of(&restored), documents_of(&data));

    let output = s3.run(&create);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let second = stdout(&output).trim().to_owned();
    assert!(stderr(&output).contains("the place had the rest"), "{}", stderr(&output));
    let listed = s3.done(&["list", place]);
    assert!(listed.contains(&first) && listed.contains(&second), "{listed}");
    s3.done(&["remove", place, &first, "--key-file", text(&key)]);
    let listed = s3.done(&["list", place]);
    assert!(!listed.contains(&first) && listed.contains(&second), "{listed}");
    s3.done(&["verify", place, "--key-file", text(&key)]);

    // The manifest says where everything is; the bucket does not say it without the key.
    let manifest = format!("logs/watchpost/one/backups/{second}.sealed");
    assert!(s3.put(&manifest, b"something else"));
    let output = s3.run(&["verify", place, "--key-file", text(&key)]);
    assert_ne!(output.status.code(), Some(0), "{}", stdout(&output));
    assert!(stderr(&output).contains("does not open"), "{}", stderr(&output));
    let output = s3.run(&["list", "s3://no-such-bucket/x"]);
    assert_ne!(output.status.code(), Some(0));
}
