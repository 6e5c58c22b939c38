//! Reading arrays, good ones and such as a mistake, a tool or a bad disk leaves.

use std::fs::File;
use std::io::Write;

use ndarray::{Array3, Array4, ShapeBuilder};
use ndarray_npy::{NpzWriter, WritableElement, WriteNpyExt, write_npy};
use proptest::prelude::*;
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use tempfile::TempDir;

use super::*;

fn file(folder: &TempDir, name: &str) -> String {
    folder.path().join(name).to_str().unwrap().to_owned()
}

fn scores(argument: &str) -> Vec<f64> {
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
    // All three sides told apart.
    let value = |(n, y, x): (usize, usize, usize)| (100 * n + 10 * y + x) as f64;
    write_npy(&path, &Array3::from_shape_fn((2, 3, 4).f(), value)).unwrap();
    let images = read_images::<Score>(&path).unwrap();
    assert_eq!(images.shape(), [2, 3, 4]);
    let rows = Array3::from_shape_fn((2, 3, 4), value);
    assert!(rows.iter().eq(images.values.iter().map(|score| &score.0)));
}

#[test]
fn float64_stays_float64() {
    let folder = TempDir::new().unwrap();
    let path = file(&folder, "a.npy");
    let values = vec![1e-60, 1.0 - 1e-9, 1e300, -0.5, 5e-324, 0.1];
    let array = Array3::from_shape_vec((2, 1, 3), values.clone()).unwrap();
    write_npy(&path, &array).unwrap();
    assert_eq!(scores(&path), values);
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
    let bytes = half_floats();
    std::fs::write(&path, &bytes).unwrap();
    assert_eq!(scores(&format!("{path}:y")), [0.0, 0.5, 1.0, 1.5, 2.0, 2.5]);
    assert!(error::<Score>(&format!("{path}:x")).contains("shape [3] is not"));
    std::fs::write(&path, &bytes[..bytes.len() - 6]).unwrap();
    let message = error::<Score>(&format!("{path}:x"));
    assert!(message.contains("cut short"), "{message}");
    std::fs::write(&path, [&bytes[..], b"\0"].concat()).unwrap();
    let message = error::<Score>(&format!("{path}:y"));
    assert!(
        message.ends_with("bytes follow its last tensor: its tensors have 15 bytes, 16 are there"),
        "{message}"
    );
    std::fs::write(&path, [255; 20]).unwrap();
    assert!(error::<Score>(&path).contains("a header of"));
}

/// A file with `x`, no stack of images, and `y`, one.
fn half_floats() -> Vec<u8> {
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
    safetensors::serialize(views, None).unwrap()
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
    let wide = Array3::from_elem((1, 1, 1), (1_i64 << 53) + 1);
    write_npy(&path, &wide).unwrap();
    let message = error::<Score>(&path);
    assert!(
        message.contains("element 0 is 9007199254740993, which float64 does not hold"),
        "{message}"
    );
}

#[test]
fn broken_files_are_named() {
    let folder = TempDir::new().unwrap();
    let path = file(&folder, "a.npy");
    std::fs::write(&path, b"\x93NUMPY").unwrap();
    assert!(error::<Score>(&path).contains("a.npy: it is cut short"));
    std::fs::write(&path, b"PK\x03\x04 and so on").unwrap();
    assert!(error::<Score>(&path).contains("does not begin as .npy files do"));
    std::fs::write(&path, npy(1, "<c8", "(1, 1, 1)", 8)).unwrap();
    let message = error::<Score>(&path);
    assert!(
        message.ends_with(
            "type '<c8' are not read: convert to bool, an integer type, float32 or float64"
        ),
        "{message}"
    );
    for (length, wrong) in [
        (11, "it is cut short"),
        (13, "bytes follow its last element"),
    ] {
        std::fs::write(&path, npy(1, "<f4", "(1, 1, 3)", length)).unwrap();
        let message = error::<Score>(&path);
        let want = format!("{wrong}: shape [1, 1, 3] needs 12 bytes, {length} are there");
        assert!(message.ends_with(&want), "{message}");
    }
    assert!(error::<Score>("nowhere.npy").contains("nowhere.npy: No such file"));
    assert!(error::<Score>("a.txt").contains(".npy, .npz or .safetensors"));
    // A colon is not always that of a name.
    assert!(error::<Score>("a:b/c.npy").contains("a:b/c.npy: No such file"));
    assert!(error::<Score>("a:b.npz:c").contains("a:b.npz: No such file"));
    let nested = file(&folder, "folder.npy");
    std::fs::create_dir(&nested).unwrap();
    assert!(error::<Score>(&nested).ends_with("folder.npy: is a folder"));
    assert!(error::<Score>(&format!("{nested}:x")).contains("is a folder"));
    assert!(
        std::os::unix::fs::symlink("/dev/zero", file(&folder, "zero.npy")).is_ok()
            && error::<Score>(&file(&folder, "zero.npy")).ends_with("is no regular file")
    );
    write_npy(&path, &Array3::<u8>::zeros((1, 1, 1))).unwrap();
    assert!(error::<Score>(&format!("{path}:x")).contains("no array named 'x'"));
}

/// A `.npy` file of `version` with this type and shape, and `bytes` zeros behind the header.
fn npy(version: u8, kind: &str, shape: &str, bytes: usize) -> Vec<u8> {
    let header =
        format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}\n").into_bytes();
    let length = u32::try_from(header.len()).unwrap().to_le_bytes();
    let digits = if version == 1 { 2 } else { 4 };
    [
        b"\x93NUMPY",
        &[version, 0][..],
        &length[..digits],
        &header,
        &vec![0; bytes],
    ]
    .concat()
}

#[test]
fn headers_that_claim_the_impossible_are_refused() {
    let folder = TempDir::new().unwrap();
    let path = file(&folder, "a.npy");
    let said = |bytes: Vec<u8>| {
        std::fs::write(&path, bytes).unwrap();
        error::<Score>(&path)
    };
    for shape in [
        "(0, 4294967296, 4294967296)",
        "(4294967296, 4294967296, 1)",
        "(4294967296, 0, 4294967296)",
        "(2305843009213693952, 1, 1)",
    ] {
        let message = said(npy(1, "<f8", shape, 0));
        assert!(message.contains("overflow: no memory holds"), "{message}");
    }
    let message = said(npy(1, "<f8", "(1000000, 1000, 1000)", 64));
    assert!(
        message.contains("needs 8000000000000 bytes, 64 are there"),
        "{message}"
    );
    for shape in [
        "(-1, 1, 1)",
        "(18446744073709551616, 1, 1)",
        "(1.5, 1, 1)",
        "3",
    ] {
        let message = said(npy(1, "<f8", shape, 0));
        assert!(message.contains("illegal value for key shape"), "{message}");
    }
    // Version 2, header of 4 GiB.
    let mut long = npy(2, "<f8", "(1, 1, 1)", 8);
    long[8..12].fill(0xff);
    let message = said(long);
    assert!(
        message.ends_with("a header of 4294967295 bytes: NumPy reads at most 10000"),
        "{message}"
    );
    let message = said(npy(9, "<f8", "(1, 1, 1)", 8));
    assert!(message.contains("unknown version number: 9.0"), "{message}");
    for nested in ["(".repeat(4000), "[".repeat(9), "{1:".repeat(9)] {
        let message = said(npy(1, "<f8", &nested, 8));
        assert!(
            message.ends_with("its header nests too deeply"),
            "{message}"
        );
    }
    // Not as it is: a terminal would obey it.
    let message = said(npy(1, "\x1b[31m", "(((", 8));
    assert!(
        message.contains("\\u{1b}[31m") && !message.contains('\x1b'),
        "{message}"
    );
}

/// As NumPy 1.x of Python 2 wrote them; NumPy 2 reads them so.
#[test]
fn long_numbers_of_python_2_are_numbers() {
    let folder = TempDir::new().unwrap();
    let path = file(&folder, "a.npy");
    std::fs::write(&path, npy(1, "<f4", "(2L, 1L, 3L)", 24)).unwrap();
    assert_eq!(scores(&path), [0.0; 6]);
}

#[test]
fn archives_that_claim_or_pack_otherwise_are_refused() {
    let folder = TempDir::new().unwrap();
    let path = file(&folder, "a.npz");
    let mut bytes = Vec::new();
    Array3::from_elem((2, 1, 3), 1.0_f32)
        .write_npy(&mut bytes)
        .unwrap();
    let entry = |method, size: u32, packed: u32| {
        std::fs::write(&path, archive("x.npy", &bytes, method, size, packed)).unwrap();
    };
    let whole = u32::try_from(bytes.len()).unwrap();
    entry(0, whole, whole);
    assert_eq!(scores(&path), [1.0; 6]);
    for (method, name) in [(12, "Bzip2"), (14, "Lzma")] {
        entry(method, whole, whole);
        let message = error::<Score>(&path);
        assert!(
            message.contains("array 'x' is compressed as") && message.contains("numpy.savez"),
            "{name}: {message}"
        );
    }
    // Stored in fewer bytes than it has; deflated to less than deflate can; longer than the file.
    for (method, size, packed) in [
        (0, whole + 1, whole),
        (8, 4_000_000_000, whole),
        (8, 4_000_000_000, 4_000_000_000),
    ] {
        entry(method, size, packed);
        let message = error::<Score>(&path);
        assert!(
            message.contains(&format!("array 'x' claims {size} bytes")),
            "{message}"
        );
    }
    entry(0, whole - 1, whole - 1);
    assert!(error::<Score>(&path).contains("cut short"));
}

/// A zip archive of one entry whose headers say what they are told to.
fn archive(name: &str, bytes: &[u8], method: u16, size: u32, packed: u32) -> Vec<u8> {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    let described = [
        &method.to_le_bytes()[..],
        &[0, 0, 0x21, 0],
        &crc.sum().to_le_bytes(),
        &packed.to_le_bytes(),
        &size.to_le_bytes(),
        &u16::try_from(name.len()).unwrap().to_le_bytes(),
        &[0, 0],
    ]
    .concat();
    let local = [
        b"PK\x03\x04\x14\0\0\0",
        &described[..],
        name.as_bytes(),
        bytes,
    ]
    .concat();
    let entry = [
        b"PK\x01\x02\x14\0\x14\0\0\0",
        &described[..],
        &[0; 14],
        name.as_bytes(),
    ]
    .concat();
    let number = |length: usize| u32::try_from(length).unwrap().to_le_bytes();
    [
        &local[..],
        &entry,
        b"PK\x05\x06\0\0\0\0\x01\0\x01\0",
        &number(entry.len()),
        &number(local.len()),
        &[0, 0],
    ]
    .concat()
}

#[test]
fn an_archive_with_a_wrong_byte_is_told() {
    let folder = TempDir::new().unwrap();
    let path = file(&folder, "a.npz");
    let mut writer = NpzWriter::new(File::create(&path).unwrap());
    writer
        .add_array("x", &Array3::from_elem((2, 1, 3), 1.0_f64))
        .unwrap();
    writer.finish().unwrap();
    assert_eq!(scores(&path), [1.0; 6]);
    let mut bytes = std::fs::read(&path).unwrap();
    let one = bytes
        .windows(8)
        .position(|part| part == 1.0_f64.to_le_bytes());
    bytes[one.unwrap()] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let message = error::<Score>(&path);
    assert!(message.contains("it is damaged"), "{message}");
}

/// Files that the next test changes.
fn whole_files() -> Vec<(&'static str, Vec<u8>)> {
    let values = Array3::from_shape_fn((2, 3, 4), |(n, y, x)| (n + y + x) as f32);
    let mut plain = Vec::new();
    values.write_npy(&mut plain).unwrap();
    let mut fortran = Vec::new();
    let array = Array3::from_shape_fn((2, 3, 4).f(), |(n, y, x)| (n + y + x) as u16);
    array.write_npy(&mut fortran).unwrap();
    vec![
        ("a.npy", plain),
        ("b.npy", fortran),
        ("c.npz", packed(&values, true)),
        ("d.npz", packed(&values, false)),
        ("e.safetensors", half_floats()),
    ]
}

fn packed<T: WritableElement>(array: &Array3<T>, deflated: bool) -> Vec<u8> {
    let buffer = io::Cursor::new(Vec::new());
    let mut archive = if deflated {
        NpzWriter::new_compressed(buffer)
    } else {
        NpzWriter::new(buffer)
    };
    archive.add_array("x", array).unwrap();
    archive.finish().unwrap().into_inner()
}

/// A change of a file: bytes put in place of others.
fn changes() -> impl Strategy<Value = Vec<(prop::sample::Index, Vec<u8>, usize)>> {
    let piece = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..4),
        prop::sample::select(vec![
            &b"0"[..],
            b"9999999999",
            b"(",
            b")",
            b"L",
            b"'",
            b"\\N{x}",
            b"-",
            b"1e999",
            b"\xff\xff\xff\xff",
            b"\n",
        ])
        .prop_map(<[u8]>::to_vec),
    ];
    prop::collection::vec((any::<prop::sample::Index>(), piece, 0_usize..6), 1..4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    /// No panic, and no more elements than the file has bytes (deflate may make 1032 of one).
    #[test]
    fn whatever_a_header_says_is_read_or_refused(
        which in 0_usize..5,
        near_the_start in any::<bool>(),
        changes in changes(),
    ) {
        let folder = TempDir::new().unwrap();
        let (name, mut bytes) = whole_files().swap_remove(which);
        for (at, piece, dropped) in changes {
            let range = if near_the_start { bytes.len().min(128) } else { bytes.len() };
            let at = at.index(range + 1);
            let end = (at + dropped).min(bytes.len());
            bytes.splice(at..end, piece);
        }
        let path = file(&folder, name);
        File::create(&path).unwrap().write_all(&bytes).unwrap();
        if let Ok(images) = read_images::<Score>(&path) {
            let [count, height, width] = images.shape();
            prop_assert_eq!(images.values.len(), count * height * width);
            prop_assert!(images.values.len() <= bytes.len() * 1032);
        }
    }
}
