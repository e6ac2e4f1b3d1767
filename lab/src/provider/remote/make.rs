//! The programs for machines of others: those that were built here, or made on one of the machines.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::base::error::Result;
use crate::base::program::Program;
use crate::base::progress::say;
use crate::base::role::Role;
use crate::provider::remote::build_guest;
use crate::provider::remote::machines::Machines;
use crate::provider::remote::place::{self, Place};

/// Gives programs that run on the machines; makes them there where those from here do not.
#[derive(Debug)]
pub struct Maker {
    workspace: PathBuf,
    asked: Option<Place>,
    made: Mutex<Option<(Place, Vec<Program>)>>,
}

impl Maker {
    /// For the workspace at `workspace`; `asked` is where somebody wants programs to be built.
    pub fn new(workspace: &Path, asked: Option<Place>) -> Maker {
        Maker { workspace: workspace.to_owned(), asked, made: Mutex::new(None) }
    }

    /// `programs`, those of the workspace in a form that runs on `machines`. Decided once, and said.
    ///
    /// # Errors
    ///
    /// As [`place::decide`], [`place::check`] and [`build_guest::build`].
    pub fn fitting(&self, machines: &Machines, programs: &[Program]) -> Result<Vec<Program>> {
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if made.is_none() {
            let (place, why) = match self.asked {
                Some(place) => (place, "as asked".to_owned()),
                None => place::decide(machines)?,
            };
            let built = match place {
                Place::Host => Vec::new(),
                Place::Guest => {
                    say(&format!("programs are built on the server: {why}"));
                    let server = &machines.by_role[&Role::Server];
                    build_guest::build(&self.workspace, server, &machines.surveys[&Role::Server])?
                }
            };
            *made = Some((place, built));
        }
        let (place, built) = made.clone().unwrap_or((Place::Host, Vec::new()));
        if place == Place::Host {
            for program in programs {
                place::check(&program.path, machines)?;
            }
        }
        let others = programs.iter().filter(|program| built.iter().all(|built| built.name != program.name));
        Ok(built.iter().chain(others).cloned().collect())
    }
}
