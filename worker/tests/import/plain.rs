//! A U-Net whose blocks add time and label before their norm, and weights in float64.

use anofpdm_common::network::{Arch, NetworkConfig};
use anofpdm_worker::import::import;
use tch::Kind;

use super::archive::save;
use super::{answer, args, expected};

/// The network of plain_unet.py.
fn network() -> NetworkConfig {
    let config: NetworkConfig = serde_json::from_str(
        r#"{"arch": "v1", "image_size": 16, "in_channels": 2, "out_channels": 4, "num_channels": 64,
            "num_res_blocks": 1, "channel_mult": [1, 1], "attention_downsample_rates": [2],
            "num_heads": 1, "num_classes": 2, "use_scale_shift_norm": false}"#,
    )
    .unwrap();
    config.validate().unwrap();
    config
}

/// What plain_unet.py prints, by PyTorch 2.15.0 in float64: every 211th value, and the norm of all.
const VALUES: [f64; 10] = [
    0.032_318, 0.030_705, 0.097_795, 0.123_647, -0.099_752, 0.034_839, 0.023_36, 0.080_402,
    0.118_605, -0.107_975,
];
const NORM: f64 = 4.687_012_254_789_738;

#[test]
fn a_network_without_scale_shift_says_what_pytorch_says() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("plain.pt");
    save(&path, &expected(&network(), Kind::Float));
    let mut args = args(&path, Arch::V1);
    args.heads = Some(1);
    let imported = import(&args).unwrap();
    assert_eq!(imported.config, network());
    let text = std::fs::read_to_string(&imported.config_file).unwrap();
    assert!(text.contains("\"use_scale_shift_norm\": false"), "{text}");
    assert!(imported.warnings.is_empty(), "{:?}", imported.warnings);
    let answer = answer(&args.output, &imported.config).to_kind(Kind::Double);
    let norm = answer.square().sum(Kind::Double).sqrt().double_value(&[]);
    assert!((norm / NORM - 1.0).abs() < 1e-6, "{norm}");
    let values = Vec::<f64>::try_from(answer.flatten(0, -1)).unwrap();
    for (got, want) in values.iter().step_by(211).zip(VALUES) {
        assert!((got - want).abs() < 2e-6, "{got} {want}");
    }

    // A configuration that says otherwise is told so.
    let stated = folder.path().join("stated.json");
    let scaled = NetworkConfig {
        use_scale_shift_norm: true,
        ..network()
    };
    std::fs::write(&stated, serde_json::to_vec(&scaled).unwrap()).unwrap();
    args.config = Some(stated);
    args.output = folder.path().join("other/weights.safetensors");
    let message = import(&args).unwrap_err().to_string();
    assert!(
        message.contains("trained with use_scale_shift_norm false, the configuration says true"),
        "{message}"
    );
}

#[test]
fn weights_in_float64_become_float32() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("wide.pt");
    let network = super::network("v2");
    let mut wide = expected(&network, Kind::Double);
    save(&path, &wide);
    let args = args(&path, Arch::V2);
    let imported = import(&args).unwrap();
    let numbers = imported.numbers;
    assert_eq!(
        imported.warnings,
        [format!(
            "{numbers} weights are stored as float64: written as float32, which holds every one of them exactly"
        )]
    );
    let found = anofpdm_worker::tensors::read(&args.output, 1 << 24).unwrap();
    assert_eq!(found, expected(&network, Kind::Float));

    let bias = wide.get_mut("out.2.bias").unwrap();
    *bias = bias.shallow_clone() + 1e-12;
    save(&path, &wide);
    let mut again = args.clone();
    again.output = args.output.with_file_name("rounded.safetensors");
    let warnings = import(&again).unwrap().warnings;
    assert!(
        warnings[0]
            .ends_with("written as float32, 2 of them rounded, as the network computes in float32"),
        "{warnings:?}"
    );
}
