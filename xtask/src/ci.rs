//! `cargo xtask ci`: everything that must hold, stage by stage; a red stage does not hide the next.
//!
//! 1. requirements: what this computer must have; tools come from the toolbox
//! 2. formatting; the book of `docs/` and licences and sources of crates, where `mdbook` and `cargo deny` are there: nothing
//!    brings them here, and jobs of the workflow `checks` have them
//! 3. clippy, rustdoc and tests, each without and with feature `verbs`
//! 4. the scenarios, their pages in a browser, if one is there, and some of them on the oldest guest
//! 5. the verbs library's tests on a real device, in a guest
//! 6. the self-test: that the harness goes red; the lessons: that what they claim is true
//! 7. the lab: `tests/lab/`, each subcommand and each bench among it; `tests/standalone.rs`: `rdma-lab` without cargo
//! 8. machines of others, Multipass over its stand-in and SSH: both examples, and the recorded cases; with
//!    `--every-trap` all of `tests/multipass/`
//!
//! The last line is `N passed, N failed`.

use std::ffi::OsString;
use std::process::{Command, ExitCode};

use lab::Result;
use lab::base::cache::Cache;
use lab::base::policy::Policy;
use lab::base::selection::{Means, ProviderName, Selection};
use lab::guest::programs;
use lab::host::toolbox::Toolbox;
use lab::host::{Host, requirement};
use rdma_lab_cli::{machines, output};

use crate::stage::{self, StageEnd, StageExpect, StageTable};
use crate::{book, screenshots, workspace};

/// The feature that turns rdma-sys on.
const VERBS: [&str; 2] = ["--features", "rdma-lab/verbs"];
const MUTANTS: [&str; 2] = ["--features", "rdma-lab/mutants"];

/// Scenarios of what kernels do otherwise, and of a recovery: those that are run on another guest too.
const ELSEWHERE: &[&str] = &["lost_read_response", "refused_rkey", "rnr_then_success", "write_read"];

/// Variables of the user's that would change what is built or found.
const NOT_INHERITED: [&str; 8] = [
    "RUSTFLAGS",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_BUILD_RUSTFLAGS",
    "RUSTDOCFLAGS",
    "CARGO_ENCODED_RUSTDOCFLAGS",
    "CARGO_BUILD_RUSTDOCFLAGS",
    "CARGO_BUILD_TARGET",
    "INSTA_FORCE_PASS",
];

/// The stage that is left out where its tool is not there.
const DENY: &str = "licences and sources";

/// The arguments of `ci`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    means: Means,
    /// Also try all that can go wrong with machines of others, Multipass's and SSH hosts'. Takes minutes more.
    #[arg(long)]
    every_trap: bool,
}

/// A stage that is one call of cargo.
struct StagePlan {
    name: &'static str,
    args: Vec<&'static str>,
    /// With feature `verbs`.
    verbs: bool,
    /// With the toolbox on its PATH.
    tools: bool,
    expect: StageExpect,
}

/// Runs every stage; exit code 1 where one is red.
pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    machines::apply(&args.means)?;
    let demand = || requirement::demand(&Host::this(), &requirement::ci());
    let mut ended = vec![stage::check("requirements", demand, echo)];
    if Host::this().program("mdbook").is_some() {
        ended.push(stage::check("book", book::build, echo));
    } else {
        echo("\n== book: not built, there is no mdbook here; a test holds what it shows");
    }
    for plan in plans(args.every_trap) {
        if plan.name == DENY && Host::this().program("cargo-deny").is_none() {
            echo(&format!("\n== {DENY}: not run, there is no cargo-deny here"));
            continue;
        }
        ended.push(run_plan(&plan));
        // Before the next stage that runs scenarios makes another run the newest.
        if plan.name == "test-e2e" || plan.name == "lessons" {
            let home = workspace::front()?.home;
            ended.push(stage::check("pages", || screenshots::draw(&home, echo), echo));
        }
    }
    let table = StageTable(&ended);
    output::print(&table)?;
    Ok(if table.total().failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn run_plan(plan: &StagePlan) -> StageEnd {
    match environment(plan) {
        Ok(env) => stage::run(plan.name, &mut cargo(&plan.args, &env), plan.expect, echo),
        Err(error) => stage::check(plan.name, || Err(error), echo),
    }
}

/// Environment that a stage needs of the cache: the sysroot and bindgen's library, tools on its PATH.
fn environment(plan: &StagePlan) -> Result<Vec<(OsString, OsString)>> {
    let cache = Cache::open()?;
    let is_linked = plan.args.contains(&programs::TARGET);
    let mut env = if plan.verbs { programs::checks(&cache, is_linked)? } else { Vec::new() };
    if plan.tools {
        env.push(("PATH".into(), Toolbox::of(&cache).path(&["tshark", "ssh"])?));
    }
    Ok(env)
}

/// Passes a line of a stage on.
fn echo(line: &str) {
    let _ = output::line(line);
}

/// The stages after the requirements, in order.
fn plans(every_trap: bool) -> Vec<StagePlan> {
    let mut plans = vec![StagePlan {
        name: "fmt",
        args: vec!["fmt", "--all", "--check"],
        verbs: false,
        tools: false,
        expect: StageExpect::NoTests,
    }];
    plans.push(StagePlan {
        name: DENY,
        args: vec![
            "deny",
            "--workspace",
            "--locked",
            "check",
            "licenses",
            "bans",
            "sources",
            "--hide-inclusion-graph",
        ],
        verbs: false,
        tools: false,
        expect: StageExpect::NoTests,
    });
    let twice = [["clippy", "clippy, verbs"], ["rustdoc", "rustdoc, verbs"], ["test", "test, verbs"]];
    for names in twice {
        for (name, verbs) in names.into_iter().zip([false, true]) {
            let (mut args, last, expect) = match names[0] {
                "clippy" => (
                    vec!["clippy", "--workspace", "--all-targets", "--keep-going"],
                    vec!["--", "-D", "warnings"],
                    StageExpect::NoTests,
                ),
                "rustdoc" => {
                    (vec!["doc", "--workspace", "--no-deps", "--keep-going"], vec![], StageExpect::NoTests)
                }
                // All else is the same without the feature. With a target only what is tested is linked against
                // the sysroot, and no build script. In a directory of its own: its build scripts and macros have the
                // other stages' names, and these would compile theirs anew.
                _ if verbs => (
                    [
                        &["test", "--package", "rdma-lab", "--package", "rdma-lab-verbs"][..],
                        &["--no-fail-fast", "--target", programs::TARGET, "--target-dir", "target/verbs"],
                    ]
                    .concat(),
                    vec![],
                    StageExpect::Tests,
                ),
                _ => (vec!["test", "--workspace", "--no-fail-fast"], vec![], StageExpect::Tests),
            };
            if verbs {
                // What self-test spoils is linted, and left out of everything else.
                args.extend(if names[0] == "clippy" { MUTANTS } else { VERBS });
            }
            args.extend(last);
            plans.push(StagePlan { name, args, verbs, tools: false, expect });
        }
    }
    // With the workspace, whose own tests have compiled everything.
    plans.push(StagePlan {
        name: "tshark's fields",
        args: vec!["test", "--workspace", "--test", "tshark", "--", "--ignored"],
        verbs: false,
        tools: true,
        expect: StageExpect::Tests,
    });
    plans.push(StagePlan {
        name: "packages",
        args: vec![
            "test",
            "--package",
            "xtask",
            "--test",
            "package",
            "--",
            "--ignored",
            "--test-threads",
            "1",
        ],
        verbs: false,
        tools: false,
        expect: StageExpect::Tests,
    });
    // A process of its own: the tests may have replaced the file that this one was started from.
    plans.push(StagePlan {
        name: "test-e2e",
        args: vec!["run", "--quiet", "--package", "xtask", "--", "test-e2e", "--ci"],
        verbs: false,
        tools: false,
        expect: StageExpect::Tests,
    });
    // Whatever this run's own guest is: what the oldest does otherwise is declared, and no more than that.
    plans.push(StagePlan {
        name: "test-e2e, oldest guest",
        args: [
            &["run", "--quiet", "--package", "xtask", "--", "test-e2e", "--ci", "--guest", "debian-12"][..],
            ELSEWHERE,
        ]
        .concat(),
        verbs: false,
        tools: false,
        expect: StageExpect::Tests,
    });
    plans.push(StagePlan {
        name: "test-guest",
        args: vec!["run", "--quiet", "--package", "xtask", "--", "test-guest"],
        verbs: false,
        tools: false,
        expect: StageExpect::Tests,
    });
    plans.push(StagePlan {
        name: "self-test",
        args: vec!["run", "--quiet", "--package", "xtask", "--", "self-test"],
        verbs: false,
        tools: false,
        expect: StageExpect::Tests,
    });
    plans.push(StagePlan {
        name: "lessons",
        args: vec!["run", "--quiet", "--package", "xtask", "--", "lesson"],
        verbs: false,
        tools: false,
        expect: StageExpect::Tests,
    });
    plans.push(StagePlan {
        name: "book, on machines",
        args: vec!["run", "--quiet", "--package", "xtask", "--", "book", "--machines"],
        verbs: false,
        tools: false,
        expect: StageExpect::NoTests,
    });
    for (name, tests) in [
        ("lab", &["--package", "xtask", "--test", "lab"][..]),
        ("rdma-lab", &["--workspace", "--test", "standalone"]),
    ] {
        let how = &["--no-fail-fast", "--", "--ignored", "--test-threads", "1"];
        plans.push(StagePlan {
            name,
            args: [&["test"], tests, how].concat(),
            verbs: false,
            tools: true,
            expect: StageExpect::Tests,
        });
    }
    plans.push(StagePlan {
        name: "multipass",
        args: [
            &["test", "--workspace", "--test", "providers", "--test", "transcripts"][..],
            &["--", "--ignored", "--test-threads", "1"],
            if every_trap { &[] } else { &["recorded_cases", "both_examples"] },
        ]
        .concat(),
        verbs: false,
        tools: true,
        expect: StageExpect::Tests,
    });
    plans
}

/// True if a stage runs this subcommand of `cargo xtask`.
#[cfg(test)]
pub(crate) fn runs(subcommand: &str) -> bool {
    let is_of = |plan: &StagePlan| plan.args.windows(2).any(|words| words == ["--", subcommand]);
    plans(false).iter().any(is_of)
}

/// A cargo that the user's environment does not change, and that writes no snapshot.
fn cargo(args: &[&str], env: &[(OsString, OsString)]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(args).current_dir(workspace::root());
    for name in NOT_INHERITED {
        command.env_remove(name);
    }
    // Stages that mean another provider say so.
    let provider = Some(ProviderName::Qemu);
    command.envs([Selection { provider, means: Policy::get().means(), ..Selection::default() }.variable()]);
    // What a red stage left is looked at when all have ended.
    command.env(lab::trial::artifacts::KEEP, "all");
    command.env("RUSTDOCFLAGS", "-D warnings").env("CI", "true").env("INSTA_UPDATE", "no");
    command.envs(env.iter().map(|(name, value)| (name, value)));
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_check_runs_without_and_with_verbs() {
        let lines: Vec<String> = plans(false).iter().map(|plan| plan.args.join(" ")).collect();
        for check in ["clippy", "doc", "test"] {
            let of_check: Vec<&String> =
                lines.iter().filter(|line| line.starts_with(&format!("{check} "))).take(2).collect();
            assert!(
                of_check[0].contains("--workspace") && !of_check[0].contains("--features"),
                "{of_check:?}"
            );
            assert!(of_check[1].contains("--features rdma-lab/"), "{of_check:?}");
        }
        assert!(
            lines.contains(
                &"clippy --workspace --all-targets --keep-going --features rdma-lab/mutants -- -D warnings"
                    .to_owned()
            )
        );
        let on_machines = &lines[lines.len() - 9..];
        assert_eq!(on_machines[0], "run --quiet --package xtask -- test-e2e --ci");
        assert!(
            on_machines[1].starts_with("run --quiet --package xtask -- test-e2e --ci --guest debian-12 ")
        );
        assert_eq!(on_machines[2], "run --quiet --package xtask -- test-guest");
        assert_eq!(on_machines[3], "run --quiet --package xtask -- self-test");
        assert_eq!(on_machines[4], "run --quiet --package xtask -- lesson");
        assert_eq!(on_machines[5], "run --quiet --package xtask -- book --machines");
        assert!(on_machines[6].starts_with("test --package xtask --test lab --no-fail-fast -- --ignored"));
        assert!(on_machines[7].starts_with("test --workspace --test standalone --no-fail-fast -- --ignored"));
        assert!(
            on_machines[8].starts_with("test --workspace --test providers --test transcripts -- --ignored")
        );
    }

    #[test]
    fn snapshots_are_never_written_and_flags_are_ours() {
        let command = cargo(&["test"], &[]);
        let env: Vec<_> = command.get_envs().collect();
        assert!(env.contains(&("INSTA_UPDATE".as_ref(), Some("no".as_ref()))));
        assert!(env.contains(&("RUSTFLAGS".as_ref(), None)));
        assert!(env.contains(&("RUSTDOCFLAGS".as_ref(), Some("-D warnings".as_ref()))));
    }
}
