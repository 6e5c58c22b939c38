//! What plans, watches and adds up: the command `anofpdm`. It never links libtorch.

pub mod cli;
pub mod ingest;
