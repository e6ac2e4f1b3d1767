//! The causes that a run can fail for; a cause's name states what is wrong.
//!
//! `docs/causes.md` is [`Cause::catalogue`], kept equal by a test.

use std::fmt;
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::base::error::{Error, Result};
use crate::base::names;

/// Directness with which a cause is seen; the more direct one explains the others of the same run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// The system said no before anything was sent.
    Local,
    /// A peer or its device said no, or what it did not take shows why.
    Told,
    /// Something that had to come did not.
    Silent,
    /// A program ended otherwise than it has to, and nothing tells more.
    Ended,
    /// A deviation of SoftRoCE, held against nobody.
    Deviation,
}

/// Rank and texts of a cause.
struct CauseText {
    cause: Cause,
    rank: Rank,
    title: &'static str,
    explanation: &'static str,
    next: &'static str,
}

macro_rules! causes {
    ($($name:ident, $rank:ident, $title:literal, $explanation:literal, $next:literal;)*) => {
        /// A cause of a failed run, or a deviation that is told and tolerated.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum Cause {
            $(#[doc = concat!("Named when ", $title, ".\n\n", $explanation)] $name,)*
        }

        impl Cause {
            /// Every cause, in the order of their declaration.
            pub const ALL: [Self; [$(Cause::$name),*].len()] = [$(Self::$name),*];
        }

        static ENTRIES: [CauseText; Cause::ALL.len()] = [$(CauseText {
            cause: Cause::$name,
            rank: Rank::$rank,
            title: $title,
            explanation: $explanation,
            next: $next,
        }),*];
    };
}

causes! {
    KeyByteSwapped, Told, "a request names an advertised rkey in the other byte order",
    "The responder refused the request with \"remote access error\", and its key is one that the responder gave out, with its four bytes reversed.",
    "convert the key once on each side: htonl() where it is written, ntohl() where it is read, or neither";

    AddressByteSwapped, Told, "a request names an advertised address in the other byte order",
    "The responder refused the request with \"remote access error\", and its address is one that the responder gave out, with its eight bytes reversed. The key beside it mostly is, too.",
    "convert the address once on each side: htobe64() where it is written, be64toh() where it is read (htonl() is for 32 bits)";

    AddressTruncated, Told, "a request names the low 32 bits of an advertised address",
    "The responder refused the request with \"remote access error\", and its address is one that the responder gave out, without its upper half.",
    "carry addresses in 64 bits from end to end: uint64_t in the message and in the work request, htobe64() rather than htonl()";

    OutOfBounds, Told, "a request reaches beyond the region that was advertised",
    "The responder refused the request with \"remote access error\"; its key was advertised, and its address lies behind an advertised one, so far that with its length it ends beyond the region.",
    "compare offset and length with the length of the peer's region, which the peer has to tell";

    AccessNotGranted, Told, "a region or its queue pair does not permit what is asked of it",
    "The responder refused the request though address and key are as they were advertised: the region was registered without the access flag, or it is shorter than the request. RoCE has no other word for either.",
    "register the region with IBV_ACCESS_REMOTE_WRITE, _READ or _ATOMIC (with IBV_ACCESS_LOCAL_WRITE), and compare its length with the request's";

    KeyRevoked, Told, "a request names an rkey that was valid before and is no more",
    "The responder took requests with this key before, and refused this one: the region was deregistered, or its key invalidated.",
    "keep the region registered until the peer is done with it; after an invalidation give out the new key";

    KeyOfAnotherRegion, Told, "a request names an advertised rkey where it is not valid",
    "The key was advertised, and the address is far from every address that was; or the responder takes it on another queue pair, whose protection domain the region is of.",
    "use the key that was advertised together with the address, on the connection over which it came; a key is of one region and one protection domain";

    KeyNeverAdvertised, Told, "a request names an rkey that its peer never advertised",
    "The responder refused the request with \"remote access error\", and its key is none that the responder gave out in the capture: in private data, in a SEND, over TCP.",
    "compare the key that the program posts with the one that it received; if that is another already, look at how it travels: the offset in the message, the structure's packing, the region that it is of; an lkey is no rkey";

    AtomicUnaligned, Told, "an atomic's address is not a multiple of eight",
    "CmpSwap and FetchAdd work on eight bytes at an address that is a multiple of eight. rxe refuses another when it is posted, with EINVAL; elsewhere the responder does.",
    "align the counter to eight bytes: aligned_alloc(8, …), and no packed structure around it";

    OperationNotPermitted, Told, "a queue pair takes no such request",
    "The responder refused the request as invalid before it looked at the key: its queue pair's qp_access_flags do not have the operation. Without connection management nothing tells that from a max_dest_rd_atomic of 0, for READs and atomics, or from another path MTU, for messages of several packets.",
    "set IBV_ACCESS_REMOTE_* in qp_access_flags when the queue pair is brought to INIT, max_dest_rd_atomic of at least 1, and the same path MTU on both sides";

    ReceiveTooSmall, Told, "a RECV is smaller than the message that it is for",
    "A SEND has to fit the RECV that takes it. The responder ended the queue pair: its RECV completes with \"local length error\", the SEND with a remote error.",
    "post RECVs of the largest message that the peer sends";

    ReceiveBufferInvalid, Told, "a RECV names memory that its device may not write",
    "The responder failed on its own side: the RECV's lkey, address or length is not of a region that permits local writes.",
    "register the RECV buffer with IBV_ACCESS_LOCAL_WRITE and use its lkey";

    ImmediateWithoutReceive, Told, "an immediate finds no RECV",
    "A WRITE with immediate takes up a RECV of the responder, though its data goes elsewhere. None was posted.",
    "post a RECV for each immediate, before the connection is accepted";

    ImmediateByteSwapped, Silent, "an immediate looks like a small number in the other byte order",
    "The four bytes of an immediate travel as they are given. This one is huge as it is on the wire, and small with its bytes reversed; a program failed, and nothing more direct tells why.",
    "write imm_data = htonl(value) in the work request, and ntohl(wc.imm_data) where it is read, or neither";

    WriteWithoutImmediate, Silent, "a RECV waits for an immediate, and the peer's WRITEs have none",
    "A WRITE without immediate is taken by no RECV: its data arrives, and the responder's program hears nothing of it. The program waited for a RECV until its queue pair was flushed, all that came to it were such WRITEs, and its peer ended well.",
    "post the WRITE as IBV_WR_RDMA_WRITE_WITH_IMM, or tell the responder in another way that the data is there";

    ReceiveNotPosted, Told, "a SEND finds no RECV",
    "The responder answered \"receiver not ready\" until the requester gave up, or still did when the run ended.",
    "post RECVs before rdma_accept or rdma_connect, and as many as the peer has SENDs in flight; rnr_retry_count 7 waits for ever";

    NobodyListens, Told, "nobody listens on the port that the client connects to",
    "The server's connection manager answered the REQ with REJ \"invalid service id\".",
    "compare port and address of both commands; rdma_bind_addr to another address, or another port space, is nobody too";

    RejectedByProgram, Told, "the server's program rejects the connection",
    "The REJ says \"consumer reject\": the program called rdma_reject, or ended with the request unanswered.",
    "look at the server's output; the REJ's private data may say why";

    ConnectRequestNotTaken, Told, "the server's program leaves a connection request where it is",
    "The connection manager answered for the program when that ended, seconds after the REQ: with REJ \"consumer reject\", as for a program that rejects at once.",
    "look at what the server does after rdma_listen: it has to take RDMA_CM_EVENT_CONNECT_REQUEST with rdma_get_cm_event, and to accept or reject";

    Rejected, Told, "the peer's connection manager rejects the connection",
    "The REJ carries a reason of the connection manager itself.",
    "see the reason; \"stale connection\" goes away when the client tries again";

    PsnsNotAgreed, Told, "the two sides have not agreed on where the PSNs begin",
    "Without connection management each side has to set rq_psn to the other's sq_psn. The responder asked for a PSN that was never sent, or took the requests for old ones.",
    "exchange sq_psn with the queue pair number, and set rq_psn to the peer's";

    NoSuchQueuePair, Told, "packets are sent to a queue pair that does not exist",
    "They were delivered, and the receiver's device did not take them: nothing in the capture, neither a packet nor a word of its node, tells of that number.",
    "exchange queue pair numbers anew with each connection, in one byte order; 24 bits of a number count";

    QKeyMismatch, Told, "a datagram carries another Q_Key than its receiver has",
    "It was delivered to a queue pair that is there, and the receiver's device did not take it.",
    "use the same Q_Key in ibv_modify_qp (INIT) and in the work request (wr.ud.remote_qkey); its highest bit means the sender's own";

    PKeyMismatch, Told, "packets carry a P_Key that their receiver has not",
    "They were delivered to a queue pair that is there, and the receiver's device did not take them: their partition key is none of its table. rxe has one, 0xffff.",
    "use the pkey_index at which both sides have the same key (ibv_query_pkey); for rxe it is 0, and the key is 0xffff";

    PathMtusDiffer, Told, "the two sides have different path MTUs",
    "All packets of a message but its last carry exactly one path MTU. A responder with another one refuses the first packet as invalid, whatever its key; a READ's responses do not fill the PSNs that its requester kept for them.",
    "agree on the path MTU: the smaller of both sides' active_mtu (ibv_query_port), told to the peer with the queue pair number";

    DatagramWithoutRoom, Told, "a datagram finds no RECV that it fits into",
    "The receiver's device took the packet, and its program got no completion. No RECV was posted, or one without room for the 40 bytes of GRH that stand before every datagram's payload.",
    "post RECVs of 40 bytes more than the payload, before the peer sends";

    PathMtuBeyondInterface, Local, "the path MTU does not fit the network interface",
    "The device could not send: path MTU and 80 bytes of headers have to fit the interface's MTU, on both nodes. rxe counts the packet in send_err and tries again until its retries end.",
    "use the active_mtu of ibv_query_port as path MTU, or raise the interface's MTU: 4192 carries 4096 (`run --mtu 4192`)";

    SendFailed, Local, "the device could not send",
    "rxe counted packets in send_err: they never left the machine. No route or no neighbour for the address of the GID, or the interface is down.",
    "look at the address in ah_attr.grh.dgid, the GID index on both sides, and at `ip neigh`";

    NeighbourUnresolved, Local, "nobody answers to the address that the packets are for",
    "The capture has ARP requests or neighbour solicitations for an address, and no answer.",
    "compare the address with the peer's; {server} and {client} stand for the nodes' addresses in a command";

    PacketsChanged, Told, "packets arrive with other bytes than they were sent with",
    "Their invariant CRC is wrong, and their receiver drops them without a word. Something on the way rewrites what it covers: a NAT, a middlebox, a fault of this run.",
    "compare IP addresses and UDP ports on both sides: a router changes neither, a NAT does; RoCE does not pass one";

    LockedMemoryLimit, Local, "memory cannot be registered: the limit of locked memory is too low",
    "ibv_reg_mr failed with ENOMEM. Registered memory is locked memory, and counts against RLIMIT_MEMLOCK (`ulimit -l`).",
    "raise it: `ulimit -l unlimited` in the command, LimitMEMLOCK= of a systemd unit; or register less";

    WorkRequestInvalid, Local, "the device refuses a work request before it is queued",
    "ibv_post_send or ibv_post_recv failed with EINVAL: more scatter/gather entries than the queue pair has (max_send_sge, max_recv_sge), more inline data than max_inline_data, an opcode that its type has not, or a state in which it takes none.",
    "compare num_sge, the inline length and the opcode with what the queue pair was created with, and bring it to RTS (INIT for RECVs) before posting";

    ResourceRefused, Local, "the device refuses to make a queue that the program asks for",
    "ibv_create_cq, ibv_create_qp or ibv_create_srq failed: the program asks for more than the device has (more entries, work requests or scatter/gather entries; EINVAL), or for a feature that it lacks (EOPNOTSUPP). rxe logs which call it refused.",
    "compare what the program asks for with `ibv_devinfo -v` on the node (max_cqe, max_qp_wr, max_sge, max_srq_wr), and give it the options by which it asks for less";

    NoRdmaDevice, Local, "the program finds no RDMA device for what it asks",
    "The device list is empty, or no device has the address that the connection is for.",
    "use the nodes' addresses on the RDMA network; 127.0.0.1 has no RDMA device";

    ClockNotMeasured, Local, "a program cannot measure its processor's clock on a busy host",
    "perftest compares the processor's counter with the time of day, and reports nothing where the two do not go together (\"Correlation coefficient r^2\"): the host did not let the machine run evenly, and RDMA has no part in it. The run is disturbed, and made once more.",
    "run it again, or on a computer that has less to do";

    GidUnusable, Local, "the GID at the index is none that packets can be sent from",
    "ibv_modify_qp or ibv_create_ah refused the address: the index has no GID, or the GID is no address of the interface.",
    "use index 1 with rxe: the IPv4 address of the node; index 0 is the link-local one (see `rdma link` and /sys/class/infiniband/*/ports/1/gids)";

    AddressWithoutGrh, Local, "an address has no GRH, which RoCE cannot do without",
    "RoCE packets are addressed by GIDs, so the kernel refuses an address handle with ah_attr.is_global = 0. librdmacm's rsockets of datagrams (SOCK_DGRAM) make one for themselves, and the program is told no more than ENOENT of it: \"rconnect: No such file or directory\".",
    "set ah_attr.is_global to 1, with the peer's GID and the own GID's index in ah_attr.grh; datagrams over RoCE go by RDMA_PS_UDP of rdma_cm (as `udaddy` does) rather than by rsockets";

    LocalProtectionError, Local, "a work request names memory that its own device may not use",
    "The lkey, or address and length of a scatter/gather entry, is not of a region of the queue pair's protection domain. The completion says \"local protection error\", or, as rxe's does, only that the request was flushed. Nothing of it was on the wire.",
    "compare lkey, address and length of the sg_list with the region; READs and RECVs need IBV_ACCESS_LOCAL_WRITE";

    SendQueueFull, Local, "the send queue has no room for another work request",
    "ibv_post_send failed with ENOMEM: max_send_wr requests are posted and not completed, or completed unsignaled with no signaled one behind them.",
    "poll completions before posting more, signal at least one in max_send_wr requests, or create the queue pair with a larger max_send_wr";

    ReadDepthNone, Local, "a READ or an atomic cannot be, since the connection allows none",
    "max_rd_atomic (initiator_depth) of the requester is 0, and rxe keeps the request for ever, without a completion; or the responder's max_dest_rd_atomic (responder_resources) is 0, and it refuses the request as invalid.",
    "ask for initiator_depth and responder_resources of at least 1 on both sides";

    ReadDepthExceeded, Told, "more READs and atomics are under way than the responder serves at once",
    "The responder refused a READ or an atomic as invalid while as many were unanswered as its responder_resources (max_dest_rd_atomic) are. rxe itself takes more.",
    "set max_rd_atomic (initiator_depth) of the requester to at most the peer's max_dest_rd_atomic (responder_resources)";

    ConnectRequestUnanswered, Silent, "a connection request is not answered",
    "REQs were sent, and neither REP nor REJ came.",
    "look at whether the REQs were delivered, and at what the server did then: a program that listens has to take RDMA_CM_EVENT_CONNECT_REQUEST and accept";

    RetriesWithoutEnd, Silent, "a request is repeated without end, as retry count 7 is on rxe",
    "retry_count 7 is seven tries by the specification; rxe takes 7 for no limit, so no completion ever says that the peer is gone.",
    "use a retry_count of 6 or less with rxe, or a deadline of the program's own";

    PacketsDiscarded, Silent, "packets are delivered to a node, and its device does not take them",
    "The capture has them, the device's counter of received packets has not: a filter on the host (nftables, iptables on UDP port 4791), or a queue pair that is not ready.",
    "look at the host's packet filter, and whether the queue pair was in RTR when they came";

    LargePacketsLost, Silent, "large packets are lost on the way, and small ones arrive",
    "Everything above a size never arrived, whatever it was, and everything below did: an MTU on the way is smaller than what the path MTU needs. RoCE is never fragmented, and nobody tells its sender.",
    "compare the MTUs of all interfaces, bridges, tunnels and switch ports on the way (`ping -M do -s SIZE`), or use a smaller path MTU";

    RtuLost, Silent, "the server never hears that the connection stands",
    "The client's RTU never arrived, so the server's program got no RDMA_CM_EVENT_ESTABLISHED; its connection manager sent its REP again.",
    "let the first message prove the connection: rdma_notify(id, IBV_EVENT_COMM_EST) on that asynchronous event, or on the first completion";

    PacketsLost, Silent, "packets are lost on the way",
    "They were sent and not delivered, and nothing answered what was sent again.",
    "look at the fault, and at the link";

    RequestUnanswered, Silent, "a request is sent again and again, and nothing answers",
    "It was delivered. The peer's queue pair is gone or in the error state, or does not know where answers go.",
    "look at what the peer did before: whether it ended, destroyed the queue pair, or got an error of its own";

    PeerEnded, Silent, "the peer ended while the connection stood",
    "A program ended by a signal or with an error, and the other one failed behind it.",
    "look at the output of the program that ended first";

    ExchangeCutShort, Silent, "the peer closes the TCP connection before any RDMA packet is sent",
    "Programs without connection management exchange their parameters over TCP. One side ended that connection, with RST or FIN, before the other had what it needs, and the other failed.",
    "look at what the side that closed it did last; a server that serves others goes on with the next connection";

    ServerNeverListened, Ended, "the server listens by nothing that the lab can see",
    "Neither a listener of RDMA CM nor a new TCP socket was there within the limit.",
    "say when it is ready: --ready port:N, or --ready delay:SECONDS for what listens by neither (see docs/programs.md)";

    LimitTooShort, Ended, "the programs still exchange packets when their time is over",
    "Nothing was refused and nothing was left without an answer: they would have gone on. Software emulation on a busy computer takes many times as long as hardware.",
    "give them more time (--timeout SECONDS, timeout_s), or less to do";

    ProgramHung, Ended, "a program has not ended, and nothing on the wire is awaited",
    "All that was sent is answered or was given up, the wire has been silent for long, and the program goes on all the same: it waits for something of its own, or for a peer that has ended.",
    "look at its last lines, and at what it waits for behind its last completion: an event that is taken by nobody, a thread, its input; a server that serves for ever is ended by --stop SIGTERM (stop = \"SIGTERM\")";

    ProgramMissing, Local, "the program or a library of it is not on the node",
    "The shell or the loader ended with exit code 126 or 127.",
    "push it: --push FILE, or a local path as the command's first word";

    ProgramHalted, Local, "a program stands still, since a signal stopped it",
    "When the time was over, a process of the node was stopped: by SIGSTOP or SIGTSTP, or by SIGTTIN, as one that reads from a terminal in the background is.",
    "look for who sends the signal, a debugger or kill() in the program; SIGCONT lets it go on";

    TerminalNeeded, Local, "a program wants a terminal, and has none",
    "On a node its standard input is empty and its outputs are files, as in a script.",
    "call it with the options that it has for scripts, or on a node of a resident lab, where `lab exec` gives it the terminal that it has itself";

    ClientFailed, Ended, "the client failed, and nothing on the wire or in the system tells more",
    "Its exit code is not the expected one. A server that still ran was stopped then.",
    "read the client's last lines";

    ServerFailed, Ended, "the server failed, and nothing on the wire or in the system tells more",
    "Its exit code is not the expected one.",
    "read the server's last lines";

    SpuriousTimer, Deviation, "rxe repeats a request before its ACK timeout has passed",
    "rxe does not restart the timer of a queue pair with each request, so that it runs out for one that was sent just now. The request comes again, everything is answered: completer_retry_err and duplicate_request move, and nobody did wrong.",
    "nothing; a larger ACK timeout makes it rarer";

    MachineStoodStill, Deviation, "a machine stood still for longer than the ACK timeout",
    "Requests came again after their ACK timeout, nothing was lost, and everything was answered: the host did not let a machine run. Where a trace is compared the run is disturbed and made once more; elsewhere it is told.",
    "nothing; a larger ACK timeout, or fewer machines side by side, make it rarer";

    ReceiverLate, Deviation, "a receiver posts its RECV later than the message comes",
    "Messages were refused as not ready (RNR NAK), came again, and all were acknowledged: flow control as it is meant. The counters say so, and it costs time. Where completions are compared the counters have to be expected.",
    "post RECVs earlier, if the pause matters; min_rnr_timer says how long it is, and 0, as CM sets it, is the longest: 655 ms";

    EndedInFlight, Deviation, "a connection ends while a request is on its way",
    "Both programs ended as they have to, and one of the last requests had no answer when its connection ended: nobody waited for it, as an rsocket does not for its last credits. Where completions are compared it is held against the programs.",
    "nothing; a program that needs to know waits for its completions before it disconnects";

    SequenceNakBehindRnrNak, Deviation, "rxe asks by a sequence NAK for what it refused as not ready",
    "Behind an RNR NAK the requests that were in flight are out of order, and rxe sends a NAK \"PSN sequence error\" as well. The RNR NAK is the cause.",
    "post RECVs earlier, if the pause matters";

    ReadAgainWithoutFirst, Deviation, "rxe answers a READ that is asked again with Middle or Last",
    "When the rest of a READ is asked for again, its responses begin anew with First or Only. rxe goes on with Middle or Last; its own requester takes that, another need not.",
    "nothing between two nodes with rxe";
}

impl Cause {
    fn entry(self) -> &'static CauseText {
        &ENTRIES[self as usize]
    }

    /// The cause's name, as in the source: `KeyByteSwapped`.
    pub fn name(self) -> String {
        format!("{self:?}")
    }

    /// The cause of that name, whatever its case.
    ///
    /// # Errors
    ///
    /// None has it: with the nearest that one has.
    pub fn from_name(name: &str) -> Result<Cause> {
        let all = Cause::ALL.map(Cause::name);
        let found = names::find("cause", name, all.iter().map(String::as_str))
            .map_err(|why| Error::usage(why).next("docs/causes.md has all of them"))?;
        let index = all.iter().position(|name| name == found).unwrap_or_default();
        Ok(Cause::ALL[index])
    }

    /// Its rank.
    pub fn rank(self) -> Rank {
        self.entry().rank
    }

    /// True if it is held against nobody.
    pub fn is_deviation(self) -> bool {
        self.rank() == Rank::Deviation
    }

    /// One sentence without values: what is wrong.
    pub fn title(self) -> &'static str {
        self.entry().title
    }

    /// The next step.
    pub fn next(self) -> &'static str {
        self.entry().next
    }

    /// Its text, as in the catalogue.
    pub fn page(self) -> String {
        let CauseText { title, explanation, next, .. } = self.entry();
        format!("## {self}\n\nNamed when {title}.\n\n{explanation}\n\nNext: {next}.\n")
    }

    /// All causes as a Markdown document.
    pub fn catalogue() -> String {
        let mut text = String::from(
            "# The causes\n\n\
             What the verdict on a red run names first. Written from the causes' own enum (`cargo xtask explain`): change it there.\n\n\
             A cause is concluded from the wire, connection management, the programs' output, the devices' counters and the kernel's log. A direct one explains the \
             others: *local* (the system said no before anything was sent) before *told* (the peer or its device said no), before *silent* (something that had to come \
             did not), before *ended* (a program failed, and nothing tells more). A *deviation* of SoftRoCE is told beside any verdict and held against nobody.\n\n\
             | cause | kind | named when |\n|--|--|--|\n",
        );
        for entry in &ENTRIES {
            let name = entry.cause.name();
            let kind = format!("{:?}", entry.rank).to_lowercase();
            let _ = writeln!(text, "| [`{name}`](#{}) | {kind} | {} |", name.to_lowercase(), entry.title);
        }
        for entry in &ENTRIES {
            text.push('\n');
            text.push_str(&entry.cause.page());
        }
        text
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_cause_is_found_by_its_name_and_says_what_to_do() {
        for cause in Cause::ALL {
            assert_eq!(cause.entry().cause, cause);
            assert_eq!(Cause::from_name(&cause.name().to_lowercase()).unwrap(), cause);
            assert!(!cause.next().is_empty() && !cause.next().ends_with('.'), "{cause}");
            assert!(!cause.title().is_empty() && !cause.title().ends_with('.'), "{cause}");
            assert!(cause.entry().explanation.ends_with(['.', ')']), "{cause}");
        }
        let error = Cause::from_name("KeyByteSwaped").unwrap_err().to_string();
        assert!(error.contains("`KeyByteSwapped`"), "{error}");
    }

    #[test]
    fn document_of_the_causes_is_current() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/causes.md");
        if std::env::var_os("LAB_UPDATE").is_some() {
            std::fs::write(&path, Cause::catalogue()).unwrap();
        }
        let kept = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(kept, Cause::catalogue(), "write it anew with LAB_UPDATE=1");
    }
}
