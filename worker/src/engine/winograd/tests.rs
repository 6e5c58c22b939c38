//! Winograd's convolution against libtorch's.

use super::*;

fn channels_last(x: &Tensor) -> Tensor {
    x.permute([0, 2, 3, 1]).contiguous().permute([0, 3, 1, 2])
}

/// Blocks within a slice and across slices, remainders of rows and blocks, borders.
#[test]
fn it_is_the_convolution() {
    tch::manual_seed(3);
    for [n, inputs, outputs, height, width] in [
        [1, 32, 32, 2, 2],
        [3, 32, 64, 4, 6],
        [5, 64, 32, 8, 8],
        [2, 96, 160, 16, 16],
        [1, 32, 96, 10, 140],
    ] {
        let options = (Kind::Float, Device::Cpu);
        let x = channels_last(&Tensor::randn([n, inputs, height, width], options));
        let weight = Tensor::randn([outputs, inputs, 3, 3], options);
        let bias = Tensor::randn([outputs], options);
        let wide = |x: &Tensor| x.to_kind(Kind::Double);
        let want = wide(&x).conv2d(&wide(&weight), Some(&wide(&bias)), 1, 1, 1, 1);
        let got = forward(&transformed(&weight, Some(&bias)).unwrap(), &x).unwrap();
        assert_eq!(got.size(), want.size());
        let distance = (wide(&got) - &want).abs().max().double_value(&[]);
        let largest = want.abs().max().double_value(&[]);
        assert!(
            distance < 2e-6 * largest,
            "{inputs} to {outputs}: {distance} of {largest}"
        );
        let without = forward(&transformed(&weight, None).unwrap(), &x).unwrap();
        let shift = (got - without - bias.view([1, -1, 1, 1])).abs().max();
        assert!(shift.double_value(&[]) < 1e-5 * largest);
    }
}

/// The transforms by themselves, in float64: `A' [(G g G') (B' d B)] A` is the convolution to rounding.
#[test]
fn the_identity_is_exact() {
    tch::manual_seed(4);
    let options = (Kind::Double, Device::Cpu);
    let (d, g) = (
        Tensor::randn([4, 4], options),
        Tensor::randn([3, 3], options),
    );
    let matrix = |values: &[f64], rows: i64| Tensor::from_slice(values).view([rows, -1]);
    let b = matrix(
        &[
            1., 0., -1., 0., 0., 1., 1., 0., 0., -1., 1., 0., 0., 1., 0., -1.,
        ],
        4,
    );
    let g_matrix = matrix(&[1., 0., 0., 0.5, 0.5, 0.5, 0.5, -0.5, 0.5, 0., 0., 1.], 4);
    let a = matrix(&[1., 1., 1., 0., 0., 1., -1., -1.], 2);
    let product = g_matrix.matmul(&g).matmul(&g_matrix.tr()) * b.matmul(&d).matmul(&b.tr());
    let got = a.matmul(&product).matmul(&a.tr());
    let want = d
        .view([1, 1, 4, 4])
        .conv2d(&g.view([1, 1, 3, 3]), None::<&Tensor>, 1, 0, 1, 1)
        .view([2, 2]);
    assert!((got - want).abs().max().double_value(&[]) < 1e-13);
}

#[test]
fn what_does_not_fit_is_left_to_others() {
    let options = (Kind::Float, Device::Cpu);
    let weight = |outputs: i64, inputs: i64| Tensor::zeros([outputs, inputs, 3, 3], options);
    assert!(transformed(&weight(32, 4), None).is_none());
    assert!(transformed(&weight(4, 32), None).is_none());
    assert!(transformed(&weight(32, 32).to_kind(Kind::Double), None).is_none());
    let conv = transformed(&weight(32, 32), None).unwrap();
    assert!(
        forward(
            &conv,
            &channels_last(&Tensor::zeros([1, 32, 5, 6], options))
        )
        .is_none()
    );
    assert!(
        forward(&conv, &Tensor::zeros([1, 32, 6, 6], options)).is_none(),
        "another order"
    );
}
