//! How the two users of `deploy/redis/users.acl` enter a test's server.

use anofpdm_common::queue::redis::{Credentials, RedisEndpoint};
use anofpdm_test_support::redis_server::RedisServer;
use anofpdm_test_support::redis_users::Users;

pub(crate) fn credentials(users: &Users, user: &str) -> Credentials {
    Credentials::with_password(users.password(user))
}

pub(crate) fn endpoint(users: &Users, server: &RedisServer, user: &str) -> RedisEndpoint {
    RedisEndpoint::new(&server.url_of(user), &credentials(users, user)).unwrap()
}
