//! The workflows: each job writes to its summary, so that nobody has to open a log to know what came of it.

use std::fs;

use crate::sources::workspace;

/// Ways to write a summary.
const SUMMARIES: [&str; 2] = ["$GITHUB_STEP_SUMMARY", ".ci/summarized "];

/// Jobs of a workflow that write no summary.
fn silent(workflow: &str) -> Vec<&str> {
    let (_, jobs) = workflow.split_once("\njobs:\n").expect("a workflow has jobs");
    let mut found: Vec<(&str, bool)> = Vec::new();
    for line in jobs.lines().filter(|line| !line.trim_start().starts_with('#')) {
        match line.strip_prefix("  ").and_then(|line| line.strip_suffix(':')) {
            Some(name) if !name.starts_with(' ') => found.push((name, false)),
            _ => {
                let is_summary = SUMMARIES.iter().any(|way| line.contains(way));
                found.last_mut().expect("a job's name comes first").1 |= is_summary;
            }
        }
    }
    assert!(!found.is_empty(), "no job: {workflow}");
    found.into_iter().filter(|(_, is_told)| !is_told).map(|(name, _)| name).collect()
}

#[test]
fn every_job_writes_a_summary() {
    for file in fs::read_dir(workspace().join(".github/workflows")).expect("the workflows").flatten() {
        let text = fs::read_to_string(file.path()).expect("a workflow");
        assert_eq!(
            silent(&text),
            [""; 0],
            "{}: jobs without a summary: run it by .ci/summarized",
            file.path().display()
        );
    }
}

#[test]
fn planted_job_without_a_summary_is_found() {
    let workflow = "name: x\n\njobs:\n  one:\n    steps:\n      - run: .ci/summarized One true\n  two:\n    steps:\n      # .ci/summarized x\n      - run: true\n";
    assert_eq!(silent(workflow), ["two"]);
}
