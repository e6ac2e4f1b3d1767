//! Every decoded field against tshark, 4.0 and 4.4.
//!
//! `cargo test -p roce --test tshark -- --ignored` compares a synthetic capture and every fixture; with `ROCE_CAPTURE=FILE` it compares that file as well.
//! tshark prints ImmDt and IETH twice, so only first occurrences are compared, and of addresses and ports the last, for those before are a tunnel's. It guesses at payloads: a short SEND it takes for Ethernet or for RPC, calls
//! malformed and then shows no ICRC, so its guessing at RPC is turned off, and what it could not decode to the end is compared as far as it got.
#![cfg(feature = "synth")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use roce::capture::{Reader, Writer};
use roce::fields::tshark_fields;
use roce::synth::{Pair, Tunnel, fragments, with_extensions};
use roce::wire::{Decoder, Frame};

/// tshark's field of a packet that it could not decode to its end.
const MALFORMED: &str = "_ws.malformed";

/// Packet number and field name to value.
type Fields = BTreeMap<(u64, String), String>;

fn ours(path: &Path) -> Fields {
    let mut reader = Reader::new(std::fs::File::open(path).unwrap()).unwrap();
    let mut fields = Fields::new();
    let mut decoder = Decoder::new();
    while let Some(record) = reader.next().unwrap() {
        let Frame::Roce(packet) = decoder.decode(record.link_type, record.data) else {
            continue;
        };
        for (name, value) in tshark_fields(&packet) {
            fields.entry((record.number, name.to_owned())).or_insert(value);
        }
        if let Some(comment) = record.comment {
            fields.insert((record.number, "frame.comment".to_owned()), comment.to_owned());
        }
    }
    fields
}

fn tsharks(path: &Path, names: &[&str]) -> Fields {
    let output = Command::new("tshark")
        .arg("-r")
        .arg(path)
        // Whether a control word follows a label is nowhere in the packet: tshark is told of the synthetic one.
        .args(if path.to_string_lossy().contains("ControlWord") {
            &["-d", "mpls.label==101,pwethcw"][..]
        } else {
            &[]
        })
        .args([
            "--disable-protocol",
            "rpcordma",
            "-T",
            "fields",
            "-E",
            "separator=|",
            "-E",
            "occurrence=a",
            "-E",
            "aggregator=/s",
            "-e",
            "frame.number",
            "-e",
            MALFORMED,
        ])
        .args(names.iter().flat_map(|name| ["-e", name]))
        .output()
        .expect("tshark must run");
    assert!(output.status.success(), "tshark failed: {}", String::from_utf8_lossy(&output.stderr));
    let mut fields = Fields::new();
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        let mut values = line.split('|');
        let number: u64 = values.next().unwrap().parse().unwrap();
        let malformed = values.next().unwrap();
        if !malformed.is_empty() {
            fields.insert((number, MALFORMED.to_owned()), malformed.to_owned());
        }
        for (name, value) in names.iter().zip(values).filter(|(_, value)| !value.is_empty()) {
            // Of what every tunnel has again the innermost counts, which is last.
            let is_network = ["ip.", "ipv6.", "udp."].iter().any(|layer| name.starts_with(layer));
            let is_text = name.starts_with("frame.");
            let mut occurrences = value.split(' ');
            let one = if is_network { occurrences.next_back() } else { occurrences.next() };
            let value = match one.unwrap_or_default() {
                _ if is_text => value,
                // Of version 4.2 and later.
                "True" => "1",
                "False" => "0",
                one => one,
            };
            fields.insert((number, (*name).to_owned()), value.to_owned());
        }
    }
    fields
}

fn compare(path: &Path) {
    let ours = ours(path);
    let mut names: Vec<&str> = ours.keys().map(|(_, name)| name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let tsharks = tsharks(path, &names);
    let is_roce = |number| {
        ["udp.dstport", "infiniband.grh.nxthdr"]
            .iter()
            .any(|name| ours.contains_key(&(number, (*name).to_owned())))
    };
    let mut differences = String::new();
    for key in ours.keys().chain(tsharks.keys().filter(|key| !ours.contains_key(*key) && is_roce(key.0))) {
        let (mine, theirs) = (ours.get(key), tsharks.get(key));
        let is_undecoded = theirs.is_none() && tsharks.contains_key(&(key.0, MALFORMED.to_owned()));
        if mine != theirs && !is_undecoded && key.1 != MALFORMED {
            differences += &format!("packet {} {}: ours {mine:?}, tshark's {theirs:?}\n", key.0, key.1);
        }
    }
    assert!(differences.is_empty(), "{} fields compared, these differ:\n{differences}", ours.len());
    assert!(ours.len() > 100);
    println!("{}: {} fields of {} names are equal", path.display(), ours.len(), names.len());
}

fn synthetic() -> Vec<Vec<u8>> {
    let pair = Pair::new(1);
    let (va, rkey) = (pair.passive.va, pair.passive.rkey);
    let mut frames = pair.write_then_read();
    frames.extend(pair.write_with_immediate());
    frames.extend([
        pair.rej(28, b"no"),
        pair.request(0x04, 7).payload(&[0x5a; 21]).build(),
        pair.request(0x17, 7).header(&rkey.to_be_bytes()).payload(&[0x5a; 21]).build(),
        pair.request(0x05, 7).header(&[1, 2, 3, 4]).payload(&[0x5a; 21]).build(),
        pair.request(0x2a, 7).reth(va, rkey, 4).payload(b"four").build(),
        pair.request(0x13, 8).atomic_eth(va, rkey, 5, 6).build(),
        pair.request(0x14, 9).atomic_eth(va, rkey, 5, 0).build(),
        pair.response(0x12, 8).aeth(0x1f, 9).header(&77u64.to_be_bytes()).build(),
        pair.response(0x11, 8).aeth(0x2e, 9).build(),
        pair.response(0x11, 8).aeth(0x62, 9).build(),
        pair.request(0x64, 8).deth(0x1111_1111, 0x77).payload(b"datagram").build(),
        pair.request(0x65, 8).deth(0x1111_1111, 0x77).header(&[0, 0, 0, 9]).payload(b"datagram").build(),
        pair.request(0x04, 7).vlan(12).payload(&[0x5a; 21]).build(),
    ]);
    frames
}

/// Compares a capture of these frames.
fn compare_frames(what: &str, frames: &[Vec<u8>]) {
    let path = std::env::temp_dir().join(format!("roce-fields-{}-{what}.pcapng", std::process::id()));
    let mut writer = Writer::new(std::fs::File::create(&path).unwrap(), &["server", "client"]).unwrap();
    for (at, frame) in frames.iter().enumerate() {
        writer.write(at as u32 % 2, at as u64, frame, "fate=forwarded").unwrap();
    }
    writer.finish().unwrap();
    compare(&path);
    std::fs::remove_file(&path).unwrap();
}

/// A pair with addresses of IPv6.
fn version_6() -> Pair {
    let mut pair = Pair::new(1);
    pair.active.address = "2001:db8:1::2".parse().unwrap();
    pair.passive.address = "2001:db8:1::1".parse().unwrap();
    pair
}

#[test]
#[ignore = "needs tshark"]
fn every_field_in_every_tunnel_is_what_tshark_prints() {
    for tunnel in Tunnel::ALL {
        for (what, mut frames) in [("4", synthetic()), ("6", version_6().write_then_read())] {
            if tunnel == Tunnel::MplsEthernet {
                // tshark takes the beginning of many an address for a control word, and not of this one.
                frames.iter_mut().for_each(|frame| frame[0] = 0xa2);
            }
            let wrapped: Vec<Vec<u8>> = frames.iter().map(|frame| tunnel.wrap(frame)).collect();
            compare_frames(&format!("{tunnel:?}-{what}").replace(['(', ')'], "-"), &wrapped);
        }
    }
    let twice: Vec<Vec<u8>> =
        synthetic().iter().map(|frame| Tunnel::ErspanII.wrap(&Tunnel::Vxlan(4789).wrap(frame))).collect();
    compare_frames("twice", &twice);
}

#[test]
#[ignore = "needs tshark"]
fn fields_of_version_1_behind_extensions_and_in_fragments_are_what_tshark_prints() {
    let pair = Pair::new(1);
    let version_1: Vec<Vec<u8>> = (0..9)
        .flat_map(|n| {
            let request =
                pair.request(0x0a, n).reth(pair.passive.va, pair.passive.rkey, 6).payload(b"sixsix");
            [request.build_version_1(), pair.response(0x11, n).aeth(0x1f, n + 1).build_version_1()]
        })
        .collect();
    compare_frames("version-1", &version_1);
    let frames = version_6().write_then_read();
    let extended: Vec<Vec<u8>> = frames.iter().map(|frame| with_extensions(frame, 0)).collect();
    compare_frames("extensions", &extended);
    // Equal numbers in the fragments of two packets are nobody's fault here, so each packet has its own.
    let pieces: Vec<Vec<u8>> = pair
        .write_then_read()
        .iter()
        .enumerate()
        .flat_map(|(at, frame)| {
            let mut pieces = fragments(frame, 256);
            pieces.iter_mut().for_each(|piece| piece[19] = at as u8);
            pieces
        })
        .collect();
    compare_frames("fragments", &pieces);
}

#[test]
#[ignore = "needs tshark"]
fn every_field_is_what_tshark_prints() {
    compare_frames("synthetic", &synthetic());
    if let Some(capture) = std::env::var_os("ROCE_CAPTURE") {
        compare(Path::new(&capture));
    }
}

#[test]
#[ignore = "needs tshark"]
fn every_fixture_has_the_fields_that_tshark_prints() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let mut count = 0;
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "pcapng") {
            compare(&path);
            count += 1;
        }
    }
    assert!(count >= 20, "{count} fixtures");
}

#[test]
#[ignore = "needs tshark"]
fn every_colour_rule_of_the_profile_is_a_filter() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    let rules = std::fs::read_to_string(root.join("docs/wireshark/rdma-lab/colorfilters")).unwrap();
    let capture = root.join("fixtures/write_read.pcapng");
    let mut shown = Vec::new();
    for rule in rules.lines().filter(|line| line.starts_with('@')) {
        let [_, name, filter, colours] = rule.splitn(4, '@').collect::<Vec<_>>()[..] else {
            panic!("{rule}")
        };
        assert!(colours.starts_with('[') && colours.matches(',').count() == 4, "{rule}");
        let output = Command::new("tshark").arg("-r").arg(&capture).args(["-Y", filter]).output().unwrap();
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        if !output.stdout.is_empty() {
            shown.push(name);
        }
    }
    assert_eq!(shown, ["RoCE connection management", "RoCE answer", "RoCE request"]);
}
