//! The company: its machines, its people, and who they talk to. All made up.

/// The DNS domain of the Windows network.
pub(crate) const DOMAIN: &str = "corp.example";
/// Its short name.
pub(crate) const NETBIOS: &str = "CORP";
/// The start of the security identifiers of its accounts.
pub(crate) const DOMAIN_SID: &str = "S-1-5-21-3071512468-1846293457-2590876143";
/// The AWS account, one of those that AWS' documentation uses.
pub(crate) const AWS_ACCOUNT: &str = "111122223333";

/// A machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Host {
    pub(crate) name: &'static str,
    pub(crate) ip: &'static str,
}

/// Somebody with an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Person {
    pub(crate) login: &'static str,
    /// The last part of the account's security identifier.
    pub(crate) rid: u32,
}

const fn host(name: &'static str, ip: &'static str) -> Host {
    Host { name, ip }
}

const fn person(login: &'static str, rid: u32) -> Person {
    Person { login, rid }
}

pub(crate) const WORKSTATIONS: [Host; 12] = [
    host("WS-FIN-01", "10.20.4.11"),
    host("WS-FIN-02", "10.20.4.12"),
    host("WS-FIN-03", "10.20.4.13"),
    host("WS-HR-01", "10.20.4.21"),
    host("WS-HR-02", "10.20.4.22"),
    host("WS-SALES-01", "10.20.4.31"),
    host("WS-SALES-02", "10.20.4.32"),
    host("WS-SALES-03", "10.20.4.33"),
    host("WS-ENG-01", "10.20.5.11"),
    host("WS-ENG-02", "10.20.5.12"),
    host("WS-ENG-03", "10.20.5.13"),
    host("WS-ENG-04", "10.20.5.14"),
];

/// The domain controller.
pub(crate) const DC: Host = host("DC-01", "10.20.1.10");
/// The file server.
pub(crate) const FILES: Host = host("FS-01", "10.20.1.20");
/// The remote desktop gateway, which the Internet can reach.
pub(crate) const GATEWAY: Host = host("RDG-01", "10.20.1.30");
pub(crate) const SERVERS: [Host; 3] = [DC, FILES, GATEWAY];

pub(crate) const WEB: Host = host("web-01", "10.20.2.10");
pub(crate) const DATABASE: Host = host("db-01", "10.20.2.20");
pub(crate) const BUILD: Host = host("build-01", "10.20.2.30");
/// The SSH entrance, which the Internet can reach.
pub(crate) const BASTION: Host = host("bastion-01", "10.20.2.40");
pub(crate) const LINUX: [Host; 4] = [WEB, DATABASE, BUILD, BASTION];

/// The people at the workstations.
pub(crate) const PEOPLE: [Person; 12] = [
    person("mira.k", 1104),
    person("jonas.b", 1105),
    person("ines.r", 1106),
    person("tariq.m", 1107),
    person("yuki.t", 1108),
    person("lena.v", 1109),
    person("paulo.s", 1110),
    person("greta.n", 1111),
    person("samir.h", 1112),
    person("olga.d", 1113),
    person("felix.w", 1114),
    person("chiara.p", 1115),
];

/// Administrators, with accounts for that alone.
pub(crate) const ADMINS: [Person; 2] = [person("adm-petra", 1201), person("adm-sven", 1202)];
/// Accounts of services.
pub(crate) const SERVICES: [Person; 2] = [person("svc-backup", 1301), person("svc-monitor", 1302)];
/// Those who log on to Linux.
pub(crate) const OPERATORS: [&str; 4] = ["petra", "sven", "samir", "deploy"];

/// Sites that people look at, and their addresses.
pub(crate) const SITES: [(&str, &str); 10] = [
    ("www.news.example", "192.0.2.10"),
    ("mail.office.example", "192.0.2.25"),
    ("login.office.example", "192.0.2.26"),
    ("files.office.example", "192.0.2.27"),
    ("search.example", "192.0.2.40"),
    ("cdn.images.example", "192.0.2.41"),
    ("video.meet.example", "192.0.2.60"),
    ("shop.travel.example", "192.0.2.77"),
    ("telemetry.browser.example", "192.0.2.90"),
    ("update.software.example", "192.0.2.91"),
];

/// Addresses of the office and of people at home, from which the cloud is used.
pub(crate) const OFFICE_OUTSIDE: &str = "192.0.2.200";
