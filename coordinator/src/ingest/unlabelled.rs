//! One volume without labels into a slice store of its own, made as the slices of another store were.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anofpdm_common::ids::Digest;
use anofpdm_common::store::slices::{
    SliceStore, Split, StoreError, StoreWriter, SubjectRecord, is_plain_name,
};

use super::convert::{ChosenFiles, Conversion, SkipReason, convert};
use super::volume::{Orientation, Volume, VolumeError};

/// Subjects of the other store that are looked at.
const LOOKED_AT: usize = 50;

#[derive(Debug, thiserror::Error)]
pub enum UnlabelledError {
    #[error("no file for modality '{missing}'; the run's slices have {}", .all.join(", "))]
    Missing { missing: String, all: Vec<String> },
    #[error("the run's slices have no modality '{unknown}'; they have {}", .all.join(", "))]
    Unknown { unknown: String, all: Vec<String> },
    #[error("modality '{0}' is given twice")]
    Twice(String),
    #[error("'{0}' cannot be the name of a subject")]
    Name(String),
    #[error(
        "{file}: its header states no axes (the codes of sform and qform are 0), so which way it faces cannot be told; save \
         it with the affine of the scan that it came from"
    )]
    Unplaced { file: PathBuf },
    #[error("{file} {source}")]
    Volume { file: PathBuf, source: VolumeError },
    #[error("the run's store holds no subject")]
    NoSubject,
    #[error(transparent)]
    Convert(#[from] SkipReason),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Files by modality, in the order of `modalities`: each once, none missing, none over.
pub fn in_order(
    inputs: &[(String, PathBuf)],
    modalities: &[String],
) -> Result<Vec<PathBuf>, UnlabelledError> {
    let mut files: BTreeMap<&str, &PathBuf> = BTreeMap::new();
    for (modality, file) in inputs {
        if !modalities.contains(modality) {
            return Err(UnlabelledError::Unknown {
                unknown: modality.clone(),
                all: modalities.to_vec(),
            });
        }
        if files.insert(modality, file).is_some() {
            return Err(UnlabelledError::Twice(modality.clone()));
        }
    }
    modalities
        .iter()
        .map(|modality| {
            let file = files.get(modality.as_str()).copied();
            file.cloned().ok_or_else(|| UnlabelledError::Missing {
                missing: modality.clone(),
                all: modalities.to_vec(),
            })
        })
        .collect()
}

/// How the slices of `store` were made, as far as they tell: the direction of their axes, and whether slices that are not
/// square were padded. Where no slice tells, they are taken as those of `brats`.
pub fn conversion_of(store: &SliceStore) -> Result<Conversion, UnlabelledError> {
    let manifest = store.manifest();
    let mut conversion = Conversion {
        modalities: manifest.modalities.clone(),
        size: manifest.size,
        orientation: Orientation::Lps,
        pad: false,
    };
    if manifest.subjects.is_empty() {
        return Err(UnlabelledError::NoSubject);
    }
    for subject in manifest.subjects.iter().take(LOOKED_AT) {
        let images = store.images().subject(&subject.id)?;
        let source = images.source();
        let runs = |orientation: Orientation| orientation.axes(&source.affine) == source.axes;
        if runs(Orientation::Ras) && !runs(Orientation::Lps) {
            conversion.orientation = Orientation::Ras;
        }
        let [rows, columns, _] = source.axes.map(|map| source.shape.get(map.axis).copied());
        if rows != columns {
            conversion.pad = source.canvas[0] == source.canvas[1];
            break;
        }
    }
    Ok(conversion)
}

/// Converts the files, one a modality in the order of `conversion`, and writes them as the only subject of a new store in
/// `folder`. Returns what the user should know of them.
///
/// # Errors
/// When a file does not read, does not say which way it faces, or is refused as `preprocess` refuses it.
pub fn store_of(
    conversion: &Conversion,
    id: &str,
    files: Vec<PathBuf>,
    folder: &Path,
) -> Result<Vec<String>, UnlabelledError> {
    if !is_plain_name(id) {
        return Err(UnlabelledError::Name(id.to_owned()));
    }
    for file in &files {
        let stated = Volume::stated_affine(file).map_err(|source| UnlabelledError::Volume {
            file: file.clone(),
            source,
        })?;
        if stated.is_none() {
            return Err(UnlabelledError::Unplaced { file: file.clone() });
        }
    }
    let Some(first) = files.first() else {
        return Err(UnlabelledError::NoSubject);
    };
    let volume = Volume::read(first).map_err(|source| UnlabelledError::Volume {
        file: first.clone(),
        source,
    })?;
    let depth = conversion.orientation.axes(&volume.affine)[2].axis;
    // A store has labels; these say nothing, and what reads this store asks for none.
    let labels: BTreeMap<usize, u8> = (0..volume.shape[depth]).map(|slice| (slice, 0)).collect();
    drop(volume);
    let chosen = ChosenFiles {
        images: files,
        mask: None,
    };
    let data = convert(conversion, &chosen, Some(&labels))?;
    let writer = StoreWriter::create(folder, &conversion.modalities, conversion.size)?;
    let written = writer.write_subject(id, Digest::of(id.as_bytes()), &data)?;
    let record = SubjectRecord {
        id: id.to_owned(),
        patient: None,
        split: Split::Test,
        slices: written.slices,
        lesion_slices: written.lesion_slices,
        digest: written.digest,
    };
    writer.commit(vec![record], Vec::new())?;
    Ok(written.notices)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_put_into_the_order_of_the_run_by_name() {
        let names = |names: &[&str]| -> Vec<String> {
            names.iter().map(|name| (*name).to_owned()).collect()
        };
        let given = |all: &[&str]| -> Vec<(String, PathBuf)> {
            let each = all.iter();
            each.map(|name| ((*name).to_owned(), PathBuf::from(format!("{name}.nii"))))
                .collect()
        };
        let order = names(&["flair", "t1", "t2"]);
        let found = in_order(&given(&["t2", "flair", "t1"]), &order).unwrap();
        assert_eq!(found, ["flair.nii", "t1.nii", "t2.nii"].map(PathBuf::from));
        let error = |all: &[&str]| in_order(&given(all), &order).unwrap_err().to_string();
        assert!(error(&["t2", "flair"]).contains("no file for modality 't1'"));
        assert!(error(&["t2", "flair", "t1", "t1ce"]).contains("no modality 't1ce'"));
        assert!(error(&["t2", "flair", "t2"]).contains("twice"));
    }
}
