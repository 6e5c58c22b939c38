//! Schedules against `schedules.safetensors`.

use anofpdm_test_support::oracle::{assert_close, read_tensors, shared_dir};
use anofpdm_worker::diffusion::schedule::Schedule;

#[test]
fn schedules() {
    let Some(shared) = shared_dir("schedules") else {
        return;
    };
    let oracle = read_tensors(&shared.join("oracles/schedules.safetensors"));
    let cases = [
        ("T1000", 1000, "none"),
        ("T100", 100, "none"),
        ("S50", 1000, "50"),
        ("S10_15_20_of_300", 300, "10,15,20"),
        ("ddim25", 1000, "ddim25"),
    ];
    for (name, steps, respacing) in cases {
        let schedule = Schedule::linear(steps, &respacing.parse().unwrap()).unwrap();
        let numbers = [
            ("alphas_cumprod", schedule.alpha_bars()),
            ("betas", schedule.betas()),
            ("posterior_variance", schedule.posterior_variances()),
        ];
        for (tensor, got) in numbers {
            let want = &oracle[&format!("{name}.{tensor}")].values;
            assert_close(&format!("{name}.{tensor}"), got, want, 0.0, 1e-12);
        }
        let want = oracle[&format!("{name}.timestep_map")].i64();
        assert_eq!(schedule.timestep_map(), want, "{name}.timestep_map");
    }
}
