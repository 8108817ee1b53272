//! The whole, with databases that the tests write.

use std::path::Path;

use event::Event;
use maxminddb::geoip2;
use maxminddb_writer::Database;
use maxminddb_writer::paths::IpAddrWithMask;
use serde::Serialize;
use serde_json::{Value, json};

use super::{Enricher, Enrichment, Error, KeyKind, Settings, WatchlistSettings};

fn database(path: &Path, kind: &str, network: &str, bits: u8, record: impl Serialize) {
    let mut database = Database::default();
    database.metadata.database_type = kind.to_owned();
    database.metadata.binary_format_major_version = 2;
    database.metadata.build_epoch = 1_700_000_000;
    let record = database.insert_value(record).unwrap();
    database.insert_node(IpAddrWithMask::new(network.parse().unwrap(), bits), record);
    database.write_to(std::fs::File::create(path).unwrap()).unwrap();
}

fn city(name: &str) -> Value {
    json!({
        "city": {"names": {"en": name}},
        "continent": {"code": "EU", "names": {"en": "Europe"}},
        "country": {"iso_code": "DE", "names": {"en": "Germany", "de": "Deutschland"}},
        "location": {"latitude": 52.5, "longitude": 13.25, "time_zone": "Europe/Berlin"},
        "postal": {"code": "10115"},
        "subdivisions": [{"iso_code": "BE", "names": {"en": "Land Berlin"}}],
    })
}

fn enriched(enricher: &mut Enricher, event: &Value) -> Value {
    let mut made = Event::new();
    made.parse_json(event.to_string().as_bytes()).unwrap();
    enricher.enrich(&mut made);
    serde_json::from_str(&made.to_json()).unwrap()
}

#[test]
fn places_and_systems_are_told_of_addresses() {
    let folder = tempfile::tempdir().unwrap();
    let (places, systems) = (folder.path().join("city.mmdb"), folder.path().join("asn.mmdb"));
    database(&places, "Test-City", "203.0.113.0", 24, city("Berlin"));
    let system = geoip2::Asn {
        autonomous_system_number: Some(64500),
        autonomous_system_organization: Some("Example"),
    };
    database(&systems, "Test-ASN", "203.0.0.0", 16, system);
    let geo = vec![places.clone(), systems];
    let settings = Settings { geo, ..Settings::default() };
    let enrichment = Enrichment::open(settings).unwrap();
    let mut enricher = Enricher::new(enrichment.clone());
    let event = json!({"source": {"ip": "203.0.113.9"}, "destination": {"ip": "10.0.0.1", "geo": {"city_name": "Cellar"}}});
    let expected = json!({
        "source": {
            "ip": "203.0.113.9",
            "geo": {
                "continent_code": "EU", "continent_name": "Europe",
                "country_iso_code": "DE", "country_name": "Germany",
                "region_name": "Land Berlin", "region_iso_code": "DE-BE",
                "city_name": "Berlin", "postal_code": "10115", "timezone": "Europe/Berlin",
                "location": {"lat": 52.5, "lon": 13.25},
            },
            "as": {"number": 64500, "organization": {"name": "Example"}},
        },
        "destination": {"ip": "10.0.0.1", "geo": {"city_name": "Cellar"}},
    });
    assert_eq!(enriched(&mut enricher, &event), expected);
    // Another file takes its place while it runs, and what was remembered is forgotten.
    assert!(!enrichment.refresh().unwrap(), "nothing changed");
    database(&places, "Test-City", "203.0.113.0", 24, city("Spandau, Berlin"));
    assert!(enrichment.refresh().unwrap());
    let city = &enriched(&mut enricher, &event)["source"]["geo"]["city_name"];
    assert_eq!(city, "Spandau, Berlin");
    // One that can't be used leaves what was there.
    std::fs::write(&places, "no database").unwrap();
    assert!(matches!(enrichment.refresh(), Err(Error::Database { .. })));
    assert_eq!(enriched(&mut enricher, &event)["source"]["geo"]["city_name"], "Spandau, Berlin");
}

#[test]
fn what_the_event_says_itself_stays() {
    let mut enricher = Enricher::new(Enrichment::open(Settings::default()).unwrap());
    let event = json!({
        "url": {"domain": "www.example.co.uk", "subdomain": "mine"},
        "user_agent": {"original": "curl/8.5.0"},
        "source": {"ip": "192.0.2.1", "port": 1000}, "destination": {"ip": "192.0.2.2", "port": 53},
        "network": {"transport": "udp"},
    });
    let made = enriched(&mut enricher, &event);
    assert_eq!(made["url"]["registered_domain"], "example.co.uk");
    assert_eq!(made["url"]["subdomain"], "mine");
    assert!(made["network"]["community_id"].as_str().unwrap().starts_with("1:"));
    assert_eq!(made["user_agent"]["original"], "curl/8.5.0");
    let nothing = json!({"message": "x"});
    assert_eq!(enriched(&mut enricher, &nothing), nothing);
}

#[test]
fn a_table_is_read_again_when_it_changes() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("people.csv");
    std::fs::write(&file, "name,department\nann,finance\n").unwrap();
    let list = WatchlistSettings {
        name: "people".to_owned(),
        file: file.clone(),
        key: "name".to_owned(),
        kind: KeyKind::Text,
        fields_matched: vec!["user.name".to_owned()],
        fields: [("department".to_owned(), "user.department".to_owned())].into(),
        from: None,
        until: None,
    };
    let settings = Settings { watchlists: vec![list], ..Settings::default() };
    let enrichment = Enrichment::open(settings).unwrap();
    let mut enricher = Enricher::new(enrichment.clone());
    let event = json!({"user": {"name": "Ann"}});
    assert_eq!(enriched(&mut enricher, &event)["user"]["department"], "finance");
    std::fs::write(&file, "name,department\nann,treasury\n").unwrap();
    assert!(enrichment.refresh().unwrap());
    assert_eq!(enriched(&mut enricher, &event)["user"]["department"], "treasury");
}
