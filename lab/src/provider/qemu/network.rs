//! Steps of a fork for a network other than the frozen one's: another MTU, IPv6 addresses.

use std::net::{IpAddr, Ipv6Addr};

use crate::base::role::Role;
use crate::provider::qemu::argv;
use crate::scenario::network::{IpVersion, MTU_DEFAULT, Network};

/// The UDP port of RoCEv2.
const ROCE_PORT: u16 = 4791;

/// A node's address on the wire in a network.
pub fn address(role: Role, network: Network) -> IpAddr {
    match network.ip {
        IpVersion::V4 => argv::address(role).into(),
        IpVersion::V6 => address_v6(role).into(),
    }
}

/// From 2001:db8::/32, which is for documentation and routed nowhere.
fn address_v6(role: Role) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(role.index()) + 1)
}

/// Commands that put a node on a network; `None` where the frozen one is it. Where faults may silence nodes for
/// long, it is told the MACs of the others of `known` for good: else it would forget them, and what rxe counts as sent would not
/// leave the node.
pub fn command(role: Role, network: Network, known: &[Role]) -> Option<String> {
    let mut lines = Vec::new();
    let mtu = network.mtu_of(role);
    if mtu != MTU_DEFAULT {
        lines.push(format!("ip link set eth0 mtu {mtu}"));
    }
    if network.filtered == Some(role) {
        // A rule of routing before the table of local addresses: a filter that needs no module.
        let ip = match network.ip {
            IpVersion::V4 => "/bin/ip",
            IpVersion::V6 => "/bin/ip -6",
        };
        lines.push(format!("{ip} rule add pref 2 lookup local && {ip} rule del pref 0"));
        // 17 is UDP; a node has no list of their names.
        lines.push(format!("{ip} rule add pref 1 iif eth0 ipproto 17 dport {ROCE_PORT} blackhole"));
    }
    if network.ip == IpVersion::V6 {
        // `nodad`: nobody else has it, and the check for that would take a second. The device learns of the address
        // by itself; it is of use when it is among the GIDs.
        let (own, peer) = (address_v6(role), address_v6(role.peer()));
        let gid = own.segments().map(|segment| format!("{segment:04x}")).join(":");
        let gids = "/sys/class/infiniband/rxe0/ports/1/gids/*";
        // busybox, whose `ip` goes first, does not know `nodad`.
        lines.push(format!("/bin/ip -6 address add {own}/64 dev eth0 nodad"));
        lines.push(format!(
            "for i in $(seq 100); do grep -qs {gid} {gids} && break; usleep 20000; done; grep -qs {gid} {gids}"
        ));
        lines.push(format!(
            "for i in $(seq 20); do ping -6 -c 1 -W 1 {peer} >/dev/null 2>&1 && break; usleep 50000; done; \
             ping -6 -c 1 -W 5 {peer} >/dev/null"
        ));
    }
    for peer in known.iter().filter(|peer| **peer != role) {
        let (peer, mac) = (address(*peer, network), argv::mac(*peer));
        lines.push(format!("/bin/ip neighbour replace {peer} lladdr {mac} nud permanent dev eth0"));
    }
    (!lines.is_empty()).then(|| format!("set -e\n{}", lines.join("\n")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frozen_network_needs_nothing() {
        assert_eq!(command(Role::Server, Network::default(), &[]), None);
        assert_eq!(address(Role::Server, Network::default()).to_string(), "198.51.100.1");
    }

    #[test]
    fn each_node_has_its_own_mtu_and_one_a_filter() {
        let network = Network { client_mtu: Some(800), filtered: Some(Role::Server), ..Network::default() };
        assert_eq!(command(Role::Client, network, &[]).unwrap(), "set -e\nip link set eth0 mtu 800");
        let server = command(Role::Server, network, &[]).unwrap();
        assert!(server.ends_with("pref 1 iif eth0 ipproto 17 dport 4791 blackhole"), "{server}");
        assert!(!server.contains("mtu"), "{server}");
    }

    #[test]
    fn each_node_knows_all_others_where_faults_may_silence_them() {
        let command = command(Role::Client2, Network::default(), Role::first(3)).unwrap();
        assert_eq!(
            command,
            "set -e\n/bin/ip neighbour replace 198.51.100.1 lladdr 52:54:00:00:00:01 nud permanent dev eth0\n\
             /bin/ip neighbour replace 198.51.100.2 lladdr 52:54:00:00:00:02 nud permanent dev eth0"
        );
        let network = Network { ip: IpVersion::V6, ..Network::default() };
        assert_eq!(address(Role::Client7, network).to_string(), "2001:db8::8");
    }

    #[test]
    fn mtu_and_addresses_are_set() {
        let network = Network { mtu: 4192, ip: IpVersion::V6, ..Network::default() };
        assert_eq!(address(Role::Client, network).to_string(), "2001:db8::2");
        let command = command(Role::Client, network, &Role::BOTH).unwrap();
        assert!(
            command.starts_with("set -e\nip link set eth0 mtu 4192\n/bin/ip -6 address add 2001:db8::2/64")
        );
        assert!(command.contains("grep -qs 2001:0db8:0000:0000:0000:0000:0000:0002 /sys"), "{command}");
        let end = "/bin/ip neighbour replace 2001:db8::1 lladdr 52:54:00:00:00:01 nud permanent dev eth0";
        assert!(command.ends_with(end), "{command}");
    }
}
