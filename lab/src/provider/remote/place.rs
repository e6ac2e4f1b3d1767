//! Build place of the programs for machines of others: here if they run there, else there.

use std::path::Path;

use goblin::elf::Elf;

use crate::base::error::{Error, IoContext as _, Result};
use crate::base::role::Role;
use crate::base::selection::BuildPlace;
use crate::host::builder::ours;
use crate::host::glibc::{self, Glibc};
use crate::provider::remote::machines::Machines;
use crate::provider::remote::survey::Survey;

/// The oldest glibc that programs built against the lab's sysroot have run with; [`check`] looks at each.
const GLIBC_OLDEST: Glibc = (2, 34);

/// Decides where to build for `machines`, and says why.
///
/// # Errors
///
/// The machines are not alike: no program would run on both.
pub fn decide(machines: &Machines) -> Result<(BuildPlace, String)> {
    let [server, client] = Role::BOTH.map(|role| &machines.surveys[&role]);
    if server.architecture != client.architecture {
        return Err(Error::setup(format!(
            "the server is {}, the client {}: no program runs on both",
            server.architecture, client.architecture
        ))
        .next("use two machines of one architecture"));
    }
    let older = if glibc(server) <= glibc(client) { server } else { client };
    Ok(place(std::env::consts::OS, std::env::consts::ARCH, older))
}

fn place(os: &str, architecture: &str, machine: &Survey) -> (BuildPlace, String) {
    if os != "linux" {
        return (BuildPlace::Guest, format!("this computer runs {os}"));
    }
    if machine.architecture != architecture || architecture != ours() {
        return (BuildPlace::Guest, format!("it is {}, this computer {architecture}", machine.architecture));
    }
    match glibc(machine) {
        Some(version) if version >= GLIBC_OLDEST => {
            (BuildPlace::Host, format!("it is {architecture} too, with glibc {}", machine.glibc))
        }
        Some(_) => (BuildPlace::Guest, format!("its glibc {} is older than 2.34", machine.glibc)),
        None => (BuildPlace::Guest, "it has no glibc".to_owned()),
    }
}

fn glibc(survey: &Survey) -> Option<Glibc> {
    glibc::parse(&survey.glibc)
}

/// Demands that a program built here runs on both machines.
///
/// # Errors
///
/// It cannot be read, or asks for a later glibc than a machine has.
pub fn check(program: &Path, machines: &Machines) -> Result<()> {
    let bytes = std::fs::read(program).at("failed to read the program", program)?;
    let needed = Elf::parse(&bytes).ok().as_ref().and_then(glibc::needed);
    // One without symbols of the library runs with any.
    let Some((major, minor)) = needed else { return Ok(()) };
    for (role, survey) in &machines.surveys {
        if glibc(survey).is_none_or(|has| has < (major, minor)) {
            return Err(Error::setup(format!(
                "{} asks for glibc {major}.{minor}, and {role} has {}",
                program.display(),
                if survey.glibc.is_empty() { "none" } else { &survey.glibc }
            ))
            .next("build it there: --build guest"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(architecture: &str, glibc: &str) -> Survey {
        Survey { architecture: architecture.to_owned(), glibc: glibc.to_owned(), ..Survey::default() }
    }

    #[test]
    fn programs_are_built_here_where_they_run_there() {
        let ubuntu_24 = machine("x86_64", "2.39");
        assert_eq!(place("linux", "x86_64", &ubuntu_24).0, BuildPlace::Host);
        assert_eq!(place("linux", "x86_64", &machine("x86_64", "2.35")).0, BuildPlace::Host);
        assert_eq!(place("linux", "x86_64", &machine("x86_64", "2.31")).0, BuildPlace::Guest);
        assert_eq!(place("linux", "x86_64", &machine("x86_64", "")).0, BuildPlace::Guest);
        assert_eq!(place("linux", "x86_64", &machine("aarch64", "2.39")).0, BuildPlace::Guest);
        assert_eq!(place("linux", "aarch64", &machine("aarch64", "2.39")).0, BuildPlace::Guest);
        assert_eq!(place("macos", "aarch64", &machine("aarch64", "2.39")).0, BuildPlace::Guest);
    }
}
