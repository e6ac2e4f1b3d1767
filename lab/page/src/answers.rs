//! Answers: what becomes of each packet at its receiver, the message that it is part of, and how losses are made good.
//!
//! In: the lines of a capture, in its order. Out: a link for each line. All of it follows from the wire: a request that arrives is taken where its PSN is the
//! expected one, and a NAK or an RNR NAK of its PSN that comes before it is sent again says that it was not. Nothing is guessed of what a capture has not got.

use std::collections::{BTreeMap, HashMap};

use roce::{ConnectionId, Finding, Message, MessageKind, PacketLine, Part, Report, Rule};

/// Reception of a request packet at its responder, or of an answer at its requester.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Reception {
    /// No such packet, or one that does not arrive whole.
    #[default]
    None = 0,
    /// The expected one: it is done.
    Taken = 1,
    /// One before it is missing: it is dropped.
    Early = 2,
    /// One that was taken before.
    Repeated = 3,
    /// A NAK of its PSN follows that is for good: it is not taken, and the queue pair can do nothing more.
    Refused = 4,
    /// The queue pair is in the error state since a refusal.
    Dead = 5,
    /// An RNR NAK of its PSN follows: there is no RECV for it, it is not taken, and the expected PSN stays.
    NotReady = 6,
}

/// Links of a line to others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct PacketLinks {
    /// The message that it is part of, or answers, as an index into the report's.
    pub(crate) message: Option<usize>,
    pub(crate) arrival: Reception,
    /// Of a NAK the packet that caused it, of a request the NAK that it causes; 0 where there is none.
    pub(crate) about: u64,
}

/// Packets whose PSNs are counted together: those of one requester on one connection.
type ThreadKey<'a> = (Option<ConnectionId>, &'a str);

/// The messages of a thread by the offset of their first PSN: index, and number of PSNs.
type Starts = BTreeMap<i32, (usize, i32)>;

/// Number of a message's PSNs.
fn psns(message: &Message) -> i32 {
    message.psn_last.distance(message.psn_first).max(0).saturating_add(1)
}

fn message_at(starts: &Starts, offset: i32) -> Option<(i32, usize, i32)> {
    let (start, (index, psns)) = starts.range(..=offset).next_back()?;
    (offset - start < *psns).then_some((*start, *index, *psns))
}

fn key(line: &PacketLine) -> Option<(ThreadKey<'_>, i32)> {
    line.psn_offset.as_ref().map(|(node, offset)| ((line.connection, node.as_str()), *offset))
}

fn is_whole(line: &PacketLine) -> bool {
    line.fate.is_delivered() && !line.is_damaged
}

/// True if a NAK asks for PSNs again, and the queue pair lives on.
fn asks_again(line: &PacketLine) -> bool {
    line.details.contains("NAK PSN sequence error")
}

/// Lines of a capture with their links.
#[derive(Debug)]
pub(crate) struct LinkedLines {
    pub(crate) lines: Vec<PacketLine>,
    pub(crate) links: Vec<PacketLinks>,
}

impl LinkedLines {
    pub(crate) fn of(report: &Report) -> Self {
        let lines = report.packet_lines();
        let links = links(report, &lines);
        Self { lines, links }
    }

    /// The place of the packet of that number.
    pub(crate) fn place(&self, number: u64) -> Option<usize> {
        self.lines.binary_search_by_key(&number, |line| line.number).ok()
    }
}

/// Links of each line.
fn links(report: &Report, lines: &[PacketLine]) -> Vec<PacketLinks> {
    let mut links = vec![PacketLinks::default(); lines.len()];
    refusals(report, lines, &mut links);
    arrivals(report, lines, &mut links);
    responses(report, lines, &mut links);
    links
}

/// Finds the message of each line, and the request of each refusal.
fn refusals(report: &Report, lines: &[PacketLine], links: &mut [PacketLinks]) {
    let mut firsts: HashMap<u64, usize> = HashMap::new();
    for (index, message) in report.messages.iter().enumerate() {
        firsts.entry(message.packet_first).or_insert(index);
    }
    let mut threads: HashMap<ThreadKey<'_>, Starts> = HashMap::new();
    let mut arrived: HashMap<(ThreadKey<'_>, i32), usize> = HashMap::new();
    for (place, line) in lines.iter().enumerate() {
        let Some((key, offset)) = key(line) else { continue };
        let starts = threads.entry(key).or_default();
        if let Some((index, message)) =
            firsts.get(&line.number).and_then(|index| Some((*index, report.messages.get(*index)?)))
        {
            starts.insert(offset, (index, psns(message)));
        }
        let message = message_at(starts, offset);
        let Some(link) = links.get_mut(place) else { continue };
        link.message = message.map(|(_, index, _)| index);
        match line.part {
            Part::Request if is_whole(line) => {
                arrived.insert((key, offset), place);
            }
            Part::NotReady | Part::Refusal if !asks_again(line) => {
                let start = message.map_or(offset, |(start, ..)| start);
                let cause =
                    [offset, start].into_iter().find_map(|offset| arrived.get(&(key, offset)).copied());
                let Some(cause) = cause.filter(|cause| links.get(*cause).is_some_and(|it| it.about == 0))
                else {
                    continue;
                };
                relate(lines, links, cause, place);
                if let Some(link) = links.get_mut(cause) {
                    link.arrival =
                        if line.part == Part::NotReady { Reception::NotReady } else { Reception::Refused };
                }
            }
            _ => {}
        }
    }
}

/// Makes a request and the NAK that it causes name each other.
fn relate(lines: &[PacketLine], links: &mut [PacketLinks], cause: usize, answer: usize) {
    for (at, other) in [(cause, answer), (answer, cause)] {
        if let (Some(link), Some(line)) = (links.get_mut(at), lines.get(other)) {
            link.about = line.number;
        }
    }
}

/// State of a responder.
#[derive(Debug, Default)]
struct Responder {
    expected: Option<i32>,
    /// The first request behind a gap, as long as the gap is open.
    early: Option<usize>,
    is_dead: bool,
}

/// Follows what each responder expects.
fn arrivals(report: &Report, lines: &[PacketLine], links: &mut [PacketLinks]) {
    let mut responders: HashMap<ThreadKey<'_>, Responder> = HashMap::new();
    for (place, line) in lines.iter().enumerate() {
        let Some((key, offset)) = key(line) else { continue };
        let responder = responders.entry(key).or_default();
        let Some(link) = links.get(place).copied() else { continue };
        let arrival = match line.part {
            Part::Request if is_whole(line) => {
                let message = link.message.and_then(|index| report.messages.get(index));
                let span = message.filter(|message| message.kind == MessageKind::Read).map_or(1, psns);
                responder.arrival(line, link, offset, span, place)
            }
            Part::Refusal if asks_again(line) => {
                if let Some(cause) = responder.early {
                    relate(lines, links, cause, place);
                }
                continue;
            }
            _ => continue,
        };
        if let Some(link) = links.get_mut(place) {
            link.arrival = arrival;
        }
    }
}

/// A READ at its requester.
#[derive(Debug)]
struct PendingRead {
    message: usize,
    next: i32,
    end: i32,
    /// The place of its last request that asks for the rest again.
    asked_again: Option<usize>,
}

/// Follows which answers a requester takes: what comes after a missing READ response that it asks for again is dropped. A gap that nobody asks for is the
/// recorder's.
fn responses(report: &Report, lines: &[PacketLine], links: &mut [PacketLinks]) {
    let is_read =
        |index: usize| report.messages.get(index).is_some_and(|message| message.kind == MessageKind::Read);
    let mut asked_again: HashMap<usize, usize> = HashMap::new();
    for (place, (line, link)) in lines.iter().zip(links.iter()).enumerate() {
        if let (Part::Request, Some(message), Some(_)) = (line.part, link.message, line.again) {
            asked_again.insert(message, place);
        }
    }
    let mut threads: HashMap<ThreadKey<'_>, Vec<PendingRead>> = HashMap::new();
    for (place, line) in lines.iter().enumerate() {
        let (Some((key, offset)), Some(link)) = (key(line), links.get_mut(place)) else { continue };
        let pending = threads.entry(key).or_default();
        let Some(index) = link.message.filter(|_| matches!(line.part, Part::Request | Part::Response)) else {
            continue;
        };
        if line.part == Part::Request {
            if is_read(index) && line.again.is_none() && pending.iter().all(|read| read.message != index) {
                let asked_again = asked_again.get(&index).copied();
                let end = offset.saturating_add(report.messages.get(index).map_or(0, psns));
                pending.push(PendingRead { message: index, next: offset, end, asked_again });
            }
            continue;
        }
        if !is_whole(line) {
            continue;
        }
        let is_gap = |read: &PendingRead| {
            offset > read.next && read.next < read.end && read.asked_again.is_some_and(|asked| asked > place)
        };
        let has_gap = pending.iter().any(is_gap);
        link.arrival = match pending.iter_mut().find(|read| read.message == index) {
            _ if has_gap => Reception::Early,
            Some(read) if offset < read.next => Reception::Repeated,
            Some(read) => {
                read.next = offset.saturating_add(1);
                Reception::Taken
            }
            None if is_read(index) => Reception::Repeated,
            None => Reception::Taken,
        };
        pending.retain(|read| read.next < read.end && offset.saturating_sub(read.end) < KEPT_PSNS);
    }
}

/// PSNs after which a READ that the recorder has not got whole is forgotten.
const KEPT_PSNS: i32 = 4_096;

impl Responder {
    fn arrival(
        &mut self,
        line: &PacketLine,
        link: PacketLinks,
        offset: i32,
        span: i32,
        place: usize,
    ) -> Reception {
        let expected = *self.expected.get_or_insert(offset);
        let begins = || line.words.contains("First") || line.words.contains("Only");
        // A datagram stands alone, and what is unreliable goes on at the next message.
        let is_expected =
            offset == expected || line.words.starts_with("UD") || line.words.starts_with("UC") && begins();
        if self.is_dead {
            return Reception::Dead;
        }
        if matches!(link.arrival, Reception::Refused | Reception::NotReady) {
            self.early = None;
            self.is_dead = link.arrival == Reception::Refused;
            return link.arrival;
        }
        if is_expected {
            (self.expected, self.early) = (Some(offset.saturating_add(span)), None);
            return Reception::Taken;
        }
        if offset < expected {
            return Reception::Repeated;
        }
        self.early.get_or_insert(place);
        Reception::Early
    }
}

/// The lost or held back packet, by its number, because of which the packet at `place` comes early.
fn missing(lines: &[PacketLine], links: &[PacketLinks], place: usize) -> Option<u64> {
    let line = lines.get(place)?;
    let ((early, offset), part) = (key(line)?, line.part);
    let mut found = None;
    for (line, link) in lines.iter().zip(links).take(place).rev() {
        let Some((thread, sent)) = key(line) else { continue };
        if thread != early || line.part != part {
            continue;
        }
        if link.arrival == Reception::Taken {
            break;
        }
        if !line.fate.is_delivered() && sent < offset {
            found = Some(line.number);
        }
    }
    found
}

/// The packet that is missing before the one that a finding stands at.
pub(crate) fn missing_of(finding: &Finding, linked: &LinkedLines) -> Option<u64> {
    if !matches!(finding.rule, Rule::RequestPsnGap | Rule::ReadResponsePsnGap) {
        return None;
    }
    missing(&linked.lines, &linked.links, linked.place(finding.packet)?)
}

/// Mishap of a packet, and what made it good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mishap<'a> {
    pub(crate) line: &'a PacketLine,
    pub(crate) what: MishapKind,
    /// The packet that is the same once more, and arrives.
    pub(crate) again: Option<&'a PacketLine>,
    /// The answer that says that it is done.
    pub(crate) done: Option<&'a PacketLine>,
    /// Number of times that it is sent again.
    pub(crate) repeats: usize,
}

/// Kind of a mishap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MishapKind {
    /// A loss: it did not arrive, or not whole.
    Lost,
    /// An arrival for which its responder had no RECV.
    NotReady,
    /// A refusal for good.
    Refused,
}

/// The first mishaps of a capture, `most` of them.
pub(crate) fn mishaps(LinkedLines { lines, links }: &LinkedLines, most: usize) -> Vec<Mishap<'_>> {
    let what = |line: &PacketLine, link: &PacketLinks| match link.arrival {
        Reception::NotReady => Some(MishapKind::NotReady),
        Reception::Refused => Some(MishapKind::Refused),
        _ if matches!(line.fate, roce::Fate::Dropped | roce::Fate::LinkCut | roce::Fate::PortFull) => {
            Some(MishapKind::Lost)
        }
        _ => None,
    };
    let mut found: Vec<Mishap<'_>> = Vec::new();
    for (place, (line, link)) in lines.iter().zip(links).enumerate() {
        if found.len() >= most {
            break;
        }
        let Some(what) = what(line, link) else { continue };
        // One that is lost again belongs to the first time.
        let is_same = |other: &PacketLine| {
            other.part == line.part
                && other.ends == line.ends
                && other.connection == line.connection
                && other.psn_offset == line.psn_offset
                && other.words == line.words
        };
        if found.iter().any(|known| known.what == what && is_same(known.line)) {
            continue;
        }
        let later = || lines.iter().zip(links).skip(place + 1);
        let is_good = |line: &PacketLine, link: &PacketLinks| {
            is_whole(line)
                && (line.part != Part::Request
                    || matches!(link.arrival, Reception::Taken | Reception::Repeated))
        };
        let again = later().find(|(other, link)| is_same(other) && is_good(other, link)).map(|(it, _)| it);
        let repeats = later().filter(|(other, _)| is_same(other) && other.fate.is_sent()).count();
        // A later acknowledgement makes a lost one good; a READ response is needed itself.
        let is_answered = match line.part {
            Part::Request => true,
            Part::Response => again.is_none() && line.payload_bytes.is_none_or(|bytes| bytes == 0),
            _ => false,
        };
        let counted = key(line).filter(|_| is_answered);
        let done = counted.and_then(|(thread, offset)| {
            let answers = |other: &PacketLine| {
                other.part == Part::Response
                    && is_whole(other)
                    && key(other).is_some_and(|(other, reached)| other == thread && reached >= offset)
            };
            later().find(|(other, _)| answers(other)).map(|(it, _)| it)
        });
        found.push(Mishap { line, what, again, done, repeats });
    }
    found
}

#[cfg(test)]
mod tests {
    use roce::capture::Record;
    use roce::synth::Pair;
    use roce::{Analysis, Names};

    use super::*;

    const SEND_ONLY: u8 = 0x04;
    const ACK: u8 = 0x1f;
    const RNR_NAK: u8 = 0x20;
    const SEQUENCE_NAK: u8 = 0x60;
    const ACCESS_NAK: u8 = 0x62;

    /// A frame each microsecond; those of `lost` have the fate of it.
    fn report(frames: &[Vec<u8>], lost: &[u64]) -> Report {
        let mut analysis = Analysis::new(Names::new());
        for (number, frame) in (1..).zip(frames) {
            let comment = lost.contains(&number).then_some("fate=dropped");
            let record = Record { comment, ..Record::ethernet(number, number * 1_000, frame) };
            analysis.push_frame(&record, &record.frame());
        }
        analysis.finish()
    }

    fn send(pair: &Pair, psn: u32) -> Vec<u8> {
        pair.request(SEND_ONLY, psn).payload(b"four").ack_request().build()
    }

    fn answer(pair: &Pair, psn: u32, syndrome: u8, msn: u32) -> Vec<u8> {
        pair.response(0x11, psn).aeth(syndrome, msn).build()
    }

    /// Reception of each packet, and the packet that it is about.
    fn shown(links: &[PacketLinks]) -> Vec<(Reception, u64)> {
        links.iter().map(|link| (link.arrival, link.about)).collect()
    }

    #[test]
    fn request_without_a_receive_is_not_taken_until_it_comes_again() {
        let pair = Pair::new(1);
        let frames = [
            send(&pair, 0),
            send(&pair, 1),
            answer(&pair, 0, RNR_NAK, 0),
            send(&pair, 0),
            send(&pair, 1),
            answer(&pair, 1, ACK, 2),
        ];
        let report = report(&frames, &[]);
        let lines = report.packet_lines();
        let links = links(&report, &lines);
        // What follows the first was sent before its RNR NAK was there.
        assert_eq!(
            shown(&links),
            [
                (Reception::NotReady, 3),
                (Reception::Early, 0),
                (Reception::None, 1),
                (Reception::Taken, 0),
                (Reception::Taken, 0),
                (Reception::Taken, 0)
            ]
        );
        // The repeated packets are of their messages, and the answer of the last that it tells of.
        let messages: Vec<Option<usize>> = links.iter().map(|link| link.message).collect();
        assert_eq!(messages, [0, 1, 0, 0, 1, 1].map(Some));
        let linked = LinkedLines::of(&report);
        let mishaps = mishaps(&linked, 9);
        let numbers = |mishap: &Mishap<'_>| {
            (mishap.line.number, mishap.again.map(|it| it.number), mishap.done.map(|it| it.number))
        };
        assert_eq!(mishaps.iter().map(numbers).collect::<Vec<_>>(), [(1, Some(4), Some(6))]);
    }

    #[test]
    fn refusal_for_good_ends_the_responder() {
        let pair = Pair::new(1);
        let frames = [
            send(&pair, 0),
            answer(&pair, 0, ACK, 1),
            send(&pair, 1),
            send(&pair, 2),
            answer(&pair, 1, ACCESS_NAK, 1),
        ];
        let report = report(&frames, &[]);
        let links = links(&report, &report.packet_lines());
        assert_eq!(
            shown(&links),
            [
                (Reception::Taken, 0),
                (Reception::Taken, 0),
                (Reception::Refused, 5),
                (Reception::Dead, 0),
                (Reception::None, 3)
            ]
        );
    }

    #[test]
    fn read_response_after_a_lost_one_is_dropped_where_it_is_asked_for_again() {
        let pair = Pair::new(1);
        let read = |psn, bytes| pair.request(0x0c, psn).reth(0x5500_0000, 7, bytes).ack_request().build();
        let first = |psn| pair.response(0x0d, psn).aeth(ACK, 1).payload(&[1; 1024]).build();
        let middle = |psn| pair.response(0x0e, psn).payload(&[2; 1024]).build();
        let last = |psn| pair.response(0x0f, psn).aeth(ACK, 1).payload(&[3; 1024]).build();
        let whole = [read(0, 3072), first(0), middle(1), last(2)];
        let again = [read(1, 2048), first(1), last(2)];
        let arrivals = |frames: &[Vec<u8>], lost: &[u64]| {
            let report = report(frames, lost);
            let lines = report.packet_lines();
            let links = links(&report, &lines);
            (links.iter().map(|link| link.arrival).collect::<Vec<_>>(), missing(&lines, &links, 3))
        };
        let (found, fault) = arrivals(&[&whole[..], &again[..]].concat(), &[3]);
        assert_eq!(found[1..4], [Reception::Taken, Reception::None, Reception::Early]);
        assert_eq!((&found[5..], fault), (&[Reception::Taken; 2][..], Some(3)));
        // Nobody asks for it again: the requester had it.
        let (found, _) = arrivals(&[&whole[..2], &whole[3..]].concat(), &[]);
        assert_eq!(found[1..], [Reception::Taken; 2]);
    }

    #[test]
    fn nak_of_a_gap_is_about_the_packet_that_showed_it_and_the_lost_one_is_at_fault() {
        let pair = Pair::new(1);
        let frames = [
            send(&pair, 0),
            send(&pair, 1),
            send(&pair, 2),
            send(&pair, 3),
            answer(&pair, 1, SEQUENCE_NAK, 1),
            send(&pair, 1),
            send(&pair, 2),
            send(&pair, 3),
            answer(&pair, 3, ACK, 4),
            send(&pair, 3),
        ];
        let report = report(&frames, &[2]);
        let lines = report.packet_lines();
        let links = links(&report, &lines);
        let arrivals: Vec<Reception> = links.iter().map(|link| link.arrival).collect();
        assert_eq!(arrivals[..4], [Reception::Taken, Reception::None, Reception::Early, Reception::Early]);
        assert_eq!(arrivals[5..8], [Reception::Taken; 3]);
        assert_eq!(arrivals[9], Reception::Repeated);
        assert_eq!((links[4].about, links[2].about), (3, 5));
        assert_eq!(missing(&lines, &links, 2), Some(2));
        let gap = report.findings.iter().find(|finding| finding.rule == Rule::RequestPsnGap).unwrap();
        assert_eq!((gap.packet, missing_of(gap, &LinkedLines::of(&report))), (3, Some(2)));
        let linked = LinkedLines::of(&report);
        let mishaps = mishaps(&linked, 9);
        assert_eq!(mishaps.len(), 1);
        let lost = &mishaps[0];
        assert_eq!((lost.what, lost.line.number), (MishapKind::Lost, 2));
        assert_eq!((lost.again.unwrap().number, lost.done.unwrap().number), (6, 9));
    }
}
