//! Machines and means of a command: its options, completed by the environment and by what is usual.

use lab::base::cache::Cache;
use lab::base::policy::Policy;
use lab::base::selection::{GUEST, Means, ProviderName, ReleaseOption, Selection};
use lab::guest::image::Release;
use lab::host::toolbox::Toolbox;
use lab::host::{Host, requirement};
use lab::provider::choice::{self, Choice};
use lab::{Error, Result};

use crate::output;

/// Returns the release that is named, by an option or else by `RDMA_LAB_GUEST`; else the usual one.
///
/// # Errors
///
/// Nothing has that name; the error tells the nearest.
pub fn guest(option: &ReleaseOption) -> Result<&'static Release> {
    if let Some(name) = &option.guest {
        return Release::named(name);
    }
    match Selection::of_environment()?.release.guest {
        None => Ok(Release::usual()),
        Some(name) => Release::named(&name)
            .map_err(|error| Error::usage(format!("{GUEST}={name} names no guest")).source(error)),
    }
}

/// Returns the machines that options mean. A provider that they do not name is the environment's, else that of a lab which is
/// `there`, else the usual one; which is said if it is not this computer's own QEMU.
///
/// # Errors
///
/// A name is none, or what goes with the provider is missing.
pub fn choice(options: &Selection, there: Option<ProviderName>) -> Result<Choice> {
    let mut selection = options.clone().or(Selection::of_environment()?);
    selection.provider = selection.provider.or(there);
    if selection.provider.is_none() {
        let usual = choice::usual();
        if usual != ProviderName::Qemu {
            output::note(&format!("provider {usual}, since its daemon answers; another: --provider qemu"));
        }
        selection.provider = Some(usual);
    }
    match (selection.provider, &options.release.guest) {
        (Some(ProviderName::Qemu), _) => {
            selection.release.guest = Some(guest(&options.release)?.name.clone())
        }
        (_, Some(guest)) => {
            return Err(Error::usage(format!("--guest {guest} is for QEMU's machines"))
                .next("run it with --provider qemu; what an instance runs is chosen by --image"));
        }
        _ => {}
    }
    if selection.provider != Some(ProviderName::Qemu)
        && let Some((option, value)) = of_qemu_alone(options).first()
    {
        return Err(Error::usage(format!("--{option} {value} is for QEMU's machines"))
            .next("run it with --provider qemu; what another machine runs is its owner's to say"));
    }
    Choice::of(&selection)
}

/// The options that choose what one of QEMU's machines runs, as they were said.
fn of_qemu_alone(options: &Selection) -> Vec<(&'static str, String)> {
    let (each, own) = (options.each.clone(), options.own.clone());
    Selection { each, own, ..Selection::default() }.options()
}

/// Makes means, completed by the environment, the policy of this process.
///
/// # Errors
///
/// A variable of the environment says something that is none.
pub fn apply(means: &Means) -> Result<()> {
    Policy::of(Selection { means: *means, ..Selection::default() }.or(Selection::of_environment()?).means)
        .set();
    if means.install {
        output::note("--install: nothing needs to be installed any more, the lab brings its own tools");
    }
    Ok(())
}

/// Demands what this computer needs for machines, and for programs if they are `built`; applies the means.
///
/// # Errors
///
/// As [`requirement::demand_platform`] and [`requirement::demand`]; the cache directory cannot be used.
pub fn prepare(choice: &Choice, means: &Means, built: bool) -> Result<()> {
    apply(means)?;
    let cache = Cache::open()?;
    if choice.name() != ProviderName::Qemu {
        return Ok(());
    }
    requirement::demand_platform()?;
    Toolbox::of(&cache).demand_exec()?;
    requirement::demand(&Host::this(), &requirement::run(built))
}

#[cfg(test)]
mod tests {
    use lab::base::own_parts::OwnParts;
    use lab::base::selection::EachGuest;

    use super::*;

    #[test]
    fn what_only_qemus_machines_can_run_is_refused_of_others() {
        let of = |each, own| {
            let (provider, hosts) = (Some(ProviderName::Ssh), Some("/h.toml".into()));
            choice(&Selection { provider, hosts, each, own, ..Selection::default() }, None)
        };
        let each = EachGuest { server_guest: Some("debian-12".to_owned()), client_guest: None };
        let own = OwnParts { kernel: Some("/linux".into()), ..OwnParts::default() };
        for (each, own, option) in [
            (each, OwnParts::default(), "--server-guest debian-12"),
            (EachGuest::default(), own, "--kernel /linux"),
        ] {
            let error = of(each, own).unwrap_err().to_string();
            assert!(error.contains(&format!("{option} is for QEMU's machines")), "{error}");
        }
        assert!(of(EachGuest::default(), OwnParts::default()).is_ok());
    }
}
