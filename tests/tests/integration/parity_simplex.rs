//! Simplex noise against `simplex.safetensors`.

use std::collections::BTreeMap;
use std::path::Path;

use anofpdm_test_support::oracle::{Tensor, assert_close, read_tensors, shared_dir};
use anofpdm_tests::values;
use anofpdm_worker::diffusion::simplex::{Fractal, Permutation, Stencil};
use tch::Device;

const TOLERANCE: f64 = 1e-12;

fn oracle(shared: &Path) -> BTreeMap<String, Tensor> {
    read_tensors(&shared.join("oracles/simplex.safetensors"))
}

fn permutations(oracle: &BTreeMap<String, Tensor>) -> Vec<Permutation> {
    let seeds = oracle["seeds"].i64();
    seeds.into_iter().map(Permutation::new).collect()
}

#[test]
fn permutation_tables() {
    let Some(shared) = shared_dir("permutation_tables") else {
        return;
    };
    let oracle = oracle(&shared);
    for (index, permutation) in permutations(&oracle).iter().enumerate() {
        let order = permutation.order().map(i64::from);
        assert_eq!(order.to_vec(), oracle[&format!("perm_{index}")].i64());
        // The public code numbers the components of all gradients in a row, three each.
        let gradients = order.map(|entry| entry % 24 * 3);
        let want = &oracle[&format!("perm_grad_index3_{index}")];
        assert_eq!(gradients.to_vec(), want.i64());
    }
}

#[test]
fn noise_at_points() {
    let Some(shared) = shared_dir("noise_at_points") else {
        return;
    };
    let oracle = oracle(&shared);
    let points: Vec<[f64; 3]> = oracle["points"].values.as_chunks().0.to_vec();
    let flat: Vec<[f64; 2]> = points.iter().map(|[x, y, _]| [*x, *y]).collect();
    let permutations = permutations(&oracle);
    let plane = Stencil::plane(&flat).values(&permutations, Device::Cpu);
    let space = Stencil::space(&points).values(&permutations, Device::Cpu);
    for index in 0..3 {
        for (name, got) in [("noise2", &plane), ("noise3", &space)] {
            let name = format!("{name}_{index}");
            let got = values(&got.get(index));
            assert_close(&name, &got, &oracle[&name].values, 0.0, TOLERANCE);
        }
    }
}

#[test]
fn fractal_fields() {
    let Some(shared) = shared_dir("fractal_fields") else {
        return;
    };
    let oracle = oracle(&shared);
    let permutations = permutations(&oracle);
    let check = |name: &str, fractal: Fractal, depth: i64, seed: usize| {
        let want = &oracle[name];
        let stencil = Stencil::field(fractal, want.shape[1], want.shape[2], depth);
        let one = &permutations[seed..=seed];
        let got = values(&stencil.values(one, Device::Cpu));
        assert_close(name, &got, &want.values, 0.0, TOLERANCE);
    };
    for (seed, depth) in [(0, 0), (0, 199), (1, 57), (2, 57)] {
        let name = format!("field_seed{seed}_t{depth}");
        check(&name, Fractal::ANODDPM, depth, seed);
    }
    let other = Fractal {
        octaves: 3,
        persistence: 0.5,
        frequency: 32.0,
    };
    check("rect_field_seed0_t13_oct3_pers0.5_freq32", other, 13, 0);
}
