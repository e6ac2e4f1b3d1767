//! The signature of an `InRelease` file, checked against the archive's keys.
//!
//! Input: the file's bytes and a set of armored keys; output: the text that was signed. A file may carry the
//! signatures of several keys, as Debian's do; one that is good is enough. Keys are trusted as they are given,
//! apart from their expiry; what links a subkey to its primary key is checked.

use std::time::{Duration, SystemTime};

use pgp::composed::{CleartextSignedMessage, Deserializable as _, SignedPublicKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{Signature, SignatureType};
use pgp::types::{Fingerprint, KeyDetails, VerifyingKey};

/// Longest time that another computer's clock may be ahead of ours.
pub(crate) const SKEW: Duration = Duration::from_secs(24 * 3600);

/// Parses a file of armored public keys.
///
/// # Errors
///
/// One of them is no key; the text says why.
pub(crate) fn keys(armored: &[u8]) -> Result<Vec<SignedPublicKey>, String> {
    const END: &str = "-----END PGP PUBLIC KEY BLOCK-----";
    let text = String::from_utf8_lossy(armored);
    let mut keys = Vec::new();
    for block in text.split_inclusive(END).filter(|block| block.contains(END)) {
        let (key, _) = SignedPublicKey::from_armor_single(block.trim_start().as_bytes())
            .map_err(|error| error.to_string())?;
        keys.push(key);
    }
    if keys.is_empty() { Err("no key in it".to_owned()) } else { Ok(keys) }
}

/// The text of `file`, if one of `keys` signed it; else a phrase that goes on from the file's name.
///
/// # Errors
///
/// No signed text; signed by none of the keys, or with one that is expired or a hash that is weak; changed.
pub(crate) fn signed_text(file: &[u8], keys: &[SignedPublicKey], now: SystemTime) -> Result<String, String> {
    let text = std::str::from_utf8(file).map_err(|_| "is no text".to_owned())?;
    let text = text.trim_start_matches('\u{feff}').trim_start();
    if !text.starts_with("-----BEGIN PGP SIGNED MESSAGE-----") {
        let head: String = text.chars().take(2000).collect::<String>().to_ascii_lowercase();
        return Err(if head.contains("<html") || head.contains("<!doctype") {
            "is a web page: no Debian mirror answers there, or a captive portal or proxy answers for it"
                .to_owned()
        } else if text.lines().any(|line| line.starts_with("Codename:")) {
            "is not signed".to_owned()
        } else {
            "is not a signed list: no Debian mirror answers there".to_owned()
        });
    }
    let (message, _) = CleartextSignedMessage::from_string(text)
        .map_err(|error| format!("is damaged: its signature cannot be read: {error}"))?;
    let signed = message.signed_text();
    let mut faults = Vec::new();
    for signature in message.signatures() {
        match check(signature, signed.as_bytes(), keys, now) {
            Ok(()) => return Ok(signed.replace("\r\n", "\n")),
            Err(fault) => faults.push(fault),
        }
    }
    faults.dedup();
    match faults.is_empty() {
        true => Err("is not signed".to_owned()),
        false => Err(faults.join("; ")),
    }
}

fn check(
    signature: &Signature,
    signed: &[u8],
    keys: &[SignedPublicKey],
    now: SystemTime,
) -> Result<(), String> {
    let weak = match signature.hash_alg() {
        Some(HashAlgorithm::Sha256 | HashAlgorithm::Sha384 | HashAlgorithm::Sha512) => None,
        other => Some(format!("{other:?}")),
    };
    let text = matches!(signature.typ(), Some(SignatureType::Text | SignatureType::Binary));
    for key in keys {
        if !signs(key, signature) {
            continue;
        }
        let name = key.fingerprint();
        if let Some(weak) = weak {
            return Err(format!("is signed by {name:X} with a hash that is too weak: {weak}"));
        }
        if !text || !verifies(key, signature, signed) {
            return Err(format!("has a signature of {name:X} that does not fit: the file was changed"));
        }
        let created = signature.created().map(SystemTime::from);
        if created.is_none_or(|created| created > now + SKEW) {
            return Err(format!("is signed by {name:X} at a time to come: is this computer's clock right?"));
        }
        if expiry(key).is_some_and(|expiry| expiry < now) {
            return Err(format!(
                "is signed by {name:X}, a key that has expired: a newer checkout of the lab has newer keys"
            ));
        }
        return Ok(());
    }
    let issuers: Vec<String> = match signature.issuer_fingerprint() {
        named if !named.is_empty() => named.iter().map(|issuer| format!("{issuer:X}")).collect(),
        _ => signature.issuer_key_id().iter().map(|issuer| issuer.to_string().to_uppercase()).collect(),
    };
    Err(format!("is signed by an unknown key, {}, which is none of the archive's", issuers.join(" ")))
}

/// True if the signature names `key` or a subkey as its issuer.
fn signs(key: &SignedPublicKey, signature: &Signature) -> bool {
    let fingerprints: Vec<Fingerprint> = parts(key).map(|part| part.fingerprint()).collect();
    let ids = parts(key).map(|part| part.legacy_key_id());
    signature.issuer_fingerprint().into_iter().any(|issuer| fingerprints.contains(issuer))
        || ids.into_iter().any(|id| signature.issuer_key_id().contains(&&id))
}

fn parts(key: &SignedPublicKey) -> impl Iterator<Item = &dyn KeyDetails> {
    let subkeys = key.public_subkeys.iter().map(|subkey| &subkey.key as &dyn KeyDetails);
    std::iter::once(&key.primary_key as &dyn KeyDetails).chain(subkeys)
}

fn verifies(key: &SignedPublicKey, signature: &Signature, signed: &[u8]) -> bool {
    fn fits(signature: &Signature, key: &impl VerifyingKey, signed: &[u8]) -> bool {
        signature.verify(key, signed).is_ok()
    }
    fits(signature, &key.primary_key, signed)
        || key.public_subkeys.iter().any(|subkey| {
            subkey.signatures.iter().any(|binding| binding.key_flags().sign())
                && subkey.verify_bindings(&key.primary_key).is_ok()
                && fits(signature, &subkey.key, signed)
        })
}

/// Time at which a key ends by its newest certificate of its own.
fn expiry(key: &SignedPublicKey) -> Option<SystemTime> {
    let own = key.details.users.iter().flat_map(|user| &user.signatures).filter(|signature| {
        signature.issuer_fingerprint().contains(&&key.fingerprint())
            || signature.issuer_key_id().contains(&&key.legacy_key_id())
    });
    let newest = own.max_by_key(|signature| signature.created())?;
    let lifetime = Duration::from(newest.key_expiration_time()?);
    (!lifetime.is_zero()).then(|| SystemTime::from(key.created_at()) + lifetime)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The keys that lab checks Debian's mirrors with, as `lab/src/host/packages/keys` documents them.
    const ARCHIVE: [(&[u8], &str); 4] = [
        (
            include_bytes!("../../src/host/packages/keys/debian-archive-bookworm-automatic.asc"),
            "B8B80B5B623EAB6AD8775C45B7C5D7D6350947F8",
        ),
        (
            include_bytes!("../../src/host/packages/keys/debian-archive-bookworm-stable.asc"),
            "4D64FEC119C2029067D6E791F8D2585B8783D481",
        ),
        (
            include_bytes!("../../src/host/packages/keys/debian-archive-trixie-automatic.asc"),
            "04B54C3CDCA79751B16BC6B5225629DF75B188BD",
        ),
        (
            include_bytes!("../../src/host/packages/keys/debian-archive-trixie-stable.asc"),
            "41587F7DB8C774BCCF131416762F67A0B2C39DE4",
        ),
    ];

    #[test]
    fn archive_keys_are_those_that_are_documented() {
        for (armored, fingerprint) in ARCHIVE {
            let keys = keys(armored).unwrap();
            assert_eq!(keys.len(), 1);
            assert_eq!(format!("{:X}", keys[0].fingerprint()), fingerprint);
            let expiry = expiry(&keys[0]).unwrap();
            let years = expiry.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() / 31_557_600;
            assert!((60..66).contains(&years), "{fingerprint} ends in {}", 1970 + years);
        }
    }
}
