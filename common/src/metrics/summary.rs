//! Mean and spread over noise seeds.

/// Mean of the values; `None` without values or when one of them is undefined.
pub fn mean(values: &[Option<f64>]) -> Option<f64> {
    let values: Vec<f64> = values.iter().copied().collect::<Option<_>>()?;
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

/// Sample standard deviation (divided by n - 1) of the values; `None` with fewer than two or when one of them is
/// undefined.
pub fn sample_std(values: &[Option<f64>]) -> Option<f64> {
    let mean = mean(values)?;
    if values.len() < 2 {
        return None;
    }
    let squares: f64 = values
        .iter()
        .flatten()
        .map(|value| (value - mean).powi(2))
        .sum();
    Some((squares / (values.len() - 1) as f64).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deviation_is_that_of_a_sample() {
        let values = [Some(1.0), Some(2.0), Some(4.0)];
        assert_eq!(mean(&values), Some(7.0 / 3.0));
        assert!((sample_std(&values).unwrap() - (7.0_f64 / 3.0).sqrt()).abs() < 1e-15);
    }

    #[test]
    fn too_few_or_undefined_values_have_none() {
        assert_eq!(mean(&[]), None);
        assert_eq!(sample_std(&[Some(1.0)]), None);
        assert_eq!(sample_std(&[Some(1.0), None]), None);
    }
}
