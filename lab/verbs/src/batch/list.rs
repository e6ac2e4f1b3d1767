//! Lists of work requests in C's layout, filled once and posted as often as wanted.

use std::fmt;
use std::marker::PhantomData;
use std::ptr;

use crate::batch::attached::AttachedRange;
use crate::batch::request::{BatchRequest, DatagramTarget, LocalData};
use crate::completion::WrOpcode;
use crate::error::{Error, Result};
use crate::rdma_sys::{ibv_recv_wr, ibv_send_wr, ibv_sge, ud_t};
use crate::work_request::send_wr;

/// Work requests for the send queue of one queue pair, which are posted by one call. `'data` is that of inline bytes.
pub struct RequestList<'data> {
    keeper: u64,
    requests: Vec<ibv_send_wr>,
    entries: Entries,
    /// Requests that name the receiver of a datagram.
    datagrams: usize,
    _inline: PhantomData<&'data [u8]>,
}

/// RECVs for one queue pair, which are posted by one call.
pub struct RecvList {
    keeper: u64,
    recvs: Vec<ibv_recv_wr>,
    entries: Entries,
}

// SAFETY: the pointers in a list lead to its own requests and entries, which a move leaves in their place, and are set anew
// before each call; inline bytes are shared, read only, and borrowed for `'data`.
unsafe impl Send for RequestList<'_> {}
// SAFETY: as for RequestList, without inline bytes.
unsafe impl Send for RecvList {}

/// Scatter/gather entries of all requests of a list, and where each begins and ends.
#[derive(Default)]
struct Entries {
    all: Vec<ibv_sge>,
    ends: Vec<usize>,
}

impl Entries {
    fn push(&mut self, entries: impl Iterator<Item = ibv_sge>) {
        // Some devices take a length of zero for 2 GiB.
        self.all.extend(entries.filter(|entry| entry.length > 0));
        self.ends.push(self.all.len());
    }

    fn clear(&mut self) {
        self.all.clear();
        self.ends.clear();
    }

    /// The entries of request `number` as C has them; valid until an entry is added.
    fn of(&mut self, number: usize) -> (*mut ibv_sge, i32) {
        let begin = number.checked_sub(1).map_or(0, |before| self.ends[before]);
        let entries = &mut self.all[begin..self.ends[number]];
        match entries.len() {
            0 => (ptr::null_mut(), 0),
            count => (entries.as_mut_ptr(), i32::try_from(count).unwrap_or(i32::MAX)),
        }
    }
}

/// Checks that a list's queue pair keeps each of these ranges.
fn check_kept(keeper: u64, ranges: &[AttachedRange]) -> Result<()> {
    match ranges.iter().all(|range| range.keeper == keeper) {
        true => Ok(()),
        false => Err(Error::NotAttached),
    }
}

impl<'data> RequestList<'data> {
    pub(crate) fn of(keeper: u64) -> Self {
        Self { keeper, requests: Vec::new(), entries: Entries::default(), datagrams: 0, _inline: PhantomData }
    }

    /// Adds a request at the end. Its ranges are copied, its inline bytes are not before they are posted.
    ///
    /// # Errors
    ///
    /// [`Error::NotAttached`] if a range or an address is of what is attached to another queue pair.
    pub fn push(&mut self, request: BatchRequest<'data>) -> Result<()> {
        if request.target.is_some_and(|target| target.address.keeper != self.keeper) {
            return Err(Error::NotAttached);
        }
        match request.local {
            LocalData::Gathered(ranges) => {
                check_kept(self.keeper, ranges)?;
                self.entries.push(ranges.iter().map(AttachedRange::entry));
            }
            LocalData::Inline(bytes) => {
                let length = u32::try_from(bytes.len()).map_err(|_| Error::Range {
                    offset: 0,
                    length_bytes: bytes.len(),
                    region_bytes: u32::MAX as usize,
                })?;
                let addr = bytes.as_ptr().expose_provenance() as u64;
                self.entries.push(std::iter::once(ibv_sge { addr, length, lkey: 0 }));
            }
        }
        let mut wr =
            send_wr(request.opcode, request.remote, request.imm, request.invalidated, request.operands);
        wr.send_flags = request.flags;
        if let Some(DatagramTarget { address, qp_num, q_key }) = request.target {
            self.datagrams += 1;
            wr.wr.ud = ud_t { ah: address.raw, remote_qpn: qp_num, remote_qkey: q_key };
        }
        self.requests.push(wr);
        Ok(())
    }

    /// Removes all requests; the storage stays.
    pub fn clear(&mut self) {
        self.requests.clear();
        self.entries.clear();
        self.datagrams = 0;
    }

    /// The first request that only `ibv_wr_*` can post.
    pub(crate) fn beyond_classic(&self) -> Option<WrOpcode> {
        let opcodes = self.requests.iter().map(|wr| WrOpcode::from_raw(wr.opcode));
        opcodes.into_iter().find(|opcode| matches!(opcode, WrOpcode::Flush | WrOpcode::AtomicWrite))
    }

    /// True if each request names the receiver of a datagram.
    pub(crate) fn is_of_datagrams(&self) -> bool {
        self.datagrams == self.requests.len()
    }

    /// Counts the requests.
    #[must_use]
    pub fn len(&self) -> usize {
        self.requests.len()
    }

    /// True if there is no request.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// Links the requests for a post by `keeper`, numbered from `first_wr_id` on; the first of them, null without any.
    /// Valid until the list is changed.
    pub(crate) fn link(&mut self, keeper: u64, first_wr_id: u64) -> Result<*mut ibv_send_wr> {
        if self.keeper != keeper {
            return Err(Error::NotAttached);
        }
        let mut next = ptr::null_mut();
        for (number, wr) in self.requests.iter_mut().enumerate().rev() {
            wr.wr_id = first_wr_id + number as u64;
            (wr.sg_list, wr.num_sge) = self.entries.of(number);
            wr.next = next;
            next = ptr::from_mut(wr);
        }
        Ok(next)
    }

    /// Counts the requests before the one that a call refused; all if it names none.
    pub(crate) fn before(&self, refused: *const ibv_send_wr) -> u64 {
        let place = self.requests.iter().position(|wr| ptr::eq(wr, refused));
        place.unwrap_or(self.requests.len()) as u64
    }
}

impl fmt::Debug for RequestList<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestList").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl RecvList {
    pub(crate) fn of(keeper: u64) -> Self {
        Self { keeper, recvs: Vec::new(), entries: Entries::default() }
    }

    /// Adds a RECV at the end, for a message that fills these ranges one after the other; without any for a WRITE with
    /// immediate.
    ///
    /// # Errors
    ///
    /// [`Error::NotAttached`] if a range is of memory that is attached to another queue pair.
    pub fn push(&mut self, ranges: &[AttachedRange]) -> Result<()> {
        check_kept(self.keeper, ranges)?;
        self.entries.push(ranges.iter().map(AttachedRange::entry));
        let (next, sg_list) = (ptr::null_mut(), ptr::null_mut());
        self.recvs.push(ibv_recv_wr { wr_id: 0, next, sg_list, num_sge: 0 });
        Ok(())
    }

    /// Removes all RECVs; the storage stays.
    pub fn clear(&mut self) {
        self.recvs.clear();
        self.entries.clear();
    }

    /// Counts the RECVs.
    #[must_use]
    pub fn len(&self) -> usize {
        self.recvs.len()
    }

    /// True if there is no RECV.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.recvs.is_empty()
    }

    /// Links the first `count` RECVs for a post by `keeper`, numbered from `first_wr_id` on; the first of them, null
    /// without any. Valid until the list is changed.
    pub(crate) fn link(&mut self, keeper: u64, first_wr_id: u64, count: usize) -> Result<*mut ibv_recv_wr> {
        if self.keeper != keeper {
            return Err(Error::NotAttached);
        }
        let mut next = ptr::null_mut();
        for (number, wr) in self.recvs.iter_mut().enumerate().take(count).rev() {
            wr.wr_id = first_wr_id + number as u64;
            (wr.sg_list, wr.num_sge) = self.entries.of(number);
            wr.next = next;
            next = ptr::from_mut(wr);
        }
        Ok(next)
    }

    /// Counts the RECVs before the one that a call refused, of `count`; all of them if it names none.
    pub(crate) fn before(&self, refused: *const ibv_recv_wr, count: usize) -> u64 {
        self.recvs.iter().take(count).position(|wr| ptr::eq(wr, refused)).unwrap_or(count) as u64
    }
}

impl fmt::Debug for RecvList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecvList").field("len", &self.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linked_requests_follow_each_other_with_their_own_entries() {
        let (one, two) = (b"one".as_slice(), b"twotwo".as_slice());
        let mut list = RequestList::of(1);
        for bytes in [one, b"", two] {
            list.push(BatchRequest::send_inline(bytes)).unwrap();
        }
        let head = list.link(1, 100).unwrap();
        assert!(ptr::eq(head, &raw const list.requests[0]));
        assert_eq!(list.requests.iter().map(|wr| wr.wr_id).collect::<Vec<_>>(), [100, 101, 102]);
        assert_eq!(list.requests.iter().map(|wr| wr.num_sge).collect::<Vec<_>>(), [1, 0, 1]);
        assert!(ptr::eq(list.requests[0].next, &raw const list.requests[1]));
        assert!(list.requests[2].next.is_null());
        assert!(ptr::eq(list.requests[2].sg_list, &raw const list.entries.all[1]));
        assert_eq!(list.entries.all[1].length, 6);
        assert_eq!(list.before(&raw const list.requests[1]), 1);
        assert_eq!(list.before(ptr::null()), 3);
        list.clear();
        assert!(list.is_empty() && list.link(1, 0).unwrap().is_null());
    }

    #[test]
    fn list_of_another_queue_pair_is_refused() {
        let mut list = RequestList::of(1);
        list.push(BatchRequest::send_inline(b"x")).unwrap();
        assert!(matches!(list.link(2, 0), Err(Error::NotAttached)));
        assert!(matches!(RecvList::of(1).link(2, 0, 0), Err(Error::NotAttached)));
    }

    #[test]
    fn recvs_are_linked_as_many_as_asked_for() {
        let mut list = RecvList::of(1);
        for _ in 0..3 {
            list.push(&[]).unwrap();
        }
        list.link(1, 7, 2).unwrap();
        assert_eq!((list.recvs[0].wr_id, list.recvs[1].wr_id), (7, 8));
        assert!(list.recvs[1].next.is_null());
        assert_eq!((list.before(ptr::null(), 2), list.len()), (2, 3));
    }
}
