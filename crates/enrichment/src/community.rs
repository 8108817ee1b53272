//! The community id of a connection, which is the same in the logs of all who saw it
//! (<https://github.com/corelight/community-id-spec>, version 1, seed 0).

use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use event::Event;
use sha1::{Digest, Sha1};

const FIELD: &str = "network.community_id";

/// Adds it if the event has both addresses and, where its protocol has ports, both ports.
pub(crate) fn add(event: &mut Event) {
    if event.get(FIELD).is_some() {
        return;
    }
    if let Some(id) = of(event) {
        event.set(FIELD, id.as_str());
    }
}

fn of(event: &Event) -> Option<String> {
    let address = |field| event.str(field).and_then(|text| text.parse::<IpAddr>().ok());
    let (source, destination) = (address("source.ip")?, address("destination.ip")?);
    let protocol = protocol(event)?;
    let port = |field| event.get(field).and_then(|value| value.as_int()).map(|port| port as u16);
    // Those of TCP, UDP and SCTP. ICMP has types in their place, which ECS has no field for.
    let ports = match protocol {
        6 | 17 | 132 => Some((port("source.port")?, port("destination.port")?)),
        1 | 58 => return None,
        _ => None,
    };
    Some(community_id(source, destination, protocol, ports))
}

/// The number of the protocol over IP.
fn protocol(event: &Event) -> Option<u8> {
    if let Some(number) = event.str("network.iana_number").and_then(|text| text.parse().ok()) {
        return Some(number);
    }
    let name = event.str("network.transport")?;
    let known = [("tcp", 6), ("udp", 17), ("sctp", 132), ("icmp", 1), ("ipv6-icmp", 58)];
    known.iter().find(|(known, _)| name.eq_ignore_ascii_case(known)).map(|(_, number)| *number)
}

fn community_id(
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    ports: Option<(u16, u16)>,
) -> String {
    let (from, to) = ports.unwrap_or_default();
    // The lower end comes first, whoever began.
    let ((low, low_port), (high, high_port)) = match (source, from) <= (destination, to) {
        true => ((source, from), (destination, to)),
        false => ((destination, to), (source, from)),
    };
    let mut hash = Sha1::new();
    hash.update(0u16.to_be_bytes());
    for address in [low, high] {
        match address {
            IpAddr::V4(address) => hash.update(address.octets()),
            IpAddr::V6(address) => hash.update(address.octets()),
        }
    }
    hash.update([protocol, 0]);
    if ports.is_some() {
        hash.update(low_port.to_be_bytes());
        hash.update(high_port.to_be_bytes());
    }
    format!("1:{}", STANDARD.encode(hash.finalize()))
}

#[cfg(test)]
mod tests {
    use super::community_id;

    /// Of the specification's own baseline.
    #[test]
    fn ids_are_those_of_the_specification() {
        let id = |source: &str, destination: &str, protocol, ports| {
            community_id(source.parse().unwrap(), destination.parse().unwrap(), protocol, ports)
        };
        let tcp = "1:LQU9qZlK+B5F3KDmev6m5PMibrg=";
        assert_eq!(id("128.232.110.120", "66.35.250.204", 6, Some((34855, 80))), tcp);
        assert_eq!(id("66.35.250.204", "128.232.110.120", 6, Some((80, 34855))), tcp);
        let udp = "1:d/FP5EW3wiY1vCndhwleRRKHowQ=";
        assert_eq!(id("192.168.1.52", "8.8.8.8", 17, Some((54585, 53))), udp);
    }
}
