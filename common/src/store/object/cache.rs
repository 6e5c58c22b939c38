//! Local copies of what lies in an object store, within a limit: what was not used for longest goes first.
//!
//! Several processes may share a folder. Each counts what it adds and looks at all of it now and then; a copy that
//! another process removes meanwhile is fetched again by whoever misses it, and one that is open stays readable.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use crate::ids::Digest;

/// Looked at again once this share of the limit was added.
const LOOK_SHARE: u64 = 16;
/// What is left of a folder that was too full, in percent of the limit.
const LEFT_PERCENT: u64 = 90;
/// Use is noted this exactly: each note makes the copy's next reader hash it again.
const NOTED: Duration = Duration::from_secs(60 * 60);
/// What a copy is called until it is whole.
const PART: &[u8] = b"part-";
/// A part that was not written to for so long is left over.
const PART_AGE: Duration = Duration::from_secs(24 * 60 * 60);
/// How deep copies lie: `stores/DIGEST/subjects/FILE`.
const DEPTH: usize = 4;

#[derive(Debug)]
pub struct CacheFolder {
    root: PathBuf,
    limit: u64,
    /// Bytes added since all of it was last looked at.
    added: AtomicU64,
}

#[derive(Debug)]
struct Copy {
    used: SystemTime,
    bytes: u64,
    path: PathBuf,
}

impl CacheFolder {
    /// At most `limit` bytes of copies below `root`.
    pub fn new(root: &Path, limit: u64) -> Self {
        Self {
            root: root.to_owned(),
            limit,
            // What is there already was never looked at.
            added: AtomicU64::new(limit / LOOK_SHARE),
        }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Counts a new copy, and makes room where it is one too many.
    pub fn added(&self, bytes: u64) {
        let added = self.added.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if added > self.limit / LOOK_SHARE {
            self.added.store(0, Ordering::Relaxed);
            self.make_room();
        }
    }

    /// Notes that a copy is still of use. Nothing depends on it but the order in which copies go.
    pub fn used(path: &Path) {
        let Ok(file) = File::open(path) else {
            return;
        };
        let modified = file.metadata().and_then(|metadata| metadata.modified());
        let now = SystemTime::now();
        if modified.is_ok_and(|time| now.duration_since(time).is_ok_and(|age| age > NOTED)) {
            // The file system may be mounted without times, or belong to somebody else.
            drop(file.set_modified(now));
        }
    }

    fn make_room(&self) {
        let mut copies = Vec::new();
        collect(&self.root, DEPTH, &mut copies);
        let mut total: u64 = copies.iter().map(|copy| copy.bytes).sum();
        if total <= self.limit {
            return;
        }
        let aim = self.limit / 100 * LEFT_PERCENT;
        copies.sort_unstable_by(|a, b| a.used.cmp(&b.used).then_with(|| a.path.cmp(&b.path)));
        // The last one was made a moment ago, for somebody who is about to open it.
        copies.pop();
        let (mut gone, before) = (0_usize, total);
        for copy in copies {
            if total <= aim {
                break;
            }
            if fs::remove_file(&copy.path).is_ok() {
                gone += 1;
            }
            total = total.saturating_sub(copy.bytes);
        }
        tracing::debug!(
            folder = %self.root.display(),
            before,
            left = total,
            gone,
            "local copies removed"
        );
    }
}

/// Copies have names that nothing else has: a digest, or a subject of a store's mirror.
fn is_copy(path: &Path) -> bool {
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    let folder = path
        .parent()
        .and_then(Path::file_name)
        .and_then(|name| name.to_str());
    name.parse::<Digest>().is_ok() && folder.is_some_and(|folder| name.starts_with(folder))
        || (name.ends_with(".safetensors") || name.as_bytes().starts_with(PART))
            && folder == Some("subjects")
}

fn collect(folder: &Path, depth: usize, copies: &mut Vec<Copy>) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.filter_map(Result::ok) {
        let path = entry.path();
        // Not followed where it is a link.
        let Ok(metadata) = entry.metadata() else {
            continue;
        };
        if metadata.is_dir() && depth > 0 {
            collect(&path, depth - 1, copies);
        } else if metadata.is_file() && is_copy(&path) {
            let used = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            // Somebody writes it, or did and died.
            let young = used.elapsed().map_or(true, |age| age < PART_AGE);
            if young && entry.file_name().as_encoded_bytes().starts_with(PART) {
                continue;
            }
            copies.push(Copy {
                used,
                bytes: metadata.len(),
                path,
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copy(root: &Path, content: &[u8], hours: u64) -> PathBuf {
        let name = Digest::of(content).to_string();
        let path = root.join(&name[..2]).join(&name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        let time = SystemTime::now() - Duration::from_secs(hours * 3_600);
        File::open(&path).unwrap().set_modified(time).unwrap();
        path
    }

    #[test]
    fn the_oldest_go_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let others = ["remote", "subjects.safetensors", "notes.txt"].map(|name| root.join(name));
        for other in &others {
            fs::write(other, vec![0; 500]).unwrap();
        }
        let copies: Vec<PathBuf> = (0..10_u8)
            .map(|index| copy(root, &[index; 100], 20 - u64::from(index)))
            .collect();
        let subject = root.join("stores/x/subjects/a.safetensors");
        fs::create_dir_all(subject.parent().unwrap()).unwrap();
        fs::write(&subject, [0; 100]).unwrap();
        let parts = ["part-old", "part-new"].map(|name| subject.with_file_name(name));
        for (part, hours) in parts.iter().zip([48, 0]) {
            fs::write(part, [0; 0]).unwrap();
            let time = SystemTime::now() - Duration::from_secs(hours * 3_600);
            File::open(part).unwrap().set_modified(time).unwrap();
        }

        let cache = CacheFolder::new(root, 1_100);
        cache.added(100);
        assert!(copies.iter().all(|path| path.exists()), "1,100 bytes fit");
        // One used again goes last.
        CacheFolder::used(&copies[0]);
        copy(root, b"one too many", 0);
        cache.added(100);
        let left: Vec<bool> = copies.iter().map(|path| path.exists()).collect();
        let gone = left.iter().filter(|there| !**there).count();
        assert_eq!(
            left,
            [vec![true], vec![false; gone], vec![true; 9 - gone]].concat()
        );
        assert_eq!(gone, 2, "besides the old part; down to 90 % of 1,100");
        assert_eq!(parts.map(|part| part.exists()), [false, true]);
        assert!(subject.exists() && others.iter().all(|path| path.exists()));
    }

    #[test]
    fn all_is_looked_at_now_and_then() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let cache = CacheFolder::new(root, 1_600);
        cache.added(1);
        let old = copy(root, &[1; 2_000], 5);
        let new = copy(root, &[2; 2_000], 4);
        cache.added(100);
        assert!(old.exists(), "100 bytes are a sixteenth");
        cache.added(1);
        assert!(!old.exists());
        assert!(
            new.exists(),
            "too large as well, but somebody has just fetched it"
        );
    }
}
