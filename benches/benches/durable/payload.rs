//! What is sent: lines and events like real ones, in which little repeats.

use fastrand::Rng;

const WORDS: [&str; 24] = [
    "session",
    "opened",
    "closed",
    "for",
    "user",
    "connection",
    "reset",
    "by",
    "peer",
    "accepted",
    "publickey",
    "timeout",
    "while",
    "reading",
    "response",
    "header",
    "from",
    "upstream",
    "retry",
    "scheduled",
    "cache",
    "expired",
    "worker",
    "started",
];

/// Lines of `sshd` over old syslog, up to exactly so many bytes.
pub(crate) fn old_lines(random: &mut Rng, bytes: usize) -> Vec<u8> {
    let mut value = Vec::new();
    while value.len() < bytes {
        let (host, pid, port) = (random.u16(..500), random.u16(..), random.u16(..));
        let line = format!(
            "<38>Nov 24 12:{:02}:{:02} web{host:03} sshd[{pid}]: Failed password for \
             invalid user admin from 10.{}.{}.{} port {port} ssh2\n",
            random.u8(..60),
            random.u8(..60),
            random.u8(..),
            random.u8(..),
            random.u8(..)
        );
        value.extend_from_slice(line.as_bytes());
    }
    value.truncate(bytes);
    value
}

/// A line of RFC 5424 of exactly so many bytes, with a newline as the last.
pub(crate) fn rfc5424_line(random: &mut Rng, bytes: usize) -> Vec<u8> {
    let mut line = format!(
        "<{}>1 2026-08-05T12:{:02}:{:02}.{:06}Z web{:03}.example.com sshd {} ID{} \
         [origin@32473 ip=\"10.{}.{}.{}\" port=\"{}\" trace=\"{:016x}\"]",
        8 * random.u8(1..12) + random.u8(..8),
        random.u8(..60),
        random.u8(..60),
        random.u32(..1_000_000),
        random.u16(..500),
        random.u16(..),
        random.u8(1..60),
        random.u8(..),
        random.u8(..),
        random.u8(..),
        random.u16(..),
        random.u64(..),
    );
    while line.len() < bytes {
        line.push(' ');
        match random.u8(..4) {
            0 => line += &random.u32(..1_000_000).to_string(),
            _ => line += random.choice(WORDS).unwrap_or_default(),
        }
    }
    line.truncate(bytes.saturating_sub(1));
    line.push('\n');
    line.into_bytes()
}

/// A document of a log shipper of exactly so many bytes, with a newline as the last.
pub(crate) fn document(random: &mut Rng, bytes: usize) -> Vec<u8> {
    let mut text = format!(
        r#"{{"@timestamp":"2026-08-05T12:{:02}:{:02}.{:03}Z","host":{{"name":"web{:03}.example.com"}},"log":{{"file":{{"path":"/var/log/app.log"}},"offset":{}}},"trace":{{"id":"{:016x}"}},"message":""#,
        random.u8(..60),
        random.u8(..60),
        random.u16(..1000),
        random.u16(..500),
        random.u32(..),
        random.u64(..),
    );
    let end = "\"}\n";
    while text.len() < bytes - end.len() {
        text += random.choice(WORDS).unwrap_or_default();
        text.push(' ');
    }
    text.truncate(bytes - end.len());
    text += end;
    text.into_bytes()
}

/// A request to a web shop as an event of about 1 KB. One of a thousand climbs out of its folder,
/// which a built-in rule finds.
pub(crate) fn shop_event(random: &mut Rng, number: usize) -> String {
    let path = match number % 1000 {
        0 => "/img/../../etc/passwd".to_owned(),
        _ => format!("/products/{}/{}", random.choice(WORDS).unwrap_or_default(), random.u16(..)),
    };
    let (minute, second, milli) = (random.u8(..60), random.u8(..60), random.u16(..1000));
    let source = format!("10.{}.{}.{}", random.u8(..), random.u8(..), random.u8(..));
    let (port, bytes, took) = (random.u16(..), random.u32(..200_000), random.u32(..900_000_000));
    let status = random.choice([200, 200, 200, 204, 302, 304, 404]).unwrap_or_default();
    let (host, user, session) = (random.u8(..40), random.u16(..5000), random.u128(..));
    let (trace, span) = (random.u128(..), random.u64(..));
    let agent = format!(
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{}.0.{}.{} \
         Safari/537.36",
        random.u8(90..140),
        random.u16(..9999),
        random.u8(..)
    );
    let referrer = format!("https://shop.example.com/search?q={}", random.u32(..));
    format!(
        r#"{{"@timestamp":"2026-08-05T12:{minute:02}:{second:02}.{milli:03}Z","ecs":{{"version":"9.0"}},"event":{{"kind":"event","category":["web"],"type":["access"],"action":"request","outcome":"success","duration":{took}}},"host":{{"name":"web-{host}","ip":["192.0.2.{host}"]}},"service":{{"name":"shop","version":"4.{host}.1","environment":"production"}},"source":{{"ip":"{source}","port":{port}}},"destination":{{"ip":"192.0.2.{host}","port":443}},"url":{{"original":"{path}?session={session:032x}","path":"{path}","domain":"shop.example.com","scheme":"https"}},"http":{{"version":"1.1","request":{{"method":"GET","referrer":"{referrer}"}},"response":{{"status_code":{status},"body":{{"bytes":{bytes}}}}}}},"user":{{"name":"customer{user}","id":"{user}"}},"user_agent":{{"original":"{agent}"}},"trace":{{"id":"{trace:032x}"}},"span":{{"id":"{span:016x}"}},"labels":{{"tier":"edge","zone":"eu-{}"}}}}"#,
        host % 3
    )
}
