//! `trace --run`: how the maps of one slice change with t, as a picture (Figure 3), with the networks and thresholds of a run.
//!
//! For each scored modality a row of S_t (Eq. 19) and one of the squared gradient of log p(h | x_t) (Eq. 13); from left
//! to right the input, the truth where there is one, kept steps, and the end step t_e (Eq. 21).

use std::ops::ControlFlow;
use std::path::PathBuf;

use anofpdm_common::method::MapKind;
use anofpdm_common::picture::Picture;
use anofpdm_common::plan::{CellOutput, SliceRef, Trajectory};
use anofpdm_common::spec::DIFFUSION_STEPS;
use anofpdm_common::store::durable;
use anofpdm_common::store::location::Location;
use anofpdm_common::store::slices::SliceStore;
use anyhow::{Context, Result};
use clap::Args;
use tch::Tensor;

use super::args::TraceArgs;
use super::usage;
use crate::anofpdm::ForwardPass;
use crate::anofpdm::classification::batch_cosines;
use crate::anofpdm::maps::SingleMaps;
use crate::anofpdm::segmentation::batch_levels;
use crate::backend::libtorch::LibtorchBackend;
use crate::backend::{Backend, OpenNetwork};
use crate::diffusion::noise::NoiseSource;
use crate::diffusion::schedule::Schedule;
use crate::host::numbers;
use crate::predict::finished_run::FinishedRun;
use crate::usage::UsageError;
use crate::worker_loop::batch_reader::BatchReader;

/// The paper's t that the figure shows, beside the last step and t_e.
const TIMES: [i64; 6] = [100, 200, 300, 500, 600, 700];

/// Pixels between tiles.
const GAP: usize = 2;

/// Tiles are enlarged up to about this side, pixels.
const TILE: usize = 256;

/// What `--run` takes beside the options of every trace.
#[derive(Debug, Clone, Args)]
pub struct PictureArgs {
    /// A run that has scored, for its networks, M_max and thresholds: a folder, or a name under runs/
    #[arg(long, value_name = "RUN", requires_all = ["subject", "slice", "png"], conflicts_with_all = [
        "model", "config", "network", "input", "out", "semantics", "steps", "respacing", "diffusion_steps",
        "modalities", "cos_threshold", "m_max", "median", "quantile_of", "precision", "keep", "variants",
        "end_step_ratios", "fixed_threshold", "classifier", "classifier_config", "gradient_scale", "threshold",
        "dynamic_clip",
    ])]
    pub run: Option<PathBuf>,
    /// A subject of the slice store
    #[arg(long, value_name = "ID", requires = "run")]
    pub subject: Option<String>,
    /// Place of the slice along the head axis of its volume, as in slices.csv
    #[arg(long, value_name = "N", requires = "run")]
    pub slice: Option<i32>,
    /// The picture to write
    #[arg(long, value_name = "OUT.png", requires = "run")]
    pub png: Option<PathBuf>,
    /// Slice store [default: that of the run]
    #[arg(long, value_name = "STORE", requires = "run")]
    pub store: Option<PathBuf>,
}

/// A row of tiles with one grey scale.
struct Row {
    name: String,
    tiles: Vec<Vec<f32>>,
    /// The value that is white.
    top: f32,
}

/// Computes the slice, writes the picture and prints what its tiles are.
pub(super) fn run(args: &TraceArgs) -> Result<()> {
    let asked = &args.picture;
    let (Some(run), Some(subject), Some(place), Some(png)) =
        (&asked.run, &asked.subject, asked.slice, &asked.png)
    else {
        return Err(UsageError::new("--run needs --subject, --slice and --png").into());
    };
    if args.guidance.len() > 1 {
        return Err(UsageError::new("--run takes one --guidance").into());
    }
    let run = FinishedRun::open(run, None)?;
    let location = match &asked.store {
        Some(store) => Location::Local(store.clone()),
        None => run.spec.data.store.clone(),
    };
    let store = SliceStore::at(&location).context("--store")?;
    run.check_fit(&store)?;
    let images = store.images().subject(subject)?;
    let position = images.slice_index.iter().position(|one| *one == place);
    let position = position.ok_or_else(|| {
        let (first, last) = (images.slice_index.first(), images.slice_index.last());
        UsageError::new(format!(
            "--slice {place}: the store has slices {} to {} of {subject}",
            first.copied().unwrap_or(0),
            last.copied().unwrap_or(0)
        ))
    })?;
    let method = args.method_name();
    let chosen = run.method(method, args.guidance.first().copied())?;
    let (Trajectory::Forward(walk), CellOutput::Mask { max_divergence, .. }) =
        (&chosen.trajectory, &chosen.cell.output)
    else {
        return Err(UsageError::new(format!("{} has no S_t", chosen.method)).into());
    };

    let mut plan = run.plan.clone();
    plan.batches = Vec::new();
    // One slice, not a batch filled up with it.
    plan.batch_slices = 1;
    plan.data.subjects = vec![subject.clone()];
    let reference = SliceRef {
        subject: 0,
        position: u32::try_from(position).unwrap_or(u32::MAX),
    };
    let batch = BatchReader::new(&store)
        .read(&plan, &[reference], false)
        .map_err(crate::predict::PredictError::from)?;
    let device = args.device.open()?;
    let mut backend = LibtorchBackend::new(device);
    let kind = backend.set_precision(plan.precision)?;
    let network = plan.network(walk.network)?;
    let weights = run.artifacts.verify(&network.weights)?;
    let OpenNetwork::Noise(mut net) = backend.open(network, &weights, kind)? else {
        return Err(UsageError::new("the run's network predicts no noise").into());
    };

    let schedule = Schedule::linear(DIFFUSION_STEPS as usize, &plan.respacing.into())?;
    let steps = plan.steps as usize;
    let kept = kept_steps(&schedule, steps);
    let modalities: Vec<i64> = plan.data.scored.iter().map(|c| i64::from(*c)).collect();
    let w = chosen.cell.guidance;
    let switches = plan.semantics.switches();
    let pass = ForwardPass {
        schedule: &schedule,
        switches,
        encoding: walk.encoding,
        steps,
        guidance: &[w],
        modalities: &modalities,
        maps: &[MapKind::Ste, MapKind::GradientTe],
        end_step_ratios: &[],
        keep: &kept,
        lesion: None,
    };
    let noise = NoiseSource::Counter {
        seed: args.seed,
        slices: batch.identities.clone(),
    };
    let x0 = batch.x0(device);
    let done = pass
        .run(
            net.as_mut(),
            &x0,
            &noise,
            &mut |_| ControlFlow::Continue(()),
        )
        .map_err(usage)?;
    let strength = done
        .guidance
        .first()
        .context("a pass without a strength. This is a bug.")?;

    let channels = Tensor::from_slice(&modalities).to_device(device);
    let scored = x0.index_select(1, &channels);
    let side = batch.size;
    let plane = side * side;
    let truth = store.truth().mask(subject, position)?;
    let truth: Option<Vec<f32>> = truth.map(|mask| {
        mask.into_iter()
            .map(|pixel| f32::from(pixel.min(1)))
            .collect()
    });
    let mut maps: Vec<[Vec<f32>; 2]> = Vec::new();
    for step in &done.kept {
        let hgp = step
            .hgp
            .first()
            .context("a kept step without HGP. This is a bug.")?;
        let b_t = schedule.gradient_factor(step.index);
        let single = SingleMaps::new(hgp, &step.ugp, &scored, b_t, w);
        let factor = b_t * (1.0 + w);
        let gradient = &single.squared_difference / (factor * factor);
        maps.push([numbers(&single.squared_error), numbers(&gradient)]);
    }
    let at_end = [MapKind::Ste, MapKind::GradientTe].map(|kind| strength.maps.get(&kind));
    let [Some(ste), Some(gradient)] = at_end else {
        return Err(UsageError::new("the pass has no map at t_e. This is a bug.").into());
    };
    maps.push([numbers(&ste.defined()), numbers(&gradient.defined())]);

    let input: Vec<f32> = numbers(&scored);
    let names = &store.manifest().modalities;
    let mut rows = Vec::new();
    for (m, channel) in plan.data.scored.iter().enumerate() {
        let part = |values: &[f32]| values[m * plane..(m + 1) * plane].to_vec();
        let modality = names.get(*channel as usize).map_or("?", String::as_str);
        for (n, what) in ["S_t", "gradient"].into_iter().enumerate() {
            let tiles: Vec<Vec<f32>> = maps.iter().map(|step| part(&step[n])).collect();
            let top = tiles.iter().flatten().copied().fold(0.0, f32::max);
            let scaled = |tile: Vec<f32>| -> Vec<f32> {
                let white = if top > 0.0 { top } else { 1.0 };
                tile.into_iter().map(|value| value / white).collect()
            };
            let slice = part(&input).into_iter().map(|value| (value + 1.0) / 2.0);
            let lead = std::iter::once(slice.collect()).chain(truth.clone());
            rows.push(Row {
                name: format!("{modality} {what}"),
                tiles: lead.chain(tiles.into_iter().map(scaled)).collect(),
                top,
            });
        }
    }
    let drawn = picture(&rows, side).png().context("--png")?;
    durable::write(png, &drawn).context("--png")?;

    let cosine = batch_cosines(&strength.mse_h, &done.mse_null);
    let levels = batch_levels(&strength.peak, max_divergence, switches.level_index);
    let mut columns = vec!["input".to_owned()];
    columns.extend(truth.is_some().then(|| "truth".to_owned()));
    columns.extend(
        kept.iter()
            .map(|i| format!("t = {}", schedule.paper_time(*i))),
    );
    columns.push("t_e".to_owned());
    println!("columns: {}", columns.join(", "));
    for row in &rows {
        println!("{}: 0 is black, {:.4e} is white", row.name, row.top);
    }
    let (t_e, peaks) = (
        numbers::<i64>(&strength.t_e),
        numbers::<f32>(&strength.peak),
    );
    for (m, channel) in plan.data.scored.iter().enumerate() {
        let index = usize::try_from(t_e[m]).unwrap_or(0);
        println!(
            "{}: t_e = {} (kept index {index}), M_te = {:.4e}, M_max = {:.4e}, quantile level {:.3}",
            names.get(*channel as usize).map_or("?", String::as_str),
            schedule.paper_time(index),
            peaks[m],
            max_divergence.get(m).copied().unwrap_or(f32::NAN),
            levels[m].level
        );
    }
    if let (Some(rule), Some(cosine)) = (chosen.label_rule, cosine.first()) {
        println!(
            "w = {w}, cosine {cosine:.6}; the run's threshold ({}) is {:.6}",
            rule.decision.name(),
            rule.threshold
        );
    }
    Ok(())
}

/// The kept index nearest to each of [`TIMES`], and the last one; ascending, each once.
fn kept_steps(schedule: &Schedule, steps: usize) -> Vec<usize> {
    let nearest =
        |t: i64| (0..steps).min_by_key(|index| (schedule.paper_time(*index) - t).unsigned_abs());
    let mut kept: Vec<usize> = TIMES.into_iter().filter_map(nearest).collect();
    kept.extend(steps.checked_sub(1));
    kept.sort_unstable();
    kept.dedup();
    kept
}

/// Tiles beside each other, a row below the other; 1 is white. The first axis of a slice, which runs to the left or right,
/// is drawn from left to right.
fn picture(rows: &[Row], side: usize) -> Picture<1> {
    let zoom = (TILE / side.max(1)).max(1);
    let tile = side * zoom;
    let columns = rows.iter().map(|row| row.tiles.len()).max().unwrap_or(0);
    let span = |count: usize| (count * (tile + GAP)).saturating_sub(GAP).max(1);
    Picture::from_fn(span(columns), span(rows.len()), |x, y| {
        let (column, row) = (x / (tile + GAP), y / (tile + GAP));
        let (x, y) = (x % (tile + GAP), y % (tile + GAP));
        let values = rows.get(row).and_then(|row| row.tiles.get(column));
        let within = x < tile && y < tile;
        let pixel = x / zoom * side + y / zoom;
        let value = values.filter(|_| within).and_then(|tile| tile.get(pixel));
        // Gaps are white, NaN is black.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let grey = value.map_or(255, |value| (value.clamp(0.0, 1.0) * 255.0).round() as u8);
        [grey]
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diffusion::Respacing;

    #[test]
    fn times_of_the_figure_are_the_nearest_that_were_kept() {
        let all = Schedule::linear(1000, &Respacing::None).unwrap();
        let kept = kept_steps(&all, 600);
        let t: Vec<i64> = kept.iter().map(|index| all.paper_time(*index)).collect();
        assert_eq!(t, [100, 200, 300, 500, 600]);
        let few = Schedule::linear(1000, &Respacing::Sections(vec![50])).unwrap();
        let kept = kept_steps(&few, 30);
        assert!(kept.iter().all(|index| *index < 30) && kept.last() == Some(&29));
        assert_eq!(kept_steps(&few, 1), [0]);
    }

    #[test]
    fn tiles_stand_where_they_are_said_to_and_a_slice_is_upright() {
        let tile = |values: [f32; 4]| values.to_vec();
        let rows = [Row {
            name: String::new(),
            tiles: vec![tile([0.0, 1.0, 0.0, 0.0]), tile([1.0, 0.0, 0.0, f32::NAN])],
            top: 1.0,
        }];
        let mut drawn = picture(&rows, 2);
        let (tile, zoom) = (256, 128);
        assert_eq!((drawn.width, drawn.height), (2 * tile + GAP, tile));
        let mut at = |x, y| drawn.at(x, y).unwrap()[0];
        // Row 0, column 1 of the slice is left below.
        assert_eq!([at(0, 0), at(0, zoom), at(zoom, zoom)], [0, 255, 0]);
        assert_eq!([at(tile, 0), at(tile + GAP, 0)], [255, 255]);
        assert_eq!(at(tile + GAP + zoom, zoom), 0);
    }
}
