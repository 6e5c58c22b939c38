//! Who may do what in the queue's server: the users of `deploy/redis/users.acl`, encryption, secrets, and what a killed
//! server keeps with that file.

mod rig;

use std::path::Path;
use std::time::Duration;

use crate::redis_access::{credentials, endpoint};
use anofpdm_common::queue::redis::{
    CA_VARIABLE, Credentials, PASSWORD_FILE_VARIABLE, PASSWORD_VARIABLE, RedisDispatcher,
    RedisEndpoint, RedisQueue,
};
use anofpdm_common::queue::{
    Dispatch, LeaseConfig, QueueError, Submission, Take, WorkQueue, connect,
};
use anofpdm_test_support::redis_server::{Fsync, RedisOptions, RedisServer};
use anofpdm_test_support::redis_users::{COORDINATOR, METRICS, Users, WORKER};
use redis::{Connection, RedisError, ServerErrorKind};
use rig::{RUN, Yes, all_states, completion, contents, info, job, registered, take};

/// What a worker's scripts are called; every other script is a coordinator's.
const OF_WORKERS: [&str; 9] = [
    "take",
    "renew",
    "complete",
    "fail",
    "release",
    "request_admission",
    "leave",
    "rendezvous_set",
    "rendezvous_get",
];

const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/queue/redis/scripts");

fn guarded() -> (RedisServer, Users) {
    let users = Users::make();
    let server = RedisServer::start(RedisOptions {
        users: Some(users.acl.clone()),
        fsync: Fsync::Always,
        ..RedisOptions::default()
    });
    (server, users)
}

fn encrypted() -> (RedisServer, Users) {
    let users = Users::make();
    let server = RedisServer::start(RedisOptions {
        users: Some(users.acl.clone()),
        tls: true,
        ..RedisOptions::default()
    });
    (server, users)
}

fn denied<T>(outcome: Result<T, QueueError>) -> String {
    match outcome {
        Err(QueueError::Denied(text)) => text,
        Err(other) => panic!("another error: {other:?}"),
        Ok(_) => panic!("let in"),
    }
}

fn assert_names(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "'{part}' is not in: {text}");
    }
}

fn open(server: &RedisServer, user: &str, credentials: &Credentials) -> Result<(), QueueError> {
    let endpoint = RedisEndpoint::new(&server.url_of(user), credentials)?;
    RedisDispatcher::open_at(endpoint, RUN, LeaseConfig::default()).map(drop)
}

fn enter(server: &RedisServer, user: &str, credentials: &Credentials) -> Result<(), QueueError> {
    let endpoint = RedisEndpoint::new(&server.url_of(user), credentials)?;
    RedisQueue::at(endpoint, Some(RUN)).register(&info("w-1"))
}

#[test]
fn without_a_password_or_with_a_wrong_one_nobody_gets_in() {
    let (server, users) = guarded();
    let nothing = Credentials::default();
    for user in [COORDINATOR, WORKER, "default"] {
        for text in [
            denied(open(&server, user, &nothing)),
            denied(enter(&server, user, &nothing)),
        ] {
            assert_names(&text, &[PASSWORD_VARIABLE, PASSWORD_FILE_VARIABLE]);
        }
    }
    // The other user's password is as wrong as any.
    for (user, wrong) in [(COORDINATOR, &users.worker), (WORKER, &users.coordinator)] {
        let wrong = Credentials::with_password(wrong);
        for text in [
            denied(open(&server, user, &wrong)),
            denied(enter(&server, user, &wrong)),
        ] {
            assert_names(&text, &[user, PASSWORD_VARIABLE, PASSWORD_FILE_VARIABLE]);
        }
    }
    let empty = Credentials::with_password("");
    denied(open(&server, "default", &empty));
}

#[test]
fn a_worker_is_no_coordinator() {
    let (server, users) = guarded();
    let text = denied(open(&server, WORKER, &credentials(&users, WORKER)));
    assert_names(
        &text,
        &["'worker'", "coordinator", "deploy/redis/users.acl"],
    );
    open(&server, COORDINATOR, &credentials(&users, COORDINATOR)).unwrap();
}

#[test]
fn the_exporter_reads_what_the_server_says_of_itself_and_nothing_else() {
    let (server, users) = guarded();
    open(&server, COORDINATOR, &credentials(&users, COORDINATOR)).unwrap();
    let mut connection = users.connection(&server, METRICS);
    let ask = |connection: &mut Connection, words: &[&str]| -> Result<redis::Value, RedisError> {
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        command.query(connection)
    };
    for may in [
        &["PING"][..],
        &["INFO"],
        &["CLIENT", "SETNAME", "redis_exporter"],
        &["LATENCY", "LATEST"],
        &["SLOWLOG", "LEN"],
    ] {
        ask(&mut connection, may).unwrap_or_else(|e| panic!("{may:?}: {e}"));
    }
    for may_not in [
        &["CONFIG", "GET", "*"][..],
        &["SMEMBERS", "anofpdm:runs"],
        &["SCAN", "0"],
        &["CLIENT", "LIST"],
        &["FLUSHALL"],
        &["EVAL", "return 1", "0"],
    ] {
        let error = ask(&mut connection, may_not).unwrap_err();
        assert_eq!(
            error.kind(),
            redis::ErrorKind::Server(ServerErrorKind::NoPerm),
            "{may_not:?}: {error}"
        );
    }
}

/// The text of a script as it is loaded.
fn script(name: &str) -> redis::Script {
    let read = |name: &str| {
        let path = Path::new(SCRIPTS).join(format!("{name}.lua"));
        std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
    };
    let common = if OF_WORKERS.contains(&name) {
        read("prelude")
    } else {
        format!("{}\n{}", read("prelude"), read("coordinator"))
    };
    redis::Script::new(&format!("{common}\n{}", read(name)))
}

fn evalsha(connection: &mut Connection, name: &str, arguments: &[&str]) -> Result<(), RedisError> {
    let names = [
        "meta", "job", "avoid", "lease", "deadline", "retry", "trouble", "dead", "claimed",
        "claims", "events", "hello", "admitted", "workers", "seen", "counter", "leaving", "board",
        "lane:0", "lane:1", "lane:2",
    ];
    let keys: Vec<String> = names
        .iter()
        .map(|key| format!("anofpdm:{{{RUN}}}:{key}"))
        .collect();
    redis::cmd("EVALSHA")
        .arg(script(name).get_hash())
        .arg(keys.len())
        .arg(keys)
        .arg(arguments)
        .exec(connection)
}

#[test]
fn a_transition_of_the_coordinators_refuses_a_worker_before_anything_has_happened() {
    let (server, users) = guarded();
    let dispatcher = all_states(&server, &users);
    let before = contents(&server);
    let mut worker = users.connection(&server, WORKER);
    let mut tried = 0;
    for entry in std::fs::read_dir(SCRIPTS).unwrap() {
        let name = entry.unwrap().path();
        let name = name.file_stem().unwrap().to_str().unwrap().to_owned();
        if name == "prelude" || name == "coordinator" || OF_WORKERS.contains(&name.as_str()) {
            continue;
        }
        let refused = evalsha(&mut worker, &name, &["w-1", "1", "1", "w-1", "1", "accept"]);
        let error = refused.expect_err(&name);
        let kind = redis::ErrorKind::Server(ServerErrorKind::NoPerm);
        assert_eq!(error.kind(), kind, "{name}: {error}");
        tried += 1;
    }
    assert_eq!(tried, 11);
    assert_eq!(contents(&server), before);
    // What a worker may do, by the same way in, shows that the way is right.
    evalsha(&mut worker, "request_admission", &["w-1", ""]).unwrap();
    let mut coordinator = users.connection(&server, COORDINATOR);
    evalsha(&mut coordinator, "revive", &["0"]).unwrap();
    drop(dispatcher);
}

#[test]
fn commands_outside_a_users_part_are_refused() {
    let (server, users) = guarded();
    let dispatcher = all_states(&server, &users);
    redis::cmd("SET")
        .arg(&["else", "1"])
        .exec(&mut server.connection())
        .unwrap();
    let before = contents(&server);
    let key = |name: &str| format!("anofpdm:{{{RUN}}}:{name}");
    let refused = |user: &str, command: &str| {
        let mut connection = users.connection(&server, user);
        let mut words = command.split(' ');
        let mut asked = redis::cmd(words.next().unwrap());
        for word in words {
            match word.strip_prefix('@') {
                Some(name) => asked.arg(key(name)),
                None => asked.arg(word),
            };
        }
        let error = asked.exec(&mut connection).expect_err(command);
        let kind = redis::ErrorKind::Server(ServerErrorKind::NoPerm);
        assert_eq!(error.kind(), kind, "{user}: {command}: {error}");
    };
    // Nobody needs these.
    for user in [COORDINATOR, WORKER] {
        for command in [
            "EVAL return 0",
            "EVAL_RO return 0",
            "FUNCTION LIST",
            "FLUSHALL",
            "FLUSHDB",
            "KEYS *",
            "SCAN 0",
            "RANDOMKEY",
            "CONFIG GET maxmemory",
            "CONFIG SET maxmemory 0",
            "MONITOR",
            "ACL LIST",
            "ACL SETUSER worker +@all",
            "CLIENT LIST",
            "CLIENT KILL TYPE normal",
            "SHUTDOWN NOSAVE",
            "REPLICAOF localhost 1",
            "SCRIPT FLUSH",
            "SCRIPT KILL",
            "XGROUP DELCONSUMER @lane:1 workers w-1",
            "XGROUP DESTROY @lane:1 workers",
            "SUBSCRIBE news",
            "DEL @job",
            "RENAME @job @dead",
            "EXPIRE @job 1",
            "GET else",
            "SET else 2",
            "HSET else a b",
            "XADD else * a b",
            "EVALSHA 0000000000000000000000000000000000000000 1 else",
        ] {
            if !(user == COORDINATOR && command.starts_with("EVALSHA")) {
                refused(user, command);
            }
        }
    }
    // These are the coordinator's alone.
    for command in [
        "SCRIPT LOAD return(0)",
        "SCRIPT EXISTS 00",
        "INFO",
        "UNLINK @job",
        "SADD anofpdm:runs other",
        "SREM anofpdm:runs secured-00c0ffee",
        "HSET @meta paused 1",
        "HSET @job 9 1",
        "HSETNX @job 9 1",
        "HDEL @job 4",
        "HGETALL @job",
        "HSET @admitted w-2 +nonce",
        "HDEL @admitted w-1",
        "HGETALL @workers",
        "HSET @workers w-2 x",
        "SREM @dead 0",
        "SREM @claimed 3",
        "SADD @leaving 4",
        "HDEL @trouble 0",
        "HDEL @avoid 0",
        "XRANGE @claims - +",
        "XREAD STREAMS @claims 0",
        "XDEL @claims 0-1",
        "XTRIM @claims MAXLEN 0",
        "XDEL @lane:1 0-1",
        "XTRIM @lane:1 MAXLEN 0",
        "XGROUP CREATE @lane:1 others 0",
        "XINFO GROUPS @lane:1",
        "XPENDING @lane:1 workers",
    ] {
        refused(WORKER, command);
    }
    assert_eq!(contents(&server), before);
    drop(dispatcher);
}

#[test]
fn a_killed_server_keeps_every_state_with_this_acl_file() {
    let (mut server, users) = guarded();
    let dispatcher = all_states(&server, &users);
    drop(dispatcher);
    let before = contents(&server);
    server.kill();
    server.restart();
    let after = contents(&server);
    for (key, value) in &before {
        assert_eq!(after.get(key), Some(value), "{key}");
    }
    assert_eq!(after.len(), before.len());

    // And it is of use: the next coordinator finds the claim, its worker the lease.
    let endpoint = endpoint(&users, &server, COORDINATOR);
    let mut dispatcher = RedisDispatcher::open_at(endpoint, RUN, LeaseConfig::default()).unwrap();
    assert_eq!(dispatcher.inherited().unwrap().len(), 6);
    dispatcher.serve(&mut Yes, Duration::ZERO).unwrap();
    let counts = dispatcher.counts().unwrap();
    let known = (
        counts.queued,
        counts.leased,
        counts.retrying,
        counts.dead,
        counts.done,
    );
    assert_eq!(known, (1, 2, 1, 1, 1), "{counts:?}");
    let letters = dispatcher.dead_letters().unwrap();
    assert_eq!((letters[0].shard, letters[0].worker.as_str()), (0, "w-1"));
}

#[test]
fn a_server_that_evicts_keys_is_refused() {
    for eviction in ["allkeys-lru", "volatile-ttl"] {
        let server = RedisServer::start(RedisOptions {
            eviction,
            ..RedisOptions::default()
        });
        let endpoint = RedisEndpoint::new(&server.url(), &Credentials::default()).unwrap();
        let refused = RedisDispatcher::open_at(endpoint, RUN, LeaseConfig::default());
        let text = refused.unwrap_err().to_string();
        assert_names(&text, &[eviction, "maxmemory-policy noeviction"]);
    }
}

#[test]
fn only_the_authority_that_signed_the_server_is_trusted() {
    let (server, users) = encrypted();
    let certificates = server.certificates();
    let secret = credentials(&users, COORDINATOR);
    let wrong = secret.clone().trusting(&certificates.wrong_authority);
    for untrusted in [&secret, &wrong] {
        for text in [
            denied(open(&server, COORDINATOR, untrusted)),
            denied(enter(&server, COORDINATOR, untrusted)),
        ] {
            assert_names(&text, &["certificate", CA_VARIABLE]);
        }
    }
    let right = secret.trusting(&certificates.authority);
    open(&server, COORDINATOR, &right).unwrap();
    // Encryption does not replace the password.
    let nameless = Credentials::default().trusting(&certificates.authority);
    denied(open(&server, COORDINATOR, &nameless));

    for file in ["absent.pem", "empty.pem"] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(file);
        if file == "empty.pem" {
            std::fs::write(&path, "no certificate\n").unwrap();
        }
        let refused = open(&server, COORDINATOR, &nameless.clone().trusting(&path));
        let text = refused.unwrap_err().to_string();
        assert_names(&text, &[CA_VARIABLE, file]);
    }
}

#[test]
fn an_address_for_the_other_kind_of_connection_is_explained() {
    let (server, users) = encrypted();
    let plain = server.url_of(COORDINATOR).replace("rediss:", "redis:");
    let endpoint = RedisEndpoint::new(&plain, &credentials(&users, COORDINATOR)).unwrap();
    let refused = RedisDispatcher::open_at(endpoint, RUN, LeaseConfig::default());
    assert_names(&refused.unwrap_err().to_string(), &["rediss://"]);

    let (server, users) = guarded();
    let encrypted = server.url_of(COORDINATOR).replace("redis:", "rediss:");
    let endpoint = RedisEndpoint::new(&encrypted, &credentials(&users, COORDINATOR)).unwrap();
    let refused = RedisDispatcher::open_at(endpoint, RUN, LeaseConfig::default());
    assert_names(&refused.unwrap_err().to_string(), &["redis://"]);
}

#[test]
fn an_encrypted_run_works() {
    let (server, users) = encrypted();
    let authority = &server.certificates().authority;
    let endpoint = |user: &str| {
        let credentials = credentials(&users, user).trusting(authority);
        RedisEndpoint::new(&server.url_of(user), &credentials).unwrap()
    };
    let mut dispatcher =
        RedisDispatcher::open_at(endpoint(COORDINATOR), RUN, LeaseConfig::default()).unwrap();
    dispatcher.submit(vec![Submission::new(0, job(0))]).unwrap();
    let worker = registered(endpoint(WORKER), "w-1", &mut dispatcher);
    worker.complete(&take(&worker), &completion()).unwrap();
    dispatcher.finish().unwrap();
    dispatcher.serve(&mut Yes, Duration::ZERO).unwrap();
    assert_eq!(dispatcher.counts().unwrap().done, 1);
    assert_eq!(worker.take(Duration::from_secs(5)).unwrap(), Take::Finished);
}

#[test]
fn secrets_are_never_shown() {
    let (server, users) = guarded();
    let mut shown = Vec::new();
    for user in [COORDINATOR, WORKER] {
        let credentials = credentials(&users, user);
        let endpoint = endpoint(&users, &server, user);
        shown.push(format!("{credentials:?} {credentials:#?}"));
        shown.push(format!("{endpoint} {endpoint:?} {endpoint:#?}"));
        shown.push(format!(
            "{:#?}",
            RedisQueue::at(endpoint.clone(), Some(RUN))
        ));
        match RedisDispatcher::open_at(endpoint, RUN, LeaseConfig::default()) {
            Ok(dispatcher) => shown.push(format!("{dispatcher:?} {dispatcher:#?}")),
            Err(error) => shown.push(format!("{error} {error:?}")),
        }
        let refused = [
            open(&server, "nobody", &credentials),
            enter(&server, "nobody", &credentials),
            RedisEndpoint::new("redis://here/not-a-number", &credentials).map(drop),
        ];
        for error in refused.map(|refused| refused.unwrap_err()) {
            shown.push(format!("{error} {error:?}"));
        }
        // Passwords in addresses, whatever else is wrong with those.
        let password = &users.coordinator;
        for address in [
            format!("redis://{user}:{password}@127.0.0.1:1"),
            format!("redis://:{password}@127.0.0.1:1"),
            format!("rediss://{user}:{password}@127.0.0.1:nothing"),
            format!("redis://{user}:{password}@here/not-a-number"),
            format!("radish://{user}:{password}@here"),
            format!("{user}:{password}@here"),
        ] {
            let Err(error) = connect(&address, None) else {
                panic!("an address with a password was taken");
            };
            shown.push(format!("{error} {error:?}"));
        }
    }
    for text in shown {
        for secret in [&users.coordinator, &users.worker] {
            assert!(!text.contains(secret), "{text}");
        }
    }
}
