//! The healthy brain: what share of a voxel is fluid, white and grey matter.
//!
//! Coordinates run over [-1, 1] along each axis of the grid: to the left, to the back, to the head.

use anofpdm_common::random::Stream;

use super::smooth::{Field, ease};

/// Shares of a voxel; they add up to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Tissue {
    pub(super) fluid: f64,
    pub(super) white: f64,
    pub(super) grey: f64,
}

impl Tissue {
    const WHITE: Self = Self {
        fluid: 0.0,
        white: 1.0,
        grey: 0.0,
    };

    fn towards_grey(self, share: f64) -> Self {
        let rest = 1.0 - share;
        Self {
            fluid: self.fluid * rest,
            white: self.white * rest,
            grey: self.grey * rest + share,
        }
    }

    fn towards_fluid(self, share: f64) -> Self {
        let rest = 1.0 - share;
        Self {
            fluid: self.fluid * rest + share,
            white: self.white * rest,
            grey: self.grey * rest,
        }
    }
}

/// How far a slice at `height` reaches, 1 in the middle and 0 at both ends (-1 and 1) of the head: slices stay full over
/// most of the height, and close quickly.
pub(super) fn reach(height: f64) -> f64 {
    let squared = height * height;
    (1.0 - squared * squared).max(0.0).sqrt().sqrt()
}

struct Ellipsoid {
    centre: [f64; 3],
    radii: [f64; 3],
}

impl Ellipsoid {
    /// 0 at the centre, 1 on the surface.
    fn distance(&self, [x, y, z]: [f64; 3]) -> f64 {
        let [u, v, w] = [
            (x - self.centre[0]) / self.radii[0],
            (y - self.centre[1]) / self.radii[1],
            (z - self.centre[2]) / self.radii[2],
        ];
        (u * u + v * v + w * w).sqrt()
    }

    /// 1 inside, 0 outside, over a soft edge.
    fn share(&self, point: [f64; 3]) -> f64 {
        ease((1.0 - self.distance(point)) / 0.25 + 0.5)
    }
}

pub(super) struct Anatomy {
    radii: [f64; 3],
    outline: Field,
    folds: Field,
    fine_folds: Field,
    sulci: Field,
    ventricles: Vec<Ellipsoid>,
    plexus: Vec<Ellipsoid>,
    nuclei: Vec<Ellipsoid>,
}

impl Anatomy {
    pub(super) fn new(stream: &mut Stream) -> Self {
        let mut vary = |value: f64, by: f64| value * (1.0 + by * (2.0 * stream.uniform() - 1.0));
        let radii = [vary(0.84, 0.04), vary(0.93, 0.03), vary(0.92, 0.03)];
        // Fluid spaces differ most from one person to the next.
        let width = vary(1.0, 0.35);
        let [length, height] = [vary(1.0, 0.12), vary(1.0, 0.12)];
        let mut ventricles = vec![Ellipsoid {
            centre: [0.0, 0.04, -0.12],
            radii: [0.025 * width, 0.13 * length, 0.16 * height],
        }];
        let mut plexus = Vec::new();
        let mut nuclei = Vec::new();
        for side in [-1.0, 1.0] {
            ventricles.push(Ellipsoid {
                centre: [side * 0.12, -0.04, 0.12],
                radii: [0.065 * width, 0.30 * length, 0.20 * height],
            });
            ventricles.push(Ellipsoid {
                centre: [side * 0.24, 0.27, 0.0],
                radii: [0.06 * width, 0.15 * length, 0.20 * height],
            });
            plexus.push(Ellipsoid {
                centre: [side * 0.2, 0.2, 0.06],
                radii: [0.035, 0.10, 0.10],
            });
            nuclei.push(Ellipsoid {
                centre: [side * 0.27, -0.08, -0.04],
                radii: [0.09, 0.18, 0.17],
            });
            nuclei.push(Ellipsoid {
                centre: [side * 0.13, 0.12, -0.1],
                radii: [0.09, 0.11, 0.11],
            });
        }
        Self {
            radii,
            outline: Field::new(stream, 4),
            folds: Field::new(stream, 13),
            fine_folds: Field::new(stream, 26),
            sulci: Field::new(stream, 16),
            ventricles,
            plexus,
            nuclei,
        }
    }

    /// How far a point lies below the surface, in half grid widths; negative outside the head.
    pub(super) fn depth(&self, point: [f64; 3]) -> f64 {
        let [x, y, z] = [
            point[0] / self.radii[0],
            point[1] / self.radii[1],
            point[2] / self.radii[2],
        ];
        if z.abs() >= 1.0 {
            return -1.0;
        }
        let radius = (x * x + y * y).sqrt() + 0.04 * self.outline.at(point);
        0.88 * (reach(z) - radius)
    }

    /// The tissue at a point `depth` below the surface.
    pub(super) fn tissue(&self, point: [f64; 3], depth: f64) -> Tissue {
        let folds = self.folds.at(point) + 0.5 * self.fine_folds.at(point);
        let ribbon = 0.25 + 0.24 * folds;
        let cortex = ease((ribbon - depth) / 0.04 + 0.5);
        let mut tissue = Tissue::WHITE.towards_grey(cortex);

        // Sulci: thin sheets of fluid where the field changes sign, near the surface.
        let sheet = ease((0.09 - self.sulci.at(point).abs()) / 0.08);
        tissue = tissue.towards_fluid(0.9 * sheet * ease((0.17 - depth) / 0.08));
        let fissure = ease((0.018 - point[0].abs()) / 0.012) * ease((0.42 - depth) / 0.06);
        tissue = tissue.towards_fluid(0.9 * fissure);

        for nucleus in &self.nuclei {
            tissue = tissue.towards_grey(nucleus.share(point));
        }
        for ventricle in &self.ventricles {
            // A bright rim lines the ventricles, as the ependyma does on FLAIR.
            let distance = ventricle.distance(point);
            tissue = tissue.towards_grey(0.8 * ease((1.45 - distance) / 0.25));
            tissue = tissue.towards_fluid(ease((1.0 - distance) / 0.25 + 0.5));
        }
        for plexus in &self.plexus {
            tissue = tissue.towards_grey(plexus.share(point));
        }
        tissue
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anofpdm_common::random::Domain;

    #[test]
    fn shares_add_up_and_the_middle_is_where_it_belongs() {
        let anatomy = Anatomy::new(&mut Stream::new(3, Domain::Phantom, 1, 0));
        for i in -9..=9 {
            for j in -9..=9 {
                let point = [f64::from(i) / 10.0, f64::from(j) / 10.0, 0.1];
                let Tissue { fluid, white, grey } = anatomy.tissue(point, anatomy.depth(point));
                assert!((fluid + white + grey - 1.0).abs() < 1e-12);
                assert!(fluid >= 0.0 && white >= 0.0 && grey >= 0.0);
            }
        }
        let ventricle = [0.12, -0.04, 0.12];
        assert!(anatomy.tissue(ventricle, anatomy.depth(ventricle)).fluid > 0.9);
        assert!(anatomy.depth([0.0, 0.0, 0.0]) > 0.5);
        assert!(anatomy.depth([0.99, 0.99, 0.0]) < 0.0);
        assert!(anatomy.depth([0.0, 0.0, 0.99]) < 0.0);
    }
}
