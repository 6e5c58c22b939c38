//! Figures 3, 4 and 6: maps and masks as pictures.

use super::picture_grid::{
    Grid, NOTE, coloured, dice_below, grey, outcome, place_name, truth_alone,
};
use super::{Figure, counted, file_part, name_of, percent};
use crate::report::exhibits::{Pictures, SHOWN_RANGE, SliceExhibit, StepMaps};

/// Methods with a column each; the viewer has all.
const MOST_METHODS: usize = 3;
/// Slices with a row each.
const MOST_SLICES: usize = 6;

/// Share of a logarithmic scale that ends at `largest`.
fn logarithmic(value: f32, largest: f32) -> f64 {
    if value <= 0.0 || largest <= 0.0 {
        return if value.is_nan() { f64::NAN } else { 0.0 };
    }
    1.0 + f64::from(value / largest).ln() / f64::from(SHOWN_RANGE).ln()
}

/// Figure 3: S_t and the gradient of one slice at several steps; `None` without steps.
pub fn fig3(maps: &StepMaps) -> Option<Figure> {
    if maps.steps.is_empty() {
        return None;
    }
    let with_gradient = maps.steps.iter().any(|step| !step.gradient.is_empty());
    let (width, height) = (maps.width, maps.height);
    let mut columns = vec!["input".to_owned(), "truth".to_owned()];
    columns.extend(maps.steps.iter().map(|step| {
        let end = if step.end_step { " (t_e)" } else { "" };
        format!("t = {}{end}", step.t)
    }));
    let rows = 1 + usize::from(with_gradient);
    let mut grid = Grid::new(&columns, rows, NOTE);
    let mut words = Vec::new();
    type Part = fn(&crate::report::exhibits::StepMap) -> &[f32];
    let parts: [(&str, Part); 2] = [
        ("S_t", |step| &step.anomaly),
        ("squared gradient", |step| &step.gradient),
    ];
    for (index, (name, part)) in parts.into_iter().take(rows).enumerate() {
        let values = maps.steps.iter().flat_map(part).copied();
        let largest = values.filter(|value| value.is_finite()).fold(0.0, f32::max);
        grid.note(format!(
            "{name}: bright {largest:.1e}, dark {:.1e} and less, logarithmic",
            largest / SHOWN_RANGE
        ));
        let input = grey(width, height, &maps.image);
        grid.picture(0, input, String::new());
        grid.picture(1, truth_alone(width, height, &maps.truth), String::new());
        for (column, step) in maps.steps.iter().enumerate() {
            let map = part(step);
            let of_step = map
                .iter()
                .copied()
                .filter(|v| v.is_finite())
                .fold(0.0, f32::max);
            let shares = map.iter().map(|value| logarithmic(*value, largest));
            grid.picture(
                column + 2,
                coloured(width, height, shares),
                format!("max {of_step:.1e}"),
            );
            words.push(format!("largest {name} at t = {}: {of_step:.3e}", step.t));
        }
        if index + 1 < rows {
            grid.next();
        }
    }
    Some(Figure {
        name: format!(
            "fig3-{}-{}",
            file_part(&maps.row),
            file_part(&crate::report::statistics::RowId {
                method: place_name(&maps.place),
                guidance: None
            })
        ),
        of_paper: "Figure 3",
        title: format!("Maps by step: {}", place_name(&maps.place)),
        caption: format!(
            "{}, seed {}; one scale of colours a row.",
            name_of(&maps.row),
            maps.seed
        ),
        description: format!("{}.", words.join("; ")),
        drawing: grid.drawing,
        data: String::new(),
    })
}

/// Figures 4 and 6: input, truth, and of the best methods map and outcome. `best` are numbers of methods, best first.
pub fn fig4(pictures: &Pictures, best: &[usize]) -> Option<Figure> {
    let mut slices: Vec<&SliceExhibit> = pictures
        .slices
        .iter()
        .filter(|slice| slice.in_figures)
        .collect();
    slices.truncate(MOST_SLICES);
    let methods: Vec<usize> = best
        .iter()
        .copied()
        .filter(|method| *method < pictures.methods.len())
        .take(MOST_METHODS)
        .collect();
    if slices.is_empty() {
        return None;
    }
    let modality = pictures.modalities.first().cloned().unwrap_or_default();
    let mut columns = vec![modality, "truth".to_owned()];
    columns.extend(
        methods
            .iter()
            .flat_map(|_| ["map", "mask"].map(str::to_owned)),
    );
    let mut grid = Grid::new(&columns, slices.len(), NOTE);
    for (place, method) in methods.iter().enumerate() {
        grid.above(2 + 2 * place, &name_of(&pictures.methods[*method]));
    }
    let mut words = Vec::new();
    for slice in &slices {
        grid.note(place_name(&slice.place));
        let (width, height) = (slice.width, slice.height);
        let image = slice.images.first().map_or(&[][..], Vec::as_slice);
        grid.picture(0, grey(width, height, image), String::new());
        grid.picture(1, truth_alone(width, height, &slice.truth), String::new());
        for (place, method) in methods.iter().enumerate() {
            let Some(Some(exhibit)) = slice.methods.get(*method) else {
                continue;
            };
            grid.map(2 + 2 * place, slice, exhibit);
            let called = if exhibit.called_unhealthy {
                ""
            } else {
                ", called healthy"
            };
            let dice = format!("DICE {}{called}", percent(Some(exhibit.dice)));
            words.push(format!(
                "{}, {}: {dice}",
                place_name(&slice.place),
                name_of(&pictures.methods[*method])
            ));
            let below = dice_below(exhibit);
            grid.picture(3 + 2 * place, outcome(slice, &exhibit.mask), below);
        }
        grid.next();
    }
    Some(Figure {
        name: "fig4".to_owned(),
        of_paper: "Figures 4 and 6",
        title: "Maps and masks".to_owned(),
        caption: format!(
            "{} Seed {}. Each map has a scale of its own, logarithmic where it can be, from a thousandth of its largest value; masks: white right, orange missed, blue wrong; below them \
             the DICE, and \"healthy\" where the slice is called so. {} of {} have a column.",
            pictures.rule,
            pictures.seed,
            methods.len(),
            counted(pictures.methods.len(), "method")
        ),
        description: format!("DICE in percent. {}.", words.join("; ")),
        drawing: grid.drawing,
        data: String::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;
    use crate::report::drawing::Shape;

    #[test]
    fn pictures_have_a_row_a_slice_and_say_every_dice() {
        let pictures = samples::pictures(&["anofpdm-ddim", "gradient"]);
        let figure = fig4(&pictures, &[1, 0, 9]).unwrap();
        let images = figure.drawing.shapes.iter();
        let images = images.filter(|shape| matches!(shape, Shape::Image { .. }));
        assert_eq!(images.count(), 6 * (2 + 2 * 2));
        assert!(
            figure
                .description
                .contains("slice 42, gradient (w 2): DICE 60.0")
        );
        assert_eq!(fig4(&Pictures::default(), &[0]), None);
    }

    #[test]
    fn step_maps_share_a_scale_a_row() {
        let figure = fig3(&samples::step_maps()).unwrap();
        assert!(figure.description.contains("largest S_t at t = 600"));
        assert_eq!(fig3(&StepMaps::default()), None);
    }

    #[test]
    fn pictures_that_contradict_themselves_are_drawn_without_panic() {
        let mut pictures = samples::pictures(&["gradient"]);
        for slice in &mut pictures.slices {
            slice.images.clear();
            slice.width = 7;
        }
        pictures.slices[2].methods.clear();
        let figure = fig4(&pictures, &[0]).unwrap();
        assert!(crate::report::drawing::png::drawing(&figure.drawing).is_ok());
    }
}
