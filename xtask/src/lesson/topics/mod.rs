//! The lessons, one a file, in the order of the book.

use super::vocabulary::Lesson;

mod minimal_flow;
mod one_sided;

/// All lessons.
pub(crate) const LESSONS: &[&Lesson] = &[&minimal_flow::LESSON, &one_sided::LESSON];
