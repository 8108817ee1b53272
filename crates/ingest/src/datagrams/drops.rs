//! Who lost datagrams, and how many.
//!
//! Two tables: what we dropped, by sender, and what the kernel dropped before we saw it, which Linux
//! tells per socket in `/proc/net/udp`.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use crate::metrics;

/// How many senders are counted by name. Beyond, they are `others`: addresses over UDP can be
/// forged, and a metric has one series for each.
const SOURCES_MAX: usize = 256;

/// What was dropped, and not logged yet.
#[derive(Debug)]
pub(super) struct Drops {
    listener: &'static str,
    by_source: HashMap<IpAddr, u64>,
    others: u64,
    kernel_seen: Option<u64>,
}

impl Drops {
    pub(super) fn new(listener: &'static str) -> Self {
        Drops { listener, by_source: HashMap::new(), others: 0, kernel_seen: None }
    }

    /// Counts a datagram: `full` for want of room, `denied` because its source is no sender.
    pub(super) fn add(&mut self, source: IpAddr, reason: &str) {
        metrics::DROPPED.with_label_values(&[self.listener, reason]).inc();
        let has_name = self.by_source.contains_key(&source) || self.by_source.len() < SOURCES_MAX;
        if has_name {
            *self.by_source.entry(source).or_default() += 1;
            metrics::DROPPED_BY_SOURCE.with_label_values(&[&source.to_string()]).inc();
        } else {
            self.others += 1;
            metrics::DROPPED_BY_SOURCE.with_label_values(&["others"]).inc();
        }
    }

    /// Logs what was dropped since the last time.
    pub(super) fn report(&mut self, address: SocketAddr) {
        for (source, dropped) in &mut self.by_source {
            if *dropped > 0 {
                tracing::error!(%source, datagrams = *dropped, "datagrams dropped: the intake is full, or it is no sender");
                *dropped = 0;
            }
        }
        if self.others > 0 {
            let datagrams = std::mem::take(&mut self.others);
            tracing::error!(datagrams, "datagrams of other sources dropped");
        }
        let Some(now) = kernel_drops(address) else { return };
        let before = self.kernel_seen.replace(now).unwrap_or(0);
        if let Some(datagrams) = now.checked_sub(before).filter(|&new| new > 0) {
            let labels = [self.listener, "kernel"];
            metrics::DROPPED.with_label_values(&labels).inc_by(datagrams);
            tracing::error!(datagrams, %address, "datagrams dropped by the kernel, its buffer was full");
        }
    }
}

/// How many datagrams the kernel dropped for a socket on this address; `None` where it does not
/// tell.
fn kernel_drops(address: SocketAddr) -> Option<u64> {
    let table = if address.is_ipv4() { "/proc/net/udp" } else { "/proc/net/udp6" };
    drops_in(&std::fs::read_to_string(table).ok()?, address)
}

/// Finds the socket by its address in a table of the kernel; the last column is what it dropped.
fn drops_in(table: &str, address: SocketAddr) -> Option<u64> {
    let local = match address {
        // The kernel prints each 32 bits as the machine has them.
        SocketAddr::V4(address) => {
            format!("{:08X}:{:04X}", u32::from_ne_bytes(address.ip().octets()), address.port())
        }
        SocketAddr::V6(address) => {
            let mut words = String::new();
            for word in address.ip().octets().as_chunks::<4>().0 {
                words.push_str(&format!("{:08X}", u32::from_ne_bytes(*word)));
            }
            format!("{words}:{:04X}", address.port())
        }
    };
    table.lines().find_map(|line| {
        let mut columns = line.split_ascii_whitespace();
        (columns.nth(1)? == local).then(|| columns.next_back()?.parse().ok()).flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n  388: 0100007F:158A 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 91345 2 0000000000000000 42\n  400: 00000000:0202 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 91346 2 0000000000000000 7\n";

    #[test]
    #[cfg(target_endian = "little")]
    fn the_kernel_tells_what_it_dropped() {
        assert_eq!(drops_in(TABLE, "127.0.0.1:5514".parse().unwrap()), Some(42));
        assert_eq!(drops_in(TABLE, "0.0.0.0:514".parse().unwrap()), Some(7));
        assert_eq!(drops_in(TABLE, "127.0.0.1:514".parse().unwrap()), None);
        let table = "  1: 00000000000000000000000001000000:158A 0:0 07 0 0 0 0 0 0 2 0 3";
        assert_eq!(drops_in(table, "[::1]:5514".parse().unwrap()), Some(3));
    }

    #[test]
    fn sources_are_bounded() {
        let mut drops = Drops::new("udp");
        for source in 0..1000_u32 {
            drops.add(IpAddr::from(source.to_be_bytes()), "full");
        }
        assert_eq!((drops.by_source.len(), drops.others), (SOURCES_MAX, 1000 - 256));
        drops.report("127.0.0.1:1".parse().unwrap());
        assert!(drops.by_source.values().all(|&dropped| dropped == 0) && drops.others == 0);
    }
}
