//! Compiles the crate again when a scenario or a snapshot comes, changes or goes: they are parts of it.

fn main() {
    println!("cargo::rerun-if-changed=../scenarios");
    println!("cargo::rerun-if-changed=../../tests/snapshots");
}
