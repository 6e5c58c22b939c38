//! What the tests of several crates share and what needs no libtorch.

pub mod certificates;
pub mod oracle;
pub mod redis_server;
pub mod redis_users;
