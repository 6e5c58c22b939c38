//! Figure 2d and what else depends on a lesion's size or on where the end step lies, from the test slices.

use std::collections::BTreeMap;

use anofpdm_common::metrics::bootstrap::{interval, times_drawn};
use anofpdm_common::statistics::{pearson, spearman};

use super::calls::{row_of, walks};
use super::{
    Csv, Figure, HEIGHT, WIDTH, counted, file_part, mean, name_of, number, percent, quantile,
    sorted,
};
use crate::report::drawing::axis::Axis;
use crate::report::drawing::chart::{Chart, Dot, Look};
use crate::report::slices::{CellSlice, SliceName, SliceTable, SlicesOfCell};

/// Resamples of an interval of a correlation.
const RESAMPLES: u64 = 1_000;

/// Dots of one modality beyond which a few stand for all.
const MOST_DOTS: usize = 1_500;

fn with_lesion<'a>(
    table: &'a SliceTable,
    cell: &'a SlicesOfCell,
) -> impl Iterator<Item = (&'a SliceName, &'a CellSlice)> {
    let slices = table.slices.iter().zip(&cell.cell.slices);
    slices.filter(|(_, slice)| slice.overlap.truth > 0)
}

/// Figure 2d: M at the end step against the pixels of the lesion; `maxima` are M_max of the modalities.
pub fn fig2d(table: &SliceTable, cell: &SlicesOfCell, maxima: &[f32]) -> Option<Figure> {
    let slices: Vec<(&SliceName, &CellSlice)> = with_lesion(table, cell).collect();
    let all = || {
        let slices = slices.iter();
        slices.flat_map(|(_, slice)| slice.modalities.iter().map(|one| f64::from(one.divergence)))
    };
    let sizes: Vec<f64> = slices
        .iter()
        .map(|(_, slice)| f64::from(slice.overlap.truth))
        .collect();
    if slices.is_empty() || all().next().is_none() {
        return None;
    }
    let mut chart = Chart::new(
        Axis::around("pixels of the lesion", sizes.iter().copied().chain([0.0])),
        Axis::around("M at t_e", all()),
    );
    let mut csv = Csv::new("patient,subject,slice,modality,lesion_pixels,divergence,clamped");
    let mut words = Vec::new();
    for (index, modality) in table.modalities.iter().enumerate() {
        let of = |slice: &CellSlice| slice.modalities.get(index).map(|one| one.divergence);
        let clamped = |value: f32| maxima.get(index).is_some_and(|maximum| value > *maximum);
        let mut dots = Vec::new();
        let mut pairs: BTreeMap<&str, Vec<(f64, f64)>> = BTreeMap::new();
        let every = slices.len().div_ceil(MOST_DOTS);
        for (place, (name, slice)) in slices.iter().enumerate() {
            let Some(value) = of(slice) else { continue };
            let (size, height) = (f64::from(slice.overlap.truth), f64::from(value));
            let of_patient = pairs.entry(&name.patient).or_default();
            of_patient.push((size, height));
            csv.row([
                name.patient.clone(),
                name.subject.clone(),
                name.slice.to_string(),
                modality.clone(),
                slice.overlap.truth.to_string(),
                value.to_string(),
                clamped(value).to_string(),
            ]);
            if place % every == 0 {
                dots.push(Dot {
                    filled: !clamped(value),
                    radius: 2.8,
                    ..Dot::at(size, height)
                });
            }
        }
        let pairs: Vec<Vec<(f64, f64)>> = pairs.into_values().collect();
        let said = format!("{modality}: {}", correlations(&pairs));
        let count = dots.iter().filter(|dot| !dot.filled).count();
        chart.dots(
            &said,
            dots,
            Look {
                dash: crate::report::drawing::Dash::Solid,
                ..Look::of(index)
            },
        );
        words.push(format!("{said}, {count} dots above M_max"));
    }
    let row = row_of(cell);
    Some(Figure {
        name: format!("fig2d-{}", file_part(&row)),
        of_paper: "Figure 2d",
        title: "Size of the lesion and M at the end step".to_owned(),
        caption: format!(
            "{}, {}. r: Pearson, ρ: Spearman, with 95 % intervals over patients. Hollow: above M_max, where the level is \
             clamped.",
            name_of(&row),
            counted(slices.len(), "unhealthy slice")
        ),
        description: format!("{}.", words.join("; ")),
        drawing: chart.drawing(WIDTH, HEIGHT + 20.0 * table.modalities.len() as f64),
        data: csv.done(),
    })
}

type Coefficient = fn(&[f64], &[f64]) -> Option<f64>;

/// Both coefficients over all slices, with intervals of a bootstrap over patients where there are several.
fn correlations(patients: &[Vec<(f64, f64)>]) -> String {
    let of = |coefficient: Coefficient, times: &[u32]| {
        let drawn = patients.iter().zip(times);
        let pairs = drawn.flat_map(|(pairs, times)| {
            std::iter::repeat_n(pairs, *times as usize)
                .flatten()
                .copied()
        });
        let (sizes, values): (Vec<f64>, Vec<f64>) = pairs.unzip();
        coefficient(&sizes, &values)
    };
    let once = vec![1; patients.len()];
    let coefficients: [(&str, Coefficient); 2] = [("r", pearson), ("ρ", spearman)];
    coefficients
        .map(|(name, coefficient)| {
            let Some(value) = of(coefficient, &once) else {
                return format!("{name} –");
            };
            let draws: Vec<f64> = match patients.len() {
                0 | 1 => Vec::new(),
                several => (0..RESAMPLES)
                    .filter_map(|resample| of(coefficient, &times_drawn(several, 0, resample)))
                    .collect(),
            };
            match interval(&draws) {
                Some([low, high]) => format!("{name} {value:.2} [{low:.2}, {high:.2}]"),
                None => format!("{name} {value:.2}"),
            }
        })
        .join(", ")
}

/// DICE of slices with small, middling and large lesions, row by row, one seed each.
pub fn dice_by_size(table: &SliceTable) -> Option<Figure> {
    by_thirds(
        table,
        Thirds {
            name: "dice-by-size",
            title: "DICE by size of the lesion",
            axis: "DICE of unhealthy slices",
            caption: "Mean over unhealthy slices by thirds of lesion size",
            of: |slice| slice.overlap.dice(),
        },
    )
}

/// Share of empty masks by size of the lesion.
pub fn empty_by_size(table: &SliceTable) -> Option<Figure> {
    by_thirds(
        table,
        Thirds {
            name: "empty-by-size",
            title: "Empty masks by size of the lesion",
            axis: "share of empty masks",
            caption: "Share of unhealthy slices with an empty mask by thirds of lesion size",
            of: |slice| f64::from(u8::from(slice.overlap.predicted == 0)),
        },
    )
}

struct Thirds {
    name: &'static str,
    title: &'static str,
    axis: &'static str,
    caption: &'static str,
    of: fn(&CellSlice) -> f64,
}

fn by_thirds(table: &SliceTable, what: Thirds) -> Option<Figure> {
    // Slices and truth are the same for every cell.
    let sizes = sorted(table.cells.first().into_iter().flat_map(|cell| {
        with_lesion(table, cell).map(|(_, slice)| f64::from(slice.overlap.truth))
    }));
    let (low, high) = (quantile(&sizes, 1.0 / 3.0)?, quantile(&sizes, 2.0 / 3.0)?);
    let thirds = [
        format!("up to {low:.0} pixels"),
        format!("up to {high:.0}"),
        "larger".to_owned(),
    ];
    let mut firsts: Vec<&SlicesOfCell> = Vec::new();
    for cell in &table.cells {
        let known =
            |one: &&SlicesOfCell| one.method == cell.method && one.guidance == cell.guidance;
        if !firsts.iter().any(known) {
            firsts.push(cell);
        }
    }
    let names: Vec<String> = firsts.iter().map(|cell| name_of(&row_of(cell))).collect();
    let mut chart = Chart::new(Axis::linear(what.axis, 0.0, 1.0), Axis::names("", &names));
    let mut csv = Csv::new("method,w,third,slices,value");
    let mut dots: [Vec<Dot>; 3] = Default::default();
    let mut words = Vec::new();
    for (place, cell) in firsts.iter().enumerate() {
        let mut values: [Vec<f64>; 3] = Default::default();
        for (_, slice) in with_lesion(table, cell) {
            let size = f64::from(slice.overlap.truth);
            let third = usize::from(size > low) + usize::from(size > high);
            values[third].push((what.of)(slice));
        }
        let means = values.each_ref().map(|values| mean(values));
        for (third, value) in means.iter().enumerate() {
            csv.row([
                cell.method.clone(),
                number(cell.guidance),
                thirds[third].clone(),
                values[third].len().to_string(),
                number(*value),
            ]);
            if let Some(value) = value {
                dots[third].push(Dot {
                    radius: 3.0 + 1.5 * third as f64,
                    hint: format!(
                        "{}, {}: {}",
                        names[place],
                        thirds[third],
                        percent(Some(*value))
                    ),
                    ..Dot::at(*value, place as f64)
                });
            }
        }
        words.push(format!(
            "{}: {}",
            names[place],
            means.map(percent).join(", ")
        ));
    }
    for (third, dots) in dots.into_iter().enumerate() {
        chart.dots(&thirds[third], dots, Look::of(third));
    }
    Some(Figure {
        name: what.name.to_owned(),
        of_paper: "",
        title: what.title.to_owned(),
        caption: format!(
            "{}, first seed, {}.",
            what.caption,
            counted(sizes.len(), "slice")
        ),
        description: format!(
            "In percent, for lesions {}: {}.",
            thirds.join(", "),
            words.join("; ")
        ),
        drawing: chart.drawing(WIDTH, 100.0 + 32.0 * names.len() as f64),
        data: csv.done(),
    })
}

/// Where the end steps lie, by what slices are; `steps` are t of the forward steps, their numbers where it is empty.
#[allow(clippy::cast_precision_loss)]
pub fn end_steps(table: &SliceTable, cell: &SlicesOfCell, steps: &[u32]) -> Option<Figure> {
    let of = |unhealthy: bool| -> Vec<usize> {
        let slices = table.slices.iter().zip(&cell.cell.slices);
        let wanted = slices.filter(|(name, _)| name.unhealthy == unhealthy);
        wanted
            .flat_map(|(_, slice)| slice.modalities.iter().map(|one| one.end_step as usize))
            .collect()
    };
    let kinds = [of(false), of(true)];
    let last = *kinds.iter().flatten().max()?;
    let bins = (last + 1).min(25);
    let place = |step: usize| match steps.get(step) {
        Some(t) => f64::from(*t),
        None => (step + 1) as f64,
    };
    let border = |bin: usize| bin * (last + 1) / bins;
    let bars = kinds.each_ref().map(|values| -> Vec<[f64; 3]> {
        let counts = (0..bins).map(|bin| {
            let here = border(bin)..border(bin + 1);
            let count = values.iter().filter(|step| here.contains(step)).count();
            let apart = place(1) - place(0);
            let to = place(border(bin + 1) - 1) + apart.max(1.0);
            [
                place(here.start),
                to,
                count as f64 / values.len().max(1) as f64,
            ]
        });
        counts.collect()
    });
    let borders = bars[0].iter().flat_map(|bar| [bar[0], bar[1]]);
    let heights = bars.iter().flatten().map(|bar| bar[2]);
    let title = match steps.is_empty() {
        true => "t_e, number of the forward step",
        false => "t_e, t of the full schedule",
    };
    let mut chart = Chart::new(
        Axis::around(title, borders),
        Axis::shares("share of slices and modalities", heights),
    );
    let mut csv = Csv::new("kind,from,to,share");
    let mut words = Vec::new();
    for (index, name) in ["healthy", "unhealthy"].into_iter().enumerate() {
        for [from, to, share] in &bars[index] {
            csv.row([
                name.to_owned(),
                number(Some(*from)),
                number(Some(*to)),
                number(Some(*share)),
            ]);
        }
        let places = sorted(kinds[index].iter().map(|step| place(*step)));
        if let Some(middle) = quantile(&places, 0.5) {
            let at_last = kinds[index].iter().filter(|step| **step == last).count();
            let share = at_last as f64 / places.len() as f64;
            words.push(format!(
                "{name}: median {middle}, {} % at the last of them",
                percent(Some(share))
            ));
        }
        chart.bars(
            name,
            bars[index].clone(),
            Look::of(index).colour,
            index == 1,
        );
    }
    let row = row_of(cell);
    Some(Figure {
        name: format!("end-steps-{}", file_part(&row)),
        of_paper: "",
        title: "Where the end steps lie".to_owned(),
        caption: format!("{}, every slice and modality, first seed.", name_of(&row)),
        description: format!("{}.", words.join("; ")),
        drawing: chart.drawing(WIDTH, HEIGHT),
        data: csv.done(),
    })
}

/// Everything that one run's slices give.
pub fn all(
    table: &SliceTable,
    maxima: impl Fn(&SlicesOfCell) -> Vec<f32>,
    steps: &[u32],
) -> Vec<Figure> {
    let mut found = Vec::new();
    for cell in walks(table) {
        found.extend(fig2d(table, cell, &maxima(cell)));
    }
    found.extend(dice_by_size(table));
    found.extend(empty_by_size(table));
    for cell in walks(table) {
        found.extend(end_steps(table, cell, steps));
    }
    found
}

#[cfg(test)]
pub(crate) mod tests {
    use anofpdm_common::metrics::{Localization, Overlap};
    use anofpdm_common::record::ModalityDecision;

    use super::*;
    use crate::report::slices::CellSlices;

    /// Thirty slices of three patients, half of them with a lesion that grows.
    pub(crate) fn table() -> SliceTable {
        let slices = (0..30_u32).map(|number| SliceName {
            patient: format!("p{}", number % 3),
            subject: format!("p{}_1", number % 3),
            slice: i64::from(number),
            unhealthy: number % 2 == 1,
            brain_area: 300 + 7 * number,
        });
        let cell = |method: &str, seed: u64| SlicesOfCell {
            method: method.to_owned(),
            guidance: Some(2.0),
            cell: CellSlices {
                seed: Some(seed),
                slices: (0..30_u32)
                    .map(|number| {
                        let truth = if number % 2 == 1 { 4 * number } else { 0 };
                        let predicted = if number < 4 { 0 } else { truth + 10 };
                        CellSlice {
                            called_unhealthy: number % 2 == 1,
                            overlap: Overlap {
                                pixels: 1024,
                                predicted,
                                truth,
                                intersection: truth.min(predicted) * 3 / 4,
                            },
                            localization: Localization::default(),
                            average_precision: Some(0.5),
                            cosine: Some(1.0 - 0.02 * number as f32),
                            q_star: Some(0.1),
                            modalities: Box::new([ModalityDecision {
                                end_step: 10 + number % 9,
                                divergence: 0.001 * number as f32,
                                level_index: 50,
                                defined: true,
                            }]),
                        }
                    })
                    .collect(),
            },
        };
        SliceTable {
            modalities: vec!["flair".to_owned()],
            slices: slices.collect(),
            cells: vec![
                cell("anofpdm-ddim", 0),
                cell("anofpdm-ddim", 1),
                cell("gradient", 0),
            ],
        }
    }

    #[test]
    fn size_and_divergence_go_together_where_they_do() {
        let table = table();
        let figure = fig2d(&table, &table.cells[0], &[0.02]).unwrap();
        assert!(
            figure
                .description
                .starts_with("flair: r 1.00 [1.00, 1.00], ρ 1.00"),
            "{}",
            figure.description
        );
        assert!(
            figure.description.contains("5 dots above M_max"),
            "{}",
            figure.description
        );
        assert_eq!(figure.data.lines().count(), 16);
    }

    #[test]
    fn thirds_and_end_steps_are_counted() {
        let table = table();
        let figure = dice_by_size(&table).unwrap();
        assert_eq!(figure.data.lines().count(), 1 + 2 * 3);
        let figure = empty_by_size(&table).unwrap();
        assert!(
            figure
                .description
                .contains("anofpdm-ddim (w 2): 40.0, 0.0, 0.0"),
            "{}",
            figure.description
        );
        let figure = end_steps(&table, &table.cells[0], &[]).unwrap();
        assert!(
            figure.description.contains("healthy: median 15"),
            "{}",
            figure.description
        );
        assert_eq!(dice_by_size(&SliceTable::default()), None);
        assert_eq!(all(&SliceTable::default(), |_| Vec::new(), &[]), []);
    }
}
