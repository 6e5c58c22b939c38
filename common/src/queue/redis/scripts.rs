//! The transitions: one Lua script each, run by its digest.
//!
//! Workers may run scripts, not load them: they can do only what a coordinator of the same version has loaded.
//! Commands inside a script are checked against the rights of who calls it, and a transition of the coordinator's
//! refuses a worker before anything has happened (`deploy/redis/users.acl`).

use std::sync::LazyLock;

use redis::Script;

/// A transition and its script.
pub(super) struct Transition {
    file: &'static str,
    script: LazyLock<Script>,
}

impl Transition {
    /// The name of its file.
    pub(super) fn name(&self) -> &'static str {
        let name = self.file.strip_prefix("scripts/").unwrap_or(self.file);
        name.strip_suffix(".lua").unwrap_or(name)
    }

    pub(super) fn script(&self) -> &Script {
        &self.script
    }
}

macro_rules! transitions {
    (
        anybody { $($worker:ident: $worker_file:literal,)* }
        coordinator { $($own:ident: $own_file:literal,)* }
    ) => {
        $(
            pub(super) static $worker: Transition = Transition {
                file: $worker_file,
                script: LazyLock::new(|| {
                    Script::new(concat!(include_str!("scripts/prelude.lua"), "\n", include_str!($worker_file)))
                }),
            };
        )*
        $(
            pub(super) static $own: Transition = Transition {
                file: $own_file,
                script: LazyLock::new(|| {
                    Script::new(concat!(
                        include_str!("scripts/prelude.lua"),
                        "\n",
                        include_str!("scripts/coordinator.lua"),
                        "\n",
                        include_str!($own_file)
                    ))
                }),
            };
        )*

        /// Every transition, for loading.
        pub(super) fn all() -> Vec<&'static Transition> {
            vec![$(&$worker,)* $(&$own,)*]
        }
    };
}

transitions! {
    anybody {
        TAKE: "scripts/take.lua",
        RENEW: "scripts/renew.lua",
        COMPLETE: "scripts/complete.lua",
        FAIL: "scripts/fail.lua",
        RELEASE: "scripts/release.lua",
        REQUEST_ADMISSION: "scripts/request_admission.lua",
        LEAVE: "scripts/leave.lua",
        RENDEZVOUS_SET: "scripts/rendezvous_set.lua",
        RENDEZVOUS_GET: "scripts/rendezvous_get.lua",
    }
    coordinator {
        OPEN: "scripts/open.lua",
        SUBMIT: "scripts/submit.lua",
        CANCEL: "scripts/cancel.lua",
        EXPIRE: "scripts/expire.lua",
        REVIVE: "scripts/revive.lua",
        RESOLVE: "scripts/resolve.lua",
        ADMIT: "scripts/admit.lua",
        RETIRE: "scripts/retire.lua",
        FORGET: "scripts/forget.lua",
        SET_FLAG: "scripts/set_flag.lua",
        POLL: "scripts/poll.lua",
    }
}
