//! Whether an image's values are a raw magnitude, as everything after assumes: 0 outside the head, above 0 within.

use super::percentile::positive_percentile;

/// Volumes are divided by this percentile of their values above 0.
const PERCENT: f64 = 99.0;

/// The most that values below 0 may sum to, in parts of what those above 0 do. Interpolation leaves some at edges: at
/// most 2 % in thick slices. A volume that was z-scored or shifted has as much below 0 as above, or more.
const NEGATIVE_SHARE: f64 = 0.05;

/// A value this far below 0, in parts of the divisor, is no trace of interpolation.
const FAR_BELOW: f64 = 0.5;

/// The most that a value may be, in parts of the divisor. Beside it, tissue would fill a ten-thousandth of the range that
/// a slice is scaled to; single precision ends at 3.4e38.
const OUTLIER: f64 = 1e4;

/// The voxels above 0 of which so few reach a hundredth of the divisor, in parts of all, are no head: a hundredth reaches
/// the divisor itself by its definition.
const SPARSE: f64 = 0.03;

/// A voxel this bright, in parts of the divisor, dims all others of its slice.
const BRIGHT: f64 = 100.0;

#[derive(Debug, PartialEq, thiserror::Error)]
pub enum IntensityError {
    #[error("no voxel is above 0{}", if *.negative > 0 { " (they are below: give the volume as it was before normalisation)" } else { "" })]
    NoPositive { negative: usize },
    #[error(
        "{percent:.1} % of its voxels are below 0 (down to {}), as in z-scored or shifted volumes, and slices with \
         tissue would be taken for empty; give the volume as it was before normalisation, or add what makes the background \
         0 and tissue more",
        short(*.lowest)
    )]
    Negative { percent: f64, lowest: f64 },
    #[error(
        "its 99th percentile ({}) is a value of outliers: only {count} of {positive} voxels above 0 reach a hundredth of \
         it, and nothing would be left of the others; replace the outliers, e.g. numpy.clip",
        short(*.divisor)
    )]
    Sparse {
        divisor: f64,
        count: usize,
        positive: usize,
    },
    #[error(
        "above {OUTLIER} times its 99th percentile ({}) in {count} of {voxels} voxels, the highest {} at {voxel:?}; nothing \
         would be left of the tissue beside them: replace them, e.g. numpy.clip(data, 0, {})",
        short(*.divisor),
        short(*.highest),
        short(*.limit)
    )]
    Outlier {
        count: usize,
        voxels: usize,
        divisor: f64,
        highest: f64,
        voxel: [usize; 3],
        limit: f64,
    },
}

/// A value for a message: as single precision, which is what most voxels are stored in, so that no rounding is shown.
pub(super) fn short(value: f64) -> String {
    #[allow(clippy::cast_possible_truncation)]
    let value = value as f32;
    let plain = value == 0.0 || (1e-4..1e7).contains(&value.abs());
    if plain {
        value.to_string()
    } else {
        format!("{value:e}")
    }
}

/// What an image is divided by, and what its user should know.
#[derive(Debug, PartialEq)]
pub struct Intensities {
    /// 99th percentile of the values above 0.
    pub divisor: f64,
    /// For the user, where something is odd.
    pub notice: Option<String>,
}

impl Intensities {
    /// Of the values of a volume of `shape`, first axis fastest.
    pub fn of(values: &[f64], shape: [usize; 3]) -> Result<Self, IntensityError> {
        let negative = values.iter().filter(|x| **x < 0.0).count();
        let divisor =
            positive_percentile(values, PERCENT).ok_or(IntensityError::NoPositive { negative })?;
        let lowest = values.iter().copied().fold(0.0, f64::min);
        // In parts of the divisor, so that no sum is out of range.
        let sum = |sense: f64| {
            values
                .iter()
                .map(|x| (sense * x / divisor).max(0.0))
                .sum::<f64>()
        };
        if negative > 0 && sum(-1.0) > NEGATIVE_SHARE * sum(1.0) {
            #[allow(clippy::cast_precision_loss)]
            let percent = 100.0 * negative as f64 / values.len() as f64;
            return Err(IntensityError::Negative { percent, lowest });
        }
        let positive = values.iter().filter(|x| **x > 0.0).count();
        let count = values.iter().filter(|x| **x / divisor > 0.01).count();
        #[allow(clippy::cast_precision_loss)]
        let share = count as f64 / positive as f64;
        if share < SPARSE {
            return Err(IntensityError::Sparse {
                divisor,
                count,
                positive,
            });
        }
        let (place, highest) = (0..)
            .zip(values.iter().copied())
            .max_by(|a, b| a.1.total_cmp(&b.1))
            .unwrap_or((0, 0.0));
        let voxel = [
            place % shape[0],
            place / shape[0] % shape[1],
            place / (shape[0] * shape[1]),
        ];
        if highest / divisor > OUTLIER {
            return Err(IntensityError::Outlier {
                count: values.iter().filter(|x| **x / divisor > OUTLIER).count(),
                voxels: values.len(),
                divisor,
                highest,
                voxel,
                limit: 10.0 * divisor,
            });
        }
        let mut odd = Vec::new();
        if -lowest / divisor > FAR_BELOW {
            let count = values.iter().filter(|x| -**x / divisor > FAR_BELOW).count();
            odd.push(format!(
                "far below 0 in {count} of {} voxels (down to {}), which interpolation does not explain: padding, or numbers \
                 that ran over?",
                values.len(),
                short(lowest)
            ));
        }
        if highest / divisor > BRIGHT {
            odd.push(format!(
                "the voxel at {voxel:?} is {}, {:.0} times the 99th percentile: scaling by slice dims the rest of its \
                 slice",
                short(highest),
                highest / divisor
            ));
        }
        Ok(Self {
            divisor,
            notice: (!odd.is_empty()).then(|| odd.join("; ")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: [usize; 3] = [10, 10, 10];

    /// A tenth is head, of values 101 to 200.
    fn head(at: impl Fn(f64) -> f64) -> Vec<f64> {
        (0..1000_u16)
            .map(|n| {
                if n % 10 == 5 {
                    at(f64::from(101 + n / 10))
                } else {
                    0.0
                }
            })
            .collect()
    }

    fn error(values: &[f64]) -> String {
        Intensities::of(values, SHAPE).unwrap_err().to_string()
    }

    #[test]
    fn raw_values_have_their_percentile_and_no_notice() {
        // numpy.percentile(numpy.arange(101, 201), 99) = 199.01, numpy 2.4.6
        let found = Intensities::of(&head(|x| x), SHAPE).unwrap();
        assert!((found.divisor - 199.01).abs() < 1e-12);
        assert_eq!(found.notice, None);
    }

    #[test]
    fn normalised_volumes_are_refused_with_their_share() {
        // Mean 150.5 and standard deviation 28.866: z-scores of the head alone, of the head with the background at -3,
        // of all voxels, and values from -1 to 1.
        let z = |x: f64| (x - 150.5) / 28.866;
        for (what, values, words) in [
            (
                "head",
                head(z),
                "5.0 % of its voxels are below 0 (down to -1.71",
            ),
            (
                "background",
                head(|x| z(x) + 3.0).into_iter().map(|x| x - 3.0).collect(),
                "95.0 % of its voxels are below 0 (down to -3)",
            ),
            (
                "all",
                head(|x| x).into_iter().map(|x| x - 15.05).collect(),
                "90.0 % of its voxels",
            ),
            (
                "from -1 to 1",
                head(|x| x / 100.0).into_iter().map(|x| x - 1.0).collect(),
                "90.0 % of its voxels",
            ),
        ] {
            let error = error(&values);
            assert!(error.contains(words), "{what}: {error}");
            assert!(error.contains("before normalisation"), "{error}");
        }
        let error = error(&head(|x| -x));
        assert!(
            error.starts_with("no voxel is above 0 (they are below"),
            "{error}"
        );
        assert_eq!(super::tests::error(&[0.0; 1000]), "no voxel is above 0");
    }

    #[test]
    fn traces_of_interpolation_are_left_alone() {
        let mut values = head(|x| x);
        // Every voxel beside the head, 2 % of the edge: the sum is 2 % of the head's.
        for n in (0..1000).filter(|n| n % 10 == 6) {
            values[n] = -3.0;
        }
        let found = Intensities::of(&values, SHAPE).unwrap();
        assert!((found.divisor - 199.01).abs() < 1e-12);
        assert_eq!(found.notice, None);
    }

    #[test]
    fn single_voxels_that_no_head_has() {
        let mut values = head(|x| x);
        values[0] = -300.0;
        let notice = Intensities::of(&values, SHAPE).unwrap().notice.unwrap();
        assert!(
            notice.starts_with("far below 0 in 1 of 1000 voxels (down to -300)"),
            "{notice}"
        );

        // A value below which nothing of the head is left, at two of its hundred voxels.
        let error_of_two = error(&head(|x| if x > 198.0 { 3.4e38 } else { x }));
        assert_eq!(
            error_of_two,
            "its 99th percentile (3.4e38) is a value of outliers: only 2 of 100 voxels above 0 reach a hundredth of it, and \
             nothing would be left of the others; replace the outliers, e.g. numpy.clip"
        );

        let mut values = head(|x| x);
        values[321] = 50_000.0;
        let found = Intensities::of(&values, SHAPE).unwrap();
        let notice = found.notice.unwrap();
        assert!(
            notice.starts_with("the voxel at [1, 2, 3] is 50000, 2"),
            "{notice}"
        );

        values[321] = 3.4e38;
        let error = error(&values.iter().map(|x| x / 400.0).collect::<Vec<_>>());
        assert!(
            error.starts_with("above 10000 times its 99th percentile (0.5"),
            "{error}"
        );
        assert!(
            error.contains(") in 1 of 1000 voxels, the highest 8.5e35 at [1, 2, 3]"),
            "{error}"
        );
    }
}
