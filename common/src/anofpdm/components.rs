//! Connected components of a mask, and the filter on their area (Appendix F).

/// Components of this many pixels or fewer are dropped before DICE and IoU: that of the public code, whose slices have
/// 128 pixels a side.
pub const COMPONENT_AREA: u32 = 40;

/// Pixels a side that [`COMPONENT_AREA`] was chosen for.
const PUBLISHED_SIZE: u64 = 128;

/// The share of a slice that [`COMPONENT_AREA`] is of the published one, in pixels of slices of `size` x `size`, rounded
/// half up: 3 at 32, 6 at 48, 10 at 64, 40 at 128.
pub fn component_area_at(size: usize) -> u32 {
    let published = PUBLISHED_SIZE * PUBLISHED_SIZE;
    let area = (size as u64).saturating_pow(2);
    let scaled = u64::from(COMPONENT_AREA).saturating_mul(area);
    u32::try_from(scaled.saturating_add(published / 2) / published).unwrap_or(u32::MAX)
}

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

    #[test]
    fn the_component_area_is_a_share_of_the_slice() {
        let areas = [0, 16, 32, 48, 64, 128, 240, 256].map(component_area_at);
        assert_eq!(areas, [0, 1, 3, 6, 10, 40, 141, 160]);
        assert_eq!(component_area_at(usize::MAX), u32::MAX);
    }
}
