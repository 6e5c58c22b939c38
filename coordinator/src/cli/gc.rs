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
use crate::readable::{self, Bytes, Count};
use crate::report::training;
use crate::run_folder::{RUNS, RunFolder};

/// Paths named for each place.
const LISTED: usize = 10;

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  anofpdm gc                          look, delete nothing\n  anofpdm gc --delete                 delete what nothing refers to\n  anofpdm gc --delete --checkpoints   and the checkpoints of trained networks"
)]
pub struct GcArgs {
    /// Folder of run folders
    #[arg(long, default_value = RUNS)]
    runs: PathBuf,
    /// Folder of records shared between runs
    #[arg(long, env = "ANOFPDM_CACHE")]
    cache: Option<PathBuf>,
    /// Delete what can go instead of only showing it
    #[arg(long)]
    delete: bool,
    /// Training checkpoints of trained networks can go too (their weights and loss curves stay)
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
    /// What can go, below the place; folders of checkpoints as one.
    removable: Vec<PathBuf>,
    /// What could go too, with `--checkpoints`.
    checkpoint_bytes: u64,
    /// In use by a coordinator: left alone.
    busy: bool,
}

impl Holding {
    fn of(place: &Path, busy: bool) -> Self {
        Self {
            place: place.to_path_buf(),
            files: 0,
            bytes: 0,
            removable_files: 0,
            removable_bytes: 0,
            removable: Vec::new(),
            checkpoint_bytes: 0,
            busy,
        }
    }

    fn can_go(&mut self, path: &Path, files: u64, bytes: u64) {
        let below = path.strip_prefix(&self.place).unwrap_or(path);
        self.removable.push(below.to_path_buf());
        self.removable_files += files;
        self.removable_bytes += bytes;
    }
}

/// Shows (and with `--delete` frees) what can go.
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
        return print_json(&holdings);
    }
    if holdings.is_empty() {
        println!("no run under {} and no cache", args.runs.display());
    } else {
        print_text(&holdings, args);
    }
    Ok(ExitCode::SUCCESS)
}

fn print_text(holdings: &[Holding], args: &GcArgs) {
    let header = ["place", "files", "size", "can go", "size", ""].map(str::to_owned);
    let line = |name: String, sums: [u64; 4], note: &str| {
        vec![
            name,
            Count(sums[0]).to_string(),
            Bytes(sums[1]).to_string(),
            Count(sums[2]).to_string(),
            Bytes(sums[3]).to_string(),
            note.to_owned(),
        ]
    };
    let sums = |holding: &Holding| {
        [
            holding.files,
            holding.bytes,
            holding.removable_files,
            holding.removable_bytes,
        ]
    };
    let mut total = [0; 4];
    let mut rows = Vec::new();
    for holding in holdings {
        let of = sums(holding);
        for (total, part) in total.iter_mut().zip(of) {
            *total += part;
        }
        let note = if holding.busy { "in use" } else { "" };
        rows.push(line(holding.place.display().to_string(), of, note));
    }
    if holdings.len() > 1 {
        rows.push(line("total".to_owned(), total, ""));
    }
    for line in readable::table(&header, &rows, &[1, 2, 3, 4]) {
        println!("{line}");
    }
    let freed = |holding: &&Holding| !holding.busy && !holding.removable.is_empty();
    for holding in holdings.iter().filter(freed) {
        let what = if args.delete { "deleted" } else { "can go" };
        println!("\n{what} in {}:", holding.place.display());
        for path in holding.removable.iter().take(LISTED) {
            println!("  {}", path.display());
        }
        if holding.removable.len() > LISTED {
            println!(
                "  and {} more (--json names them all)",
                Count((holding.removable.len() - LISTED) as u64)
            );
        }
    }
    let free = holdings.iter().filter(freed);
    let bytes: u64 = free.map(|holding| holding.removable_bytes).sum();
    println!();
    match (args.delete, bytes) {
        (_, 0) => println!("nothing can go"),
        (true, _) => println!("{} were freed", Bytes(bytes)),
        (false, _) => println!("nothing is deleted yet: --delete frees {}", Bytes(bytes)),
    }
    let idle = holdings.iter().filter(|holding| !holding.busy);
    let checkpoints: u64 = idle.map(|holding| holding.checkpoint_bytes).sum();
    if checkpoints > 0 && !args.checkpoints {
        println!(
            "--checkpoints frees {} more: training checkpoints of trained networks (weights and loss curves stay)",
            Bytes(checkpoints)
        );
    }
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
    let mut holding = Holding::of(folder.root(), lock.is_err());
    let delete = args.delete && lock.is_ok();
    for entry in artifacts.entries()? {
        let entry = entry?;
        holding.files += 1;
        holding.bytes += entry.bytes;
        if !wanted.contains(&entry.digest) {
            holding.can_go(&artifacts.path_of(&entry.digest), 1, entry.bytes);
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
        if files == 0 {
            continue;
        }
        holding.checkpoint_bytes += bytes;
        if args.checkpoints {
            holding.can_go(&path, files, bytes);
            if delete && path.is_dir() {
                // Runs of an older version have them nowhere else.
                training::keep(folder, network)?;
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
    let mut holding = Holding::of(path, false);
    for entry in cache.entries()? {
        holding.files += 1;
        holding.bytes += entry.bytes;
        if entry.unused {
            holding.can_go(&entry.path, 1, entry.bytes);
            if delete {
                std::fs::remove_file(&entry.path)?;
            }
        }
    }
    Ok(holding)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use anofpdm_common::ids::Digest;

    use super::*;
    use crate::ledger::Entry;
    use crate::ledger::journal::RunJournal;

    #[test]
    fn checkpoints_go_and_what_was_learned_stays() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("spec.toml"), "").unwrap();
        let folder = RunFolder::open(dir.path()).unwrap();
        let saved = folder.checkpoints().join("guided/step-00000200");
        fs::create_dir_all(&saved).unwrap();
        let meta = r#"{"loss":{"points":[{"step":200,"loss":0.5}]}}"#;
        fs::write(saved.join("meta.json"), meta).unwrap();
        let weights = Digest::of(b"weights");
        let entry = Entry::Weights {
            network: "guided".to_owned(),
            weights,
        };
        RunJournal::open(&folder).unwrap().append(&entry).unwrap();
        let artifacts = ArtifactStore::open(&folder.records()).unwrap();
        let kept = artifacts.put(b"weights").unwrap();
        let stray = artifacts.put(b"nobody's").unwrap();

        let args = |delete, checkpoints| GcArgs {
            runs: PathBuf::new(),
            cache: None,
            delete,
            checkpoints,
            json: false,
        };
        let look = |delete, checkpoints| run_folder(&folder, &args(delete, checkpoints)).unwrap();
        let before = crate::report::training::curves(&folder);
        let seen = look(false, false);
        assert_eq!((seen.files, seen.removable_files), (3, 1));
        assert_eq!(seen.checkpoint_bytes, meta.len() as u64);
        let path = artifacts.path_of(&stray);
        assert_eq!(seen.removable, [path.strip_prefix(dir.path()).unwrap()]);
        assert!(path.exists() && saved.exists(), "only looked at");

        let gone = look(true, true);
        assert_eq!(gone.removable_files, 2);
        assert!(
            gone.removable
                .contains(&PathBuf::from("checkpoints/guided"))
        );
        assert!(!path.exists() && !saved.exists());
        assert!(artifacts.path_of(&kept).exists());
        assert_eq!(before["guided"].train.len(), 1);
        assert_eq!(crate::report::training::curves(&folder), before);
        let left = look(true, true);
        assert_eq!((left.removable_files, left.checkpoint_bytes), (0, 0));
    }
}
