//! An array as its file describes it: held against the bytes that are there, then read.

use std::io::{self, ErrorKind, Read};
use std::path::Path;

use super::number::NumberType;
use super::{ArrayError, Element, Images};

/// What is wrong with an array, before the file is named.
#[derive(Debug)]
pub(super) enum Trouble {
    Io(io::Error),
    Broken(String),
    Name { reason: String, names: Vec<String> },
    Shape(Vec<usize>),
}

impl Trouble {
    /// The error of the file at `path`.
    pub(super) fn in_file(self, path: &Path) -> ArrayError {
        let path = path.to_owned();
        match self {
            Self::Io(source) => ArrayError::Io { path, source },
            Self::Broken(reason) => ArrayError::Broken { path, reason },
            Self::Name { reason, names } => ArrayError::Name {
                path,
                reason,
                names,
            },
            Self::Shape(shape) => ArrayError::Shape { path, shape },
        }
    }
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::UnexpectedEof => Self::Broken("it is cut short".to_owned()),
            // Of an archive: a checksum, or what cannot be inflated.
            ErrorKind::InvalidData | ErrorKind::InvalidInput => {
                Self::Broken(format!("it is damaged: {error}"))
            }
            _ => Self::Io(error),
        }
    }
}

#[derive(Debug)]
pub(super) struct Stored {
    pub(super) shape: Vec<usize>,
    /// The first index runs fastest, not the last.
    pub(super) fortran: bool,
    pub(super) number: NumberType,
}

impl Stored {
    /// Reads the elements. `bytes` are as many as the file has for them: one more or less than the shape needs is an error,
    /// found before room is made for any.
    pub(super) fn read<T: Element>(
        &self,
        reader: &mut impl Read,
        bytes: u64,
    ) -> Result<Images<T>, Trouble> {
        let (count, height, width) = match *self.shape {
            [count, height, width] | [count, 1, height, width] => (count, height, width),
            _ => return Err(Trouble::Shape(self.shape.clone())),
        };
        let elements = self.elements()?;
        let needed = elements as u64 * self.number.width() as u64;
        if needed != bytes {
            let wrong = if bytes < needed {
                "it is cut short"
            } else {
                "bytes follow its last element"
            };
            return Err(Trouble::Broken(format!(
                "{wrong}: shape {:?} needs {needed} bytes, {bytes} are there",
                self.shape
            )));
        }
        let mut values: Vec<T> = Vec::new();
        values.try_reserve_exact(elements).map_err(|_| {
            Trouble::Broken(format!("there is no memory for its {elements} elements"))
        })?;
        let convert = |index: usize, value| {
            T::from_number(value)
                .map_err(|reason| Trouble::Broken(format!("element {index} is {reason}")))
        };
        if self.fortran {
            values.resize(elements, T::default());
            self.number.read(reader, elements, |index, value| {
                let (image, rest) = (index % count, index / count);
                let (row, column) = (rest % height, rest / height);
                values[(image * height + row) * width + column] = convert(index, value)?;
                Ok(())
            })?;
        } else {
            self.number.read(reader, elements, |index, value| {
                values.push(convert(index, value)?);
                Ok(())
            })?;
        }
        Ok(Images {
            count,
            height,
            width,
            values,
        })
    }

    /// How many elements there are. Sides that no memory could hold are refused even beside a side of 0, as NumPy does.
    fn elements(&self) -> Result<usize, Trouble> {
        let sides = self.shape.iter().filter(|side| **side > 0);
        let largest = sides.copied().try_fold(1, usize::checked_mul);
        let bytes = largest.and_then(|elements| elements.checked_mul(self.number.width()));
        match (largest, bytes) {
            (Some(elements), Some(bytes)) if isize::try_from(bytes).is_ok() => {
                Ok(if self.shape.contains(&0) { 0 } else { elements })
            }
            _ => Err(Trouble::Broken(format!(
                "overflow: no memory holds an array of shape {:?}",
                self.shape
            ))),
        }
    }
}
