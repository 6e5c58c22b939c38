//! The real programs through a server with users and encryption: it works, and no secret gets into a log.

use std::fs::File;

use anofpdm_test_support::redis_server::{RedisOptions, RedisServer};
use anofpdm_test_support::redis_users::{COORDINATOR, Users, WORKER};
use anofpdm_tests::fake;
use anofpdm_tests::fixture::{Fixture, SPEC};

#[test]
fn a_run_through_an_encrypted_server_with_users_says_no_secret() {
    let users = Users::make();
    let server = RedisServer::start(RedisOptions {
        users: Some(users.acl.clone()),
        tls: true,
        ..RedisOptions::default()
    });
    let fixture = Fixture::new();
    fixture.write("secured.toml", SPEC);
    fixture.write("worker.password", &format!("{}\n", users.worker));
    let authority = &server.certificates().authority;
    let start = |program: &str, arguments: &[&str], secret: [&str; 2]| {
        let log = File::create(fixture.path().join(format!("{program}.log"))).unwrap();
        fixture
            .command(program, arguments)
            .env("ANOFPDM_LOG", "trace")
            .env("ANOFPDM_REDIS_CA", authority)
            .env(secret[0], secret[1])
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap()
    };
    let log_of = |program: &str| {
        std::fs::read_to_string(fixture.path().join(format!("{program}.log"))).unwrap()
    };

    let url = [COORDINATOR, WORKER].map(|user| server.url_of(user));
    let mut coordinator = start(
        "anofpdm",
        &["run", "secured.toml", "--queue", &url[0], "--dir", "r"],
        ["ANOFPDM_REDIS_PASSWORD", &users.coordinator],
    );
    let mut worker = start(
        fake::PROGRAM,
        &["run", "--queue", &url[1]],
        ["ANOFPDM_REDIS_PASSWORD_FILE", "worker.password"],
    );
    let ended = coordinator.wait().unwrap();
    worker.kill().unwrap();
    worker.wait().unwrap();
    assert!(ended.success(), "{}", log_of("anofpdm"));
    let mut texts = vec![log_of("anofpdm"), log_of(fake::PROGRAM)];
    assert!(
        texts.iter().all(|text| text.lines().count() > 3),
        "{texts:?}"
    );
    assert_eq!(fixture.summary("r")["coverage"]["conflicts"], 0);

    // Passwords where they do not belong are refused, and not repeated.
    for (user, secret) in [(COORDINATOR, &users.coordinator), (WORKER, &users.worker)] {
        let address = format!("redis://{user}:{secret}@127.0.0.1");
        let run = ["run", "secured.toml", "--queue", &address, "--dir", "r2"];
        texts.push(fixture.fails("anofpdm", &run, 2));
        let serve = ["run", "--queue", &address];
        let refused = fixture.output("anofpdm-worker", &serve);
        assert!(!refused.status.success());
        texts.push(String::from_utf8_lossy(&refused.stderr).into_owned());
    }
    for text in texts {
        for secret in [&users.coordinator, &users.worker] {
            assert!(!text.contains(secret.as_str()), "{text}");
        }
    }
}
