//! The access log of the shop, in nginx's combined format, as Filebeat sends its lines.

use event::Timestamp;

use crate::fleet::WEB;
use crate::world::{Habit, MS, SECOND, World};
use crate::{SimEvent, Source};

/// Weights out of all sources' together, about 10,000.
pub(crate) const HABITS: &[(u32, Habit)] =
    &[(360, visit), (60, shopping), (60, crawler), (120, health), (30, noise), (10, mistakes)];

/// A request and how it was answered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request<'a> {
    pub(crate) client: &'a str,
    pub(crate) request: &'a str,
    pub(crate) status: u16,
    pub(crate) bytes: u32,
    pub(crate) referrer: &'a str,
    pub(crate) agent: &'a str,
}

/// Writes the line of a request.
pub(crate) fn access(world: &mut World, at: Timestamp, request: Request<'_>) {
    let Request { client, request, status, bytes, referrer, agent } = request;
    let time = at.to_jiff().strftime("%d/%b/%Y:%H:%M:%S +0000");
    let line = format!(
        "{client} - - [{time}] \"{request} HTTP/1.1\" {status} {bytes} \"{referrer}\" \"{agent}\""
    );
    world.emit(SimEvent {
        time: at,
        source: Source::Web,
        dataset: "nginx.access",
        host: WEB.name.to_owned(),
        payload: line.into_bytes(),
    });
}

const AGENTS: [&str; 5] = [
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/129.0.0.0 Safari/537.36",
    "Mozilla/5.0 (X11; Linux x86_64; rv:131.0) Gecko/20100101 Firefox/131.0",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 14_6) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.6 Safari/605.1.15",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.6 Mobile/15E148 Safari/604.1",
    "Mozilla/5.0 (Linux; Android 14) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/129.0.0.0 Mobile Safari/537.36",
];

const SHOP: &str = "https://shop.corp.example/";

/// Somebody's address; some have the new kind.
fn client(world: &mut World) -> String {
    if world.once_in(5) {
        return format!("2001:db8:{:x}::{:x}", world.rng.u16(1..0x400), world.rng.u16(1..0xffff));
    }
    let network = world.one_of(&["192.0.2", "203.0.113"]);
    format!("{network}.{}", world.rng.u8(1..=149))
}

/// A page and what it is made of.
fn visit(world: &mut World, at: Timestamp) {
    const PAGES: [&str; 8] = [
        "GET /",
        "GET /products",
        "GET /products?category=lamps&sort=price",
        "GET /products/4711",
        "GET /products/4712?ref=newsletter",
        "GET /search?q=desk+lamp",
        "GET /about",
        "GET /blog/how-to-choose-a-lamp",
    ];
    const PARTS: [&str; 5] = [
        "GET /static/app.3f9c1d.css",
        "GET /static/app.88ab01.js",
        "GET /static/logo.svg",
        "GET /images/lamp-4711.webp",
        "GET /api/cart",
    ];
    let (client, agent) = (client(world), world.one_of(&AGENTS));
    let page = world.one_of(&PAGES);
    let bytes = world.rng.u32(4_000..40_000);
    let from = world.one_of(&["-", SHOP, "https://search.example/"]);
    let first =
        Request { client: &client, request: page, status: 200, bytes, referrer: from, agent };
    access(world, at, first);
    let parts = world.rng.usize(2..=PARTS.len());
    for part in PARTS.into_iter().take(parts) {
        let status = if world.once_in(3) { 304 } else { 200 };
        let bytes = if status == 304 { 0 } else { world.rng.u32(500..90_000) };
        let request = Request { request: part, status, bytes, referrer: SHOP, ..first };
        let at = world.later(at.plus_nanos(40 * MS), 900);
        access(world, at, request);
    }
}

/// A logon, sometimes with a wrong password, and an order.
fn shopping(world: &mut World, at: Timestamp) {
    let (client, agent) = (client(world), world.one_of(&AGENTS));
    let wrong = world.once_in(5);
    let base = Request {
        client: &client,
        request: "POST /login",
        status: if wrong { 401 } else { 302 },
        bytes: 412,
        referrer: "https://shop.corp.example/login",
        agent,
    };
    access(world, at, base);
    let mut at = at;
    for request in [
        "POST /login",
        "GET /login?next=%2Fcart",
        "POST /api/cart",
        "GET /checkout?step=..%2Faddress",
        "POST /checkout",
    ]
    .into_iter()
    .skip(usize::from(!wrong))
    {
        at = world.later(at.plus_nanos(2 * SECOND), 4_000);
        access(world, at, Request { request, status: 200, bytes: 2_310, referrer: SHOP, ..base });
    }
}

/// A search engine looks for news, and asks for what is long gone.
fn crawler(world: &mut World, at: Timestamp) {
    let client = format!("198.51.100.{}", world.rng.u8(10..=19));
    let base = Request {
        client: &client,
        request: "GET /robots.txt",
        status: 200,
        bytes: 118,
        referrer: "-",
        agent: "Mozilla/5.0 (compatible; ExampleBot/2.1; +https://bot.search.example/)",
    };
    access(world, at, base);
    let mut at = at;
    for _ in 0..world.rng.u32(1..=5) {
        at = world.later(at.plus_nanos(SECOND), 3_000);
        let number = world.rng.u32(1_000..6_000);
        let gone = world.once_in(4);
        let request = format!("GET /products/{number}");
        let (status, bytes) = if gone { (404, 1_204) } else { (200, 18_400) };
        access(world, at, Request { request: &request, status, bytes, ..base });
    }
}

/// The load balancer asks whether the server is there.
fn health(world: &mut World, at: Timestamp) {
    access(
        world,
        at,
        Request {
            client: "10.20.2.5",
            request: "GET /healthz",
            status: 200,
            bytes: 2,
            referrer: "-",
            agent: "lb-health/1.0",
        },
    );
}

/// What every web server on the Internet is asked for, once per visitor.
fn noise(world: &mut World, at: Timestamp) {
    let client = format!("198.51.100.{}", world.rng.u8(60..=250));
    let request = world.one_of(&[
        "GET /wp-login.php",
        "GET /.env",
        "GET /favicon.ico",
        "GET /phpmyadmin/",
        "POST /boaform/admin/formLogin",
        "GET /.well-known/security.txt",
    ]);
    let agent =
        world.one_of(&["-", "curl/8.5.0", "Mozilla/5.0 zgrab/0.x", "python-requests/2.32.3"]);
    access(
        world,
        at,
        Request { client: &client, request, status: 404, bytes: 153, referrer: "-", agent },
    );
}

/// Links that a page or a program got wrong.
fn mistakes(world: &mut World, at: Timestamp) {
    let (client, agent) = (client(world), world.one_of(&AGENTS));
    let request = world.one_of(&[
        "GET /blog/../static/app.3f9c1d.css",
        "GET /products/undefined",
        "GET /images/lamp%204711%20(1).webp",
        "GET /search?q=%27best%27+lamp",
        "GET /docs/manual..pdf",
    ]);
    access(
        world,
        at,
        Request { client: &client, request, status: 404, bytes: 1_204, referrer: SHOP, agent },
    );
}
