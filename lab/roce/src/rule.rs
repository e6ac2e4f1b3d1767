//! The list of the rules that a capture is held to; a rule's name states the fault.
//!
//! A line is a rule: its name, the file of it in `rules`, its severity, its title. The text, the check and the examples are in the file.

use std::fmt;

/// Severity of a broken rule.
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

/// Hands the list of the rules to the macro `$then`.
macro_rules! each_rule {
    ($then:ident) => {
        $then! {
            IcrcMismatch icrc_mismatch Error "the invariant CRC does not match the packet";
            MalformedPacket malformed_packet Error "the packet contradicts itself";
            PadCountMismatch pad_count_mismatch Error "the pad count does not bring the payload to a multiple of four bytes";
            PadNotZero pad_not_zero Error "pad bytes are not zero";
            ReservedOpcode reserved_opcode Error "the opcode has no meaning";
            ReliableDatagramUsed reliable_datagram_used Warning "a reliable datagram is on the wire";
            TransportVersionUnknown transport_version_unknown Error "the transport version is not zero";
            QueuePairZero queue_pair_zero Error "a packet is sent to queue pair 0";
            PartitionKeyInvalid partition_key_invalid Error "the partition key is the invalid one";
            PartitionKeyDiffers partition_key_differs Error "the partition key is not the connection's";
            PayloadUnexpected payload_unexpected Error "there is payload where none belongs";
            PayloadTooLarge payload_too_large Error "the payload is larger than the largest path MTU";
            PathMtuInvalid path_mtu_invalid Error "a First or Middle carries what is no path MTU";
            ReservedSyndrome reserved_syndrome Error "the syndrome of an answer has no meaning";
            RequestPsnGap request_psn_gap Warning "a request before this one is missing";
            RequestBeforeFirstPsn request_before_first_psn Error "a request's PSN lies before the first one of its queue pair";
            RetransmissionDiffers retransmission_differs Error "a request comes again with another opcode or length";
            ReadResponsePsnGap read_response_psn_gap Warning "a READ response before this one is missing";
            AtomicAckMissing atomic_ack_missing Warning "a later request was answered before an atomic was";
            AckForUnsentPsn ack_for_unsent_psn Error "a PSN is answered that was not sent";
            ResponseOfWrongKind response_of_wrong_kind Error "the answer is of another kind than the request with its PSN";
            RequestNotAnswered request_not_answered Warning "a request had no answer when the connection ended";
            LengthMismatch length_mismatch Error "the payloads do not add up to the announced length";
            DmaLengthTooLarge dma_length_too_large Error "the announced length is beyond 2^31 bytes";
            PathMtuViolated path_mtu_violated Error "the payload is not what the path MTU asks for";
            OpcodeOutOfSequence opcode_out_of_sequence Error "the packet does not follow the one before it in its message";
            MsnNotAdvanced msn_not_advanced Error "the MSN is lower than the messages that the answer completes";
            MsnBeyondCompleted msn_beyond_completed Error "the MSN counts messages that are not complete";
            NakWithoutGap nak_without_gap Warning "the responder reports a loss that the capture does not show";
            NakForAcknowledgedPsn nak_for_acknowledged_psn Error "a PSN is refused after it was acknowledged";
            NakWithoutRetransmission nak_without_retransmission Warning "a refused request is answered though it was not sent again";
            RnrRetryTooEarly rnr_retry_too_early Error "the requester did not wait for the receiver";
            TrafficAfterFatalNak traffic_after_fatal_nak Error "the queue pair goes on after a fatal NAK";
            AtomicAddressMisaligned atomic_address_misaligned Error "an atomic's address is not a multiple of eight";
            AtomicReplayDiffers atomic_replay_differs Error "an atomic that came again was answered with another value";
            InitiatorDepthExceeded initiator_depth_exceeded Error "more READs and atomics are under way than the connection allows";
            CnpMalformed cnp_malformed Error "a congestion notification is not made as it has to be";
            CmOutOfSequence cm_out_of_sequence Warning "a connection management message lacks the one that it answers";
            DreqForOtherQueuePair dreq_for_other_queue_pair Error "a DREQ names a queue pair that is not its receiver's";
            QKeyDiffers q_key_differs Warning "a datagram carries another Q_Key than its receiver has";
            DatagramReceiverUntold datagram_receiver_untold Note "nothing shows that the receiver of a datagram is there";
            QKeyUntold q_key_untold Note "nothing shows that the Q_Key of a datagram is its receiver's";
            RequestRefused request_refused Warning "a request is refused for good";
            RefusalWithoutCause refusal_without_cause Warning "a request is refused as invalid, and nothing in the capture is";
            RnrRetriesEnded rnr_retries_ended Warning "the requester gave up waiting for a receive buffer";
            RetryCountExceeded retry_count_exceeded Warning "a request is repeated more often than the connection's retry count";
            SequenceNakBehindRnrNak sequence_nak_behind_rnr_nak Note "a responder asks by a sequence NAK for what it refused as not ready";
            CnpTooFrequent cnp_too_frequent Note "congestion notifications follow each other within 4 microseconds";
            NetworkReordered network_reordered Note "requests overtook each other on their way";
            CaptureLostPackets capture_lost_packets Warning "the capture has not got a packet that was there";
            CaptureReordered capture_reordered Note "the capture has packets in another order than they had";
            CaptureDoubled capture_doubled Note "the capture has packets twice";
            CaptureOneDirection capture_one_direction Note "nothing of one direction is in the capture";
        }
    };
}
pub(crate) use each_rule;

macro_rules! names {
    ($($name:ident $file:ident $severity:ident $title:literal;)*) => {
        /// A rule of the protocol, named after its violation.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Rule {
            $(#[doc = concat!("Violated when ", $title, ".")] $name,)*
        }

        impl Rule {
            /// Every rule, in the order of their declaration.
            pub const ALL: [Self; [$(Rule::$name),*].len()] = [$(Self::$name),*];
        }

        static HEADS: [(Severity, &str); Rule::ALL.len()] = [$((Severity::$severity, $title)),*];
    };
}
each_rule!(names);

impl Rule {
    /// The rule's name, as in the source: `RequestPsnGap`.
    pub fn name(self) -> String {
        format!("{self:?}")
    }

    /// The rule of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|rule| rule.name() == name)
    }

    /// Severity at worst; a [`Finding`](crate::Finding) has its own, which evidence may have made less.
    pub fn severity(self) -> Severity {
        HEADS[self as usize].0
    }

    /// True if packets in another order than they had look as if the rule were broken.
    pub(crate) fn is_of_order(self) -> bool {
        matches!(
            self,
            Self::RequestPsnGap
                | Self::ReadResponsePsnGap
                | Self::AtomicAckMissing
                | Self::AckForUnsentPsn
                | Self::ResponseOfWrongKind
                | Self::RequestNotAnswered
                | Self::LengthMismatch
                | Self::OpcodeOutOfSequence
                | Self::MsnNotAdvanced
                | Self::MsnBeyondCompleted
                | Self::NakWithoutGap
                | Self::NakForAcknowledgedPsn
                | Self::NakWithoutRetransmission
                | Self::RnrRetryTooEarly
                | Self::TrafficAfterFatalNak
                | Self::InitiatorDepthExceeded
                | Self::CmOutOfSequence
                | Self::RefusalWithoutCause
        )
    }

    /// One sentence: the fault.
    pub fn title(self) -> &'static str {
        HEADS[self as usize].1
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Frequency with which a rule is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Once {
    /// Each time that it is broken.
    Never,
    /// Once for each receiving queue pair: a sender breaks it in every packet.
    ByReceiver,
    /// Once for each opcode and receiving queue pair.
    ByOpcodeAndReceiver,
}

/// The text of a rule.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RuleText {
    pub(crate) explanation: &'static str,
    pub(crate) source: &'static str,
    pub(crate) once: Once,
}

impl RuleText {
    /// Text of a rule that is told each time: sentences of what must hold and what the check makes of it, and the source that was read for them.
    pub(crate) const fn new(explanation: &'static str, source: &'static str) -> Self {
        Self { explanation, source, once: Once::Never }
    }

    /// The same of a rule that is told once.
    pub(crate) const fn once(self, once: Once) -> Self {
        Self { once, ..self }
    }
}
