use super::*;

fn paper(in_channels: i64) -> NetworkConfig {
    NetworkConfig {
        arch: Arch::V2,
        image_size: 128,
        in_channels,
        out_channels: None,
        num_channels: 128,
        num_res_blocks: 2,
        channel_mult: vec![1, 1, 2, 3, 4],
        attention_downsample_rates: vec![4, 8, 16],
        heads: Heads::Count(4),
        num_classes: Some(2),
        resblock_updown: false,
        use_scale_shift_norm: true,
    }
}

fn paper_v1() -> NetworkConfig {
    NetworkConfig {
        arch: Arch::V1,
        num_classes: None,
        ..paper(4)
    }
}

#[test]
fn the_paper_networks_have_their_published_number_of_weights() {
    assert_eq!(paper(4).footprint().parameters, 103_082_500);
    assert_eq!(paper(1).footprint().parameters, 103_075_585);
    assert_eq!(paper_v1().footprint().parameters, 96_318_468);
}

#[test]
fn the_tensors_are_all_the_weights() {
    let networks = [
        paper(4),
        paper_v1(),
        NetworkConfig {
            num_classes: Some(2),
            out_channels: Some(8),
            attention_downsample_rates: vec![],
            ..paper_v1()
        },
        NetworkConfig {
            resblock_updown: true,
            num_res_blocks: 3,
            attention_downsample_rates: vec![1, 16],
            ..paper_v1()
        },
        NetworkConfig {
            arch: Arch::Classifier,
            heads: Heads::Width(64),
            resblock_updown: true,
            ..paper_v1()
        },
        NetworkConfig {
            use_scale_shift_norm: false,
            ..paper(4)
        },
    ];
    for network in networks {
        network.validate().unwrap();
        let tensors = network.tensors();
        let weights: usize = tensors
            .values()
            .map(|shape| shape.iter().product::<usize>())
            .sum();
        let counted = usize::try_from(network.footprint().parameters).unwrap();
        assert_eq!(weights, counted, "{network:?}");
    }
    // Names and shapes of the public checkpoint of the guided network.
    let tensors = paper(4).tensors();
    assert_eq!(tensors["label_emb.weight"], [2, 128]);
    assert_eq!(tensors["input_blocks.3.0.op.weight"], [128, 128, 3, 3]);
    assert_eq!(tensors["input_blocks.7.1.encoder_kv.weight"], [512, 512, 1]);
    assert_eq!(tensors["output_blocks.2.2.conv.weight"], [512, 512, 3, 3]);
    assert_eq!(tensors["out.2.weight"], [4, 128, 3, 3]);
}

/// In millions.
#[test]
fn the_paper_networks_have_their_counted_arithmetic() {
    let millions =
        |network: NetworkConfig| (network.footprint().multiply_adds + 500_000) / 1_000_000;
    assert_eq!(millions(paper(4)), 75_826);
    assert_eq!(millions(paper(1)), 75_713);
    assert_eq!(millions(paper_v1()), 70_491);
}

#[test]
fn classes_variance_and_resampling_blocks_are_counted() {
    let plain = paper_v1().footprint().parameters;
    let conditional = NetworkConfig {
        num_classes: Some(2),
        out_channels: Some(8),
        ..paper_v1()
    };
    assert!(conditional.learned_variance() && !paper_v1().learned_variance());
    let more = 2 * 512 + 4 * (9 * 128 + 1);
    assert_eq!(conditional.footprint().parameters, plain + more);
    let blocks = NetworkConfig {
        resblock_updown: true,
        ..paper_v1()
    };
    assert!(blocks.footprint().parameters > plain);
}

/// The U-Net of diffusion-anomaly (`--image_size 256 --num_channels 128 --class_cond True --num_res_blocks 2 --num_heads 1
/// --learn_sigma True --use_scale_shift_norm False --attention_resolutions 16`, four modalities): weights as
/// guided-diffusion's `UNetModel` has them, layer by layer.
#[test]
fn networks_that_add_the_conditioning_have_half_its_weights() {
    let network = |use_scale_shift_norm| NetworkConfig {
        image_size: 256,
        out_channels: Some(8),
        channel_mult: vec![1, 1, 2, 2, 4, 4],
        attention_downsample_rates: vec![16],
        heads: Heads::Count(1),
        num_classes: Some(2),
        use_scale_shift_norm,
        ..paper_v1()
    };
    let (plain, scaled) = (network(false).footprint(), network(true).footprint());
    // 12 blocks down, 2 in the middle, 18 up: widths of the levels 128, 128, 256, 256, 512, 512.
    let widths = 5 * (128 + 128 + 256 + 256 + 512 + 512) + 2 * 512;
    assert_eq!(scaled.parameters - plain.parameters, widths * (512 + 1));
    assert_eq!(scaled.multiply_adds - plain.multiply_adds, widths * 512);
    assert_eq!(plain.activations, scaled.activations);
    network(false).validate().unwrap();
}

#[test]
fn a_file_conditioned_otherwise_is_told_from_one_of_other_widths() {
    let scaled = paper_v1();
    let first_difference = |file: &NetworkConfig| {
        let (wanted, stored) = (scaled.tensors(), file.tensors());
        let other = wanted.iter().find(|(name, shape)| stored[*name] != **shape);
        let (name, _) = other.unwrap();
        scaled.why_other_shape(name, &stored[name])
    };
    let added = NetworkConfig {
        use_scale_shift_norm: false,
        ..paper_v1()
    };
    let cause = first_difference(&added);
    assert!(
        cause.contains("trained with use_scale_shift_norm false, the configuration says true"),
        "{cause}"
    );
    // Its last blocks are told half as many values, too.
    let narrow = NetworkConfig {
        channel_mult: vec![1, 1, 1, 3, 4],
        ..paper_v1()
    };
    let cause = first_difference(&narrow);
    assert!(cause.starts_with("another architecture"), "{cause}");
}

#[test]
fn adding_the_conditioning_is_said_and_scaling_is_not() {
    let text = serde_json::to_string(&paper(4)).unwrap();
    assert!(!text.contains("scale_shift"), "{text}");
    let added = NetworkConfig {
        use_scale_shift_norm: false,
        ..paper(4)
    };
    let text = serde_json::to_string(&added).unwrap();
    assert!(
        text.ends_with(r#","use_scale_shift_norm":false}"#),
        "{text}"
    );
    assert_eq!(serde_json::from_str::<NetworkConfig>(&text).unwrap(), added);
}

#[test]
fn a_v2_network_is_written_as_it_always_was() {
    // Record keys hash these bytes.
    assert_eq!(
        serde_json::to_string(&paper(4)).unwrap(),
        r#"{"arch":"v2","image_size":128,"in_channels":4,"num_channels":128,"num_res_blocks":2,"channel_mult":[1,1,2,3,4],"attention_downsample_rates":[4,8,16],"num_heads":4,"num_classes":2}"#
    );
}

#[test]
fn what_a_file_leaves_unsaid_is_what_the_family_has() {
    let read = |heads: &str| {
        let text = format!(
            r#"{{"image_size": 32, "in_channels": 4, "num_channels": 32, "num_res_blocks": 1,
                "channel_mult": [1, 2], "attention_downsample_rates": [2], {heads}}}"#
        );
        serde_json::from_str::<NetworkConfig>(&text).map_err(|error| error.to_string())
    };
    let v2 = read(r#""num_heads": 2"#).unwrap();
    assert_eq!((v2.arch, v2.num_classes), (Arch::V2, Some(2)));
    assert_eq!((v2.output_channels(), v2.resblock_updown), (4, false));
    let v1 = read(r#""arch": "v1", "num_heads": 2"#).unwrap();
    assert_eq!((v1.arch, v1.num_classes), (Arch::V1, None));
    let classifier = read(r#""num_head_channels": 64"#).unwrap();
    assert_eq!(classifier.arch, Arch::Classifier);
    assert_eq!(
        (classifier.output_channels(), classifier.resblock_updown),
        (2, true)
    );
    for network in [v2, v1, classifier] {
        network.validate().unwrap();
        let text = serde_json::to_string(&network).unwrap();
        assert_eq!(
            serde_json::from_str::<NetworkConfig>(&text).unwrap(),
            network
        );
    }
    for (heads, part) in [
        (r#""num_heads": 2, "num_head_channels": 64"#, "both"),
        (r#""num_classes": 2"#, "num_heads is missing"),
        (r#""num_heads": 2, "num_head": 64"#, "num_head"),
    ] {
        let message = read(heads).unwrap_err();
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn what_cannot_be_built_is_refused_by_name() {
    type Change = fn(&mut NetworkConfig);
    let changes: [(Change, &str); 9] = [
        (|c| c.num_channels = 100, "num_channels"),
        (|c| c.image_size = 72, "image_size"),
        (|c| c.heads = Heads::Count(5), "num_heads 5"),
        (|c| c.heads = Heads::Width(96), "num_head_channels 96"),
        (|c| c.heads = Heads::Count(0), "num_heads is 0"),
        (|c| c.in_channels = 0, "in_channels"),
        (|c| c.channel_mult = vec![], "channel_mult"),
        (|c| c.num_classes = None, "num_classes"),
        (|c| c.arch = Arch::Classifier, "takes no labels"),
    ];
    for (change, part) in changes {
        let mut config = paper(4);
        change(&mut config);
        let message = config.validate().unwrap_err().to_string();
        assert!(message.contains(part), "{message}");
    }
}
