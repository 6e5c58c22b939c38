//! The architecture of a network from the names and shapes of its tensors.
//!
//! What the tensors do not tell is taken as the public networks have it unless it is said: the heads,
//! and the image size of a U-Net.

use anofpdm_common::network::{Arch, Heads, NetworkConfig, TensorShapes};

use crate::nn::config::arch_of_tensors;

/// Image sizes that the public code gives these widths to.
const PUBLISHED: [(i64, &[i64]); 4] = [
    (32, &[1, 2, 2, 2]),
    (64, &[1, 2, 3, 4]),
    (128, &[1, 1, 2, 3, 4]),
    (256, &[1, 1, 2, 2, 4, 4]),
];

/// Side of the last level's map in nearly all of them.
const USUAL_LAST_SIDE: i64 = 8;

/// Heads of the public U-Nets where no script says otherwise.
const USUAL_HEADS: Heads = Heads::Count(4);
/// Heads of the public classifiers, which no script can change.
const CLASSIFIER_HEADS: Heads = Heads::Width(64);

/// Deepest network looked for.
const MOST_LEVELS: usize = 8;

#[derive(Debug, Clone, Copy)]
pub(super) struct Said {
    pub(super) arch: Arch,
    pub(super) heads: Option<i64>,
    /// Side of the input, pixels.
    pub(super) image_size: Option<i64>,
}

/// One entry of `input_blocks` after the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    width: i64,
    kind: EntryKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum EntryKind {
    /// A residual block; whether attention follows.
    Block { attends: bool, widens: bool },
    /// A strided convolution.
    Downsample,
}

/// One level: widths agree, and so does attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Level {
    width: i64,
    attends: bool,
}

/// How the entries divide into levels.
#[derive(Debug, PartialEq, Eq)]
struct Layout {
    levels: Vec<Level>,
    blocks: usize,
    resblock_updown: bool,
    scale_shift_norm: bool,
}

/// The configuration that has these tensors. Whether they fit it in every shape is for the network
/// itself to say.
pub(super) fn infer(shapes: &TensorShapes, said: Said) -> Result<NetworkConfig, String> {
    let found = arch_of_tensors(shapes);
    if found != said.arch {
        return Err(format!(
            "its tensors are those of a {found} network, not {}: say --arch {found}",
            said.arch
        ));
    }
    let base = size(shapes, "time_embed.0.weight", 1)?;
    let (num_classes, out_channels, head) = match said.arch {
        Arch::V2 => (
            Some(size(shapes, "label_emb.weight", 0)?),
            size(shapes, "out.2.weight", 0)?,
            None,
        ),
        Arch::V1 => (v1_classes(shapes, base)?, out_of_v1(shapes)?, None),
        Arch::Classifier => (
            None,
            size(shapes, "out.2.c_proj.weight", 0)?,
            Some(size(shapes, "out.2.positional_embedding", 1)? - 1),
        ),
    };
    let layout = layout(shapes, base)?;
    let depth = layout.levels.len() - 1;
    let channel_mult = layout
        .levels
        .iter()
        .map(|level| match level.width % base {
            0 => Ok(level.width / base),
            _ => Err(format!(
                "a level is {} wide, no multiple of the base width {base}",
                level.width
            )),
        })
        .collect::<Result<Vec<_>, _>>()?;
    let image_size = match head {
        // The classifier has a position for every pixel of its last level.
        Some(positions) => positions.isqrt() << depth,
        None => said
            .image_size
            .or(published_size(&channel_mult))
            .unwrap_or(USUAL_LAST_SIDE << depth),
    };
    Ok(NetworkConfig {
        arch: said.arch,
        image_size,
        in_channels: size(shapes, "input_blocks.0.0.weight", 1)?,
        out_channels: Some(out_channels),
        num_channels: base,
        num_res_blocks: i64::try_from(layout.blocks).map_err(|error| error.to_string())?,
        channel_mult,
        attention_downsample_rates: (0..layout.levels.len())
            .filter(|level| layout.levels[*level].attends)
            .map(|level| 1 << level)
            .collect(),
        heads: match (said.heads, said.arch) {
            (Some(count), _) => Heads::Count(count),
            (None, Arch::Classifier) => CLASSIFIER_HEADS,
            (None, _) => USUAL_HEADS,
        },
        num_classes,
        resblock_updown: layout.resblock_updown,
        use_scale_shift_norm: layout.scale_shift_norm,
    })
}

pub(super) fn published_size(channel_mult: &[i64]) -> Option<i64> {
    PUBLISHED
        .iter()
        .find(|(_, mult)| *mult == channel_mult)
        .map(|(size, _)| *size)
}

/// A network without labels has no table; one with labels has rows as wide as the time vector.
fn v1_classes(shapes: &TensorShapes, base: i64) -> Result<Option<i64>, String> {
    if !shapes.contains_key("label_emb.weight") {
        return Ok(None);
    }
    if size(shapes, "label_emb.weight", 1)? == 4 * base {
        return size(shapes, "label_emb.weight", 0).map(Some);
    }
    Err(
        "a v1 network trained for guidance without a classifier (it has class_emb): only v2 is \
         supported for that"
            .to_owned(),
    )
}

fn out_of_v1(shapes: &TensorShapes) -> Result<i64, String> {
    size(shapes, "out.2.weight", 0).map_err(|error| {
        if shapes.keys().any(|name| name.starts_with("output_blocks.")) {
            error
        } else {
            "it has no output_blocks and no attention pool: a classifier with another pool than \
             'attention' is not supported"
                .to_owned()
        }
    })
}

/// Dimension `axis` of a tensor.
fn size(shapes: &TensorShapes, name: &str, axis: usize) -> Result<i64, String> {
    let shape = shapes
        .get(name)
        .ok_or_else(|| format!("it has no tensor {name}"))?;
    shape
        .get(axis)
        .and_then(|size| i64::try_from(*size).ok())
        // Widths beyond this are refused anyway; sums of them stay in range.
        .filter(|size| (1..=1 << 24).contains(size))
        .ok_or_else(|| format!("tensor {name} has the shape {shape:?}"))
}

/// The entries, and whether their blocks are scaled and shifted: a scale and a shift for each channel, or one value that
/// is added.
fn entries(shapes: &TensorShapes) -> Result<(Vec<Entry>, bool), String> {
    let mut entries = Vec::new();
    let mut scale_shift = None;
    loop {
        let entry = format!("input_blocks.{}", entries.len() + 1);
        let has = |part: &str| shapes.contains_key(&format!("{entry}.{part}"));
        if has("0.op.weight") {
            entries.push(Entry {
                width: size(shapes, &format!("{entry}.0.op.weight"), 0)?,
                kind: EntryKind::Downsample,
            });
        } else if has("0.in_layers.2.weight") {
            let width = size(shapes, &format!("{entry}.0.in_layers.2.weight"), 0)?;
            let conditioning = size(shapes, &format!("{entry}.0.emb_layers.1.weight"), 0)?;
            let scales = conditioning == 2 * width;
            if !scales && conditioning != width {
                return Err(format!(
                    "{entry} is conditioned by {conditioning} values for {width} channels: networks have one a \
                     channel, or two with use_scale_shift_norm"
                ));
            }
            if *scale_shift.get_or_insert(scales) != scales {
                return Err(format!(
                    "{entry} is conditioned by {conditioning} values for {width} channels, the blocks before it \
                     otherwise: no network is made so"
                ));
            }
            entries.push(Entry {
                width,
                kind: EntryKind::Block {
                    attends: has("1.qkv.weight"),
                    widens: has("0.skip_connection.weight"),
                },
            });
        } else {
            return Ok((entries, scale_shift.unwrap_or(true)));
        }
    }
}

/// Divides the entries into levels of equally many blocks.
fn layout(shapes: &TensorShapes, base: i64) -> Result<Layout, String> {
    let (entries, scale_shift_norm) = entries(shapes)?;
    let strided = entries
        .iter()
        .filter(|entry| entry.kind == EntryKind::Downsample)
        .count();
    // One entry more, the end of the last level, would make all levels equally long.
    let whole = entries.len() + 1;
    let mut possible: Vec<Layout> = (1..=MOST_LEVELS)
        .filter(|levels| whole.is_multiple_of(*levels) && (strided == 0 || strided + 1 == *levels))
        .filter_map(|levels| divide(&entries, whole / levels, strided > 0))
        .map(|layout| Layout {
            scale_shift_norm,
            ..layout
        })
        .filter(|layout| decoder_fits(shapes, layout))
        .collect();
    match (possible.pop(), possible.is_empty()) {
        (Some(layout), true) => Ok(layout),
        (Some(_), false) => Err(format!(
            "its {} input blocks can be divided into levels in several ways: give --config",
            entries.len()
        )),
        (None, _) => Err(format!(
            "its {} input blocks (base width {base}) do not divide into equal levels: another \
             architecture, or a damaged file",
            entries.len()
        )),
    }
}

/// Levels of `period` entries, the last of each (but the last level's) halving the map.
fn divide(entries: &[Entry], period: usize, strided: bool) -> Option<Layout> {
    let blocks = period.checked_sub(1).filter(|blocks| *blocks > 0)?;
    let levels = entries
        .chunks(period)
        .map(|chunk| {
            let (inner, end) = chunk.split_at(blocks.min(chunk.len()));
            let level = level_of(inner)?;
            let fits = end.iter().all(|end| match end.kind {
                EntryKind::Downsample => strided && end.width == level.width,
                EntryKind::Block { attends, widens } => {
                    !strided && !attends && !widens && end.width == level.width
                }
            });
            (fits && inner.len() == blocks).then_some(level)
        })
        .collect::<Option<Vec<_>>>()?;
    Some(Layout {
        levels,
        blocks,
        resblock_updown: !strided,
        scale_shift_norm: true,
    })
}

/// What the blocks of a level agree on.
fn level_of(blocks: &[Entry]) -> Option<Level> {
    let mut level = None;
    for entry in blocks {
        let EntryKind::Block { attends, .. } = entry.kind else {
            return None;
        };
        let this = Level {
            width: entry.width,
            attends,
        };
        if *level.get_or_insert(this) != this {
            return None;
        }
    }
    level
}

/// Whether a U-Net's decoder doubles its maps where this layout says; a classifier has none.
fn decoder_fits(shapes: &TensorShapes, layout: &Layout) -> bool {
    let period = layout.blocks + 1;
    let grows = |n: usize| {
        ["1", "2"].iter().any(|place| {
            ["conv.weight", "in_layers.2.weight"]
                .iter()
                .any(|part| shapes.contains_key(&format!("output_blocks.{n}.{place}.{part}")))
        })
    };
    if !shapes.contains_key("output_blocks.0.0.in_layers.2.weight") {
        return true;
    }
    let count = layout.levels.len() * period;
    (0..count).all(|n| grows(n) == ((n + 1) % period == 0 && n + 1 < count))
}

#[cfg(test)]
mod tests {
    use tch::Device;
    use tch::nn::VarStore;

    use super::*;
    use crate::nn::{Classifier, UNet, weights};

    fn shapes_of(config: &NetworkConfig) -> TensorShapes {
        let vs = VarStore::new(Device::Cpu);
        match config.arch {
            Arch::V2 | Arch::V1 => drop(UNet::new(&vs.root(), config)),
            Arch::Classifier => drop(Classifier::new(&vs.root(), config)),
        }
        weights::variables(&vs)
            .iter()
            .map(|(name, tensor)| {
                let shape = tensor
                    .size()
                    .into_iter()
                    .map(|n| usize::try_from(n).unwrap());
                (name.clone(), shape.collect())
            })
            .collect()
    }

    fn network(arch: &str, rest: &str) -> NetworkConfig {
        let heads = if arch == "classifier" {
            r#""num_head_channels": 64"#
        } else {
            r#""num_heads": 4"#
        };
        let text = format!(
            r#"{{"arch": "{arch}", "in_channels": 3, "num_channels": 32, {heads}, {rest}}}"#
        );
        let config: NetworkConfig = serde_json::from_str(&text).unwrap();
        config.validate().unwrap();
        config
    }

    fn said(config: &NetworkConfig) -> Said {
        Said {
            arch: config.arch,
            heads: None,
            image_size: Some(config.image_size),
        }
    }

    #[test]
    fn every_architecture_has_its_tensors_and_is_found_again() {
        for config in [
            network(
                "v2",
                r#""image_size": 32, "num_res_blocks": 2, "channel_mult": [1, 1, 2, 3],
                "attention_downsample_rates": [2, 8], "num_classes": 5"#,
            ),
            network(
                "v1",
                r#""image_size": 16, "num_res_blocks": 1, "channel_mult": [1, 2],
                "attention_downsample_rates": []"#,
            ),
            network(
                "v1",
                r#""image_size": 16, "num_res_blocks": 3, "channel_mult": [1, 1, 1],
                "attention_downsample_rates": [4], "out_channels": 6, "num_classes": 2"#,
            ),
            network(
                "v1",
                r#""image_size": 16, "num_res_blocks": 2, "channel_mult": [1, 1, 2],
                "attention_downsample_rates": [1], "resblock_updown": true"#,
            ),
            network(
                "v1",
                r#""image_size": 16, "num_res_blocks": 2, "channel_mult": [1, 1, 2],
                "attention_downsample_rates": [4], "out_channels": 6, "num_classes": 2,
                "use_scale_shift_norm": false"#,
            ),
            network(
                "classifier",
                r#""image_size": 32, "num_res_blocks": 1, "channel_mult": [1, 2],
                "attention_downsample_rates": [2], "use_scale_shift_norm": false"#,
            ),
            network(
                "classifier",
                r#""image_size": 64, "num_res_blocks": 2,
                "channel_mult": [1, 2, 4, 6], "attention_downsample_rates": [2, 4],
                "out_channels": 7"#,
            ),
            network(
                "classifier",
                r#""image_size": 32, "num_res_blocks": 1,
                "channel_mult": [1, 2], "attention_downsample_rates": [2],
                "resblock_updown": false"#,
            ),
        ] {
            assert_eq!(shapes_of(&config), config.tensors());
            let found = infer(&shapes_of(&config), said(&config)).unwrap();
            let expected = NetworkConfig {
                out_channels: Some(config.output_channels()),
                ..config
            };
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn what_cannot_be_seen_is_what_was_said_or_as_published() {
        let config = network(
            "v2",
            r#""image_size": 128, "num_res_blocks": 1,
            "channel_mult": [1, 1, 2, 3, 4], "attention_downsample_rates": [4]"#,
        );
        let mut shapes = shapes_of(&config);
        let unsaid = Said {
            arch: Arch::V2,
            heads: Some(2),
            image_size: None,
        };
        let found = infer(&shapes, unsaid).unwrap();
        assert_eq!((found.image_size, found.heads), (128, Heads::Count(2)));

        let other = network(
            "v2",
            r#""image_size": 128, "num_res_blocks": 1,
            "channel_mult": [1, 3], "attention_downsample_rates": []"#,
        );
        let found = infer(&shapes_of(&other), unsaid).unwrap();
        assert_eq!(found.image_size, 16);
        let said = Said {
            image_size: Some(128),
            ..unsaid
        };
        assert_eq!(infer(&shapes_of(&other), said).unwrap().image_size, 128);

        let wrong = Said {
            arch: Arch::V1,
            ..unsaid
        };
        let message = infer(&shapes, wrong).unwrap_err();
        assert!(message.contains("--arch v2"), "{message}");

        shapes.remove("input_blocks.5.0.in_layers.2.weight");
        let message = infer(&shapes, unsaid).unwrap_err();
        assert!(message.contains("do not divide"), "{message}");
        shapes.insert("time_embed.0.weight".to_owned(), vec![512, usize::MAX]);
        let message = infer(&shapes, unsaid).unwrap_err();
        assert!(
            message.contains("time_embed.0.weight has the shape"),
            "{message}"
        );
    }

    #[test]
    fn relatives_that_are_not_supported_are_told_apart() {
        let v1 = network(
            "v1",
            r#""image_size": 16, "num_res_blocks": 1, "channel_mult": [1, 2],
            "attention_downsample_rates": [], "num_classes": 2"#,
        );
        let mut shapes = shapes_of(&v1);
        shapes.insert("label_emb.weight".to_owned(), vec![2, 32]);
        let message = infer(&shapes, said(&v1)).unwrap_err();
        assert!(message.contains("class_emb"), "{message}");

        for (block, width, part) in [(1, 96, "use_scale_shift_norm"), (3, 64, "otherwise")] {
            let mut shapes = shapes_of(&v1);
            let name = format!("input_blocks.{block}.0.emb_layers.1.weight");
            assert!(shapes.insert(name, vec![width, 128]).is_some());
            let message = infer(&shapes, said(&v1)).unwrap_err();
            assert!(message.contains(part), "{message}");
        }
    }
}
