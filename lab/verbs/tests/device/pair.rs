//! Both ends of one connection, and what connects them.

use std::fs;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use verbs::Result;
use verbs::completion::{Completion, WcStatus};
use verbs::deadline::Deadline;
use verbs::device::Device;
use verbs::endpoint::{Endpoint, EndpointBuilder, Pace};
use verbs::error::Error;
use verbs::extended::SendOperations;
use verbs::mr::{Access, MemoryRegion};
use verbs::qp::ServiceType;
use verbs::remote_region::RemoteRegion;
use verbs::transport::{Cm, ConnectParams, ConnectTarget, Listener, Tcp, Transport};
use verbs::work_request::RegionRange;

/// Far above what anything here takes, RNR retries of 655 ms included.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

pub(crate) fn soon() -> Deadline {
    Deadline::after(LIMIT)
}

/// The address that an RDMA device of this host answers: the first IPv4 one in its table of GIDs.
pub(crate) fn own_address() -> IpAddr {
    let directory = |path: &str| fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
    for device in directory("/sys/class/infiniband") {
        for gid in directory(&format!("{}/ports/1/gids", device.display())) {
            let text = fs::read_to_string(gid).unwrap_or_default();
            let gid = text.trim().parse::<Ipv6Addr>().unwrap_or(Ipv6Addr::UNSPECIFIED);
            if let Some(address) = gid.to_ipv4_mapped() {
                return address.into();
            }
        }
    }
    panic!("no RDMA device of this host has an IPv4 address: see `rdma link`");
}

/// True of rxe from Linux 6.2 on, which says other things in the kernel's log than before.
pub(crate) fn is_later_rxe() -> bool {
    let (device, _) = Device::with_address(own_address()).unwrap();
    device.abilities().unwrap().atomic_write
}

pub(crate) fn target(port: u16) -> ConnectTarget {
    ConnectTarget { server: SocketAddr::new(own_address(), port), source: None }
}

/// The most entries of a request's list here.
pub(crate) const ENTRIES: usize = 4;
/// The most inline data of a request here, in bytes.
pub(crate) const INLINE_BYTES: usize = 64;

fn builder() -> EndpointBuilder {
    let builder = EndpointBuilder::new().max_send_wr(16).max_recv_wr(16);
    builder.max_sge(ENTRIES as u32).max_inline_bytes(INLINE_BYTES as u32)
}

/// Both ways to connect.
pub(crate) const BOTH: [By; 2] = [By::Cm, By::Tcp];

/// With CM, or without.
#[derive(Clone, Copy)]
pub(crate) enum By {
    Cm,
    Tcp,
}

impl By {
    fn transport(self) -> &'static dyn Transport {
        match self {
            Self::Cm => &Cm,
            Self::Tcp => &Tcp,
        }
    }

    pub(crate) fn listen(self) -> Box<dyn Listener> {
        self.transport().listen(SocketAddr::new(own_address(), 0)).unwrap()
    }

    pub(crate) fn connect(self, port: u16, params: &ConnectParams) -> Result<(Endpoint, Vec<u8>)> {
        self.connect_as(port, params, &builder())
    }

    pub(crate) fn connect_as(
        self,
        port: u16,
        params: &ConnectParams,
        builder: &EndpointBuilder,
    ) -> Result<(Endpoint, Vec<u8>)> {
        self.transport().connect(&target(port), params, builder, &mut |_| Ok(()), &soon())
    }
}

/// Both ends of one connection; each has its own protection domain.
pub(crate) struct Pair {
    pub(crate) server: Endpoint,
    pub(crate) client: Endpoint,
}

impl Pair {
    pub(crate) fn new() -> Self {
        Self::with(By::Cm, &ConnectParams::default(), |_| Ok(()))
    }

    /// Connects; `prepare` is called on the server's end before it accepts, the place to post RECVs.
    pub(crate) fn with(
        by: By,
        params: &ConnectParams,
        prepare: impl FnOnce(&mut Endpoint) -> Result<()> + Send,
    ) -> Self {
        Self::built(by, params, &builder(), prepare)
    }

    /// Connects two queue pairs that post by `ibv_wr_*`, with CM or without.
    pub(crate) fn extended(by: By, operations: SendOperations) -> Self {
        Self::built(by, &ConnectParams::default(), &builder().operations(operations), |_| Ok(()))
    }

    /// Connects two queue pairs of any service without CM; RECVs are posted by `prepare`.
    pub(crate) fn of_service(
        service: ServiceType,
        prepare: impl FnOnce(&mut Endpoint) -> Result<()> + Send,
    ) -> Self {
        Self::built(By::Tcp, &ConnectParams::default(), &builder().service(service), prepare)
    }

    fn built(
        by: By,
        params: &ConnectParams,
        builder: &EndpointBuilder,
        prepare: impl FnOnce(&mut Endpoint) -> Result<()> + Send,
    ) -> Self {
        let listener = by.listen();
        let port = listener.address().port();
        thread::scope(|scope| {
            let client = scope.spawn(|| by.connect_as(port, params, builder));
            let mut server = listener.next_request(&soon()).unwrap().into_endpoint(builder).unwrap();
            prepare(&mut server).unwrap();
            server.accept(params, &soon()).unwrap();
            let (client, _) = client.join().unwrap().unwrap();
            Self { server, client }
        })
    }

    /// Connects with RECVs of `length_bytes` each posted on the server's end, in one region; their identifiers.
    pub(crate) fn with_recvs(count: usize, length_bytes: usize) -> (Self, Vec<u64>, Arc<MemoryRegion>) {
        let (mut recvs, mut region) = (Vec::new(), None);
        let pair = Self::with(By::Cm, &ConnectParams::default(), |server| {
            let memory = server.register((count * length_bytes).max(1), Access::SINK)?;
            for number in 0..count {
                let place = RegionRange::new(&memory, number * length_bytes, length_bytes)?;
                recvs.push(server.post_recv(Some(place))?);
            }
            region = Some(memory);
            Ok(())
        });
        (pair, recvs, region.unwrap())
    }

    /// Memory of the server's end, as the client is told of it.
    pub(crate) fn region(&self, length_bytes: usize, access: Access) -> (Arc<MemoryRegion>, RemoteRegion) {
        let region = self.server.register(length_bytes, access).unwrap();
        let remote = region.announce(true);
        (region, remote)
    }

    /// A range of new memory of the client's end that holds `bytes`.
    pub(crate) fn source(&self, bytes: &[u8]) -> RegionRange {
        let region = self.client.register(bytes.len(), Access::SOURCE).unwrap();
        region.copy_in(0, bytes).unwrap();
        RegionRange::whole(&region).unwrap()
    }

    /// From now on the server's end answers nothing, and the connection stands.
    pub(crate) fn silence_server(&mut self) {
        // A wait that fails leaves its queue pair in the error state.
        let recv = self.server.post_recv(None).unwrap();
        self.server.wait(recv, &Deadline::after(Duration::ZERO)).unwrap_err();
    }

    pub(crate) fn disconnect(mut self) {
        thread::scope(|scope| {
            scope.spawn(|| self.server.wait_disconnected(&soon()).unwrap());
            self.client.disconnect(&soon()).unwrap();
        });
    }
}

pub(crate) fn status(result: Result<Completion>) -> WcStatus {
    match result {
        Err(Error::Completion(completion)) => completion.status,
        other => panic!("expected an error completion, got {other:?}"),
    }
}

pub(crate) fn pace(depth: usize) -> Pace {
    Pace { depth, pause: Duration::ZERO, limit: LIMIT }
}
