pub(crate) mod test_file;

use std::io::Write;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

use anofpdm_common::ids::Digest;
use flate2::Compression;
use flate2::write::GzEncoder;

use self::test_file::{Field, TestFile};
use super::*;

const SHAPE: [i16; 3] = [2, 3, 4];

/// As in the files that the expectations were taken from.
const AFFINE: Affine = [
    [-1.0, 0.0, 0.0, 5.0],
    [0.0, -2.0, 0.0, 6.0],
    [0.0, 0.0, 3.0, 7.0],
];

fn file() -> TestFile {
    TestFile::new(SHAPE, AFFINE)
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn read(&self, file: &TestFile) -> Result<Volume, VolumeError> {
        let path = self.path("volume.nii");
        file.write(&path);
        Volume::read(&path)
    }

    fn read_bytes(&self, name: &str, bytes: &[u8]) -> Result<Volume, VolumeError> {
        let path = self.path(name);
        std::fs::write(&path, bytes).unwrap();
        Volume::read(&path)
    }
}

fn compressed(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn counting() -> Vec<f64> {
    (0..24_u8).map(f64::from).collect()
}

#[test]
fn both_versions_in_both_byte_orders() {
    let folder = Folder::new();
    for version in [1, 2] {
        for big in [false, true] {
            let volume = folder
                .read(&TestFile::of_version(version, big, SHAPE, AFFINE))
                .unwrap();
            assert_eq!(volume.shape, [2, 3, 4], "{version} {big}");
            assert_eq!(volume.affine, AFFINE, "{version} {big}");
            assert_eq!(volume.values, counting(), "{version} {big}");
        }
    }
}

/// The file is the one that `nibabel.save(nibabel.Nifti2Image(numpy.arange(24, dtype="i2").reshape((2, 3, 4),
/// order="F"), affine), …)` writes, nibabel 5.4.2: so the fields lie where the format has them.
#[test]
fn nifti_2_is_what_nibabel_writes() {
    let mut file = TestFile::of_version(2, false, SHAPE, AFFINE);
    file.set(Field::SformCode, 2.0)
        .set(Field::Pixdim(2), 2.0)
        .set(Field::Pixdim(3), 3.0)
        .set(Field::Quaternion(2), 1.0);
    for (n, origin) in [5.0, 6.0, 7.0].into_iter().enumerate() {
        // The origin of the qform follows its quaternion.
        file.set(Field::Quaternion(3 + n), origin);
    }
    assert_eq!(
        Digest::of(&file.bytes).to_string(),
        "66e27d047f697de02c9920400564655a594c24723e4d1e525c88bff0716544b7"
    );
    assert_eq!(Folder::new().read(&file).unwrap().values, counting());
}

#[test]
fn every_real_type_in_both_byte_orders() {
    let folder = Folder::new();
    let values = [0.0, 1.0, 2.0, 100.0, 3.0, 4.0];
    macro_rules! types {
        ($($code:literal: $kind:ty),*) => {
            [$(($code, size_of::<$kind>(), values.map(|x| (x as $kind).to_le_bytes().to_vec()))),*]
        };
    }
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let types = types!(2: u8, 256: i8, 512: u16, 4: i16, 768: u32, 8: i32, 1280: u64, 1024: i64, 16: f32, 64: f64);
    for (code, size, voxels) in types {
        for big in [false, true] {
            let mut file = TestFile::of_version(1, big, [1, 2, 3], AFFINE);
            file.set(Field::Datatype, f64::from(code));
            file.set(Field::Bitpix, f64::from(u8::try_from(size * 8).unwrap()));
            file.voxels(voxels.iter().cloned());
            assert_eq!(folder.read(&file).unwrap().values, values, "{code} {big}");
        }
    }
    // nibabel 5.4.2 refuses 0, 1, 1536 and 999, has no number for colours, and drops the imaginary part.
    for (code, words) in [
        (0, "no known type"),
        (1, "one bit"),
        (32, "complex"),
        (128, "colour"),
        (1536, "128 bits"),
        (1792, "complex"),
        (2048, "complex"),
        (2304, "colour"),
        (999, "no known type"),
        (-4, "no known type"),
    ] {
        let error = folder.read(&file().with(Field::Datatype, code.into()));
        let error = error.unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    assert!(folder.read(&file().with(Field::Bitpix, 8.0)).is_err());
}

/// Expected values from `nibabel.load(…).get_fdata()`, nibabel 5.4.2, numpy 2.4.6; the slope of NIfTI-1 is a float32.
#[test]
fn slopes_as_nibabel_has_them() {
    let folder = Folder::new();
    let scaled = |version, slope: f64, intercept: f64| {
        let file = TestFile::of_version(version, version == 2, SHAPE, AFFINE)
            .with(Field::Slope, slope)
            .with(Field::Intercept, intercept);
        folder
            .read(&file)
            .map(|volume| [0, 1, 2, 23].map(|voxel| volume.values[voxel]))
    };
    let stored = [0.0, 1.0, 2.0, 23.0];
    let nan = f64::NAN;
    for (slope, intercept, expected) in [
        (1.0, 0.0, stored),
        (0.0, 5.0, stored),
        (0.0, nan, stored),
        (nan, nan, stored),
        (f64::INFINITY, 0.0, stored),
        (f64::NEG_INFINITY, 1.0, stored),
        (2.0, -3.0, [-3.0, -1.0, 1.0, 43.0]),
        (
            0.1,
            0.3,
            [
                0.300_000_011_920_928_96,
                0.400_000_013_411_045_1,
                0.500_000_014_901_161_2,
                2.600_000_046_193_599_7,
            ],
        ),
    ] {
        assert_eq!(
            scaled(1, slope, intercept).unwrap(),
            expected,
            "{slope} {intercept}"
        );
    }
    assert_eq!(scaled(2, 0.1, 0.3).unwrap(), [0.3, 0.4, 0.5, 2.6]);
    // nibabel: "Valid slope but invalid intercept nan".
    for intercept in [nan, f64::INFINITY] {
        let error = scaled(1, 1.0, intercept).unwrap_err().to_string();
        assert!(
            error.contains("scl_slope is 1 and its scl_inter"),
            "{error}"
        );
    }
}

#[test]
fn sides_that_are_no_volume_are_named() {
    let folder = Folder::new();
    let read = |dim: &[(usize, i16)]| {
        let mut file = file();
        for (n, side) in dim {
            file.set(Field::Dim(*n), f64::from(*side));
        }
        folder.read(&file)
    };
    // nibabel 5.4.2: shapes (2, 3, 4, 1), (2, 3, 4, 1, 1); what stands behind the last axis does not count.
    for good in [&[(0, 4)][..], &[(0, 5)], &[(0, 7)], &[(4, 0)], &[(5, -3)]] {
        assert_eq!(read(good).unwrap().values, counting(), "{good:?}");
    }
    for (bad, words) in [
        (
            &[(0, 4), (4, 0)][..],
            "its dim[4], the length of an axis, is 0",
        ),
        (&[(2, 0)], "its dim[2], the length of an axis, is 0"),
        (&[(2, -3)], "its dim[2], the length of an axis, is -3"),
        (&[(0, 0)], "its dim[0], the number of axes, is 0"),
        (&[(0, 8)], "its dim[0], the number of axes, is 8"),
        (&[(0, -1)], "its dim[0], the number of axes, is -1"),
        (&[(0, 2)], "it has 2 axes, not 3"),
        (
            &[(0, 4), (4, 2)],
            "its shape is [2, 3, 4, 2]; only one volume a file",
        ),
        (
            &[(0, 5), (4, 1), (5, 3)],
            "its shape is [2, 3, 4, 1, 3]; only one volume a file",
        ),
        (&[(1, 32_767), (2, 32_767), (3, 32_767)], "above the limit"),
        (&[(1, 32_767)], "truncated"),
    ] {
        let error = read(bad).unwrap_err().to_string();
        assert!(error.contains(words), "{bad:?}: {error}");
    }
    let huge = TestFile::of_version(2, false, SHAPE, AFFINE).with(Field::Dim(1), 70_000.0);
    let error = folder.read(&huge).unwrap_err().to_string();
    assert!(
        error.contains("too long") || error.contains("truncated"),
        "{error}"
    );
}

#[test]
fn headers_that_are_none_are_refused() {
    let folder = Folder::new();
    let changed = |at: usize, bytes: &[u8]| {
        let mut file = file();
        file.bytes[at..at + bytes.len()].copy_from_slice(bytes);
        file
    };
    let second = |at: usize, bytes: &[u8]| {
        let mut file = TestFile::of_version(2, false, SHAPE, AFFINE);
        file.bytes[at..at + bytes.len()].copy_from_slice(bytes);
        file
    };
    for (bad, words) in [
        (changed(0, &[94, 1, 0, 0]), "348 or 540"),
        (changed(344, b"ni1\0"), "pair"),
        (changed(344, b"n+2\0"), "magic"),
        (second(4, b"ni2\0"), "pair"),
        (second(4, b"n+1\0"), "magic"),
        (second(8, b"\n\x1a\n\0"), "changed in transfer"),
        (file().with(Field::DataOffset, 0.0), "data offset is 0"),
        (file().with(Field::DataOffset, 348.0), "data offset is 348"),
        (
            file().with(Field::DataOffset, f64::NAN),
            "data offset is NaN",
        ),
        (
            file().with(Field::DataOffset, 1e9),
            "data offset is 1000000000",
        ),
        (
            file().with(Field::DataOffset, 400.0),
            "truncated or damaged",
        ),
        (
            file().with(Field::Row(0, 0), 0.0),
            "affine [0 0 0 5; 0 -2 0 6; 0 0 3 7] is not invertible",
        ),
    ] {
        let error = folder.read(&bad).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    // Zeros instead of the mark of line ends: some programs leave it out, and nibabel reads on.
    assert!(folder.read(&second(8, &[0; 4])).is_ok());
    // An extension between header and voxels.
    let mut extended = file().with(Field::DataOffset, 368.0);
    let voxels = extended.bytes.split_off(352);
    extended.bytes.extend([0; 16]);
    extended.bytes.extend(voxels);
    assert_eq!(folder.read(&extended).unwrap().values, counting());
}

#[test]
fn names_and_contents_that_contradict_each_other() {
    let folder = Folder::new();
    let plain = file().bytes;
    let gzip = compressed(&plain);
    for (name, bytes) in [
        ("a.nii", &plain),
        ("a.nii.gz", &gzip),
        ("A.NII.GZ", &gzip),
        ("padded.nii.gz", &[&gzip[..], &[0; 512]].concat()),
        ("newline.nii.gz", &[&gzip[..], b"\n"].concat()),
        ("longer.nii", &[&plain[..], b"more"].concat()),
    ] {
        assert_eq!(
            folder.read_bytes(name, bytes).unwrap().values,
            counting(),
            "{name}"
        );
    }
    let halves = [
        compressed(&plain[..100]),
        vec![0; 9],
        compressed(&plain[100..]),
    ]
    .concat();
    assert_eq!(
        folder.read_bytes("halves.nii.gz", &halves).unwrap().values,
        counting()
    );
    let mut damaged = gzip.clone();
    let checksum = damaged.len() - 8;
    damaged[checksum] ^= 1;
    for (name, bytes, words) in [
        (
            "plain.nii.gz",
            &plain[..],
            "is named .gz and is not gzip-compressed; name a plain NIfTI file .nii",
        ),
        ("gzip.nii", &gzip, "it is gzip-compressed: name it .nii.gz"),
        ("crc.nii.gz", &damaged, "truncated or damaged"),
        (
            "cut.nii.gz",
            &gzip[..gzip.len() - 4],
            "truncated or damaged",
        ),
        (
            "member.nii.gz",
            &[&gzip[..], b"\x1f\x8bxx"].concat(),
            "truncated or damaged",
        ),
        (
            "short.nii",
            &plain[..plain.len() - 1],
            "truncated or damaged",
        ),
        ("header.nii", &plain[..200], "truncated or damaged"),
        ("empty.nii.gz", b"", "is an empty file"),
    ] {
        let error = folder.read_bytes(name, bytes).unwrap_err().to_string();
        assert!(error.contains(words), "{name}: {error}");
    }
}

#[test]
fn what_is_no_file_is_named_and_not_opened() {
    let folder = Folder::new();
    std::fs::create_dir(folder.path("folder.nii")).unwrap();
    let _socket = UnixListener::bind(folder.path("socket.nii")).unwrap();
    let made = std::process::Command::new("mkfifo")
        .arg(folder.path("pipe.nii.gz"))
        .status()
        .unwrap();
    assert!(made.success());
    std::os::unix::fs::symlink(folder.path("pipe.nii.gz"), folder.path("link.nii")).unwrap();
    std::os::unix::fs::symlink("/dev/zero", folder.path("device.nii")).unwrap();
    for (name, message) in [
        ("folder.nii", "is a folder, not a file"),
        ("socket.nii", "is a socket, not a file"),
        ("pipe.nii.gz", "is a named pipe, not a file"),
        ("link.nii", "is a named pipe, not a file"),
        ("device.nii", "is a device, not a file"),
    ] {
        let error = Volume::read(&folder.path(name)).unwrap_err();
        assert_eq!(error.to_string(), message, "{name}");
    }
    let error = Volume::read(&folder.path("nothing.nii")).unwrap_err();
    assert!(matches!(error, VolumeError::Open(_)));
}

#[test]
fn voxels_that_are_no_number_are_counted() {
    let mut values = [1.0; 24];
    values[3] = f32::NAN;
    values[5] = f32::INFINITY;
    let error = Folder::new().read(&file().floats(&values)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "holds NaN or infinity in 2 of 24 voxels; save it with 0 there: \
         numpy.nan_to_num(data, nan=0, posinf=0, neginf=0)"
    );
}

#[test]
fn a_header_alone_says_where_its_voxels_lie() {
    let folder = Folder::new();
    let path = folder.path("volume.nii");
    let stated = |file: &TestFile| {
        file.write(&path);
        Volume::stated_affine(&path).unwrap()
    };
    assert_eq!(stated(&file()), Some(AFFINE));
    let none = file().with(Field::SformCode, 0.0);
    assert_eq!(stated(&none), None);
    assert_eq!(folder.read(&none).unwrap().affine, IDENTITY);
    let qform = none
        .with(Field::QformCode, 1.0)
        .with(Field::Pixdim(1), -4.0);
    assert_eq!(stated(&qform).unwrap()[0], [4.0, 0.0, 0.0, 0.0]);
}

#[test]
fn geometry_beside_the_affine_is_kept_as_it_stands() {
    let folder = Folder::new();
    for (version, big) in [(1, false), (1, true), (2, false), (2, true)] {
        let file = TestFile::of_version(version, big, SHAPE, AFFINE)
            .with(Field::SformCode, 2.0)
            .with(Field::QformCode, 4.0)
            .with(Field::Units, 10.0)
            .with(Field::Pixdim(0), -1.0)
            .with(Field::Pixdim(3), 3.0)
            .with(Field::Quaternion(1), 0.5)
            .with(Field::Quaternion(5), -7.5);
        let header = folder.read(&file).unwrap().header;
        let want = SourceHeader {
            sform_code: 2,
            qform_code: 4,
            pixdim: [-1.0, 1.0, 1.0, 3.0],
            xyzt_units: 10,
            quaternion: [0.0, 0.5, 0.0],
            offset: [0.0, 0.0, -7.5],
        };
        assert_eq!(header, want, "NIfTI-{version}, big: {big}");
    }
    let odd = file()
        .with(Field::QformCode, 7.0)
        .with(Field::Pixdim(2), f64::NAN);
    let header = folder.read(&odd).unwrap().header;
    assert_eq!((header.qform_code, header.pixdim[2]), (0, 0.0));
}
