//! Real clients of shipping protocols deliver 10,000 numbered events each, unchanged, while the
//! engine is killed with -9 in the middle and started again.
//!
//! Where the protocol acknowledges, every event arrives. Where it does not (syslog), what was under
//! way at the kill is lost, and a bound says how much that may be.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bus::Bus;
use common::{Server, TestBus, free_port, needed_in_ci};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

/// How many events each client sends.
const EVENTS: usize = 10_000;

/// After how many of them the engine is killed.
const KILL_AFTER: f64 = 2_000.0;

/// How long a client may take.
const CLIENT_MAX: Duration = Duration::from_secs(90);

/// An engine on ports that it has again after a restart.
struct Place {
    folder: tempfile::TempDir,
    settings: Vec<(&'static str, String)>,
    server: Option<Server>,
}

impl Place {
    fn start(settings: Vec<(&'static str, String)>) -> Place {
        let folder = tempfile::tempdir().unwrap();
        let mut place = Place { folder, settings, server: None };
        place.restart();
        place
    }

    fn restart(&mut self) {
        if let Some(server) = self.server.take() {
            server.kill();
        }
        let settings: Vec<(&str, &str)> =
            self.settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
        self.server = Some(Server::start_with(&self.folder.path().join("data"), &[], &settings));
    }

    fn server(&self) -> &Server {
        self.server.as_ref().unwrap()
    }

    /// Kills the engine once a part has come in, and starts it again. A client that is slower than
    /// the wait fails the test.
    fn kill_in_the_middle(&mut self, listener: &str) {
        let taken = format!("watchpost_ingest_records_total{{listener=\"{listener}\"}}");
        let until = Instant::now() + CLIENT_MAX;
        while self.server().metric(&taken) < KILL_AFTER {
            let errors = self.folder.path().join("errors.json");
            let errors = || std::fs::read_to_string(&errors).unwrap_or_default();
            assert!(Instant::now() < until, "too little comes in over {listener}: {}", errors());
            std::thread::sleep(Duration::from_millis(5));
        }
        self.restart();
    }

    /// The numbers that are found in the index, once the last one and so many are.
    fn numbers(&self, at_least: usize) -> BTreeSet<usize> {
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            self.server().catch_up(Duration::from_secs(60));
            let documents = self.server().documents("events");
            let numbers: BTreeSet<usize> = documents
                .iter()
                .filter_map(|document| number(document["event"]["original"].as_str()?))
                .collect();
            let has_last = numbers.contains(&(EVENTS - 1));
            if (numbers.len() >= at_least && has_last) || Instant::now() > until {
                let (status, ledger) = self.server().get("/api/v1/ledger");
                assert_eq!(status, 200, "{ledger}");
                assert!(ledger.contains(r#""imbalance":0"#), "{ledger}");
                return numbers;
            }
            std::thread::sleep(Duration::from_millis(300));
        }
    }

    /// A client of which every event must arrive.
    fn must_get_all(mut self, listener: &str, mut client: Child) {
        self.kill_in_the_middle(listener);
        let status = wait(&mut client);
        assert!(status, "the client was not content");
        assert_eq!(self.numbers(EVENTS).len(), EVENTS, "events that were acknowledged are missing");
    }
}

/// The number in `event N`, wherever it stands.
fn number(text: &str) -> Option<usize> {
    let after = text.split_once("event ")?.1;
    let digits: String = after.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

/// Whether a client ends well in time.
fn wait(client: &mut Child) -> bool {
    let until = Instant::now() + CLIENT_MAX;
    loop {
        if let Some(status) = client.try_wait().unwrap() {
            return status.success();
        }
        if Instant::now() > until {
            client.kill().unwrap();
            client.wait().unwrap();
            return false;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The ports of shippers over HTTP: one that stays the same.
fn shippers() -> (String, Vec<(&'static str, String)>) {
    let address = format!("127.0.0.1:{}", free_port());
    (format!("http://{address}"), vec![("WATCHPOST_SHIPPERS_LISTEN", address)])
}

/// A Python that has a module, if there is one. CI makes it and names it.
fn python(module: &str) -> Option<PathBuf> {
    let named = std::env::var_os("WATCHPOST_TEST_PYTHON").map(PathBuf::from);
    let python = named.unwrap_or_else(|| PathBuf::from("python3"));
    let found = Command::new(&python)
        .args(["-c", &format!("import {module}")])
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    if !found {
        needed_in_ci(&format!("there is no Python with the module {module}"));
    }
    found.then_some(python)
}

fn run_script(python: &Path, script: &str, arguments: &[&str]) -> Child {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients");
    Command::new(python).arg(folder.join(script)).args(arguments).spawn().unwrap()
}

#[test]
fn the_elasticsearch_client_for_python_delivers_in_bulk() {
    let Some(python) = python("elasticsearch") else { return };
    let (url, settings) = shippers();
    let place = Place::start(settings);
    let token = place.server().token.clone();
    let client = run_script(&python, "elasticsearch_bulk.py", &[&url, &token, "10000"]);
    place.must_get_all("elasticsearch", client);
}

#[test]
fn the_event_collector_acknowledges_what_is_durable() {
    let Some(python) = python("json") else { return };
    let (url, settings) = shippers();
    let place = Place::start(settings);
    let token = place.server().token.clone();
    let client = run_script(&python, "hec.py", &[&url, &token, "10000"]);
    place.must_get_all("hec", client);
}

/// A client that CI builds from `tests/clients`.
fn built(name: &str) -> Option<PathBuf> {
    let path =
        std::env::var_os("WATCHPOST_TEST_CLIENTS").map(|folder| Path::new(&folder).join(name));
    let path = path.filter(|path| path.exists());
    if path.is_none() {
        needed_in_ci(&format!("{name} was not built into WATCHPOST_TEST_CLIENTS"));
    }
    path
}

/// A listener on a port that stays the same, and that port as text.
fn listener(setting: &'static str) -> (String, Vec<(&'static str, String)>) {
    let port = free_port();
    (port.to_string(), vec![(setting, format!("127.0.0.1:{port}"))])
}

#[test]
fn the_forward_protocol_acknowledges_what_is_durable() {
    let Some(client) = built("fluent-client") else { return };
    let (port, settings) = listener("WATCHPOST_FLUENT_LISTEN");
    let place = Place::start(settings);
    let client = Command::new(client).args(["127.0.0.1", &port, "10000"]).spawn().unwrap();
    place.must_get_all("fluent", client);
}

/// With the client library that Beats have.
#[test]
fn lumberjack_acknowledges_what_is_durable() {
    let Some(client) = built("lumberjack-client") else { return };
    let (port, settings) = listener("WATCHPOST_LUMBERJACK_LISTEN");
    let place = Place::start(settings);
    let client = Command::new(client).args(["127.0.0.1", &port, "10000"]).spawn().unwrap();
    place.must_get_all("lumberjack", client);
}

#[test]
fn opentelemetrys_sdk_delivers_over_http() {
    otlp("opentelemetry.exporter.otlp.proto.http", &[]);
}

#[test]
fn opentelemetrys_sdk_delivers_over_grpc() {
    otlp("opentelemetry.exporter.otlp.proto.grpc", &["--grpc"]);
}

fn otlp(module: &str, how: &[&str]) {
    let Some(python) = python(module) else { return };
    let (url, settings) = shippers();
    let place = Place::start(settings);
    let token = place.server().token.clone();
    let client = run_script(&python, "otlp.py", &[&[&url, &token, "10000"], how].concat());
    place.must_get_all("otlp", client);
}

#[test]
fn pushes_to_loki_are_answered_once_they_are_durable() {
    let Some(python) = python("json") else { return };
    for how in [&[][..], &["--json"]] {
        let (url, settings) = shippers();
        let place = Place::start(settings);
        let token = place.server().token.clone();
        let client = run_script(&python, "loki.py", &[&[&url, &token, "10000"], how].concat());
        place.must_get_all("loki", client);
    }
}

/// A journal of 10,000 entries, as a host has one.
fn journal(folder: &Path) -> PathBuf {
    let path = folder.join("host.journal");
    let mut remote = Command::new("/lib/systemd/systemd-journal-remote")
        .arg("-o")
        .arg(&path)
        .arg("-")
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut entries = std::io::BufWriter::new(remote.stdin.take().unwrap());
    for number in 0..EVENTS {
        writeln!(
            entries,
            "__REALTIME_TIMESTAMP={}\n__MONOTONIC_TIMESTAMP={}\n_BOOT_ID=00112233445566778899aabbccddeeff\n_HOSTNAME=client\nSYSLOG_IDENTIFIER=app\nPRIORITY=6\nMESSAGE=event {number} of a service\n",
            1_764_000_000_000_000 + number * 1000,
            1 + number * 1000,
        )
        .unwrap();
    }
    drop(entries);
    assert!(remote.wait().unwrap().success());
    path
}

/// It ends when its request fails, and its service starts it again, as here.
#[test]
fn systemd_journal_upload_delivers_a_journal() {
    let upload = "/lib/systemd/systemd-journal-upload";
    if !is_there(upload) || !is_there("/lib/systemd/systemd-journal-remote") {
        return;
    }
    let (url, settings) = shippers();
    let mut place = Place::start(settings);
    let folder = place.folder.path().to_owned();
    let (from, state) = (journal(&folder), folder.join("upload.state"));
    let url = url.replace("://", &format!("://journal:{}@", place.server().token));
    let start = || {
        let mut command = Command::new(upload);
        command.arg(format!("--url={url}")).arg(format!("--save-state={}", state.display()));
        command.arg("--follow=no").arg(format!("--file={}", from.display())).spawn().unwrap()
    };
    let mut client = start();
    place.kill_in_the_middle("journal");
    let until = Instant::now() + CLIENT_MAX;
    while !wait(&mut client) {
        assert!(Instant::now() < until, "the client does not get through");
        std::thread::sleep(Duration::from_millis(300));
        client = start();
    }
    assert_eq!(place.numbers(EVENTS).len(), EVENTS);
}

/// A service writes, its log is rotated by renaming, and nothing is read twice or left out.
#[test]
fn a_followed_file_is_read_whole_and_once() {
    let logs = tempfile::tempdir().unwrap();
    let config = logs.path().join("watchpost.toml");
    let text = format!("[[files]]\npaths = [\"{}/app.log*\"]\n", logs.path().display());
    std::fs::write(&config, text).unwrap();
    let mut place = Place::start(vec![("WATCHPOST_CONFIG", config.display().to_string())]);
    let folder = logs.path().to_owned();
    let writer = std::thread::spawn(move || {
        for start in (0..EVENTS).step_by(500) {
            let path = write_lines(&folder, start..start + 500);
            if start % 2500 == 2000 {
                std::fs::rename(path, folder.join(format!("app.log.{start}"))).unwrap();
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    });
    place.kill_in_the_middle("file");
    writer.join().unwrap();
    assert_eq!(place.numbers(EVENTS).len(), EVENTS);
    assert_eq!(place.server().documents("events").len(), EVENTS, "some are there twice");
    let (status, files) = place.server().get("/api/v1/files");
    assert_eq!(status, 200, "{files}");
    let files: serde_json::Value = serde_json::from_str(&files).unwrap();
    let files = files["files"].as_array().unwrap();
    assert!(!files.is_empty());
    assert!(files.iter().all(|file| file["problem"] == "" && file["position"] == file["size"]));
}

/// Payloads that kcat and rsyslog put onto a topic of their own are read from there, all of them.
#[test]
fn a_topic_of_others_is_read_to_its_end() {
    let Some(TestBus::Kafka { url, prefix }) = TestBus::kafka() else { return };
    if !is_there("/usr/bin/kcat")
        || !is_there("/usr/sbin/rsyslogd")
        || !is_there("/usr/lib/x86_64-linux-gnu/rsyslog/omkafka.so")
    {
        return;
    }
    let mut settings = bus_kafka::Settings::from_url(&url).unwrap();
    settings.prefix.clone_from(&prefix);
    settings.partitions = 3;
    // It makes the topics; what is on them is from others.
    bus_kafka::KafkaBus::connect(settings).unwrap().close();
    let (topic, brokers) = (format!("{prefix}raw"), url.trim_start_matches("kafka://").to_owned());
    let folder = tempfile::tempdir().unwrap();
    let lines = write_lines(folder.path(), 0..HALF);
    let kcat =
        Command::new("kcat").args(["-P", "-b", &brokers, "-t", &topic, "-l"]).arg(&lines).status();
    assert!(kcat.unwrap().success(), "kcat was not content");
    std::fs::remove_file(lines).unwrap();
    write_lines(folder.path(), HALF..EVENTS);
    let list: Vec<String> = brokers.split(',').map(|broker| format!("\"{broker}\"")).collect();
    let action = format!(
        r#"template(name="line" type="string" string="%msg%")
action(type="omkafka" broker=[{}] topic="{topic}" template="line" resubmitOnFailure="on"
       keepFailedMessages="on" action.resumeRetryCount="-1" queue.type="LinkedList" queue.size="20000")"#,
        list.join(", "),
    );
    let _rsyslog = Rsyslog::start(folder.path(), "module(load=\"omkafka\")", &action);
    let mut place = Place::start(vec![
        ("WATCHPOST_KAFKA_INPUT_URL", url),
        ("WATCHPOST_KAFKA_INPUT_TOPICS", topic),
        ("WATCHPOST_KAFKA_INPUT_GROUP", prefix),
        ("WATCHPOST_KAFKA_SESSION_SECONDS", "6".to_owned()),
    ]);
    // It may be read to its end before the kill; then nothing may be missing all the same.
    place.kill_in_the_middle("kafka");
    assert_eq!(place.numbers(EVENTS).len(), EVENTS);
}

fn is_there(path: &str) -> bool {
    let found = Path::new(path).exists();
    if !found {
        needed_in_ci(&format!("{path} is not installed"));
    }
    found
}

/// Adds numbered lines to a file, as a service would write them.
fn write_lines(folder: &Path, numbers: Range<usize>) -> PathBuf {
    let path = folder.join("app.log");
    let file = OpenOptions::new().create(true).append(true).open(&path).unwrap();
    let mut file = std::io::BufWriter::new(file);
    for number in numbers {
        writeln!(file, "event {number} of a service that runs since long ago").unwrap();
    }
    file.into_inner().unwrap().sync_all().unwrap();
    path
}

/// A rsyslogd of our own that reads the lines and does this with them; it ends with the test.
struct Rsyslog(Child);

impl Rsyslog {
    fn start(folder: &Path, modules: &str, action: &str) -> Rsyslog {
        let work = folder.join("work");
        std::fs::create_dir_all(&work).unwrap();
        let config = folder.join("rsyslog.conf");
        let text = format!(
            "global(workDirectory=\"{work}\")\n{modules}\nmodule(load=\"imfile\" mode=\"polling\" pollingInterval=\"1\")\ninput(type=\"imfile\" file=\"{log}\" tag=\"app:\" facility=\"local0\" severity=\"info\")\n{action}\n",
            work = work.display(),
            log = folder.join("app.log").display(),
        );
        std::fs::write(&config, text).unwrap();
        let child = Command::new("/usr/sbin/rsyslogd")
            .arg("-n")
            .arg("-f")
            .arg(&config)
            .arg("-i")
            .arg(folder.join("rsyslog.pid"))
            .spawn()
            .unwrap();
        Rsyslog(child)
    }
}

impl Drop for Rsyslog {
    fn drop(&mut self) {
        // It may be gone already.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[test]
fn rsyslog_delivers_to_the_bulk_interface() {
    if !is_there("/usr/sbin/rsyslogd")
        || !is_there("/usr/lib/x86_64-linux-gnu/rsyslog/omelasticsearch.so")
    {
        return;
    }
    let (url, settings) = shippers();
    let mut place = Place::start(settings);
    let port = url.rsplit(':').next().unwrap().to_owned();
    let token = place.server().token.clone();
    let folder = place.folder.path().to_owned();
    let action = format!(
        r#"template(name="json" type="list" option.jsonf="on") {{
  property(outname="@timestamp" name="timereported" dateFormat="rfc3339" format="jsonf")
  property(outname="message" name="msg" format="jsonf")
}}
action(type="omelasticsearch" server="127.0.0.1" serverport="{port}" uid="rsyslog" pwd="{token}"
       template="json" searchIndex="logs-app.rsyslog-default" searchType="" bulkmode="on"
       errorFile="{errors}" action.resumeRetryCount="-1" action.resumeInterval="1"
       queue.type="LinkedList" queue.dequeueBatchSize="200" queue.size="20000")"#,
        errors = folder.join("errors.json").display(),
    );
    write_lines(&folder, 0..EVENTS);
    let _rsyslog = Rsyslog::start(&folder, "module(load=\"omelasticsearch\")", &action);
    place.kill_in_the_middle("elasticsearch");
    let errors = std::fs::read_to_string(folder.join("errors.json")).unwrap_or_default();
    assert_eq!(place.numbers(EVENTS).len(), EVENTS, "{errors}");
}

/// A certificate for this machine, signed by an authority of the test.
fn certificates(folder: &Path) -> Vec<(&'static str, String)> {
    let mut params = CertificateParams::default();
    // Two of one name would be one certificate that signed itself, for OpenSSL.
    params.distinguished_name.push(DnType::CommonName, "authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let key = KeyPair::generate().unwrap();
    let mut own = CertificateParams::new(names).unwrap();
    own.distinguished_name.push(DnType::CommonName, "localhost");
    let own = own.signed_by(&key, &ca).unwrap();
    std::fs::write(folder.join("ca.pem"), ca.pem()).unwrap();
    std::fs::write(folder.join("own.pem"), own.pem()).unwrap();
    std::fs::write(folder.join("own.key"), key.serialize_pem()).unwrap();
    vec![
        ("WATCHPOST_TLS_CERTIFICATE", folder.join("own.pem").display().to_string()),
        ("WATCHPOST_TLS_KEY", folder.join("own.key").display().to_string()),
    ]
}

/// How many of the events are written before the kill, where nothing acknowledges them.
const HALF: usize = EVENTS / 2;

/// Syslog over TLS has no acknowledgements: what the sender had given to its kernel is lost with the
/// process that read it, and the sender does not know. That is what was written before the kill and
/// was not taken by then, and what is written before the sender learns that its connection is gone.
const LOST_MAX: usize = HALF - KILL_AFTER as usize + 1_500;

fn syslog_tls() -> (Place, tempfile::TempDir, u16) {
    let keys = tempfile::tempdir().unwrap();
    let port = free_port();
    let mut settings = certificates(keys.path());
    settings.push(("WATCHPOST_SYSLOG_TCP", format!("tls://127.0.0.1:{port}")));
    (Place::start(settings), keys, port)
}

#[test]
fn rsyslog_delivers_over_tls() {
    if !is_there("/usr/sbin/rsyslogd")
        || !is_there("/usr/lib/x86_64-linux-gnu/rsyslog/lmnsd_ossl.so")
    {
        return;
    }
    let (mut place, keys, port) = syslog_tls();
    let folder = place.folder.path().to_owned();
    let action = format!(
        r#"action(type="omfwd" target="127.0.0.1" port="{port}" protocol="tcp" tcp_framing="octet-counted"
       template="RSYSLOG_SyslogProtocol23Format" streamDriver="ossl" streamDriverMode="1"
       streamDriverAuthMode="x509/certvalid" streamDriver.CAFile="{ca}"
       action.resumeRetryCount="-1" action.resumeInterval="1"
       queue.type="LinkedList" queue.filename="out" queue.size="20000" queue.saveOnShutdown="on")"#,
        ca = keys.path().join("ca.pem").display(),
    );
    write_lines(&folder, 0..HALF);
    let _rsyslog = Rsyslog::start(&folder, "", &action);
    place.kill_in_the_middle("syslog-tls");
    write_lines(&folder, HALF..EVENTS);
    let found = place.numbers(EVENTS - LOST_MAX);
    assert!(found.len() >= EVENTS - LOST_MAX, "{} of {EVENTS} arrived", found.len());
    assert!(found.contains(&(EVENTS - 1)), "the last one did not arrive");
}

#[test]
fn syslog_ng_delivers_over_tls() {
    // Debian lets nobody install rsyslog and syslog-ng together, so CI names another place.
    let program =
        std::env::var("WATCHPOST_TEST_SYSLOG_NG").unwrap_or_else(|_| "/usr/sbin/syslog-ng".into());
    if !is_there(&program) {
        return;
    }
    let (mut place, keys, port) = syslog_tls();
    let folder = place.folder.path().to_owned();
    let config = folder.join("syslog-ng.conf");
    std::fs::write(
        &config,
        format!(
            r#"@version: current
options {{ keep-timestamp(yes); stats-freq(0); }};
source lines {{ file("{log}" follow-freq(1) flags(no-parse) read-old-records(yes)); }};
destination watchpost {{
  syslog("127.0.0.1" port({port}) transport("tls")
    tls(ca-file("{ca}") peer-verify(required-trusted))
    disk-buffer(reliable(yes) disk-buf-size(50000000) mem-buf-size(10000000) dir("{folder}"))
    time-reopen(1));
}};
log {{ source(lines); destination(watchpost); flags(flow-control); }};
"#,
            log = folder.join("app.log").display(),
            ca = keys.path().join("ca.pem").display(),
            folder = folder.display(),
        ),
    )
    .unwrap();
    let file = |name: &str| folder.join(name).display().to_string();
    write_lines(&folder, 0..HALF);
    let child = Command::new(program)
        .args(["--foreground", "--no-caps", "--stderr", "--cfgfile"])
        .arg(&config)
        .args(["--persist-file", &file("persist"), "--pidfile", &file("pid")])
        .args(["--control", &file("control")])
        .spawn()
        .unwrap();
    // It ends with the test, as the other one does.
    let _syslog_ng = Rsyslog(child);
    place.kill_in_the_middle("syslog-tls");
    write_lines(&folder, HALF..EVENTS);
    let found = place.numbers(EVENTS - LOST_MAX);
    assert!(found.len() >= EVENTS - LOST_MAX, "{} of {EVENTS} arrived", found.len());
    assert!(found.contains(&(EVENTS - 1)), "the last one did not arrive");
}

/// A client that only writes, and closes its end once it has: what it sent last must not be lost to a
/// reset that its own system sends because of something that it never read.
#[test]
fn a_client_that_never_reads_loses_nothing_at_its_end() {
    let Some(python) = python("ssl") else { return };
    let (place, keys, port) = syslog_tls();
    let ca = keys.path().join("ca.pem").display().to_string();
    let mut client = run_script(&python, "tls_lines.py", &[&ca, &port.to_string(), "10000"]);
    assert!(wait(&mut client), "the client was not content");
    assert_eq!(place.numbers(EVENTS).len(), EVENTS);
}

/// GELF has no acknowledgements either, and its clients drop what they cannot send.
#[test]
fn graypy_goes_on_after_a_restart() {
    let Some(python) = python("graypy") else { return };
    for (setting, how, listener) in
        [("WATCHPOST_GELF_TCP", "--tcp", "gelf-tcp"), ("WATCHPOST_GELF_UDP", "--udp", "gelf-udp")]
    {
        let port = free_port().to_string();
        let mut place = Place::start(vec![(setting, format!("127.0.0.1:{port}"))]);
        let mut client = run_script(&python, "gelf.py", &["127.0.0.1", &port, "10000", how]);
        place.kill_in_the_middle(listener);
        assert!(wait(&mut client), "the client was not content");
        // A thousand are sent a second, and it waits up to three seconds for a connection.
        let found = place.numbers(EVENTS / 2);
        assert!(found.len() >= EVENTS / 2, "{} of {EVENTS} arrived over {listener}", found.len());
        assert!(found.contains(&(EVENTS - 1)), "the last one did not arrive over {listener}");
    }
}
