//! Algorithm 2: the guidance strength w*, from how well each candidate tells the validation slices apart.
//!
//! Each candidate's accuracy is that of its own threshold: Cos_w
//! ([`search_threshold`](super::classification::search_threshold), Eq. 18), or that on the ratio of the MSE sequences.

/// Algorithm 2 from its accuracies on: the largest guidance strength whose accuracy is within 99 % of the best.
///
/// `candidates` are strengths with the validation slices classified rightly at each (of the same slices). `None`
/// without candidates.
pub fn select_guidance(candidates: &[(f64, usize)]) -> Option<f64> {
    let best = candidates.iter().map(|(_, correct)| *correct).max()?;
    candidates
        .iter()
        .filter(|(_, correct)| correct * 100 >= best * 99)
        .map(|(guidance, _)| *guidance)
        .max_by(f64::total_cmp)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guidance_is_the_largest_within_a_percent() {
        let candidates = [(1.0, 995), (2.0, 1000), (3.0, 990), (5.0, 989)];
        assert_eq!(select_guidance(&candidates), Some(3.0));
        assert_eq!(select_guidance(&[]), None);
    }
}
