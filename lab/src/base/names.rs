//! Names that people write: taken whatever their case, and the nearest one offered where none is meant. And one that nothing has.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Similarity from which on a name is near: 1 is the same, 0 has nothing in common.
const NEAR: f64 = 0.5;

/// Names that an error tells of those that are known.
const TOLD: usize = 20;

/// Finds the known name that `name` is, whatever its case.
///
/// # Errors
///
/// The name is none of them: "no `what` is called `name`", with the nearest one where one is near, else with all, or the first of many.
pub fn find<'a>(
    what: &str,
    name: &str,
    known: impl IntoIterator<Item = &'a str> + Clone,
) -> Result<&'a str, String> {
    if let Some(found) = meant(name, known.clone()) {
        return Ok(found);
    }
    Err(match nearest(name, known.clone()) {
        Some(nearest) => format!("no {what} is called `{name}`; the nearest is `{nearest}`"),
        None => {
            let all: Vec<&str> = known.into_iter().collect();
            let (first, more) = all.split_at(all.len().min(TOLD));
            let more = if more.is_empty() { String::new() } else { format!(" and {} more", more.len()) };
            format!("no {what} is called `{name}`; there are: {}{more}", first.join(", "))
        }
    })
}

/// The known name that `name` is, whatever its case; one of the same case comes first.
fn meant<'a>(name: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> Option<&'a str> {
    let exact = known.clone().into_iter().find(|candidate| *candidate == name);
    exact.or_else(|| known.into_iter().find(|candidate| candidate.eq_ignore_ascii_case(name)))
}

/// The known name that is nearest to `name`, if any is near at all; case does not count.
///
/// The shortest that `name` is a part of, such as `Acknowledge` of `RC Acknowledge`; else the one that fewest
/// insertions, removals, changes and swaps of letters lead to.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.trim().to_ascii_lowercase();
    let scored = known.into_iter().filter_map(|candidate| {
        let lower = candidate.to_ascii_lowercase();
        let score = match name.len() > 2 && lower.contains(&name) {
            // Above any distance, and higher for the shorter.
            true => 1.0 + name.len() as f64 / lower.len() as f64,
            false => strsim::normalized_damerau_levenshtein(&name, &lower),
        };
        (score >= NEAR).then_some((score, candidate))
    });
    // The first of equals.
    let best = scored.reduce(|best, next| if next.0 > best.0 { next } else { best });
    best.map(|(_, candidate)| candidate)
}

/// Returns a name that nothing else has, here or on a node.
pub fn unique() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    format!("{now:x}-{:x}-{:x}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// The hint for serde's "unknown field `x`, expected one of `a`, `b`", or variant.
pub(crate) fn nearest_key(message: &str) -> Option<String> {
    let (what, rest) = [("key", "unknown field `"), ("value", "unknown variant `")]
        .into_iter()
        .find_map(|(what, begin)| Some((what, message.split_once(begin)?.1)))?;
    let (unknown, rest) = rest.split_once('`')?;
    let known: Vec<&str> = rest.split('`').skip(1).step_by(2).collect();
    let nearest = nearest(unknown, known.iter().copied())?;
    Some(format!("{what} `{unknown}` is not known; the nearest is `{nearest}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_does_not_count() {
        assert_eq!(find("fruit", "APPLE", ["pear", "apple"]), Ok("apple"));
        assert_eq!(find("fruit", "Apple", ["apple", "Apple"]), Ok("Apple"));
    }

    #[test]
    fn nearest_is_what_fewest_changes_lead_to() {
        let opcodes = ["RC Acknowledge", "RC Atomic Acknowledge", "RC SEND Only", "RC RDMA WRITE Only"];
        for (written, meant) in [
            ("RC ATOMIC Acknowlege", "RC Atomic Acknowledge"),
            ("rc acknowlege", "RC Acknowledge"),
            ("Acknowledge", "RC Acknowledge"),
            ("WRITE Only", "RC RDMA WRITE Only"),
            ("RC RDMA WIRTE Only", "RC RDMA WRITE Only"),
        ] {
            assert_eq!(nearest(written, opcodes), Some(meant), "{written}");
        }
        assert_eq!(nearest("sever", ["server", "client"]), Some("server"));
        assert_eq!(nearest("zzz", ["server", "client"]), None);
        assert_eq!(nearest("", ["server", "client"]), None);
    }

    #[test]
    fn what_is_near_nothing_is_told_all() {
        assert_eq!(
            find("node", "xyz", ["server", "client"]).unwrap_err(),
            "no node is called `xyz`; there are: server, client"
        );
    }
}
