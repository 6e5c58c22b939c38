//! `random.seed(n); random.shuffle(...)` of Python 3, which the public code splits its patients with.
//!
//! Source: Matsumoto and Nishimura's MT19937 with `init_by_array`, and CPython's `Random.shuffle` on `_randbelow`.

use rand_mt::Mt;

/// Uniform in `0..bound`, by throwing away what is too large, as `_randbelow` does.
fn below(generator: &mut Mt, bound: u32) -> u32 {
    let bits = 32 - bound.leading_zeros();
    loop {
        let value = generator.next_u32() >> (32 - bits);
        if value < bound {
            return value;
        }
    }
}

/// `list(range(n))` after `random.seed(seed)` and `random.shuffle`; `n` is a number of patients, far below 2^32.
#[allow(clippy::cast_possible_truncation)]
pub(super) fn shuffled(seed: u32, n: usize) -> Vec<usize> {
    let mut generator = Mt::new_with_key([seed]);
    let mut order: Vec<usize> = (0..n).collect();
    for i in (1..n).rev() {
        let j = below(&mut generator, i as u32 + 1) as usize;
        order.swap(i, j);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_patients_as_python_shuffles_them() {
        assert_eq!(shuffled(10, 10), [5, 2, 7, 1, 8, 4, 3, 6, 0, 9]);
        assert!(shuffled(10, 0).is_empty());
    }
}
