//! The lessons, one a file, in the order of the book.

use super::vocabulary::Lesson;

mod ack_timeout;
mod atomics;
mod ecn;
mod go_back_n;
mod immediate;
mod keys;
mod message_size;
mod minimal_flow;
mod one_sided;
mod ordering;
mod queue_depth;
mod read_depth;
mod receiver_not_ready;
mod registration;
mod signalling;
mod states;
mod zero_copy;

/// All lessons.
pub(crate) const LESSONS: &[&Lesson] = &[
    &minimal_flow::LESSON,
    &one_sided::LESSON,
    &immediate::LESSON,
    &states::LESSON,
    &keys::LESSON,
    &ordering::LESSON,
    &message_size::LESSON,
    &queue_depth::LESSON,
    &signalling::LESSON,
    &registration::LESSON,
    &zero_copy::LESSON,
    &read_depth::LESSON,
    &atomics::LESSON,
    &go_back_n::LESSON,
    &ack_timeout::LESSON,
    &receiver_not_ready::LESSON,
    &ecn::LESSON,
];
