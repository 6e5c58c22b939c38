//! `samples.log`: which slices every step was trained on, as the ranks said themselves.
//!
//! One line a step: step (from 1), generation, the slice numbers of the global batch in order,
//! separated by commas. A step that a later generation repeats, because it was not in a checkpoint,
//! has a line for each; the last one is what the weights know.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anofpdm_common::store::durable::DiskError;

/// Name of the log in the folder of checkpoints.
pub const SAMPLES_FILE: &str = "samples.log";
/// The log before the present one.
const EARLIER_FILE: &str = "samples.log.1";
/// A log of this size becomes the earlier one, bytes.
const SIZE_LIMIT: u64 = 64 << 20;
/// Longest line of a batch of 65,536 slices, bytes: how far back the end of the last whole line may lie.
const LINE_LIMIT: u64 = 1 << 20;

#[derive(Debug)]
pub(super) struct SamplesLog {
    folder: PathBuf,
    generation: u64,
    file: File,
    bytes: u64,
}

impl SamplesLog {
    /// Continues the log in `folder`, after what an interrupted write has left.
    pub(super) fn open(folder: &Path, generation: u64) -> Result<Self, DiskError> {
        let path = folder.join(SAMPLES_FILE);
        let failed = |error| DiskError::new("open", &path, error);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(failed)?;
        let bytes = end_of_lines(&mut file).map_err(failed)?;
        file.set_len(bytes).map_err(failed)?;
        file.seek(SeekFrom::Start(bytes)).map_err(failed)?;
        Ok(Self {
            folder: folder.to_owned(),
            generation,
            file,
            bytes,
        })
    }

    /// Adds the slices of `step`.
    pub(super) fn push(&mut self, step: u64, slices: &[usize]) -> Result<(), DiskError> {
        let numbers: Vec<String> = slices.iter().map(usize::to_string).collect();
        let line = format!("{step} {} {}\n", self.generation, numbers.join(","));
        if self.bytes + line.len() as u64 > SIZE_LIMIT {
            self.turn()?;
        }
        let path = self.folder.join(SAMPLES_FILE);
        self.file
            .write_all(line.as_bytes())
            .map_err(|error| DiskError::new("write", &path, error))?;
        self.bytes += line.len() as u64;
        Ok(())
    }

    /// Starts an empty log; the full one stays as the earlier one.
    fn turn(&mut self) -> Result<(), DiskError> {
        let path = self.folder.join(SAMPLES_FILE);
        std::fs::rename(&path, self.folder.join(EARLIER_FILE))
            .map_err(|error| DiskError::new("rename", &path, error))?;
        *self = Self::open(&self.folder, self.generation)?;
        Ok(())
    }
}

/// Where the last whole line ends.
fn end_of_lines(file: &mut File) -> std::io::Result<u64> {
    let bytes = file.metadata()?.len();
    let start = bytes.saturating_sub(LINE_LIMIT);
    let mut tail = Vec::new();
    file.seek(SeekFrom::Start(start))?;
    file.take(LINE_LIMIT).read_to_end(&mut tail)?;
    let whole = tail.iter().rposition(|byte| *byte == b'\n');
    Ok(whole.map_or(start, |end| start + end as u64 + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_follow_whole_lines_only_and_the_size_is_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(SAMPLES_FILE);
        let read = || std::fs::read_to_string(&path).unwrap();
        let mut log = SamplesLog::open(folder.path(), 1).unwrap();
        log.push(1, &[3, 1]).unwrap();
        log.push(2, &[0, 2]).unwrap();
        drop(log);
        std::fs::write(&path, read() + "3 1 1,").unwrap();
        let mut log = SamplesLog::open(folder.path(), 2).unwrap();
        log.push(3, &[1, 4]).unwrap();
        assert_eq!(read(), "1 1 3,1\n2 1 0,2\n3 2 1,4\n");
        log.bytes = SIZE_LIMIT;
        log.push(4, &[5]).unwrap();
        assert_eq!(read(), "4 2 5\n");
        assert!(folder.path().join(EARLIER_FILE).is_file());
    }
}
