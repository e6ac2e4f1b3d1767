//! Faults as `tc netem` can make them, for machines without the lab's switch.
//!
//! netem sees packets, not what they mean: it takes every packet of a direction, or each with a probability, and
//! draws those at random. What it makes is not in the capture as a fate. What it cannot do is refused by name.

use std::collections::BTreeMap;

use crate::error::{Error, Result};
use crate::fault::action::{Action, Field};
use crate::fault::{Fault, Matcher};
use crate::node::Role;

/// The arguments of `tc qdisc replace dev DEVICE root netem` for each node whose packets meet a fault.
///
/// # Errors
///
/// netem cannot do one of the faults: with the reason and what has to change.
pub fn arguments(faults: &[Fault]) -> Result<BTreeMap<Role, Vec<String>>> {
    let mut arguments: BTreeMap<Role, Vec<String>> = BTreeMap::new();
    let mut taken: Vec<(Role, &str)> = Vec::new();
    for (index, fault) in faults.iter().enumerate() {
        let refused = |why: String| {
            Error::setup(format!("fault {} needs the lab's own switch: {fault}", index + 1))
                .detail(why)
                .next("run it with --provider qemu, or say it as tc netem can: drop, duplicate, delay, reorder, corrupt of any packet, with a probability, or a rate")
        };
        let words = words(fault).map_err(refused)?;
        for sender in senders(&fault.matcher) {
            let name = fault.action.name();
            if taken.contains(&(sender, name)) {
                return Err(refused(format!(
                    "netem does {name} once a direction, and another fault does it there"
                )));
            }
            taken.push((sender, name));
            arguments.entry(sender).or_default().extend(words.clone());
        }
    }
    for (sender, words) in &mut arguments {
        // netem reorders by letting a packet pass those that it delays.
        let has = |name| taken.contains(&(*sender, name));
        if has("reorder") && !has("delay") {
            words.splice(0..0, ["delay", "10ms"].map(str::to_owned));
        }
    }
    Ok(arguments)
}

/// Whether netem can do all of these.
pub fn can_do(faults: &[Fault]) -> bool {
    arguments(faults).is_ok()
}

/// What a matcher is about that netem cannot see.
fn unseen(matcher: &Matcher) -> Option<&'static str> {
    let Matcher { kind, to, psn, nth, times, probability: _, seed } = matcher;
    [
        (kind.is_some(), "`opcode`"),
        (to.is_some_and(|to| to.queue_pair.is_some()), "a queue pair"),
        (psn.is_some(), "`psn`"),
        (nth.is_some(), "`nth`"),
        (times.is_some(), "a number of transmissions: without `probability` a fault meets each packet once"),
        (*seed != 0, "`seed`: it draws at random"),
    ]
    .into_iter()
    .find_map(|(is_asked, what)| is_asked.then_some(what))
}

/// Who sends the packets that a matcher is about.
fn senders(matcher: &Matcher) -> Vec<Role> {
    match matcher.to {
        Some(to) => vec![to.node.peer()],
        None => Role::BOTH.into(),
    }
}

/// netem's words for one fault, or why it has none.
fn words(fault: &Fault) -> std::result::Result<Vec<String>, String> {
    // What begins with a packet begins with the first, which is when netem is set up.
    let is_whole = matches!(fault.action, Action::Rate { .. } | Action::Cut { .. });
    let matcher = Matcher { times: fault.matcher.times.filter(|_| !is_whole), ..fault.matcher.clone() };
    if let Some(what) = unseen(&matcher) {
        return Err(format!("tc netem knows nothing of {what}"));
    }
    let percent = format!("{}%", fault.matcher.probability * 100.0);
    let words = |words: &[&str]| Ok(words.iter().map(|word| (*word).to_owned()).collect());
    match fault.action {
        Action::Drop => words(&["loss", &percent]),
        Action::Cut { packets: None } => words(&["loss", "100%"]),
        Action::Duplicate => words(&["duplicate", &percent]),
        Action::Delay { ms } if fault.matcher.probability >= 1.0 => words(&["delay", &format!("{ms}ms")]),
        Action::Delay { .. } => Err("tc netem delays every packet or none".to_owned()),
        Action::Reorder { by: 1 } => words(&["reorder", &percent]),
        Action::Reorder { .. } => Err("tc netem cannot say how many packets overtake one".to_owned()),
        Action::Corrupt { field: Field::Payload, value: None, is_resealed: false } => {
            words(&["corrupt", &percent])
        }
        Action::Corrupt { .. } => {
            Err("tc netem flips some bit of a packet, not a named one, and mends no ICRC".to_owned())
        }
        Action::Rate { kbit_per_s } => words(&["rate", &format!("{kbit_per_s}kbit")]),
        Action::Truncate { .. } => Err("tc netem cuts no packet short".to_owned()),
        Action::MarkEcn => Err("tc netem marks only what it would have lost".to_owned()),
        Action::Cut { packets: Some(_) } => Err("tc netem does not count what it loses".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(texts: &[&str]) -> Result<String> {
        let faults: Vec<Fault> = texts.iter().map(|text| toml::from_str(text).unwrap()).collect();
        let arguments = arguments(&faults)?;
        let lines: Vec<String> =
            arguments.iter().map(|(role, words)| format!("{role}: {}", words.join(" "))).collect();
        Ok(lines.join("; "))
    }

    #[test]
    fn whole_directions_and_probabilities_are_translated() {
        for (text, expected) in [
            ("action = \"drop\"\nprobability = 0.05\nto = \"server\"", "client: loss 5%"),
            ("action = \"duplicate\"\nprobability = 0.5", "server: duplicate 50%; client: duplicate 50%"),
            ("action = \"delay\"\nms = 20\nprobability = 1.0\nto = \"client\"", "server: delay 20ms"),
            ("action = \"reorder\"\nprobability = 0.1\nto = \"client\"", "server: delay 10ms reorder 10%"),
            (
                "action = \"corrupt\"\nfield = \"payload\"\nprobability = 0.01\nto = \"client\"",
                "server: corrupt 1%",
            ),
            ("action = \"rate\"\nkbit_per_s = 2000\nto = \"client\"", "server: rate 2000kbit"),
            ("action = \"cut\"", "server: loss 100%; client: loss 100%"),
        ] {
            assert_eq!(of(&[text]).unwrap(), expected, "{text}");
        }
        let both = [
            "action = \"drop\"\nprobability = 0.05\nto = \"server\"",
            "action = \"rate\"\nkbit_per_s = 9\nto = \"server\"",
        ];
        assert_eq!(of(&both).unwrap(), "client: loss 5% rate 9kbit");
    }

    #[test]
    fn what_netem_cannot_do_is_refused_by_name() {
        for (text, part) in [
            ("action = \"drop\"\nopcode = \"RC RDMA WRITE Only\"", "knows nothing of `opcode`"),
            ("action = \"drop\"\nto = \"server.qp1\"\nprobability = 0.5", "a queue pair"),
            ("action = \"drop\"\nnth = 3", "`nth`"),
            ("action = \"drop\"", "a number of transmissions"),
            ("action = \"drop\"\nprobability = 0.5\nseed = 4", "`seed`"),
            ("action = \"truncate\"\nbytes = 60\nprobability = 1.0", "cuts no packet short"),
            ("action = \"mark-ecn\"\nprobability = 1.0", "marks only"),
            ("action = \"cut\"\npackets = 3", "does not count"),
            ("action = \"corrupt\"\nfield = \"icrc\"\nprobability = 0.5", "not a named one"),
            ("action = \"delay\"\nms = 5\nprobability = 0.5", "every packet or none"),
            ("action = \"reorder\"\nby = 2\nprobability = 0.5", "how many packets"),
        ] {
            let error = of(&[text]).unwrap_err().to_string();
            assert!(
                error.contains("fault 1 needs the lab's own switch") && error.contains(part),
                "{text}: {error}"
            );
        }
        let drop = "action = \"drop\"\nprobability = 0.05";
        assert!(of(&[drop, drop]).unwrap_err().to_string().contains("fault 2"));
    }
}
