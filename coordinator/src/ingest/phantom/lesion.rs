//! Lesions: irregular blobs with soft edges, of varied size, in the deep white matter of either side, at any height.

use anofpdm_common::random::Stream;

use super::anatomy::reach;
use super::smooth::{Field, ease};

/// Share of subjects without any.
const HEALTHY: f64 = 0.15;

/// Height of a head, of which persons differ by little.
const HEAD: f64 = 0.92;

/// Height of the highest and lowest centres.
const END: f64 = 0.86;

/// Width of the soft edge, as a part of the radius.
const EDGE: f64 = 0.22;

/// How strongly the outline departs from an ellipsoid.
const ROUGHNESS: f64 = 0.22;

/// How much of a voxel is lesion, and how much of that its core.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Share {
    pub(super) lesion: f64,
    pub(super) core: f64,
}

/// Draws `place` in [-1, 1] towards both ends: to the power of 3/4.
///
/// A lesion at an end reaches fewer slices than one in the middle, so there are to be more of them. Slices near the ends
/// then show a lesion as often as those in the middle, and neither a slice's place nor the area of its brain says
/// whether it does.
fn towards_ends(place: f64) -> f64 {
    let root = place.abs().sqrt();
    (root * root.sqrt()).copysign(place)
}

struct Blob {
    centre: [f64; 3],
    radii: [f64; 3],
    core: f64,
}

pub(super) struct Lesions {
    blobs: Vec<Blob>,
    outline: Field,
}

impl Lesions {
    pub(super) fn new(stream: &mut Stream) -> Self {
        let outline = Field::new(stream, 7);
        let mut between = |low: f64, high: f64| low + (high - low) * stream.uniform();
        let healthy = between(0.0, 1.0) < HEALTHY;
        let two = between(0.0, 1.0) < 0.3;
        let count = if healthy { 0 } else { 1 + usize::from(two) };
        let first_side = if between(0.0, 1.0) < 0.5 { -1.0 } else { 1.0 };
        let blobs = (0..count)
            .map(|index| {
                // A second one lies on the other side and is smaller.
                let (side, size) = if index == 0 {
                    (first_side, 1.0)
                } else {
                    (-first_side, 0.6)
                };
                let height = END * towards_ends(between(-1.0, 1.0));
                // Slices become smaller towards the ends, and what lies in them alike.
                let width = reach(height / HEAD);
                let radius = size * width * between(0.22, 0.34);
                Blob {
                    centre: [
                        side * width * between(0.34, 0.46),
                        width * between(-0.45, 0.45),
                        height,
                    ],
                    radii: [
                        radius * between(0.8, 1.1),
                        radius * between(0.9, 1.35),
                        size * between(0.18, 0.36),
                    ],
                    core: between(0.25, 0.5),
                }
            })
            .collect();
        Self { blobs, outline }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.blobs.is_empty()
    }

    /// The lesion at a point `depth` below the surface of the brain.
    pub(super) fn share(&self, point: [f64; 3], depth: f64) -> Share {
        let mut share = Share {
            lesion: 0.0,
            core: 0.0,
        };
        for blob in &self.blobs {
            let [x, y, z] =
                [0, 1, 2].map(|axis| (point[axis] - blob.centre[axis]) / blob.radii[axis]);
            // Steeper towards head and feet: a lesion begins and ends within a few slices.
            let distance = (x * x + y * y + z * z * z * z).sqrt();
            if distance > 2.0 {
                continue;
            }
            let distance = distance * (1.0 + ROUGHNESS * self.outline.at(point));
            let lesion = ease((1.0 - distance) / EDGE + 0.5);
            if lesion > share.lesion {
                share = Share {
                    lesion,
                    core: ease((blob.core - distance) / 0.2 + 0.5),
                };
            }
        }
        // It ends where the brain does.
        share.lesion *= ease(depth / 0.06);
        share
    }
}
