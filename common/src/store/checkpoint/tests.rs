use std::fs;

use safetensors::tensor::TensorView;

use super::*;

fn network() -> NetworkConfig {
    serde_json::from_str(
        r#"{"arch": "v2", "image_size": 16, "in_channels": 2, "num_channels": 32, "num_res_blocks": 1,
            "channel_mult": [1, 2], "attention_downsample_rates": [2], "num_heads": 2}"#,
    )
    .unwrap()
}

/// A file of weights, all of them 1, with these changed.
fn bytes(shapes: &TensorShapes, dtype: Dtype, change: impl Fn(&str, &mut Vec<u8>)) -> Vec<u8> {
    let one: &[u8] = match dtype {
        Dtype::F16 => &[0x00, 0x3c],
        Dtype::BF16 => &[0x80, 0x3f],
        Dtype::F32 => &[0, 0, 0x80, 0x3f],
        _ => &[0; 8],
    };
    let tensors: Vec<(String, Vec<usize>, Vec<u8>)> = shapes
        .iter()
        .map(|(name, shape)| {
            let mut values = one.repeat(shape.iter().product());
            change(name, &mut values);
            (name.clone(), shape.clone(), values)
        })
        .collect();
    let views = tensors.iter().map(|(name, shape, values)| {
        (
            name.as_str(),
            TensorView::new(dtype, shape.clone(), values).unwrap(),
        )
    });
    safetensors::serialize(views, None).unwrap()
}

fn plain(shapes: &TensorShapes) -> Vec<u8> {
    bytes(shapes, Dtype::F32, |_, _| {})
}

struct Case {
    folder: tempfile::TempDir,
}

impl Case {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("w.safetensors")
    }

    fn check(&self, bytes: &[u8], network: &NetworkConfig) -> Result<Vec<String>, String> {
        fs::write(self.path(), bytes).unwrap();
        check(&self.path(), network).map_err(|error| {
            let text = error.to_string();
            let named = self.path().display().to_string();
            assert!(text.starts_with(&format!("{named}: ")), "{text}");
            text[named.len() + 2..].to_owned()
        })
    }
}

#[test]
fn weights_that_fit_are_taken_in_every_kind() {
    let case = Case::new();
    let shapes = network().tensors();
    for dtype in [Dtype::F16, Dtype::BF16, Dtype::F32] {
        let good = bytes(&shapes, dtype, |_, _| {});
        assert_eq!(case.check(&good, &network()), Ok(Vec::new()));
    }
    let doubles = bytes(&shapes, Dtype::F64, |_, _| {});
    assert_eq!(
        case.check(&doubles, &network()).unwrap_err(),
        "tensor class_emb.0.bias is stored as F64: only F16, BF16 and F32 weights are read"
    );
}

#[test]
fn another_network_is_named() {
    let case = Case::new();
    let good = plain(&network().tensors());
    for (change, expected) in [
        (
            (|c: &mut NetworkConfig| c.num_channels = 64) as fn(&mut NetworkConfig),
            "tensor class_emb.0.bias is [128], the spec asks for [256]: another architecture (num_channels, channel_mult, num_res_blocks or attention differ)",
        ),
        (
            |c| c.in_channels = 4,
            "tensor input_blocks.0.0.weight is [32, 2, 3, 3], the spec asks for [32, 4, 3, 3]: this checkpoint has 2 input channels, the configuration says 4",
        ),
        (
            |c| c.channel_mult = vec![1, 2, 2],
            "tensor output_blocks.1.0.in_layers.0.bias is [96], the spec asks for [128]: another architecture ",
        ),
        (
            |c| c.attention_downsample_rates = vec![],
            "another architecture than the spec asks for: 2 of its 117 tensors are absent and 26 unknown ones are there (first: output_blocks.1.1.conv.bias)",
        ),
    ] {
        let mut asked = network();
        change(&mut asked);
        let found = case.check(&good, &asked).unwrap_err();
        assert!(found.starts_with(expected), "{found}");
    }
}

#[test]
fn every_value_that_is_no_number_is_seen() {
    let case = Case::new();
    let shapes = network().tensors();
    for (dtype, width, not_finite) in [
        (Dtype::F32, 4, &[0, 0, 0xc0, 0x7f][..]),
        (Dtype::F32, 4, &[0, 0, 0x80, 0xff]),
        (Dtype::F16, 2, &[0, 0x7c]),
        (Dtype::F16, 2, &[1, 0xfe]),
        (Dtype::BF16, 2, &[0x80, 0x7f]),
    ] {
        let bad = bytes(&shapes, dtype, |name, values| {
            if name == "out.2.weight" {
                let last = values.len() - width;
                values[last..].copy_from_slice(not_finite);
            }
        });
        assert_eq!(
            case.check(&bad, &network()).unwrap_err(),
            "tensor out.2.weight holds NaN or infinite values: the training that wrote it has diverged"
        );
    }
    // The largest numbers are numbers: 3.4e38 and 65504.
    for (dtype, largest) in [
        (Dtype::F32, &[0xff, 0xff, 0x7f, 0x7f][..]),
        (Dtype::F16, &[0xff, 0x7b]),
    ] {
        let good = bytes(&shapes, dtype, |_, values| {
            values[..largest.len()].copy_from_slice(largest);
        });
        assert_eq!(case.check(&good, &network()), Ok(Vec::new()));
    }
}

#[test]
fn what_is_no_file_of_weights_is_told_with_a_cure() {
    let case = Case::new();
    let good = plain(&network().tensors());
    for length in [0, 7, 8, 100, good.len() / 2, good.len() - 1] {
        let cut = case.check(&good[..length], &network()).unwrap_err();
        assert!(cut.starts_with("no whole safetensors file: "), "{cut}");
    }
    let longer = case
        .check(&[&good[..], b"\0"].concat(), &network())
        .unwrap_err();
    assert_eq!(
        longer,
        format!(
            "no whole safetensors file: its tensors end at {} bytes, and it has {}",
            good.len(),
            good.len() + 1
        )
    );
    for torch in [&b"PK\x03\x04 and more"[..], b"\x80\x02\x8a\nl\xfc\x9cF\xf9"] {
        let found = case.check(torch, &network()).unwrap_err();
        assert!(found.contains("anofpdm-worker import"), "{found}");
    }

    let error = |path: &Path| check(path, &network()).unwrap_err().to_string();
    let missing = error(&case.folder.path().join("none.safetensors"));
    assert!(
        missing.contains("none.safetensors: No such file"),
        "{missing}"
    );
    let folder = error(case.folder.path());
    assert!(
        folder.ends_with("is a folder; name the file of weights in it, e.g. w.safetensors"),
        "{folder}"
    );
}

/// Headers that lie: an error, or weights that are all there; never a panic, never an allocation beyond the file.
#[test]
fn hostile_headers_are_errors() {
    let case = Case::new();
    let shapes = TensorShapes::from([("a".to_owned(), vec![2, 3]), ("b".to_owned(), vec![4])]);
    let good = plain(&shapes);
    let header = 8 + usize::from(good[0]);
    for index in 0..header {
        for value in [0, b'9', b'"', 0xff] {
            let mut bad = good.clone();
            bad[index] = value;
            case.check(&bad, &network()).unwrap_err();
        }
    }
    for text in [
        r#"{"a":{"dtype":"F32","shape":[18446744073709551615,18446744073709551615],"data_offsets":[0,24]}}"#,
        r#"{"a":{"dtype":"F32","shape":[6],"data_offsets":[24,0]}}"#,
        r#"{"a":{"dtype":"F32","shape":[6],"data_offsets":[0,24]},"b":{"dtype":"F32","shape":[6],"data_offsets":[0,24]}}"#,
    ] {
        let bytes = [
            &(text.len() as u64).to_le_bytes()[..],
            text.as_bytes(),
            &[0; 24],
        ]
        .concat();
        let found = case.check(&bytes, &network()).unwrap_err();
        assert!(found.starts_with("no whole safetensors file: "), "{found}");
    }
}

#[test]
fn heads_are_those_of_the_config_beside_the_weights() {
    let case = Case::new();
    let good = plain(&network().tensors());
    let beside = case.folder.path().join("config.json");
    let with = |change: fn(&mut NetworkConfig)| {
        let mut stated = network();
        change(&mut stated);
        fs::write(&beside, serde_json::to_string(&stated).unwrap()).unwrap();
        case.check(&good, &network())
    };
    assert_eq!(with(|_| {}), Ok(Vec::new()));
    // The only attended width is 64: two heads are heads of 32.
    assert_eq!(with(|c| c.heads = Heads::Width(32)), Ok(Vec::new()));
    assert_eq!(
        with(|c| c.heads = Heads::Count(4)).unwrap_err(),
        format!(
            "{} says num_heads 4, and the spec asks for num_heads 2; weights work with the heads they were trained with only: correct the one that is wrong",
            beside.display()
        )
    );
    let size = with(|c| c.image_size = 32).unwrap();
    assert!(
        size[0].contains("trained at 32 pixels; the slices have 16"),
        "{size:?}"
    );
    // Somebody else's file decides nothing, and that is said.
    let other = with(|c| c.num_channels = 64).unwrap();
    assert!(
        other[0].contains("it describes another network"),
        "{other:?}"
    );
    fs::write(&beside, r#"{"model_type": "bert"}"#).unwrap();
    let foreign = case.check(&good, &network()).unwrap();
    assert!(
        foreign[0].contains("config.json is not read"),
        "{foreign:?}"
    );
}
