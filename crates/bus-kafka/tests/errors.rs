//! What goes wrong on a cluster, one by one: it is told in words that help, nothing is lost or
//! stored twice, and the bus goes on once it is mended. And what foreign senders may write.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

mod cluster;

use std::time::{Duration, Instant};

use bus::{
    Batch, Bus, BusError, Consumer, GapReason, Output, Partition, PollLimits, Polled, Records,
    Topic,
};
use bus_kafka::{KafkaBus, Settings};
use cluster::{quick, real};
use rdkafka::ClientConfig;
use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

fn one_partition(brokers: &[String]) -> Settings {
    Settings { partitions: 1, ..quick(brokers.to_vec()) }
}

#[test]
fn no_broker_is_told_with_its_address() {
    let settings =
        Settings { connect_timeout: Duration::from_secs(2), ..quick(vec!["127.0.0.1:1".into()]) };
    let started = Instant::now();
    let error = KafkaBus::connect(settings).err().unwrap();
    assert!(matches!(error, BusError::Unavailable { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("is Kafka running at 127.0.0.1:1"), "{text}");
    assert!(text.contains("Connection refused"), "{text}");
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[test]
fn names_and_topics_that_cannot_be_are_refused() {
    let Some(brokers) = real() else { return };
    let refused = |settings: Settings, advice: &str| {
        let error = KafkaBus::connect(settings).err().unwrap();
        assert!(matches!(error, BusError::Misconfigured { .. }), "{error:?}");
        assert!(error.to_string().contains(advice), "{error}");
    };
    let settings = one_partition(&brokers);
    refused(Settings { create_topics: false, ..settings.clone() }, "kafka.create_topics");
    refused(Settings { replication: Some(7), ..settings.clone() }, "kafka.replication");
    refused(Settings { instance: "a b".into(), ..settings.clone() }, "kafka.instance");
    refused(Settings { instance: String::new(), ..settings.clone() }, "kafka.instance");
    refused(Settings { prefix: "a/b".into(), ..settings }, "kafka.prefix");
}

#[test]
fn topics_that_are_there_keep_their_partitions() {
    let Some(brokers) = real() else { return };
    let settings = one_partition(&brokers);
    let admin = Admin::new(&brokers);
    admin.create(&format!("{}raw", settings.prefix), 3, &[]);
    let bus = KafkaBus::connect(settings).unwrap();
    assert_eq!(bus.partitions(Topic::Raw), 3);
    assert_eq!(bus.partitions(Topic::Events), 1);
}

#[test]
fn a_topic_that_is_deleted_is_told_and_can_be_made_again() {
    let Some(brokers) = real() else { return };
    let settings = Settings { delivery_timeout: Duration::from_secs(3), ..one_partition(&brokers) };
    let bus = KafkaBus::connect(settings.clone()).unwrap();
    append(&bus, "before").unwrap();
    let mut consumer = bus.consumer("reader", &[Topic::Raw]).unwrap();
    assert_eq!(next_batch(consumer.as_mut()).len(), 1);
    consumer.commit(&mut Output::new()).unwrap();
    Admin::new(&brokers).delete(&format!("{}raw", settings.prefix));

    let told = |what: &str, error: BusError| {
        eprintln!("{what}: {error}");
        assert!(matches!(error, BusError::Unavailable { .. }), "{what}: {error:?}");
        assert!(error.is_transient(), "it is tried again");
    };
    let refused = eventually_err(|| append(&bus, "while away"));
    assert!(refused.to_string().contains("is the topic there"), "{refused}");
    told("append", refused);
    let health = eventually_err(|| bus.health());
    assert!(health.to_string().contains("deleted the topic"), "{health}");
    told("health", health);
    let limits = PollLimits { wait: Duration::from_millis(100), ..PollLimits::default() };
    // A member whose group noticed it first has no partition any more and nothing to tell.
    eventually("the member notices it", || match consumer.poll(&limits, &mut Batch::new()) {
        Ok(_) => consumer.assignment().is_empty(),
        Err(error) => {
            assert!(error.to_string().contains("deleted the topic"), "{error}");
            told("poll", error);
            true
        }
    });

    let again = KafkaBus::connect(settings).unwrap();
    append(&again, "after").unwrap();
    drop(again);
    // The one that was running all the time goes on too, from the new topic's beginning.
    eventually("it goes on", || append(&bus, "last").is_ok());
    let mut values = Vec::new();
    eventually("it is read", || {
        let mut batch = Batch::new();
        let polled = consumer.poll(&limits, &mut batch);
        if let Ok(Polled::Records) = polled {
            values.extend(batch.iter().map(|r| String::from_utf8(r.value.to_vec()).unwrap()));
        }
        values.iter().any(|value| value == "last")
    });
    assert!(values.contains(&"after".to_owned()), "{values:?}");
}

#[test]
fn a_record_that_the_brokers_refuse_as_too_large_is_told() {
    let Some(brokers) = real() else { return };
    let settings = one_partition(&brokers);
    let bus = KafkaBus::connect(settings.clone()).unwrap();
    let (raw, events) = (format!("{}raw", settings.prefix), format!("{}events", settings.prefix));
    let admin = Admin::new(&brokers);
    for topic in [&raw, &events] {
        admin.set(topic, "max.message.bytes", "10000");
    }
    let large: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..)).take(50_000).collect();
    let told = |error: &BusError, topic: &str| {
        assert!(matches!(error, BusError::Misconfigured { .. }), "{error:?}");
        let text = error.to_string();
        assert!(text.contains(topic) && text.contains("max.message.bytes"), "{text}");
    };
    let mut records = Records::new();
    records.push(b"", &[], &large);
    told(&bus.append(Topic::Raw, &mut records).unwrap_err(), &raw);
    assert_eq!(records.len(), 1, "they are left");
    append(&bus, "small").unwrap();

    let mut consumer = bus.consumer("copy", &[Topic::Raw]).unwrap();
    let mut output = Output::new();
    next_batch(consumer.as_mut());
    output.to(Topic::Events).push(b"", &[], b"beside it");
    output.to(Topic::Events).push(b"", &[], &large);
    output.put_state(Partition(0), b"k".as_slice(), b"v".as_slice());
    let started = Instant::now();
    told(&consumer.commit(&mut output).unwrap_err(), &events);
    assert!(
        started.elapsed() < Duration::from_secs(4),
        "it does not wait for the transaction's end"
    );
    assert_eq!(output.records(Topic::Events).len(), 2, "the output is left");
    // What became of a failed commit may be unknown, so the same is not accepted again as it is.
    assert!(matches!(consumer.commit(&mut output), Err(BusError::Fenced { .. })));
    assert_eq!(bus.lag("copy", &[Topic::Raw]).unwrap(), 1);
    assert_eq!(bus.lag("nobody", &[Topic::Events]).unwrap(), 0);

    admin.set(&events, "max.message.bytes", "100000");
    let mut batch = Batch::new();
    let polled = consumer.poll(&PollLimits::default(), &mut batch).unwrap();
    assert_eq!(polled, Polled::Reassigned, "it begins anew");
    assert_eq!(next_batch(consumer.as_mut()).len(), 1);
    eventually("it is accepted now", || match consumer.commit(&mut output) {
        Ok(()) => true,
        Err(_) => {
            consumer.rewind().unwrap();
            next_batch(consumer.as_mut());
            false
        }
    });
    // A commit is promised when it returns; the brokers show it when its marks are written.
    eventually("it is seen", || bus.lag("nobody", &[Topic::Events]).unwrap() == 2);
    assert_eq!(consumer.state().get(Partition(0), b"k").unwrap(), Some(b"v".to_vec()));
}

/// Who comes last under a name has the place; the other is told, stores nothing, and comes back when
/// the place is free.
#[test]
fn two_processes_of_one_name_are_told_and_store_nothing_twice() {
    let Some(brokers) = real() else { return };
    let settings = one_partition(&brokers);
    let first = KafkaBus::connect(settings.clone()).unwrap();
    append(&first, "a").unwrap();
    let mut old = first.consumer("copy", &[Topic::Raw]).unwrap();
    let mut output = Output::new();
    next_batch(old.as_mut());
    output.to(Topic::Events).push(b"", &[], b"of the old");

    let second = KafkaBus::connect(settings).unwrap();
    let mut new = second.consumer("copy", &[Topic::Raw]).unwrap();
    let batch = next_batch(new.as_mut());
    let refused = old.commit(&mut output);
    assert!(matches!(refused, Err(BusError::Fenced { .. })), "{refused:?}");
    let limits = PollLimits { wait: Duration::from_millis(100), ..PollLimits::default() };
    let told = eventually_err(|| old.poll(&limits, &mut Batch::new()).map(|_| ()));
    assert!(matches!(told, BusError::Denied { .. }), "{told:?}");
    assert!(told.to_string().contains("instance name"), "{told}");
    // It waits a while then, and neither stores nor throws the other out meanwhile.
    let refused = old.commit(&mut output);
    assert!(matches!(refused, Err(BusError::Fenced { .. })), "{refused:?}");
    old.rewind().unwrap();
    assert_eq!(old.poll(&limits, &mut Batch::new()).unwrap(), Polled::Nothing);

    let mut output = Output::new();
    for record in batch.iter() {
        output.to(Topic::Events).push(b"", &[], record.value);
    }
    new.commit(&mut output).unwrap();
    drop(new);
    drop(second);
    append(&first, "b").unwrap();
    let batch = next_batch(old.as_mut());
    let values: Vec<&[u8]> = batch.iter().map(|record| record.value).collect();
    assert_eq!(values, [b"b"]);
    let mut output = Output::new();
    output.to(Topic::Events).push(b"", &[], b"b");
    old.commit(&mut output).unwrap();
    assert_eq!(values_of(&first, Topic::Events), ["a", "b"]);
}

/// What a stage makes without a record, at a tick, is fenced like everything else.
#[test]
fn a_tick_of_a_zombie_is_refused() {
    let Some(brokers) = real() else { return };
    let bus = KafkaBus::connect(one_partition(&brokers)).unwrap();
    append(&bus, "a").unwrap();
    let mut zombie = bus.consumer("tick", &[Topic::Raw]).unwrap();
    next_batch(zombie.as_mut());
    zombie.commit(&mut Output::new()).unwrap();
    let mut heir = bus.consumer("tick", &[Topic::Raw]).unwrap();
    let limits = PollLimits { wait: Duration::from_millis(100), ..PollLimits::default() };
    eventually("the group deals anew", || {
        heir.poll(&limits, &mut Batch::new()).unwrap() == Polled::Reassigned
    });
    let mut output = Output::new();
    output.put_state(Partition(0), b"k".as_slice(), b"of the zombie".as_slice());
    let refused = zombie.commit(&mut output);
    assert!(matches!(refused, Err(BusError::Fenced { .. })), "{refused:?}");
    drop((zombie, heir));
    let mut next = bus.consumer("tick", &[Topic::Raw]).unwrap();
    eventually("it has the partition", || {
        next.poll(&limits, &mut Batch::new()).unwrap();
        !next.assignment().is_empty()
    });
    assert_eq!(next.state().get(Partition(0), b"k").unwrap(), None);
}

#[test]
fn what_foreign_senders_write_is_read() {
    let Some(brokers) = real() else { return };
    let settings = Settings { record_bytes_max: 1_000_000, ..one_partition(&brokers) };
    let name = format!("{}raw", settings.prefix);
    let far = i64::MAX.to_string();
    let admin = Admin::new(&brokers);
    admin.create(
        &name,
        1,
        &[("message.timestamp.type", "CreateTime"), ("message.timestamp.after.max.ms", &far)],
    );
    let bus = KafkaBus::connect(settings).unwrap();
    let producer: BaseProducer = client(&brokers).create().unwrap();
    let send = |record: BaseRecord<'_, [u8], [u8]>| {
        producer.send(record.partition(0)).map_err(|(error, _)| error).unwrap();
        producer.flush(Duration::from_secs(10)).unwrap();
    };
    let headers = |all: &[(&str, &[u8])]| {
        all.iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
            headers.insert(Header { key, value: Some(*value) })
        })
    };
    let to = || BaseRecord::<[u8], [u8]>::to(&name);
    send(to().payload(b"no key"));
    send(to().key(b"no value"));
    send(to());
    let no_text = not_text();
    let odd = headers(&[("a", b"1"), (&no_text, b"2"), ("c", b"3")]);
    send(
        to().payload(b"odd header").headers(odd.insert(Header::<&[u8]> { key: "d", value: None })),
    );
    let long = vec![b'x'; 70_000];
    send(to().payload(b"huge header").headers(headers(&[("a", b"1"), ("b", &long), ("c", b"3")])));
    let long_name = "n".repeat(65_536);
    send(to().payload(b"long name").headers(headers(&[("a", b"1"), (&long_name, b"")])));
    let many = vec![("", b"".as_slice()); 20_000];
    send(to().payload(b"many headers").headers(headers(&many)));
    send(to().payload(b"far future").timestamp(i64::MAX - 1));
    send(to().payload(b"far past").timestamp(1));
    for codec in ["gzip", "snappy", "lz4", "zstd"] {
        let producer: BaseProducer =
            client(&brokers).set("compression.type", codec).create().unwrap();
        let value = codec.repeat(1000);
        producer.send(to().payload(value.as_bytes()).partition(0)).map_err(|(e, _)| e).unwrap();
        // Larger than a record may be, and small on its way.
        let bomb = vec![0; 3_000_000];
        producer.send(to().payload(&bomb).partition(0)).map_err(|(e, _)| e).unwrap();
        producer.flush(Duration::from_secs(10)).unwrap();
    }
    send(to().payload(b"last"));

    let mut consumer = bus.consumer("reader", &[Topic::Raw]).unwrap();
    let mut gaps = Vec::new();
    let mut read: Vec<Read> = Vec::new();
    while read.last().is_none_or(|read| read.value != b"last") {
        let batch = next_batch(consumer.as_mut());
        gaps.extend_from_slice(batch.gaps());
        for record in batch.iter() {
            let size = record.headers.bytes_len();
            assert!(size <= bus::HEADERS_MAX, "{size} bytes of headers");
            read.push(Read {
                key: record.key.to_vec(),
                value: record.value.to_vec(),
                names: record.headers.iter().map(|(name, _)| name.to_owned()).collect(),
                time: record.timestamp,
            });
        }
    }
    let find = |value: &str| {
        let found = read.iter().find(|read| read.value == value.as_bytes());
        found.unwrap_or_else(|| panic!("{value} is not there"))
    };
    assert_eq!(find("no key").key, b"");
    assert!(read.iter().any(|read| read.key == b"no value" && read.value.is_empty()));
    assert!(read.iter().any(|read| read.key.is_empty() && read.value.is_empty()));
    assert_eq!(find("odd header").names, ["a", "c", "d"]);
    assert_eq!(find("huge header").names, ["a"]);
    assert_eq!(find("long name").names, ["a"]);
    assert!(find("many headers").names.len() < 20_000);
    assert!(find("far future").time > event::Timestamp::now());
    assert_eq!(find("far past").time.as_millis(), 1);
    for codec in ["gzip", "snappy", "lz4", "zstd"] {
        find(&codec.repeat(1000));
    }
    assert_eq!(read.len(), 14);
    assert_eq!(gaps.len(), 4, "{gaps:?}");
    for gap in &gaps {
        assert!(
            matches!(&gap.reason, GapReason::Corrupt(why) if why.contains("1000000")),
            "{gap:?}"
        );
        assert_eq!(gap.next.0, gap.first.0 + 1);
    }
    consumer.commit(&mut Output::new()).unwrap();
    assert_eq!(bus.lag("reader", &[Topic::Raw]).unwrap(), 0);
}

/// A record as it was read.
struct Read {
    key: Vec<u8>,
    value: Vec<u8>,
    names: Vec<String>,
    time: event::Timestamp,
}

/// A name that is not UTF-8, as other languages may send it.
fn not_text() -> String {
    #[expect(unsafe_code, reason = "the client library takes names as text only")]
    // SAFETY: nobody looks at it as text; its bytes are copied and sent.
    unsafe {
        String::from_utf8_unchecked(vec![0xff, 0xfe])
    }
}

#[test]
fn a_large_commit_is_one_step() {
    const RECORDS: usize = 12_000;
    let Some(brokers) = real() else { return };
    let settings = Settings { partitions: 3, ..quick(brokers) };
    let bus = KafkaBus::connect(settings).unwrap();
    append(&bus, "a").unwrap();
    let mut consumer = bus.consumer("copy", &[Topic::Raw]).unwrap();
    let partition = next_batch(consumer.as_mut()).get(0).unwrap().partition;
    let mut output = Output::new();
    for number in 0..RECORDS {
        let text = number.to_string();
        output.to(Topic::Events).push(text.as_bytes(), &[("n", b"1")], text.as_bytes());
        output.put_state(partition, text.clone(), text);
    }
    // Empty, but there.
    output.put_state(partition, b"empty".as_slice(), b"".as_slice());
    let started = Instant::now();
    consumer.commit(&mut output).unwrap();
    eprintln!("{RECORDS} records and changes in {:?}", started.elapsed());
    drop(consumer);
    let mut values: Vec<usize> =
        values_of(&bus, Topic::Events).iter().map(|value| value.parse().unwrap()).collect();
    values.sort_unstable();
    assert!(values.into_iter().eq(0..RECORDS), "each is there once");
    let mut consumer = bus.consumer("copy", &[Topic::Raw]).unwrap();
    let limits = PollLimits { wait: Duration::from_secs(20), ..PollLimits::default() };
    assert_eq!(consumer.poll(&limits, &mut Batch::new()).unwrap(), Polled::Reassigned);
    let mut count = 0;
    consumer.state().scan(b"", &mut |_, _, _| count += 1).unwrap();
    assert_eq!(count, RECORDS + 1);
    assert_eq!(consumer.state().get(partition, b"empty").unwrap(), Some(Vec::new()));
}

#[test]
fn lag_counts_records_and_not_the_marks_of_transactions() {
    let Some(brokers) = real() else { return };
    let bus = KafkaBus::connect(one_partition(&brokers)).unwrap();
    let mut copier = bus.consumer("copy", &[Topic::Raw]).unwrap();
    let mut reader = bus.consumer("reader", &[Topic::Events]).unwrap();
    let lag = |group: &str| bus.lag(group, &[Topic::Events]).unwrap();
    for round in 1..=10 {
        append(&bus, "a").unwrap();
        next_batch(copier.as_mut());
        let mut output = Output::new();
        output.to(Topic::Events).push(b"", &[], b"a");
        output.to(Topic::Events).push(b"", &[], b"b");
        copier.commit(&mut output).unwrap();
        eventually("it is seen", || lag("nobody") == 2 * round);
        assert_eq!(lag("reader"), 2, "in round {round}");
        let limits = PollLimits { records_max: 1, ..PollLimits::default() };
        for left in [1, 0] {
            poll_records(reader.as_mut(), &limits);
            reader.commit(&mut Output::new()).unwrap();
            assert_eq!(lag("reader"), left, "in round {round}");
        }
    }
    let end = bus.extents(Topic::Events).unwrap()[0].end.0;
    assert!(end > 20, "there are marks: {end}");
}

/// What an administrator does.
struct Admin(AdminClient<DefaultClientContext>);

impl Admin {
    fn new(brokers: &[String]) -> Self {
        Admin(client(brokers).create().unwrap())
    }

    fn create(&self, name: &str, partitions: i32, with: &[(&str, &str)]) {
        let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
        for (key, value) in with {
            topic = topic.set(key, value);
        }
        let done = pollster::block_on(self.0.create_topics([&topic], &AdminOptions::new()));
        done.unwrap().pop().unwrap().unwrap();
    }

    fn delete(&self, name: &str) {
        let done = pollster::block_on(self.0.delete_topics(&[name], &AdminOptions::new()));
        done.unwrap().pop().unwrap().unwrap();
    }

    fn set(&self, name: &str, key: &str, value: &str) {
        let change = AlterConfig::new(ResourceSpecifier::Topic(name)).set(key, value);
        let done = pollster::block_on(self.0.alter_configs([&change], &AdminOptions::new()));
        done.unwrap().pop().unwrap().unwrap();
    }
}

fn client(brokers: &[String]) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers.join(",")).set("message.max.bytes", "10000000");
    config
}

fn append(bus: &KafkaBus, value: &str) -> Result<(), BusError> {
    let mut records = Records::new();
    records.push(b"key", &[("source", b"test")], value.as_bytes());
    bus.append(Topic::Raw, &mut records)
}

fn next_batch(consumer: &mut dyn Consumer) -> Batch {
    poll_records(consumer, &PollLimits::default())
}

fn poll_records(consumer: &mut dyn Consumer, limits: &PollLimits) -> Batch {
    let mut batch = Batch::new();
    let deadline = Instant::now() + Duration::from_secs(30);
    while consumer.poll(limits, &mut batch).unwrap() != Polled::Records {
        assert!(Instant::now() < deadline, "no records came");
    }
    batch
}

/// The values of a topic, in its order.
fn values_of(bus: &KafkaBus, topic: Topic) -> Vec<String> {
    let mut consumer = bus.consumer("values", &[topic]).unwrap();
    let mut values = Vec::new();
    while bus.lag("values", &[topic]).unwrap() > 0 {
        let batch = next_batch(consumer.as_mut());
        values.extend(batch.iter().map(|r| String::from_utf8(r.value.to_vec()).unwrap()));
        consumer.commit(&mut Output::new()).unwrap();
    }
    values
}

fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !is_so() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The error that comes sooner or later.
fn eventually_err(mut call: impl FnMut() -> Result<(), BusError>) -> BusError {
    let mut failed = None;
    eventually("an error", || {
        failed = call().err();
        failed.is_some()
    });
    failed.unwrap()
}
