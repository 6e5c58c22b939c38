//! `anofpdm metrics`: the metric definitions of this project applied to anyone's arrays or volumes.

mod volumes;

use std::num::NonZeroUsize;
use std::process::ExitCode;

use anofpdm_common::anofpdm::drop_small;
use anofpdm_common::metrics::{
    Evaluation, Overlap, ScoredSlice, Section, SliceStatistics, evaluate, ranked_runs,
};
use anyhow::{Context, bail};
use clap::Args;
use rayon::prelude::*;

use super::print_json;
use volumes::VolumeArgs;

use crate::arrays::{Images, MaskPixel, Score, read_images};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  anofpdm metrics --masks masks.npy --labels truth.npy
  anofpdm metrics --masks out.npz:mask --labels out.npz:truth \\
      --scores out.npz:map --components 40
  anofpdm metrics --pred predicted --truth labelsTs
  anofpdm metrics --pred out --pred-suffix _mask --truth brats \\
      --truth-suffix _seg --store store --row row.json --name nnU-Net \\
      --maps out --maps-suffix _map

Arrays are .npy, .npz or .safetensors of shape [N, H, W] or [N, 1, H, W] and of any number type; one of several \
arrays in a file is named as FILE:NAME. A mask's pixel is set where it is 1 or more, and a slice is unhealthy if any \
pixel of its label is set. Scores are ranked as they are stored, float64 as float64.

DICE and IoU are means over slices (two empty masks count 1), precision and recall are of pooled pixels, AUPRC is \
average precision.

Volumes are NIfTI masks of the same grid, above 0 on lesions, CASE.nii.gz in both folders. Slices are those across the \
head axis; HD95 is in millimetres, lesion-wise F1 of 26-connected components, intervals are over patients. Maps are \
brought to the pixels of the store, as its images were, and rank those of the head.")]
pub struct MetricsArgs {
    /// Predicted masks
    #[arg(long, value_name = "FILE[:NAME]", required_unless_present = "pred")]
    masks: Option<String>,
    /// True masks
    #[arg(long, value_name = "FILE[:NAME]", required_unless_present = "pred")]
    labels: Option<String>,
    /// Anomaly scores, higher where more anomalous, for AUPRC
    #[arg(long, value_name = "FILE[:NAME]")]
    scores: Option<String>,
    /// Masks of the pixels that count for AUPRC [default: all pixels]
    #[arg(long, value_name = "FILE[:NAME]", requires = "scores")]
    foreground: Option<String>,
    /// Drop predicted components of this many pixels or fewer first (the paper: 40)
    #[arg(long, value_name = "PIXELS", default_value_t = 0)]
    components: u32,
    /// Slices in a batch of auprc_batch
    #[arg(long, value_name = "SLICES", default_value = "100")]
    batch: NonZeroUsize,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten, next_help_heading = "Volumes")]
    volumes: VolumeArgs,
}

/// Evaluates the arrays and prints the numbers.
pub fn run(args: &MetricsArgs) -> anyhow::Result<ExitCode> {
    if let Some(folders) = args.volumes.folders() {
        return volumes::run(&args.volumes, folders, args.components, args.json);
    }
    let evaluation = evaluate_arrays(args)?;
    if args.json {
        print_json(&evaluation)?;
    } else {
        print!("{}", table(&evaluation));
    }
    Ok(ExitCode::SUCCESS)
}

fn evaluate_arrays(args: &MetricsArgs) -> anyhow::Result<Evaluation> {
    let (Some(masks_file), Some(labels_file)) = (&args.masks, &args.labels) else {
        bail!("give --masks and --labels, or --pred and --truth");
    };
    let masks = read_images::<MaskPixel>(masks_file).context("--masks")?;
    let labels = read_images::<MaskPixel>(labels_file).context("--labels")?;
    same_shape("--labels", labels.shape(), masks.shape())?;
    let [count, height, width] = masks.shape();
    if count == 0 {
        bail!(
            "--masks: {}: it holds no slice (shape {:?})",
            masks_file,
            masks.shape()
        );
    }
    let pixels = height.checked_mul(width).filter(|pixels| *pixels > 0);
    if pixels.is_none_or(|pixels| u32::try_from(pixels).is_err()) {
        bail!("--masks: {masks_file}: slices of {height} x {width} pixels cannot be counted");
    }
    let truth = Slices::new(labels);
    let predicted = Slices::new(masks);
    let statistics: Vec<SliceStatistics> = (0..count)
        .into_par_iter()
        .map(|slice| {
            let mut mask = predicted.slice(slice).to_vec();
            drop_small(&mut mask, height, width, args.components);
            let overlap = Overlap::count(&mask, truth.slice(slice));
            SliceStatistics {
                patient: 0,
                unhealthy: overlap.truth > 0,
                classified_unhealthy: true,
                overlap,
            }
        })
        .collect();
    let runs = match &args.scores {
        Some(scores) => Some(score_runs(scores, args.foreground.as_deref(), &truth)?),
        None => None,
    };
    let Ok(evaluation) = evaluate(&statistics, runs.as_deref(), args.batch);
    Ok(evaluation)
}

fn score_runs(
    scores: &str,
    foreground: Option<&str>,
    truth: &Slices<u8>,
) -> anyhow::Result<Vec<Vec<u32>>> {
    let scores = read_images::<Score>(scores).context("--scores")?;
    same_shape("--scores", scores.shape(), truth.shape)?;
    let foreground = match foreground {
        Some(argument) => {
            let foreground = read_images::<MaskPixel>(argument).context("--foreground")?;
            same_shape("--foreground", foreground.shape(), truth.shape)?;
            Some(Slices::new(foreground))
        }
        None => None,
    };
    let scores = Slices::new(scores);
    let slices: Vec<ScoredSlice<'_>> = (0..truth.shape[0])
        .map(|slice| ScoredSlice {
            scores: scores.slice(slice),
            labels: truth.slice(slice),
            foreground: foreground.as_ref().map(|masks| masks.slice(slice)),
        })
        .collect();
    ranked_runs(&slices).context("--scores")
}

/// The plain values of a stack, slice by slice.
struct Slices<T> {
    shape: [usize; 3],
    values: Vec<T>,
}

impl<T> Slices<T> {
    fn new<E: Into<T>>(images: Images<E>) -> Self {
        Self {
            shape: images.shape(),
            values: images.values.into_iter().map(Into::into).collect(),
        }
    }

    fn slice(&self, slice: usize) -> &[T] {
        let pixels = self.shape[1] * self.shape[2];
        &self.values[slice * pixels..(slice + 1) * pixels]
    }
}

fn same_shape(option: &str, found: [usize; 3], expected: [usize; 3]) -> anyhow::Result<()> {
    if found != expected {
        let [n, h, w] = found;
        let [masks, height, width] = expected;
        bail!(
            "{option} holds {n} slices of {h} x {w}, --masks holds {masks} of {height} x {width}"
        );
    }
    Ok(())
}

/// The numbers as a table for people.
fn table(evaluation: &Evaluation) -> String {
    type Column = fn(&Section) -> Option<f64>;
    const ROWS: [(&str, Column); 6] = [
        ("dice", |section| section.dice),
        ("iou", |section| section.iou),
        ("auprc", |section| section.auprc),
        ("auprc_batch", |section| section.auprc_batch),
        ("precision", |section| section.precision),
        ("recall", |section| section.recall),
    ];
    let Evaluation { mixed, unhealthy } = evaluation;
    let number = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.4}"));
    let mut text = format!("{:<12}{:>10}{:>12}\n", "", "mixed", "unhealthy");
    for (name, column) in ROWS {
        let (mixed, unhealthy) = (number(column(mixed)), number(column(unhealthy)));
        text += &format!("{name:<12}{mixed:>10}{unhealthy:>12}\n");
    }
    text + &format!(
        "{:<12}{:>10}{:>12}\n",
        "slices", mixed.slices, unhealthy.slices
    )
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use ndarray::Array3;
    use ndarray_npy::NpzWriter;
    use tempfile::TempDir;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: MetricsArgs,
    }

    /// Two slices of 2 x 3: a lesion half found, and a healthy slice with one pixel too many.
    fn arrays(score: f32) -> (TempDir, String) {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("arrays.npz");
        let mut archive = NpzWriter::new(std::fs::File::create(&path).unwrap());
        let mut add = |name: &str, values: [f32; 12]| {
            let array = Array3::from_shape_vec((2, 2, 3), values.to_vec()).unwrap();
            archive.add_array(name, &array).unwrap();
        };
        add("mask", [1., 0., 0., 0., 0., 0., 1., 0., 0., 0., 0., 0.]);
        add("truth", [1., 1., 0., 0., 0., 0., 0., 0., 0., 0., 0., 0.]);
        add("map", [0.9, 0.3, 0., 0., 0., 0., score, 0., 0., 0., 0., 0.]);
        add("brain", [1., 1., 1., 1., 1., 1., 0., 1., 1., 1., 1., 1.]);
        archive
            .add_array("small", &Array3::<u8>::zeros((2, 2, 2)))
            .unwrap();
        archive.finish().unwrap();
        let path = path.to_str().unwrap().to_owned();
        (folder, path)
    }

    fn metrics(path: &str, options: &[&str]) -> anyhow::Result<Evaluation> {
        let options = options.iter().map(|option| option.replace("ARRAYS", path));
        let line = ["metrics".to_owned()].into_iter().chain(options);
        evaluate_arrays(&Line::try_parse_from(line)?.args)
    }

    const SATURATED: f64 = 0.4714646464646465;

    const MASKS: [&str; 4] = ["--masks", "ARRAYS:mask", "--labels", "ARRAYS:truth"];

    fn with(options: &[&'static str]) -> Vec<&'static str> {
        [MASKS.as_slice(), options].concat()
    }

    #[test]
    fn masks_alone() {
        let (_folder, path) = arrays(0.5);
        let result = metrics(&path, &MASKS).unwrap();
        // DICE 2/3 and about 0.
        assert!((result.mixed.dice.unwrap() - 1.0 / 3.0).abs() < 1e-6);
        assert!((result.unhealthy.iou.unwrap() - 0.5).abs() < 1e-6);
        assert_eq!(
            (result.mixed.precision, result.mixed.recall),
            (Some(0.5), Some(0.5))
        );
        assert_eq!(
            (result.unhealthy.precision, result.unhealthy.slices),
            (Some(1.0), 1)
        );
        assert_eq!(result.mixed.auprc, None);
        let json = serde_json::to_value(result).unwrap();
        assert!(json["mixed"]["auprc_batch"].is_null() && json["unhealthy"]["dice"].is_f64());
        let text = table(&result);
        assert!(
            text.contains("auprc_batch          -           -"),
            "{text}"
        );
    }

    #[test]
    fn scores_with_and_without_foreground() {
        let (_folder, path) = arrays(0.5);
        let result = metrics(&path, &with(&["--scores", "ARRAYS:map"])).unwrap();
        assert_eq!(result.mixed.auprc, Some((1.0 + 2.0 / 3.0) / 2.0));
        assert_eq!(result.unhealthy.auprc, Some(1.0));
        let options = ["--scores", "ARRAYS:map", "--foreground", "ARRAYS:brain"];
        assert_eq!(
            metrics(&path, &with(&options)).unwrap().mixed.auprc,
            Some(1.0)
        );
        let options = ["--scores", "ARRAYS:map", "--batch", "1"];
        assert_eq!(
            metrics(&path, &with(&options)).unwrap().mixed.auprc_batch,
            Some(0.5)
        );
    }

    /// Against scikit-learn 1.9.1: as float32 all scores of the saturated map are 1, and it ranks nothing.
    #[test]
    fn saturated_scores_are_told_apart() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("arrays.npz");
        let mut archive = NpzWriter::new(std::fs::File::create(&path).unwrap());
        let label = Array3::from_shape_fn((2, 2, 3), |(n, y, x)| u8::from((n + y + x) % 3 == 0));
        let map = Array3::from_shape_fn((2, 2, 3), |(n, y, x)| {
            1.0 - 1e-9 * (7 * n + 3 * y + 5 * x) as f64
        });
        archive.add_array("truth", &label).unwrap();
        archive.add_array("mask", &label).unwrap();
        archive.add_array("map", &map).unwrap();
        archive.add_array("below", &(&map - 2.0)).unwrap();
        archive.finish().unwrap();
        let path = path.to_str().unwrap();
        for scores in ["ARRAYS:map", "ARRAYS:below"] {
            let result = metrics(path, &with(&["--scores", scores])).unwrap();
            let auprc = result.mixed.auprc.unwrap();
            assert!((auprc - SATURATED).abs() < 1e-12, "{auprc}");
        }
    }

    #[test]
    fn the_component_filter_is_off_unless_asked_for() {
        let (_folder, path) = arrays(0.5);
        let result = metrics(&path, &with(&["--components", "1"])).unwrap();
        assert!((result.mixed.dice.unwrap() - 0.5).abs() < 1e-6);
    }

    #[test]
    fn errors_name_the_option_and_the_slice() {
        let error = |score, options: &[&'static str]| {
            let (_folder, path) = arrays(score);
            format!("{:#}", metrics(&path, &with(options)).unwrap_err())
        };
        let message = error(f32::NAN, &["--scores", "ARRAYS:map"]);
        assert!(
            message.contains("--scores: slice 1: score NaN at pixel 0"),
            "{message}"
        );
        let message = error(0.5, &["--scores", "ARRAYS:small"]);
        assert!(message.contains("--scores holds 2 slices of 2 x 2, --masks holds 2 of 2 x 3"));
        assert!(error(0.5, &["--scores", "ARRAYS:maps"]).contains("it holds: brain, map, mask"));
        assert!(error(0.5, &["--foreground", "ARRAYS:brain"]).contains("--scores"));
        assert!(error(0.5, &["--batch", "0"]).contains("--batch"));
    }
}
