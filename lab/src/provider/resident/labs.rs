//! All labs that stay, on whosever machines: found, brought up, taken down.

use crate::base::cache::Cache;
use crate::base::error::{Error, Result};
use crate::base::invocation;
use crate::node::Plan;
use crate::provider::choice::{Choice, MachineSource};
use crate::provider::qemu::control::Control;
use crate::provider::qemu::stray::Stray;
use crate::provider::resident::lab::{Resident, check_name};
use crate::provider::resident::qemu::QemuLabs;
use crate::provider::resident::remote::{self, RemoteLab};

/// The labs of one cache.
#[derive(Debug, Clone)]
pub struct Labs {
    cache: Cache,
    qemu: QemuLabs,
}

/// A lab that was brought up, or was up already.
pub struct Brought {
    /// The lab.
    pub lab: Box<dyn Resident>,
    /// True if it was up before.
    pub was_up: bool,
    /// Ends the lab when dropped, if it is not told to stay.
    pub held: Option<Control>,
}

impl Labs {
    /// The labs recorded in `cache`.
    ///
    /// # Errors
    ///
    /// The cache cannot be written.
    pub fn open(cache: &Cache) -> Result<Labs> {
        Ok(Labs { cache: cache.clone(), qemu: QemuLabs::open(cache)? })
    }

    fn remote(&self, name: &str) -> Result<Option<RemoteLab>> {
        check_name(name)?;
        remote::find(&self.cache, name)
    }

    /// Finds the lab called `name`: one on machines of others as it is recorded, one on the lab's own if it is up.
    ///
    /// # Errors
    ///
    /// The name is none that a file can have, the record cannot be read, or the lab does not answer.
    pub fn find(&self, name: &str) -> Result<Option<Box<dyn Resident>>> {
        Ok(match self.remote(name)? {
            Some(lab) => Some(Box::new(lab)),
            None => self.qemu.find(name)?.map(|lab| Box::new(lab) as Box<dyn Resident>),
        })
    }

    /// Finds the lab called `name`, which is up.
    ///
    /// # Errors
    ///
    /// It is down: with the reason, if its guard left one.
    pub fn get(&self, name: &str) -> Result<Box<dyn Resident>> {
        Ok(match self.remote(name)? {
            Some(lab) => Box::new(lab),
            None => Box::new(self.qemu.get(name)?),
        })
    }

    /// Lists every recorded lab, up or not.
    ///
    /// # Errors
    ///
    /// The records cannot be read.
    pub fn all(&self) -> Result<Vec<Box<dyn Resident>>> {
        let own = self.qemu.all()?.into_iter().map(|lab| Box::new(lab) as Box<dyn Resident>);
        let others = remote::all(&self.cache)?.into_iter().map(|lab| Box::new(lab) as Box<dyn Resident>);
        Ok(own.chain(others).collect())
    }

    /// Brings up a lab called `name` on machines of `source`, which `choice` chose, as planned. Of one
    /// that is up already, machines of the lab's own are left alone, and machines of others made ready if they are not.
    ///
    /// # Errors
    ///
    /// The name is another lab's, it is to have more nodes than `source` has, or the machines do not come up.
    pub fn up(
        &self,
        name: &str,
        source: &MachineSource,
        choice: &Choice,
        plan: &Plan<'_>,
    ) -> Result<Brought> {
        let MachineSource::Qemu(qemu) = source else {
            choice.demand_nodes(plan.nodes)?;
            let (lab, was_up) = remote::up(&self.cache, name, choice, source, plan.programs, plan.artifacts)?;
            return Ok(Brought { lab: Box::new(lab), was_up, held: None });
        };
        if self.remote(name)?.is_some() {
            return Err(Error::usage(format!(
                "the name {name} is that of a lab on other machines, which do not answer"
            ))
            .next(format!(
                "give them back: {}\nor bring up another: {}",
                invocation::lab("down"),
                invocation::lab("up --name OTHER")
            )));
        }
        let (lab, held) = self.qemu.up(qemu, name, choice, plan)?;
        Ok(Brought { lab: Box::new(lab), was_up: held.is_none(), held })
    }

    /// Lists what was left behind: run directories whose guard was killed, and machines without one.
    ///
    /// # Errors
    ///
    /// The records cannot be read.
    pub fn strays(&self) -> Result<Vec<Stray>> {
        self.qemu.strays()
    }

    /// Finds the lab called `name` as it is recorded, up or not.
    ///
    /// # Errors
    ///
    /// The name is none that a file can have, or the record cannot be read.
    pub fn recorded(&self, name: &str) -> Result<Option<Box<dyn Resident>>> {
        Ok(match self.remote(name)? {
            Some(lab) => Some(Box::new(lab)),
            None => self.qemu.recorded(name)?.map(|lab| Box::new(lab) as Box<dyn Resident>),
        })
    }
}
