//! Good mirrors, and each kind of bad one with the cause that is named.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, SystemTime};

use pgp::composed::{
    ArmorOptions, CleartextSignedMessage, EncryptionCaps, KeyType, SecretKeyParamsBuilder, SignedPublicKey,
    SignedSecretKey,
};
use pgp::types::Password;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::server::{Reply, Server};

const DEB: &[u8] = b"the archive of hello";
const RELEASE: &str = "/dists/test/InRelease";
const LIST: &str = "/dists/test/main/binary-amd64/Packages.xz";
const ARCHIVE: &str = "/pool/hello.deb";

/// A mirror with one package that depends on another, its key, and a directory for the program.
struct Mirror {
    server: Server,
    key: SignedSecretKey,
    directory: tempfile::TempDir,
}

fn key() -> SignedSecretKey {
    let mut params = SecretKeyParamsBuilder::default();
    params
        .key_type(KeyType::Ed25519Legacy)
        .can_certify(true)
        .can_sign(true)
        .can_encrypt(EncryptionCaps::None)
        .primary_user_id("Archive of a Test <archive@example.org>".into());
    params.build().unwrap().generate(rand::thread_rng()).unwrap()
}

fn sha256_hex(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

fn list() -> Vec<u8> {
    let stanza = |name: &str, fields: &str| {
        format!(
            "Package: {name}\nVersion: 1:2.0-1\nArchitecture: amd64\n{fields}Filename: pool/{name}.deb\nSize: {}\n\
             SHA256: {}\nDescription: of a test\n\n",
            DEB.len(),
            sha256_hex(DEB)
        )
    };
    let text = stanza("hello", "Depends: world (>= 1:2)\nRecommends: nosuch\n") + &stanza("world", "");
    let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

/// The text of an InRelease file made `age` ago, with more fields of its own.
fn release(fields: &str, age: Duration) -> String {
    let date = httpdate::fmt_http_date(SystemTime::now() - age).replace("GMT", "UTC");
    let list = list();
    format!(
        "Origin: Test\nCodename: test\nDate: {date}\n{fields}SHA256:\n {} {} main/binary-amd64/Packages.xz\n",
        sha256_hex(&list),
        list.len()
    )
}

fn signed(text: &str, key: &SignedSecretKey) -> Vec<u8> {
    let message =
        CleartextSignedMessage::sign(rand::thread_rng(), text, &key.primary_key, &Password::empty()).unwrap();
    message.to_armored_bytes(ArmorOptions::default()).unwrap()
}

impl Mirror {
    fn new() -> Mirror {
        Mirror::at(Server::start(Reply::Status("404 Not Found")))
    }

    fn at(server: Server) -> Mirror {
        let mirror = Mirror { server, key: key(), directory: tempfile::tempdir().unwrap() };
        let public = SignedPublicKey::from(mirror.key.clone());
        fs::write(mirror.keys(), public.to_armored_bytes(ArmorOptions::default()).unwrap()).unwrap();
        mirror.sign("");
        mirror.server.set(LIST, Reply::Whole(list()));
        mirror.server.set(ARCHIVE, Reply::Whole(DEB.to_vec()));
        mirror.server.set("/pool/world.deb", Reply::Whole(DEB.to_vec()));
        mirror
    }

    /// Signs a release that has more fields.
    fn sign(&self, fields: &str) {
        let text = release(fields, Duration::from_secs(60));
        self.server.set(RELEASE, Reply::Whole(signed(&text, &self.key)));
    }

    fn keys(&self) -> PathBuf {
        self.directory.path().join("keys.asc")
    }

    fn update(&self) -> Result<Value, String> {
        self.update_from(&self.server.url(), &[])
    }

    fn update_from(&self, address: &str, variables: &[(&str, &str)]) -> Result<Value, String> {
        let keys = self.keys();
        self.run(&["update", ".", address, "test", keys.to_str().unwrap()], variables)
    }

    fn download(&self) -> Result<Value, String> {
        self.run(&["download", ".", "archives", "hello"], &[])
    }

    /// The program's answer, or both texts of its error.
    fn run(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Result<Value, String> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_debian-fetcher"));
        command.args(arguments).current_dir(self.directory.path());
        for name in ["SSL_CERT_FILE", "SSL_CERT_DIR"] {
            command.env_remove(name);
        }
        for name in ["http_proxy", "https_proxy", "all_proxy", "no_proxy"] {
            command.env_remove(name).env_remove(name.to_uppercase());
        }
        let output = command.envs(variables.iter().copied()).output().unwrap();
        let reply: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(i32::from(reply.get("error").is_some())), "{reply}");
        match reply.get("error") {
            Some(error) => Err(format!("{}; {}", error["what"], error["next"])),
            None => Ok(reply["answer"].clone()),
        }
    }
}

#[track_caller]
fn assert_names(result: Result<Value, String>, words: &[&str]) {
    let text = result.unwrap_err();
    for word in words {
        assert!(text.contains(word), "{word:?} in {text}");
    }
    assert!(text.contains("RDMA_LAB_DEBIAN_MIRROR"), "what to do next: {text}");
}

#[test]
fn good_mirror_gives_packages_with_what_they_depend_on() {
    let mirror = Mirror::new();
    mirror.update().unwrap();
    assert_eq!(mirror.run(&["depends", ".", "hello"], &[]).unwrap()[0], "world");
    assert_eq!(mirror.run(&["depends", ".", "world"], &[]).unwrap().as_array().unwrap().len(), 0);
    let shown = mirror.run(&["show", ".", "hello"], &[]).unwrap();
    assert_eq!(shown[0]["file"], "hello_1%3a2.0-1_amd64.deb");
    assert_eq!((shown[0]["size_bytes"].as_u64(), shown[1].as_object()), (Some(DEB.len() as u64), None));
    assert_eq!(mirror.run(&["resolve", ".", "hello"], &[]).unwrap().as_array().unwrap().len(), 2);
    let files = mirror.download().unwrap();
    for file in files.as_array().unwrap() {
        assert_eq!(fs::read(mirror.directory.path().join(file.as_str().unwrap())).unwrap(), DEB);
    }
    // What is there is not fetched again.
    let before = mirror.server.asked().len();
    mirror.download().unwrap();
    assert_eq!(mirror.server.asked().len(), before);
    assert!(mirror.run(&["show", ".", "nosuch"], &[]).unwrap_err().contains("no package nosuch"));
}

#[test]
fn list_is_asked_for_by_its_checksum_where_the_mirror_has_it_so() {
    let mirror = Mirror::new();
    mirror.sign("Acquire-By-Hash: yes\n");
    let path = format!("/dists/test/main/binary-amd64/by-hash/SHA256/{}", sha256_hex(&list()));
    mirror.update().unwrap();
    mirror.server.set(&path, Reply::Whole(list()));
    mirror.server.set(LIST, Reply::Whole(b"of tomorrow".to_vec()));
    mirror.update().unwrap();
}

#[test]
fn directory_is_a_mirror() {
    let mirror = Mirror::new();
    let root = mirror.directory.path().join("a mirror");
    let put = |path: &str, bytes: &[u8]| {
        let path = root.join(&path[1..]);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    };
    put(RELEASE, &signed(&release("", Duration::from_secs(60)), &mirror.key));
    put(LIST, &list());
    put(ARCHIVE, DEB);
    put("/pool/world.deb", DEB);
    mirror.update_from(&format!("file://{}", root.display()), &[]).unwrap();
    mirror.download().unwrap();
    assert_eq!(mirror.server.asked(), [""; 0]);
    assert_names(mirror.update_from("ftp://mirror.example.org/debian", &[]), &["http", "ftp://"]);
}

#[test]
fn https_is_believed_by_the_certificates_of_this_host() {
    let (server, certificate) = Server::start_tls(Reply::Status("404 Not Found"));
    let mirror = Mirror::at(server);
    let roots = mirror.directory.path().join("roots.pem");
    fs::write(&roots, certificate).unwrap();
    let url = mirror.server.url();
    assert!(url.starts_with("https://"), "{url}");
    // Not those of this host's own.
    let unknown = mirror.update_from(&url, &[]);
    assert_names(unknown, &["certificate", "SSL_CERT_FILE"]);
    let roots = [("SSL_CERT_FILE", roots.to_str().unwrap())];
    mirror.update_from(&url, &roots).unwrap();
    mirror.run(&["download", ".", "archives", "hello"], &roots).unwrap();
}

#[test]
fn redirection_is_followed() {
    let mirror = Mirror::new();
    let front = Server::start(Reply::Elsewhere(mirror.server.url()));
    mirror.update_from(&front.url(), &[]).unwrap();
    mirror.download().unwrap();
}

#[test]
fn proxy_is_asked_for_whole_addresses() {
    let mirror = Mirror::new();
    let proxy = mirror.server.url();
    mirror.update_from("http://mirror.example.org", &[("http_proxy", &proxy)]).unwrap();
    assert_eq!(mirror.server.asked()[0], format!("http://mirror.example.org{RELEASE}"));
    let none = [("http_proxy", "http://127.0.0.1:9"), ("no_proxy", "127.0.0.1")];
    mirror.update_from(&mirror.server.url(), &none).unwrap();
}

#[test]
fn proxy_that_refuses_is_named_without_its_password() {
    let mirror = Mirror::new();
    for (status, cause) in
        [("407 Proxy Authentication Required", "the proxy refuses: 407"), ("403 Forbidden", "403 Forbidden")]
    {
        let proxy = Server::start(Reply::Status(status)).url();
        let secret = proxy.replace("http://", "http://me:secret@");
        let result = mirror.update_from("http://mirror.example.org", &[("http_proxy", &secret)]);
        assert!(!result.as_ref().unwrap_err().contains("secret"));
        assert_names(result, &[cause, &format!("through the proxy {proxy}"), "no_proxy"]);
    }
    let proxy = Server::start(Reply::Status("403 Forbidden")).url();
    let result = mirror.update_from("https://mirror.example.org", &[("https_proxy", &proxy)]);
    assert_names(result, &["the proxy refuses: 403"]);
}

#[test]
fn no_network_is_named() {
    let mirror = Mirror::new();
    // Nothing listens on the port of discard.
    assert_names(mirror.update_from("http://127.0.0.1:9", &[]), &["127.0.0.1:9/dists", "refused", "network"]);
}

#[test]
fn address_without_a_mirror_is_told_from_a_captive_portal() {
    let mirror = Mirror::new();
    let nothing = Server::start(Reply::Status("404 Not Found"));
    assert_names(
        mirror.update_from(&nothing.url(), &[]),
        &["no Debian mirror, or has no release test", "404"],
    );
    let portal = Server::start(Reply::Whole(b"<!DOCTYPE html><html>Log in, please".to_vec()));
    assert_names(mirror.update_from(&portal.url(), &[]), &["web page", "captive portal"]);
}

#[test]
fn unsigned_release_is_refused() {
    let mirror = Mirror::new();
    let text = release("", Duration::from_secs(60));
    mirror.server.set(RELEASE, Reply::Whole(text.into_bytes()));
    assert_names(mirror.update(), &["InRelease is not signed"]);
}

#[test]
fn unknown_key_is_named() {
    let mirror = Mirror::new();
    let other = key();
    let text = release("", Duration::from_secs(60));
    mirror.server.set(RELEASE, Reply::Whole(signed(&text, &other)));
    let fingerprint = format!("{:X}", pgp::types::KeyDetails::fingerprint(&other.primary_key));
    assert_names(mirror.update(), &["unknown key", &fingerprint]);
}

#[test]
fn release_that_was_changed_is_refused() {
    let mirror = Mirror::new();
    let text = release("", Duration::from_secs(60));
    let file = String::from_utf8(signed(&text, &mirror.key)).unwrap();
    for (from, to) in [("Origin: Test", "Origin: Best"), ("SHA256:\n", "SHA256:\n 00 1 main/x\n")] {
        mirror.server.set(RELEASE, Reply::Whole(file.replace(from, to).into_bytes()));
        assert_names(mirror.update(), &["does not fit", "changed"]);
    }
    // What stands before or behind what is signed was not signed.
    for forged in [format!("Codename: test\n{file}"), format!("{file}\nCodename: test\n")] {
        mirror.server.set(RELEASE, Reply::Whole(forged.into_bytes()));
        mirror.update().unwrap_err();
    }
}

#[test]
fn release_of_another_time_or_name_is_refused() {
    let mirror = Mirror::new();
    mirror.sign("Valid-Until: Sat, 05 Sep 2020 10:00:00 UTC\n");
    assert_names(mirror.update(), &["valid until Sat, 05 Sep 2020", "stale"]);
    let text = release("", Duration::ZERO).replace("Codename: test", "Codename: other");
    mirror.server.set(RELEASE, Reply::Whole(signed(&text, &mirror.key)));
    assert_names(mirror.update(), &["release other, not of test"]);
    let text = release("", Duration::ZERO).replace("Date: ", "Date: Sat, 05 Sep 2099 10:00:00 UTC\nX: ");
    mirror.server.set(RELEASE, Reply::Whole(signed(&text, &mirror.key)));
    assert_names(mirror.update(), &["time to come", "clock"]);
}

#[test]
fn list_that_is_changed_or_gone_tells_of_a_stale_mirror() {
    let mirror = Mirror::new();
    let mut changed = list();
    changed[20] ^= 1;
    mirror.server.set(LIST, Reply::Whole(changed));
    assert_names(mirror.update(), &["Packages.xz", "SHA-256", "stale"]);
    mirror.server.set(LIST, Reply::Status("404 Not Found"));
    assert_names(mirror.update(), &["Packages.xz", "404", "stale"]);
}

#[test]
fn archive_that_is_changed_gone_or_cut_is_named_and_not_kept() {
    let mirror = Mirror::new();
    mirror.update().unwrap();
    let mut changed = DEB.to_vec();
    changed[3] ^= 1;
    let longer = [DEB, b"more"].concat();
    for (reply, words) in [
        (Reply::Whole(changed), ["SHA-256", "changed"]),
        (Reply::Whole(longer), ["SHA-256", "changed"]),
        (Reply::Status("404 Not Found"), ["404", "disagree"]),
        (Reply::Cut(DEB.to_vec(), 5), ["cut", "5 of 20 bytes"]),
        (Reply::Status("503 Service Unavailable"), ["503", "network"]),
    ] {
        mirror.server.set(ARCHIVE, reply);
        assert_names(mirror.download(), &[&["hello.deb"], &words[..]].concat());
        let kept = mirror.directory.path().join("archives/hello_1%3a2.0-1_amd64.deb");
        assert!(!kept.exists());
    }
    // A damaged one from before is fetched again.
    mirror.server.set(ARCHIVE, Reply::Whole(DEB.to_vec()));
    fs::write(mirror.directory.path().join("archives/hello_1%3a2.0-1_amd64.deb"), b"half").unwrap();
    mirror.download().unwrap();
    let left: Vec<_> = fs::read_dir(mirror.directory.path().join("archives")).unwrap().collect();
    assert_eq!(left.len(), 2, "nothing but the archives is left: {left:?}");
}

#[test]
fn directory_that_cannot_be_written_is_named() {
    let mirror = Mirror::new();
    mirror.update().unwrap();
    fs::write(mirror.directory.path().join("blocked"), b"").unwrap();
    let result = mirror.run(&["download", ".", "blocked/archives", "hello"], &[]);
    let text = result.unwrap_err();
    assert!(text.contains("blocked/archives") && text.contains("RDMA_LAB_CACHE"), "{text}");
}
