//! Kept artifacts whose capture is altered.

use std::fs;
use std::ops::Range;
use std::path::Path;

use roce::capture::Reader;

use crate::base::error::{Error, IoContext as _, Result};
use crate::wire::capture::CAPTURE;

/// A change to a capture's bytes; `None` leaves no file.
pub type Alter = fn(&[u8]) -> Result<Option<Vec<u8>>>;

/// Copies the artifacts of a run, the capture altered.
///
/// # Errors
///
/// A file cannot be read or written, or the capture has not what is to be altered.
pub fn copy(from: &Path, to: &Path, alter: Alter) -> Result<()> {
    fs::create_dir_all(to).at("failed to create", to)?;
    for entry in fs::read_dir(from).at("failed to list", from)? {
        let path = entry.at("failed to list", from)?.path();
        let target = to.join(path.file_name().unwrap_or_default());
        if !path.ends_with(CAPTURE) {
            fs::copy(&path, &target).at("failed to copy to", &target)?;
            continue;
        }
        let bytes = fs::read(&path).at("failed to read", &path)?;
        if let Some(altered) = alter(&bytes)? {
            fs::write(&target, altered).at("failed to write", &target)?;
        }
    }
    Ok(())
}

/// Alters nothing.
///
/// # Errors
///
/// None.
pub fn nothing(capture: &[u8]) -> Result<Option<Vec<u8>>> {
    Ok(Some(capture.to_vec()))
}

/// Takes the WRITE with immediate out.
///
/// # Errors
///
/// There is none.
pub fn drop_write(capture: &[u8]) -> Result<Option<Vec<u8>>> {
    drop_packet(capture, "RC RDMA WRITE Only with Immediate")
}

/// Takes the acknowledgement out.
///
/// # Errors
///
/// There is none.
pub fn drop_acknowledge(capture: &[u8]) -> Result<Option<Vec<u8>>> {
    drop_packet(capture, "RC Acknowledge")
}

/// Takes the first packet in the middle of a READ response out.
///
/// # Errors
///
/// There is none.
pub fn drop_read_response(capture: &[u8]) -> Result<Option<Vec<u8>>> {
    drop_packet(capture, "RC RDMA READ response Middle")
}

/// Flips a bit of the WRITE's payload.
///
/// # Errors
///
/// There is no such WRITE.
pub fn flip_payload_bit(capture: &[u8]) -> Result<Option<Vec<u8>>> {
    let record = find(capture, "RC RDMA WRITE Only with Immediate")?;
    let mut altered = capture.to_vec();
    // The text of the second sample.
    let text = b"client-wrote-with-imm";
    let at = capture[record.clone()].windows(text.len()).position(|window| window == text);
    let at = at.ok_or_else(|| Error::setup("the WRITE of the capture has another text"))?;
    altered[record.start + at] ^= 1;
    Ok(Some(altered))
}

/// Leaves out the last bytes, as a full disk does.
///
/// # Errors
///
/// None.
pub fn cut(capture: &[u8]) -> Result<Option<Vec<u8>>> {
    Ok(Some(capture[..capture.len().saturating_sub(10)].to_vec()))
}

/// Leaves an empty file.
///
/// # Errors
///
/// None.
pub fn empty(_: &[u8]) -> Result<Option<Vec<u8>>> {
    Ok(Some(Vec::new()))
}

/// Leaves no file.
///
/// # Errors
///
/// None.
pub fn remove(_: &[u8]) -> Result<Option<Vec<u8>>> {
    Ok(None)
}

fn drop_packet(capture: &[u8], opcode: &str) -> Result<Option<Vec<u8>>> {
    let record = find(capture, opcode)?;
    Ok(Some([&capture[..record.start], &capture[record.end..]].concat()))
}

/// Bytes of the first packet with this opcode.
fn find(capture: &[u8], opcode: &str) -> Result<Range<usize>> {
    let failed = |source| Error::setup("failed to read the capture of a green run").source(source);
    let mut reader = Reader::new(capture).map_err(failed)?;
    loop {
        let start = reader.offset() as usize;
        let Some(record) = reader.next().map_err(failed)? else {
            return Err(Error::setup(format!("the capture of a green run has no {opcode}")));
        };
        let found = record.frame().packet().and_then(|packet| packet.opcode());
        if found.is_some_and(|found| found.to_string() == opcode) {
            return Ok(start..reader.offset() as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The WRITE and READ of a capture, as the lab writes it.
    fn capture() -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut writer = roce::capture::Writer::new(&mut bytes, &["server", "client"]).unwrap();
        for frame in roce::synth::Pair::new(1).write_then_read() {
            writer.write(1, 1_000, &frame, "fate=forwarded").unwrap();
        }
        writer.finish().unwrap();
        bytes
    }

    fn packets(capture: &[u8]) -> usize {
        let mut reader = Reader::new(capture).unwrap();
        std::iter::from_fn(|| reader.next().unwrap().map(|_| ())).count()
    }

    #[test]
    fn one_packet_is_taken_out_and_the_rest_can_be_read() {
        let whole = capture();
        let dropped = drop_read_response(&whole).unwrap().unwrap();
        assert_eq!(packets(&dropped) + 1, packets(&whole));
        let error = drop_write(&whole).unwrap_err().to_string();
        assert!(error.contains("has no RC RDMA WRITE Only with Immediate"), "{error}");
    }

    #[test]
    fn artifacts_are_copied_with_or_without_a_capture() {
        let directory = tempfile::tempdir().unwrap();
        let [from, to, other] = ["from", "to", "other"].map(|name| directory.path().join(name));
        fs::create_dir(&from).unwrap();
        fs::write(from.join("evidence.json"), "{}").unwrap();
        fs::write(from.join(CAPTURE), capture()).unwrap();
        copy(&from, &to, cut).unwrap();
        assert_eq!(fs::metadata(to.join(CAPTURE)).unwrap().len() + 10, capture().len() as u64);
        copy(&from, &other, remove).unwrap();
        assert!(other.join("evidence.json").is_file() && !other.join(CAPTURE).exists());
    }
}
