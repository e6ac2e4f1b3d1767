//! The switch between sockets of this process.

use std::fs::File;
use std::io::Write as _;
use std::time::{Duration, Instant};

use super::*;

fn write_frame(stream: &mut UnixStream, frame: &[u8]) -> io::Result<()> {
    stream.write_all(&port::framed(frame))
}

fn joined(directory: &Path) -> (Switch, UnixStream, UnixStream) {
    let ports: Vec<_> = Role::BOTH.map(|role| (role, directory.join(role.name()))).into();
    let switch = Switch::listen(&ports).unwrap();
    let [server, client] = [0, 1].map(|port| UnixStream::connect(&ports[port].1).unwrap());
    let started = Instant::now();
    while !Role::BOTH.iter().all(|&role| switch.has_joined(role)) {
        assert!(started.elapsed() < Duration::from_secs(5));
        thread::sleep(Duration::from_millis(1));
    }
    client.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    (switch, server, client)
}

#[test]
fn frame_is_recorded_on_its_ingress_port_and_delivered() {
    let directory = tempfile::tempdir().unwrap();
    let (switch, mut server, mut client) = joined(directory.path());
    let file = directory.path().join("x.pcapng");
    switch.start_capture(&file).unwrap();
    let sent = [0xab; 60];
    write_frame(&mut server, &sent).unwrap();
    let mut received = Vec::new();
    assert!(read_frame(&mut client, &mut received).unwrap());
    assert_eq!(received, sent);
    switch.stop_capture().unwrap();

    let mut reader = roce::capture::Reader::new(File::open(&file).unwrap()).unwrap();
    let record = reader.next().unwrap().unwrap();
    assert_eq!(record.interface_name, Some("server"));
    assert_eq!((record.data, record.comment), (&sent[..], Some("fate=forwarded")));
    assert!(reader.next().unwrap().is_none());
}

/// The comments of a capture.
fn fates(file: &Path) -> Vec<String> {
    let mut reader = roce::capture::Reader::new(File::open(file).unwrap()).unwrap();
    let mut fates = Vec::new();
    while let Some(record) = reader.next().unwrap() {
        fates.push(record.comment.unwrap_or_default().trim_start_matches("fate=").to_owned());
    }
    fates
}

#[test]
fn each_fault_is_a_fate_and_the_receiver_gets_what_the_capture_says() {
    let directory = tempfile::tempdir().unwrap();
    let (switch, mut server, mut client) = joined(directory.path());
    let pair = roce::synth::Pair::new(1);
    let frames: Vec<Vec<u8>> =
        (0..7).map(|n| pair.response(0x0e, n).payload(&[n as u8; 8]).build()).collect();
    let faults = [
        "action = \"drop\"\nnth = 1",
        "action = \"duplicate\"\nnth = 2",
        "action = \"corrupt\"\nfield = \"payload\"\nnth = 3",
        "action = \"reorder\"\nnth = 4",
        "action = \"delay\"\nms = 30\nnth = 6",
    ];
    switch.arm(faults.map(|text| toml::from_str(text).unwrap()).into());
    let file = directory.path().join("x.pcapng");
    switch.start_capture(&file).unwrap();
    for frame in &frames {
        write_frame(&mut server, frame).unwrap();
    }
    let mut received = Vec::new();
    let mut frame = Vec::new();
    for _ in 0..7 {
        assert!(read_frame(&mut client, &mut frame).unwrap());
        received.push(frame.clone());
    }
    let order: Vec<usize> =
        received.iter().map(|frame| frames.iter().position(|sent| sent == frame).unwrap_or(99)).collect();
    assert_eq!(order, [1, 1, 99, 4, 3, 6, 5]);
    assert_eq!(switch.met().hits, [1, 1, 1, 1, 1]);
    // rxe would not take the one whose ICRC does not fit.
    let captured = switch.captured().unwrap();
    assert_eq!(captured[&Role::Server], Captured { sent: 7, ..Captured::default() });
    assert_eq!(captured[&Role::Client], Captured { delivered: 6, ..Captured::default() });
    switch.stop_capture().unwrap();
    assert_eq!(
        fates(&file),
        [
            "dropped",
            "forwarded",
            "duplicate-of #2",
            "corrupted",
            "altered-of #4",
            "reordered",
            "forwarded",
            "released #6",
            "delayed 30 ms",
            "forwarded",
            "released #9",
        ]
    );
}

/// A frame of 60 KB that holds a number.
fn large(number: usize) -> Vec<u8> {
    [number.to_be_bytes().to_vec(), vec![0xab; 60_000]].concat()
}

#[test]
fn machine_that_does_not_read_stops_nobody_and_what_it_misses_has_a_fate() {
    let directory = tempfile::tempdir().unwrap();
    let (switch, mut server, client) = joined(directory.path());
    server.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let file = directory.path().join("x.pcapng");
    switch.start_capture(&file).unwrap();
    let sent = port::QUEUE_LIMIT / 60_000 + 50;
    for number in 0..sent {
        write_frame(&mut server, &large(number)).unwrap();
    }
    // The other direction, and whoever asks, need not wait for the client to read.
    let mut from_client = client.try_clone().unwrap();
    write_frame(&mut from_client, &[0xcd; 60]).unwrap();
    let mut frame = Vec::new();
    assert!(read_frame(&mut server, &mut frame).unwrap());
    assert_eq!(frame, [0xcd; 60]);
    assert!(switch.has_joined(Role::Client));
    let started = Instant::now();
    while switch.state().recording.as_ref().unwrap().records < sent as u64 + 1 {
        assert!(started.elapsed() < Duration::from_secs(5));
    }
    let refused = switch.captured().unwrap()[&Role::Client].refused as usize;
    assert!((1..sent).contains(&refused), "{refused} of {sent}");
    // What was not refused arrives, in order, once the client reads.
    let mut client = BufReader::new(client);
    for number in 0..sent - refused {
        assert!(read_frame(&mut client, &mut frame).unwrap());
        assert_eq!(frame, large(number));
    }
    switch.stop_capture().unwrap();
    let fates = fates(&file);
    let to_client = fates.iter().filter(|fate| *fate == "port-full").count();
    assert_eq!((fates.len(), to_client), (sent + 1, refused));
}

#[test]
fn what_a_rate_held_back_waits_for_a_port_that_is_full() {
    let directory = tempfile::tempdir().unwrap();
    let (switch, mut server, client) = joined(directory.path());
    let to = NodeSet::of(Role::Client);
    for number in 0..port::QUEUE_LIMIT / 60_000 + 50 {
        write_frame(&mut server, &large(number)).unwrap();
    }
    let started = Instant::now();
    while !switch.state().is_full(Ingress::now(Role::Server, to, &large(0))) {
        assert!(started.elapsed() < Duration::from_secs(5));
    }
    let mut state = switch.state();
    for number in [999_999, 1_000_000] {
        state.hold(Ingress::now(Role::Server, to, &large(number)), None, Until::Time(Instant::now()));
    }
    drop(state);
    switch.shared.held.notify_one();
    let mut client = BufReader::new(client);
    let mut frame = Vec::new();
    while frame != large(999_999) {
        assert!(read_frame(&mut client, &mut frame).unwrap());
    }
    assert!(read_frame(&mut client, &mut frame).unwrap());
    assert!(frame == large(1_000_000));
}

#[test]
fn closed_gate_keeps_packets_and_each_decision_is_a_fate() {
    let directory = tempfile::tempdir().unwrap();
    let (switch, mut server, mut client) = joined(directory.path());
    let pair = roce::synth::Pair::new(1);
    let frames: Vec<Vec<u8>> =
        (0..6).map(|n| pair.response(0x0e, n).payload(&[n as u8; 8]).build()).collect();
    let file = directory.path().join("x.pcapng");
    switch.start_capture(&file).unwrap();
    switch.close_gate("me", Duration::from_secs(60)).unwrap();
    assert!(switch.close_gate("another", Duration::from_secs(60)).is_err());
    for frame in &frames {
        write_frame(&mut server, frame).unwrap();
    }
    // No packet of RoCE waits for a person: ARP would be asked again and again.
    write_frame(&mut server, &[0xab; 60]).unwrap();
    let mut frame = Vec::new();
    assert!(read_frame(&mut client, &mut frame).unwrap());
    assert_eq!(frame, [0xab; 60]);
    let first = switch.at_gate("me").unwrap().unwrap();
    assert_eq!((first.number, first.from, first.behind), (1, Role::Server, 5));
    assert_eq!(first.frame, frames[0]);
    assert!(switch.decide("me", 2, GateDecision::Drop).is_err());
    let decisions = [
        GateDecision::Forward,
        GateDecision::Drop,
        GateDecision::Double,
        GateDecision::Corrupt,
        GateDecision::Delay { ms: 30 },
    ];
    for (decision, number) in decisions.into_iter().zip(1..) {
        switch.decide("me", number, decision).unwrap();
    }
    let mut received = Vec::new();
    for _ in 0..5 {
        assert!(read_frame(&mut client, &mut frame).unwrap());
        received.push(frames.iter().position(|sent| *sent == frame).unwrap_or(99));
    }
    assert_eq!(received, [0, 2, 2, 99, 4]);
    switch.open_gate("me").unwrap();
    assert!(read_frame(&mut client, &mut frame).unwrap());
    assert_eq!(frame, frames[5]);
    assert!(switch.at_gate("me").is_err());
    switch.stop_capture().unwrap();
    let fates: Vec<String> =
        fates(&file).iter().map(|fate| fate.split([' ']).next().unwrap().to_owned()).collect();
    let expected =
        "forwarded queued dropped queued duplicate-of corrupted altered-of delayed released queued";
    assert_eq!(fates.join(" "), expected);
}

#[test]
fn gate_of_a_keeper_that_is_silent_opens_by_itself() {
    let directory = tempfile::tempdir().unwrap();
    let (switch, mut server, mut client) = joined(directory.path());
    let file = directory.path().join("x.pcapng");
    switch.start_capture(&file).unwrap();
    let patience = Duration::from_millis(300);
    switch.close_gate("me", patience).unwrap();
    let sent = roce::synth::Pair::new(1).response(0x0e, 0).payload(&[1; 8]).build();
    write_frame(&mut server, &sent).unwrap();
    let closed = Instant::now();
    while closed.elapsed() < 2 * patience {
        // Heard of, it keeps the gate for as long as it likes.
        switch.at_gate("me").unwrap();
        thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(switch.at_gate("me").unwrap().unwrap().frame, sent);
    let mut frame = Vec::new();
    assert!(read_frame(&mut client, &mut frame).unwrap());
    assert_eq!(frame, sent);
    let error = switch.decide("me", 1, GateDecision::Drop).unwrap_err().to_string();
    assert!(error.contains("held for you no more"), "{error}");
    // It was recorded when it came, and says how long it waited.
    switch.stop_capture().unwrap();
    let fates = fates(&file);
    let waited = fates[0].strip_prefix("queued ").and_then(|rest| rest.strip_suffix(" us"));
    assert!(waited.unwrap().parse::<u64>().unwrap() >= 600_000, "{fates:?}");
}

#[test]
fn frames_before_and_after_the_recording_are_not_in_it() {
    let directory = tempfile::tempdir().unwrap();
    let (switch, mut server, mut client) = joined(directory.path());
    let mut deliver = || {
        write_frame(&mut server, &[1; 60]).unwrap();
        assert!(read_frame(&mut client, &mut Vec::new()).unwrap());
    };
    deliver();
    let file = directory.path().join("x.pcapng");
    switch.start_capture(&file).unwrap();
    assert!(switch.start_capture(&file).is_err());
    switch.stop_capture().unwrap();
    deliver();
    let mut reader = roce::capture::Reader::new(File::open(&file).unwrap()).unwrap();
    assert!(reader.next().unwrap().is_none());
    assert!(switch.captured().is_err());
}

/// The machines of a switch with so many ports.
fn machines(directory: &Path, count: usize) -> (Switch, Vec<UnixStream>) {
    let ports: Vec<_> = Role::first(count).iter().map(|role| (*role, directory.join(role.name()))).collect();
    let switch = Switch::listen(&ports[..2]).unwrap();
    ports[2..].iter().for_each(|(role, path)| switch.open(*role, path).unwrap());
    let machines: Vec<_> = ports.iter().map(|(_, path)| UnixStream::connect(path).unwrap()).collect();
    let started = Instant::now();
    while !ports.iter().all(|(role, _)| switch.has_joined(*role)) {
        assert!(started.elapsed() < Duration::from_secs(5));
        thread::sleep(Duration::from_millis(1));
    }
    machines.iter().for_each(|one| one.set_read_timeout(Some(Duration::from_secs(5))).unwrap());
    (switch, machines)
}

/// The same frame between the MACs that end with these bytes.
fn between(destination: u8, source: u8, mut frame: Vec<u8>) -> Vec<u8> {
    frame[..12].copy_from_slice(&[0x52, 0x54, 0, 0, 0, destination, 0x52, 0x54, 0, 0, 0, source]);
    frame
}

#[test]
fn frame_of_a_further_node_reaches_its_receiver_alone_and_is_recorded_on_its_interface() {
    let directory = tempfile::tempdir().unwrap();
    let (switch, mut machines) = machines(directory.path(), 4);
    let file = directory.path().join("x.pcapng");
    switch.start_capture(&file).unwrap();
    let packet = roce::synth::Pair::new(1).response(0x0e, 0).payload(&[1; 8]).build();
    let mut frame = Vec::new();
    // Nobody knows where the server is: all get it.
    write_frame(&mut machines[3], &between(1, 4, packet.clone())).unwrap();
    for machine in &mut machines[..3] {
        assert!(read_frame(machine, &mut frame).unwrap());
    }
    write_frame(&mut machines[0], &between(4, 1, packet.clone())).unwrap();
    assert!(read_frame(&mut machines[3], &mut frame).unwrap());
    write_frame(&mut machines[2], &between(1, 3, packet.clone())).unwrap();
    assert!(read_frame(&mut machines[0], &mut frame).unwrap());
    assert_eq!(frame, between(1, 3, packet));
    let captured = switch.captured().unwrap();
    let counts = |role| (captured[&role].sent, captured[&role].delivered);
    assert_eq!(counts(Role::Server), (1, 2));
    assert_eq!(counts(Role::Client), (0, 1));
    assert_eq!(counts(Role::Client2), (1, 1));
    assert_eq!(counts(Role::Client3), (1, 1));
    switch.stop_capture().unwrap();
    let mut reader = roce::capture::Reader::new(File::open(&file).unwrap()).unwrap();
    let mut interfaces = Vec::new();
    while let Some(record) = reader.next().unwrap() {
        interfaces.push(record.interface_name.unwrap_or_default().to_owned());
    }
    assert_eq!(interfaces, ["client3", "server", "client2"]);
    machines[1].set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    assert!(read_frame(&mut machines[1], &mut frame).is_err(), "not for it");
}

#[test]
fn limited_port_delays_marks_and_loses_and_each_is_a_fate() {
    let directory = tempfile::tempdir().unwrap();
    let (switch, mut machines) = machines(directory.path(), 3);
    let pair = roce::synth::Pair::new(1);
    let request = |n| between(1, 2, pair.request(0x04, n).payload(&[n as u8; 948]).build());
    let length = request(0).len() as u64;
    let limits = LimitedPort {
        to: vec![Role::Server],
        queue_frames: Some(4),
        mark_above_bytes: Some(length),
        // A frame takes 100 ms.
        ..LimitedPort::of_rate(length * 8 / 100)
    };
    // Where the server is, is known then.
    write_frame(&mut machines[0], &between(2, 1, request(0))).unwrap();
    let mut frame = Vec::new();
    assert!(read_frame(&mut machines[1], &mut frame).unwrap());
    switch.limit(vec![limits]);
    let file = directory.path().join("x.pcapng");
    switch.start_capture(&file).unwrap();
    let sent: Vec<Vec<u8>> = (0..5).map(request).collect();
    let started = Instant::now();
    for frame in &sent {
        machines[1].write_all(&port::framed(frame)).unwrap();
    }
    let mut received = Vec::new();
    for _ in 0..4 {
        assert!(read_frame(&mut machines[0], &mut frame).unwrap());
        received.push(frame.clone());
    }
    assert!(started.elapsed() >= Duration::from_millis(390), "{:?}", started.elapsed());
    assert_eq!(received[..2], sent[..2]);
    for (came, went) in received[2..].iter().zip(&sent[2..]) {
        let decode = |bytes: &[u8]| Frame::decode(LinkType::ETHERNET, bytes).packet().unwrap().ecn;
        assert_eq!((decode(went), decode(came)), (0, 3));
        assert_eq!(Some(came.clone()), alter(Action::MarkEcn, went));
    }
    switch.stop_capture().unwrap();
    let fates: Vec<String> =
        fates(&file).iter().map(|fate| fate.split(' ').next().unwrap().to_owned()).collect();
    assert_eq!(fates.join(" "), "queued queued queue-marked altered-of queue-marked altered-of port-full");
    let [count] = &switch.port_counts()[..] else { panic!() };
    assert_eq!((count.frames, count.marked, count.dropped, count.bytes), (4, 2, 1, 4 * length));
    assert_eq!((count.to.as_str(), count.queue_frames_max), ("server", 4));
}

#[test]
fn length_that_lies_closes_the_port() {
    let mut bytes: &[u8] = &[0xff, 0xff, 0xff, 0xff, 0];
    let error = read_frame(&mut bytes, &mut Vec::new()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
}
