//! Archives byte for byte as `torch.save` writes them.

use std::fs;
use std::path::Path;

use anofpdm_worker::tensors::NamedTensors;
use tch::{Kind, Tensor};

/// What PyTorch aligns the contents of an archive to, bytes.
const ALIGNMENT: usize = 64;

/// An archive with these files under the root `root`. PyTorch always writes zip64 records at the end, and the true numbers
/// in the plain record behind them.
pub(super) fn archive(root: &str, files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut directory = Vec::new();
    let short = |length: usize| u16::try_from(length).unwrap().to_le_bytes();
    let long = |length: usize| u32::try_from(length).unwrap().to_le_bytes();
    for (name, content) in files {
        let name = format!("{root}/{name}");
        let mut crc = flate2::Crc::new();
        crc.update(content);
        let sums = [
            crc.sum().to_le_bytes(),
            long(content.len()),
            long(content.len()),
        ]
        .concat();
        let start = bytes.len();
        let padding = (start + 30 + name.len() + 4).next_multiple_of(ALIGNMENT)
            - (start + 30 + name.len() + 4);
        // Sums follow the content, names are UTF-8, stored, no time.
        let described = [0, 0, 8, 8, 0, 0, 0, 0, 0, 0];
        bytes.extend(b"PK\x03\x04");
        bytes.extend(described);
        bytes.extend([0; 12]);
        bytes.extend([short(name.len()), short(padding + 4)].concat());
        bytes.extend(name.as_bytes());
        bytes.extend([*b"FB", short(padding)].concat());
        bytes.extend(vec![b'Z'; padding]);
        bytes.extend(*content);
        bytes.extend(b"PK\x07\x08");
        bytes.extend(&sums);

        directory.extend(b"PK\x01\x02\0\0");
        directory.extend(described);
        directory.extend(&sums);
        directory.extend(short(name.len()));
        directory.extend([0; 12]);
        directory.extend(long(start));
        directory.extend(name.as_bytes());
    }
    let (start, count) = (bytes.len(), files.len());
    let end = start + directory.len();
    let wide = |length: usize| u64::try_from(length).unwrap().to_le_bytes();
    bytes.extend(&directory);
    bytes.extend(b"PK\x06\x06");
    bytes.extend(wide(44));
    bytes.extend([0x1e, 3, 0x2d, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    bytes.extend([wide(count), wide(count), wide(directory.len()), wide(start)].concat());
    bytes.extend(b"PK\x06\x07\0\0\0\0");
    bytes.extend(wide(end));
    bytes.extend([1, 0, 0, 0]);
    bytes.extend(b"PK\x05\x06\0\0\0\0");
    bytes.extend([short(count), short(count)].concat());
    bytes.extend([long(directory.len()), long(start)].concat());
    bytes.extend([0, 0]);
    bytes
}

/// Names (without the root) and contents of an archive, in order.
pub(super) fn files_of(path: &Path) -> (String, Vec<(String, Vec<u8>)>) {
    let mut archive = zip::ZipArchive::new(fs::File::open(path).unwrap()).unwrap();
    let mut root = String::new();
    let files = (0..archive.len())
        .map(|index| {
            let mut entry = archive.by_index(index).unwrap();
            let name = entry.name().unwrap().into_owned();
            let (found, name) = name.split_once('/').unwrap();
            root = found.to_owned();
            let mut content = Vec::new();
            std::io::Read::read_to_end(&mut entry, &mut content).unwrap();
            (name.to_owned(), content)
        })
        .collect();
    (root, files)
}

/// [`archive`], of what [`files_of`] gives.
pub(super) fn archive_of(root: &str, files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let borrowed: Vec<(&str, &[u8])> = files
        .iter()
        .map(|(name, content)| (name.as_str(), content.as_slice()))
        .collect();
    archive(root, &borrowed)
}

/// Saves f32 or f64 tensors in a dictionary.
pub(super) fn save(path: &Path, tensors: &NamedTensors) {
    let mut pickle = b"\x80\x02}(".to_vec();
    let mut storages = Vec::new();
    for (key, (name, tensor)) in tensors.iter().enumerate() {
        let (class, content) = content(tensor);
        let shape: Vec<u64> = tensor
            .size()
            .iter()
            .map(|size| u64::try_from(*size).unwrap())
            .collect();
        let strides: Vec<u64> = (0..shape.len())
            .map(|axis| shape[axis + 1..].iter().product())
            .collect();
        let numbers = u64::try_from(tensor.numel()).unwrap();
        pickle.extend(text(name));
        pickle.extend(rebuilt(class, &key.to_string(), &shape, &strides, numbers));
        storages.push((format!("data/{key}"), content));
    }
    pickle.extend(b"u.");
    let mut files = vec![
        ("data.pkl".to_owned(), pickle),
        ("byteorder".to_owned(), b"little".to_vec()),
    ];
    files.extend(storages);
    files.push(("version".to_owned(), b"3\n".to_vec()));
    fs::write(path, archive_of("saved", &files)).unwrap();
}

fn content(tensor: &Tensor) -> (&'static str, Vec<u8>) {
    let flat = tensor.flatten(0, -1);
    match tensor.kind() {
        Kind::Double => {
            let values = Vec::<f64>::try_from(flat).unwrap();
            (
                "DoubleStorage",
                values.iter().flat_map(|v| v.to_le_bytes()).collect(),
            )
        }
        _ => {
            let values = Vec::<f32>::try_from(flat).unwrap();
            (
                "FloatStorage",
                values.iter().flat_map(|v| v.to_le_bytes()).collect(),
            )
        }
    }
}

/// The pickle of a tensor: storage `key` of `class` with `storage` elements, as claimed.
pub(super) fn rebuilt(
    class: &str,
    key: &str,
    shape: &[u64],
    stride: &[u64],
    storage: u64,
) -> Vec<u8> {
    let tuple = |values: &[u64]| {
        let numbers = values.iter().flat_map(|value| number(*value));
        [vec![b'('], numbers.collect(), vec![b't']].concat()
    };
    [
        b"ctorch._utils\n_rebuild_tensor_v2\n((".to_vec(),
        text("storage"),
        format!("ctorch\n{class}\n").into_bytes(),
        text(key),
        text("cpu"),
        number(storage),
        b"tQ".to_vec(),
        number(0),
        tuple(shape),
        tuple(stride),
        b"\x89ccollections\nOrderedDict\n)RtR".to_vec(),
    ]
    .concat()
}

/// The pickle of a text.
pub(super) fn text(word: &str) -> Vec<u8> {
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
