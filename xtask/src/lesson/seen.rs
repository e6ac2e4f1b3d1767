//! Runs of a lesson as they were seen: what both programs said, and every packet of the capture.
//!
//! Questions return `Err` with a sentence where the run does not hold the answer, so that a claim about it is not borne out.

use std::path::Path;

use lab::base::role::Role;
use lab::judge::verdict::Verdict;
use lab::run::evidence::RunEvidence;
use lab::wire::capture::CAPTURE;
use lab::{Error, base::error::IoContext as _};
use roce::{ConnectionId, LadderOptions, PacketLine, Part, Report};
use serde_json::Value;

/// All runs of a lesson.
#[derive(Debug)]
pub(crate) struct Seen {
    runs: Vec<SeenRun>,
}

/// One run.
#[derive(Debug)]
pub(crate) struct SeenRun {
    /// Name in the lesson.
    pub(crate) name: &'static str,
    /// Verdict on it.
    pub(crate) verdict: Verdict,
    /// Evidence.
    pub(crate) evidence: RunEvidence,
    /// Analysed capture.
    pub(crate) report: Report,
    packets: Vec<PacketLine>,
    /// Length on the wire of each record of the capture, in bytes.
    lengths: Vec<u32>,
    /// Length on the wire of each frame of TCP over IPv4, in bytes.
    tcp: Vec<u32>,
}

impl Seen {
    /// These runs.
    pub(crate) fn new(runs: Vec<SeenRun>) -> Seen {
        Seen { runs }
    }

    /// All of them.
    pub(crate) fn runs(&self) -> &[SeenRun] {
        &self.runs
    }

    /// The run of that name.
    pub(crate) fn run(&self, name: &str) -> Result<&SeenRun, String> {
        self.runs.iter().find(|run| run.name == name).ok_or_else(|| format!("there is no run {name}"))
    }
}

impl SeenRun {
    /// Reads the run that a trial kept in `verdict.artifacts`.
    ///
    /// # Errors
    ///
    /// Its evidence or its capture cannot be read.
    pub(crate) fn read(name: &'static str, verdict: Verdict) -> lab::Result<SeenRun> {
        let artifacts: &Path = &verdict.artifacts;
        let evidence = RunEvidence::read(artifacts)?;
        let report = evidence.decode(artifacts)?;
        let packets = report.packet_lines();
        let (lengths, tcp) = lengths(&artifacts.join(CAPTURE))?;
        Ok(SeenRun { name, verdict, evidence, report, packets, lengths, tcp })
    }

    /// Length of a packet on the wire in bytes, from its Ethernet header to its ICRC.
    pub(crate) fn length(&self, line: &PacketLine) -> u64 {
        let at = usize::try_from(line.number.saturating_sub(1)).unwrap_or(usize::MAX);
        self.lengths.get(at).copied().map_or(0, u64::from)
    }

    /// Number of the frames of TCP, and their bytes on the wire.
    pub(crate) fn tcp(&self) -> (u64, u64) {
        (self.tcp.len() as u64, self.tcp.iter().copied().map(u64::from).sum())
    }

    /// Standard output and standard error of a node's programs.
    pub(crate) fn said(&self, role: Role) -> [&str; 2] {
        let output = self.evidence.nodes.get(&role).and_then(|node| node.output.as_ref());
        output.map_or(["", ""], |output| [&output.stdout, &output.stderr])
    }

    /// Objects that a node's programs told with `--json`, under this key, in their order.
    fn told(&self, role: Role, key: &str) -> Vec<Value> {
        let lines = self.said(role)[0].lines();
        let objects = lines.filter_map(|line| serde_json::from_str::<Value>(line).ok());
        objects.filter_map(|mut object| object.get_mut(key).map(Value::take)).collect()
    }

    /// Results that a node's programs told.
    pub(crate) fn results(&self, role: Role) -> Vec<Value> {
        self.told(role, "result")
    }

    /// Completions that a node's programs told.
    pub(crate) fn completions(&self, role: Role) -> Vec<Value> {
        self.told(role, "completion")
    }

    /// A number of each of the client's results: by its key, or by two with a dot between.
    pub(crate) fn numbers(&self, key: &str) -> Result<Vec<f64>, String> {
        let results = self.results(Role::Client);
        let number = |result: &Value| {
            let value = key.split('.').try_fold(result, |value, key| value.get(key));
            value
                .and_then(Value::as_f64)
                .ok_or_else(|| format!("a result of the client has no number {key}: {result}"))
        };
        match results.is_empty() {
            true => Err(format!("the client of run {} told no result", self.name)),
            false => results.iter().map(number).collect(),
        }
    }

    /// Processor time in seconds of the client's programs, user's and system's, each time that its shell told the sum so far (`times`).
    pub(crate) fn processor_seconds(&self) -> Vec<f64> {
        times(self.said(Role::Client)[0])
    }

    /// Packets that a node sent, in the order of the wire: what the switch made of them is left out.
    pub(crate) fn sent(&self) -> impl Iterator<Item = &PacketLine> {
        self.packets.iter().filter(|line| line.fate.is_sent())
    }

    /// Packets sent under this name: `RC RDMA WRITE Only`, `CM REQ`.
    pub(crate) fn count(&self, words: &str) -> u64 {
        self.sent().filter(|line| line.words == words).count() as u64
    }

    /// Packets sent that belong to a part of the conversation.
    pub(crate) fn count_part(&self, part: Part) -> u64 {
        self.sent().filter(|line| line.part == part).count() as u64
    }

    /// Data packets of each connection, in the order of their first; management is left out.
    pub(crate) fn by_connection(&self) -> Vec<Vec<&PacketLine>> {
        let of = |id: ConnectionId| {
            let is_data = |line: &&PacketLine| line.connection == Some(id) && line.part != Part::Management;
            self.sent().filter(is_data).collect()
        };
        self.report.connection_ids().map(of).collect()
    }

    /// The same, if there are so many.
    pub(crate) fn connections(&self, count: usize) -> Result<Vec<Vec<&PacketLine>>, String> {
        let found = self.by_connection();
        match found.len() == count {
            true => Ok(found),
            false => Err(format!("{} connections in the capture, {count} expected", found.len())),
        }
    }

    /// The ladder of one connection from the packet on at which `is_first` is true, or some packets before it, and at most `limit`.
    pub(crate) fn ladder(
        &self,
        connection: usize,
        is_first: impl Fn(&PacketLine) -> bool,
        before: usize,
        limit: usize,
    ) -> Option<String> {
        let id = self.report.connection_ids().nth(connection)?;
        let own: Vec<&PacketLine> = self.packets.iter().filter(|line| line.connection == Some(id)).collect();
        let at = own.iter().position(|line| is_first(line))?.saturating_sub(before);
        let last = own.len().min(at + limit) - 1;
        let options =
            LadderOptions { title: String::new(), limit, packets: Some(own[at].number..=own[last].number) };
        Some(self.report.ladder(&options).to_svg())
    }
}

/// Lengths in bytes of all records of a capture, and of the frames of TCP over IPv4 among them.
fn lengths(capture: &Path) -> lab::Result<(Vec<u32>, Vec<u32>)> {
    let file = std::fs::File::open(capture).at("failed to open", capture)?;
    let unreadable = |source| Error::capture(format!("failed to read {}", capture.display())).source(source);
    let mut reader = roce::capture::Reader::new(file).map_err(unreadable)?;
    let (mut lengths, mut tcp) = (Vec::new(), Vec::new());
    while let Some(record) = reader.next().map_err(unreadable)? {
        lengths.push(record.original_length_bytes);
        if record.data.get(12..14) == Some(&[0x08, 0x00]) && record.data.get(23) == Some(&6) {
            tcp.push(record.original_length_bytes);
        }
    }
    Ok((lengths, tcp))
}

/// Distance of a packet's PSN from the first of its requester.
pub(crate) fn psn(line: &PacketLine) -> Option<i64> {
    line.psn_offset.as_ref().map(|(_, offset)| i64::from(*offset))
}

/// Requests among these packets of one connection that its active side sent, in the order of the wire.
pub(crate) fn requests<'a>(packets: &[&'a PacketLine]) -> Vec<&'a PacketLine> {
    packets.iter().copied().filter(|line| line.part == Part::Request).collect()
}

/// The same without those that came again.
pub(crate) fn first_requests<'a>(packets: &[&'a PacketLine]) -> Vec<&'a PacketLine> {
    packets.iter().copied().filter(|line| line.part == Part::Request && line.again.is_none()).collect()
}

/// Returns of a requester to an earlier PSN: of each, the place in `requests` of the first packet that came again.
pub(crate) fn returns(requests: &[&PacketLine]) -> Vec<usize> {
    let is_return =
        |at: &usize| match (at.checked_sub(1).and_then(|before| psn(requests[before])), psn(requests[*at])) {
            (Some(before), Some(now)) => now <= before,
            _ => false,
        };
    (1..requests.len()).filter(is_return).collect()
}

/// Time in milliseconds that a requester was quiet before each of its returns.
pub(crate) fn quiet_ms(requests: &[&PacketLine]) -> Vec<f64> {
    let since = |at: usize| requests[at].timestamp_ns.saturating_sub(requests[at - 1].timestamp_ns);
    returns(requests).into_iter().map(|at| since(at) as f64 / 1e6).collect()
}

/// The most requests of one packet that were without an answer at once: a response or an acknowledgement of a PSN answers all
/// up to it.
pub(crate) fn most_outstanding(packets: &[&PacketLine]) -> usize {
    let (mut waiting, mut most) = (Vec::new(), 0);
    for line in packets {
        let Some(psn) = psn(line) else { continue };
        match line.part {
            Part::Request => {
                waiting.push(psn);
                most = most.max(waiting.len());
            }
            Part::Response => waiting.retain(|request| *request > psn),
            _ => {}
        }
    }
    most
}

/// Processor times in seconds that a shell printed by `times`: of each call that of the programs it has waited for, user's and
/// system's.
fn times(printed: &str) -> Vec<f64> {
    let time = |word: &str| -> Option<f64> {
        let (minutes, seconds) = word.strip_suffix('s')?.split_once('m')?;
        Some(minutes.parse::<f64>().ok()? * 60.0 + seconds.parse::<f64>().ok()?)
    };
    let sums = printed.lines().filter_map(|line| {
        let (user, system) = line.trim().split_once(' ')?;
        Some(time(user)? + time(system)?)
    });
    // The line before is the shell's own.
    sums.collect::<Vec<_>>().chunks(2).filter_map(|two| two.get(1).copied()).collect()
}

#[cfg(test)]
mod tests {
    use roce::capture::{Reader, Writer};
    use roce::synth::Pair;
    use roce::{Analysis, Names};

    use super::*;

    /// Lines of these frames, each with its time in milliseconds.
    fn lines(frames: &[(u64, Vec<u8>)]) -> Vec<PacketLine> {
        let mut bytes = Vec::new();
        let mut writer = Writer::new(&mut bytes, &["client"]).unwrap();
        for (ms, frame) in frames {
            writer.write(0, ms * 1_000_000, frame, "fate=forwarded").unwrap();
        }
        writer.finish().unwrap();
        let (mut analysis, mut reader) = (Analysis::new(Names::new()), Reader::new(&bytes[..]).unwrap());
        while let Some(record) = reader.next().unwrap() {
            analysis.push(&record);
        }
        analysis.finish().packet_lines()
    }

    fn write(pair: &Pair, n: u32) -> Vec<u8> {
        pair.request(0x0a, n).reth(0x1000, 7, 4).payload(b"four").ack_request().build()
    }

    fn ack(pair: &Pair, n: u32) -> Vec<u8> {
        pair.response(0x11, n).aeth(0x1f, n + 1).build()
    }

    #[test]
    fn return_to_an_earlier_packet_is_found_with_the_silence_before_it() {
        let pair = Pair::new(1);
        let sent = [(0, 0), (1, 1), (2, 2), (52, 1), (53, 2), (54, 3)];
        let lines = lines(&sent.map(|(ms, n)| (ms, write(&pair, n))));
        let requests = requests(&lines.iter().collect::<Vec<_>>());
        assert_eq!(requests.len(), 6);
        assert_eq!(returns(&requests), [3]);
        assert_eq!(quiet_ms(&requests), [50.0]);
    }

    #[test]
    fn answer_ends_all_requests_up_to_its_own() {
        let pair = Pair::new(2);
        let frames = [
            write(&pair, 0),
            write(&pair, 1),
            write(&pair, 2),
            ack(&pair, 1),
            write(&pair, 3),
            ack(&pair, 3),
        ];
        let lines = lines(&(0..).zip(frames).collect::<Vec<_>>());
        assert_eq!(most_outstanding(&lines.iter().collect::<Vec<_>>()), 3);
        assert_eq!(most_outstanding(&lines.iter().skip(3).collect::<Vec<_>>()), 1);
    }

    #[test]
    fn times_are_those_of_the_programs_not_of_the_shell() {
        let dash = "{\"result\":{}}\n0m0.000000s 0m0.010000s\n0m0.250000s 0m1.500000s\nx\n0m0.00s 0m0.01s\n1m0.5s 0m2s\n";
        assert_eq!(times(dash), [1.75, 62.5]);
        assert_eq!(times("no times"), [0.0; 0]);
    }
}
