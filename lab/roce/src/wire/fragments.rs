//! IP packets that came in fragments, put together in bounded memory.
//!
//! In: fragments. Out: the whole packet, as bytes that begin with its IP header, when its last fragment came. The bytes are gathered by `etherparse`; which
//! packets wait, and for how long, is decided here: the oldest goes when there are too many, so a flood costs a flood's packets and no memory.

use std::collections::{HashMap, VecDeque};

use etherparse::IpNumber;
use etherparse::defrag::IpDefragBuf;

use super::ip::Fragment;

/// Most packets that wait for further fragments.
const PACKETS_MAX: usize = 1_024;
/// Most bytes that wait for further fragments.
pub(super) const BYTES_MAX: usize = 8 * 1024 * 1024;
/// Most gaps in one packet: a packet cut finer is a flood.
const GAPS_MAX: usize = 64;

/// The fields by which fragments belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    /// Source and destination, of IPv4 in the first bytes.
    addresses: [u8; 32],
    identification: u32,
    protocol: IpNumber,
    is_version_4: bool,
}

/// A packet that waits.
#[derive(Debug)]
struct Waiting {
    number: u64,
    /// Header of its first fragment; empty before that came.
    header: Vec<u8>,
    payload: IpDefragBuf,
    frames: u32,
}

/// Packets that wait for further fragments, and the one that was put together last.
#[derive(Debug, Default)]
pub(super) struct Fragments {
    waiting: HashMap<Key, Waiting>,
    /// The same from the oldest on, also some that wait no more.
    order: VecDeque<(Key, u64)>,
    bytes: usize,
    number: u64,
    whole: Vec<u8>,
}

impl Key {
    fn of(fragment: &Fragment<'_>) -> Self {
        let mut addresses = [0; 32];
        let is_version_4 = fragment.is_version_4();
        let range = if is_version_4 { 12..20 } else { 8..40 };
        let from = fragment.header.get(range).unwrap_or_default();
        addresses.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
        let Fragment { identification, protocol, .. } = *fragment;
        Self { addresses, identification, protocol, is_version_4 }
    }
}

impl Fragments {
    /// Adds a fragment that came in so many frames; returns how many the packet came in when it is whole now, as [`whole`](Self::whole) has it.
    #[cold]
    pub(super) fn add(&mut self, fragment: &Fragment<'_>, frames: u32) -> Option<u32> {
        // What the capture has not all of can never be whole.
        let payload = fragment.payload?;
        let key = Key::of(fragment);
        let mut waiting = match self.waiting.remove(&key) {
            Some(waiting) => waiting,
            None => {
                self.number += 1;
                self.order.push_back((key, self.number));
                Waiting {
                    number: self.number,
                    header: Vec::new(),
                    payload: IpDefragBuf::new(fragment.protocol, Vec::new(), Vec::new()),
                    frames: 0,
                }
            }
        };
        self.bytes = self.bytes.saturating_sub(waiting.payload.data().len());
        waiting.frames = waiting.frames.saturating_add(frames);
        let is_added = waiting.payload.add(fragment.offset, fragment.has_more, payload).is_ok();
        // Pieces that contradict each other, or are too many, are nobody's packet.
        if !is_added || waiting.payload.sections().len() > GAPS_MAX {
            return None;
        }
        if fragment.offset.value() == 0 {
            waiting.header = fragment.header.to_vec();
        }
        if waiting.payload.is_complete() && !waiting.header.is_empty() {
            return self.complete(waiting);
        }
        self.bytes += waiting.payload.data().len();
        self.waiting.insert(key, waiting);
        self.make_room();
        None
    }

    fn make_room(&mut self) {
        while self.waiting.len() > PACKETS_MAX || self.bytes > BYTES_MAX || self.order.len() > 2 * PACKETS_MAX
        {
            let Some((key, number)) = self.order.pop_front() else { return };
            if self.waiting.get(&key).is_some_and(|waiting| waiting.number == number)
                && let Some(gone) = self.waiting.remove(&key)
            {
                self.bytes = self.bytes.saturating_sub(gone.payload.data().len());
            }
        }
    }

    /// Writes the packet as it was before it was cut.
    fn complete(&mut self, waiting: Waiting) -> Option<u32> {
        let Waiting { mut header, payload, frames, .. } = waiting;
        let protocol = payload.ip_number().0;
        let (payload, _) = payload.take_bufs();
        if header.first().is_some_and(|byte| byte >> 4 == 4) {
            let total = u16::try_from(header.len() + payload.len()).ok()?.to_be_bytes();
            let field = header.get_mut(2..8)?;
            // The total length, and neither an offset nor a flag that more comes.
            field.get_mut(..2)?.copy_from_slice(&total);
            *field.get_mut(4)? &= 0x40;
            *field.get_mut(5)? = 0;
        } else {
            let length = u16::try_from(payload.len()).ok()?.to_be_bytes();
            let field = header.get_mut(4..7)?;
            field.copy_from_slice(&[length[0], length[1], protocol]);
        }
        self.whole = header;
        self.whole.extend_from_slice(&payload);
        Some(frames)
    }

    /// The packet that was put together last.
    pub(super) fn whole(&self) -> &[u8] {
        &self.whole
    }

    /// Takes that packet out.
    pub(super) fn take_whole(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.whole)
    }

    /// Puts it back.
    pub(super) fn put_whole(&mut self, whole: Vec<u8>) {
        self.whole = whole;
    }
}
