//! A server that offers memory and a client that writes into it, in one process, on a device of this host.
//!
//!     cargo run --features rdma-core --example write ADDRESS
//!
//! ADDRESS is one of this host that an RDMA device answers: see `rdma link` and `ip address`.
//!
//! 1. server: registers memory, tells its address and key in the private data of its REP.
//! 2. client: connects, writes "hello" to that address, waits for the completion, disconnects.
//! 3. server: sees the client leave, and only now looks at its memory: a WRITE has no completion at its target.

use std::error::Error;
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use verbs::deadline::Deadline;
use verbs::endpoint::EndpointBuilder;
use verbs::mr::Access;
use verbs::remote_region::RemoteRegion;
use verbs::transport::{Cm, ConnectParams, ConnectTarget, Listener, Transport as _};
use verbs::work_request::{RegionRange, SendRequest};

fn main() -> Result<(), Box<dyn Error>> {
    let address = std::env::args().nth(1).ok_or("usage: write ADDRESS")?.parse()?;
    let listener = Cm.listen(SocketAddr::new(address, 0))?;
    let server_address = listener.address();
    let server = thread::spawn(move || serve(&*listener));
    call(server_address)?;
    let text = server.join().expect("a server that does not panic")?;
    println!("the server's memory begins with {text:?}");
    Ok(())
}

fn deadline() -> Deadline {
    Deadline::after(Duration::from_secs(10))
}

fn serve(listener: &dyn Listener) -> verbs::Result<String> {
    let request = listener.next_request(&deadline())?;
    let mut endpoint = request.into_endpoint(&EndpointBuilder::new())?;
    let region = endpoint.register(4096, Access::REMOTE)?;
    let told = [&region.address().to_be_bytes()[..], &region.rkey().to_be_bytes()].concat();
    endpoint.accept(&ConnectParams::with_private_data(told), &deadline())?;
    endpoint.wait_disconnected(&deadline())?;
    Ok(String::from_utf8_lossy(&region.copy_out(0, 5)?).into_owned())
}

fn call(server: SocketAddr) -> Result<(), Box<dyn Error>> {
    let target = ConnectTarget { server, source: None };
    let (params, builder) = (ConnectParams::default(), EndpointBuilder::new());
    let (mut endpoint, told) = Cm.connect(&target, &params, &builder, &mut |_| Ok(()), &deadline())?;
    let (address, rkey) = (told.get(..8).ok_or("no address")?, told.get(8..12).ok_or("no key")?);
    let (address, rkey) = (u64::from_be_bytes(address.try_into()?), u32::from_be_bytes(rkey.try_into()?));
    let source = endpoint.register_source(b"hello")?;
    let write =
        SendRequest::write(RegionRange::whole(&source)?, &RemoteRegion { address, rkey, length_bytes: None });
    println!("{}", endpoint.execute(write, &deadline())?);
    endpoint.disconnect(&deadline())?;
    Ok(())
}
