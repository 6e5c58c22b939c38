//! The tensors of the output file. Names and meanings are those of `oracles/README.md`.

use anofpdm_common::anofpdm::{
    COMPONENT_AREA, ImageLabel, MaskRule, QuantileLevel, Segmentation, classify, drop_small,
    mask_at,
};
use anofpdm_common::method::MapKind;
use anofpdm_common::semantics::LevelIndex;
use tch::{Kind, Tensor};

use crate::anofpdm::classification::batch_cosines;
use crate::anofpdm::segmentation::{batch_levels, segment_batch};
use crate::anofpdm::{ForwardResult, KeptStep, StrengthResult};
use crate::host::numbers;
use crate::tensors::NamedTensors;

/// What the output depends on beside the pass itself.
pub(super) struct Setup<'a> {
    pub(super) level_rule: LevelIndex,
    pub(super) mask_rule: MaskRule,
    /// M_max of every strength; the largest M of the batch where absent.
    pub(super) m_max: Option<Vec<Vec<f32>>>,
    pub(super) cos_threshold: Option<f32>,
    pub(super) fixed_threshold: Option<f32>,
    pub(super) variants: &'a [(MapKind, &'a str)],
    pub(super) keep: &'a [usize],
}

/// All tensors: one strength as it is, several stacked along a leading axis.
pub(super) fn collect(setup: &Setup<'_>, result: &ForwardResult) -> NamedTensors {
    let each: Vec<NamedTensors> = (0..result.guidance.len())
        .map(|strength| of_strength(setup, result, strength))
        .collect();
    let mut out = stacked(each);
    out.insert("mse_null".to_owned(), result.mse_null.shallow_clone());
    if !setup.keep.is_empty() {
        let x = kept(setup, result, |step| step.x.shallow_clone());
        let ugp = kept(setup, result, |step| step.ugp.shallow_clone());
        out.insert("x_kept".to_owned(), x);
        out.insert("ugp_kept".to_owned(), ugp);
    }
    out
}

/// The tensors of one strength as they are, those of several stacked along a leading axis.
pub(super) fn stacked(mut each: Vec<NamedTensors>) -> NamedTensors {
    if each.len() == 1 {
        return each.swap_remove(0);
    }
    let names = each.first().into_iter().flat_map(NamedTensors::keys);
    names
        .map(|name| {
            let all: Vec<&Tensor> = each.iter().filter_map(|one| one.get(name)).collect();
            (name.clone(), Tensor::stack(&all, 0))
        })
        .collect()
}

/// One tensor a kept step, stacked in the order asked, `[N, kept, ...]`.
fn kept(setup: &Setup<'_>, result: &ForwardResult, of: impl Fn(&KeptStep) -> Tensor) -> Tensor {
    let steps: Vec<Tensor> = setup
        .keep
        .iter()
        .filter_map(|index| result.kept.iter().find(|step| step.index == *index))
        .map(of)
        .collect();
    Tensor::stack(&steps, 1)
}

fn of_strength(setup: &Setup<'_>, result: &ForwardResult, strength: usize) -> NamedTensors {
    let done = &result.guidance[strength];
    let mut out = NamedTensors::new();
    let mut put = |name: &str, tensor: Tensor| {
        out.insert(name.to_owned(), tensor);
    };
    put("M", done.divergence.shallow_clone());
    put("mse_h", done.mse_h.shallow_clone());
    put("t_e", done.t_e.shallow_clone());
    if !setup.keep.is_empty() {
        let hgp = kept(setup, result, |step| step.hgp[strength].shallow_clone());
        put("hgp_kept", hgp);
    }

    let levels = levels(setup, done, strength);
    let per_modality = done.t_e.size();
    let index: Vec<i64> = levels.iter().map(|one| i64::from(one.index)).collect();
    put("index", Tensor::from_slice(&index).view(&per_modality[..]));
    let level: Vec<f32> = levels.iter().map(|one| one.level).collect();
    put("level", Tensor::from_slice(&level).view(&per_modality[..]));

    if let Some(aam) = done.maps.get(&MapKind::Aam) {
        put("aam_mod", aam.map.shallow_clone());
        let batch = Batch::segment(&aam.map, &levels, setup.mask_rule);
        put("aam", batch.images(|slice| &slice.aam));
        put("aam_median", batch.images(|slice| &slice.aam_median));
        put("Q_star", batch.q_star());
        put("Q_mod", batch.q_mod());
        let masks = batch.masks();
        put("mask_unhealthy_cc40", batch.without_small_components());
        let cosines = batch_cosines(&done.mse_h, &result.mse_null);
        put("cos", Tensor::from_slice(&cosines));
        if let Some(threshold) = setup.cos_threshold {
            let labels = labels(&cosines, threshold);
            put(
                "mask_mixed",
                &masks * labels.view([-1, 1, 1, 1]).to_kind(Kind::Uint8),
            );
            put("pred_label", labels);
        }
        put("mask_unhealthy", masks);
        if let Some(threshold) = setup.fixed_threshold {
            put(
                "ablation.fixed_thr.aam_median",
                batch.images(|slice| &slice.aam_median),
            );
            put(
                "ablation.fixed_thr.mask_unhealthy",
                batch.masks_at(threshold),
            );
        }
    }
    for (kind, name) in setup.variants {
        let Some(map) = done.maps.get(kind) else {
            continue;
        };
        let batch = Batch::segment(&map.map, &levels, setup.mask_rule);
        put(
            &format!("variant.{name}.aam_median"),
            batch.images(|slice| &slice.aam_median),
        );
        put(&format!("variant.{name}.Q_star"), batch.q_star());
        put(&format!("variant.{name}.mask_unhealthy"), batch.masks());
    }
    for ratio in &done.ratio_maps {
        let name = format!("ablation.ratio{}", ratio.ratio);
        let batch = Batch::segment(&ratio.map, &levels, setup.mask_rule);
        put(
            &format!("{name}.aam_median"),
            batch.images(|slice| &slice.aam_median),
        );
        put(&format!("{name}.mask_unhealthy"), batch.masks());
        put(&format!("{name}.end_step"), ratio.end.shallow_clone());
    }
    out
}

fn levels(setup: &Setup<'_>, done: &StrengthResult, strength: usize) -> Vec<QuantileLevel> {
    let largest = || numbers(&done.peak.amax(0_i64, false));
    let m_max = setup
        .m_max
        .as_ref()
        .and_then(|all| all.get(strength).cloned())
        .unwrap_or_else(largest);
    batch_levels(&done.peak, &m_max, setup.level_rule)
}

/// 1 where the cosine says unhealthy, i64 `[N]`.
fn labels(cosines: &[f32], threshold: f32) -> Tensor {
    let labels: Vec<i64> = cosines
        .iter()
        .map(|cosine| match classify(*cosine, threshold) {
            ImageLabel::Unhealthy => 1,
            ImageLabel::Healthy => 0,
        })
        .collect();
    Tensor::from_slice(&labels)
}

/// The segmented slices of a batch.
struct Batch {
    slices: Vec<Segmentation>,
    height: usize,
    width: usize,
}

impl Batch {
    fn segment(maps: &Tensor, levels: &[QuantileLevel], rule: MaskRule) -> Self {
        let size = maps.size();
        Self {
            slices: segment_batch(maps, levels, rule),
            height: size[2].unsigned_abs() as usize,
            width: size[3].unsigned_abs() as usize,
        }
    }

    fn image_shape(&self) -> [i64; 4] {
        let side = |length: usize| i64::try_from(length).unwrap_or(i64::MAX);
        [-1, 1, side(self.height), side(self.width)]
    }

    fn images(&self, of: impl Fn(&Segmentation) -> &Vec<f32>) -> Tensor {
        let values: Vec<f32> = self.slices.iter().flat_map(of).copied().collect();
        Tensor::from_slice(&values).view(self.image_shape())
    }

    fn bytes(&self, of: impl Fn(&Segmentation) -> Vec<u8>) -> Tensor {
        let values: Vec<u8> = self.slices.iter().flat_map(of).collect();
        Tensor::from_slice(&values).view(self.image_shape())
    }

    fn masks(&self) -> Tensor {
        self.bytes(|slice| slice.mask.clone())
    }

    fn masks_at(&self, threshold: f32) -> Tensor {
        self.bytes(|slice| mask_at(&slice.aam_median, threshold))
    }

    fn without_small_components(&self) -> Tensor {
        self.bytes(|slice| {
            let mut mask = slice.mask.clone();
            drop_small(&mut mask, self.height, self.width, COMPONENT_AREA);
            mask
        })
    }

    fn q_star(&self) -> Tensor {
        let values: Vec<f32> = self.slices.iter().map(|slice| slice.q_star).collect();
        Tensor::from_slice(&values)
    }

    fn q_mod(&self) -> Tensor {
        let slices = i64::try_from(self.slices.len()).unwrap_or(i64::MAX);
        let values: Vec<f32> = self
            .slices
            .iter()
            .flat_map(|slice| slice.quantiles.iter().copied())
            .collect();
        Tensor::from_slice(&values).view([slices, -1])
    }
}
