//! The rules that a capture is held to, one a file: its text, its source, its check, a conversation that breaks it and the nearest that does not.
//!
//! In: a packet, or what the streams of [`checker`](crate::checker) remember. Out: a [`Broken`](crate::broken::Broken). A rule whose check needs a packet and its
//! connection alone is whole in its file; where several share what a stream remembers (PSNs, MSNs, refusals), the state is the checker's, and the file has the
//! predicate over it or the finding. Names, severities and titles are in [`rule`](crate::rule).

pub(crate) mod ack_for_unsent_psn;
pub(crate) mod atomic_ack_missing;
pub(crate) mod atomic_address_misaligned;
pub(crate) mod atomic_replay_differs;
pub(crate) mod capture_doubled;
pub(crate) mod capture_lost_packets;
pub(crate) mod capture_one_direction;
pub(crate) mod capture_reordered;
pub(crate) mod catalogue;
pub(crate) mod cm_out_of_sequence;
pub(crate) mod cnp_malformed;
pub(crate) mod cnp_too_frequent;
pub(crate) mod datagram_receiver_untold;
pub(crate) mod dma_length_too_large;
pub(crate) mod dreq_for_other_queue_pair;
pub(crate) mod icrc_mismatch;
pub(crate) mod initiator_depth_exceeded;
pub(crate) mod length_mismatch;
pub(crate) mod malformed_packet;
pub(crate) mod msn_beyond_completed;
pub(crate) mod msn_not_advanced;
pub(crate) mod nak_for_acknowledged_psn;
pub(crate) mod nak_without_gap;
pub(crate) mod nak_without_retransmission;
pub(crate) mod network_reordered;
pub(crate) mod opcode_out_of_sequence;
pub(crate) mod pad_count_mismatch;
pub(crate) mod pad_not_zero;
pub(crate) mod partition_key_differs;
pub(crate) mod partition_key_invalid;
pub(crate) mod path_mtu_invalid;
pub(crate) mod path_mtu_violated;
pub(crate) mod payload_too_large;
pub(crate) mod payload_unexpected;
pub(crate) mod q_key_differs;
pub(crate) mod q_key_untold;
pub(crate) mod queue_pair_zero;
pub(crate) mod read_response_psn_gap;
pub(crate) mod refusal_without_cause;
pub(crate) mod reliable_datagram_used;
pub(crate) mod request_before_first_psn;
pub(crate) mod request_not_answered;
pub(crate) mod request_psn_gap;
pub(crate) mod request_refused;
pub(crate) mod reserved_opcode;
pub(crate) mod reserved_syndrome;
pub(crate) mod response_of_wrong_kind;
pub(crate) mod retransmission_differs;
pub(crate) mod retry_count_exceeded;
pub(crate) mod rnr_retries_ended;
pub(crate) mod rnr_retry_too_early;
pub(crate) mod sequence_nak_behind_rnr_nak;
pub(crate) mod traffic_after_fatal_nak;
pub(crate) mod transport_version_unknown;
