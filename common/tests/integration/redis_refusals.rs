//! Servers that a run cannot use: each is told in words, by both ends, before anything waits for it.

use anofpdm_common::ids::Digest;
use anofpdm_common::plan::{NumericProfile, WorkerInfo};
use anofpdm_common::queue::redis::{Credentials, RedisDispatcher, RedisEndpoint, RedisQueue};
use anofpdm_common::queue::{LeaseConfig, QueueError, WorkQueue};
use anofpdm_test_support::redis_server::{RedisOptions, RedisServer};

const RUN: &str = "refused-00c0ffee";

fn open(url: &str, credentials: &Credentials) -> Result<RedisDispatcher, String> {
    let endpoint = RedisEndpoint::new(url, credentials).unwrap();
    RedisDispatcher::open_at(endpoint, RUN, LeaseConfig::default())
        .map_err(|error| settings(&error))
}

fn enter(url: &str, credentials: &Credentials) -> Result<(), String> {
    let endpoint = RedisEndpoint::new(url, credentials).unwrap();
    RedisQueue::at(endpoint, None)
        .register(&WorkerInfo {
            worker: format!("w-{}", Digest::of(url.as_bytes()).short()),
            host: "here".to_owned(),
            pid: 1,
            profile: NumericProfile {
                device: "cpu".to_owned(),
                libtorch: "2.11.0".to_owned(),
                cpu_capability: "AVX2".to_owned(),
                threads: 1,
            },
            memory_bytes: 8 << 30,
            version: "0.1.0".to_owned(),
            metrics: None,
        })
        .map_err(|error| settings(&error))
}

/// The text of an error that no waiting cures.
fn settings(error: &QueueError) -> String {
    assert!(matches!(error, QueueError::Settings(_)), "{error:?}");
    error.to_string()
}

#[test]
fn encryption_at_one_end_only_is_named() {
    let plain = RedisServer::start(RedisOptions::default());
    let tls = RedisServer::start(RedisOptions {
        tls: true,
        ..RedisOptions::default()
    });
    let trusting = Credentials::default().trusting(&tls.certificates().authority);
    for (url, expected) in [
        (
            format!("rediss://127.0.0.1:{}", plain.port()),
            "the server takes connections without encryption at this port: write redis://, or name its port for encrypted ones",
        ),
        (
            format!("redis://127.0.0.1:{}", tls.port()),
            "the server takes encrypted connections only at this port: write rediss://",
        ),
    ] {
        let coordinator = open(&url, &trusting).map(drop).unwrap_err();
        assert_eq!(coordinator, format!("{url}: {expected}"));
        assert_eq!(enter(&url, &trusting).unwrap_err(), coordinator);
    }
    // And with the right words both are let in.
    open(&tls.url(), &trusting).unwrap();
    enter(&tls.url(), &trusting).unwrap();
    open(&plain.url(), &trusting).unwrap();
}

#[test]
fn a_key_of_another_kind_is_named() {
    let server = RedisServer::start(RedisOptions::default());
    let credentials = Credentials::default();
    let set = |key: &str| {
        redis::cmd("SET")
            .arg(key)
            .arg(1)
            .exec(&mut server.connection())
            .unwrap();
    };
    let remove = |key: &str| {
        redis::cmd("DEL")
            .arg(key)
            .exec(&mut server.connection())
            .unwrap();
    };
    let job = format!("anofpdm:{{{RUN}}}:job");
    let seen = format!("anofpdm:{{{RUN}}}:seen");
    for key in ["anofpdm:runs", &job, &seen] {
        set(key);
        let text = open(&server.url(), &credentials).map(drop).unwrap_err();
        let named = format!("the key {key} holds another kind of value");
        assert!(text.contains(&named), "{text}");
        assert!(text.contains(&format!("redis-cli DEL '{key}'")), "{text}");
        if key == "anofpdm:runs" {
            assert_eq!(enter(&server.url(), &credentials).unwrap_err(), text);
        }
        remove(key);
    }
    open(&server.url(), &credentials).unwrap();
}

#[test]
fn a_command_that_the_server_does_not_know_is_named_without_a_script() {
    for command in ["SCRIPT", "EVALSHA"] {
        let rename = ["--rename-command", command, ""];
        let server = RedisServer::start(RedisOptions {
            more: vec![rename.map(str::to_owned).to_vec()],
            ..RedisOptions::default()
        });
        let text = open(&server.url(), &Credentials::default())
            .map(drop)
            .unwrap_err();
        assert_eq!(
            text,
            format!(
                "{}: the server does not know the command {command}: it was renamed or switched off (rename-command in its redis.conf, or a hosted server that does not offer it); the queue needs EVALSHA and SCRIPT LOAD",
                server.url()
            )
        );
    }
}

#[test]
fn a_replica_names_its_master() {
    let master = RedisServer::start(RedisOptions::default());
    let port = master.port().to_string();
    let replica = RedisServer::start(RedisOptions {
        more: vec![
            ["--replicaof", "127.0.0.1", &port]
                .map(str::to_owned)
                .to_vec(),
        ],
        ..RedisOptions::default()
    });
    let text = open(&replica.url(), &Credentials::default())
        .map(drop)
        .unwrap_err();
    assert_eq!(
        text,
        format!(
            "{}: it is a replica of 127.0.0.1:{port}, which takes no writes: write the address of that server",
            replica.url()
        )
    );
}
