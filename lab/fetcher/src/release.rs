//! Contents of an `InRelease` file, once its signature is checked.

use std::time::SystemTime;

use crate::signature::SKEW;
use crate::transfer::ExpectedFile;

/// The end of an `InRelease` file's validity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Validity {
    /// Has to lie ahead: what a mirror that is kept up to date has.
    Demanded,
    /// May have passed: a snapshot of the archive stays as it was.
    Ignored,
}

/// The signed text of an `InRelease` file.
#[derive(Debug)]
pub(crate) struct SignedRelease {
    text: String,
}

impl SignedRelease {
    /// # Errors
    ///
    /// Text of another release, from a time to come, or no longer valid: a phrase that goes on from the
    /// file's name.
    pub(crate) fn new(
        text: String,
        codename: &str,
        now: SystemTime,
        validity: Validity,
    ) -> Result<SignedRelease, String> {
        let release = SignedRelease { text };
        let found = release.field("Codename").unwrap_or("no name at all");
        if found != codename {
            return Err(format!("is of the release {found}, not of {codename}"));
        }
        if release.time("Date")? > now + SKEW {
            let date = release.field("Date").unwrap_or_default();
            return Err(format!("was made at {date}, a time to come: is this computer's clock right?"));
        }
        if validity == Validity::Demanded
            && let Some(until) = release.field("Valid-Until")
            && release.time("Valid-Until")? < now
        {
            return Err(format!(
                "was valid until {until}: the mirror is stale, or this computer's clock is wrong; if it is a \
                 snapshot, RDMA_LAB_EXPIRED_LISTS=1 takes it"
            ));
        }
        Ok(release)
    }

    /// True if files can be asked for by their checksum, which a mirror keeps while it is updated.
    pub(crate) fn has_files_by_hash(&self) -> bool {
        self.field("Acquire-By-Hash") == Some("yes")
    }

    /// The checksum and size of the list `path`.
    pub(crate) fn list(&self, path: &str) -> Option<ExpectedFile<'_>> {
        let mut lines = self.text.lines().skip_while(|line| *line != "SHA256:").skip(1);
        lines.by_ref().take_while(|line| line.starts_with(' ')).find_map(|line| {
            let mut words = line.split_whitespace();
            let (sha256, size_bytes, name) = (words.next()?, words.next()?, words.next()?);
            (name == path).then(|| Some(ExpectedFile { size_bytes: size_bytes.parse().ok()?, sha256 }))?
        })
    }

    fn field(&self, name: &str) -> Option<&str> {
        self.text.lines().find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(':')?.trim()))
    }

    /// A time as in `Sat, 06 Sep 2025 09:58:42 UTC`.
    fn time(&self, name: &str) -> Result<SystemTime, String> {
        let text = self.field(name).unwrap_or_default();
        let normal = text.replace("UTC", "GMT").replace("+0000", "GMT");
        // Some archives write a day of one digit.
        let normal = match normal.split_once(", ") {
            Some((day, rest)) if rest.find(' ') == Some(1) => format!("{day}, 0{rest}"),
            _ => normal,
        };
        httpdate::parse_http_date(&normal).map_err(|_| format!("has no {name} that can be read: {text:?}"))
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    const TEXT: &str = "Origin: Debian\nCodename: bookworm\nDate: Sat, 6 Sep 2025 10:00:00 UTC\n\
        Valid-Until: Sat, 13 Sep 2025 10:00:00 UTC\nAcquire-By-Hash: yes\nMD5Sum:\n 11 5 main/x\n\
        SHA256:\n 22 6 main/x\n 33 7 main/y\nDescription: z\n 44 8 main/z\n";

    fn at(text: &str) -> SystemTime {
        httpdate::parse_http_date(text).unwrap()
    }

    fn release(now: &str) -> Result<SignedRelease, String> {
        SignedRelease::new(TEXT.to_owned(), "bookworm", at(now), Validity::Demanded)
    }

    #[test]
    fn lists_are_found_among_sha256_alone() {
        let release = release("Sat, 06 Sep 2025 11:00:00 GMT").unwrap();
        assert!(release.has_files_by_hash());
        assert_eq!(release.list("main/x").map(|list| (list.sha256, list.size_bytes)), Some(("22", 6)));
        assert!(release.list("main/z").is_none());
    }

    #[test]
    fn time_is_checked_on_both_sides() {
        release("Sat, 13 Sep 2025 09:59:59 GMT").unwrap();
        let late = release("Sat, 13 Sep 2025 10:00:01 GMT").unwrap_err();
        assert!(late.contains("valid until Sat, 13 Sep 2025") && late.contains("stale"), "{late}");
        release("Fri, 05 Sep 2025 10:00:01 GMT").unwrap();
        assert!(release("Fri, 05 Sep 2025 09:59:59 GMT").unwrap_err().contains("clock"));
        let unread = SignedRelease::new(
            "Codename: a\nDate: soon\n".to_owned(),
            "a",
            UNIX_EPOCH + Duration::ZERO,
            Validity::Demanded,
        );
        assert!(unread.unwrap_err().contains("\"soon\""));
    }

    #[test]
    fn snapshot_is_taken_when_its_validity_has_ended_and_not_from_a_time_to_come() {
        let taken =
            |now| SignedRelease::new(TEXT.to_owned(), "bookworm", at(now), Validity::Ignored).map(drop);
        taken("Sat, 13 Sep 2025 10:00:01 GMT").unwrap();
        assert!(taken("Fri, 05 Sep 2025 09:59:59 GMT").unwrap_err().contains("clock"));
    }

    #[test]
    fn other_release_is_named() {
        let other = SignedRelease::new(TEXT.to_owned(), "trixie", UNIX_EPOCH, Validity::Demanded);
        let other = other.unwrap_err();
        assert!(other.contains("bookworm") && other.contains("trixie"), "{other}");
    }
}
