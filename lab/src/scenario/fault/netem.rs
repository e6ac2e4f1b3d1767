//! Faults as `tc netem` can make them, for machines without the lab's switch, and what it counts of them.
//!
//! netem sees packets, not what they mean: it takes every packet of a direction, or each with a probability, and
//! draws those at random. What it makes is not in the capture as a fate: what it lost is not there at all. What
//! it cannot do, or does not count, is refused by name.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::base::role::Role;
use crate::scenario::fault::action::Action;
use crate::scenario::fault::{Fault, Matcher, Met};

/// Cure for a fault that is beyond netem.
pub const WAYS_OUT: &str = "run it with --provider qemu, or say it as tc netem can: drop, duplicate and reorder with a `probability`, delay \
     with one of 1.0, rate, and cut for good; none with `opcode`, a queue pair, `psn`, `nth`, `times` or `seed`";

/// The arguments of `tc qdisc … netem` for each node whose packets meet a fault.
///
/// # Errors
///
/// netem cannot do one of the faults: which, and why, in one line.
pub fn arguments(faults: &[Fault]) -> Result<BTreeMap<Role, Vec<String>>, String> {
    let mut arguments: BTreeMap<Role, Vec<String>> = BTreeMap::new();
    for (index, fault) in faults.iter().enumerate() {
        let refused =
            |why: String| format!("fault {} ({fault}) needs the lab's own switch: {why}", index + 1);
        let words = words(fault).map_err(refused)?;
        for sender in senders(&fault.matcher) {
            let taken = arguments.entry(sender).or_default();
            if taken.contains(&words[0]) {
                let word = &words[0];
                return Err(refused(format!(
                    "tc netem has one `{word}` a direction, and an earlier fault takes it"
                )));
            }
            taken.extend(words.clone());
        }
    }
    for words in arguments.values_mut() {
        let has = |word: &str| words.iter().any(|has| has == word);
        // netem reorders by letting a packet pass those that it delays.
        if has("reorder") && !has("delay") {
            words.splice(0..0, ["delay", "10ms"].map(str::to_owned));
        }
    }
    Ok(arguments)
}

/// Counts of netem, of a node's RoCEv2 packets since it was set up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// Packets that left it, copies among them.
    pub passed: u64,
    /// Packets that it lost.
    pub dropped: u64,
    /// Packets that it let pass others.
    pub reordered: u64,
    /// Packets that it still holds.
    pub waiting: u64,
}

impl Counted {
    /// Number of copies that it made if so many packets came to it; `None` if it has seen fewer than those.
    pub fn copies(&self, came: u64) -> Option<u64> {
        (self.passed + self.dropped + self.waiting).checked_sub(came)
    }
}

/// Number of times that each fault has acted, from what netem counted on each node and from how many packets came to it.
///
/// A packet that netem passes was late where it delays or limits.
pub fn met(faults: &[Fault], counted: &BTreeMap<Role, (Counted, u64)>) -> Met {
    let hits = |fault: &Fault| {
        let of = |sender: Role| {
            let (counted, came) = counted.get(&sender).copied().unwrap_or_default();
            match fault.action {
                Action::Drop | Action::Cut { .. } => counted.dropped,
                Action::Duplicate => counted.copies(came).unwrap_or(0),
                Action::Reorder { .. } => counted.reordered,
                _ => counted.passed,
            }
        };
        senders(&fault.matcher).into_iter().map(of).sum()
    };
    let passed =
        counted.iter().map(|(sender, (_, came))| (format!("RoCEv2 packets to {}", sender.peer()), *came));
    Met { hits: faults.iter().map(hits).collect(), passed: passed.collect() }
}

/// Property of a matcher that netem cannot see.
fn unseen(matcher: &Matcher) -> Option<&'static str> {
    let Matcher { kind, to, psn, larger_than, nth, is_again, times, probability: _, seed } = matcher;
    [
        (kind.is_some(), "`opcode`"),
        (to.is_some_and(|to| to.queue_pair.is_some()), "a queue pair"),
        (psn.is_some(), "`psn`"),
        (larger_than.is_some(), "`larger_than`"),
        (nth.is_some(), "`nth`"),
        (*is_again, "`again`"),
        (times.is_some(), "a number of transmissions: without `probability` a fault meets each packet once"),
        (*seed != 0, "`seed`: it draws at random"),
    ]
    .into_iter()
    .find_map(|(is_asked, what)| is_asked.then_some(what))
}

/// Nodes that send the packets that a matcher is about.
fn senders(matcher: &Matcher) -> Vec<Role> {
    match matcher.to {
        Some(to) => vec![to.node.peer()],
        None => Role::BOTH.into(),
    }
}

/// netem's words for one fault, or why it has none.
fn words(fault: &Fault) -> Result<Vec<String>, String> {
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
        Action::Reorder { by: 1 } if fault.matcher.probability < 1.0 => words(&["reorder", &percent]),
        Action::Reorder { by: 1 } => {
            Err("tc netem reorders nothing where every packet passes the others".to_owned())
        }
        Action::Reorder { .. } => Err("tc netem cannot say how many packets overtake one".to_owned()),
        // Nor could a capture be proved complete: a flipped address or port hides the packet.
        Action::Corrupt { .. } => {
            Err("tc netem flips any bit of a frame, addresses included, and counts none".to_owned())
        }
        Action::Rate { kbit_per_s } => words(&["rate", &format!("{kbit_per_s}kbit")]),
        Action::Truncate { .. } => Err("tc netem cuts no packet short".to_owned()),
        Action::MarkEcn => Err("tc netem marks only what it would have lost".to_owned()),
        Action::Cut { packets: Some(_) } => Err("tc netem does not count what it loses".to_owned()),
    }
}

/// True if as many packets are in the capture as rxe counted; where netem stands between, as many as that let
/// pass, and it must have seen each one that rxe counted, and none twice unless the faults want copies.
pub fn is_explained(faults: &[Fault], counted: u64, netem: Option<Counted>, captured: u64) -> bool {
    let Some(netem) = netem else { return counted == captured };
    let copies_at_most = match faults.iter().any(|fault| fault.action == Action::Duplicate) {
        true => counted,
        false => 0,
    };
    netem.passed == captured
        && netem.waiting == 0
        && netem.copies(counted).is_some_and(|copies| copies <= copies_at_most)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(texts: &[&str]) -> Vec<Fault> {
        texts.iter().map(|text| toml::from_str(text).unwrap()).collect()
    }

    fn of(texts: &[&str]) -> Result<String, String> {
        let faults = faults(texts);
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
            ("action = \"drop\"\nlarger_than = 1000", "`larger_than`"),
            ("action = \"drop\"", "a number of transmissions"),
            ("action = \"drop\"\nprobability = 0.5\nseed = 4", "`seed`"),
            ("action = \"truncate\"\nbytes = 60\nprobability = 1.0", "cuts no packet short"),
            ("action = \"mark-ecn\"\nprobability = 1.0", "marks only"),
            ("action = \"cut\"\npackets = 3", "does not count"),
            ("action = \"corrupt\"\nfield = \"payload\"\nprobability = 0.5", "any bit of a frame"),
            ("action = \"reorder\"\nprobability = 1.0", "reorders nothing"),
            ("action = \"delay\"\nms = 5\nprobability = 0.5", "every packet or none"),
            ("action = \"reorder\"\nby = 2\nprobability = 0.5", "how many packets"),
        ] {
            let why = of(&[text]).unwrap_err();
            assert!(why.starts_with("fault 1 (") && why.contains(part), "{text}: {why}");
            assert_eq!(why.lines().count(), 1);
        }
        let (drop, cut) = ("action = \"drop\"\nprobability = 0.05", "action = \"cut\"");
        assert!(of(&[drop, cut]).unwrap_err().starts_with("fault 2 (cut any packet) needs"));
    }

    #[test]
    fn what_netem_counts_tells_how_often_a_fault_acted() {
        let counted = [
            (Role::Server, (Counted { passed: 12, ..Counted::default() }, 10)),
            (Role::Client, (Counted { passed: 17, dropped: 3, reordered: 2, waiting: 0 }, 20)),
        ];
        let faults = faults(&[
            "action = \"cut\"",
            "action = \"duplicate\"\nprobability = 0.5\nto = \"client\"",
            "action = \"duplicate\"\nprobability = 0.5\nto = \"server\"",
            "action = \"reorder\"\nprobability = 0.5\nto = \"server\"",
            "action = \"rate\"\nkbit_per_s = 9\nto = \"client\"",
        ]);
        let met = met(&faults, &counted.into());
        assert_eq!(met.hits, [3, 2, 0, 2, 12]);
        assert_eq!(met.passed["RoCEv2 packets to server"], 20);
        assert_eq!(Counted { waiting: 1, ..Counted::default() }.copies(2), None);
    }
}
