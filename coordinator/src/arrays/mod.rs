//! Stacks of images from `.npy`, `.npz` and `.safetensors` files, of any number type.
//!
//! An array is named on the command line as `FILE`, or `FILE:NAME` where a file holds several. A header may lie, so nothing
//! is reserved for elements before the file is known to hold them.

mod number;
mod numpy;
mod stored;
mod tensors;

use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use self::stored::Trouble;

#[derive(Debug, thiserror::Error)]
pub enum ArrayError {
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{}: the name must end in .npy, .npz or .safetensors", path.display())]
    Format { path: PathBuf },
    #[error("{}: {reason}", path.display())]
    Broken { path: PathBuf, reason: String },
    #[error("{}: {reason}; it holds: {}", path.display(), names.join(", "))]
    Name {
        path: PathBuf,
        reason: String,
        names: Vec<String>,
    },
    #[error("{}: shape {shape:?} is not [N, H, W] or [N, 1, H, W]", path.display())]
    Shape { path: PathBuf, shape: Vec<usize> },
}

/// What a number of a file becomes.
pub trait Element: Copy + Default {
    /// Converts; `Err` says why not and what to do.
    fn from_number(value: f64) -> Result<Self, String>;
}

/// A pixel of a mask: 0 is background, whole numbers from 1 on are set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MaskPixel(pub u8);

impl Element for MaskPixel {
    fn from_number(value: f64) -> Result<Self, String> {
        if value == 0.0 {
            Ok(Self(0))
        } else if value >= 1.0 {
            Ok(Self(1))
        } else {
            Err(format!(
                "{value} in a mask: 0 is background and 1 or more is set (threshold probabilities first)"
            ))
        }
    }
}

impl From<MaskPixel> for u8 {
    fn from(MaskPixel(value): MaskPixel) -> Self {
        value
    }
}

/// An anomaly score as the file has it; checked where it is used.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Score(pub f64);

impl Element for Score {
    fn from_number(value: f64) -> Result<Self, String> {
        Ok(Self(value))
    }
}

impl From<Score> for f64 {
    fn from(Score(value): Score) -> Self {
        value
    }
}

/// A stack of images of one size, row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct Images<T> {
    pub count: usize,
    pub height: usize,
    pub width: usize,
    /// `count * height * width` values.
    pub values: Vec<T>,
}

impl<T> Images<T> {
    pub const fn shape(&self) -> [usize; 3] {
        [self.count, self.height, self.width]
    }
}

/// Reads the array named `FILE` or `FILE:NAME`. A file with a single array needs no name.
pub fn read_images<T: Element>(argument: &str) -> Result<Images<T>, ArrayError> {
    let (path, name) = split_name(argument);
    let Some(format) = Format::of(path) else {
        return Err(ArrayError::Format {
            path: path.to_owned(),
        });
    };
    let read = || {
        let (file, bytes) = open(path)?;
        match format {
            Format::Npy => match name {
                None => numpy::read_array(file, bytes),
                Some(name) => Err(Trouble::Broken(format!(
                    "a .npy file has no array named '{name}'"
                ))),
            },
            Format::Npz => numpy::read_from_archive(file, bytes, name),
            Format::Safetensors => tensors::read(file, bytes, name),
        }
    };
    read().map_err(|trouble| trouble.in_file(path))
}

/// How a file is laid out, by the end of its name.
#[derive(Debug, Clone, Copy)]
enum Format {
    Npy,
    Npz,
    Safetensors,
}

impl Format {
    fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()? {
            "npy" => Some(Self::Npy),
            "npz" => Some(Self::Npz),
            "safetensors" => Some(Self::Safetensors),
            _ => None,
        }
    }
}

/// `FILE:NAME`, unless a file of the whole name exists or what is before the colon is no array file: a colon may be part
/// of a path.
fn split_name(argument: &str) -> (&Path, Option<&str>) {
    let whole = Path::new(argument);
    match argument.rsplit_once(':') {
        Some((path, name))
            if !whole.is_file() && !name.is_empty() && Format::of(Path::new(path)).is_some() =>
        {
            (Path::new(path), Some(name))
        }
        _ => (whole, None),
    }
}

/// A file, and how many bytes it has. What has no size (a pipe, a device) is not waited for.
fn open(path: &Path) -> Result<(BufReader<File>, u64), Trouble> {
    let metadata = std::fs::metadata(path)?;
    if !metadata.is_file() {
        let kind = if metadata.is_dir() {
            "a folder"
        } else {
            "no regular file"
        };
        return Err(Trouble::Broken(format!("is {kind}")));
    }
    Ok((BufReader::new(File::open(path)?), metadata.len()))
}

/// The array to read: the one named, or the only one.
fn choose(names: Vec<String>, name: Option<&str>) -> Result<String, Trouble> {
    let reason = match name {
        Some(name) if names.iter().any(|one| one == name) => return Ok(name.to_owned()),
        Some(name) => format!("no array named '{name}'"),
        None if names.len() == 1 => return Ok(names.concat()),
        None => "say which array as FILE:NAME".to_owned(),
    };
    let mut names = names;
    names.sort_unstable();
    Err(Trouble::Name { reason, names })
}

#[cfg(test)]
mod tests;
