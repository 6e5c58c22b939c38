//! Process-wide switches of libtorch: read as they are set, and back after a piece of work that wants them otherwise.

use std::panic::catch_unwind;

use anofpdm_worker::shim::numerics::{allow_tf32, switches, wide_reductions, without_tf32};

#[test]
fn switches_are_read_as_they_are_set_and_tf32_comes_back() {
    let _alone = crate::all_cores();
    let before = switches().unwrap();
    assert!(!before.tf32_products, "{before:?}");
    let inside = without_tf32(|| switches().unwrap()).unwrap();
    assert!(!inside.tf32_products && !inside.tf32_convolutions);
    assert_eq!(switches().unwrap(), before);
    wide_reductions().unwrap();
    assert!(switches().unwrap().wide_reductions);
    allow_tf32(true).unwrap();
    let inside = without_tf32(|| switches().unwrap()).unwrap();
    assert!(!inside.tf32_products && !inside.tf32_convolutions);
    let panicked = catch_unwind(|| without_tf32(|| panic!("a test")).map(drop));
    let after = switches().unwrap();
    allow_tf32(false).unwrap();
    assert!(panicked.is_err() && after.tf32_products && after.tf32_convolutions);
    let inside = switches().unwrap();
    assert!(!inside.tf32_products && !inside.tf32_convolutions);
}
