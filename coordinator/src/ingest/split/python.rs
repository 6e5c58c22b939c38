//! `random.seed(n); random.shuffle(...)` of Python 3, which the public code splits its patients with.
//!
//! Source: Matsumoto and Nishimura's MT19937 with `init_by_array`, and CPython's `Random.shuffle` on `_randbelow`.

const N: usize = 624;
const M: usize = 397;

struct MersenneTwister {
    state: [u32; N],
    next: usize,
}

impl MersenneTwister {
    /// `init_by_array` with the one word that a small integer seed is.
    fn new(seed: u32) -> Self {
        let mut state = [0_u32; N];
        state[0] = 19_650_218;
        for i in 1..N {
            let previous = state[i - 1] ^ (state[i - 1] >> 30);
            state[i] = 1_812_433_253_u32
                .wrapping_mul(previous)
                .wrapping_add(index_word(i));
        }
        let mut i = 1;
        for _ in 0..N {
            let previous = state[i - 1] ^ (state[i - 1] >> 30);
            state[i] = (state[i] ^ previous.wrapping_mul(1_664_525)).wrapping_add(seed);
            i += 1;
            if i == N {
                state[0] = state[N - 1];
                i = 1;
            }
        }
        for _ in 1..N {
            let previous = state[i - 1] ^ (state[i - 1] >> 30);
            state[i] =
                (state[i] ^ previous.wrapping_mul(1_566_083_941)).wrapping_sub(index_word(i));
            i += 1;
            if i == N {
                state[0] = state[N - 1];
                i = 1;
            }
        }
        state[0] = 0x8000_0000;
        Self { state, next: N }
    }

    fn next_u32(&mut self) -> u32 {
        if self.next == N {
            for i in 0..N {
                let y = (self.state[i] & 0x8000_0000) | (self.state[(i + 1) % N] & 0x7fff_ffff);
                let twist = if y & 1 == 1 { 0x9908_b0df } else { 0 };
                self.state[i] = self.state[(i + M) % N] ^ (y >> 1) ^ twist;
            }
            self.next = 0;
        }
        let mut y = self.state[self.next];
        self.next += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c_5680;
        y ^= (y << 15) & 0xefc6_0000;
        y ^ (y >> 18)
    }

    /// Uniform in `0..bound`, by throwing away what is too large, as `_randbelow` does.
    fn below(&mut self, bound: u32) -> u32 {
        let bits = 32 - bound.leading_zeros();
        loop {
            let value = self.next_u32() >> (32 - bits);
            if value < bound {
                return value;
            }
        }
    }
}

#[allow(clippy::cast_possible_truncation)]
const fn index_word(index: usize) -> u32 {
    index as u32
}

/// `list(range(n))` after `random.seed(seed)` and `random.shuffle`; `n` is a number of patients, far below 2^32.
#[allow(clippy::cast_possible_truncation)]
pub(super) fn shuffled(seed: u32, n: usize) -> Vec<usize> {
    let mut generator = MersenneTwister::new(seed);
    let mut order: Vec<usize> = (0..n).collect();
    for i in (1..n).rev() {
        let j = generator.below(i as u32 + 1) as usize;
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
