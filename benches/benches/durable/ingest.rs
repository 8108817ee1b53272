//! Logs from the network until they are durable, beside rsyslog.
//!
//! All take the same events over as many connections and must have all of them on disk, with a sync
//! for each batch. Over syslog nobody acknowledges, because it has no way to; over `_bulk` a
//! connection sends its next request once the last one is answered, as Beats do.

use std::io::{BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use rcgen::{CertificateParams, DnType, KeyPair};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::process::{Process, Server, free_address, wait_for_listener, wait_until};
use crate::{Fault, Setting, emptied, number, payload};

const CONNECTIONS: usize = 4;
const EVENT_BYTES: usize = 300;
const RSYSLOG: &str = "/usr/sbin/rsyslogd";

/// The stream repeats itself after so many events, which is farther than LZ4 looks.
const BLOCK_EVENTS: usize = 10_000;

/// Documents of a request: the default of Filebeat 9 is 1,600, of Logstash and Vector about 1,000.
const BULK_EVENTS: usize = 1000;

const CHECK_EVERY: Duration = Duration::from_millis(10);
const TIME_MAX: Duration = Duration::from_secs(300);

pub(crate) fn run(setting: &Setting) -> Result<(), Fault> {
    let blocks = number("LINES", 400_000)? / BLOCK_EVENTS;
    let stream = Stream { repeats: blocks.max(1), tls: Identity::new()? };
    println!(
        "{CONNECTIONS} connections, {} events of {EVENT_BYTES} bytes each",
        stream.repeats * BLOCK_EVENTS
    );
    let mut contenders = vec![
        Contender::new("syslog, TCP", |folder, stream| syslog(folder, stream, Wire::Plain)),
        Contender::new("syslog, TLS", |folder, stream| syslog(folder, stream, Wire::Tls)),
        Contender::new("_bulk", bulk),
    ];
    if Path::new(RSYSLOG).exists() {
        contenders.extend([
            Contender::new("rsyslog, imtcp", |folder, stream| {
                rsyslog(folder, stream, "imtcp", Wire::Plain)
            }),
            Contender::new("rsyslog, imptcp", |folder, stream| {
                rsyslog(folder, stream, "imptcp", Wire::Plain)
            }),
            Contender::new("rsyslog, imtcp, TLS", |folder, stream| {
                rsyslog(folder, stream, "imtcp", Wire::Tls)
            }),
        ]);
    } else {
        println!("{RSYSLOG} is not there, so without it");
    }
    for _ in 0..setting.rounds {
        for contender in &mut contenders {
            let folder = emptied(setting.folder.join("ingest"))?;
            let turn = (contender.run)(&folder, &stream);
            contender.turns.push(turn.map_err(|why| format!("{}: {why}", contender.name))?);
        }
    }
    emptied(setting.folder.join("ingest"))?;
    println!(
        "{:<20} | {:>9} {:>7} {:>6} | {:>18} | turns, events/s",
        "", "events/s", "MB/s", "ratio", "CPU s / M events"
    );
    let events = stream.events() as f64;
    let rate = |turn: &Turn| events / turn.seconds;
    let best = |contender: &Contender| contender.turns.iter().map(rate).fold(0.0, f64::max);
    let first = contenders.first().map_or(f64::NAN, best);
    for contender in &contenders {
        let cpu = contender.turns.iter().map(|turn| turn.cpu_seconds).fold(f64::INFINITY, f64::min);
        let turns: Vec<String> =
            contender.turns.iter().map(|turn| format!("{:.0}", rate(turn))).collect();
        let best = best(contender);
        println!(
            "{:<20} | {best:>9.0} {:>7.1} {:>6.2} | {:>18.2} | {}",
            contender.name,
            best * EVENT_BYTES as f64 / 1e6,
            best / first,
            cpu * 1e6 / events,
            turns.join(" ")
        );
    }
    Ok(())
}

struct Contender {
    name: &'static str,
    run: fn(&Path, &Stream) -> Result<Turn, Fault>,
    turns: Vec<Turn>,
}

impl Contender {
    fn new(name: &'static str, run: fn(&Path, &Stream) -> Result<Turn, Fault>) -> Self {
        Contender { name, run, turns: Vec::new() }
    }
}

struct Turn {
    /// From the first byte until all is durable.
    seconds: f64,
    /// Of the process that is measured.
    cpu_seconds: f64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Wire {
    Plain,
    Tls,
}

/// A certificate for loopback, and who trusts it.
struct Identity {
    certificate: String,
    key: String,
    client: Arc<ClientConfig>,
}

impl Identity {
    fn new() -> Result<Identity, Fault> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(vec!["localhost".to_owned()])?;
        params.distinguished_name.push(DnType::CommonName, "localhost");
        let certificate = params.self_signed(&key)?;
        let mut roots = RootCertStore::empty();
        roots.add(certificate.der().clone())?;
        let client = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let (certificate, key) = (certificate.pem(), key.serialize_pem());
        Ok(Identity { certificate, key, client: Arc::new(client) })
    }

    fn write(&self, folder: &Path) -> Result<(String, String), Fault> {
        let (certificate, key) = (folder.join("own.pem"), folder.join("own.key"));
        std::fs::write(&certificate, &self.certificate)?;
        std::fs::write(&key, &self.key)?;
        Ok((certificate.display().to_string(), key.display().to_string()))
    }
}

/// What is sent: a block for each connection, again and again.
struct Stream {
    repeats: usize,
    tls: Identity,
}

impl Stream {
    fn events(&self) -> usize {
        CONNECTIONS * self.repeats * BLOCK_EVENTS
    }

    /// Sends all of it over all connections, and waits until it is durable.
    fn send(
        &self,
        process: &Process,
        senders: Vec<Sender<'_>>,
        is_durable: impl FnMut() -> Result<bool, Fault>,
    ) -> Result<Turn, Fault> {
        let cpu_before = process.cpu_seconds()?;
        let started = Instant::now();
        std::thread::scope(|scope| {
            let senders: Vec<_> = senders.into_iter().map(|sender| scope.spawn(sender)).collect();
            wait_until(CHECK_EVERY, TIME_MAX, is_durable)?;
            let seconds = started.elapsed().as_secs_f64();
            for sender in senders {
                sender.join().map_err(|_| "a sender panicked")??;
            }
            Ok(Turn { seconds, cpu_seconds: process.cpu_seconds()? - cpu_before })
        })
    }

    /// Senders of lines of RFC 5424, framed by newlines.
    fn lines(&self, to: SocketAddr, wire: Wire) -> Vec<Sender<'_>> {
        let sender = |seed| {
            let random = &mut Rng::with_seed(seed);
            let line = |_| payload::rfc5424_line(random, EVENT_BYTES);
            let block: Vec<u8> = (0..BLOCK_EVENTS).flat_map(line).collect();
            Box::new(move || {
                let mut socket = TcpStream::connect(to)?;
                if wire == Wire::Plain {
                    for _ in 0..self.repeats {
                        socket.write_all(&block)?;
                    }
                    return Ok(());
                }
                let name = ServerName::try_from("localhost")?;
                let session = ClientConnection::new(Arc::clone(&self.tls.client), name)?;
                let mut stream = StreamOwned::new(session, socket);
                for _ in 0..self.repeats {
                    // As much as a record of TLS has.
                    block.chunks(16 * 1024).try_for_each(|part| stream.write_all(part))?;
                }
                stream.conn.send_close_notify();
                stream.flush()?;
                // What waits unread at a close (OpenSSL sends tickets) would reset the connection,
                // and cost the receiver what is under way.
                let mut socket = stream.sock;
                socket.shutdown(Shutdown::Write)?;
                std::io::copy(&mut socket, &mut std::io::sink())?;
                Ok(())
            }) as Sender<'_>
        };
        (0..CONNECTIONS as u64).map(sender).collect()
    }

    /// Senders of `_bulk` requests, each of which waits for its answers.
    fn bulks(&self, to: SocketAddr, token: &str) -> Vec<Sender<'_>> {
        let sender = |seed| {
            let random = &mut Rng::with_seed(seed);
            let requests: Vec<Vec<u8>> = (0..BLOCK_EVENTS / BULK_EVENTS)
                .map(|_| {
                    let mut body = Vec::new();
                    for _ in 0..BULK_EVENTS {
                        body.extend_from_slice(b"{\"create\":{}}\n");
                        body.extend(payload::document(random, EVENT_BYTES));
                    }
                    let head = format!(
                        "POST /logs-bench-default/_bulk HTTP/1.1\r\nhost: localhost\r\n\
                         authorization: Bearer {token}\r\ncontent-type: application/x-ndjson\r\n\
                         content-length: {}\r\n\r\n",
                        body.len()
                    );
                    [head.into_bytes(), body].concat()
                })
                .collect();
            Box::new(move || {
                let mut socket = TcpStream::connect(to)?;
                socket.set_nodelay(true)?;
                let mut answers = BufReader::new(socket.try_clone()?);
                for _ in 0..self.repeats {
                    for request in &requests {
                        socket.write_all(request)?;
                        let answer = answer(&mut answers)?;
                        if !answer.contains(r#""errors":false"#) {
                            return Err(format!("answered: {answer}").into());
                        }
                    }
                }
                Ok(())
            }) as Sender<'_>
        };
        (0..CONNECTIONS as u64).map(sender).collect()
    }
}

type Sender<'s> = Box<dyn FnOnce() -> Result<(), Fault> + Send + 's>;

/// The body of an answer of HTTP/1.1 that says how long it is.
fn answer(from: &mut impl Read) -> Result<String, Fault> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        from.read_exact(&mut byte)?;
        head.extend(byte);
    }
    let head = String::from_utf8(head)?.to_ascii_lowercase();
    if !head.starts_with("http/1.1 200") {
        return Err(head.into());
    }
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
    let mut body = vec![0; length.ok_or("an answer of unknown length")?.trim().parse()?];
    from.read_exact(&mut body)?;
    Ok(String::from_utf8(body)?)
}

/// Whether a server has taken so many events, which it counts when the bus has acknowledged. A
/// process without pages has this but no status.
fn has_taken(server: &Server, listener: &str, events: usize) -> Result<bool, Fault> {
    let metrics = server.get("/metrics")?;
    let name = format!("watchpost_ingest_records_total{{listener=\"{listener}\"}} ");
    let counted = metrics.lines().find_map(|line| line.strip_prefix(&name));
    Ok(counted.is_some_and(|count| count.parse() == Ok(events)))
}

fn syslog(folder: &Path, stream: &Stream, wire: Wire) -> Result<Turn, Fault> {
    let address = free_address()?;
    let (certificate, key) = stream.tls.write(folder)?;
    let (listener, listen) = match wire {
        Wire::Plain => ("syslog-tcp", address.to_string()),
        Wire::Tls => ("syslog-tls", format!("tls://{address}")),
    };
    let server = Server::start(
        &folder.join("data"),
        &["--stages", "ingest"],
        &[
            ("WATCHPOST_SYSLOG_TCP", &listen),
            ("WATCHPOST_TLS_CERTIFICATE", &certificate),
            ("WATCHPOST_TLS_KEY", &key),
        ],
    )?;
    let senders = stream.lines(address, wire);
    stream.send(&server.process, senders, || has_taken(&server, listener, stream.events()))
}

fn bulk(folder: &Path, stream: &Stream) -> Result<Turn, Fault> {
    let address = free_address()?;
    let server = Server::start(
        &folder.join("data"),
        &["--stages", "ingest"],
        &[("WATCHPOST_SHIPPERS_LISTEN", &address.to_string())],
    )?;
    let senders = stream.bulks(address, server.token());
    stream.send(&server.process, senders, || has_taken(&server, "elasticsearch", stream.events()))
}

/// The settings are the fastest of those that we tried with which rsyslog loses nothing: one worker
/// (only one can write the file), large batches (a sync is for a batch), a queue in memory that makes
/// senders wait when it is full, a large buffer before the file, lines written as they came.
fn rsyslog(folder: &Path, stream: &Stream, input: &str, wire: Wire) -> Result<Turn, Fault> {
    let address = free_address()?;
    let (config, out) = (folder.join("rsyslog.conf"), folder.join("out.log"));
    let (certificate, key) = stream.tls.write(folder)?;
    let (driver, with_driver) = match wire {
        Wire::Plain => (String::new(), ""),
        Wire::Tls => (
            format!(
                r#"global(defaultNetstreamDriverCAFile="{certificate}"
       defaultNetstreamDriverCertFile="{certificate}" defaultNetstreamDriverKeyFile="{key}")"#
            ),
            r#"streamDriver.name="ossl" streamDriver.mode="1" streamDriver.authMode="anon""#,
        ),
    };
    std::fs::write(
        &config,
        format!(
            r#"global(workDirectory="{folder}" maxMessageSize="64k")
{driver}
main_queue(queue.type="FixedArray" queue.size="200000" queue.dequeueBatchSize="16384"
           queue.workerThreads="1" queue.timeoutEnqueue="600000")
module(load="{input}" {with_driver})
input(type="{input}" address="127.0.0.1" port="{port}")
template(name="raw" type="list") {{ property(name="rawmsg") constant(value="\n") }}
action(type="omfile" file="{out}" template="raw" sync="on" asyncWriting="off" ioBufferSize="1m")
"#,
            folder = folder.display(),
            port = address.port(),
            out = out.display(),
        ),
    )?;
    let child = Command::new(RSYSLOG)
        .arg("-n")
        .arg("-f")
        .arg(&config)
        .arg("-i")
        .arg(folder.join("rsyslog.pid"))
        .stdin(Stdio::null())
        .spawn()?;
    let process = Process(child);
    wait_for_listener(address)?;
    let bytes = (stream.events() * EVENT_BYTES) as u64;
    let senders = stream.lines(address, wire);
    // Seen when it is written, which is before the last sync.
    let turn = stream
        .send(&process, senders, || Ok(out.metadata().is_ok_and(|meta| meta.len() >= bytes)))?;
    let length = out.metadata()?.len();
    if length != bytes {
        return Err(format!("rsyslog wrote {length} bytes of {bytes}").into());
    }
    Ok(turn)
}
