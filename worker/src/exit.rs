//! How the program ends.
//!
//! Exit codes: 0 success, 1 failure, 2 bad usage, 3 a worker that must not be started again on this device
//! (retired by its coordinator, or the device is lost), 4 a worker whose device hung
//! ([`liveness`](crate::worker_loop::liveness)): another may be started, 5 a selftest of which some check says no.

use std::io::Write;
use std::os::unix::process::CommandExt;

use anofpdm_common::error_text::error_text;

use crate::cli::selftest::SaidNo;
use crate::shim::ending;
use crate::usage::UsageError;
use crate::worker_loop::WorkerError;

/// The first file descriptor behind standard input, output and error.
const FIRST_OF_LIBRARIES: i32 = 3;

/// Prints the error of a command, if it is one, and ends the process. A worker that cannot be relied on any more becomes
/// the program's next start.
pub fn conclude(done: anyhow::Result<()>) -> ! {
    // What the runtime would do at its end; nobody is left to tell where it fails.
    drop(std::io::stdout().flush());
    match done {
        Ok(()) => ending::end(0),
        Err(error) if matches!(error.downcast_ref(), Some(WorkerError::Restart)) => restart(),
        Err(error) => {
            eprintln!("error: {}", error_text(error.as_ref()));
            ending::end(exit_code(&error))
        }
    }
}

/// Becomes this program again, with the same arguments: what libtorch and the device hold of a communicator whose
/// peers are gone cannot be trusted, and in part cannot be given up in any other way.
fn restart() -> ! {
    // Not every library marks its sockets: an open one would let a lost peer believe that this rank still lives.
    close_fds::set_fds_cloexec(FIRST_OF_LIBRARIES, &[]);
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_default();
    let error = std::process::Command::new("/proc/self/exe")
        .arg0(name)
        .args(arguments)
        .exec();
    eprintln!("error: cannot start this worker afresh: {error}");
    ending::end(1)
}

fn exit_code(error: &anyhow::Error) -> u8 {
    if error.is::<UsageError>() {
        2
    } else if error.is::<SaidNo>() {
        5
    } else if error
        .downcast_ref()
        .is_some_and(WorkerError::ends_the_device)
    {
        3
    } else {
        1
    }
}
