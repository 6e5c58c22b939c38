//! What training sets in libtorch for the whole process is as it was afterwards: a worker that has trained must score
//! with the bits of one that has not. libtorch keeps the switches whether there is a GPU or not.

use anofpdm_worker::shim::switches::{Switches, TrainingSwitches};
use tch::Device;

#[test]
fn training_leaves_the_switches_of_libtorch_as_it_found_them() {
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
