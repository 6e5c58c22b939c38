//! `anofpdm metrics` on files whose headers ask for more memory than there is: an error, not the end of the process.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output};

/// The program with at most `kilobytes` of address space.
fn limited(kilobytes: u32, masks: &Path, labels: &Path) -> Output {
    Command::new("bash")
        .arg("-c")
        .arg(format!(
            "ulimit -v {kilobytes}; exec \"$0\" metrics --masks \"$1\" --labels \"$2\""
        ))
        .arg(env!("CARGO_BIN_EXE_anofpdm"))
        .args([masks, labels])
        .output()
        .unwrap()
}

/// A `.npy` file of version 1 or 2 with this shape of bytes, as long as `elements`, not written where zero.
fn sparse(path: &Path, version: u8, header_claims: Option<u32>, shape: &str, elements: u64) {
    let header = format!("{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}\n");
    let length = header_claims
        .unwrap_or(u32::try_from(header.len()).unwrap())
        .to_le_bytes();
    let digits = if version == 1 { 2 } else { 4 };
    let mut file = File::create(path).unwrap();
    file.write_all(&[b"\x93NUMPY", &[version, 0][..], &length[..digits]].concat())
        .unwrap();
    file.write_all(header.as_bytes()).unwrap();
    file.set_len(file.metadata().unwrap().len() + elements)
        .unwrap();
}

#[test]
fn headers_that_ask_for_memory_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("masks.npy");
    let refused = |part: &str| {
        let output = limited(3_000_000, &path, &path);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.starts_with("error: --masks: "), "{said}");
        assert!(said.contains("masks.npy") && said.contains(part), "{said}");
    };
    sparse(&path, 2, Some(u32::MAX), "(1, 1, 1)", 1);
    refused("a header of 4294967295 bytes: NumPy reads at most 10000");
    sparse(&path, 1, None, "(0, 4294967296, 4294967296)", 0);
    refused("overflow: no memory holds an array of shape [0, 4294967296, 4294967296]");
    sparse(&path, 1, None, "(4096, 1024, 1024)", 1 << 32);
    refused("there is no memory for its 4294967296 elements");
    // More than is there is seen before any room is made.
    sparse(&path, 1, None, "(4096, 1024, 1024)", 1 << 20);
    refused("it is cut short");
    sparse(&path, 1, None, "(0, 8, 8)", 0);
    refused("it holds no slice");
    fs::write(&path, "").unwrap();
    refused("it is cut short");
}

/// Two masks of 256 MiB in 900 MB: an array takes the room of its elements, no more.
#[test]
fn an_array_takes_no_more_room_than_its_elements() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("masks.npy");
    sparse(&path, 1, None, "(1024, 512, 512)", 1 << 28);
    let output = limited(900_000, &path, &path);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let table = String::from_utf8_lossy(&output.stdout);
    assert!(
        table.contains("dice            1.0000           -"),
        "{table}"
    );
}
