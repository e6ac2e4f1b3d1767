//! A capture that several threads read: each reads chunks and decodes their frames, and the packets are given in order.
//!
//! In: a source that can be read at any place. Out: each record with its frame, one after the other, as a [`Reader`] and a [`Decoder`] give them. A thread reads
//! a chunk, cuts it into packets when those before it are cut, decodes them, and gives them away when those before them are given; so what it read stays in its
//! processor's cache. Memory is one chunk with its frames a thread, and the largest packet.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::num::NonZero;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use crate::capture::batch::{Batch, Chunk, Handed};
use crate::capture::in_turn::{Abandon, InTurn};
use crate::capture::{ReadError, Reader, Record};
use crate::wire::{Decoder, Frame, NotRoce};

/// Bytes of one read: with what is made of them they stay in the cache of one processor.
const CHUNK_BYTES: usize = 512 * 1024;
/// Free bytes before a chunk, for the beginning of a packet that ends in it.
const HEADROOM_BYTES: usize = 64 * 1024;
/// Alignment of a read in memory: a kernel's copy to any other place takes twice as long.
const ALIGNED_BYTES: usize = 4096;

/// A source that several threads can read at a time, each at its own place.
pub trait ReadAt: Sync {
    /// Reads from byte `offset` on; gives how many bytes came, 0 at the end.
    ///
    /// # Errors
    /// As the source says.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
}

#[cfg(unix)]
impl ReadAt for File {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        std::os::unix::fs::FileExt::read_at(self, buffer, offset)
    }
}

impl<T: ReadAt + ?Sized> ReadAt for &T {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        (**self).read_at(buffer, offset)
    }
}

impl ReadAt for [u8] {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let rest = usize::try_from(offset).ok().and_then(|offset| self.get(offset..)).unwrap_or_default();
        io::Read::read(&mut &*rest, buffer)
    }
}

/// A capture that several threads read.
///
/// # Example
/// ```
/// use std::num::NonZero;
/// use roce::capture::ParallelReader;
/// use roce::wire::Decoder;
///
/// # let mut capture = Vec::new();
/// # let mut writer = roce::capture::Writer::new(&mut capture, &["server"])?;
/// # writer.write(0, 1_000, &[0; 60], "")?;
/// # writer.write(0, 2_000, &[0; 60], "")?;
/// let reader = ParallelReader::new(&capture[..], NonZero::new(2).unwrap())?;
/// let mut numbers = Vec::new();
/// let ended = reader.for_each(&mut Decoder::new(), |record, _frame, _offset| {
///     numbers.push(record.number);
///     Ok::<_, std::convert::Infallible>(true)
/// })?;
/// assert!(ended.fault.is_none());
/// assert_eq!(numbers, [1, 2]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct ParallelReader<S> {
    source: S,
    threads: NonZero<usize>,
    chunk_bytes: usize,
    reader: Reader<Handed>,
    /// End of the first chunk, which the reader has.
    first: End,
}

/// End of a capture.
#[derive(Debug)]
pub struct Ended {
    /// Packets that the capture says it lost, as far as it was read.
    pub lost_packets: u64,
    /// Reason that it ended before its end.
    pub fault: Option<ReadError>,
}

/// The reader, which cuts one chunk after the other.
struct Cutter {
    reader: Reader<Handed>,
    /// True if the last chunk was cut.
    has_ended: bool,
    fault: Option<ReadError>,
}

/// The caller's function, with what it said at last.
struct Taker<'d, F, E> {
    decoder: &'d mut Decoder,
    each: F,
    wants_more: bool,
    error: Option<E>,
}

/// Empties a vector whose storage is used again, for frames of other bytes.
fn emptied<'b>(mut frames: Vec<Frame<'_>>) -> Vec<Frame<'b>> {
    frames.clear();
    frames.into_iter().map(|_| Frame::UNREAD).collect()
}

/// End of a chunk.
#[derive(Debug)]
enum End {
    /// Before the next one.
    Full,
    /// With the capture.
    Last,
    Failed(io::Error),
}

/// Reads the chunk of that number into `storage`.
fn read(source: &impl ReadAt, chunk_bytes: usize, number: u64, mut storage: Vec<u8>) -> (Chunk, End) {
    storage.resize(HEADROOM_BYTES + ALIGNED_BYTES + chunk_bytes, 0);
    let start = HEADROOM_BYTES + storage.as_ptr().align_offset(ALIGNED_BYTES).min(ALIGNED_BYTES);
    let offset = number * chunk_bytes as u64;
    let mut length = 0;
    let mut end = End::Full;
    while let Some(space) =
        storage.get_mut(start + length..start + chunk_bytes).filter(|space| !space.is_empty())
    {
        match source.read_at(space, offset + length as u64) {
            Ok(0) => {
                end = End::Last;
                break;
            }
            Ok(got) => length += got.min(space.len()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => {
                end = End::Failed(error);
                break;
            }
        }
    }
    (Chunk { storage, start, length }, end)
}

impl<S: ReadAt> ParallelReader<S> {
    /// Opens a capture and reads its header; `threads` are those that will work on it, the caller's among them.
    ///
    /// # Errors
    /// As of [`Reader::new`].
    pub fn new(source: S, threads: NonZero<usize>) -> Result<Self, ReadError> {
        Self::with_chunks(source, threads, CHUNK_BYTES)
    }

    fn with_chunks(source: S, threads: NonZero<usize>, chunk_bytes: usize) -> Result<Self, ReadError> {
        match read(&source, chunk_bytes, 0, Vec::new()) {
            (Chunk { length: 0, .. }, End::Failed(error)) => Err(ReadError::Io { offset: 0, source: error }),
            (chunk, first) => {
                Ok(Self { source, threads, chunk_bytes, reader: Reader::of_chunk(chunk)?, first })
            }
        }
    }

    /// Passes each record, its frame and the offset in the capture behind it to `each`, in order and one at a time, until that is not true.
    ///
    /// `each` is called on any of the threads. A capture of one small chunk is read by the caller's thread alone, and so is one where the system has no other.
    ///
    /// # Errors
    /// Those of `each`.
    pub fn for_each<E: Send>(
        self,
        decoder: &mut Decoder,
        each: impl FnMut(&Record<'_>, &Frame<'_>, u64) -> Result<bool, E> + Send,
    ) -> Result<Ended, E> {
        let Self { source, threads, chunk_bytes, reader, first } = self;
        let others = if matches!(first, End::Full) { threads.get() - 1 } else { 0 };
        let vxlan_ports = decoder.further_vxlan_ports().to_vec();
        let work = Work {
            source: &source,
            chunk_bytes,
            vxlan_ports: &vxlan_ports,
            tickets: AtomicU64::new(1),
            cutter: InTurn::new(Cutter { reader, has_ended: false, fault: None }),
            taker: InTurn::new(Taker { decoder, each, wants_more: true, error: None }),
        };
        thread::scope(|scope| {
            for number in 0..others {
                let name = format!("decode-{number}");
                if thread::Builder::new().name(name).spawn_scoped(scope, || work.run(None)).is_err() {
                    break;
                }
            }
            work.run(Some(first));
        });
        let (cutter, taker) = (work.cutter.into_inner(), work.taker.into_inner());
        match taker.error {
            Some(error) => Err(error),
            None => Ok(Ended { lost_packets: cutter.reader.lost_packets(), fault: cutter.fault }),
        }
    }
}

/// Everything that the threads share.
struct Work<'w, 'd, S, F, E> {
    source: &'w S,
    chunk_bytes: usize,
    vxlan_ports: &'w [u16],
    /// Number of the next chunk.
    tickets: AtomicU64,
    cutter: InTurn<Cutter>,
    taker: InTurn<Taker<'d, F, E>>,
}

impl<S, F, E> Work<'_, '_, S, F, E>
where
    S: ReadAt,
    F: FnMut(&Record<'_>, &Frame<'_>, u64) -> Result<bool, E> + Send,
{
    /// Takes one chunk after the other from the source to the caller's function; `first` is how the one ended that the reader has, for one of the threads.
    fn run(&self, mut first: Option<End>) {
        // A thread that panics would never take its turn, and the others wait for it.
        let _abandon = (Abandon(&self.cutter), Abandon(&self.taker));
        let mut storage = Vec::new();
        let mut batch = Batch::default();
        let mut spare = Vec::new();
        loop {
            let (ticket, chunk, end) = match first.take() {
                Some(end) => (0, Chunk::default(), end),
                None => {
                    let ticket = self.tickets.fetch_add(1, Ordering::Relaxed);
                    let (chunk, end) = read(self.source, self.chunk_bytes, ticket, storage);
                    (ticket, chunk, end)
                }
            };
            match self.cutter.enter(ticket, |cutter| cutter.cut(chunk, end, &mut batch)) {
                Some(true) => {}
                _ => return,
            }
            let mut frames = emptied(spare);
            frames.resize(batch.len(), Frame::UNREAD);
            for ((record, _), frame) in batch.records().zip(&mut frames) {
                frame.decode_into(self.vxlan_ports, record.link_type, record.data);
            }
            let wants_more = self.taker.enter(ticket, |taker| {
                for ((record, offset), frame) in batch.records().zip(&frames) {
                    if !taker.wants_more {
                        break;
                    }
                    match taker.take(&record, frame, offset) {
                        Ok(wants_more) => taker.wants_more = wants_more,
                        Err(error) => (taker.wants_more, taker.error) = (false, Some(error)),
                    }
                }
                taker.wants_more
            });
            spare = emptied(frames);
            if wants_more != Some(true) {
                return;
            }
            storage = batch.take_storage();
        }
    }
}

impl<F, E> Taker<'_, F, E>
where
    F: FnMut(&Record<'_>, &Frame<'_>, u64) -> Result<bool, E>,
{
    /// Passes a packet to the caller's function; a fragment goes through the one decoder that has the others.
    #[inline]
    fn take(&mut self, record: &Record<'_>, frame: &Frame<'_>, offset: u64) -> Result<bool, E> {
        match frame {
            Frame::NotRoce(NotRoce::Fragment) => {
                (self.each)(record, &self.decoder.decode(record.link_type, record.data), offset)
            }
            frame => (self.each)(record, frame, offset),
        }
    }
}

impl Cutter {
    /// Cuts the next chunk, unless the one before it was the last.
    fn cut(&mut self, chunk: Chunk, end: End, batch: &mut Batch) -> bool {
        if self.has_ended {
            return false;
        }
        let cut = self.reader.cut(chunk, matches!(end, End::Last), batch);
        self.has_ended = cut.is_err() || !matches!(end, End::Full);
        self.fault = match (cut, end) {
            (Ok(()), End::Failed(source)) => Some(ReadError::Io { offset: self.reader.read_to(), source }),
            (cut, _) => cut.err(),
        };
        true
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::capture::Writer;
    use crate::synth::{Pair, Workload};
    use crate::{Analysis, Names};

    /// Everything that a capture gives, as text.
    #[derive(Debug, Default, PartialEq)]
    struct Told {
        records: Vec<String>,
        report: String,
        lost_packets: u64,
        fault: Option<String>,
    }

    fn see(told: &mut Told, analysis: &mut Analysis, record: &Record<'_>, frame: &Frame<'_>) {
        told.records.push(format!("{record:?} {frame:?}"));
        analysis.push_frame(record, frame);
    }

    fn end(mut told: Told, analysis: Analysis) -> Told {
        let report = analysis.finish();
        told.report = format!("{}{}{:?}", report.trace(), report.summary(), report.findings);
        told
    }

    fn serial(bytes: &[u8]) -> Told {
        let (mut told, mut analysis) = (Told::default(), Analysis::new(Names::new()));
        let mut decoder = Decoder::new();
        let mut reader = match Reader::new(bytes) {
            Ok(reader) => reader,
            Err(error) => return Told { fault: Some(error.to_string()), ..told },
        };
        loop {
            match reader.next() {
                Ok(Some(record)) => {
                    let frame = decoder.decode(record.link_type, record.data);
                    see(&mut told, &mut analysis, &record, &frame);
                }
                Ok(None) => break,
                Err(error) => {
                    told.fault = Some(error.to_string());
                    break;
                }
            }
        }
        told.lost_packets = reader.lost_packets();
        end(told, analysis)
    }

    fn parallel(bytes: &[u8], threads: usize, chunk_bytes: usize) -> Told {
        let (mut told, mut analysis) = (Told::default(), Analysis::new(Names::new()));
        let threads = NonZero::new(threads).unwrap();
        let reader = match ParallelReader::with_chunks(bytes, threads, chunk_bytes) {
            Ok(reader) => reader,
            Err(error) => return Told { fault: Some(error.to_string()), ..told },
        };
        let mut last = 0;
        let ended = reader
            .for_each(&mut Decoder::new(), |record, frame, offset| {
                assert!(offset > last, "offset {offset} behind {last}");
                last = offset;
                see(&mut told, &mut analysis, record, frame);
                Ok::<_, Infallible>(true)
            })
            .unwrap();
        told.fault = ended.fault.map(|error| error.to_string());
        told.lost_packets = ended.lost_packets;
        end(told, analysis)
    }

    /// Holds 1, 2 and 4 threads against none, in chunks that cut packets everywhere.
    fn assert_same(name: &str, bytes: &[u8]) {
        let expected = serial(bytes);
        for threads in [1, 2, 4] {
            for chunk_bytes in [509, 65_536] {
                let got = parallel(bytes, threads, chunk_bytes);
                assert_eq!(got.records.len(), expected.records.len(), "{name}: {threads}, {chunk_bytes}");
                assert!(got == expected, "{name}: {threads} threads, {chunk_bytes} bytes a chunk");
            }
        }
    }

    #[test]
    fn every_fixture_is_the_same_by_any_number_of_threads() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
        let mut count = 0;
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "pcapng") {
                assert_same(&path.display().to_string(), &fs::read(&path).unwrap());
                count += 1;
            }
        }
        assert!(count >= 20, "{count} fixtures");
    }

    #[test]
    fn losses_damage_tunnels_fragments_and_cuts_are_the_same_by_any_number_of_threads() {
        let mut bytes = Vec::new();
        Workload { data_packets: 400, tunnel: None }.write_pcap(&mut bytes).unwrap();
        assert_same("workload", &bytes);
        // A damaged packet has a bad ICRC, and a file may end anywhere.
        for at in [40, 5_000, 100_000] {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x5a;
            assert_same("damaged", &damaged);
            assert_same("cut", &bytes[..at]);
        }
        let tunnel = Some(crate::synth::Tunnel::Vxlan(4789));
        let mut bytes = Vec::new();
        Workload { data_packets: 100, tunnel }.write_pcap(&mut bytes).unwrap();
        assert_same("VXLAN", &bytes);
    }

    #[test]
    fn sections_interfaces_and_comments_are_the_same_by_any_number_of_threads() {
        let mut bytes = Vec::new();
        for names in [["server", "client"], ["a", "b"]] {
            let mut writer = Writer::new(&mut bytes, &names).unwrap();
            for (at, frame) in Pair::new(1).write_then_read().iter().enumerate() {
                let comment = ["fate=forwarded", "", "fate=dropped"][at % 3];
                writer.write(at as u32 % 2, at as u64, frame, comment).unwrap();
            }
        }
        assert_same("sections", &bytes);
        for length in (0..bytes.len()).step_by(331) {
            assert_same("cut", &bytes[..length]);
        }
    }

    #[test]
    fn a_packet_over_many_chunks_is_whole() {
        let mut bytes = Vec::new();
        let mut writer = Writer::new(&mut bytes, &["server"]).unwrap();
        for (at, length) in [60, 250_000, 60, HEADROOM_BYTES + 1, 9_000].into_iter().enumerate() {
            writer.write(0, at as u64, &vec![at as u8; length], "").unwrap();
        }
        assert_same("long", &bytes);
    }

    #[test]
    fn who_wants_no_more_gets_no_more_and_an_error_is_passed_on() {
        let mut bytes = Vec::new();
        Workload { data_packets: 1_000, tunnel: None }.write_pcap(&mut bytes).unwrap();
        let reader = || ParallelReader::with_chunks(&bytes[..], NonZero::new(4).unwrap(), 4_096).unwrap();
        let mut count = 0;
        reader()
            .for_each(&mut Decoder::new(), |_, _, _| {
                count += 1;
                Ok::<_, Infallible>(count < 100)
            })
            .unwrap();
        assert_eq!(count, 100);
        let error = reader().for_each(&mut Decoder::new(), |record, _, _| {
            if record.number < 50 { Ok(true) } else { Err(record.number) }
        });
        assert_eq!(error.unwrap_err(), 50);
    }

    #[test]
    fn a_panic_ends_all_threads() {
        let mut bytes = Vec::new();
        Workload { data_packets: 1_000, tunnel: None }.write_pcap(&mut bytes).unwrap();
        let result = std::panic::catch_unwind(|| {
            let reader = ParallelReader::with_chunks(&bytes[..], NonZero::new(4).unwrap(), 4_096).unwrap();
            let _ = reader.for_each(&mut Decoder::new(), |record, _, _| {
                if record.number == 500 {
                    std::panic::resume_unwind(Box::new(()));
                }
                Ok::<_, Infallible>(true)
            });
        });
        assert!(result.is_err());
    }

    #[test]
    fn an_error_of_the_source_comes_behind_what_was_read_before_it() {
        struct Failing(Vec<u8>);
        impl ReadAt for Failing {
            fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
                match self.0[..].read_at(buffer, offset)? {
                    0 => Err(io::Error::other("disk on fire")),
                    length => Ok(length),
                }
            }
        }
        let mut bytes = Vec::new();
        Workload { data_packets: 100, tunnel: None }.write_pcap(&mut bytes).unwrap();
        let (all, end) = (serial(&bytes).records.len(), bytes.len());
        for threads in [1, 2, 4] {
            let threads = NonZero::new(threads).unwrap();
            let reader = ParallelReader::with_chunks(Failing(bytes.clone()), threads, 4_096).unwrap();
            let mut count = 0;
            let ended = reader
                .for_each(&mut Decoder::new(), |_, _, _| {
                    count += 1;
                    Ok::<_, Infallible>(true)
                })
                .unwrap();
            assert_eq!(count, all);
            let fault = ended.fault.unwrap().to_string();
            assert_eq!(fault, format!("failed to read the capture at byte {end}: disk on fire"));
        }
        let error = ParallelReader::new(Failing(Vec::new()), NonZero::<usize>::MIN).err().unwrap();
        assert_eq!(error.to_string(), "failed to read the capture at byte 0: disk on fire");
    }
}
