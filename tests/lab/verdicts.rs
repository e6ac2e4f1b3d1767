//! The harness goes red, for the right reason; and what a seed repeats.

use std::fs::File;
use std::path::Path;

use roce::capture::Reader;
use roce::fields::tshark_fields;
use roce::wire::{Frame, LinkType};
use serde_json::Value;

use crate::support::{Catalogue, artifacts, reasons, run, snapshot, verdict};

/// The second example with another client, or server, and expectations.
fn scenario(server: &str, client: &str, rest: &str) -> String {
    format!(
        "summary = \"A scenario that has to be red\"\nserver = \"\"\"{server}\"\"\"\nclient = \"\"\"{client}\"\"\"\n{rest}\n"
    )
}

const SERVER: &str = "rdma_server_imm --once --json";
const CLIENT: &str = "rdma_client_imm {server} --json";

#[test]
#[ignore = "needs the lab's machines"]
fn every_fault_is_red_with_its_reason_and_the_neighbour_green() {
    let accepted = snapshot("write_with_imm");
    let accepted = Some(accepted.as_str());
    let spoiled = snapshot("write_with_imm").replace("Only with Immediate", "Only without Immediate");
    let catalogue = Catalogue::new();
    let silent = SERVER.replace(" --json", "");
    let red = [
        ("wire", "WIRE", &["WIRE"][..], scenario(SERVER, CLIENT, ""), Some(spoiled.as_str())),
        ("new", "WIRE", &["WIRE"], scenario(SERVER, CLIENT, ""), None),
        (
            "result",
            "APP",
            &["APP"],
            scenario(SERVER, CLIENT, "[expect.client]\nresult = { written_bytes = 23 }"),
            accepted,
        ),
        ("exit", "APP", &["APP"], scenario(&format!("{SERVER}; exit 1"), CLIENT, ""), accepted),
        (
            "rule",
            "RULE",
            &["RULE"],
            scenario(SERVER, CLIENT, "[expect]\nfindings = [\"IcrcMismatch\"]"),
            accepted,
        ),
        (
            "dmesg",
            "DMESG",
            &["DMESG"],
            scenario(SERVER, &format!("echo '<3>boom' >/dev/kmsg; {CLIENT}"), ""),
            accepted,
        ),
        (
            "mute",
            "AGREEMENT",
            &["AGREEMENT"],
            scenario(&silent, &CLIENT.replace(" --json", ""), ""),
            accepted,
        ),
        (
            "endless",
            "TIMEOUT",
            &["TIMEOUT", "WIRE", "AGREEMENT"],
            scenario(SERVER, "sleep 60", "timeout_s = 3"),
            accepted,
        ),
        (
            "late",
            "TIMEOUT",
            &["TIMEOUT"],
            scenario(SERVER, &format!("{CLIENT}; sleep 60"), "timeout_s = 12"),
            accepted,
        ),
        (
            "never",
            "SETUP",
            &["SETUP"],
            scenario(SERVER, CLIENT, "[[fault]]\naction = \"drop\"\nopcode = \"RC SEND Only\""),
            accepted,
        ),
        (
            "missing",
            "SETUP",
            &["SETUP"],
            scenario(SERVER, &format!("{CLIENT}; no_such_program"), ""),
            accepted,
        ),
        ("bare", "SETUP", &["SETUP"], scenario(SERVER, &format!("{CLIENT}; /etc/hosts"), ""), accepted),
        (
            "counter",
            "AGREEMENT",
            &["AGREEMENT"],
            scenario(SERVER, CLIENT, "[expect.server.counters]\nduplicate_request = 1"),
            accepted,
        ),
    ]
    .map(|(name, headline, expected, text, snapshot)| {
        (catalogue.add(name, &text, snapshot), headline, expected)
    });
    let green = catalogue.add("z-green", &scenario(SERVER, CLIENT, ""), accepted);

    let ran = run(catalogue.command(&["-j", "2"])).fails(1, &[]);
    for (name, headline, expected) in red {
        let verdict = verdict(&artifacts(&name));
        assert_eq!(verdict["headline"], headline, "{verdict:#}");
        assert_eq!(reasons(&verdict), expected, "{verdict:#}");
        // The cause comes first, where the evidence tells one.
        let first = match name.split('-').next() {
            Some("exit") => "ServerFailed",
            Some("missing" | "bare") => "ProgramMissing",
            Some("endless" | "late") => "ProgramHung",
            _ => headline,
        };
        assert!(ran.stdout.contains(&format!("{name}: {first}: ")), "{}", ran.stdout);
        let text = verdict["failures"][0]["text"].as_str().expect("a text");
        let part = match headline {
            "TIMEOUT" => "had not ended after",
            "SETUP" if name.starts_with("never") => {
                // Before it are DREQ and DREP of either side.
                "; 1 CM REP to client; 1 CM REQ to server; \
                 1 CM RTU to server; 1 RC Acknowledge to client.qp1; 1 RC RDMA WRITE Only with Immediate to server.qp1"
            }
            "SETUP" if name.starts_with("missing") => "no_such_program: not found",
            "SETUP" => "is not a program that the node can run",
            _ => "",
        };
        assert!(text.contains(part), "{text}");
        // However it ended, what it left is kept.
        for file in ["capture.pcapng", "trace.txt", "server.out", "client.out", "evidence.json"] {
            assert!(artifacts(&name).join(file).is_file(), "{name}: {file}");
        }
        if name.starts_with("wire") {
            let changed = text.lines().filter(|line| line.starts_with(['-', '+'])).count();
            assert!((2..=10).contains(&changed), "{text}");
        }
    }
    let verdict = verdict(&artifacts(&green));
    assert_eq!((&verdict["passed"], &verdict["headline"]), (&Value::Bool(true), &Value::Null), "{verdict:#}");
}

/// Numbers that a machine draws at random and tells on the wire.
#[derive(Debug, PartialEq, Eq)]
struct Drawn {
    client_psn: String,
    server_psn: String,
    rkey: String,
}

fn drawn(capture: &Path) -> Drawn {
    let mut reader = Reader::new(File::open(capture).expect("a capture")).expect("a capture");
    let mut fields = Vec::new();
    while let Some(record) = reader.next().expect("a record") {
        if let Some(packet) = Frame::decode(LinkType::ETHERNET, record.data).packet() {
            fields.extend(tshark_fields(packet));
        }
    }
    let field = |name: &str| {
        let found = fields.iter().find(|(field, _)| *field == name);
        found.unwrap_or_else(|| panic!("no {name} in {fields:?}")).1.clone()
    };
    Drawn {
        client_psn: field("infiniband.cm.req.startpsn"),
        server_psn: field("infiniband.cm.rep.startpsn"),
        rkey: field("infiniband.reth.r_key"),
    }
}

#[test]
#[ignore = "needs the lab's machines"]
fn seed_repeats_what_is_drawn_and_its_absence_does_not() {
    let catalogue = Catalogue::new();
    let accepted = snapshot("write_with_imm");
    let name = catalogue.add("seeded", &scenario(SERVER, CLIENT, ""), Some(&accepted));
    let of = |args: &[&str]| {
        run(catalogue.command(args)).ok();
        drawn(&artifacts(&name).join("capture.pcapng"))
    };
    // FIXME: Linux 6.12 of Debian 13 draws so much by itself that a seed rarely repeats anything there.
    // What a kernel draws between the fork and the program depends on time, and is one more now and then: then the
    // numbers are others. Two of a few runs meet, which without the seed never do.
    let mut seven: Vec<Drawn> = Vec::new();
    let is_repeated = (0..5).any(|_| {
        let again = of(&["--seed", "7", "--guest", "debian-12"]);
        let meets = seven.iter().any(|it| (&it.server_psn, &it.rkey) == (&again.server_psn, &again.rkey));
        seven.push(again);
        meets
    });
    assert!(is_repeated, "{seven:?}");
    let eight = of(&["--seed", "8", "--guest", "debian-12"]);
    assert!(!seven.contains(&eight), "{eight:?}");
    let [one, other] = [(); 2].map(|()| of(&[]));
    assert_ne!((&one.client_psn, &one.server_psn), (&other.client_psn, &other.server_psn));
}
