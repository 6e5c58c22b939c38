//! The three tables of a report and the types of their columns.

/// What a field is. Numbers may be undefined, texts and truth values may not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Boolean,
    Integer,
    Double,
}

use Kind::{Boolean, Double, Integer, Text};

type Column = (&'static str, Kind);

/// A table of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Table {
    /// Of its files, without what stands behind the dot.
    pub(super) name: &'static str,
    columns: &'static [Column],
    /// Starts of the names of columns that there may be one of for each modality.
    of_modalities: &'static [Column],
}

pub(super) const RESULTS: Table = Table {
    name: "results",
    columns: &[
        ("run", Text),
        ("method", Text),
        ("w", Double),
        ("setup", Text),
        ("seed", Integer),
        ("metric", Text),
        ("value", Double),
        ("low", Double),
        ("high", Double),
        ("n", Integer),
    ],
    of_modalities: &[],
};

pub(super) const PATIENTS: Table = Table {
    name: "patients",
    columns: &[
        ("run", Text),
        ("patient", Text),
        ("setup", Text),
        ("slices", Integer),
        ("whole", Boolean),
        ("truth", Integer),
        ("method", Text),
        ("w", Double),
        ("dice", Double),
        ("iou", Double),
        ("auprc", Double),
        // A mean over seeds.
        ("predicted", Double),
    ],
    of_modalities: &[],
};

pub(super) const SLICES: Table = Table {
    name: "slices",
    columns: &[
        ("patient", Text),
        ("subject", Text),
        ("slice", Integer),
        ("unhealthy", Boolean),
        ("brain", Integer),
        ("method", Text),
        ("w", Double),
        ("seed", Integer),
        ("called_unhealthy", Boolean),
        ("predicted", Integer),
        ("truth", Integer),
        ("intersection", Integer),
        ("dice", Double),
        ("iou", Double),
        ("hd95", Double),
        ("lesions", Integer),
        ("lesions_found", Integer),
        ("components", Integer),
        ("components_spurious", Integer),
        ("ap", Double),
        ("cosine", Double),
        ("q_star", Double),
    ],
    of_modalities: &[("t_e_", Integer), ("m_te_", Double), ("level_", Integer)],
};

impl Table {
    /// What a column of this name is; `None` for one that the table does not have.
    pub(super) fn kind(&self, column: &str) -> Option<Kind> {
        let named = self.columns.iter().find(|(name, _)| *name == column);
        let of_modality = || {
            let mut starts = self.of_modalities.iter();
            starts.find(|(start, _)| column.len() > start.len() && column.starts_with(start))
        };
        named.or_else(of_modality).map(|(_, kind)| *kind)
    }
}
