//! The host side of the lab: brings up two machines with SoftRoCE, runs scenarios between them while it
//! captures the wire, and judges what was seen.

#![forbid(unsafe_code)]

pub mod cache;
pub mod command;
pub mod error;
pub mod host;
pub mod image;
pub mod progress;

pub use error::{Error, Result};
#[cfg(test)]
mod smoke {
    #[test]
    #[ignore = "builds a real image"]
    fn image() {
        let cache = crate::cache::Cache::open().unwrap();
        println!("{:?}", crate::image::Image::ensure(&cache).unwrap());
        println!("{:?}", crate::image::Sysroot::ensure(&cache).unwrap());
    }
}
