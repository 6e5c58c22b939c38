//! Tables of colours with their numbers: heat maps.

use super::axis::Axis;
use super::{Anchor, Area, Colour, Drawing, SMALL, Shape, colour, font};

/// One cell: its share of the colour scale, and what is written in it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Cell {
    /// In [0, 1]; none is left blank.
    pub share: Option<f64>,
    pub text: String,
    pub hint: String,
}

const SIDE: f64 = 34.0;
const LONGEST: f64 = 170.0;

/// Rows of cells with names beside and below.
pub fn draw(rows: &[String], columns: &[String], cells: &[Vec<Cell>]) -> Drawing {
    let widest = |names: &[String]| Axis::names("", names).widest(SMALL).min(LONGEST);
    let (left, below) = (widest(rows) + 14.0, widest(columns) + 16.0);
    let turned = columns
        .iter()
        .any(|name| font::width(name, SMALL) > SIDE - 4.0);
    let below = if turned { below } else { 22.0 };
    #[allow(clippy::cast_precision_loss)]
    let (wide, high) = (SIDE * columns.len() as f64, SIDE * rows.len() as f64);
    let mut drawing = Drawing::new((left + wide + 8.0).max(300.0), high + below + 8.0);
    for (row, (name, cells)) in rows.iter().zip(cells).enumerate() {
        let top = 6.0 + SIDE * row as f64;
        let name = font::shortened(name, LONGEST, SMALL);
        drawing.small([left - 6.0, top + SIDE / 2.0 + 4.2], name, Anchor::End);
        for (column, cell) in cells.iter().enumerate().take(columns.len()) {
            let area = Area {
                left: left + SIDE * column as f64,
                top,
                width: SIDE - 2.0,
                height: SIDE - 2.0,
            };
            let ground = cell
                .share
                .map_or(Colour::Grid, |share| Colour::Rgb(colour::scale(share)));
            drawing.shapes.push(Shape::Rect {
                area,
                fill: Some(ground),
                stroke: None,
                hint: cell.hint.clone(),
            });
            let ink = match ground {
                Colour::Rgb(rgb) => colour::text_on(rgb),
                _ => Colour::Ink,
            };
            let at = [area.left + area.width / 2.0, top + SIDE / 2.0 + 3.4];
            drawing.words(at, cell.text.clone(), Anchor::Middle, 11.0, ink);
        }
    }
    for (column, name) in columns.iter().enumerate() {
        let x = left + SIDE * column as f64 + SIDE / 2.0;
        let name = font::shortened(name, LONGEST, SMALL);
        if turned {
            drawing.turned([x + 3.0, high + 12.0], name, Anchor::End, SMALL);
        } else {
            drawing.small([x - 1.0, high + 20.0], name, Anchor::Middle);
        }
    }
    drawing
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heat_map_has_a_square_a_cell() {
        let names = |count: usize| (0..count).map(|n| format!("row {n}")).collect::<Vec<_>>();
        let cell = Cell {
            share: Some(0.5),
            text: "50".to_owned(),
            hint: String::new(),
        };
        let drawing = draw(&names(3), &names(2), &vec![vec![cell; 2]; 3]);
        let squares = drawing
            .shapes
            .iter()
            .filter(|shape| matches!(shape, Shape::Rect { .. }));
        assert_eq!(squares.count(), 6);
        assert_eq!(draw(&[], &[], &[]).shapes.len(), 0);
    }
}
