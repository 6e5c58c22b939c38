use std::path::PathBuf;

use super::*;
use crate::stub_library::stub_library;

fn stub(options: &[&str]) -> (tempfile::TempDir, PathBuf) {
    stub_library(include_str!("stub.c"), options)
}

#[test]
fn a_gpu_is_found_by_its_uuid_and_tells_what_it_can() {
    let (_folder, library) = stub(&[]);
    let first = GpuTelemetry::open_in(library.as_os_str(), "GPU-first").unwrap();
    let now = Instant::now();
    let reading = first.read_at(now);
    assert_eq!(
        reading,
        GpuReading {
            utilization: Some(0.97),
            memory: Some((60 << 30, 80 << 30)),
            power: Some(390.5),
            energy: Some(5_002_500),
            throttled: Some(Throttled {
                power: true,
                ..Throttled::default()
            }),
        }
    );
    // Asked again at once the driver is left in peace; energy is asked each time.
    assert_eq!(first.read_at(now + FRESH / 2), reading);
    assert_eq!(first.energy(), Some(5_005_000));
    assert_eq!(first.energy(), Some(5_007_500));
    assert_eq!(first.read_at(now + FRESH).energy, Some(5_010_000));

    let second = GpuTelemetry::open_in(library.as_os_str(), "GPU-second")
        .unwrap()
        .read();
    assert_eq!(second.utilization, None);
    assert_eq!(second.memory, Some((1 << 30, 80 << 30)));
    let hot = Throttled {
        thermal: true,
        ..Throttled::default()
    };
    assert_eq!(second.throttled, Some(hot));
}

#[test]
fn what_is_absent_is_said_and_nothing_else_is_missing() {
    let (_folder, library) = stub(&["-DWITHOUT_ENERGY"]);
    let gpu = GpuTelemetry::open_in(library.as_os_str(), "GPU-first").unwrap();
    assert_eq!(gpu.read().energy, None);
    assert_eq!(gpu.energy(), None);
    assert_eq!(gpu.read().power, Some(390.5));
    assert!(GpuTelemetry::open_in(library.as_os_str(), "GPU-third").is_err());
    let nowhere = OsStr::new("/nowhere/libnvidia-ml.so.1");
    assert!(GpuTelemetry::open_in(nowhere, "GPU-first").is_err());
}

#[test]
fn the_reasons_of_slow_clocks_are_told_apart() {
    let of = |bits| {
        let throttled = Throttled::of(ThrottleReasons::from_bits_truncate(bits));
        (throttled.power, throttled.thermal, throttled.hardware)
    };
    assert_eq!(of(0), (false, false, false));
    assert_eq!(of(0x1), (false, false, false)); // idle
    assert_eq!(of(0x4), (true, false, false)); // software power cap
    assert_eq!(of(0x20), (false, true, false)); // software, heat
    assert_eq!(of(0x8), (false, false, true)); // hardware slowdown
    assert_eq!(of(0x48), (false, true, false)); // the same, for heat
    assert_eq!(of(0x88), (false, false, true)); // the same, power brake
}
