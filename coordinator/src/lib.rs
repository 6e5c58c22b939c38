//! What plans, watches and adds up. The command people type is `anofpdm`.

pub mod arrays;
pub mod cache;
pub mod cli;
pub mod compare;
pub mod dataset;
pub mod evaluate;
pub mod export;
pub mod ingest;
pub mod known_runs;
pub mod ledger;
pub mod plan;
pub mod precision;
pub mod preflight;
pub mod readable;
pub mod report;
pub mod run;
pub mod run_folder;
pub mod screen;
pub mod spec_file;
pub mod store_check;
pub mod stored_record;
pub mod version;
pub mod volume_masks;
