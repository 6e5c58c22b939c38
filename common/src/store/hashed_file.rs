//! A file whose digest is known once it is written.

use std::fs::File;
use std::io::{self, Seek, Write};

use crate::ids::Digest;

/// Bytes on their way to a file, and their digest.
#[derive(Debug)]
pub(super) struct HashedFile<'a> {
    file: &'a mut File,
    hasher: blake3::Hasher,
}

impl<'a> HashedFile<'a> {
    pub(super) fn new(file: &'a mut File) -> Self {
        Self {
            file,
            hasher: blake3::Hasher::new(),
        }
    }

    /// Forgets what came so far.
    pub(super) fn restart(&mut self) -> io::Result<()> {
        self.hasher.reset();
        self.file.set_len(0)?;
        self.file.rewind()
    }

    pub(super) fn digest(&self) -> Digest {
        self.hasher.finalize().into()
    }
}

impl Write for HashedFile<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hasher.update(bytes.get(..written).unwrap_or_default());
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
