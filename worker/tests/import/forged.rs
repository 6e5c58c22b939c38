//! Archives that look like PyTorch's and mean harm.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use anofpdm_common::network::Arch;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::{args, refusal};

/// An archive with this description of its tensors, and four bytes as storage 0.
fn forge(path: &Path, pickle: &[u8]) {
    let mut archive = ZipWriter::new(File::create(path).unwrap());
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    for (name, bytes) in [
        ("m/data.pkl", pickle),
        ("m/byteorder", b"little"),
        ("m/data/0", &[0; 4]),
        ("m/version", b"3\n"),
    ] {
        archive.start_file(name, options).unwrap();
        archive.write_all(bytes).unwrap();
    }
    archive.finish().unwrap();
}

fn refused(pickle: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("forged.pt");
    forge(&path, pickle);
    let message = refusal(&args(&path, Arch::V1));
    assert!(message.contains("forged.pt"), "{message}");
    message
}

fn text(word: &str) -> Vec<u8> {
    let mut bytes = vec![b'X'];
    bytes.extend(u32::try_from(word.len()).unwrap().to_le_bytes());
    bytes.extend(word.as_bytes());
    bytes
}

fn number(value: u64) -> Vec<u8> {
    let mut bytes = vec![0x8a, 9];
    bytes.extend(value.to_le_bytes());
    bytes.push(0);
    bytes
}

/// A state dict of one tensor: `shape`, `stride` and elements of its storage as claimed.
fn one_tensor(shape: &[u64], stride: &[u64], storage: u64) -> Vec<u8> {
    one_tensor_of("FloatStorage", shape, stride, storage)
}

fn one_tensor_of(class: &str, shape: &[u64], stride: &[u64], storage: u64) -> Vec<u8> {
    let tuple = |values: &[u64]| {
        let numbers = values.iter().flat_map(|value| number(*value));
        [vec![b'('], numbers.collect(), vec![b't']].concat()
    };
    [
        b"\x80\x02}".to_vec(),
        text("input_blocks.0.0.weight"),
        b"ctorch._utils\n_rebuild_tensor_v2\n((".to_vec(),
        text("storage"),
        format!("ctorch\n{class}\n").into_bytes(),
        text("0"),
        text("cpu"),
        number(storage),
        b"tQ".to_vec(),
        number(0),
        tuple(shape),
        tuple(stride),
        b"\x89ccollections\nOrderedDict\n)RtRs.".to_vec(),
    ]
    .concat()
}

#[test]
fn the_forger_can_write_a_sound_file() {
    // One tensor is no network, but it is read as one tensor.
    let message = refused(&one_tensor(&[1, 1, 1, 1], &[1, 1, 1, 1], 1));
    assert!(
        message.contains("no tensor time_embed.0.weight"),
        "{message}"
    );
}

#[test]
fn other_storages_are_refused_by_name() {
    let pickle = one_tensor_of("ComplexFloatStorage", &[1], &[1], 1);
    let message = refused(&pickle);
    assert!(message.contains("torch.ComplexFloatStorage"), "{message}");
}

#[test]
fn sizes_that_no_file_has_are_refused() {
    for (shape, stride, storage) in [
        // More than its storage; a storage larger than the file; products past 64 bits.
        (&[1 << 20, 1][..], &[1, 1][..], 1),
        (&[1 << 40, 1], &[1, 1], 1 << 40),
        (&[1 << 40, 1 << 40], &[1, 1], 1),
        (&[1 << 62, 8], &[1 << 62, 1], u64::MAX >> 1),
        // A view that repeats its one value.
        (&[1 << 30, 1], &[0, 0], 1),
    ] {
        let message = refused(&one_tensor(shape, stride, storage));
        let told = [
            "needs",
            "claim",
            "overflow",
            "above the",
            "declares",
            "must be",
        ];
        assert!(told.iter().any(|word| message.contains(word)), "{message}");
    }
}

#[test]
fn deep_nesting_is_refused() {
    for (opening, closing) in [(&b"]"[..], &b"a"[..]), (b"", b"\x85")] {
        let depth = 200_000;
        let pickle = [
            b"\x80\x02".to_vec(),
            opening.repeat(depth),
            b"N".to_vec(),
            closing.repeat(depth),
            b".".to_vec(),
        ]
        .concat();
        let message = refused(&pickle);
        assert!(message.contains("nesting"), "{message}");
    }
}

#[test]
fn a_pickle_that_grows_is_refused() {
    // Thirty lists, each holding the one before ten times.
    let mut pickle = b"\x80\x02]q\x00".to_vec();
    for level in 1..30_u8 {
        pickle.extend(b"]q");
        pickle.push(level);
        pickle.push(b'(');
        for _ in 0..10 {
            pickle.extend([b'h', level - 1]);
        }
        pickle.push(b'e');
    }
    pickle.push(b'.');
    let message = refused(&pickle);
    assert!(!message.contains("no tensor"), "{message}");
    // And one that is only long.
    let message = refused(&[b"\x80\x02".to_vec(), b"N".repeat(2 << 20)].concat());
    assert!(
        message.contains("longer than that of any network"),
        "{message}"
    );
}

#[test]
fn compressed_archives_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("forged.pt");
    forge(&path, &one_tensor(&[1, 1, 1, 1], &[1, 1, 1, 1], 1));
    // The first entry of the directory says that its file is deflated.
    let mut bytes = std::fs::read(&path).unwrap();
    let entry = bytes
        .windows(4)
        .position(|part| part == b"PK\x01\x02")
        .unwrap();
    bytes[entry + 10] = 8;
    std::fs::write(&path, bytes).unwrap();
    let message = refusal(&args(&path, Arch::V1));
    assert!(message.contains("is compressed"), "{message}");
}

#[test]
fn every_byte_may_be_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("forged.pt");
    forge(&path, &one_tensor(&[1, 1, 1, 1], &[1, 1, 1, 1], 1));
    let whole = std::fs::read(&path).unwrap();
    for position in 0..whole.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut damaged = whole.clone();
            damaged[position] ^= flip;
            std::fs::write(&path, &damaged).unwrap();
            refusal(&args(&path, Arch::V1));
        }
    }
}
