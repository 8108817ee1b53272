//! Where an address is, and whose network it is in.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use maxminddb::{Reader, geoip2};

use crate::cache::{Fact, Facts};
use crate::{Error, read_file};

/// Databases in MaxMind's format, asked one after the other.
#[derive(Default)]
pub struct Geo(Vec<Reader<Vec<u8>>>);

impl fmt::Debug for Geo {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = self.0.iter().map(|reader| &reader.metadata().database_type);
        out.debug_list().entries(kinds).finish()
    }
}

impl Geo {
    pub(crate) fn load(files: &[PathBuf]) -> Result<Geo, Error> {
        files.iter().map(|path| open(path)).collect::<Result<_, _>>().map(Geo)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds what is known of an address: `geo.*` and `as.*`. A record that the database has damaged
    /// is as one that it does not have.
    pub(crate) fn find(&self, address: &str, facts: &mut Facts) {
        let Ok(ip) = address.parse::<IpAddr>() else { return };
        let mut add = |name, fact: Fact| {
            if !facts.iter().any(|(known, _)| *known == name) {
                facts.push((name, fact));
            }
        };
        for reader in &self.0 {
            let Ok(found) = reader.lookup(ip) else { continue };
            if let Ok(Some(city)) = found.decode::<geoip2::City<'_>>() {
                let region = city.subdivisions.first();
                let texts = [
                    ("geo.continent_code", city.continent.code),
                    ("geo.continent_name", city.continent.names.english),
                    ("geo.country_iso_code", city.country.iso_code),
                    ("geo.country_name", city.country.names.english),
                    ("geo.region_name", region.and_then(|region| region.names.english)),
                    ("geo.city_name", city.city.names.english),
                    ("geo.postal_code", city.postal.code),
                    ("geo.timezone", city.location.time_zone),
                ];
                for (name, text) in texts {
                    if let Some(text) = text {
                        add(name, text.into());
                    }
                }
                // ECS writes a region's code with its country's (ISO 3166-2).
                let code = region.and_then(|region| region.iso_code);
                if let (Some(country), Some(code)) = (city.country.iso_code, code) {
                    add("geo.region_iso_code", format!("{country}-{code}").as_str().into());
                }
                let place = city.location.latitude.zip(city.location.longitude);
                if let Some((latitude, longitude)) = place {
                    add("geo.location.lat", Fact::Float(latitude));
                    add("geo.location.lon", Fact::Float(longitude));
                }
            }
            if let Ok(Some(system)) = found.decode::<geoip2::Asn<'_>>() {
                if let Some(number) = system.autonomous_system_number {
                    add("as.number", Fact::Int(number.into()));
                }
                if let Some(name) = system.autonomous_system_organization {
                    add("as.organization.name", name.into());
                }
            }
        }
    }
}

fn open(path: &Path) -> Result<Reader<Vec<u8>>, Error> {
    let failed = |source| Error::Database { path: path.to_owned(), source };
    Reader::from_source(read_file(path)?).map_err(failed)
}
