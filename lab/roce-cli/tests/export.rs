//! `roce export`: what is in the Parquet files is what `roce trace --json` and `roce messages --json` print.
#![cfg(feature = "parquet")]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::{Field, Row};
use serde_json::Value;

fn roce(args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_roce")).args(args).output().unwrap();
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn rows(file: &Path) -> Vec<Row> {
    let reader = SerializedFileReader::new(File::open(file).unwrap()).unwrap();
    reader.get_row_iter(None).unwrap().map(Result::unwrap).collect()
}

/// A cell as text: numbers in decimal, `null` where there is none.
fn cell(row: &Row, name: &str) -> String {
    match row.get_column_iter().find(|(column, _)| *column == name).unwrap().1 {
        Field::Null => "null".to_owned(),
        Field::ULong(number) => number.to_string(),
        Field::Long(number) => number.to_string(),
        Field::Str(text) => text.clone(),
        Field::Bool(truth) => truth.to_string(),
        other => other.to_string(),
    }
}

/// A value of the JSON lines in the same form.
fn value(object: &Value, name: &str) -> String {
    match &object[name] {
        Value::String(text) => match text.strip_prefix("0x") {
            Some(hex) => u64::from_str_radix(hex, 16).unwrap().to_string(),
            None => text.clone(),
        },
        other => other.to_string(),
    }
}

/// Nanoseconds of `frame.time_epoch`.
fn time(object: &Value) -> String {
    object["frame.time_epoch"].as_str().unwrap().replace('.', "")
}

fn assert_same(capture: &Path, directory: &Path) -> [usize; 2] {
    let file = |name: &str| -> PathBuf { directory.join(name) };
    let (packets, messages) = (file("packets.parquet"), file("messages.parquet"));
    let text = |path: &Path| path.display().to_string();
    roce(&["export", "--packets", &text(&packets), "--messages", &text(&messages), &text(capture)]);
    let lines = |out: String| -> Vec<Value> {
        let objects = out.lines().map(|line| serde_json::from_str(line).unwrap());
        objects.filter(|object: &Value| object["roce.type"] != "finding").collect()
    };
    let (packets, messages) = (rows(&packets), rows(&messages));
    let expected = lines(roce(&["trace", "--json", &text(capture)]));
    assert_eq!(packets.len(), expected.len(), "{}", capture.display());
    for (row, object) in packets.iter().zip(&expected) {
        assert_eq!(cell(row, "time"), time(object));
        for (column, field) in [
            ("number", "frame.number"),
            ("length_bytes", "frame.len"),
            ("source", "roce.source"),
            ("destination", "roce.destination"),
            ("source_address", "ip.src"),
            ("opcode", "roce.opcode"),
            ("psn", "infiniband.bth.psn"),
            ("destination_qp", "infiniband.bth.destqp"),
            ("payload_bytes", "roce.payload_bytes"),
            ("va", "infiniband.reth.va"),
            ("rkey", "infiniband.reth.r_key"),
            ("icrc", "roce.icrc"),
            ("comment", "frame.comment"),
        ] {
            // Several headers of a packet may have one of these fields.
            if object[field].is_array() {
                continue;
            }
            assert_eq!(cell(row, column), value(object, field), "{column} of {object}");
        }
    }
    let expected = lines(roce(&["messages", "--json", &text(capture)]));
    assert_eq!(messages.len(), expected.len(), "{}", capture.display());
    for (row, object) in messages.iter().zip(&expected) {
        assert_eq!(cell(row, "time"), time(object));
        for (column, field) in [
            ("packet_first", "frame.number"),
            ("packet_last", "roce.packet_last"),
            ("kind", "roce.kind"),
            ("source", "roce.source"),
            ("destination_address", "ip.dst"),
            ("source_qp", "roce.source_qp"),
            ("destination_qp", "infiniband.bth.destqp"),
            ("psn_first", "infiniband.bth.psn"),
            ("psn_last", "roce.psn_last"),
            ("bytes", "roce.bytes"),
            ("va", "infiniband.reth.va"),
            ("rkey", "infiniband.reth.r_key"),
            ("outcome", "roce.outcome"),
            ("latency_ns", "roce.latency_ns"),
        ] {
            assert_eq!(cell(row, column), value(object, field), "{column} of {object}");
        }
    }
    [packets.len(), messages.len()]
}

#[test]
fn rows_are_what_the_json_lines_say() {
    let directory = std::env::temp_dir().join(format!("roce-export-{}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    for name in
        ["write_read.pcapng", "write_with_imm.pcapng", "send_ud_1024.pcapng", "atomic_lat_1024.pcapng"]
    {
        let [packets, messages] = assert_same(&fixtures.join(name), &directory);
        assert!(packets > 0 && messages > 0, "{name}");
    }
    fs::remove_dir_all(&directory).unwrap();
}

#[test]
fn more_rows_than_a_group_has_are_all_there_and_in_order() {
    let directory = std::env::temp_dir().join(format!("roce-export-groups-{}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    let (capture, packets) = (directory.join("large.pcap"), directory.join("packets.parquet"));
    let text = |path: &Path| path.display().to_string();
    roce(&["synth", &text(&capture), "--data-packets", "65000"]);
    roce(&["export", "--packets", &text(&packets), &text(&capture)]);
    let reader = SerializedFileReader::new(File::open(&packets).unwrap()).unwrap();
    assert_eq!(reader.num_row_groups(), 2);
    let numbers =
        reader.get_row_iter(None).unwrap().map(|row| cell(&row.unwrap(), "number").parse::<u64>().unwrap());
    let count = reader.metadata().file_metadata().num_rows() as u64;
    assert!(count > 65_536 && numbers.eq(1..=count), "{count}");
    fs::remove_dir_all(&directory).unwrap();
}
