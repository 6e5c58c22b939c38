//! The rig's own Redis: starts, keeps what it acknowledged through a kill, forgets on request, refuses strangers.

#![allow(clippy::unwrap_used)]

use std::net::TcpStream;

use anofpdm_test_support::redis_server::{Fsync, RedisOptions, RedisServer};

fn set(server: &RedisServer, value: u32) {
    redis::cmd("SET")
        .arg("key")
        .arg(value)
        .exec(&mut server.connection())
        .unwrap();
}

fn get(server: &RedisServer) -> Option<u32> {
    redis::cmd("GET")
        .arg("key")
        .query(&mut server.connection())
        .unwrap()
}

#[test]
fn a_killed_server_comes_back_with_what_it_acknowledged() {
    let mut server = RedisServer::start(RedisOptions {
        fsync: Fsync::Always,
        ..RedisOptions::default()
    });
    let port = server.port();
    set(&server, 7);
    server.kill();
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err());
    server.restart();
    assert_eq!(server.port(), port);
    assert_eq!(get(&server), Some(7));
    server.flushall();
    assert_eq!(get(&server), None);
    assert!(server.info("used_memory") > 0);
}

#[test]
fn two_servers_do_not_see_each_other() {
    let servers = [(); 2].map(|()| RedisServer::start(RedisOptions::default()));
    assert_ne!(servers[0].url(), servers[1].url());
    set(&servers[0], 1);
    assert_eq!(get(&servers[1]), None);
}

#[test]
fn users_and_encryption_keep_the_plain_client_out() {
    let users = "user default off ~* &* +@all\n";
    let server = RedisServer::start(RedisOptions {
        users: Some(users.to_owned()),
        ..RedisOptions::default()
    });
    let mut connection = redis::Client::open(server.url())
        .unwrap()
        .get_connection()
        .unwrap();
    let refused = redis::cmd("GET").arg("key").exec(&mut connection);
    assert!(refused.unwrap_err().to_string().contains("NOAUTH"));
    set(&server, 1);

    let server = RedisServer::start(RedisOptions {
        tls: true,
        ..RedisOptions::default()
    });
    assert!(server.url().starts_with("rediss://"));
    let plain = format!("redis://127.0.0.1:{}", server.port());
    let answered = redis::Client::open(plain)
        .unwrap()
        .get_connection_with_timeout(std::time::Duration::from_secs(2))
        .and_then(|mut connection| redis::cmd("PING").exec(&mut connection));
    assert!(answered.is_err());
    set(&server, 1);
}
