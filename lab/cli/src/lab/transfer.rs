//! `push` and `pull`: files and directories, verified by their checksums.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use lab::base::role::Role;
use lab::node::parcel::{Destination, Item, Parcel, is_a_directory};
use lab::{Error, Result};
use serde::Serialize;

use super::target::{LabName, json};
use crate::output;

/// Target of files that are pushed without one, first on PATH.
const PROGRAMS: &str = "/opt/lab/bin/";

/// The arguments that both have, whichever way files go.
#[derive(Debug, clap::Args)]
struct Way {
    #[command(flatten)]
    name: LabName,
    /// Take directories along, with all that is in them.
    #[arg(short, long)]
    recursive: bool,
    /// Say what went where as JSON, one object.
    #[arg(long)]
    json: bool,
    /// The node.
    #[arg(ignore_case = true)]
    node: Role,
}

/// The arguments of `lab push`.
#[derive(Debug, clap::Args)]
pub struct PushArgs {
    #[command(flatten)]
    way: Way,
    /// Files of this computer; the last of several is where they go on the node: a directory, or a new name of one file
    /// [default: /opt/lab/bin, first on PATH, where all are executable].
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
}

/// The arguments of `lab pull`.
#[derive(Debug, clap::Args)]
pub struct PullArgs {
    #[command(flatten)]
    way: Way,
    /// Files of the node; the last of several is where they go on this computer: a directory, or a new name of one file
    /// [default: this directory].
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
}

/// Files that went, and where.
#[derive(Debug, Serialize)]
struct Moved {
    node: Role,
    files: Vec<MovedItem>,
    /// Files that were not taken along, and why.
    left_out: Vec<String>,
}

/// One file or tree.
#[derive(Debug, Serialize)]
struct MovedItem {
    from: String,
    to: String,
    files: u64,
    size_bytes: u64,
    /// Permission bits, octal.
    mode: String,
}

impl MovedItem {
    fn new(from: String, to: String, item: &Item) -> MovedItem {
        let Item { files, size_bytes, mode, .. } = *item;
        MovedItem { from, to, files, size_bytes, mode: format!("{mode:o}") }
    }
}

/// Puts files onto a node.
pub(crate) fn push(args: &PushArgs) -> Result<ExitCode> {
    let (sources, to) = sources_and_target(&args.paths);
    let to = match to {
        Some(to) => to
            .to_str()
            .ok_or_else(|| Error::usage(format!("{} is no path that a node can have", to.display())))?,
        None => PROGRAMS,
    };
    let least_mode = if to == PROGRAMS { 0o555 } else { 0 };
    let lab = args.way.name.find_with(args.way.node)?;
    let parcel = Parcel::pack(sources, args.way.recursive, least_mode)?;
    let target = Destination { path: to, is_directory: to.ends_with('/') || sources.len() > 1 };
    let role = args.way.node;
    let there = lab.push(role, &parcel, target)?;
    let rows = sources.iter().zip(&parcel.items).map(|(source, item)| {
        let to = if there.ends_with('/') { format!("{there}{}", item.name) } else { there.clone() };
        MovedItem::new(source.display().to_string(), to, item)
    });
    tell(args.way.json, &Moved { node: role, files: rows.collect(), left_out: parcel.left_out.clone() })
}

/// Gets files from a node.
pub(crate) fn pull(args: &PullArgs) -> Result<ExitCode> {
    let (sources, to) = sources_and_target(&args.paths);
    let to = to.unwrap_or(Path::new("."));
    let is_directory = to.is_dir() || to.to_string_lossy().ends_with('/') || sources.len() > 1;
    let (lab, role) = (args.way.name.find_with(args.way.node)?, args.way.node);
    let mut moved = Moved { node: role, files: Vec::new(), left_out: Vec::new() };
    for source in sources {
        let from = source
            .to_str()
            .ok_or_else(|| Error::usage(format!("{} is no path that a node can have", source.display())))?;
        // `/`, `.` and `..` have no name to have here: what is in them goes into the target.
        let place = match source.file_name() {
            Some(name) if is_directory => to.join(name),
            _ => to.to_owned(),
        };
        if !args.way.recursive && place.is_dir() {
            return Err(is_a_directory(&place.display().to_string()));
        }
        if is_directory {
            std::fs::create_dir_all(to).map_err(|source| {
                Error::setup(format!("failed to create {}", to.display())).source(source)
            })?;
        }
        let arrived = lab.pull(role, from, args.way.recursive, &place)?;
        moved.files.push(MovedItem::new(from.to_owned(), arrived.path.display().to_string(), &arrived.item));
        moved.left_out.extend(arrived.left_out);
    }
    tell(args.way.json, &moved)
}

/// All paths but the last, and that as the target, if there are two or more.
fn sources_and_target(paths: &[PathBuf]) -> (&[PathBuf], Option<&Path>) {
    match paths {
        [sources @ .., to] if !sources.is_empty() => (sources, Some(to)),
        all => (all, None),
    }
}

fn tell(as_json: bool, moved: &Moved) -> Result<ExitCode> {
    for left_out in &moved.left_out {
        output::note(&format!("left out: {left_out}"));
    }
    if as_json {
        output::line(json(moved)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    for MovedItem { to, files, size_bytes, .. } in &moved.files {
        match files {
            1 => output::line(format_args!("{to}: {size_bytes} bytes"))?,
            files => output::line(format_args!("{to}: {files} files, {size_bytes} bytes"))?,
        }
    }
    Ok(ExitCode::SUCCESS)
}
