//! The end of the process.

unsafe extern "C" {
    // The operating system's: `unistd.h`.
    safe fn _exit(code: i32) -> !;
}

/// Ends the process as it stands. What libtorch would free at its end it leaves to the operating system: its destructors
/// take longer than many a command, and hang where a device hangs.
pub fn end(code: u8) -> ! {
    _exit(i32::from(code))
}
