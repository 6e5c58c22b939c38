//! Ranks in which equal values share the mean of their places.

/// Twice the mid-rank of each value, so that halves are whole numbers: 2 for the smallest alone. -0 equals 0.
pub fn doubled_mid_ranks(values: &[f64]) -> Vec<u64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    let mut ranks = vec![0; values.len()];
    let mut before = 0_u64;
    for tie in order.chunk_by(|a, b| values[*a] == values[*b]) {
        let count = tie.len() as u64;
        for index in tie {
            ranks[*index] = 2 * before + count + 1;
        }
        before += count;
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;

    /// scipy 1.17.1 `rankdata`: 2, 6, 4, 8.5, 6, 6, 3, 10, 8.5, 1.
    #[test]
    fn equal_values_share_the_mean_of_their_places() {
        let values = [0.1, 0.4, 0.35, 0.8, 0.4, 0.4, 0.2, 0.9, 0.8, 0.05];
        let doubled = [4, 12, 8, 17, 12, 12, 6, 20, 17, 2];
        assert_eq!(doubled_mid_ranks(&values), doubled);
        assert_eq!(doubled_mid_ranks(&[0.0, -0.0]), [3, 3]);
        assert!(doubled_mid_ranks(&[]).is_empty());
    }
}
