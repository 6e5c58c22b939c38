//! What plans, watches and adds up. The command people type is `anofpdm`.
//!
//! | module | concept |
//! |---|---|
//! | [`cli`] | the command line, one file a command |
//! | [`bench_file`] | a spec file with what surrounds it |
//! | [`dataset`] | the slices of a run, split by patient |
//! | [`store_check`] | a store against its manifest, before it is believed |
//! | [`ingest`] | NIfTI to slice store; the phantom |
//! | [`plan`] | from spec to batches, cells, shards, estimates |
//! | [`precision`] | the number format of a run |
//! | [`preflight`] | what is refused before anything is computed |
//! | [`run_folder`] | the folder of a run and its lock |
//! | [`cache`] | records of other runs |
//! | [`ledger`] | what the journal says of a run |
//! | [`drive`] | submit, watch, retry, resume |
//! | [`calibrate`] | thresholds from image-level labels |
//! | [`tune`] | settings of the baselines from pixel labels |
//! | [`aggregate`] | records added up to rows |
//! | [`report`] | tables |
//! | [`stored_record`] | a record by its digest |
//! | [`arrays`] | anyone's array files |

pub mod aggregate;
pub mod arrays;
pub mod bench_file;
pub mod cache;
pub mod calibrate;
pub mod cli;
pub mod dataset;
pub mod drive;
pub mod ingest;
pub mod ledger;
pub mod plan;
pub mod precision;
pub mod preflight;
pub mod report;
pub mod run_folder;
pub mod store_check;
pub mod stored_record;
pub mod tune;
