//! Extended transport headers: those between BTH and payload, one file each, and the list of all of them.

mod aeth;
mod atomic_eth;
mod deth;
mod feth;
mod ieth;
mod immdt;
mod list;
mod rdeth;
mod reth;
mod xrceth;

pub use aeth::{Aeth, AethValues, NakCode, Syndrome, rnr_timer_us};
pub use atomic_eth::{AtomicAckEth, AtomicAckEthValues, AtomicEth, AtomicEthValues};
pub use deth::{Deth, DethValues};
pub use feth::{Feth, FethValues};
pub use ieth::{Ieth, IethValues};
pub use immdt::{ImmDt, ImmDtValues};
pub use rdeth::{Rdeth, RdethValues};
pub use reth::{Reth, RethValues};
pub use xrceth::{XrcEth, XrcEthValues};

list::extended_headers! {
    /// Reliable datagram extended transport header.
    rdeth: Rdeth,
    /// Datagram extended transport header.
    deth: Deth,
    /// Extended reliable connected transport header.
    xrceth: XrcEth,
    /// Flush extended transport header.
    feth: Feth,
    /// RDMA extended transport header.
    reth: Reth,
    /// Atomic extended transport header.
    atomic_eth: AtomicEth,
    /// Acknowledge extended transport header.
    aeth: Aeth,
    /// Atomic acknowledge extended transport header.
    atomic_ack_eth: AtomicAckEth,
    /// Immediate data.
    immdt: ImmDt,
    /// Invalidate extended transport header.
    ieth: Ieth,
}
