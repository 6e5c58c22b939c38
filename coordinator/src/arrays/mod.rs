//! Stacks of images from `.npy`, `.npz` and `.safetensors` files, of any number type.
//!
//! An array is named on the command line as `FILE`, or `FILE:NAME` where a file holds several.

mod number;

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use ndarray::ArrayD;
use ndarray_npy::{
    NpzReader, ReadDataError, ReadNpyError, ReadNpyExt, ReadNpzError, ReadableElement,
};
use py_literal::Value as Descriptor;
use safetensors::tensor::Metadata;

use self::number::NumberType;

/// Longest safetensors header that is read, bytes.
const LONGEST_HEADER: u64 = 1 << 24;
/// Most elements room is made for before they are seen: a header may lie.
const PREALLOCATED: usize = 1 << 20;

/// Why an array could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ArrayError {
    /// The file cannot be opened or read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file's name ends in something else.
    #[error("{}: the name must end in .npy, .npz or .safetensors", path.display())]
    Format {
        /// The file.
        path: PathBuf,
    },
    /// The file is broken.
    #[error("{}: {reason}", path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The file holds several arrays, or not the one asked for.
    #[error("{}: {reason}; it holds: {}", path.display(), names.join(", "))]
    Name {
        /// The file.
        path: PathBuf,
        /// What is missing.
        reason: String,
        /// The arrays it holds.
        names: Vec<String>,
    },
    /// The array is no stack of images.
    #[error("{}: shape {shape:?} is not [N, H, W] or [N, 1, H, W]", path.display())]
    Shape {
        /// The file.
        path: PathBuf,
        /// The shape it has.
        shape: Vec<usize>,
    },
}

/// What a number of a file becomes.
pub trait Element: Sized + Clone {
    /// Converts; `Err` says why not and what to do.
    ///
    /// # Errors
    /// When this number has no such meaning.
    fn from_number(value: f64) -> Result<Self, String>;
}

/// A pixel of a mask: 0 is background, whole numbers from 1 on are set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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

/// An anomaly score, rounded to f32; checked where it is used.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Score(pub f32);

impl Element for Score {
    fn from_number(value: f64) -> Result<Self, String> {
        Ok(Self(value as f32))
    }
}

impl From<Score> for f32 {
    fn from(Score(value): Score) -> Self {
        value
    }
}

/// A stack of images of one size, row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct Images<T> {
    /// Number of images.
    pub count: usize,
    /// Rows of an image.
    pub height: usize,
    /// Columns of an image.
    pub width: usize,
    /// `count * height * width` values.
    pub values: Vec<T>,
}

impl<T> Images<T> {
    /// Count, height and width.
    pub const fn shape(&self) -> [usize; 3] {
        [self.count, self.height, self.width]
    }
}

/// Reads the array named `FILE` or `FILE:NAME`. A file with a single array needs no name.
///
/// # Errors
/// When the file or the array is not there, is broken, or is no stack of images.
pub fn read_images<T: Element>(argument: &str) -> Result<Images<T>, ArrayError> {
    let (path, name) = split_name(argument);
    let array = read_array::<T>(path, name)?;
    let (count, height, width) = match *array.shape() {
        [count, height, width] | [count, 1, height, width] => (count, height, width),
        ref other => {
            return Err(ArrayError::Shape {
                path: path.to_owned(),
                shape: other.to_vec(),
            });
        }
    };
    // Iteration follows the shape whatever order (C or Fortran) the file stores.
    let values = if array.is_standard_layout() {
        array.into_raw_vec_and_offset().0
    } else {
        array.iter().cloned().collect()
    };
    let values = values.into_iter().map(|Stored(value)| value).collect();
    Ok(Images {
        count,
        height,
        width,
        values,
    })
}

/// `FILE:NAME`, unless a file of the whole name exists (a colon may be part of a path).
fn split_name(argument: &str) -> (&Path, Option<&str>) {
    let whole = Path::new(argument);
    match argument.rsplit_once(':') {
        Some((path, name)) if !whole.is_file() && !name.is_empty() => (Path::new(path), Some(name)),
        _ => (whole, None),
    }
}

fn read_array<T: Element>(
    path: &Path,
    name: Option<&str>,
) -> Result<ArrayD<Stored<T>>, ArrayError> {
    let open = || {
        File::open(path)
            .map(BufReader::new)
            .map_err(|source| io_error(path, source))
    };
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("npy") => match name {
            None => ArrayD::read_npy(open()?).map_err(|error| npy_error(path, error)),
            Some(name) => Err(broken(
                path,
                format!("a .npy file has no array named '{name}'"),
            )),
        },
        Some("npz") => read_npz(path, open()?, name),
        Some("safetensors") => read_safetensors(path, open()?, name),
        _ => Err(ArrayError::Format {
            path: path.to_owned(),
        }),
    }
}

fn read_npz<T: Element>(
    path: &Path,
    file: BufReader<File>,
    name: Option<&str>,
) -> Result<ArrayD<Stored<T>>, ArrayError> {
    let error = |error| match error {
        ReadNpzError::Npy(error) => npy_error(path, error),
        ReadNpzError::Zip(error) => broken(path, error.to_string()),
    };
    let mut archive = NpzReader::new(file).map_err(error)?;
    let names = archive.names().map_err(error)?;
    let name = choose(path, names, name)?;
    archive.by_name(&name).map_err(error)
}

fn read_safetensors<T: Element>(
    path: &Path,
    mut file: BufReader<File>,
    name: Option<&str>,
) -> Result<ArrayD<Stored<T>>, ArrayError> {
    let io = |source| io_error(path, source);
    let mut length = [0; 8];
    file.read_exact(&mut length).map_err(io)?;
    let length = u64::from_le_bytes(length);
    if length > LONGEST_HEADER {
        return Err(broken(path, format!("a header of {length} bytes")));
    }
    let mut header = Vec::new();
    file.by_ref()
        .take(length)
        .read_to_end(&mut header)
        .map_err(io)?;
    let metadata: Metadata =
        serde_json::from_slice(&header).map_err(|error| broken(path, error.to_string()))?;
    let name = choose(path, metadata.offset_keys(), name)?;
    let info = metadata
        .info(&name)
        .ok_or_else(|| broken(path, format!("the header does not describe '{name}'")))?;
    let number = NumberType::of_safetensors(info.dtype)
        .ok_or_else(|| unsupported(path, &format!("{:?}", info.dtype)))?;
    let start = info.data_offsets.0 as u64;
    file.seek(SeekFrom::Start(8 + length + start)).map_err(io)?;
    let count = info.shape.iter().product();
    let values =
        read_elements(number, &mut file, count).map_err(|error| read_error(path, error))?;
    ArrayD::from_shape_vec(info.shape.clone(), values)
        .map_err(|error| broken(path, error.to_string()))
}

/// The array to read: the one named, or the only one.
fn choose(path: &Path, names: Vec<String>, name: Option<&str>) -> Result<String, ArrayError> {
    let reason = match name {
        Some(name) if names.iter().any(|one| one == name) => return Ok(name.to_owned()),
        Some(name) => format!("no array named '{name}'"),
        None if names.len() == 1 => return Ok(names.concat()),
        None => "say which array as FILE:NAME".to_owned(),
    };
    let (path, mut names) = (path.to_owned(), names);
    names.sort_unstable();
    Err(ArrayError::Name {
        path,
        reason,
        names,
    })
}

/// An element on its way out of a file; the type that NumPy's reader is taught to read any number into.
#[derive(Debug, Clone)]
struct Stored<T>(T);

impl<T: Element> ReadableElement for Stored<T> {
    fn read_to_end_exact_vec<R: Read>(
        mut reader: R,
        descriptor: &Descriptor,
        count: usize,
    ) -> Result<Vec<Self>, ReadDataError> {
        let number = descriptor
            .as_string()
            .and_then(|text| NumberType::of_numpy(text))
            .ok_or_else(|| ReadDataError::WrongDescriptor(descriptor.clone()))?;
        let values = read_elements(number, &mut reader, count)?;
        match io::copy(&mut reader, &mut io::sink())? {
            0 => Ok(values),
            extra => Err(ReadDataError::ExtraBytes(
                usize::try_from(extra).unwrap_or(usize::MAX),
            )),
        }
    }
}

fn read_elements<T: Element>(
    number: NumberType,
    reader: &mut impl Read,
    count: usize,
) -> Result<Vec<Stored<T>>, ReadDataError> {
    let mut values = Vec::with_capacity(count.min(PREALLOCATED));
    number.read(reader, count, |index, value| {
        let element = T::from_number(value).map_err(|reason| {
            ReadDataError::ParseData(format!("element {index} is {reason}").into())
        })?;
        values.push(Stored(element));
        Ok::<(), ReadDataError>(())
    })?;
    Ok(values)
}

fn io_error(path: &Path, source: io::Error) -> ArrayError {
    ArrayError::Io {
        path: path.to_owned(),
        source,
    }
}

fn broken(path: &Path, reason: String) -> ArrayError {
    ArrayError::Broken {
        path: path.to_owned(),
        reason,
    }
}

fn unsupported(path: &Path, kind: &str) -> ArrayError {
    broken(path, format!("elements of type {kind} are no numbers"))
}

fn npy_error(path: &Path, error: ReadNpyError) -> ArrayError {
    match error {
        ReadNpyError::WrongDescriptor(kind) => unsupported(path, &kind.to_string()),
        ReadNpyError::ParseData(error) => broken(path, error.to_string()),
        other => broken(path, other.to_string()),
    }
}

fn read_error(path: &Path, error: ReadDataError) -> ArrayError {
    npy_error(path, ReadNpyError::from(error))
}

#[cfg(test)]
mod tests {
    use ndarray::{Array3, Array4, ShapeBuilder};
    use ndarray_npy::{NpzWriter, write_npy};
    use safetensors::Dtype;
    use safetensors::tensor::TensorView;
    use tempfile::TempDir;

    use super::*;

    fn file(folder: &TempDir, name: &str) -> String {
        folder.path().join(name).to_str().unwrap().to_owned()
    }

    fn scores(argument: &str) -> Vec<f32> {
        let images = read_images::<Score>(argument).unwrap();
        assert_eq!(images.shape(), [2, 1, 3]);
        images.values.iter().map(|score| score.0).collect()
    }

    fn error<T: Element + std::fmt::Debug>(argument: &str) -> String {
        read_images::<T>(argument).unwrap_err().to_string()
    }

    #[test]
    fn npy_of_any_type_shape_and_order() {
        let folder = TempDir::new().unwrap();
        let path = file(&folder, "a.npy");
        let want = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0];
        let values = || (0..6_u8).collect::<Vec<_>>();
        write_npy(&path, &Array3::from_shape_vec((2, 1, 3), values()).unwrap()).unwrap();
        assert_eq!(scores(&path), want);
        let wide = values().into_iter().map(i64::from).collect();
        write_npy(&path, &Array4::from_shape_vec((2, 1, 1, 3), wide).unwrap()).unwrap();
        assert_eq!(scores(&path), want);
        let fortran = Array3::from_shape_fn((2, 1, 3).f(), |(n, _, x)| (3 * n + x) as f64);
        write_npy(&path, &fortran).unwrap();
        assert_eq!(scores(&path), want);
    }

    #[test]
    fn npz_needs_a_name_only_among_several() {
        let folder = TempDir::new().unwrap();
        let path = file(&folder, "a.npz");
        let array = Array3::from_elem((2, 1, 3), 0.5_f32);
        let write = |names: &[&str]| {
            let mut archive = NpzWriter::new_compressed(File::create(&path).unwrap());
            for name in names {
                archive.add_array(*name, &array).unwrap();
            }
            archive.finish().unwrap();
        };
        write(&["only"]);
        assert_eq!(scores(&path), [0.5; 6]);
        write(&["score", "gt"]);
        assert_eq!(scores(&format!("{path}:score")), [0.5; 6]);
        assert!(error::<Score>(&path).contains("FILE:NAME; it holds: gt, score"));
        let message = error::<Score>(&format!("{path}:map"));
        assert!(
            message.contains("no array named 'map'; it holds: gt, score"),
            "{message}"
        );
    }

    #[test]
    fn safetensors_of_half_floats() {
        let folder = TempDir::new().unwrap();
        let path = file(&folder, "a.safetensors");
        let half: Vec<u8> = [0.0, 0.5, 1.0, 1.5, 2.0, 2.5]
            .iter()
            .flat_map(|value| half::bf16::from_f32(*value).to_le_bytes())
            .collect();
        let views = [
            (
                "x",
                TensorView::new(Dtype::U8, vec![3], &[1, 2, 3]).unwrap(),
            ),
            (
                "y",
                TensorView::new(Dtype::BF16, vec![2, 1, 1, 3], &half).unwrap(),
            ),
        ];
        let bytes = safetensors::serialize(views, None).unwrap();
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(scores(&format!("{path}:y")), [0.0, 0.5, 1.0, 1.5, 2.0, 2.5]);
        assert!(error::<Score>(&format!("{path}:x")).contains("shape [3] is not"));
        std::fs::write(&path, &bytes[..bytes.len() - 6]).unwrap();
        assert!(read_images::<Score>(&format!("{path}:x")).is_err());
        std::fs::write(&path, [255; 20]).unwrap();
        assert!(error::<Score>(&path).contains("a header of"));
    }

    #[test]
    fn masks_hold_whole_numbers() {
        let folder = TempDir::new().unwrap();
        let path = file(&folder, "m.npy");
        let write = |values: [f32; 4]| {
            let array = Array3::from_shape_vec((1, 2, 2), values.to_vec()).unwrap();
            write_npy(&path, &array).unwrap();
        };
        write([0.0, 1.0, 4.0, 255.0]);
        let mask = read_images::<MaskPixel>(&path).unwrap();
        assert_eq!(
            mask.values.iter().map(|pixel| pixel.0).collect::<Vec<_>>(),
            [0, 1, 1, 1]
        );
        write([0.0, 1.0, 0.25, 0.0]);
        assert!(error::<MaskPixel>(&path).contains("element 2 is 0.25 in a mask"));
        write([f32::NAN, 0.0, 0.0, 0.0]);
        assert!(error::<MaskPixel>(&path).contains("element 0 is NaN in a mask"));
    }

    #[test]
    fn other_files_are_named() {
        assert!(error::<Score>("a.csv").contains("a.csv: the name must end in"));
        assert!(error::<Score>("/nowhere/a.npy").starts_with("/nowhere/a.npy: "));
        let folder = TempDir::new().unwrap();
        let path = file(&folder, "a.npy");
        std::fs::write(&path, b"no array").unwrap();
        assert!(error::<Score>(&path).starts_with(&path));
    }
}
