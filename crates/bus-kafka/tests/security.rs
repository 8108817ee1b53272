//! Who we are to the brokers, and who they are to us: every way to prove it, and what a person is
//! told when it fails. The password is in none of it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod cluster;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use bus::{Batch, Bus, BusError, Consumer, Output, PollLimits, Polled, Records, Topic};
use bus_kafka::{KafkaBus, Sasl, SaslMechanism, Secret, Settings, Tls};
use cluster::{quick, real};

/// The listeners of a broker with SASL and TLS, and what they ask for.
struct Secured {
    plain: Vec<String>,
    sasl: Vec<String>,
    tls: Vec<String>,
    sasl_tls: Vec<String>,
    user: String,
    password: String,
    ca: PathBuf,
    identity: (PathBuf, PathBuf),
}

impl Secured {
    fn find() -> Option<Self> {
        let plain = real()?;
        if std::env::var_os("WATCHPOST_TEST_KAFKA_SASL").is_none() {
            assert!(
                std::env::var_os("WATCHPOST_TEST_NEEDS_ALL").is_none(),
                "WATCHPOST_TEST_KAFKA_SASL is not set: start the broker with --sasl"
            );
            eprintln!("skipped: the broker has no SASL; deploy/dev/kafka/kafka start --sasl");
            return None;
        }
        let text = |name: &str| std::env::var(format!("WATCHPOST_TEST_KAFKA_{name}")).unwrap();
        let list = |name: &str| text(name).split(',').map(str::to_owned).collect();
        Some(Secured {
            plain,
            sasl: list("SASL"),
            tls: list("SSL"),
            sasl_tls: list("SASL_SSL"),
            user: text("USER"),
            password: std::fs::read_to_string(text("PASSWORD_FILE")).unwrap(),
            ca: text("CA").into(),
            identity: (text("CLIENT_CERT").into(), text("CLIENT_KEY").into()),
        })
    }

    fn with(&self, mechanism: SaslMechanism) -> Option<Sasl> {
        Some(Sasl { mechanism, username: self.user.clone(), password: Secret::new(&self.password) })
    }

    fn with_wrong_password(&self, mechanism: SaslMechanism) -> Option<Sasl> {
        let password = Secret::new(format!("not-{}", self.password));
        Some(Sasl { mechanism, username: self.user.clone(), password })
    }

    fn our_ca(&self) -> Option<Tls> {
        Some(Tls { ca: Some(self.ca.clone()), identity: None })
    }

    fn mutual(&self) -> Option<Tls> {
        Some(Tls { ca: Some(self.ca.clone()), identity: Some(self.identity.clone()) })
    }
}

fn settings(brokers: &[String], tls: Option<Tls>, sasl: Option<Sasl>) -> Settings {
    Settings {
        tls,
        sasl,
        connect_timeout: Duration::from_secs(3),
        partitions: 1,
        ..quick(brokers.to_vec())
    }
}

#[test]
fn every_way_in_carries_records_and_transactions() {
    let Some(secured) = Secured::find() else { return };
    let mut ways = vec![
        ("TLS".to_owned(), settings(&secured.tls, secured.our_ca(), None)),
        ("mutual TLS".to_owned(), settings(&secured.tls, secured.mutual(), None)),
    ];
    for mechanism in SaslMechanism::ALL {
        let sasl = secured.with(mechanism);
        ways.push((mechanism.as_str().to_owned(), settings(&secured.sasl, None, sasl.clone())));
        ways.push((
            format!("{} over TLS", mechanism.as_str()),
            settings(&secured.sasl_tls, secured.our_ca(), sasl),
        ));
    }
    std::thread::scope(|scope| {
        for (name, settings) in ways {
            scope.spawn(move || {
                let started = Instant::now();
                let bus = KafkaBus::connect(settings).unwrap_or_else(|e| panic!("{name}: {e}"));
                append(&bus, "a").unwrap_or_else(|error| panic!("{name}: {error}"));
                let mut consumer = bus.consumer("copy", &[Topic::Raw]).unwrap();
                let batch = next_batch(consumer.as_mut());
                assert_eq!(batch.get(0).unwrap().value, b"a", "{name}");
                let mut output = Output::new();
                output.to(Topic::Events).push(b"", &[], b"b");
                output.put_state(batch.get(0).unwrap().partition, b"k".as_slice(), b"v".as_slice());
                consumer.commit(&mut output).unwrap_or_else(|error| panic!("{name}: {error}"));
                let mut reader = bus.consumer("reader", &[Topic::Events]).unwrap();
                assert_eq!(next_batch(reader.as_mut()).get(0).unwrap().value, b"b", "{name}");
                eprintln!("{name} in {:?}", started.elapsed());
            });
        }
    });
}

#[test]
fn a_failure_says_what_to_do_and_keeps_the_password() {
    let Some(secured) = Secured::find() else { return };
    let log = captured_log();
    let (s, plain) = (&secured, SaslMechanism::Plain);
    let password = secured.password.as_str();
    let wrong_ca = Some(Tls { ca: Some(secured.identity.0.clone()), identity: None });
    let no_ca = Some(Tls { ca: Some("/nowhere/ca.pem".into()), identity: None });
    let nobody = Some(Sasl {
        username: "nobody".into(),
        ..secured.with(SaslMechanism::ScramSha512).unwrap()
    });
    use Kind::{Denied, Misconfigured, Unavailable};
    let mut wrong = vec![
        ("another CA", &s.tls, wrong_ca.clone(), None, Denied, "CA"),
        ("another CA, SASL", &s.sasl_tls, wrong_ca, s.with(plain), Denied, "CA"),
        ("the system's CAs", &s.tls, Some(Tls::default()), None, Denied, "CA"),
        ("no such CA file", &s.tls, no_ca, None, Misconfigured, "/nowhere/ca.pem"),
        ("TLS to a plain port", &s.plain, s.our_ca(), None, Unavailable, "TLS"),
        ("plain to a TLS port", &s.tls, None, None, Unavailable, "TLS"),
        ("no SASL to a SASL port", &s.sasl, None, None, Unavailable, "SASL"),
        ("SASL without its TLS", &s.sasl_tls, None, s.with(plain), Unavailable, "TLS"),
        ("TLS without its SASL", &s.sasl_tls, s.our_ca(), None, Unavailable, "SASL"),
        ("SASL to a plain port", &s.plain, None, s.with(plain), Denied, "mechanism"),
        ("an unknown user", &s.sasl, None, nobody, Denied, "user"),
    ];
    for mechanism in SaslMechanism::ALL {
        let sasl = secured.with_wrong_password(mechanism);
        wrong.push((mechanism.as_str(), &s.sasl, None, sasl.clone(), Denied, "password"));
        wrong.push((mechanism.as_str(), &s.sasl_tls, s.our_ca(), sasl, Denied, "password"));
    }
    std::thread::scope(|scope| {
        for (name, brokers, tls, sasl, kind, advice) in wrong {
            scope.spawn(move || {
                let settings = settings(brokers, tls, sasl);
                assert!(!format!("{settings:?}").contains(password));
                let started = Instant::now();
                let error = match KafkaBus::connect(settings) {
                    Ok(_) => panic!("{name}: it connected"),
                    Err(error) => error,
                };
                let text = error.to_string();
                eprintln!("{name}: {text}");
                let is_kind = match &error {
                    BusError::Denied { .. } => kind == Denied,
                    BusError::Unavailable { .. } => kind == Unavailable,
                    BusError::Misconfigured { .. } => kind == Misconfigured,
                    _ => false,
                };
                assert!(is_kind, "{name}: {error:?}");
                assert!(text.contains(advice), "{name}: {text}");
                assert!(!text.contains(password), "the text has the password");
                assert!(!format!("{error:?}").contains(password));
                assert!(started.elapsed() < Duration::from_secs(8), "{name}: it takes long");
            });
        }
    });
    let log = String::from_utf8(log.lock().unwrap().clone()).unwrap();
    assert!(log.contains("SASL"), "the log is looked at: {log}");
    assert!(!log.contains(password), "the log has the password");
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Denied,
    Unavailable,
    Misconfigured,
}

#[test]
fn a_certificate_is_a_name_that_can_be_refused() {
    let Some(secured) = Secured::find() else { return };
    let settings = settings(&secured.tls, secured.mutual(), None);
    let prefix = settings.prefix.clone();
    let with_certificate = KafkaBus::connect(settings.clone()).unwrap();
    let _allowed = Acl::allow_all(&secured, &prefix);
    let _denied = Acl::deny(&secured, "User:CN=watchpost-client", "Write", "--topic", &prefix);
    let without = KafkaBus::connect(Settings { tls: secured.our_ca(), ..settings }).unwrap();
    append(&without, "a").unwrap();
    eventually("the certificate's owner is refused", || {
        matches!(append(&with_certificate, "b"), Err(BusError::Denied { .. }))
    });
}

/// What a user may do is changed while the bus is running. Each refusal is told, and the bus goes on
/// by itself once it is taken back.
#[test]
fn what_is_denied_while_running_is_told_and_goes_on_when_allowed() {
    let Some(secured) = Secured::find() else { return };
    let sasl = secured.with(SaslMechanism::ScramSha256);
    let settings = settings(&secured.sasl, None, sasl);
    let prefix = settings.prefix.clone();
    let user = format!("User:{}", secured.user);
    let bus = KafkaBus::connect(settings.clone()).unwrap();
    let others = Settings { brokers: secured.plain.clone(), sasl: None, ..settings };
    let others = KafkaBus::connect(others).unwrap();
    let _allowed = Acl::allow_all(&secured, &prefix);
    append(&bus, "0").unwrap();
    let mut consumer = bus.consumer("copy", &[Topic::Raw]).unwrap();
    copy(&bus, consumer.as_mut()).unwrap();

    let told = |what: &str, error: BusError, advice: &str| {
        eprintln!("{what}: {error}");
        assert!(matches!(error, BusError::Denied { .. }), "{what}: {error:?}");
        let text = error.to_string();
        assert!(text.contains(advice), "{what}: {text}");
        assert!(!text.contains(&secured.password), "{what}: the text has the password");
    };

    let denied = Acl::deny(&secured, &user, "Write", "--topic", &prefix);
    let mut refused = None;
    eventually("an append is refused", || {
        refused = append(&bus, "refused").err();
        refused.is_some()
    });
    told("append", refused.unwrap(), "write");
    let mut refused = None;
    append(&others, "1").unwrap();
    eventually("a commit is refused", || {
        // The coordinator may be looked for once more before it says no.
        refused = copy(&bus, consumer.as_mut()).err().filter(|error| !error.is_transient());
        refused.is_some()
    });
    told("commit", refused.unwrap(), "write");
    drop(denied);
    eventually("an append is accepted", || append(&bus, "2").is_ok());
    eventually("a commit is accepted", || copy(&bus, consumer.as_mut()).is_ok());

    let denied = Acl::deny(&secured, &user, "Write", "--transactional-id", &prefix);
    let mut refused = None;
    eventually("a transaction is refused", || {
        append(&others, "3").unwrap();
        refused = copy(&bus, consumer.as_mut()).err().filter(|error| !error.is_transient());
        refused.is_some()
    });
    told("transaction", refused.unwrap(), "transactional");
    drop(denied);
    eventually("a transaction is accepted", || copy(&bus, consumer.as_mut()).is_ok());

    let denied = Acl::deny(&secured, &user, "Read", "--topic", &prefix);
    let limits = PollLimits { wait: Duration::from_millis(200), ..PollLimits::default() };
    let mut refused = None;
    eventually("a poll is refused", || {
        append(&others, "4").unwrap();
        refused = consumer.poll(&limits, &mut Batch::new()).err();
        refused.is_some()
    });
    told("poll", refused.unwrap(), "read");
    drop(denied);

    let denied = Acl::deny(&secured, &user, "Read", "--group", &prefix);
    let mut other = bus.consumer("other", &[Topic::Raw]).unwrap();
    let mut refused = None;
    eventually("joining is refused", || {
        refused = other.poll(&limits, &mut Batch::new()).err();
        refused.is_some()
    });
    told("join", refused.unwrap(), "groups");
    drop(denied);
    eventually("a record is read", || {
        let mut batch = Batch::new();
        matches!(other.poll(&limits, &mut batch), Ok(Polled::Records))
    });
}

/// Commits a copy of what is new, and tells the error of the first try.
fn copy(bus: &KafkaBus, consumer: &mut dyn Consumer) -> Result<(), BusError> {
    let (mut batch, mut output) = (Batch::new(), Output::new());
    let deadline = Instant::now() + Duration::from_secs(20);
    let limits = PollLimits { wait: Duration::from_millis(200), ..PollLimits::default() };
    while bus.lag("copy", &[Topic::Raw])? > 0 {
        assert!(Instant::now() < deadline, "it is not read");
        if consumer.poll(&limits, &mut batch)? != Polled::Records {
            continue;
        }
        for record in batch.iter() {
            output.to(Topic::Events).push(record.key, &[], record.value);
        }
        match consumer.commit(&mut output) {
            Err(BusError::Fenced { .. }) => output.clear(),
            other => other?,
        }
    }
    Ok(())
}

/// A rule that denies something for as long as it lives.
struct Acl {
    arguments: Vec<String>,
}

impl Acl {
    /// Without this, a rule that denies one thing would leave nothing allowed.
    fn allow_all(secured: &Secured, prefix: &str) -> Self {
        let who = ["--allow-principal", "User:*", "--operation", "All"];
        let on = ["--topic", prefix, "--group", prefix, "--transactional-id", prefix];
        Acl::add(secured, &[&who[..], &on[..]].concat())
    }

    fn deny(secured: &Secured, who: &str, what: &str, kind: &str, prefix: &str) -> Self {
        Acl::add(secured, &["--deny-principal", who, "--operation", what, kind, prefix])
    }

    fn add(secured: &Secured, rule: &[&str]) -> Self {
        let server = secured.plain.join(",");
        let always = ["--resource-pattern-type", "prefixed", "--bootstrap-server", &server];
        let arguments = rule.iter().chain(&always).map(|text| (*text).to_owned()).collect();
        let acl = Acl { arguments };
        let said = acl.run(&["--add"]);
        assert!(said.is_empty(), "{said}");
        acl
    }

    /// Runs the tool, and returns what it said if it failed.
    fn run(&self, how: &[&str]) -> String {
        let tool = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/dev/kafka/kafka");
        let ran = Command::new(tool)
            .args(["run", "AclCommand"])
            .args(&self.arguments)
            .args(how)
            .output()
            .unwrap();
        match ran.status.success() {
            true => String::new(),
            false => String::from_utf8_lossy(&ran.stderr).into_owned(),
        }
    }
}

impl Drop for Acl {
    fn drop(&mut self) {
        let said = self.run(&["--remove", "--force"]);
        assert!(said.is_empty() || std::thread::panicking(), "{said}");
    }
}

fn append(bus: &KafkaBus, value: &str) -> Result<(), BusError> {
    let mut records = Records::new();
    records.push(b"key", &[("source", b"test")], value.as_bytes());
    bus.append(Topic::Raw, &mut records)
}

fn next_batch(consumer: &mut dyn Consumer) -> Batch {
    let mut batch = Batch::new();
    let deadline = Instant::now() + Duration::from_secs(30);
    while consumer.poll(&PollLimits::default(), &mut batch).unwrap() != Polled::Records {
        assert!(Instant::now() < deadline, "no records came");
    }
    batch
}

fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// All that is logged in this process from now on.
fn captured_log() -> Arc<Mutex<Vec<u8>>> {
    static LOG: OnceLock<Arc<Mutex<Vec<u8>>>> = OnceLock::new();
    let start = || {
        let log = Arc::new(Mutex::new(Vec::new()));
        let writer = Captured(Arc::clone(&log));
        tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_writer(move || writer.clone())
            .init();
        log
    };
    Arc::clone(LOG.get_or_init(start))
}

#[derive(Clone)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
