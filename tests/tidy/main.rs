//! The shape of the code: what imports what, and what is called how.
//!
//! Reads the product's sources and nothing else; needs no build of them.
//!
//! - [`sources`]: the crates of the workspace and their files, parsed
//! - [`imports`]: which file names which other of its crate
//! - [`circles`]: no file of a crate imports itself by way of others; folders import only those before them
//! - [`type_names`]: one meaning a type name
//! - [`doc_comments`]: a noun or a verb comes first

mod circles;
mod doc_comments;
mod imports;
mod sources;
mod type_names;
