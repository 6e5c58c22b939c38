//! Process-wide switches of libtorch: as they were after a training and after a piece of work that wants them otherwise. A
//! worker that has trained must score with the bits of one that has not. libtorch keeps the switches whether there is a GPU
//! or not.

use std::panic::catch_unwind;

use anofpdm_worker::shim::numerics::allow_tf32;
use anofpdm_worker::shim::switches::{Switches, TrainingSwitches, keep_comparable, without_tf32};
use tch::Device;

#[test]
fn training_leaves_the_switches_of_libtorch_as_it_found_them() {
    let _alone = crate::all_cores();
    let before = Switches::read().unwrap();
    assert!(!before.deterministic_algorithms && before.fill_uninitialized);
    for tf32 in [true, false] {
        let training = TrainingSwitches::enter(Device::Cuda(0), tf32).unwrap();
        let during = Switches {
            deterministic_algorithms: true,
            warn_only: true,
            fill_uninitialized: false,
            tf32_products: tf32,
            tf32_convolutions: tf32,
            ..before
        };
        assert_eq!(Switches::read().unwrap(), during);
        drop(training);
        assert_eq!(Switches::read().unwrap(), before);
    }
    let none = TrainingSwitches::enter(Device::Cpu, true).unwrap();
    assert!(none.is_none() && Switches::read().unwrap() == before);
}

#[test]
fn tf32_is_off_inside_and_comes_back_whatever_happens() {
    let _alone = crate::all_cores();
    let read = || Switches::read().unwrap();
    let before = read();
    assert!(!before.tf32_products, "{before:?}");
    let inside = without_tf32(read).unwrap();
    assert!(!inside.tf32_products && !inside.tf32_convolutions);
    assert_eq!(read(), before);
    keep_comparable().unwrap();
    assert!(read().wide_reductions && read().deterministic_cudnn);
    allow_tf32(true).unwrap();
    let inside = without_tf32(read).unwrap();
    assert!(!inside.tf32_products && !inside.tf32_convolutions);
    let panicked = catch_unwind(|| without_tf32(|| panic!("a test")).map(drop));
    let after = read();
    allow_tf32(false).unwrap();
    assert!(panicked.is_err() && after.tf32_products && after.tf32_convolutions);
    before.write().unwrap();
    assert_eq!(read(), before);
}
