//! Declared differences of machines from those that snapshots were taken on: by the owner of hosts
//! in their file, of a kernel in the file of the release that has it.
//!
//! A declared difference is taken out of both texts before a trace is held against its snapshot; one that nobody
//! declared stays a difference. Reads the trace's text, as `roce` writes it, and nothing else.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use crate::base::role::Role;
use crate::scenario::counters::Count;

/// The ACK timeout of a REQ as the snapshots have it.
const ACK_TIMEOUT: u8 = 17;

/// The target ACK delay of a REP as the snapshots have it: SoftRoCE's.
const TARGET_ACK_DELAY: u8 = 15;

/// Declared differences. Nothing is assumed to differ that is not said here.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Differences {
    /// The MTU of their interfaces in bytes, where that is not what a scenario asks for: such scenarios are refused,
    /// since the number of packets follows from it.
    pub mtu: Option<u16>,
    /// A card asks for acknowledgements when it likes, and answers several requests with one. Which packets ask, and
    /// acknowledgements that a later answer covers, are not compared.
    pub ack_coalescing: bool,
    /// A card tells how many receive buffers it has, in its acknowledgements. They are not compared.
    pub credits: bool,
    /// The ACK timeout that their REQs name, as the exponent that is on the wire, 0 to 31.
    pub ack_timeout: Option<u8>,
    /// The target ACK delay that their REPs name, likewise.
    pub target_ack_delay: Option<u8>,
    /// Reasons of the keys above, a sentence each.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub why: BTreeMap<String, String>,
    /// Behaviour of their kernel that scenarios do not expect.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kernel: Vec<Unlike>,
}

/// One thing that a kernel does otherwise than scenarios expect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unlike {
    /// Reason that it is known, in a sentence.
    pub reason: String,
    /// The scenarios that it is about; all, where none is named.
    #[serde(default)]
    pub scenarios: Vec<String>,
    /// True if it cannot do what these scenarios need: they are not run. Needs `scenarios`.
    #[serde(default)]
    pub lacks: bool,
    /// Parts of lines that it does not log, though a scenario may expect them.
    #[serde(default)]
    pub kernel_log: Vec<String>,
    /// Distances that counters of trouble move on, by node and name, in place of what a scenario expects.
    #[serde(default)]
    pub counters: BTreeMap<Role, BTreeMap<String, Count>>,
    /// Nodes whose program does not end there by itself: it is stopped at the scenario's limit, and that is as it has to be.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hangs: Vec<Role>,
}

impl Unlike {
    fn is_about(&self, scenario: &str) -> bool {
        self.scenarios.is_empty() || self.scenarios.iter().any(|name| name == scenario)
    }
}

impl Differences {
    /// The keys of what is declared, as in "ack_coalescing, credits"; empty if nothing is.
    pub fn declared(&self) -> String {
        let mut keys = self.of_wire();
        keys.extend(Some("kernel").filter(|_| !self.kernel.is_empty()));
        keys.join(", ")
    }

    /// The keys of what is declared of the wire.
    fn of_wire(&self) -> Vec<&'static str> {
        let declared = [
            ("mtu", self.mtu.is_some()),
            ("ack_coalescing", self.ack_coalescing),
            ("credits", self.credits),
            ("ack_timeout", self.ack_timeout.is_some()),
            ("target_ack_delay", self.target_ack_delay.is_some()),
        ];
        declared.into_iter().filter(|(_, is)| *is).map(|(key, _)| key).collect()
    }

    /// Finds why a trace may differ from another by what is declared of the wire, key by key; `None` if it may not.
    pub fn why_traces_differ(&self, other: &str, trace: &str) -> Option<String> {
        if self.taken_out_of(other).trim_end() != self.taken_out_of(trace).trim_end() {
            return None;
        }
        let reason = |key: &str| match self.why.get(key) {
            Some(why) => format!("{key}: {why}"),
            None => key.to_owned(),
        };
        Some(self.of_wire().into_iter().map(reason).collect::<Vec<_>>().join("; "))
    }

    /// Finds why a node's counter may move on otherwise than a scenario expects; `None` if nothing says so.
    pub fn why_counter_differs(&self, scenario: &str, role: Role, counter: &str) -> Option<&str> {
        let is_counted = |unlike: &&Unlike| {
            unlike.counters.get(&role).is_some_and(|counters| counters.contains_key(counter))
        };
        let mut about = self.kernel.iter().filter(|unlike| unlike.is_about(scenario));
        about.find(is_counted).map(|unlike| unlike.reason.as_str())
    }

    /// Finds why a kernel cannot run a scenario; `None` if nothing says so.
    pub fn why_cannot_run(&self, scenario: &str) -> Option<&str> {
        // Of all scenarios no kernel lacks everything.
        let lacking = |unlike: &&Unlike| unlike.lacks && unlike.scenarios.iter().any(|name| name == scenario);
        self.kernel.iter().find(lacking).map(|unlike| unlike.reason.as_str())
    }

    /// Finds why a kernel may not log a line; `None` if nothing says so.
    pub fn why_not_logged(&self, scenario: &str, line: &str) -> Option<&str> {
        let is_it = |unlike: &&Unlike| unlike.kernel_log.iter().any(|part| line.contains(part.as_str()));
        let mut about = self.kernel.iter().filter(|unlike| unlike.is_about(scenario));
        about.find(is_it).map(|unlike| unlike.reason.as_str())
    }

    /// Adds what is declared of a kernel. What is declared of the machines comes first.
    #[must_use]
    pub fn and(mut self, of_kernel: &Differences) -> Differences {
        if self.ack_timeout.is_none() && of_kernel.ack_timeout.is_some() {
            self.ack_timeout = of_kernel.ack_timeout;
            self.why.extend(of_kernel.why.clone());
        }
        for unlike in &of_kernel.kernel {
            if !self.kernel.contains(unlike) {
                self.kernel.push(unlike.clone());
            }
        }
        self
    }

    /// True if a line with this part may be missing from the kernel log, though the scenario expects it.
    pub fn may_not_log(&self, scenario: &str, part: &str) -> bool {
        let mut about = self.kernel.iter().filter(|unlike| unlike.is_about(scenario));
        about.any(|unlike| unlike.kernel_log.iter().any(|missing| part.contains(missing.as_str())))
    }

    /// True if a node's program may run on until the scenario's limit.
    pub fn may_hang(&self, scenario: &str, role: Role) -> bool {
        let mut about = self.kernel.iter().filter(|unlike| unlike.is_about(scenario));
        about.any(|unlike| unlike.hangs.contains(&role))
    }

    /// Distances that a node's counters move on, where a scenario expects `expected` of it.
    pub fn counters(
        &self,
        scenario: &str,
        role: Role,
        expected: &BTreeMap<String, Count>,
    ) -> BTreeMap<String, Count> {
        let mut counters = expected.clone();
        for unlike in self.kernel.iter().filter(|unlike| unlike.is_about(scenario)) {
            counters.extend(unlike.counters.get(&role).cloned().unwrap_or_default());
        }
        counters
    }

    /// A trace, or a snapshot of one, without what is declared to differ.
    pub fn taken_out_of(&self, trace: &str) -> String {
        let mut text = if self.ack_coalescing { without_covered(trace) } else { trace.to_owned() };
        if self.credits {
            text = replaced(&text, "ACK credits ", |_| Some("ACK".to_owned()));
        }
        for (what, declared, usual) in [
            ("ACK timeout ", self.ack_timeout, ACK_TIMEOUT),
            ("target ACK delay ", self.target_ack_delay, TARGET_ACK_DELAY),
        ] {
            if let Some(declared) = declared {
                text = replaced(&text, what, |found| {
                    (found == declared || found == usual).then(|| format!("{what}as declared"))
                });
            }
        }
        text
    }

    /// Finds what would have to be declared for `trace` to be that of `snapshot`, as lines of a hosts file; `None` if
    /// nothing that can be declared would do.
    pub fn would_do(&self, snapshot: &str, trace: &str) -> Option<String> {
        let same = |differences: &Differences| {
            differences.taken_out_of(snapshot).trim_end() == differences.taken_out_of(trace).trim_end()
        };
        let all = Differences {
            mtu: self.mtu,
            ack_coalescing: true,
            credits: true,
            ack_timeout: number_behind(trace, "ACK timeout "),
            target_ack_delay: number_behind(trace, "target ACK delay "),
            why: self.why.clone(),
            kernel: self.kernel.clone(),
        };
        if same(self) || !same(&all) {
            return None;
        }
        // What is not needed is not asked for; that which takes out most goes first.
        let mut needed = all;
        let lesser: [fn(&mut Differences, &Differences); 4] = [
            |needed, own| needed.ack_coalescing = own.ack_coalescing,
            |needed, own| needed.credits = own.credits,
            |needed, own| needed.ack_timeout = own.ack_timeout,
            |needed, own| needed.target_ack_delay = own.target_ack_delay,
        ];
        for lessen in lesser {
            let mut less = needed.clone();
            lessen(&mut less, self);
            if same(&less) {
                needed = less;
            }
        }
        let text = toml::to_string(&needed).ok()?;
        let own = toml::to_string(self).ok()?;
        let lines: Vec<&str> = text.lines().filter(|line| !own.lines().any(|own| own == *line)).collect();
        Some(lines.join("\n"))
    }
}

/// The number behind the first `what`.
fn number_behind(text: &str, what: &str) -> Option<u8> {
    let (_, rest) = text.split_once(what)?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// Puts what `by` gives in place of each `what` with its number, and of what explains the number in parentheses.
fn replaced(text: &str, what: &str, by: impl Fn(u8) -> Option<String>) -> String {
    let mut parts = text.split(what);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let digits = part.find(|c: char| !c.is_ascii_digit()).unwrap_or(part.len());
        let (number, mut rest) = part.split_at(digits);
        match number.parse().ok().and_then(&by) {
            Some(new) => {
                if let Some((_, behind)) = rest.strip_prefix(" (").and_then(|rest| rest.split_once(')')) {
                    rest = behind;
                }
                out.push_str(&new);
                out.push_str(rest);
            }
            None => out.extend([what, part]),
        }
    }
    out
}

/// A packet's row of a trace.
struct TraceRow<'a> {
    direction: (&'a str, &'a str),
    psn: i64,
    is_answer: bool,
    is_acknowledge: bool,
}

impl<'a> TraceRow<'a> {
    /// `  server.qp1 > client.qp1 RC Acknowledge  client+0  ACK msn 1`
    fn parse(line: &'a str) -> Option<TraceRow<'a>> {
        let mut words = line.split_whitespace();
        let direction = (words.next()?, words.by_ref().nth(1)?);
        let is_psn = |word: &&str| word.rfind(['+', '-']).is_some_and(|at| word[at..].parse::<i64>().is_ok());
        let psn = words.by_ref().find(is_psn)?;
        let is_acknowledge = line.contains(" RC Acknowledge ");
        Some(TraceRow {
            direction,
            psn: psn[psn.rfind(['+', '-'])?..].parse().ok()?,
            is_answer: is_acknowledge
                || line.contains(" READ response ")
                || line.contains(" Atomic Acknowledge "),
            is_acknowledge: is_acknowledge && words.next() == Some("ACK"),
        })
    }
}

/// Takes out which packets ask for an acknowledgement, the acknowledgements that a later answer covers, and how many
/// packets there are with them.
fn without_covered(trace: &str) -> String {
    let mut kept = Vec::new();
    // From the end: the highest PSN that is answered below, by direction.
    let mut answered: HashMap<(&str, &str), i64> = HashMap::new();
    for (line, is_packet) in packet_rows(trace).into_iter().rev() {
        let Some(row) = TraceRow::parse(line).filter(|_| is_packet) else {
            kept.push(line.to_owned());
            continue;
        };
        let below = answered.get(&row.direction).copied();
        if row.is_acknowledge && below.is_some_and(|below| below > row.psn) {
            continue;
        }
        if row.is_answer {
            answered.insert(row.direction, below.unwrap_or(row.psn).max(row.psn));
        }
        let line = line.replace(", AckReq", "").replace("AckReq, ", "").replace(" AckReq", "");
        kept.push(line.trim_end().to_owned());
    }
    kept.reverse();
    if let Some(head) = kept.first_mut()
        && let Some((format, _)) = head.split_once(": ")
    {
        *head = format.to_owned();
    }
    kept.join("\n")
}

/// Each line of a trace, and whether it is a packet's.
fn packet_rows(trace: &str) -> Vec<(&str, bool)> {
    let mut is_packet = false;
    trace
        .lines()
        .map(|line| {
            let is_head = line.starts_with("  packets ");
            is_packet = is_head || is_packet && !line.is_empty();
            (line, is_packet && !is_head)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use roce::capture::{Reader, Writer};
    use roce::synth::Pair;

    use super::*;

    /// The trace of these frames between a server and a client.
    fn trace(frames: &[Vec<u8>]) -> String {
        let mut writer = Writer::new(Vec::new(), &["server", "client"]).unwrap();
        for frame in frames {
            writer.write(0, 0, frame, "").unwrap();
        }
        let pair = Pair::new(1);
        let names =
            roce::Names::new().with(pair.passive.address, "server").with(pair.active.address, "client");
        let mut analysis = roce::Analysis::new(names);
        let bytes = writer.finish().unwrap();
        let mut reader = Reader::new(&bytes[..]).unwrap();
        while let Some(record) = reader.next().unwrap() {
            analysis.push(&record);
        }
        analysis.finish().trace()
    }

    const COALESCING: Differences = Differences {
        mtu: None,
        ack_coalescing: true,
        credits: false,
        ack_timeout: None,
        target_ack_delay: None,
        why: BTreeMap::new(),
        kernel: Vec::new(),
    };

    /// The accepted trace of the first sample.
    fn accepted() -> String {
        let text = include_str!("../../../tests/snapshots/write_read.snap");
        text.split_once("\n---\n").unwrap().1.to_owned()
    }

    /// The same with the ACK timeout of synthesised frames.
    fn snapshot() -> String {
        accepted().replace("ACK timeout 17 (537 ms)", "ACK timeout 19 (2.15 s)")
    }

    /// The snapshot's packets as another card sends them.
    fn sample(change: impl Fn(&mut Vec<Vec<u8>>, &Pair)) -> String {
        let pair = Pair::new(1);
        let mut frames = pair.write_then_read();
        change(&mut frames, &pair);
        trace(&frames)
    }

    #[test]
    fn card_that_coalesces_passes_the_same_snapshot_where_that_is_declared() {
        // The READ's responses acknowledge the WRITE, which does not ask for it.
        let coalesced = sample(|frames, pair| {
            let peer = &pair.passive;
            frames[3] =
                pair.request(0x0a, 0).reth(peer.va, peer.rkey, 18).payload(b"client-wrote-this\0").build();
            frames.remove(4);
        });
        let nothing = Differences::default();
        assert_eq!(nothing.would_do(&snapshot(), &coalesced).as_deref(), Some("ack_coalescing = true"));
        assert_ne!(nothing.taken_out_of(&coalesced), nothing.taken_out_of(&snapshot()));
        assert_eq!(
            COALESCING.taken_out_of(&coalesced).trim_end(),
            COALESCING.taken_out_of(&snapshot()).trim_end()
        );
        assert_eq!(COALESCING.would_do(&snapshot(), &coalesced), None);
    }

    #[test]
    fn nothing_but_covered_acknowledgements_is_taken_out() {
        let whole = COALESCING.taken_out_of(&snapshot());
        assert_eq!(whole.lines().count() + 1, snapshot().trim_end().lines().count());
        // Any other packet that is missing, and the one acknowledgement that nothing covers.
        for at in [3, 5, 6, 7, 8, 9] {
            let lacking = sample(|frames, _| drop(frames.remove(at)));
            assert_ne!(COALESCING.taken_out_of(&lacking), whole, "{at}");
            assert_eq!(Differences::default().would_do(&snapshot(), &lacking), None, "{at}");
        }
        let alone = |frames: Vec<Vec<u8>>| COALESCING.taken_out_of(&trace(&frames));
        let frames = Pair::new(1).write_with_immediate();
        let lacking: Vec<_> = [&frames[..4], &frames[5..]].concat();
        assert_ne!(alone(frames), alone(lacking));
    }

    #[test]
    fn acknowledgements_of_a_burst_come_down_to_the_last() {
        let pair = Pair::new(1);
        let burst = |answered: &[u32]| {
            let mut frames = vec![pair.req(7471, &[]), pair.rep(&pair.advert()), pair.rtu()];
            let writes =
                (0..4).map(|n| pair.request(0x0a, n).ack_request().reth(0, 1, 4).payload(b"abcd").build());
            frames.extend(writes);
            frames.extend(answered.iter().map(|n| pair.response(0x11, *n).aeth(0x1f, n + 1).build()));
            trace(&frames)
        };
        let each = burst(&[0, 1, 2, 3]);
        for coalesced in [&[3][..], &[1, 3], &[0, 2, 3]] {
            assert_eq!(COALESCING.taken_out_of(&burst(coalesced)), COALESCING.taken_out_of(&each));
        }
        assert_ne!(COALESCING.taken_out_of(&burst(&[0, 1, 2])), COALESCING.taken_out_of(&each));
    }

    #[test]
    fn values_of_another_card_pass_where_they_are_declared_and_no_others() {
        let told = accepted()
            .replace("ACK msn 1", "ACK credits 12 msn 1")
            .replace("ACK timeout 17 (537 ms)", "ACK timeout 19 (2.15 s)")
            .replace("target ACK delay 15", "target ACK delay 16");
        let needed = Differences::default().would_do(&accepted(), &told).unwrap();
        assert_eq!(needed, "credits = true\nack_timeout = 19\ntarget_ack_delay = 16");
        let declared: Differences = toml::from_str(&needed).unwrap();
        assert_eq!(declared.declared(), "credits, ack_timeout, target_ack_delay");
        assert_eq!(declared.taken_out_of(&told), declared.taken_out_of(&accepted()));
        for other in ["ACK timeout 18 (1.07 s)", "ACK timeout 19 (2.15 s), changed"] {
            let other = told.replace("ACK timeout 19 (2.15 s)", other);
            assert_ne!(declared.taken_out_of(&other), declared.taken_out_of(&accepted()), "{other}");
        }
    }

    #[test]
    fn what_differs_is_told_with_its_reason() {
        let declared: Differences = toml::from_str(
            "ack_timeout = 19\n[why]\nack_timeout = 'longer life'\n\
             [[kernel]]\nreason = 'r'\nkernel_log = ['failed']\nscenarios = ['a']\ncounters.client = { send_err = 1 }",
        )
        .unwrap();
        let told = accepted().replace("ACK timeout 17 (537 ms)", "ACK timeout 19 (2.15 s)");
        assert_eq!(declared.why_traces_differ(&accepted(), &told).unwrap(), "ack_timeout: longer life");
        assert_eq!(declared.why_traces_differ(&accepted(), &told.replace("RTU", "REJ")), None);
        assert_eq!(declared.why_counter_differs("a", Role::Client, "send_err"), Some("r"));
        for (scenario, role, name) in
            [("b", Role::Client, "send_err"), ("a", Role::Server, "send_err"), ("a", Role::Client, "x")]
        {
            assert_eq!(declared.why_counter_differs(scenario, role, name), None);
        }
        assert_eq!(declared.why_not_logged("a", "it failed here"), Some("r"));
        assert_eq!(declared.why_not_logged("b", "it failed here"), None);
        // A kernel's reason comes along with what it is the reason of.
        assert_eq!(Differences::default().and(&declared), declared);
    }

    #[test]
    fn kernel_that_lacks_what_a_scenario_needs_says_why() {
        let differences: Differences = toml::from_str(
            "[[kernel]]\nreason = 'no FLUSH'\nscenarios = ['flush']\nlacks = true\n\
             [[kernel]]\nreason = 'logs nothing'\nscenarios = ['window']\nkernel_log = ['failed']",
        )
        .unwrap();
        assert_eq!(differences.why_cannot_run("flush"), Some("no FLUSH"));
        assert_eq!(differences.why_cannot_run("window"), None);
        assert_eq!(Differences::default().why_cannot_run("flush"), None);
    }

    #[test]
    fn kernel_differs_where_that_is_declared_and_nowhere_else() {
        let declared: Differences = toml::from_str(
            "[[kernel]]\nreason = 'r'\nkernel_log = ['failed']\n\
             [[kernel]]\nreason = 'r'\nscenarios = ['a']\ncounters.client = { send_err = 1, send_rnr_err = 0 }",
        )
        .unwrap();
        assert!(declared.may_not_log("b", "it failed here") && !declared.may_not_log("b", "it worked"));
        let hangs: Differences =
            toml::from_str("[[kernel]]\nreason = 'r'\nscenarios = ['a']\nhangs = ['client']").unwrap();
        let may = |scenario, role| hangs.may_hang(scenario, role);
        assert!(may("a", Role::Client) && !may("a", Role::Server) && !may("b", Role::Client));
        let expected = [("send_rnr_err".to_owned(), Count::Exactly(2))].into();
        let counters = |scenario, role| declared.counters(scenario, role, &expected);
        let otherwise = [("send_err", 1), ("send_rnr_err", 0)];
        let otherwise = otherwise.map(|(name, count)| (name.to_owned(), Count::Exactly(count))).into();
        assert_eq!(counters("a", Role::Client), otherwise);
        assert_eq!(counters("a", Role::Server), expected);
        assert_eq!(counters("b", Role::Client), expected);
        assert!(toml::from_str::<Differences>("[[kernel]]\nkernel_log = ['x']").is_err(), "no reason");
    }
}
