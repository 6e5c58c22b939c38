//! NIfTI files for tests, byte by byte: what no writer would write.

use std::path::Path;

use super::super::Affine;

/// A file of int16 voxels that count from 0; its bytes may be changed before it is written.
#[derive(Debug, Clone)]
pub(crate) struct TestFile {
    version: u8,
    big: bool,
    pub(crate) bytes: Vec<u8>,
}

/// The fields that tests change: offset in each version, and bytes of its number in each.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Field {
    Dim(usize),
    Datatype,
    Bitpix,
    Pixdim(usize),
    DataOffset,
    Slope,
    Intercept,
    QformCode,
    SformCode,
    Units,
    Quaternion(usize),
    Row(usize, usize),
}

#[derive(Clone, Copy)]
enum Kind {
    U8,
    I16,
    I32,
    I64,
    F32,
    F64,
}

impl Field {
    fn place(self, version: u8) -> (usize, Kind) {
        use Kind::{F32, F64, I16, I32, I64, U8};
        let (first, second) = match self {
            Self::Dim(n) => ((40 + 2 * n, I16), (16 + 8 * n, I64)),
            Self::Datatype => ((70, I16), (12, I16)),
            Self::Bitpix => ((72, I16), (14, I16)),
            Self::Pixdim(n) => ((76 + 4 * n, F32), (104 + 8 * n, F64)),
            Self::DataOffset => ((108, F32), (168, I64)),
            Self::Slope => ((112, F32), (176, F64)),
            Self::Intercept => ((116, F32), (184, F64)),
            Self::QformCode => ((252, I16), (344, I32)),
            Self::SformCode => ((254, I16), (348, I32)),
            Self::Units => ((123, U8), (500, I32)),
            Self::Quaternion(n) => ((256 + 4 * n, F32), (352 + 8 * n, F64)),
            Self::Row(row, n) => ((280 + 16 * row + 4 * n, F32), (400 + 32 * row + 8 * n, F64)),
        };
        if version == 1 { first } else { second }
    }
}

impl TestFile {
    /// NIfTI-1, least significant byte first, with this sform.
    pub(crate) fn new(shape: [i16; 3], affine: Affine) -> Self {
        Self::of_version(1, false, shape, affine)
    }

    pub(crate) fn of_version(version: u8, big: bool, shape: [i16; 3], affine: Affine) -> Self {
        let length = if version == 1 { 348 } else { 540 };
        let mut file = Self {
            version,
            big,
            bytes: vec![0; length + 4],
        };
        file.put(0, &i32::try_from(length).unwrap().to_le_bytes());
        if version == 1 {
            file.bytes[344..348].copy_from_slice(b"n+1\0");
        } else {
            file.bytes[4..12].copy_from_slice(b"n+2\0\r\n\x1a\n");
        }
        for n in 0..8 {
            let side = if n == 0 {
                3
            } else {
                shape.get(n - 1).copied().unwrap_or(1)
            };
            file.set(Field::Dim(n), side.into());
            file.set(Field::Pixdim(n), 1.0);
        }
        file.set(Field::Datatype, 4.0);
        file.set(Field::Bitpix, 16.0);
        file.set(
            Field::DataOffset,
            f64::from(u16::try_from(length + 4).unwrap()),
        );
        file.set(Field::Slope, 1.0);
        file.set(Field::SformCode, 1.0);
        for (row, values) in affine.iter().enumerate() {
            for (n, value) in values.iter().enumerate() {
                file.set(Field::Row(row, n), *value);
            }
        }
        let voxels: i16 = shape.iter().product();
        file.voxels((0..voxels).map(|voxel| voxel.to_le_bytes().to_vec()));
        file
    }

    /// Puts these numbers, least significant byte first, in the place of the voxels.
    pub(crate) fn voxels(&mut self, voxels: impl Iterator<Item = Vec<u8>>) {
        let end = if self.version == 1 { 352 } else { 544 };
        self.bytes.truncate(end);
        for mut voxel in voxels {
            if self.big {
                voxel.reverse();
            }
            self.bytes.extend(voxel);
        }
    }

    /// Float32 voxels.
    pub(crate) fn floats(mut self, values: &[f32]) -> Self {
        self.set(Field::Datatype, 16.0);
        self.set(Field::Bitpix, 32.0);
        self.voxels(values.iter().map(|value| value.to_le_bytes().to_vec()));
        self
    }

    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    pub(crate) fn set(&mut self, field: Field, value: f64) -> &mut Self {
        let (at, kind) = field.place(self.version);
        let bytes = match kind {
            Kind::U8 => vec![value as u8],
            Kind::I16 => (value as i16).to_le_bytes().to_vec(),
            Kind::I32 => (value as i32).to_le_bytes().to_vec(),
            Kind::I64 => (value as i64).to_le_bytes().to_vec(),
            Kind::F32 => (value as f32).to_le_bytes().to_vec(),
            Kind::F64 => value.to_le_bytes().to_vec(),
        };
        self.put(at, &bytes);
        self
    }

    pub(crate) fn with(mut self, field: Field, value: f64) -> Self {
        self.set(field, value);
        self
    }

    fn put(&mut self, at: usize, bytes: &[u8]) {
        let target = &mut self.bytes[at..at + bytes.len()];
        target.copy_from_slice(bytes);
        if self.big {
            target.reverse();
        }
    }

    pub(crate) fn write(&self, path: &Path) {
        std::fs::write(path, &self.bytes).unwrap();
    }
}
