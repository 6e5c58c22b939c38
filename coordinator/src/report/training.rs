//! How the networks learned: their loss curves as a table and as a picture.
//!
//! The curves lie in the newest checkpoint of each network (`meta.json`), so a run whose weights were all given has none.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use plotters::prelude::*;
use serde::Deserialize;

use crate::run_folder::RunFolder;

/// Largest `meta.json` read, bytes.
const META_LIMIT: u64 = 1 << 20;

/// Size of the picture, pixels.
const SIZE: (u32, u32) = (900, 480);

/// One point of a curve.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub struct LossPoint {
    /// Last step of the stretch it stands for.
    pub step: u64,
    /// Mean loss.
    pub loss: f64,
}

/// What the report needs of a checkpoint.
#[derive(Debug, Deserialize)]
struct Meta {
    loss: History,
}

#[derive(Debug, Deserialize)]
struct History {
    points: Vec<LossPoint>,
    #[serde(default)]
    validation: Vec<LossPoint>,
}

/// The curves of one network.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Curves {
    /// Training batches, with the weights of the moment.
    pub train: Vec<LossPoint>,
    /// Validation slices, with the averaged weights; empty where that was not asked for.
    pub validation: Vec<LossPoint>,
}

/// The curves of every network that was trained in this run, by its name. A checkpoint that cannot be read is left out
/// with a warning: the table does not depend on it.
pub fn curves(folder: &RunFolder) -> BTreeMap<String, Curves> {
    let networks = std::fs::read_dir(folder.checkpoints());
    let mut all = BTreeMap::new();
    for network in networks.into_iter().flatten().flatten() {
        let Some(newest) = newest_checkpoint(&network.path()) else {
            continue;
        };
        match read(&newest.join("meta.json")) {
            Ok(meta) => {
                let curves = Curves {
                    train: meta.loss.points,
                    validation: meta.loss.validation,
                };
                all.insert(network.file_name().to_string_lossy().into_owned(), curves);
            }
            Err(error) => {
                tracing::warn!(checkpoint = %newest.display(), %error, "no loss curve of this network");
            }
        }
    }
    all
}

/// The newest checkpoint folder of a network: names sort by step.
pub fn newest_checkpoint(network: &Path) -> Option<std::path::PathBuf> {
    std::fs::read_dir(network)
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with("step-"))
        })
        .max()
}

fn read(path: &Path) -> std::io::Result<Meta> {
    let mut text = String::new();
    File::open(path)?
        .take(META_LIMIT)
        .read_to_string(&mut text)?;
    Ok(serde_json::from_str(&text)?)
}

/// The curves as CSV: network, what of it, step, loss.
pub fn table(curves: &BTreeMap<String, Curves>) -> String {
    let mut text = String::from("network,curve,step,loss\n");
    for (network, curves) in curves {
        for (name, points) in [("train", &curves.train), ("validation", &curves.validation)] {
            for LossPoint { step, loss } in points {
                text.push_str(&format!("{network},{name},{step},{loss}\n"));
            }
        }
    }
    text
}

/// The curves as an SVG picture, loss on a logarithmic scale; `None` where there is nothing to draw.
pub fn picture(curves: &BTreeMap<String, Curves>) -> Option<String> {
    let points = || {
        curves
            .values()
            .flat_map(|curves| curves.train.iter().chain(&curves.validation))
            .filter(|point| point.loss.is_finite() && point.loss > 0.0)
    };
    let last = points().map(|point| point.step).max()?;
    let low = points().map(|point| point.loss).fold(f64::MAX, f64::min);
    let high = points().map(|point| point.loss).fold(0.0, f64::max);
    let mut svg = String::new();
    match draw(&mut svg, curves, last, low * 0.9..high * 1.1) {
        Ok(()) => Some(svg),
        Err(error) => {
            tracing::warn!(error, "the loss curves cannot be drawn");
            None
        }
    }
}

fn draw(
    svg: &mut String,
    curves: &BTreeMap<String, Curves>,
    last: u64,
    losses: std::ops::Range<f64>,
) -> Result<(), String> {
    let told = |error: &dyn std::error::Error| error.to_string();
    let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    area.fill(&WHITE).map_err(|error| told(&error))?;
    let mut chart = ChartBuilder::on(&area)
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(64)
        .build_cartesian_2d(0..last.max(1), losses.log_scale())
        .map_err(|error| told(&error))?;
    chart
        .configure_mesh()
        .x_desc("step")
        .y_desc("loss")
        .draw()
        .map_err(|error| told(&error))?;
    for (index, (network, curves)) in curves.iter().enumerate() {
        let colour = Palette99::pick(index);
        for (points, width, name) in [
            (&curves.train, 1, network.clone()),
            (
                &curves.validation,
                3,
                format!("{network}, validation (EMA)"),
            ),
        ] {
            if points.is_empty() {
                continue;
            }
            let style = ShapeStyle::from(&colour).stroke_width(width);
            let line = points
                .iter()
                .filter(|point| point.loss.is_finite() && point.loss > 0.0)
                .map(|point| (point.step, point.loss));
            chart
                .draw_series(LineSeries::new(line, style))
                .map_err(|error| told(&error))?
                .label(name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
        }
    }
    chart
        .configure_series_labels()
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK)
        .draw()
        .map_err(|error| told(&error))?;
    area.present().map_err(|error| told(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(losses: &[f64]) -> Vec<LossPoint> {
        let points = (1..).zip(losses);
        points
            .map(|(step, &loss)| LossPoint { step, loss })
            .collect()
    }

    #[test]
    fn curves_become_a_table_and_a_picture() {
        let guided = Curves {
            train: curve(&[1.0, 0.5, 0.25]),
            validation: curve(&[0.75]),
        };
        let curves = BTreeMap::from([("guided".to_owned(), guided)]);
        assert_eq!(
            table(&curves),
            "network,curve,step,loss\nguided,train,1,1\nguided,train,2,0.5\nguided,train,3,0.25\nguided,validation,1,0.75\n"
        );
        let svg = picture(&curves).unwrap();
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
        for text in ["guided", "validation (EMA)", "step", "loss"] {
            assert!(svg.contains(text), "{text}");
        }
    }

    #[test]
    fn nothing_trained_is_nothing_drawn() {
        assert_eq!(picture(&BTreeMap::new()), None);
        let broken = Curves {
            train: curve(&[f64::NAN, 0.0]),
            validation: Vec::new(),
        };
        assert_eq!(
            picture(&BTreeMap::from([("guided".to_owned(), broken)])),
            None
        );
    }
}
