//! The slices of a run: the store of its spec, split by patient, with the scored modalities resolved.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::OnceLock;

use anofpdm_common::ids::Digest;
use anofpdm_common::plan::{DataPlan, ExhibitPlan, SliceRef};
use anofpdm_common::random::{Domain, Stream};
use anofpdm_common::spec::{DataSpec, RunSpec, SpecError};
use anofpdm_common::store::location::Location;
use anofpdm_common::store::scaling::{Scaling, foreground};
use anofpdm_common::store::slices::{SliceStore, Split, StoreError, SubjectRecord};
use rayon::prelude::*;

use crate::ingest::patient::patient_of;
use crate::ingest::split::{Member, SplitError, SplitSource};
use crate::plan::exhibits;
use crate::plan::selection::{Selection, choose};
use crate::run::signals::Interrupted;
use crate::store_check::{self, GoOn};

/// Separates the permutation of the validation slices from that of the test slices.
const VALIDATION: u64 = 0;
const TEST: u64 = 1;
/// And that of the patients who are scored whole; 2 is that of the exhibits.
const WHOLE_PATIENTS: u64 = 3;

#[derive(Debug, thiserror::Error)]
pub enum DatasetError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{0}")]
    Interrupted(#[from] Interrupted),
    #[error("data.split: {0}")]
    Split(#[from] SplitError),
    #[error("{0}")]
    Spec(#[from] SpecError),
    #[error(
        "the {split} split has no subject{hint}; {subjects} subject(s) are in {store}: set data.split in the spec, or preprocess more"
    )]
    EmptySplit {
        split: &'static str,
        hint: &'static str,
        subjects: usize,
        store: Location,
    },
}

/// An open store with the patient split that holds for this run.
#[derive(Debug)]
pub struct Dataset {
    store: SliceStore,
    /// Subject ids in the store's order, with split and slice count.
    subjects: Vec<(String, Split, u32)>,
    /// For each subject the first one of the same patient.
    patients: Vec<u32>,
    scored: Vec<u32>,
    spec: DataSpec,
    /// Of the test slices, once they were asked for.
    lesions: OnceLock<Vec<exhibits::Candidate>>,
}

impl Dataset {
    /// Opens the store of `spec` and verifies all of it, unless `asked` to stop; relative paths count from `base`, the
    /// folder of the spec file.
    pub fn open(spec: &DataSpec, base: &Path, go_on: &GoOn<'_>) -> Result<Self, DatasetError> {
        let store = SliceStore::at(&spec.store.from_folder(base))?;
        store_check::verify(&store, go_on).map_err(|error| match error {
            StoreError::Stopped => {
                DatasetError::Interrupted(go_on().err().unwrap_or(Interrupted::Signal))
            }
            error => error.into(),
        })?;
        let manifest = store.manifest();
        let members: Vec<Member<'_>> = manifest
            .subjects
            .iter()
            .map(|subject| Member {
                id: &subject.id,
                patient: subject.patient(),
            })
            .collect();
        warn_of_old_store(&store);
        let splits: Vec<Split> = match &spec.split {
            None => manifest.subjects.iter().map(|s| s.split).collect(),
            Some(source) => {
                let source = SplitSource::read(source, base)?;
                let mut known = members.clone();
                known.extend(manifest.skipped.iter().map(|s| Member::alone(&s.id)));
                if let Some(strangers) = source.strangers(&known) {
                    tracing::warn!("data.split: {strangers}");
                }
                source.assign(&members, spec.seed)?
            }
        };
        let patients = patients(&members);
        let subjects = manifest
            .subjects
            .iter()
            .zip(splits)
            .map(|(subject, split)| {
                let slices = u32::try_from(subject.slices).unwrap_or(u32::MAX);
                (subject.id.clone(), split, slices)
            })
            .collect();
        let scored = scored_channels(&spec.scored, &manifest.modalities)?;
        Ok(Self {
            store,
            subjects,
            patients,
            scored,
            spec: spec.clone(),
            lesions: OnceLock::new(),
        })
    }

    pub fn store(&self) -> &SliceStore {
        &self.store
    }

    pub fn digest(&self) -> Digest {
        self.store.manifest().digest
    }

    /// Channel that raw intensities are read from: FLAIR, else the first modality.
    pub fn raw_channel(&self) -> usize {
        self.store
            .manifest()
            .modalities
            .iter()
            .position(|name| name == "flair")
            .unwrap_or(0)
    }

    /// Scaling to [-1, 1].
    pub const fn scaling(&self) -> Scaling {
        self.spec.scaling
    }

    /// Channels whose maps are averaged.
    pub fn scored(&self) -> &[u32] {
        &self.scored
    }

    /// The slices' origin, as plans carry it.
    pub fn plan(&self) -> DataPlan {
        DataPlan {
            digest: self.digest(),
            scaling: self.spec.scaling,
            scored: self.scored.clone(),
            subjects: self.subjects.iter().map(|(id, _, _)| id.clone()).collect(),
        }
    }

    /// The slices' origin for training: the training subjects only.
    pub fn training_plan(&self) -> Result<DataPlan, DatasetError> {
        let subjects: Vec<String> = self
            .subjects
            .iter()
            .filter(|(_, split, _)| *split == Split::Train)
            .map(|(id, _, _)| id.clone())
            .collect();
        if subjects.is_empty() {
            return Err(self.empty("train", ""));
        }
        Ok(DataPlan {
            subjects,
            ..self.plan()
        })
    }

    /// Refuses to exchange left and right where a training subject's file does not say where they are.
    ///
    /// # Errors
    /// [`DatasetError::Spec`] naming the first such subject; a subject file that cannot be read.
    pub fn check_left_right(&self) -> Result<(), DatasetError> {
        let images = self.store.images();
        for (index, _) in self.of_split(Split::Train) {
            let (id, _, _) = &self.subjects[index as usize];
            let found = images.subject(id)?.source().left_right();
            found.map_err(|reason| {
                SpecError::new(format!(
                    "augment is \"flip\", but where left and right are in the slices of '{id}' is not known: {reason}. Preprocess volumes whose headers say how they lie, or set augment = \"none\""
                ))
            })?;
        }
        Ok(())
    }

    /// The subjects that networks are neither trained nor scored on; none where the split has none.
    pub fn validation_subjects(&self) -> Vec<String> {
        self.subjects
            .iter()
            .filter(|(_, split, _)| *split == Split::Validation)
            .map(|(id, _, _)| id.clone())
            .collect()
    }

    pub fn validation(&self) -> Result<Selection, DatasetError> {
        let subjects = self.of_split(Split::Validation);
        if subjects.is_empty() {
            return Err(self.empty("validation", ""));
        }
        let asked = self.spec.validation_slices;
        Ok(choose(&subjects, asked, self.spec.seed, VALIDATION))
    }

    /// The slices to score: those of test subjects with a mask.
    ///
    /// # Errors
    /// [`DatasetError::EmptySplit`]; a subject file that cannot be read.
    pub fn test(&self) -> Result<Selection, DatasetError> {
        let all = self.of_split(Split::Test);
        if all.is_empty() {
            return Err(self.empty("test", ""));
        }
        let mut subjects = Vec::new();
        for (index, slices) in all {
            let (id, _, _) = &self.subjects[index as usize];
            if self.store.truth().mask(id, 0)?.is_some() {
                subjects.push((index, slices));
            } else {
                tracing::warn!(subject = id, "no mask: this test subject cannot be scored");
            }
        }
        if subjects.is_empty() {
            return Err(self.empty("test", " with a mask (scoring needs pixel truth)"));
        }
        let chosen = choose(&subjects, self.spec.test_slices, self.spec.seed, TEST);
        Ok(chosen.with(self.whole_patients(&subjects)))
    }

    /// All slices of `test_patients` patients, by a permutation of them.
    fn whole_patients(&self, subjects: &[(u32, u32)]) -> Vec<SliceRef> {
        let patients: Vec<u32> = subjects
            .iter()
            .map(|(subject, _)| self.patients[*subject as usize])
            .collect::<BTreeSet<u32>>()
            .into_iter()
            .collect();
        let order = Stream::new(self.spec.seed, Domain::SliceSelection, WHOLE_PATIENTS, 0)
            .permutation(patients.len());
        let whole: BTreeSet<u32> = order
            .into_iter()
            .take(self.spec.test_patients)
            .map(|index| patients[index as usize])
            .collect();
        let of_whole = subjects
            .iter()
            .filter(|(subject, _)| whole.contains(&self.patients[*subject as usize]));
        of_whole
            .flat_map(|&(subject, slices)| {
                (0..slices).map(move |position| SliceRef { subject, position })
            })
            .collect()
    }

    /// Foreground pixels of a slice: the mean of up to 64 of these.
    pub fn foreground(&self, slices: &[SliceRef]) -> Result<f64, DatasetError> {
        const SOME: usize = 64;
        let some: Vec<&SliceRef> = slices
            .iter()
            .step_by(slices.len().div_ceil(SOME).max(1))
            .collect();
        let images = self.store.images();
        let manifest = self.store.manifest();
        let (channels, pixels) = (manifest.modalities.len(), manifest.size * manifest.size);
        let counts = some.par_iter().map(|slice| {
            let mut image = Vec::new();
            let subject = images.subject(self.subject(**slice))?;
            subject.read_slice(slice.position as usize, &mut image)?;
            self.scaling().apply(&mut image, channels, pixels);
            let foreground = foreground(&image, channels, pixels);
            Ok(foreground.into_iter().filter(|inside| *inside).count())
        });
        let counts = counts.collect::<Result<Vec<usize>, DatasetError>>()?;
        Ok(counts.iter().sum::<usize>() as f64 / counts.len().max(1) as f64)
    }

    /// Which of the `test` slices of a run of `spec` are kept to be looked at.
    pub fn exhibits(&self, spec: &RunSpec, test: &[SliceRef]) -> Result<ExhibitPlan, DatasetError> {
        if !spec.report.any() {
            return Ok(ExhibitPlan::default());
        }
        let (steps, kept) = (spec.score.steps, spec.score.respacing.kept());
        let candidates = self.lesions(test)?;
        Ok(exhibits::choose(
            spec.report,
            &candidates,
            self.spec.seed,
            steps,
            kept,
        ))
    }

    /// Lesion sizes of the `test` slices, read once as long as these are the same.
    fn lesions(&self, test: &[SliceRef]) -> Result<Cow<'_, [exhibits::Candidate]>, DatasetError> {
        let known = self.lesions.get();
        let same = |known: &&Vec<exhibits::Candidate>| known.iter().map(|one| &one.slice).eq(test);
        if let Some(known) = known.filter(same) {
            return Ok(Cow::Borrowed(known));
        }
        let truth = self.store.truth();
        let candidates = test.par_iter().map(|slice| {
            let mask = truth.mask(self.subject(*slice), slice.position as usize)?;
            let lesion = mask.map_or(0, |mask| mask.iter().filter(|pixel| **pixel != 0).count());
            Ok(exhibits::Candidate {
                slice: *slice,
                patient: self.patient(*slice),
                lesion: u32::try_from(lesion).unwrap_or(u32::MAX),
            })
        });
        let candidates = candidates.collect::<Result<Vec<_>, DatasetError>>()?;
        Ok(match known {
            None => Cow::Borrowed(self.lesions.get_or_init(|| candidates)),
            Some(_) => Cow::Owned(candidates),
        })
    }

    /// Whether all of these slices have pixel labels.
    pub fn have_masks(&self, slices: &[SliceRef]) -> Result<bool, DatasetError> {
        let mut subjects: Vec<u32> = slices.iter().map(|slice| slice.subject).collect();
        subjects.sort_unstable();
        subjects.dedup();
        let truth = self.store.truth();
        for index in subjects {
            if truth.mask(&self.subjects[index as usize].0, 0)?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Patients of a split; several subjects may be scans of one.
    pub fn patients_of(&self, split: Split) -> usize {
        let members = self.patients.iter().zip(&self.subjects);
        let of_split = members.filter(|(_, (_, of, _))| *of == split);
        of_split
            .map(|(patient, _)| *patient)
            .collect::<BTreeSet<u32>>()
            .len()
    }

    pub fn subject(&self, slice: SliceRef) -> &str {
        &self.subjects[slice.subject as usize].0
    }

    /// The patient of a slice, as a number: several subjects may be scans of one. Intervals are over patients.
    pub fn patient(&self, slice: SliceRef) -> u32 {
        self.patients[slice.subject as usize]
    }

    /// The training subjects, as the store describes them.
    pub fn training_subjects(&self) -> Vec<&SubjectRecord> {
        let subjects = &self.store.manifest().subjects;
        self.of_split(Split::Train)
            .iter()
            .filter_map(|(index, _)| subjects.get(*index as usize))
            .collect()
    }

    pub fn training_slices(&self) -> u64 {
        self.of_split(Split::Train)
            .iter()
            .map(|(_, slices)| u64::from(*slices))
            .sum()
    }

    #[allow(clippy::cast_possible_truncation)]
    fn of_split(&self, wanted: Split) -> Vec<(u32, u32)> {
        self.subjects
            .iter()
            .enumerate()
            .filter(|(_, (_, split, _))| *split == wanted)
            .map(|(index, (_, _, slices))| (index as u32, *slices))
            .collect()
    }

    fn empty(&self, split: &'static str, hint: &'static str) -> DatasetError {
        DatasetError::EmptySplit {
            split,
            hint,
            subjects: self.subjects.len(),
            store: self.store.location().clone(),
        }
    }
}

/// For each member the index of the first one of the same patient.
fn patients(members: &[Member<'_>]) -> Vec<u32> {
    let mut first: BTreeMap<&str, u32> = BTreeMap::new();
    (0..)
        .zip(members)
        .map(|(index, member)| *first.entry(member.patient).or_insert(index))
        .collect()
}

/// Stores of earlier versions do not say which subjects are scans of one patient; their names may.
fn warn_of_old_store(store: &SliceStore) {
    let subjects = &store.manifest().subjects;
    let mut known = BTreeSet::new();
    let scan = subjects
        .iter()
        .filter(|subject| subject.patient.is_none())
        .find(|subject| !known.insert(patient_of(&subject.id)));
    if let Some(scan) = scan {
        tracing::warn!(
            store = %store.location(),
            "the store is of an earlier version, which took scans of one patient ('{}', '{}') for patients; preprocess it again",
            patient_of(&scan.id),
            scan.id,
        );
    }
}

fn scored_channels(names: &[String], modalities: &[String]) -> Result<Vec<u32>, SpecError> {
    let all = 0..u32::try_from(modalities.len()).unwrap_or(u32::MAX);
    if names.is_empty() {
        return Ok(all.collect());
    }
    names
        .iter()
        .map(|name| {
            all.clone()
                .zip(modalities)
                .find(|(_, modality)| *modality == name)
                .map(|(channel, _)| channel)
                .ok_or_else(|| {
                    SpecError::new(format!(
                        "data.scored names '{name}'; the store has {}",
                        modalities.join(", ")
                    ))
                })
        })
        .collect()
}
