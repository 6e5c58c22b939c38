//! Noise schedules: linear betas, their products, and strided ("respaced") versions.

use std::str::FromStr;

/// Which steps of the full schedule are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Respacing {
    None,
    /// The schedule is cut into as many equal sections as there are numbers, and from each section
    /// that many steps are kept, evenly spread with both ends.
    Sections(Vec<usize>),
    /// Every k-th step from 0, with the k that leaves this many.
    Ddim(usize),
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    #[error(
        "unknown respacing '{0}': none, a number of kept steps (50), sections (10,15,20) or ddimN"
    )]
    Respacing(String),
    #[error("a schedule needs at least 1 step")]
    Empty,
    #[error("respacing asks for {asked} steps of a section of {available}")]
    TooMany { asked: usize, available: usize },
    #[error("respacing ddim{asked}: no whole stride keeps exactly {asked} of {steps} steps")]
    NoStride { asked: usize, steps: usize },
}

impl FromStr for Respacing {
    type Err = ScheduleError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || ScheduleError::Respacing(text.to_owned());
        if text.is_empty() || text == "none" {
            return Ok(Self::None);
        }
        if let Some(number) = text.strip_prefix("ddim") {
            return number.parse().map(Self::Ddim).map_err(|_| wrong());
        }
        text.split(',')
            .map(|part| part.trim().parse().map_err(|_| wrong()))
            .collect::<Result<Vec<usize>, _>>()
            .map(Self::Sections)
    }
}

/// A spec offers the first two kinds only.
impl From<anofpdm_common::spec::Respacing> for Respacing {
    fn from(spec: anofpdm_common::spec::Respacing) -> Self {
        use anofpdm_common::spec::Respacing as Spec;
        match spec {
            Spec::None => Self::None,
            Spec::Steps(count) => Self::Sections(vec![count as usize]),
        }
    }
}

impl std::fmt::Display for Respacing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Ddim(count) => write!(f, "ddim{count}"),
            Self::Sections(counts) => {
                let words: Vec<String> = counts.iter().map(ToString::to_string).collect();
                f.write_str(&words.join(","))
            }
        }
    }
}

impl Respacing {
    /// Kept indices of a schedule of `steps`, ascending.
    fn kept(&self, steps: usize) -> Result<Vec<usize>, ScheduleError> {
        match self {
            Self::None => Ok((0..steps).collect()),
            Self::Ddim(asked) => (1..steps.max(2))
                .find(|stride| steps.div_ceil(*stride) == *asked)
                .map(|stride| (0..steps).step_by(stride).collect())
                .ok_or(ScheduleError::NoStride {
                    asked: *asked,
                    steps,
                }),
            Self::Sections(counts) => kept_in_sections(counts, steps),
        }
    }
}

/// Splits `steps` into sections (the first ones longer where they do not divide) and spreads each
/// count over its section. Rounds halves to even, as the public implementation does.
#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss
)] // step numbers are small and non-negative
fn kept_in_sections(counts: &[usize], steps: usize) -> Result<Vec<usize>, ScheduleError> {
    if counts.is_empty() {
        return Err(ScheduleError::Empty);
    }
    let (length, longer) = (steps / counts.len(), steps % counts.len());
    let mut start = 0;
    let mut kept = Vec::new();
    for (section, &count) in counts.iter().enumerate() {
        let size = length + usize::from(section < longer);
        if count > size {
            return Err(ScheduleError::TooMany {
                asked: count,
                available: size,
            });
        }
        let stride = if count <= 1 {
            1.0
        } else {
            (size - 1) as f64 / (count - 1) as f64
        };
        let mut position = 0.0_f64;
        for _ in 0..count {
            kept.push(start + position.round_ties_even() as usize);
            position += stride;
        }
        start += size;
    }
    kept.dedup();
    Ok(kept)
}

/// A noise schedule in kept indices `0 .. len()`; everything in float64.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    betas: Vec<f64>,
    alpha_bar: Vec<f64>,
    posterior_variance: Vec<f64>,
    timestep_map: Vec<i64>,
}

impl Schedule {
    /// The linear schedule of `steps` (beta from `0.1 / steps` to `20 / steps`, 1e-4 to 0.02 at
    /// 1000) with the steps that `respacing` keeps. Betas are recomputed from the kept alpha_bar.
    ///
    /// # Errors
    /// When no step is left, or the respacing asks for more than there are.
    pub fn linear(steps: usize, respacing: &Respacing) -> Result<Self, ScheduleError> {
        let full = linear_betas(steps);
        let full_alpha_bar = cumulative_products(&full);
        let kept = respacing.kept(steps)?;
        if kept.is_empty() {
            return Err(ScheduleError::Empty);
        }
        let mut betas = Vec::with_capacity(kept.len());
        let mut timestep_map = Vec::with_capacity(kept.len());
        let mut last = 1.0;
        for index in kept {
            let (Some(&alpha_bar), Ok(time)) = (full_alpha_bar.get(index), i64::try_from(index))
            else {
                continue;
            };
            betas.push(1.0 - alpha_bar / last);
            timestep_map.push(time);
            last = alpha_bar;
        }
        let alpha_bar = cumulative_products(&betas);
        let posterior_variance = posterior_variance(&betas, &alpha_bar);
        Ok(Self {
            betas,
            alpha_bar,
            posterior_variance,
            timestep_map,
        })
    }

    pub fn len(&self) -> usize {
        self.alpha_bar.len()
    }

    /// Never: a schedule has at least one step.
    pub fn is_empty(&self) -> bool {
        self.alpha_bar.is_empty()
    }

    /// beta of every kept index (Eq. 1).
    pub fn betas(&self) -> &[f64] {
        &self.betas
    }

    /// alpha_bar of every kept index (Eq. 2).
    pub fn alpha_bars(&self) -> &[f64] {
        &self.alpha_bar
    }

    /// alpha_bar at `index`; 0 beyond the last one, where only noise is left.
    pub fn alpha_bar(&self, index: usize) -> f64 {
        self.alpha_bar.get(index).copied().unwrap_or(0.0)
    }

    /// B_t = (1 - alpha_bar) / sqrt(alpha_bar) at `index`: the factor between a gradient of
    /// log p(h | x_t) and the change of x0 it causes: gradient maps (Table 3) are divided by it.
    pub fn gradient_factor(&self, index: usize) -> f64 {
        let alpha_bar = self.alpha_bar(index);
        (1.0 - alpha_bar) / alpha_bar.sqrt()
    }

    /// Time the network is given at `index`.
    ///
    /// # Panics
    /// When `index` is past the schedule: callers compare the number of steps with
    /// [`Schedule::len`] first.
    pub fn network_time(&self, index: usize) -> i64 {
        self.timestep_map[index]
    }

    /// The paper's t at `index`, from 1, as figures and tables print it: one more than the time that the network is given.
    ///
    /// # Panics
    /// As [`Schedule::network_time`].
    pub fn paper_time(&self, index: usize) -> i64 {
        self.network_time(index) + 1
    }

    /// Variance of q(x_{t-1} | x_t, x_0) at every kept index (Eq. 3).
    pub fn posterior_variances(&self) -> &[f64] {
        &self.posterior_variance
    }

    /// Time given to the network at every kept index.
    pub fn timestep_map(&self) -> &[i64] {
        &self.timestep_map
    }
}

/// As numpy's linspace computes it: `start + i step`, the last value exact.
#[allow(clippy::cast_precision_loss)] // step numbers are small
fn linear_betas(steps: usize) -> Vec<f64> {
    let scale = 1000.0 / steps as f64;
    let (start, end) = (scale * 0.0001, scale * 0.02);
    let stride = (end - start) / (steps.max(2) - 1) as f64;
    (0..steps)
        .map(|i| {
            if i > 0 && i + 1 == steps {
                end
            } else {
                i as f64 * stride + start
            }
        })
        .collect()
}

fn cumulative_products(betas: &[f64]) -> Vec<f64> {
    betas
        .iter()
        .scan(1.0, |product, beta| {
            *product *= 1.0 - beta;
            Some(*product)
        })
        .collect()
}

fn posterior_variance(betas: &[f64], alpha_bar: &[f64]) -> Vec<f64> {
    let previous = std::iter::once(&1.0).chain(alpha_bar);
    betas
        .iter()
        .zip(alpha_bar)
        .zip(previous)
        .map(|((beta, alpha_bar), previous)| beta * (1.0 - previous) / (1.0 - alpha_bar))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn respacing_words() {
        for text in ["none", "50", "10,15,20", "ddim25"] {
            assert_eq!(text.parse::<Respacing>().unwrap().to_string(), text);
        }
        for wrong in ["x", "ddim", "10,,20", "-5", "1.5"] {
            assert!(wrong.parse::<Respacing>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn impossible_respacings() {
        let too_many = Schedule::linear(100, &Respacing::Sections(vec![101]));
        assert_eq!(
            too_many,
            Err(ScheduleError::TooMany {
                asked: 101,
                available: 100
            })
        );
        assert!(Schedule::linear(1000, &Respacing::Ddim(999)).is_err());
        assert!(Schedule::linear(1000, &Respacing::Sections(vec![0])).is_err());
        assert!(Schedule::linear(0, &Respacing::None).is_err());
    }

    #[test]
    fn without_respacing_the_map_is_the_identity() {
        let schedule = Schedule::linear(1000, &Respacing::None).unwrap();
        assert!(schedule.timestep_map().iter().copied().eq(0..1000));
        assert!((schedule.betas()[0] - 1e-4).abs() < 1e-15);
        assert!((schedule.betas()[999] - 0.02).abs() < 1e-12);
    }
}
