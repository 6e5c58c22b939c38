//! Whose scan it is: the patient in the name of a subject, where the name says that it is one scan of several.
//!
//! Only names whose meaning is published, or plain, are taken apart; any other name is a patient of its own.

/// BIDS entities that tell scans of one `sub-…` apart.
const SCANS: [&str; 8] = [
    "_ses-", "_run-", "_acq-", "_rec-", "_ce-", "_dir-", "_echo-", "_space-",
];

/// Words for a point in time; a number follows, with or without a separator.
const TIMES: [&str; 8] = [
    "ses",
    "session",
    "visit",
    "tp",
    "timepoint",
    "time",
    "fu",
    "followup",
];

/// The patient that the subject called `id` is a scan of: `id` itself, or a beginning of it.
///
/// | name | patient |
/// |---|---|
/// | `sub-X_ses-Y` | `sub-X` |
/// | `BraTS-GLI-00005-001` (BraTS 2023 and later) | `BraTS-GLI-00005` |
/// | `Brats18_TCIA01_131_1` (BraTS 2017 to 2019) | `Brats18_TCIA01_131` |
/// | `brats_tcia_pat123_0240` (BraTS 2013 to 2016) | `brats_tcia_pat123` |
/// | `UPENN-GBM-00001_21`, `UCSF-PDGM-0429_FU003d` | `UPENN-GBM-00001`, `UCSF-PDGM-0429` |
/// | `P7_tp2`, `P7-visit-2`, `P7_baseline` | `P7` |
pub fn patient_of(id: &str) -> &str {
    let lower = id.to_ascii_lowercase();
    let cut = bids(&lower)
        .or_else(|| challenge(&lower))
        .or_else(|| point_in_time(&lower))
        .filter(|cut| *cut > 0);
    // ASCII letters keep their places when lowered.
    cut.map_or(id, |cut| &id[..cut])
}

fn bids(id: &str) -> Option<usize> {
    if !id.starts_with("sub-") {
        return None;
    }
    SCANS.iter().filter_map(|entity| id.find(entity)).min()
}

/// Names of published glioma sets, whose last part counts a patient's scans.
fn challenge(id: &str) -> Option<usize> {
    if id.starts_with("brats-") {
        let (patient, scan) = id.rsplit_once('-')?;
        let (_, number) = patient.rsplit_once('-')?;
        return (digits(scan) && digits(number)).then_some(patient.len());
    }
    let (patient, scan) = id.rsplit_once('_')?;
    let (rest, number) = patient.rsplit_once('_').unwrap_or(("", patient));
    let counts = if id.starts_with("brats1") {
        digits(scan) && rest.contains('_')
    } else if id.starts_with("brats_") {
        digits(scan) && number.strip_prefix("pat").is_some_and(digits)
    } else if id.starts_with("upenn-gbm-") {
        digits(scan)
    } else if id.starts_with("ucsf-pdgm-") {
        scan.strip_prefix("fu")
            .is_some_and(|day| digits(day.strip_suffix('d').unwrap_or(day)))
    } else {
        false
    };
    counts.then_some(patient.len())
}

fn point_in_time(id: &str) -> Option<usize> {
    let start = |end: usize| id[..end].rfind(['_', '-']);
    let last = start(id.len())?;
    let word = &id[last + 1..];
    if matches!(word, "baseline" | "followup") {
        return Some(last);
    }
    let letters = word.trim_end_matches(|c: char| c.is_ascii_digit());
    if letters.len() < word.len() && TIMES.contains(&letters) {
        return Some(last);
    }
    let before = start(last)?;
    (digits(word) && TIMES.contains(&&id[before + 1..last])).then_some(before)
}

fn digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scans_of_one_patient() {
        for (id, patient) in [
            ("sub-2_ses-2", "sub-2"),
            ("sub-2_ses-01_run-1", "sub-2"),
            ("sub-r001s001_space-MNI152", "sub-r001s001"),
            ("BraTS-GLI-00005-001", "BraTS-GLI-00005"),
            ("BraTS-MEN-RT-0001-1", "BraTS-MEN-RT-0001"),
            ("Brats18_TCIA01_131_1", "Brats18_TCIA01_131"),
            ("BraTS19_2013_0_1", "BraTS19_2013_0"),
            ("brats_2013_pat0005_1", "brats_2013_pat0005"),
            ("brats_tcia_pat123_0240", "brats_tcia_pat123"),
            ("UPENN-GBM-00001_21", "UPENN-GBM-00001"),
            ("UCSF-PDGM-0429_FU003d", "UCSF-PDGM-0429"),
            ("P7_tp2", "P7"),
            ("P7_ses-2", "P7"),
            ("P7-visit-02", "P7"),
            ("100001_time1", "100001"),
            ("PatientID_0003_Timepoint_1", "PatientID_0003"),
            ("P7_Baseline", "P7"),
            ("Müller_visit2", "Müller"),
        ] {
            assert_eq!(patient_of(id), patient, "{id}");
        }
    }

    #[test]
    fn names_that_say_nothing_are_patients() {
        for id in [
            "BraTS20_Training_001",
            "BraTS2021_00000",
            "BraTS-GLI-00005",
            "phantom-007",
            "patient_12",
            "P_1",
            "P-01-02",
            "ms_patient07",
            "BRATS_001",
            "UCSF-PDGM-0004",
            "UPENN-GBM-00001",
            "sub-a",
            "sub-site1_001",
            "sub-r001s001",
            "scan7",
            "session_1",
            "visit2",
            "_ses-1",
            "",
            "時間1",
        ] {
            assert_eq!(patient_of(id), id, "{id}");
        }
    }
}
