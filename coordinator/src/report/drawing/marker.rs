//! Forms of dots, so that no series is told by its colour alone.

use super::Place;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Marker {
    Circle,
    Square,
    Triangle,
    Diamond,
    Turned,
    Pentagon,
}

impl Marker {
    pub const ALL: [Self; 6] = [
        Self::Circle,
        Self::Square,
        Self::Triangle,
        Self::Diamond,
        Self::Turned,
        Self::Pentagon,
    ];

    /// Corners around `at`; none of a circle.
    pub fn corners(self, [x, y]: Place, radius: f64) -> Vec<Place> {
        let (corners, first, size) = match self {
            Self::Circle => return Vec::new(),
            Self::Square => (4, 45.0, 1.25),
            Self::Triangle => (3, 90.0, 1.3),
            Self::Diamond => (4, 90.0, 1.3),
            Self::Turned => (3, 270.0, 1.3),
            Self::Pentagon => (5, 90.0, 1.15),
        };
        let step = 360.0 / f64::from(corners);
        (0..corners)
            .map(|corner| {
                let angle = (first + step * f64::from(corner)).to_radians();
                let away = radius * size;
                [x + away * angle.cos(), y - away * angle.sin()]
            })
            .collect()
    }
}
