//! The programs for machines of others: those that were built here, or made on one of the machines.

use std::sync::{Mutex, PoisonError};

use crate::base::error::{Error, Result};
use crate::base::program::Program;
use crate::base::progress::say;
use crate::base::role::Role;
use crate::base::selection::BuildPlace;
use crate::guest::programs::samples::Samples;
use crate::provider::remote::build_guest;
use crate::provider::remote::machines::Machines;
use crate::provider::remote::place;

/// Source of programs that run on the machines; makes them there where those from here do not.
#[derive(Debug)]
pub struct Maker {
    samples: Samples,
    asked: Option<BuildPlace>,
    made: Mutex<Option<(BuildPlace, Vec<Program>)>>,
}

impl Maker {
    /// For these sample programs; `asked` is where somebody wants them to be built.
    pub fn new(samples: &Samples, asked: Option<BuildPlace>) -> Maker {
        Maker { samples: samples.clone(), asked, made: Mutex::new(None) }
    }

    /// `programs`, the samples among them in a form that runs on `machines`. Decided once, and said.
    ///
    /// # Errors
    ///
    /// As [`place::decide`], [`place::check`] and [`build_guest::build`].
    pub fn fitting(&self, machines: &Machines, programs: &[Program]) -> Result<Vec<Program>> {
        let Samples::Workspace(workspace) = &self.samples else {
            return self.checked(machines, programs);
        };
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if made.is_none() {
            let (place, why) = match self.asked {
                Some(place) => (place, "as asked".to_owned()),
                None => place::decide(machines)?,
            };
            let built = match place {
                BuildPlace::Host => Vec::new(),
                BuildPlace::Guest => {
                    say(&format!("programs are built on the server: {why}"));
                    let server = &machines.by_role[&Role::Server];
                    build_guest::build(workspace, server, &machines.surveys[&Role::Server])?
                }
            };
            *made = Some((place, built));
        }
        let (place, built) = made.clone().unwrap_or((BuildPlace::Host, Vec::new()));
        if place == BuildPlace::Host {
            for program in programs {
                place::check(&program.path, machines)?;
            }
        }
        let others = programs.iter().filter(|program| built.iter().all(|built| built.name != program.name));
        Ok(built.iter().chain(others).cloned().collect())
    }

    /// `programs` without samples that were built before for other machines than these.
    fn checked(&self, machines: &Machines, programs: &[Program]) -> Result<Vec<Program>> {
        if self.asked == Some(BuildPlace::Guest) {
            return Err(Error::usage("--build guest needs the sources of the sample programs")
                .next("run it in a checkout of the lab, by its `cargo xtask`"));
        }
        let Samples::Prebuilt(samples) = &self.samples else { return Ok(programs.to_vec()) };
        if samples.is_empty() {
            return Ok(programs.to_vec());
        }
        let (place, why) = place::decide(machines)?;
        if place == BuildPlace::Host {
            return Ok(programs.to_vec());
        }
        say(&format!("the sample programs do not run on these machines and stay here: {why}"));
        Ok(programs.iter().filter(|program| !samples.contains(program)).cloned().collect())
    }
}
