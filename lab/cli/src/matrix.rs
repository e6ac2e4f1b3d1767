//! `matrix`: the catalogue on several guests, and what each does otherwise.
//!
//! Each guest is run as `test` runs it, in a directory of its own below the matrix's. A guest is named as `--guest` takes it
//! elsewhere, or is a pair that differs, `SERVER+CLIENT`; parts of the user's own are one guest more.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use lab::base::error::IoContext as _;
use lab::base::own_parts::OwnParts;
use lab::base::selection::{AccelChoice, EachGuest, Means, ProviderName, ReleaseOption, Selection};
use lab::guest::image::Release;
use lab::provider::Choice;
use lab::scenario::Scenario;
use lab::trial::artifacts::Artifacts;
use lab::trial::matrix::table::Matrix;
use lab::trial::matrix::{sheet, text};
use lab::{Error, Result};

use crate::test::{self, ChosenCatalogue, TrialHow};
use crate::{Front, machines, output};

/// The guests that are taken where none is named: every kernel that is released.
const USUAL: [&str; 3] = ["debian-13", "debian-12", "debian-13-backports"];

/// The name of the guest with parts of the user's own.
const OWN: &str = "own";

/// Sign between the server's release and the client's.
const BETWEEN: char = '+';

/// The arguments of `matrix`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Scenarios to run [default: all].
    #[arg(value_name = "SCENARIO")]
    scenarios: Vec<String>,
    /// The guests: releases, or SERVER+CLIENT for a pair that differs [default: debian-13,debian-12,debian-13-backports].
    #[arg(long, value_name = "GUEST,…", value_delimiter = ',')]
    guest: Vec<String>,
    /// The catalogue: a directory of scenarios, with their snapshots in `snapshots` [default: the kit's own].
    #[arg(long = "scenarios", value_name = "DIR")]
    scenarios_in: Option<PathBuf>,
    /// Pairs of machines that run side by side [default: one a processor].
    #[arg(short, long, value_parser = clap::value_parser!(u16).range(1..=64))]
    jobs: Option<u16>,
    /// Accelerator of the machines [default: auto].
    #[arg(long)]
    accel: Option<AccelChoice>,
    /// Parts of the user's own: a guest more, beside debian-13 as it is.
    #[command(flatten)]
    own: OwnParts,
    #[command(flatten)]
    means: Means,
}

/// A guest of the matrix.
#[derive(Debug, PartialEq, Eq)]
struct NamedGuest {
    name: String,
    selection: Selection,
}

/// Runs the scenarios on each guest; exit code 1 where one is not green.
pub fn run(args: &Args, front: &Front) -> Result<ExitCode> {
    let guests = guests(args)?;
    let catalogue = ChosenCatalogue::of(args.scenarios_in.as_deref(), false, front)?;
    let mut planned = Vec::new();
    for guest in &guests {
        let choice = Choice::of(&guest.selection)?;
        planned = test::planned(&args.scenarios, Scenario::read_all(&catalogue.scenarios)?, &choice, front)?;
    }
    if planned.is_empty() {
        return Err(Error::usage("there is no scenario, so nothing would be compared"));
    }
    front.make_home()?;
    let kept = Artifacts::create(&front.home)?;
    let how =
        TrialHow { repeat: 1, jobs: test::jobs(args.jobs), require_all: false, writes_snapshots: false };
    let is_all = args.scenarios.is_empty();
    let (mut ended, mut succeeded) = (Vec::new(), true);
    for guest in &guests {
        output::line(format_args!("== {}", guest.name))?;
        let choice = Choice::of(&guest.selection)?;
        machines::prepare(&choice, &args.means, front.samples.are_built())?;
        let directory = kept.directory().join(&guest.name);
        fs::create_dir_all(&directory).at("failed to create", &directory)?;
        let begun = Instant::now();
        let (is_content, results) = catalogue.run(&planned, is_all, &choice, how, &directory, front)?;
        succeeded &= is_content;
        ended.push((guest.name.clone(), results, begun.elapsed().as_secs_f64()));
        // What there is so far, for who looks while the next is run, and if that does not end.
        sheet::keep(&Matrix::of(kept.directory(), ended.clone(), reference(&guests).min(ended.len() - 1)))?;
    }
    let matrix = Matrix::of(kept.directory(), ended, reference(&guests));
    sheet::keep(&matrix)?;
    output::print(format!("\n{}", text::text(&matrix)))?;
    Ok(if succeeded && matrix.is_green() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The guest that the others are compared with: the release that snapshots are taken on, else the first.
fn reference(guests: &[NamedGuest]) -> usize {
    guests.iter().position(|guest| guest.name == Release::usual().name).unwrap_or(0)
}

/// The guests that the arguments name, each once.
fn guests(args: &Args) -> Result<Vec<NamedGuest>> {
    let mut names: Vec<String> = args.guest.clone();
    if names.is_empty() {
        let usual = match args.own.is_empty() {
            true => &USUAL[..],
            false => &USUAL[..1],
        };
        names = usual.iter().map(|name| (*name).to_owned()).collect();
    }
    let mut guests: Vec<NamedGuest> = Vec::new();
    for name in names {
        let (release, each) = match name.split_once(BETWEEN) {
            None => (Some(Release::named(&name)?.name.clone()), EachGuest::default()),
            Some((server, client)) => {
                let of = |name: &str| Release::named(name.trim()).map(|release| Some(release.name.clone()));
                (None, EachGuest { server_guest: of(server)?, client_guest: of(client)? })
            }
        };
        let release = ReleaseOption { guest: release, packages: Vec::new() };
        let selection = Selection {
            provider: Some(ProviderName::Qemu),
            accel: args.accel,
            release,
            each,
            means: args.means,
            ..Selection::default()
        };
        if guests.iter().all(|guest| guest.selection != selection) {
            guests.push(NamedGuest { name, selection });
        }
    }
    if !args.own.is_empty() || args.own.only_on.is_some() {
        let release = ReleaseOption { guest: Some(Release::usual().name.clone()), packages: Vec::new() };
        let selection = Selection {
            provider: Some(ProviderName::Qemu),
            accel: args.accel,
            release,
            own: args.own.absolute()?,
            means: args.means,
            ..Selection::default()
        };
        guests.push(NamedGuest { name: OWN.to_owned(), selection });
    }
    Ok(guests)
}

#[cfg(test)]
mod tests {
    use clap::{Args as _, Command, FromArgMatches as _};

    use super::*;

    fn args(words: &[&str]) -> Args {
        let words = std::iter::once("matrix").chain(words.iter().copied());
        let matches = Args::augment_args(Command::new("matrix")).try_get_matches_from(words).unwrap();
        Args::from_arg_matches(&matches).unwrap()
    }

    fn names(words: &[&str]) -> Result<Vec<String>, String> {
        let guests = guests(&args(words)).map_err(|error| error.to_string())?;
        Ok(guests.into_iter().map(|guest| guest.name).collect())
    }

    #[test]
    fn guests_are_named_once_and_the_usual_one_is_the_reference() {
        assert_eq!(names(&[]).unwrap(), USUAL);
        assert_eq!(names(&["--guest", "debian-12,debian-13,debian-12"]).unwrap(), ["debian-12", "debian-13"]);
        let of = |words: &[&str]| reference(&guests(&args(words)).unwrap());
        assert_eq!(of(&["--guest", "debian-12,debian-13"]), 1);
        assert_eq!(of(&["--guest", "debian-12,debian-unstable"]), 0);
        assert!(names(&["--guest", "debian12"]).unwrap_err().contains("the nearest is `debian-12`"));
    }

    #[test]
    fn pair_that_differs_is_a_guest() {
        let guests = guests(&args(&["--guest", "debian-12+debian-13-backports"])).unwrap();
        assert_eq!(guests[0].name, "debian-12+debian-13-backports");
        let options = Choice::of(&guests[0].selection).unwrap().options(ProviderName::Qemu).join(" ");
        assert_eq!(options, "--server-guest debian-12 --client-guest debian-13-backports");
        assert!(names(&["--guest", "debian-12+x"]).unwrap_err().contains("no guest is called `x`"));
    }

    #[test]
    fn own_parts_are_a_guest_beside_the_usual_one() {
        assert_eq!(names(&["--module", "rdma_rxe.ko"]).unwrap(), ["debian-13", OWN]);
        assert_eq!(names(&["--module", "x.ko", "--guest", "debian-12"]).unwrap(), ["debian-12", OWN]);
    }
}
