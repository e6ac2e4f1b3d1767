//! Steps of a fork for a network other than the frozen one's: another MTU, another interface, IPv6 addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::base::role::Role;
use crate::guest::contents;
use crate::node::gids;
use crate::provider::qemu::argv;
use crate::scenario::interface::RdmaInterface;
use crate::scenario::network::{IpVersion, MTU_DEFAULT, Network};

/// The UDP port of RoCEv2.
const ROCE_PORT: u16 = 4791;

/// The network port of a node.
const PORT: &str = "eth0";

/// The interface above it that carries RDMA, where another than the port does.
const ABOVE: &str = "lab0";

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
        lines.push(format!("ip link set {PORT} mtu {mtu}"));
    }
    let interface = network.interface_of(role);
    let device = match interface {
        RdmaInterface::Port => PORT,
        _ => ABOVE,
    };
    if interface != RdmaInterface::Port {
        lines.extend(above(role, interface, mtu));
    }
    if network.filtered == Some(role) {
        // A rule of routing before the table of local addresses: a filter that needs no module.
        let ip = match network.ip {
            IpVersion::V4 => "/bin/ip",
            IpVersion::V6 => "/bin/ip -6",
        };
        lines.push(format!("{ip} rule add pref 2 lookup local && {ip} rule del pref 0"));
        // 17 is UDP; a node has no list of their names.
        lines.push(format!("{ip} rule add pref 1 iif {device} ipproto 17 dport {ROCE_PORT} blackhole"));
    }
    // Nodes in two VLANs do not reach each other.
    let is_reached = interface.vlan() == network.interface_of(role.peer()).vlan();
    if !network.is_on_ports() && is_reached {
        lines.push(reach(&argv::address(role.peer()).to_string()));
    }
    if network.ip == IpVersion::V6 {
        // `nodad`: nobody else has it, and the check for that would take a second. The device learns of the address
        // by itself; it is of use when it is among the GIDs.
        let (own, peer) = (address_v6(role), address_v6(role.peer()));
        // busybox, whose `ip` goes first, does not know `nodad`.
        lines.push(format!("/bin/ip -6 address add {own}/64 dev {device} nodad"));
        lines.push(until(&has_gid(own)));
        if is_reached {
            lines.push(reach(&format!("-6 {peer}")));
        }
    }
    for &peer in known.iter().filter(|peer| **peer != role) {
        let (address, mac) = (address(peer, network), mac(peer, network.interface_of(peer)));
        lines.push(format!("/bin/ip neighbour replace {address} lladdr {mac} nud permanent dev {device}"));
    }
    (!lines.is_empty()).then(|| format!("set -e\n{}", lines.join("\n")))
}

/// MAC of the interface that carries a node's RDMA. Interfaces with one of their own are told it, as the port is.
fn mac(role: Role, interface: RdmaInterface) -> String {
    let port = argv::mac(role);
    match interface {
        RdmaInterface::Macvlan | RdmaInterface::Veth => port.replace("00:00:00", "00:00:01"),
        _ => port.to_owned(),
    }
}

/// Commands that make an interface above the port and move the node's address there, and its RDMA device; rxe refuses a VLAN, and
/// serves those of its own interface.
fn above(role: Role, interface: RdmaInterface, mtu: u16) -> Vec<String> {
    let (address, mac) = (argv::address(role), mac(role, interface));
    let is_moved = interface.vlan().is_none();
    let mut lines = vec![
        contents::load_asked(),
        // Else the port answers for the address as well, with its own MAC.
        "echo 1 >/proc/sys/net/ipv4/conf/all/arp_ignore".to_owned(),
        format!("/bin/ip address del {address}/24 dev {PORT}"),
    ];
    if is_moved {
        lines.push("rdma link delete rxe0".to_owned());
    }
    let made: &[String] = match interface {
        RdmaInterface::Port => &[],
        RdmaInterface::Vlan(id) => &[format!("/bin/ip link add link {PORT} name {ABOVE} type vlan id {id}")],
        RdmaInterface::Macvlan => {
            &[format!("/bin/ip link add link {PORT} name {ABOVE} address {mac} type macvlan mode bridge")]
        }
        RdmaInterface::Bridge => &[
            format!("/bin/ip link add {ABOVE} address {mac} type bridge"),
            format!("/bin/ip link set {PORT} master {ABOVE}"),
        ],
        RdmaInterface::Veth => &[
            format!("/bin/ip link add {ABOVE} address {mac} type veth peer name lab1"),
            "/bin/ip link add lab2 type bridge".to_owned(),
            format!("for i in {PORT} lab1; do /bin/ip link set $i master lab2; done"),
            format!("/bin/ip link set lab1 mtu {mtu} up && /bin/ip link set lab2 up"),
        ],
    };
    lines.extend_from_slice(made);
    lines.push(format!("/bin/ip link set {ABOVE} mtu {mtu} up"));
    lines.push(format!("/bin/ip address add {address}/24 dev {ABOVE}"));
    if is_moved {
        lines.push(format!("rdma link add rxe0 type rxe netdev {ABOVE}"));
        lines.push(until("grep -qs ACTIVE /sys/class/infiniband/rxe0/ports/1/state"));
    }
    lines.push(until(&has_gid(Ipv4Addr::to_ipv6_mapped(&address))));
    lines
}

/// Command that succeeds once an address is among the GIDs.
pub(super) fn has_gid(address: Ipv6Addr) -> String {
    let gid = address.segments().map(|segment| format!("{segment:04x}")).join(":");
    format!("{{ {}; }} | grep -q {gid}", gids::print("rxe0"))
}

/// Command that waits until another succeeds, two seconds at most.
pub(super) fn until(command: &str) -> String {
    format!("for i in $(seq 100); do {command} && break; usleep 20000; done; {command}")
}

/// Command that waits until the peer answers; `peer` is its address, behind a flag of `ping` where that needs one.
fn reach(peer: &str) -> String {
    let ping = |seconds| format!("ping -c 1 -W {seconds} {peer} >/dev/null");
    format!("for i in $(seq 20); do {} 2>&1 && break; usleep 50000; done; {}", ping(1), ping(5))
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
    fn interface_above_the_port_takes_address_and_device() {
        let of = |interface| {
            let network = Network { interface, ..Network::default() };
            command(Role::Server, network, &Role::BOTH).unwrap()
        };
        let vlan = of(RdmaInterface::Vlan(7));
        assert!(vlan.contains("ip link add link eth0 name lab0 type vlan id 7\n"), "{vlan}");
        // rxe has the VLAN's address by itself.
        assert!(
            !vlan.contains("rdma link") && vlan.contains("| grep -q 0000:0000:0000:0000:0000:ffff:c633:6401"),
            "{vlan}"
        );
        assert!(vlan.ends_with("198.51.100.2 lladdr 52:54:00:00:00:02 nud permanent dev lab0"), "{vlan}");
        let veth = of(RdmaInterface::Veth);
        let at = |part: &str| veth.find(part).unwrap_or_else(|| panic!("{part}: {veth}"));
        let order =
            ["insmod", "rdma link delete", "type veth", "address add", "rdma link add", "ping"].map(at);
        assert!(order.is_sorted(), "{veth}");
        assert!(veth.ends_with("198.51.100.2 lladdr 52:54:00:00:01:02 nud permanent dev lab0"), "{veth}");
        // Of two VLANs neither is waited for.
        let apart = Network {
            interface: RdmaInterface::Vlan(7),
            client_interface: Some(RdmaInterface::Vlan(8)),
            ..Network::default()
        };
        assert!(!command(Role::Server, apart, &[]).unwrap().contains("ping"));
        // The one that stays on its port learns the other's MAC.
        let one = Network { client_interface: Some(RdmaInterface::Macvlan), ..Network::default() };
        let server = command(Role::Server, one, &[]).unwrap();
        assert!(server.contains("ping -c 1") && !server.contains("lab0"), "{server}");
    }

    #[test]
    fn mtu_and_addresses_are_set() {
        let network = Network { mtu: 4192, ip: IpVersion::V6, ..Network::default() };
        assert_eq!(address(Role::Client, network).to_string(), "2001:db8::2");
        let command = command(Role::Client, network, &Role::BOTH).unwrap();
        assert!(
            command.starts_with("set -e\nip link set eth0 mtu 4192\n/bin/ip -6 address add 2001:db8::2/64")
        );
        assert!(command.contains("| grep -q 2001:0db8:0000:0000:0000:0000:0000:0002"), "{command}");
        let end = "/bin/ip neighbour replace 2001:db8::1 lladdr 52:54:00:00:00:01 nud permanent dev eth0";
        assert!(command.ends_with(end), "{command}");
    }
}
