//! The shape of the code: what imports what, and what is called how; and of its documentation.
//!
//! Reads the product's sources and pages and nothing else; needs no build of them.
//!
//! - [`sources`]: the crates of the workspace and their files, parsed
//! - [`imports`]: which file names which other of its crate
//! - [`circles`]: no file of a crate imports itself by way of others; folders import only those before them
//! - [`type_names`]: one meaning a type name
//! - [`doc_comments`]: a noun or a verb comes first
//! - [`links`]: links of the documentation lead somewhere
//! - [`workflows`]: each job says in its summary what came of it

mod circles;
mod doc_comments;
mod imports;
mod links;
mod sources;
mod type_names;
mod workflows;
