//! What measurements need: a device that is done, medians, peak memory.

use tch::Device;

/// Returns when the device has finished its work.
pub(crate) fn wait_for(device: Device) {
    if let Device::Cuda(number) = device {
        tch::Cuda::synchronize(i64::try_from(number).unwrap_or(0));
    }
}

/// The middle value; the mean of both where there are two. 0 of none.
pub(crate) fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values {
        [] => 0.0,
        _ if values.len() % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

/// Forgets the process's peak of resident memory, so that the next reading is of what came after. Linux only.
pub(crate) fn forget_peak() {
    // Without the right to write it the peak includes the set-up: a larger figure, never a smaller one.
    if let Err(error) = std::fs::write("/proc/self/clear_refs", "5") {
        tracing::debug!(%error, "the peak of memory includes the set-up");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_value() {
        assert_eq!(median(&mut []), 0.0);
        assert_eq!(median(&mut [3.0]), 3.0);
        assert_eq!(median(&mut [9.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&mut [9.0, 1.0, 2.0, 4.0]), 3.0);
    }
}
