//! Connected components of a mask, and the filter on their area (Appendix F).

/// The 8-connected components of a mask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Components {
    /// For each pixel 0 (background) or the number of its component. Components are numbered from 1 in the
    /// order in which a row-by-row walk meets them.
    pub labels: Vec<u32>,
    /// Pixels of each component; `areas[0]` belongs to component 1. A hole is not part of the area around it.
    pub areas: Vec<u32>,
}

/// Labels the 8-connected components of a `height` x `width` mask (any value but 0 is set).
///
/// # Panics
/// When `mask` does not hold `height * width` values.
pub fn components(mask: &[u8], height: usize, width: usize) -> Components {
    assert_eq!(
        mask.len(),
        height * width,
        "a mask of another size than stated. This is a bug."
    );
    let mut labels = vec![0_u32; mask.len()];
    let mut areas = Vec::new();
    let mut open = Vec::new();
    let mut number = 0;
    for start in 0..mask.len() {
        if mask[start] == 0 || labels[start] != 0 {
            continue;
        }
        number += 1;
        let mut area = 0;
        labels[start] = number;
        open.push(start);
        while let Some(pixel) = open.pop() {
            area += 1;
            let (y, x) = (pixel / width, pixel % width);
            for near_y in y.saturating_sub(1)..(y + 2).min(height) {
                for near_x in x.saturating_sub(1)..(x + 2).min(width) {
                    let near = near_y * width + near_x;
                    if mask[near] != 0 && labels[near] == 0 {
                        labels[near] = number;
                        open.push(near);
                    }
                }
            }
        }
        areas.push(area);
    }
    Components { labels, areas }
}

/// Clears all components of `area` pixels or fewer.
///
/// # Panics
/// As [`components`].
pub fn drop_small(mask: &mut [u8], height: usize, width: usize, area: u32) {
    if area == 0 {
        return;
    }
    let Components { labels, areas } = components(mask, height, width);
    for (pixel, label) in mask.iter_mut().zip(labels) {
        if label != 0 && areas[label as usize - 1] <= area {
            *pixel = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RING_AND_DIAGONAL: [u8; 30] = [
        1, 1, 1, 0, 0, 0, //
        1, 0, 1, 0, 0, 1, //
        1, 1, 1, 0, 1, 0, //
        0, 0, 0, 0, 0, 0, //
        0, 0, 0, 0, 0, 1, //
    ];

    #[test]
    fn diagonals_connect_and_holes_do_not_count() {
        let found = components(&RING_AND_DIAGONAL, 5, 6);
        assert_eq!(found.areas, [8, 2, 1]);
        assert_eq!(found.labels[11], 2);
        assert_eq!(found.labels[16], 2);
    }

    #[test]
    fn the_border_does_not_wrap() {
        let found = components(&[0, 0, 1, 1, 0, 0], 2, 3);
        assert_eq!(found.areas, [1, 1]);
    }

    #[test]
    fn exactly_the_stated_area_is_dropped() {
        let mut mask = RING_AND_DIAGONAL;
        drop_small(&mut mask, 5, 6, 2);
        assert_eq!(mask.iter().filter(|pixel| **pixel != 0).count(), 8);
        drop_small(&mut mask, 5, 6, 7);
        assert_eq!(mask.iter().filter(|pixel| **pixel != 0).count(), 8);
        drop_small(&mut mask, 5, 6, 8);
        assert!(mask.iter().all(|pixel| *pixel == 0));
    }
}
