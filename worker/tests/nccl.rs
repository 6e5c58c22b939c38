//! NCCL on a machine with a GPU and the library (feature `nccl`); `anofpdm-worker selftest` does the same.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use anofpdm_worker::collective::{Membership, MemoryRendezvous, Timeouts, nccl};
use anofpdm_worker::torch::DeviceSpec;
use tch::{Kind, Tensor};

#[test]
#[ignore = "needs a GPU and libanofpdm_nccl.so"]
fn a_world_of_one() {
    // Before anything else asks libtorch about CUDA.
    let device = DeviceSpec::Cuda(0).open().unwrap();
    let membership = Membership { rank: 0, world: 1 };
    let rendezvous = Arc::new(MemoryRendezvous::default());
    let group = nccl::connect(membership, rendezvous, Timeouts::default(), device).unwrap();
    let ramp = || Tensor::arange(1000, (Kind::Float, device));
    let tensor = ramp();
    group.all_reduce(&tensor).unwrap();
    group.broadcast(&tensor, 0).unwrap();
    group.barrier(Duration::from_secs(10)).unwrap();
    assert_eq!(tensor, ramp());

    let weight = ramp().set_requires_grad(true);
    let mut sum = group.gradient_sum(&[&weight]).unwrap();
    for pass in 0..3 {
        sum.backward(&(&weight * &weight).sum(Kind::Float)).unwrap();
        if pass == 0 {
            sum.settle_order().unwrap();
        }
        let difference = (weight.grad() - ramp() * 2.0).abs().max();
        println!("max difference {}", difference.double_value(&[]));
        assert_eq!(weight.grad(), ramp() * 2.0);
        anofpdm_worker::shim::training::drop_gradients(&[&weight]).unwrap();
    }
}
