//! Free memory of this computer.

use std::fs;

use crate::base::error::{Error, Result};
use crate::base::invocation;

/// Demands that `needed_mib` MiB of memory are available.
///
/// # Errors
///
/// Less is available: with how much is needed.
pub fn demand(needed_mib: u64) -> Result<()> {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    match available_mib(&text) {
        Some(available_mib) if available_mib < needed_mib => Err(Error::setup(format!(
            "too little free memory: the machines need {needed_mib} MiB, {available_mib} MiB are available"
        ))
        .next(format!("end something, or end other labs: {}", invocation::lab("down --all")))),
        // A kernel that does not tell is given the benefit of the doubt.
        _ => Ok(()),
    }
}

/// `MemAvailable:   123456 kB`
fn available_mib(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? / 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn available_memory_is_read() {
        assert_eq!(available_mib("MemTotal: 9 kB\nMemAvailable:    2048 kB\n"), Some(2));
        assert_eq!(available_mib(""), None);
    }

    #[test]
    fn too_much_is_refused_with_what_is_needed() {
        let error = demand(u64::MAX / 1024).unwrap_err().to_string();
        assert!(error.starts_with("too little free memory: the machines need"), "{error}");
        demand(1).unwrap();
    }
}
