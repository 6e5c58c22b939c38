//! One anomaly map of one guidance strength, built while the walk goes on.
//!
//! The end step t_e is the first maximum of M, known only after the last step. A snapshot at every
//! new maximum gives the same map without keeping the steps: memory does not grow with them.

use anofpdm_common::method::MapKind;
use anofpdm_common::semantics::Aggregation;
use tch::{Device, Kind, Tensor};

/// What a step contributes to a map, f32 `[N, m, H, W]`.
#[derive(Debug)]
pub(super) struct Contributions<'a> {
    /// S = (HGP - x0)^2 (Eq. 19).
    pub squared_error: &'a Tensor,
    /// (HGP - UGP)^2.
    pub squared_difference: &'a Tensor,
    /// B_t (1 + w).
    pub gradient_factor: f64,
}

impl Contributions<'_> {
    fn of(&self, kind: MapKind) -> Tensor {
        match kind {
            MapKind::Aam | MapKind::Ste => self.squared_error.shallow_clone(),
            MapKind::GradientWeighted => self.squared_difference.shallow_clone(),
            MapKind::Gradient | MapKind::GradientTe => {
                self.squared_difference / (self.gradient_factor * self.gradient_factor)
            }
        }
    }
}

/// Whether a map is the mean of all steps up to the end, or the last of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pooling {
    Mean,
    Last,
}

const fn pooling(kind: MapKind) -> Pooling {
    match kind {
        MapKind::Aam | MapKind::Gradient | MapKind::GradientWeighted => Pooling::Mean,
        MapKind::Ste | MapKind::GradientTe => Pooling::Last,
    }
}

/// A finished map.
#[derive(Debug)]
pub struct AnomalyMap {
    /// f32 `[N, m, H, W]`. NaN where no step is averaged (t_e = 0 with the end step excluded).
    pub map: Tensor,
    /// What index 0 contributed, f32 `[N, m, H, W]`: stands in for a NaN map. Present where the
    /// semantics can leave a map undefined.
    pub first: Option<Tensor>,
}

impl AnomalyMap {
    /// The same in host memory.
    #[must_use]
    pub(super) fn on_host(self) -> Self {
        Self {
            map: self.map.to_device(Device::Cpu),
            first: self.first.map(|first| first.to_device(Device::Cpu)),
        }
    }

    /// The map with index 0 in place of undefined entries: what a scoring run stores.
    pub fn defined(&self) -> Tensor {
        match &self.first {
            None => self.map.shallow_clone(),
            Some(first) => first.where_self(&self.map.isnan(), &self.map),
        }
    }
}

/// One map under construction.
#[derive(Debug)]
pub(super) struct EndMap {
    kind: MapKind,
    aggregation: Aggregation,
    /// Sum (or last) of the contributions so far.
    running: Tensor,
    /// `running` at the last new maximum.
    taken: Tensor,
    first: Option<Tensor>,
}

impl EndMap {
    /// `like` is f32 `[N, m, H, W]`.
    pub(super) fn new(kind: MapKind, aggregation: Aggregation, like: &Tensor) -> Self {
        let running = match pooling(kind) {
            Pooling::Mean => like.zeros_like(),
            // Nothing comes before index 0.
            Pooling::Last => like.full_like(f64::NAN),
        };
        Self {
            kind,
            aggregation,
            taken: running.shallow_clone(),
            running,
            first: None,
        }
    }

    pub(super) const fn kind(&self) -> MapKind {
        self.kind
    }

    /// One step; `better` (bool `[N, m, 1, 1]`) is where M reached a new maximum at it.
    pub(super) fn push(&mut self, step: &Contributions<'_>, better: &Tensor) {
        let value = step.of(self.kind);
        match self.aggregation {
            Aggregation::EndIncluded => {
                self.advance(&value);
                self.take(better);
            }
            Aggregation::EndExcluded => {
                self.take(better);
                self.advance(&value);
                self.first.get_or_insert(value);
            }
        }
    }

    fn advance(&mut self, value: &Tensor) {
        self.running = match pooling(self.kind) {
            Pooling::Mean => &self.running + value,
            Pooling::Last => value.shallow_clone(),
        };
    }

    fn take(&mut self, better: &Tensor) {
        self.taken = self.running.where_self(better, &self.taken);
    }

    /// The map for end steps `end` (i64 `[N, m]`).
    pub(super) fn finish(self, end: &Tensor) -> AnomalyMap {
        let map = match pooling(self.kind) {
            Pooling::Mean => self.taken / spread(&averaged_steps(end, self.aggregation)),
            Pooling::Last => self.taken,
        };
        AnomalyMap {
            map,
            first: self.first,
        }
    }
}

/// How many steps Eq. 20 averages for end steps `end` (i64).
pub(super) fn averaged_steps(end: &Tensor, aggregation: Aggregation) -> Tensor {
    match aggregation {
        Aggregation::EndIncluded => end + 1,
        Aggregation::EndExcluded => end.shallow_clone(),
    }
}

/// `[N, m]` to f32 `[N, m, 1, 1]`.
pub(super) fn spread(counts: &Tensor) -> Tensor {
    counts.to_kind(Kind::Float).unsqueeze(-1).unsqueeze(-1)
}
