//! The program against mirrors of all kinds, on 127.0.0.1, signed with keys that are made here.

mod mirrors;
mod server;
