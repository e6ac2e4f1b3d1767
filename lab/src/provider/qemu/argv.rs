//! The command line of one machine, as pure data.

use std::ffi::OsString;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use crate::base::role::Role;
use crate::guest::image::Image;
use crate::provider::qemu::accel::Accel;

/// Things that the kernel keeps QEMU from: starting processes, other users' rights, the scheduler's settings.
pub const SANDBOX: &str = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny";

/// Memory of a node, in MiB.
const MEMORY_MIB: u32 = 512;

/// Longest path that a unix socket takes, in bytes: `sun_path` without its NUL. QEMU says nothing above it.
pub const SOCKET_PATH_LIMIT: usize = 107;

/// MTU of the wire, in bytes: an InfiniBand path MTU of 1024.
const MTU: u16 = 1500;

/// The generation id of every frozen machine; forks get one of their own.
const FROZEN_GENERATION: &str = "7f3c9a52-6d1e-4b0a-9c58-2e7d41a6b003";

/// The guard's own socket in its run directory.
pub fn control_socket(directory: &Path) -> PathBuf {
    directory.join("control")
}

/// Files and sockets of one machine, in its run directory.
#[derive(Debug, Clone)]
pub struct Files {
    directory: PathBuf,
    role: Role,
}

impl Files {
    /// Files of the node `role` in `directory`.
    pub fn new(directory: &Path, role: Role) -> Files {
        Files { directory: directory.to_owned(), role }
    }

    /// The socket of the switch's port.
    pub fn wire(&self) -> PathBuf {
        self.path("wire")
    }

    /// The socket of the agent's serial line.
    pub fn agent(&self) -> PathBuf {
        self.path("agent")
    }

    /// QEMU's control socket.
    pub fn qmp(&self) -> PathBuf {
        self.path("qmp")
    }

    /// The longest of the sockets' paths, to be checked against [`SOCKET_PATH_LIMIT`].
    pub fn longest_socket(directory: &Path) -> PathBuf {
        Files::new(directory, Role::Client7).agent()
    }

    fn path(&self, kind: &str) -> PathBuf {
        self.directory.join(format!("{kind}-{}", self.role))
    }
}

/// A node's address on the wire: from 198.51.100.0/24, which is routed nowhere.
pub fn address(role: Role) -> Ipv4Addr {
    Ipv4Addr::new(198, 51, 100, role.index() + 1)
}

/// A node's MAC on the wire. They must differ: rxe takes a packet to its own MAC for loopback.
pub fn mac(role: Role) -> &'static str {
    const MACS: [&str; Role::ALL.len()] = [
        "52:54:00:00:00:01",
        "52:54:00:00:00:02",
        "52:54:00:00:00:03",
        "52:54:00:00:00:04",
        "52:54:00:00:00:05",
        "52:54:00:00:00:06",
        "52:54:00:00:00:07",
        "52:54:00:00:00:08",
    ];
    MACS[usize::from(role.index())]
}

/// One machine to be started.
#[derive(Debug, Clone, Copy)]
pub struct QemuMachine<'a> {
    /// The node that it is, or will be.
    pub role: Role,
    /// The image that it boots.
    pub image: &'a Image,
    /// Its accelerator.
    pub accel: Accel,
    /// Its sockets.
    pub files: &'a Files,
    /// The disk that programs come in on.
    pub deployment: &'a Path,
    /// The file that takes the kernel's console.
    pub console: &'a Path,
    /// The file that is its memory.
    pub memory: &'a Path,
    /// Its origin.
    pub origin: Origin,
    /// True if it is confined to [`SANDBOX`].
    pub is_confined: bool,
}

/// Origin of a machine: what becomes of its memory, and what tells it so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Boots, to be frozen: its memory is written to the file.
    Boot,
    /// Forked from a frozen one: its memory starts as the file's, changes stay its own, and its
    /// generation id is new, which makes the kernel draw fresh randomness.
    Fork,
    /// Forked, and told nothing: goes on with the frozen one's randomness.
    ForkUntold,
}

impl QemuMachine<'_> {
    /// Its command line, without the program.
    pub fn argv(&self) -> Vec<OsString> {
        let QemuMachine { role, image, accel, files, .. } = *self;
        let cpu = match accel {
            Accel::Kvm => "host",
            Accel::Tcg => "max",
        };
        let share = if self.origin == Origin::Boot { "on" } else { "off" };
        let generation = if self.origin == Origin::Fork { "auto" } else { FROZEN_GENERATION };
        let text = [
            ("-name", format!("lab-{role}")),
            ("-machine", format!("q35,accel={accel},usb=off,vmport=off,memory-backend=memory")),
            ("-cpu", cpu.to_owned()),
            ("-smp", "1".to_owned()),
            ("-m", MEMORY_MIB.to_string()),
            (
                "-object",
                format!(
                    "memory-backend-file,id=memory,size={MEMORY_MIB}M,share={share},mem-path={}",
                    escaped(self.memory)
                ),
            ),
            ("-device", format!("vmgenid,guid={generation}")),
            ("-append", kernel_command_line(role)),
            ("-drive", drive("image", &image.root())),
            ("-device", "virtio-blk-pci,drive=image".to_owned()),
            ("-drive", drive("deployment", self.deployment)),
            ("-device", "virtio-blk-pci,drive=deployment".to_owned()),
            (
                "-netdev",
                format!("stream,id=wire,server=off,addr.type=unix,addr.path={}", escaped(&files.wire())),
            ),
            ("-device", format!("virtio-net-pci,netdev=wire,mac={},romfile=", mac(role))),
            ("-netdev", "user,id=ssh,restrict=on,hostfwd=tcp:127.0.0.1:0-:22".to_owned()),
            ("-device", "virtio-net-pci,netdev=ssh,romfile=".to_owned()),
            ("-device", "virtio-rng-pci".to_owned()),
            ("-chardev", format!("file,id=console,path={}", escaped(self.console))),
            ("-serial", "chardev:console".to_owned()),
            ("-chardev", format!("socket,id=agent,server=on,wait=off,path={}", escaped(&files.agent()))),
            ("-serial", "chardev:agent".to_owned()),
            ("-qmp", format!("unix:{},server=on,wait=off", escaped(&files.qmp()))),
        ];
        let mut argv: Vec<OsString> =
            ["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"].map(OsString::from).into();
        for (flag, path) in [("-kernel", image.kernel()), ("-initrd", image.initrd())] {
            argv.extend([flag.into(), path.into()]);
        }
        for (flag, value) in text {
            argv.extend([flag.into(), value.into()]);
        }
        if self.is_confined {
            argv.extend(["-sandbox", SANDBOX].map(OsString::from));
        }
        if self.origin != Origin::Boot {
            argv.extend(["-incoming", "defer"].map(OsString::from));
        }
        argv
    }
}

/// Words for the init scripts, and a console that says little: each of its bytes costs an emulated exit. Of a further node's
/// machine nobody reads them: it never boots. A kernel that looks whether its timer works panics where the host lets it wait
/// for that; in an emulated machine it does work.
fn kernel_command_line(role: Role) -> String {
    let hosts: Vec<_> = Role::BOTH.map(|role| format!("{}={role}", address(role))).into();
    format!(
        "console=ttyS0 loglevel=4 panic=-1 no_timer_check lab.node={role} lab.address={}/24 lab.mtu={MTU} lab.hosts={}",
        address(role),
        hosts.join(",")
    )
}

fn drive(id: &str, file: &Path) -> String {
    format!("if=none,id={id},format=raw,readonly=on,file={}", escaped(file))
}

/// In QEMU's options a comma is written twice.
fn escaped(path: &Path) -> String {
    path.to_string_lossy().replace(',', ",,")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_differ_in_address_and_mac() {
        let each = Role::ALL.map(|role| format!("{} {}", address(role), mac(role)));
        assert_eq!(each[..2], ["198.51.100.1 52:54:00:00:00:01", "198.51.100.2 52:54:00:00:00:02"]);
        let [.., last] = each;
        assert_eq!(last, "198.51.100.8 52:54:00:00:00:08");
    }

    #[test]
    fn kernel_command_line_has_what_init_reads() {
        assert_eq!(
            kernel_command_line(Role::Client),
            "console=ttyS0 loglevel=4 panic=-1 no_timer_check lab.node=client lab.address=198.51.100.2/24 \
             lab.mtu=1500 lab.hosts=198.51.100.1=server,198.51.100.2=client"
        );
    }

    #[test]
    fn commas_in_paths_do_not_end_an_option() {
        assert_eq!(drive("d", Path::new("/a,b")), "if=none,id=d,format=raw,readonly=on,file=/a,,b");
    }

    #[test]
    fn no_other_socket_has_a_longer_path() {
        let directory = Path::new("/run/x");
        let longest = Files::longest_socket(directory).as_os_str().len();
        for role in Role::ALL {
            let files = Files::new(directory, role);
            for path in [files.wire(), files.agent(), files.qmp(), control_socket(directory)] {
                assert!(path.as_os_str().len() <= longest);
            }
        }
    }
}
