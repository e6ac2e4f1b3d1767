//! `explain`: what a cause of a verdict, or a rule of the wire, means.

use std::process::ExitCode;

use lab::base::{invocation, names};
use lab::scenario::cause::Cause;
use lab::{Error, Result};

use crate::output;

/// The arguments of `explain`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A cause or a rule, by name, as a verdict has it [default: all].
    #[arg(value_name = "NAME")]
    name: Option<String>,
}

/// Prints what there is to say of it.
pub fn run(args: &Args) -> Result<ExitCode> {
    match &args.name {
        Some(name) => output::print(page(name)?)?,
        None => {
            let causes = Cause::ALL.map(|cause| (cause.name(), cause.title()));
            let rules = roce::Rule::ALL.map(|rule| (rule.name(), rule.title()));
            for (name, title) in causes.into_iter().chain(rules) {
                output::line(format_args!("{name:<28}  {title}"))?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn page(name: &str) -> Result<String> {
    let causes = Cause::ALL.map(Cause::name);
    let rules = roce::Rule::ALL.map(roce::Rule::name);
    let known = causes.iter().chain(&rules).map(String::as_str);
    let found = names::find("cause or rule", name, known)
        .map_err(|why| Error::usage(why).next(format!("{} lists all", invocation::program("explain"))))?;
    Ok(match roce::Rule::from_name(found) {
        Some(rule) => rule.page(),
        None => Cause::from_name(found)?.page(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_and_rules_are_explained_and_others_name_the_nearest() {
        assert!(page("nobodylistens").unwrap().starts_with("## NobodyListens\n"));
        assert!(page("RequestPsnGap").unwrap().contains("a request before this one is missing"));
        let error = page("NobodyListen").unwrap_err().to_string();
        assert!(error.contains("`NobodyListens`") && error.contains("xtask explain lists all"), "{error}");
    }
}
