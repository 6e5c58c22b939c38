//! What every number is, in a sentence and a formula.

use maud::{Markup, html};

/// Anchor, name, sentence, formula.
const ALL: [[&str; 4]; 22] = [
    [
        "mixed",
        "mixed, unhealthy",
        "Mixed: all test slices, one called healthy counting with an empty mask. Unhealthy: the slices with a lesion, with their mask whatever they are called.",
        "",
    ],
    [
        "dice",
        "DICE",
        "Overlap of mask and truth of each slice, then the mean over slices.",
        "(2 |P ∩ T| + 1e-6) / (|P| + |T| + 1e-6)",
    ],
    [
        "iou",
        "IoU",
        "The same with intersection over union.",
        "(|P ∩ T| + 1e-6) / (|P ∪ T| + 1e-6)",
    ],
    [
        "auprc",
        "AUPRC",
        "Average precision of all foreground pixels of the set-up together, by the score of the map before any threshold; equal scores are one step, nothing is interpolated.",
        "Σ (R_n − R_{n−1}) P_n",
    ],
    [
        "auprc_batch",
        "AUPRC/100",
        "Mean of that over batches of 100 slices in the order of the slice list, as the public code has it.",
        "",
    ],
    [
        "auroc",
        "AUROC",
        "Share of pairs of a lesion pixel and another in which the lesion pixel has the higher score. High beside few lesion pixels, whatever the map does: read it beside AUPRC.",
        "P(s₁ > s₀) + ½ P(s₁ = s₀)",
    ],
    [
        "fpr95",
        "FPR at 95 %",
        "Share of the other pixels above the highest score at which 95 % of the lesion pixels are found; lower is better.",
        "",
    ],
    [
        "precision",
        "precision",
        "Share of the predicted pixels that are right, all slices together.",
        "|P ∩ T| / |P|",
    ],
    [
        "recall",
        "recall",
        "Share of the true pixels that are found, all slices together.",
        "|P ∩ T| / |T|",
    ],
    [
        "lesion_f1",
        "lesion F1",
        "Of the components in all slices, each slice by itself (sides and corners connect): a lesion is found when one of its pixels is predicted, a predicted component without a pixel of the truth is spurious.",
        "2 TP / (2 TP + FN + FP)",
    ],
    [
        "hd95",
        "HD95",
        "In pixels of the run's images: the larger of the two 95th percentiles of the distances from the border of each mask to that of the other; mean over the slices in which both show something, and lower is better. Rows that leave other slices empty are of other slices.",
        "",
    ],
    [
        "best_dice",
        "⌈DICE⌉",
        "DICE with the one threshold for all slices that is best for it, chosen with the pixel labels of these very slices: what is lost by the threshold, and what by the map.",
        "max over θ of the mean DICE",
    ],
    [
        "w",
        "w",
        "Guidance strength: how far predictions are pushed towards healthy (Eq. 6).",
        "ε̂ = (1 + w) ε(x, t, h) − w ε(x, t, ∅)",
    ],
    [
        "ci",
        "[low, high]",
        "95 % interval of a bootstrap over patients: 10,000 resamples, the same for all rows, so that differences are of the same draws.",
        "",
    ],
    [
        "std",
        "±",
        "Sample standard deviation over noise seeds.",
        "",
    ],
    [
        "difference",
        "difference",
        "First row less second, of the numbers in the table; tests are over patients: sign-flip permutation and Wilcoxon's signed rank (zeros after Pratt), after Holm over all pairs of a set-up and metric.",
        "",
    ],
    [
        "cosine",
        "cosine, Cos_w",
        "Cosine of the sequences MSE^h and MSE^null (Eq. 18); a slice at or below the threshold Cos_w, found on validation slices from image-level labels, is called unhealthy.",
        "cos(MSE^h, MSE^null)",
    ],
    [
        "m_t",
        "M_t, t_e",
        "Divergence of guided and unguided prediction at a step (Eq. 12), and the step where it is largest (Eq. 21); maps are added up to there.",
        "t_e = argmax M_t",
    ],
    [
        "q_star",
        "Q*",
        "Threshold of a slice: a quantile of its map, the level by its M at t_e over M_max (Algorithm 1).",
        "",
    ],
    [
        "rank",
        "rank",
        "By the number in the table; by the mean of ranks within patients; by the number of rows that are significantly worse.",
        "",
    ],
    [
        "evaluations",
        "evaluations",
        "One slice through one network once; methods that share a walk share its cost, and each names all of it.",
        "",
    ],
    [
        "labels",
        "†",
        "A threshold or setting was chosen with pixel labels of the validation slices.",
        "",
    ],
];

pub(super) fn section() -> Markup {
    html! {
        section #definitions {
            h2 { "What the numbers are" }
            dl.definitions {
                @for [anchor, name, sentence, formula] in ALL {
                    div #(format!("def-{anchor}")) {
                        dt { (name) }
                        dd { (sentence) @if !formula.is_empty() { " " code { (formula) } } }
                    }
                }
            }
            p { "docs/statistics.md of the program says each to the last convention." }
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn anchors_are_different() {
        let mut anchors: Vec<&str> = super::ALL.iter().map(|one| one[0]).collect();
        anchors.sort_unstable();
        anchors.dedup();
        assert_eq!(anchors.len(), super::ALL.len());
    }
}
