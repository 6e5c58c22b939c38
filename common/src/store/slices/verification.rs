//! A subject's bytes against the digest that its manifest names: once a process, for each state of the file.
//!
//! What was found whole is remembered by what the system says of the file (device, number, length, times of its last
//! change), so a file that is replaced or written to is read again before it is believed; one that was written just now
//! is not remembered, since a second change within the tick of the file system's clock would not be seen. The bytes are read through the
//! very handle that the slices are read through afterwards. They are not mapped: a file cut by somebody else in the
//! meantime is then an error instead of the end of the process, and a large store takes no memory.

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::StoreError;
use crate::ids::Digest;

/// Told the number of bytes read since the last call; breaks where the reading should stop.
pub type Watch<'a> = dyn Fn(u64) -> ControlFlow<()> + Sync + 'a;

/// Bytes read at once: they stay in the cache of a core until they are hashed.
const CHUNK: usize = 256 << 10;

/// States of files that are remembered; beyond it all are forgotten, and read again when they are needed.
const MOST_REMEMBERED: usize = 1 << 17;

/// A file that was changed less than this ago may change again without another time: some file systems keep seconds.
const SETTLED: Duration = Duration::from_secs(2);

/// A file as it was when it was read, and what it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Seal {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
    digest: Digest,
}

impl Seal {
    fn of(metadata: &Metadata, digest: Digest) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            digest,
        }
    }

    /// True when a later change would show.
    fn is_settled(&self, now: SystemTime) -> bool {
        let (seconds, nanoseconds) = self.changed;
        let changed = u64::try_from(seconds).ok().and_then(|seconds| {
            let nanoseconds = u32::try_from(nanoseconds).ok()?;
            UNIX_EPOCH.checked_add(Duration::new(seconds, nanoseconds))
        });
        // A time to come is another machine's clock, whose present is not known here.
        changed.is_none_or(|changed| match now.duration_since(changed) {
            Ok(age) => age >= SETTLED,
            Err(ahead) => ahead.duration() >= SETTLED,
        })
    }
}

/// True once the file was found whole. Locked while it is read, so that no other thread reads it too.
type Whole = Arc<Mutex<bool>>;

static KNOWN: LazyLock<Mutex<HashMap<Seal, Whole>>> = LazyLock::new(Mutex::default);

/// Checks that `file`, open from `path`, has the bytes that `digest` names.
pub(super) fn verify(
    file: &File,
    path: &Path,
    digest: &Digest,
    watch: &Watch<'_>,
) -> Result<(), StoreError> {
    verify_at(SystemTime::now(), file, path, digest, watch)
}

fn verify_at(
    now: SystemTime,
    file: &File,
    path: &Path,
    digest: &Digest,
    watch: &Watch<'_>,
) -> Result<(), StoreError> {
    let metadata = file.metadata().map_err(StoreError::read(path))?;
    let seal = Seal::of(&metadata, *digest);
    let whole = remembered(seal);
    let mut whole = whole.lock().unwrap_or_else(PoisonError::into_inner);
    if *whole {
        return Ok(());
    }
    match digest_of(file, watch).map_err(StoreError::read(path))? {
        None => Err(StoreError::Stopped),
        Some(found) if found == *digest => {
            *whole = seal.is_settled(now);
            Ok(())
        }
        Some(_) => Err(StoreError::damaged(
            path,
            "its bytes are not those that the manifest names",
        )),
    }
}

fn remembered(seal: Seal) -> Whole {
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if known.len() >= MOST_REMEMBERED {
        known.clear();
    }
    Arc::clone(known.entry(seal).or_default())
}

/// The digest of all bytes of a file; `None` where `watch` broke.
fn digest_of(file: &File, watch: &Watch<'_>) -> io::Result<Option<Digest>> {
    let mut hasher = blake3::Hasher::new();
    let mut chunk = vec![0; CHUNK];
    let mut offset = 0;
    loop {
        let read = match file.read_at(&mut chunk, offset) {
            Ok(0) => return Ok(Some(hasher.finalize().into())),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        hasher.update(&chunk[..read]);
        offset += read as u64;
        if watch(read as u64).is_break() {
            return Ok(None);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    /// Bytes that verifying the file at `path` read, and whether it was whole; as if it were an hour old.
    fn read(path: &Path, digest: &Digest) -> (u64, bool) {
        read_at(SystemTime::now() + Duration::from_secs(3_600), path, digest)
    }

    fn read_at(now: SystemTime, path: &Path, digest: &Digest) -> (u64, bool) {
        let bytes = AtomicU64::new(0);
        let file = File::open(path).unwrap();
        let found = verify_at(now, &file, path, digest, &|read| {
            bytes.fetch_add(read, Ordering::Relaxed);
            ControlFlow::Continue(())
        });
        if let Err(error) = &found {
            let text = error.to_string();
            assert!(text.contains(&path.display().to_string()), "{text}");
            assert!(
                text.contains("its bytes are not those that the manifest names"),
                "{text}"
            );
        }
        (bytes.into_inner(), found.is_ok())
    }

    #[test]
    fn a_file_is_read_once_for_each_state_of_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let good = vec![7; 3 * CHUNK + 5];
        let digest = Digest::of(&good);
        let all = good.len() as u64;
        std::fs::write(&path, &good).unwrap();
        assert_eq!(read(&path, &digest), (all, true));
        assert_eq!(read(&path, &digest), (0, true));
        // The same file is not what another manifest names.
        assert_eq!(read(&path, &Digest::of(b"other")), (all, false));

        // Another file under the same name, of the same length and time.
        let time = std::fs::metadata(&path).unwrap().modified().unwrap();
        let mut bad = good.clone();
        bad[CHUNK] = 0;
        let other = folder.path().join("b");
        std::fs::write(&other, &bad).unwrap();
        let file = File::options().write(true).open(&other).unwrap();
        file.set_modified(time).unwrap();
        std::fs::rename(&other, &path).unwrap();
        assert_eq!(read(&path, &digest), (all, false));
        // What was not whole is not remembered as if it were.
        assert_eq!(read(&path, &digest), (all, false));
    }

    #[test]
    fn what_was_written_just_now_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, b"good").unwrap();
        let digest = Digest::of(b"good");
        let written = std::fs::metadata(&path).unwrap().modified().unwrap();
        let soon = written + SETTLED / 2;
        assert_eq!(read_at(soon, &path, &digest), (4, true));
        assert_eq!(read_at(soon, &path, &digest), (4, true));
        // A server whose clock is ahead.
        let before = written - Duration::from_secs(60);
        assert_eq!(read_at(before, &path, &digest), (4, true));
        assert_eq!(read_at(before, &path, &digest), (0, true));
    }

    #[test]
    fn reading_stops_where_it_is_asked_to() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, vec![7; 3 * CHUNK]).unwrap();
        let file = File::open(&path).unwrap();
        let digest = Digest::of(&vec![7; 3 * CHUNK]);
        let stopped = verify(&file, &path, &digest, &|_| ControlFlow::Break(()));
        assert!(matches!(stopped, Err(StoreError::Stopped)));
        assert_eq!(read(&path, &digest), (3 * CHUNK as u64, true));
    }

    #[test]
    fn two_threads_read_it_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let bytes = vec![1; 20 * CHUNK];
        std::fs::write(&path, &bytes).unwrap();
        let digest = Digest::of(&bytes);
        let total: u64 = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| read(&path, &digest)))
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .inspect(|(_, whole)| assert!(whole))
                .map(|(bytes, _)| bytes)
                .sum()
        });
        assert_eq!(total, bytes.len() as u64);
    }
}
