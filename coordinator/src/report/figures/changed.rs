//! Slices of which two runs made something else, side by side.

use super::Figure;
use super::picture_grid::{Grid, NOTE, dice_below, grey, outcome, place_name, truth_alone};
use crate::report::exhibits::{MethodExhibit, SliceExhibit};

/// Slices with a row each.
const MOST_SLICES: usize = 20;

/// One slice in two runs, each with its own images.
#[derive(Debug, Clone, Copy)]
pub struct ChangedPair<'a> {
    /// What the runs are called.
    pub runs: [&'a str; 2],
    pub method: &'a str,
    pub slices: [&'a SliceExhibit; 2],
    pub made: [&'a MethodExhibit; 2],
}

/// Input and truth as the first run has them, then map and outcome of both; `None` without a slice.
pub fn changed(pairs: &[ChangedPair<'_>], modality: &str) -> Option<Figure> {
    if pairs.is_empty() {
        return None;
    }
    let all = pairs.len();
    let pairs = &pairs[..all.min(MOST_SLICES)];
    let maps = pairs
        .iter()
        .flat_map(|pair| pair.made)
        .any(|made| !made.map.is_empty());
    let mut columns = vec![modality.to_owned(), "truth".to_owned()];
    // Where all pairs are of the same runs, these.
    let runs = pairs[0].runs;
    let same = pairs.iter().all(|pair| pair.runs == runs);
    for which in if same { runs } else { ["first", "second"] } {
        if maps {
            columns.push(format!("{which}: map"));
        }
        columns.push(format!("{which}: mask"));
    }
    let mut grid = Grid::new(&columns, pairs.len(), NOTE);
    let mut words = Vec::new();
    for pair in pairs {
        let shown = pair.slices[0];
        let place = place_name(&shown.place);
        let [first, second] = pair.runs;
        grid.note(format!("{place}: {}, {first} and {second}", pair.method));
        let (width, height) = (shown.width, shown.height);
        let image = shown.images.first().map_or(&[][..], Vec::as_slice);
        grid.picture(0, grey(width, height, image), String::new());
        grid.picture(1, truth_alone(width, height, &shown.truth), String::new());
        let mut column = 2;
        for (slice, made) in pair.slices.into_iter().zip(pair.made) {
            if maps {
                grid.map(column, slice, made);
                column += 1;
            }
            grid.picture(column, outcome(slice, &made.mask), dice_below(made));
            column += 1;
        }
        let [one, other] = pair.made.map(dice_below);
        words.push(format!(
            "{place}, {}: {first} {one}, {second} {other}",
            pair.method
        ));
        grid.next();
    }
    let left_out = match all - pairs.len() {
        0 => String::new(),
        more => format!(" {more} more are in the table and the viewer."),
    };
    Some(Figure {
        name: "changed".to_owned(),
        of_paper: "",
        title: "Slices with the largest change".to_owned(),
        caption: format!(
            "Each run with its first noise seed. Masks: white right, orange missed, blue wrong; below them their DICE, and \
             \"healthy\" where the slice is called so.{} The largest change comes first.{left_out}",
            if maps {
                " Each map has a scale of its own; maps are shown where a run kept them."
            } else {
                ""
            }
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

    fn images(figure: &Figure) -> usize {
        let shapes = figure.drawing.shapes.iter();
        shapes
            .filter(|shape| matches!(shape, Shape::Image { .. }))
            .count()
    }

    #[test]
    fn two_runs_stand_beside_each_other_with_the_maps_they_kept() {
        let pictures = samples::pictures(&["anofpdm-ddim", "gradient"]);
        let mut without = pictures.slices[3].clone();
        without
            .methods
            .iter_mut()
            .flatten()
            .for_each(|made| made.map.clear());
        let pair = |first: &SliceExhibit, second: &SliceExhibit| -> Figure {
            let made = [first, second].map(|slice| slice.methods[0].as_ref().unwrap());
            let pair = ChangedPair {
                runs: ["A", "B"],
                method: "anofpdm-ddim",
                slices: [first, second],
                made,
            };
            changed(&[pair; 30], "flair").unwrap()
        };
        let shown = &pictures.slices[3];
        // Input, truth, and of each run map and mask.
        assert_eq!(images(&pair(shown, shown)), 20 * 6);
        assert_eq!(images(&pair(shown, &without)), 20 * 5);
        assert_eq!(images(&pair(&without, &without)), 20 * 4);
        let figure = pair(shown, shown);
        assert!(figure.caption.contains("10 more are in the table"));
        assert!(figure.description.contains("anofpdm-ddim: A "));
        assert_eq!(changed(&[], "flair"), None);
    }
}
