//! Messages of one requester, folded: packets into runs, equal messages into one line.

use std::fmt::Write;

use crate::flow::StreamId;
use crate::message::{Message, MessageKind, MessageOutcome};
use crate::trace::labels::Labels;
use crate::trace::summary::stream::StreamSummary;
use crate::wire::Opcode;
use crate::words::immediate_words;

/// One message, or several that follow each other and are equal but for their place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SummaryLine {
    /// Number of messages.
    count: usize,
    /// Packets of the requester.
    words: String,
    /// Packets of its own that answer it.
    answer: Option<String>,
    /// Name before the PSNs.
    node: String,
    /// First and last PSN, counted from the requester's first; no last when timing decides how far it came.
    psn: (i32, Option<i32>),
    /// Bytes of each message.
    bytes: Option<u64>,
    /// Region, and the offsets of the lowest and the highest address.
    memory: Option<(String, i128, i128)>,
    detail: Vec<String>,
}

impl SummaryLine {
    /// A message of a connection.
    pub(super) fn new(
        labels: &Labels<'_>,
        id: StreamId,
        stream: &StreamSummary<'_>,
        message: &Message,
    ) -> Self {
        let first = labels.psn_offset(id, message.psn_first);
        let last = labels.psn_offset(id, message.psn_last);
        // How much of a message was on its way before a refusal, timing decides.
        let is_refused = first != last && matches!(message.outcome, MessageOutcome::Refused(_));
        let is_whole = message.is_whole && (message.kind == MessageKind::Read || !is_refused);
        let (words, answer) = match message.kind {
            _ if !is_whole => (fold([stream.request(first)].into_iter()), None),
            MessageKind::Read => (
                fold([stream.request(first)].into_iter()),
                Some(fold((first..=last).map(|at| stream.answer(at)))),
            ),
            _ => {
                let answers = (first..=last).filter_map(|at| stream.answer(at)).map(Some);
                let answer = fold(answers);
                (
                    fold((first..=last).map(|at| stream.request(at))),
                    Some(answer).filter(|answer| !answer.is_empty()),
                )
            }
        };
        let mut line = Self {
            count: 1,
            words,
            answer,
            node: labels.node(message.requester),
            psn: (first, is_whole.then_some(last)),
            bytes: is_whole.then_some(message.bytes),
            memory: None,
            detail: stream.operands(first),
        };
        line.describe(labels, message);
        line
    }

    /// A message without a connection.
    pub(super) fn datagram(labels: &Labels<'_>, message: &Message) -> Self {
        let first = labels
            .unconnected_offset(message.requester, message.requester_qpn, message.psn_first)
            .unwrap_or(0);
        let mut line = Self {
            count: 1,
            words: format!("UD {}", message.kind),
            answer: None,
            node: labels.node(message.requester),
            psn: (first, Some(first)),
            bytes: Some(message.bytes),
            memory: None,
            detail: Vec::new(),
        };
        line.describe(labels, message);
        line
    }

    fn describe(&mut self, labels: &Labels<'_>, message: &Message) {
        if let (Some(va), Some(rkey)) = (message.va, message.rkey) {
            match labels.offset(message.responder, va, rkey) {
                Some((region, offset)) => self.memory = Some((region.to_owned(), offset, offset)),
                None => self.detail.insert(0, labels.rkey(message.responder, rkey)),
            }
        }
        self.detail.extend(message.immediate.map(immediate_words));
        self.detail.push(message.outcome.to_string());
    }

    /// True if the next message is equal but for its place.
    fn is_followed_by(&self, next: &Self) -> bool {
        let region = |line: &'_ Self| line.memory.as_ref().map(|(region, ..)| region.clone());
        self.psn.1.is_some_and(|last| last + 1 == next.psn.0)
            && self.words == next.words
            && self.answer == next.answer
            && self.bytes == next.bytes
            && self.detail == next.detail
            && region(self) == region(next)
    }

    /// Takes the next message in.
    fn take(&mut self, next: Self) {
        self.count += next.count;
        self.psn.1 = next.psn.1;
        if let (Some((_, low, high)), Some((_, next_low, next_high))) = (&mut self.memory, next.memory) {
            (*low, *high) = ((*low).min(next_low), (*high).max(next_high));
        }
    }

    fn write(&self, out: &mut String) {
        let words = match self.count {
            1 => self.words.clone(),
            count => format!("{count} times {}", self.words),
        };
        let psn = match self.psn {
            (first, Some(last)) if last != first => format!("{}{first:+}..{last}", self.node),
            (first, _) => format!("{}{first:+}", self.node),
        };
        let bytes = self.bytes.filter(|bytes| *bytes > 0).map_or_else(String::new, |bytes| bytes.to_string());
        let memory = self.memory.as_ref().map(|(region, low, high)| match high - low {
            0 => format!("{region}{low:+}"),
            _ => format!("{region}{low:+}..{}", high + i128::from(self.bytes.unwrap_or(1)) - 1),
        });
        let detail: Vec<&str> =
            memory.as_deref().into_iter().chain(self.detail.iter().map(String::as_str)).collect();
        let _ = writeln!(out, "    {words:<54} {psn:<18} {bytes:>10}  {}", detail.join(", "));
        if let Some(answer) = &self.answer {
            let _ = writeln!(out, "      {answer}");
        }
    }
}

/// Writes messages, equal neighbours as one line.
pub(super) fn write(out: &mut String, lines: Vec<SummaryLine>) {
    let mut folded: Vec<SummaryLine> = Vec::new();
    for line in lines {
        match folded.last_mut() {
            Some(last) if last.is_followed_by(&line) => last.take(line),
            _ => folded.push(line),
        }
    }
    for line in &folded {
        line.write(out);
    }
}

/// Opcodes in few words: `RC RDMA WRITE First, Middle ×8190, Last`.
fn fold(opcodes: impl Iterator<Item = Option<Opcode>>) -> String {
    let mut runs: Vec<(Option<Opcode>, usize)> = Vec::new();
    for opcode in opcodes {
        match runs.last_mut() {
            Some((last, count)) if *last == opcode => *count += 1,
            _ => runs.push((opcode, 1)),
        }
    }
    let mut before = String::new();
    let mut out = String::new();
    for (opcode, count) in runs {
        let words = opcode.map_or_else(|| "not seen".to_owned(), |opcode| opcode.to_string());
        let new = beyond(&before, &words);
        out.push_str(if out.is_empty() { "" } else { ", " });
        out.push_str(new);
        if count > 1 {
            let _ = write!(out, " ×{count}");
        }
        before = words;
    }
    out
}

/// Part of `words` that those `before` do not say: the place in the message and what follows it.
fn beyond<'a>(before: &str, words: &'a str) -> &'a str {
    ["First", "Middle", "Last", "Only"]
        .iter()
        .filter_map(|place| words.find(place))
        .min()
        .filter(|at| before.get(..*at) == words.get(..*at))
        .and_then(|at| words.get(at..))
        .unwrap_or(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folded(bytes: &[u8]) -> String {
        fold(bytes.iter().map(|byte| Some(Opcode(*byte))))
    }

    #[test]
    fn packets_of_a_message_are_folded_into_runs() {
        assert_eq!(folded(&[0x06, 0x07, 0x07, 0x08]), "RC RDMA WRITE First, Middle ×2, Last");
        assert_eq!(folded(&[0x06, 0x09]), "RC RDMA WRITE First, Last with Immediate");
        assert_eq!(folded(&[0x0a]), "RC RDMA WRITE Only");
        assert_eq!(folded(&[0x0d, 0x0e, 0x0f]), "RC RDMA READ response First, Middle, Last");
        assert_eq!(folded(&[0x0d, 0x10, 0x08]), "RC RDMA READ response First, Only, RC RDMA WRITE Last");
        assert_eq!(
            fold([Some(Opcode(0)), None, Some(Opcode(2))].into_iter()),
            "RC SEND First, not seen, RC SEND Last"
        );
    }
}
