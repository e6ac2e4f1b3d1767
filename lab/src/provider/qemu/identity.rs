//! Identity of a further client: forked from the frozen client, it wakes as that, and becomes itself before it says anything.
//!
//! MAC, addresses, RDMA device (whose GUID follows from the MAC, and by which a server tells two clients apart that number their
//! requests alike), name, host key. All as commands on the node; nothing here runs them.

use crate::base::role::Role;
use crate::provider::qemu::{argv, network};

/// Commands by which a fork of the frozen client becomes the node `role`.
pub(super) fn commands(role: Role) -> String {
    let (address, mac) = (argv::address(role), argv::mac(role));
    let has_gid = network::until(&network::has_gid(address.to_ipv6_mapped()));
    format!(
        "( set -e\n\
         ip link set eth0 down\n\
         rdma link delete rxe0\n\
         ip address flush dev eth0\n\
         ip link set eth0 address {mac}\n\
         ip address add {address}/24 dev eth0\n\
         ip link set eth0 up\n\
         rdma link add rxe0 type rxe netdev eth0\n\
         hostname {role}\n\
         {has_gid}\n\
         ) >&2"
    )
}

/// Commands by which a node learns the names of further nodes; none where there are none.
pub(super) fn hosts(roles: &[Role]) -> String {
    let lines = roles.iter().filter(|role| !Role::BOTH.contains(role));
    lines.map(|role| format!("echo '{} {role}' >>/etc/hosts\n", argv::address(*role))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn further_client_gets_what_is_its_own() {
        let commands = commands(Role::Client3);
        for part in ["address 52:54:00:00:00:04", "add 198.51.100.4/24", "hostname client3", "ffff:c633:6404"]
        {
            assert!(commands.contains(part), "{part}: {commands}");
        }
    }

    #[test]
    fn two_nodes_learn_no_names() {
        assert_eq!(hosts(&Role::BOTH), "");
        let four = "echo '198.51.100.3 client2' >>/etc/hosts\necho '198.51.100.4 client3' >>/etc/hosts\n";
        assert_eq!(hosts(Role::first(4)), four);
    }
}
