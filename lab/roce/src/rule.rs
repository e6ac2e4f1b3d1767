//! The rules that a capture is held to; a rule's name states the fault.
//!
//! `docs/rules.md` is [`Rule::catalogue`], kept equal by a test.

use std::fmt;
use std::fmt::Write as _;

/// How bad a broken rule is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// Something about the capture itself, or worth knowing; nobody did wrong.
    Note,
    /// Something was lost or refused; a working network and working peers recover from it.
    Warning,
    /// A peer did what the protocol forbids, or data is not what was sent.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

/// What there is to say of a rule.
struct Entry {
    rule: Rule,
    severity: Severity,
    title: &'static str,
    explanation: &'static str,
    source: &'static str,
}

macro_rules! rules {
    ($($name:ident, $severity:ident, $title:literal, $explanation:literal, $source:literal;)*) => {
        /// A rule of the protocol, named after its violation.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Rule {
            $(#[doc = concat!("Violated when ", $title, ".\n\n", $explanation)] $name,)*
        }

        impl Rule {
            /// Every rule, in the order of their declaration.
            pub const ALL: [Self; [$(Rule::$name),*].len()] = [$(Self::$name),*];
        }

        static ENTRIES: [Entry; Rule::ALL.len()] = [$(Entry {
            rule: Rule::$name,
            severity: Severity::$severity,
            title: $title,
            explanation: $explanation,
            source: $source,
        }),*];
    };
}

rules! {
    IcrcMismatch, Error, "the invariant CRC does not match the packet",
    "The CRC-32 over the packet, with the fields that routers change set to ones, is not the one in its last four bytes. A receiver discards such a packet, so the rules go on as if it had not arrived, and the gap that it leaves is not reported again. A packet that the snap length cut is unverifiable, not bad.",
    "Linux drivers/infiniband/sw/rxe/rxe_icrc.c";

    MalformedPacket, Error, "the packet contradicts itself",
    "A header is longer than what is left of the packet, or the UDP and IP lengths disagree. What the snap length cut is not malformed.",
    "Linux drivers/infiniband/sw/rxe/rxe_recv.c (hdr_check), include/rdma/ib_pack.h";

    PadCountMismatch, Error, "the pad count does not bring the payload to a multiple of four bytes",
    "The pad count of the BTH is (-payload) mod 4.",
    "Linux drivers/infiniband/sw/rxe/rxe_hdr.h, rxe_req.c (init_req_packet)";

    PadNotZero, Error, "pad bytes are not zero",
    "The 0 to 3 bytes between payload and ICRC are zero.",
    "Linux drivers/infiniband/sw/rxe/rxe_req.c (finish_packet)";

    ReservedOpcode, Error, "the opcode has no meaning",
    "Neither the standard nor a known extension names this operation for its transport. Codes from 0xc0 on are left to manufacturers, so one of those is a warning. Reported once for each opcode and receiver.",
    "Linux include/rdma/ib_pack.h, drivers/infiniband/sw/rxe/rxe_opcode.c";

    ReliableDatagramUsed, Warning, "a reliable datagram is on the wire",
    "No queue pair of type RD can be made with RDMA verbs, so nothing that is known sends one. Reported once for each opcode and receiver.",
    "Linux include/rdma/ib_verbs.h (enum ib_qp_type)";

    TransportVersionUnknown, Error, "the transport version is not zero",
    "The four bits TVer of the BTH are zero; a receiver discards anything else. Reported once for each receiver.",
    "Linux drivers/infiniband/sw/rxe/rxe_recv.c (hdr_check)";

    QueuePairZero, Error, "a packet is sent to queue pair 0",
    "Queue pair 0 is for subnet management, which RoCE does not have; a receiver discards it. Reported once for each receiver.",
    "Linux drivers/infiniband/sw/rxe/rxe_recv.c (hdr_check: qpn == 0)";

    PartitionKeyInvalid, Error, "the partition key is the invalid one",
    "The low 15 bits of a P_Key name the partition; zero names none. Reported once for each receiver.",
    "Linux drivers/infiniband/sw/rxe/rxe_recv.c (check_keys), include/rdma/ib_cache.h";

    PartitionKeyDiffers, Error, "the partition key is not the connection's",
    "The low 15 bits of a P_Key name the partition, and both ends of a connection are in that of its REQ. The highest bit, full or limited membership, may differ. A receiver drops such a packet and counts a violation. Reported once for each receiver.",
    "Linux drivers/infiniband/sw/rxe/rxe_recv.c (check_keys)";

    PayloadUnexpected, Error, "there is payload where none belongs",
    "READ Requests, acknowledgements and atomics, and the answers to atomics, have headers and no payload.",
    "Linux drivers/infiniband/sw/rxe/rxe_opcode.c (RXE_PAYLOAD_MASK)";

    PayloadTooLarge, Error, "the payload is larger than the largest path MTU",
    "The largest path MTU is 4096 bytes.",
    "Linux include/rdma/ib_verbs.h (enum ib_mtu)";

    PathMtuInvalid, Error, "a First or Middle carries what is no path MTU",
    "A path MTU is 256, 512, 1024, 2048 or 4096 bytes, and First and Middle carry exactly one. Reported once for each receiver.",
    "Linux include/rdma/ib_verbs.h (enum ib_mtu)";

    ReservedSyndrome, Error, "the syndrome of an answer has no meaning",
    "An AETH is an ACK (0x00 to 0x1f), an RNR NAK (0x20 to 0x3f) or a NAK (0x60 to 0x63; 0x64 is for RD alone). What it says of the request is unknown.",
    "Linux drivers/infiniband/sw/rxe/rxe_hdr.h (enum aeth_syndrome), rxe_comp.c (check_ack)";

    RequestPsnGap, Warning, "a request before this one is missing",
    "A new request carries the PSN after the one before it; a READ Request takes one PSN for each packet of its response. Numbers are compared in a signed window of 2^23, so a wrap is a step of one. A responder discards what follows a gap, and so do the rules until the missing request comes or an answer shows that it had come.",
    "Linux drivers/infiniband/sw/rxe/rxe_resp.c (check_psn)";

    RequestBeforeFirstPsn, Error, "a request's PSN lies before the first one of its queue pair",
    "The peer's REQ or REP says where the requests begin; nothing that was sent before can come again.",
    "Linux drivers/infiniband/core/cm.c, sw/rxe/rxe_resp.c (check_psn)";

    RetransmissionDiffers, Error, "a request comes again with another opcode or length",
    "A PSN that was sent before is a duplicate and has to be the same packet. Only a READ may ask for less, with address, length and PSN advanced.",
    "Linux drivers/infiniband/sw/rxe/rxe_resp.c (duplicate_request), rxe_req.c (req_retry)";

    ReadResponsePsnGap, Warning, "a READ response before this one is missing",
    "The i-th response to a READ carries the request's PSN + i. Responses come in the order of the requests, so a later answer shows as well that one is missing. A requester discards what follows it, until the missing one comes late or is asked for again.",
    "Linux drivers/infiniband/sw/rxe/rxe_comp.c (check_psn)";

    AtomicAckMissing, Warning, "a later request was answered before an atomic was",
    "An ACK does not answer a CmpSwap or FetchAdd: it needs its own Atomic Acknowledge, and answers come in the order of the requests.",
    "Linux drivers/infiniband/sw/rxe/rxe_comp.c (check_ack)";

    AckForUnsentPsn, Error, "a PSN is answered that was not sent",
    "An answer lies between the oldest request without one and the newest request that was sent.",
    "Linux drivers/infiniband/sw/rxe/rxe_comp.c (check_psn)";

    ResponseOfWrongKind, Error, "the answer is of another kind than the request with its PSN",
    "READ responses answer READs (and FLUSH and ATOMIC WRITE), Atomic Acknowledges answer atomics.",
    "Linux drivers/infiniband/sw/rxe/rxe_comp.c (check_ack)";

    RequestNotAnswered, Warning, "a request had no answer when the connection ended",
    "A READ, an atomic, or a request that asked for an acknowledgement was answered neither before the disconnect nor after it. Named at the request. Connections whose end is not in the capture are not held to this.",
    "Linux drivers/infiniband/sw/rxe/rxe_comp.c";

    LengthMismatch, Error, "the payloads do not add up to the announced length",
    "The RETH's DMA length is the sum of the payloads from First to Last; zero is allowed. The responses to a READ add up to what it asked for.",
    "Linux drivers/infiniband/sw/rxe/rxe_resp.c (check_length, check_rkey)";

    DmaLengthTooLarge, Error, "the announced length is beyond 2^31 bytes",
    "A message has at most 2^31 bytes.",
    "Linux drivers/infiniband/sw/rxe/rxe_param.h, include/rdma/ib_verbs.h (max_msg_sz)";

    PathMtuViolated, Error, "the payload is not what the path MTU asks for",
    "First and Middle carry exactly one path MTU, Only at most one, Last between one byte and one path MTU. The path MTU is the REQ's, or without connection management that of the first First.",
    "Linux drivers/infiniband/sw/rxe/rxe_resp.c (check_length)";

    OpcodeOutOfSequence, Error, "the packet does not follow the one before it in its message",
    "After First or Middle only Middle or Last of the same operation may come, and Middle or Last not without a First. READ responses are Only when there is one, else First, Middle and Last, and begin anew when the rest of a READ is asked for again. rxe then goes on with Middle or Last, which is reported: its own requester takes it, another need not.",
    "Linux drivers/infiniband/sw/rxe/rxe_resp.c (check_op_seq)";

    MsnNotAdvanced, Error, "the MSN is lower than the messages that the answer completes",
    "The message sequence number counts completed requests, one at each last packet, plain WRITEs included; a READ counts when it is executed. Acknowledgements coalesce, so it may jump, but an answer never counts less than what it answers, and the number never goes back.",
    "Linux drivers/infiniband/sw/rxe/rxe_resp.c (execute)";

    MsnBeyondCompleted, Error, "the MSN counts messages that are not complete",
    "The message sequence number cannot count a message whose last packet the answer does not cover, nor one that it refuses.",
    "Linux drivers/infiniband/sw/rxe/rxe_resp.c (execute)";

    NakWithoutGap, Warning, "the responder reports a loss that the capture does not show",
    "A NAK \"PSN sequence error\" carries the PSN that the responder expects, and the capture shows no gap there: the request was lost behind the place of capture, or the NAK is wrong. A request that others overtook was missing when they came, though its NAK may come after it.",
    "Linux drivers/infiniband/sw/rxe/rxe_resp.c (check_psn)";

    NakForAcknowledgedPsn, Error, "a PSN is refused after it was acknowledged",
    "What is acknowledged was executed.",
    "Linux drivers/infiniband/sw/rxe/rxe_comp.c (check_psn)";

    NakWithoutRetransmission, Warning, "a refused request is answered though it was not sent again",
    "After a NAK \"PSN sequence error\" or an RNR NAK the responder discards everything until the refused PSN comes again. Either it does not, or the capture has not got what came again.",
    "Linux drivers/infiniband/sw/rxe/rxe_resp.c (check_psn, sent_psn_nak)";

    RnrRetryTooEarly, Error, "the requester did not wait for the receiver",
    "An RNR NAK names the least time to wait before the request is sent again; a tenth of it is allowed for the clock of the capture.",
    "Linux drivers/infiniband/sw/rxe/rxe_comp.c (rnrnak_usec, rnrnak_jiffies)";

    TrafficAfterFatalNak, Error, "the queue pair goes on after a fatal NAK",
    "NAKs \"invalid request\", \"remote access error\" and \"remote operational error\" put both queue pairs into the error state: no answer follows, and no request but those on their way (100 ms are allowed).",
    "Linux drivers/infiniband/sw/rxe/rxe_comp.c (COMPST_ERROR), rxe_resp.c";

    AtomicAddressMisaligned, Error, "an atomic's address is not a multiple of eight",
    "CmpSwap and FetchAdd work on eight bytes at an address that is a multiple of eight.",
    "Linux drivers/infiniband/sw/rxe/rxe_mr.c (rxe_mr_do_atomic_op)";

    AtomicReplayDiffers, Error, "an atomic that came again was answered with another value",
    "A responder keeps the result of an atomic and repeats it; it does not execute it twice.",
    "Linux drivers/infiniband/sw/rxe/rxe_resp.c (duplicate_request)";

    InitiatorDepthExceeded, Error, "more READs and atomics are under way than the connection allows",
    "The requester's initiator depth and the responder's responder resources, from REQ and REP, bound how many READs and atomics may be without their answer at a time: the lesser of both, rounded up to a power of two, as rxe does. Reported once for each direction; without connection management nothing tells the bound.",
    "Linux drivers/infiniband/sw/rxe/rxe_qp.c (rxe_qp_from_attr), core/cm.c (cm_format_rep_event)";

    CnpMalformed, Error, "a congestion notification is not made as it has to be",
    "Behind the BTH of a CNP are 16 reserved bytes of zero and nothing else, and the BTH says BECN.",
    "observed: ConnectX-4 Lx";

    CmOutOfSequence, Warning, "a connection management message lacks the one that it answers",
    "An RTU follows a REP, a DREP follows a DREQ. Either it was never sent, or the capture has not got it. Only connections whose REQ is in the capture, and something of both sides, are held to this.",
    "Linux drivers/infiniband/core/cm.c (cm_rtu_handler, cm_drep_handler)";

    DreqForOtherQueuePair, Error, "a DREQ names a queue pair that is not its receiver's",
    "The remote QPN of a DREQ is the one that its receiver gave in its REQ or REP.",
    "Linux drivers/infiniband/core/cm.c (cm_dreq_handler)";

    RequestRefused, Warning, "a request is refused for good",
    "A NAK \"invalid request\", \"remote access error\" or \"remote operational error\" ends a queue pair. Named with the request's address, key and length as they are on the wire, and how they differ from what the responder advertised or took before, where that is known: key or address in another byte order, cut to 32 bits, a few bits flipped, out of bounds. Told when nothing contradicts the refusal.",
    "Linux drivers/infiniband/sw/rxe/rxe_resp.c (check_rkey, send_ack)";

    RefusalWithoutCause, Warning, "a request is refused as invalid, and nothing in the capture is",
    "A Middle or Last of a WRITE that follows the packet before it, within the announced length, is not invalid: address, key and permission were taken with its First.",
    "Linux drivers/infiniband/sw/rxe/rxe_resp.c (check_op_seq, check_rkey)";

    RnrRetriesEnded, Warning, "the requester gave up waiting for a receive buffer",
    "The last answer to a request is an RNR NAK, the request came again and was refused again, and it did not come once more in four times the time that the NAK named, or until the capture or the connection ended.",
    "Linux drivers/infiniband/sw/rxe/rxe_comp.c (COMPST_RNR_RETRY, rnr_retry_count)";

    RetryCountExceeded, Warning, "a request is repeated more often than the connection's retry count",
    "The REQ says how often a requester may repeat a request that nothing answers. rxe takes 7 for no limit, which no other requester does. Told once for each direction.",
    "Linux drivers/infiniband/sw/rxe/rxe_comp.c (retry_cnt != 7)";

    SequenceNakBehindRnrNak, Note, "a responder asks by a sequence NAK for what it refused as not ready",
    "Behind an RNR NAK the requests that were in flight are out of order, and rxe sends a NAK \"PSN sequence error\" for the one that it was not ready for. The RNR NAK is the cause, and what comes again is an RNR retry. Told once for each direction.",
    "Linux drivers/infiniband/sw/rxe/rxe_resp.c (RESPST_ERR_RNR, sent_psn_nak)";

    CnpTooFrequent, Note, "congestion notifications follow each other within 4 microseconds",
    "A notification point paces its CNPs, by default at least 4 microseconds apart for each flow. Told once for each receiver.",
    "Linux drivers/net/ethernet/mellanox (np min_time_between_cnps), Lumina (SIGCOMM 2023)";

    CaptureLostPackets, Warning, "the capture has not got a packet that was there",
    "An answer, or the number of completed messages in it, proves that a request arrived which the capture has not got: what recorded it lost it, and no peer is to blame. Told once with its extent. The rules go on behind it with what is certain.",
    "the rules of this catalogue";

    CaptureReordered, Note, "the capture has packets in another order than they had",
    "An answer stands before the request that it answers, or a request before one that had to come first, and nothing was asked for again: the recorder wrote them in another order. Told once with its extent.",
    "the rules of this catalogue";

    CaptureDoubled, Note, "the capture has packets twice",
    "Frames come twice, equal in every byte, within half a millisecond: two mirror ports, or every interface of a node was recorded. The copies are not held against the peers and not counted as retransmissions. Told once with its extent, when a quarter of the packets or more are copies; fewer are copies that the network made.",
    "the rules of this catalogue";

    CaptureOneDirection, Note, "nothing of one direction is in the capture",
    "Packets of a connection come from one side alone, so what the other side did is unknown. Told once with its extent.",
    "the rules of this catalogue";
}

impl Rule {
    fn entry(self) -> &'static Entry {
        &ENTRIES[self as usize]
    }

    /// The rule's name, as in the source: `RequestPsnGap`.
    pub fn name(self) -> String {
        format!("{self:?}")
    }

    /// The rule of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|rule| rule.name() == name)
    }

    /// How bad it is at worst; a [`Finding`](crate::Finding) has its own, which evidence may have made less.
    pub fn severity(self) -> Severity {
        self.entry().severity
    }

    /// One sentence: what is wrong.
    pub fn title(self) -> &'static str {
        self.entry().title
    }

    /// What must hold, and what the check makes of it.
    pub fn explanation(self) -> &'static str {
        self.entry().explanation
    }

    /// Where the rule is from.
    pub fn source(self) -> &'static str {
        self.entry().source
    }

    /// All rules as a Markdown document.
    pub fn catalogue() -> String {
        let mut text = String::from(
            "# The rules\n\n\
             What a capture is held to, by `roce check` and by every scenario. Written from the rules' own enum (`roce check --rules`): change it there.\n\n\
             A finding names the rule, the packet at which it shows, what was expected and what came. After a fault the checks go on from what the wire \
             shows, so that one cause gives one finding. An *error* says that a peer did what the protocol forbids, or that data is not what was sent; a *warning* \
             that something was lost or refused, which peers recover from, or is missing from the capture; a *note* is about the capture itself. The severity \
             here is the worst that a rule has: where a packet that the recorder lost, doubled or put elsewhere would explain it as well, a finding is a \
             warning.\n\n\
             | rule | severity | violated when |\n|--|--|--|\n",
        );
        for entry in &ENTRIES {
            let name = entry.rule.name();
            let _ = writeln!(
                text,
                "| [`{name}`](#{}) | {} | {} |",
                name.to_lowercase(),
                entry.severity,
                entry.title
            );
        }
        for entry in &ENTRIES {
            text.push('\n');
            text.push_str(&entry.rule.page());
        }
        text
    }

    /// What there is to say of it, as in the catalogue.
    pub fn page(self) -> String {
        let entry = self.entry();
        format!(
            "## {}\n\n{}: {}.\n\n{}\n\nSource: {}.\n",
            entry.rule, entry.severity, entry.title, entry.explanation, entry.source
        )
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_found_by_its_name() {
        for rule in Rule::ALL {
            assert_eq!(Rule::from_name(&rule.name()), Some(rule));
            assert_eq!(rule.entry().rule, rule);
            assert!(
                !rule.title().is_empty() && rule.explanation().ends_with('.') && !rule.source().is_empty()
            );
        }
        assert_eq!(Rule::from_name("NoSuchRule"), None);
    }
}
