//! `anofpdm gc`: what run folders and the record cache hold, and what can go.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anofpdm_common::ids::Digest;
use anofpdm_common::store::artifacts::ArtifactStore;
use anyhow::Context;
use clap::Args;
use serde::Serialize;

use super::print_json;
use crate::cache::RecordCache;
use crate::ledger::journal::read_ledger;
use crate::run_folder::RunFolder;

/// Arguments of `anofpdm gc`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  anofpdm gc                  look, delete nothing\n  anofpdm gc --delete         delete what nothing refers to\n  anofpdm gc --delete --checkpoints   and the training checkpoints of trained networks"
)]
pub struct GcArgs {
    /// Folder of run folders
    #[arg(long, default_value = "runs")]
    runs: PathBuf,
    /// Folder of records shared between runs
    #[arg(long, env = "ANOFPDM_CACHE")]
    cache: Option<PathBuf>,
    /// Delete what can go instead of only showing it
    #[arg(long)]
    delete: bool,
    /// Training checkpoints of trained networks can go too (their weights stay)
    #[arg(long)]
    checkpoints: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Holding {
    place: PathBuf,
    files: u64,
    bytes: u64,
    removable_files: u64,
    removable_bytes: u64,
    /// In use by a coordinator: left alone.
    busy: bool,
}

/// Shows (and with `--delete` frees) what can go.
///
/// # Errors
/// When a folder cannot be read or a file cannot be deleted.
pub fn run(args: &GcArgs) -> anyhow::Result<ExitCode> {
    let mut holdings = Vec::new();
    if args.runs.is_dir() {
        let mut folders: Vec<PathBuf> = std::fs::read_dir(&args.runs)
            .with_context(|| args.runs.display().to_string())?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.is_dir())
            .collect();
        folders.sort();
        for path in folders {
            if let Ok(folder) = RunFolder::open(&path) {
                holdings
                    .push(run_folder(&folder, args).with_context(|| path.display().to_string())?);
            }
        }
    }
    if let Some(cache) = &args.cache {
        holdings.push(record_cache(cache, args.delete)?);
    }
    if args.json {
        print_json(&holdings)?;
        return Ok(ExitCode::SUCCESS);
    }
    for holding in &holdings {
        println!(
            "{:<40} {:>7} files {:>10}  can go: {:>7} files {:>10}{}",
            holding.place.display(),
            holding.files,
            megabytes(holding.bytes),
            holding.removable_files,
            megabytes(holding.removable_bytes),
            if holding.busy { "  (in use)" } else { "" }
        );
    }
    if holdings.is_empty() {
        println!("no run under {} and no cache", args.runs.display());
    } else if args.delete {
        println!("deleted what could go");
    }
    Ok(ExitCode::SUCCESS)
}

#[allow(clippy::cast_precision_loss)]
fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

/// Artifacts that neither journal nor plans refer to, and on request checkpoints of trained networks.
fn run_folder(folder: &RunFolder, args: &GcArgs) -> anyhow::Result<Holding> {
    let lock = folder.lock();
    let ledger = read_ledger(folder)?;
    let artifacts = ArtifactStore::open(&folder.records())?;
    let wanted: BTreeSet<Digest> = ledger
        .referenced()
        .chain(ledger.weights.values().copied())
        .chain(ledger.planned.values().map(|(plan, _)| *plan))
        .collect();
    let mut holding = Holding {
        place: folder.root().to_path_buf(),
        files: 0,
        bytes: 0,
        removable_files: 0,
        removable_bytes: 0,
        busy: lock.is_err(),
    };
    let delete = args.delete && lock.is_ok();
    for entry in artifacts.entries()? {
        let entry = entry?;
        holding.files += 1;
        holding.bytes += entry.bytes;
        if !wanted.contains(&entry.digest) {
            holding.removable_files += 1;
            holding.removable_bytes += entry.bytes;
            if delete {
                artifacts.remove(&entry.digest)?;
            }
        }
    }
    for network in ledger.weights.keys() {
        let path = folder.checkpoints().join(network);
        let (files, bytes) = size_of(&path)?;
        holding.files += files;
        holding.bytes += bytes;
        if args.checkpoints {
            holding.removable_files += files;
            holding.removable_bytes += bytes;
            if delete && path.is_dir() {
                std::fs::remove_dir_all(&path)?;
            }
        }
    }
    Ok(holding)
}

/// Files and bytes below a folder; none where it is absent.
fn size_of(path: &Path) -> std::io::Result<(u64, u64)> {
    let (mut files, mut bytes) = (0, 0);
    let mut open = vec![path.to_path_buf()];
    while let Some(folder) = open.pop() {
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        for entry in entries {
            let entry = entry?;
            let metadata = entry.metadata()?;
            if metadata.is_dir() {
                open.push(entry.path());
            } else {
                files += 1;
                bytes += metadata.len();
            }
        }
    }
    Ok((files, bytes))
}

/// Cached records that no run folder shares.
fn record_cache(path: &Path, delete: bool) -> anyhow::Result<Holding> {
    let cache = RecordCache::open(path).with_context(|| path.display().to_string())?;
    let mut holding = Holding {
        place: path.to_path_buf(),
        files: 0,
        bytes: 0,
        removable_files: 0,
        removable_bytes: 0,
        busy: false,
    };
    for entry in cache.entries()? {
        holding.files += 1;
        holding.bytes += entry.bytes;
        if entry.unused {
            holding.removable_files += 1;
            holding.removable_bytes += entry.bytes;
            if delete {
                std::fs::remove_file(&entry.path)?;
            }
        }
    }
    Ok(holding)
}
