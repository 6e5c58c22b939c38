//! The numbers of a set of compared volumes, with intervals over patients.

use std::collections::BTreeMap;

use anofpdm_common::metrics::batch_ap::REFERENCE_BATCH;
use anofpdm_common::metrics::bootstrap::{
    PatientSums, PixelDraws, mean_interval, patient_sums, pixel_draws,
};
use anofpdm_common::metrics::evaluate::section;
use anofpdm_common::metrics::run_metrics::RunMetrics;
use anofpdm_common::metrics::score_ranks::by_rank;
use anofpdm_common::metrics::{LesionCounts, Overlap, Setup, SliceStatistics};
use anofpdm_common::statistics::{pearson, spearman};
use serde::{Deserialize, Serialize};

use super::compare::ComparedVolume;

/// Of the JSON that is printed.
const FORMAT: u32 = 1;

/// Seed of the bootstrap, that of a run's report: the same patients give the same draws.
const BOOTSTRAP_SEED: u64 = 0;

/// A mean with its interval over patients.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct MeanOver {
    /// `None` where it is defined for nothing.
    pub mean: Option<f64>,
    /// `None` with fewer than two patients.
    pub ci95: Option<[f64; 2]>,
    /// Slices or volumes that have a value.
    pub n: usize,
}

/// Numbers of the slices of a set-up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SliceNumbers {
    pub slices: usize,
    pub dice: MeanOver,
    pub iou: MeanOver,
    /// Of all pixels together.
    pub precision: Option<f64>,
    pub recall: Option<f64>,
    /// Of the foreground pixels of all slices together, where there are maps; `n` is the number of slices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auprc: Option<MeanOver>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auroc: Option<MeanOver>,
}

/// Numbers of whole volumes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VolumeNumbers {
    pub dice: MeanOver,
    /// Millimetres; of volumes of which neither mask is empty.
    pub hd95: MeanOver,
    /// Of volumes with a lesion or a spurious component.
    pub lesion_f1: MeanOver,
    /// Lesions of all volumes together.
    pub lesions: LesionCounts,
    pub correlation: VolumeCorrelation,
}

/// Predicted against true volume of the lesions of each patient.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct VolumeCorrelation {
    pub patients: usize,
    pub pearson: Option<f64>,
    pub spearman: Option<f64>,
}

/// Everything that `metrics` prints of volumes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VolumeEvaluation {
    pub format: u32,
    pub patients: usize,
    pub volumes: usize,
    /// Volumes in which nothing is true and nothing predicted.
    pub empty: usize,
    pub mixed: SliceNumbers,
    pub unhealthy: SliceNumbers,
    pub volume: VolumeNumbers,
    pub cases: Vec<CaseNumbers>,
}

/// One volume.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CaseNumbers {
    pub case: String,
    pub patient: String,
    pub slices: usize,
    /// Slices whose truth has a pixel.
    pub unhealthy_slices: usize,
    /// Mean over all slices that count.
    pub slice_dice: Option<f64>,
    pub dice: f64,
    pub hd95: Option<f64>,
    pub lesion_f1: Option<f64>,
    pub lesions: LesionCounts,
    /// Millilitres.
    pub truth_ml: f64,
    pub predicted_ml: f64,
}

impl VolumeEvaluation {
    /// The numbers of `volumes`.
    pub fn of(volumes: &[ComparedVolume]) -> Self {
        let mut numbers = BTreeMap::<&str, u32>::new();
        for volume in volumes {
            let next = u32::try_from(numbers.len()).unwrap_or(u32::MAX);
            numbers.entry(&volume.patient).or_insert(next);
        }
        let patient = |volume: &ComparedVolume| numbers.get(volume.patient.as_str()).copied();
        let statistics: Vec<SliceStatistics> = volumes
            .iter()
            .flat_map(|volume| {
                let patient = patient(volume).unwrap_or(u32::MAX);
                let slices = volume.slices.iter();
                slices.map(move |slice| statistics(patient, slice.overlap))
            })
            .collect();
        let ranked = ranked(volumes, &statistics);
        let over = |of: fn(&ComparedVolume) -> Option<f64>| {
            let mut sums = PatientSums::new();
            for volume in volumes {
                if let (Some(value), Some(patient)) = (of(volume), patient(volume)) {
                    let (sum, count) = sums.entry(patient).or_default();
                    *sum += value;
                    *count += 1;
                }
            }
            MeanOver::of(&sums)
        };
        let mut lesions = LesionCounts::default();
        for volume in volumes {
            lesions.add(volume.volume.localization.lesions);
        }
        let nothing = |volume: &&ComparedVolume| {
            let overlap = volume.volume.overlap;
            overlap.truth + overlap.predicted == 0
        };
        Self {
            format: FORMAT,
            patients: numbers.len(),
            volumes: volumes.len(),
            empty: volumes.iter().filter(nothing).count(),
            mixed: SliceNumbers::of(&statistics, Setup::Mixed, ranked.as_ref()),
            unhealthy: SliceNumbers::of(&statistics, Setup::Unhealthy, ranked.as_ref()),
            volume: VolumeNumbers {
                dice: over(|volume| Some(volume.volume.overlap.dice())),
                hd95: over(|volume| volume.volume.localization.hd95),
                lesion_f1: over(|volume| volume.volume.localization.lesions.f1()),
                lesions,
                correlation: correlation(volumes),
            },
            cases: volumes.iter().map(CaseNumbers::of).collect(),
        }
    }
}

/// What maps say of all slices; `None` where one has none.
fn ranked(volumes: &[ComparedVolume], statistics: &[SliceStatistics]) -> Option<RunMetrics> {
    let slices = volumes.iter().flat_map(|volume| &volume.slices);
    let runs = slices.map(|slice| Some(slice.scores.as_ref()?.run()));
    let mut runs = runs.collect::<Option<Vec<Vec<u32>>>>()?;
    if runs.is_empty() {
        return None;
    }
    by_rank(&mut runs);
    match RunMetrics::count(runs.as_slice(), statistics, REFERENCE_BATCH) {
        Ok(ranked) => Some(ranked),
        Err(never) => match never {},
    }
}

/// Another program's mask has no other call of a slice than its pixels.
fn statistics(patient: u32, overlap: Overlap) -> SliceStatistics {
    SliceStatistics {
        patient,
        unhealthy: overlap.truth > 0,
        classified_unhealthy: true,
        overlap,
    }
}

impl MeanOver {
    fn of(sums: &PatientSums) -> Self {
        let (sum, count) = sums
            .values()
            .fold((0.0, 0), |(sum, count), (s, n)| (sum + s, count + n));
        Self {
            mean: (count > 0).then(|| sum / count as f64),
            ci95: mean_interval(sums, BOOTSTRAP_SEED),
            n: usize::try_from(count).unwrap_or(usize::MAX),
        }
    }
}

impl SliceNumbers {
    fn of(slices: &[SliceStatistics], setup: Setup, ranked: Option<&RunMetrics>) -> Self {
        let pooled = section(slices, ranked, setup);
        let draws =
            ranked.and_then(|ranked| pixel_draws(&[&ranked.of(setup).patients], BOOTSTRAP_SEED));
        let of_pixels = |mean: Option<f64>, interval: fn(&PixelDraws) -> Option<[f64; 2]>| {
            ranked.map(|_| MeanOver {
                mean,
                ci95: draws.as_ref().and_then(interval),
                n: pooled.slices,
            })
        };
        let over = |measure| MeanOver::of(&patient_sums(slices, setup, measure));
        Self {
            slices: pooled.slices,
            dice: over(Overlap::dice),
            iou: over(Overlap::iou),
            precision: pooled.precision,
            recall: pooled.recall,
            auprc: of_pixels(pooled.auprc, PixelDraws::average_precision_interval),
            auroc: of_pixels(pooled.auroc, PixelDraws::auroc_interval),
        }
    }
}

impl CaseNumbers {
    fn of(volume: &ComparedVolume) -> Self {
        let slices = volume.slices.iter();
        let dice: f64 = slices.clone().map(|slice| slice.overlap.dice()).sum();
        let count = volume.slices.len();
        let overlap = volume.volume.overlap;
        let millilitres = |voxels: u64| voxels as f64 * volume.voxel_mm3 / 1_000.0;
        Self {
            case: volume.case.clone(),
            patient: volume.patient.clone(),
            slices: count,
            unhealthy_slices: slices.filter(|slice| slice.overlap.truth > 0).count(),
            slice_dice: (count > 0).then(|| dice / count as f64),
            dice: overlap.dice(),
            hd95: volume.volume.localization.hd95,
            lesion_f1: volume.volume.localization.lesions.f1(),
            lesions: volume.volume.localization.lesions,
            truth_ml: millilitres(overlap.truth),
            predicted_ml: millilitres(overlap.predicted),
        }
    }
}

fn correlation(volumes: &[ComparedVolume]) -> VolumeCorrelation {
    let mut patients = BTreeMap::<&str, (f64, f64)>::new();
    for volume in volumes {
        let (predicted, truth) = patients.entry(&volume.patient).or_default();
        *predicted += volume.volume.overlap.predicted as f64 * volume.voxel_mm3;
        *truth += volume.volume.overlap.truth as f64 * volume.voxel_mm3;
    }
    let (predicted, truth): (Vec<f64>, Vec<f64>) = patients.into_values().unzip();
    VolumeCorrelation {
        patients: predicted.len(),
        pearson: pearson(&predicted, &truth),
        spearman: spearman(&predicted, &truth),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use anofpdm_common::metrics::{Localization, PooledOverlap, VolumeMetrics};

    use anofpdm_common::metrics::score_run::score_run;

    use super::super::compare::SliceCounts;
    use super::super::scores::SliceScores;
    use super::*;

    /// A volume of two slices of 10 pixels with these counts: predicted, truth, common.
    pub(crate) fn volume(case: &str, patient: &str, slices: [[u32; 3]; 2]) -> ComparedVolume {
        let mut overlap = PooledOverlap::default();
        let slices = (0..)
            .zip(slices)
            .map(|(slice, [predicted, truth, intersection])| {
                let counted = Overlap {
                    pixels: 10,
                    predicted,
                    truth,
                    intersection,
                };
                overlap.add(counted);
                SliceCounts {
                    slice,
                    overlap: counted,
                    scores: None,
                }
            });
        let slices = slices.collect();
        let both = overlap.truth > 0 && overlap.predicted > 0;
        ComparedVolume {
            case: case.to_owned(),
            patient: patient.to_owned(),
            voxel_mm3: 2.0,
            slices,
            volume: VolumeMetrics {
                overlap,
                localization: Localization {
                    hd95: both.then_some(3.0),
                    lesions: LesionCounts {
                        truth: u64::from(overlap.truth > 0),
                        found: u64::from(overlap.intersection > 0),
                        predicted: u64::from(overlap.predicted > 0),
                        spurious: u64::from(overlap.predicted > 0 && overlap.intersection == 0),
                    },
                },
            },
        }
    }

    #[test]
    fn the_interval_of_maps_does_not_hang_on_their_scale() {
        let of = |scaled: fn(f32) -> f32| {
            let patients = (0..6_u16).map(|patient| {
                let name = format!("p{patient}");
                let mut volume = volume(&name, &name, [[4, 4, 4], [0, 0, 0]]);
                for (number, slice) in (0..).zip(&mut volume.slices) {
                    let scores: Vec<f32> = (0..40_u16)
                        .map(|pixel| {
                            scaled(f32::from((pixel * 37 + patient * 11 + number) % 64) / 64.0)
                        })
                        .collect();
                    let labels: Vec<u8> = (0..40)
                        .map(|pixel| u8::from(number == 0 && pixel % 9 == 0))
                        .collect();
                    slice.scores = Some(SliceScores::new(
                        &score_run(&scores, &labels, None).unwrap(),
                    ));
                }
                volume
            });
            VolumeEvaluation::of(&patients.collect::<Vec<_>>())
        };
        let plain = of(|score| score);
        let auprc = plain.mixed.auprc.unwrap();
        let [low, high] = auprc.ci95.unwrap();
        assert!((low..=high).contains(&auprc.mean.unwrap()), "{auprc:?}");
        assert!(high - low > 0.0);
        assert_eq!(of(|score| score + 1_000.0), plain);
        assert_eq!(of(|score| 1.0 - (1.0 - score) / 1_024.0), plain);
    }

    #[test]
    fn means_are_over_what_is_defined_and_intervals_over_patients() {
        let found = VolumeEvaluation::of(&[
            volume("a1", "a", [[4, 4, 4], [0, 0, 0]]),
            volume("a2", "a", [[2, 4, 1], [1, 0, 0]]),
            volume("b", "b", [[0, 0, 0], [0, 0, 0]]),
            volume("c", "c", [[0, 5, 0], [0, 0, 0]]),
        ]);
        let near = |found: Option<f64>, want: f64| (found.unwrap() - want).abs() < 1e-6;
        assert_eq!((found.patients, found.volumes, found.empty), (3, 4, 1));
        assert_eq!((found.mixed.slices, found.unhealthy.slices), (8, 3));
        // 1, 1, 1/3, 0, 1, 1, 0, 1.
        assert!(near(found.mixed.dice.mean, (5.0 + 1.0 / 3.0) / 8.0));
        assert!(near(found.unhealthy.dice.mean, (4.0 / 3.0) / 3.0));
        // 1, 2/7, 1, 0.
        assert!(near(found.volume.dice.mean, (2.0 + 2.0 / 7.0) / 4.0));
        assert_eq!(
            (found.volume.hd95.n, found.volume.hd95.mean),
            (2, Some(3.0))
        );
        // Both of one patient.
        assert_eq!(found.volume.hd95.ci95, None);
        assert!(found.volume.dice.ci95.is_some());
        assert_eq!(found.volume.lesion_f1.n, 3);
        assert_eq!(found.volume.correlation.patients, 3);
        assert!(near(Some(found.cases[1].truth_ml), 0.008));
    }
}
