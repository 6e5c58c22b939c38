//! The numbers of volumes as a table for people.

use super::evaluation::{MeanOver, SliceNumbers, VolumeEvaluation};

/// Cases that are listed; the rest is in the JSON.
const LISTED: usize = 20;

/// The table: fractions, HD95 in millimetres, with 95 % intervals and what they are of.
pub fn table(found: &VolumeEvaluation) -> String {
    let mut text = format!(
        "{} volumes of {} patients\n\n{:<12}{:>26}{:>26}\n",
        found.volumes, found.patients, "slices", "mixed", "unhealthy"
    );
    let of_slices = [&found.mixed, &found.unhealthy];
    let mut line = |name: &str, of: &dyn Fn(&SliceNumbers) -> String| {
        let [mixed, unhealthy] = of_slices.map(of);
        text += &format!("{name:<12}{mixed:>26}{unhealthy:>26}\n");
    };
    line("dice", &|slices| bounded(&slices.dice, 4));
    line("iou", &|slices| bounded(&slices.iou, 4));
    line("precision", &|slices| plain(slices.precision));
    line("recall", &|slices| plain(slices.recall));
    for (name, of) in [
        (
            "auprc",
            (|slices| slices.auprc) as fn(&SliceNumbers) -> Option<MeanOver>,
        ),
        ("auroc", |slices| slices.auroc),
    ] {
        if of_slices.into_iter().any(|slices| of(slices).is_some()) {
            line(name, &|slices| {
                of(slices).map_or("-".to_owned(), |value| bounded(&value, 4))
            });
        }
    }
    line("slices", &|slices| slices.slices.to_string());
    let volume = &found.volume;
    text += &format!("\n{:<12}{:>26}{:>10}\n", "volumes", "", "n");
    for (name, value, digits) in [
        ("dice (3-D)", &volume.dice, 4),
        ("hd95, mm", &volume.hd95, 2),
        ("lesion F1", &volume.lesion_f1, 4),
    ] {
        text += &format!("{name:<12}{:>26}{:>10}\n", bounded(value, digits), value.n);
    }
    let correlation = volume.correlation;
    text += &format!(
        "{:<12}{:>26}{:>10}\n",
        "volume r",
        plain(correlation.pearson),
        correlation.patients
    );
    let lesions = volume.lesions;
    text += &format!(
        "\n{} of {} lesions found, {} of {} components spurious\n",
        lesions.found, lesions.truth, lesions.spurious, lesions.predicted
    );
    if found.empty > 0 {
        text += &format!(
            "{} volumes are empty in truth and prediction: DICE 1 each\n",
            found.empty
        );
    }
    text += &format!(
        "\n{:<24}{:>8}{:>12}{:>12}{:>10}{:>10}{:>12}{:>12}\n",
        "case", "slices", "slice dice", "dice (3-D)", "hd95", "F1", "truth ml", "found ml"
    );
    for case in found.cases.iter().take(LISTED) {
        let hd95 = case.hd95.map_or("-".to_owned(), |mm| format!("{mm:.2}"));
        text += &format!(
            "{:<24}{:>8}{:>12}{:>12}{hd95:>10}{:>10}{:>12.2}{:>12.2}\n",
            case.case,
            case.slices,
            plain(case.slice_dice),
            plain(Some(case.dice)),
            plain(case.lesion_f1),
            case.truth_ml,
            case.predicted_ml
        );
    }
    if found.cases.len() > LISTED {
        text += &format!("… and {} more (--json)\n", found.cases.len() - LISTED);
    }
    text
}

fn plain(value: Option<f64>) -> String {
    value.map_or("-".to_owned(), |value| format!("{value:.4}"))
}

fn bounded(value: &MeanOver, digits: usize) -> String {
    let Some(mean) = value.mean else {
        return "-".to_owned();
    };
    match value.ci95 {
        Some([low, high]) => format!("{mean:.digits$} [{low:.digits$}, {high:.digits$}]"),
        None => format!("{mean:.digits$}"),
    }
}
