//! Keys as they were when the first results were stored: one that moves loses every cache and every journal.

use crate::plan::Plan;

const RUN: &str = "pinned-00c0ffee";

/// All kinds of trajectories and outputs, as a plan's artifact holds them.
const FORWARD: &str = r#"{"run":"pinned-00c0ffee","plan":{"Forward":{
"stage":"score","semantics":"paper-clipped","steps":8,"respacing":20,"component_area":2,
"profile":{"device":"cpu","libtorch":"2.11.0","cpu_capability":"AVX2","threads":1},"precision":"fp32",
"data":{"digest":"45a20a6577b03b4d365448b390ec13c90ea9edefc01f895f8a78cfb89fb9e1f7","scaling":"slice-minmax",
    "scored":[0,3],"subjects":["a","b"]},
"networks":[{"name":"guided","config":{"arch":"v2","image_size":16,"in_channels":4,"num_channels":32,
    "num_res_blocks":1,"channel_mult":[1,2],"attention_downsample_rates":[2],"num_heads":2,"num_classes":2},
    "weights":"963efa16c6f41c8120e641454cd19ade116a974bac082f2833f932f2b301e246"}],
"trajectories":[
    {"Forward":{"network":0,"encoding":"ddim","seed":0}},
    {"Forward":{"network":0,"encoding":"ddpm","seed":1}},
    {"Restoration":{"baseline":"ddim-clf-free","sampler":"ancestral","clip":"fixed","diffusion_steps":1000,
        "networks":[0],"seed":null}}],
"cells":[
    {"trajectory":0,"guidance":1.0,"output":{"Mask":{"map":"aam","max_divergence":[0.1,0.2],
        "figures":{"traces":false}}}},
    {"trajectory":0,"guidance":3.0,"output":{"Mask":{"map":"ste","max_divergence":[0.1,0.2],
        "figures":{"traces":true,"end_step_ratios":[0.5,1.0],"fixed_thresholds":[0.25]}}}},
    {"trajectory":1,"guidance":3.0,"output":{"Mask":{"map":"gradient-weighted","max_divergence":[0.1,0.2],
        "figures":{"traces":false}}}},
    {"trajectory":2,"guidance":2.5,"output":{"Restored":{"noise_scale":6,
        "postprocessing":{"common":{"threshold":0.38}}}}},
    {"trajectory":0,"guidance":1.0,"output":"Traces"},
    {"trajectory":2,"guidance":2.5,"output":{"Overlaps":{"noise_scale":6,"thresholds":[0.01,0.02]}}}],
"batch_slices":3,
"batches":[[{"subject":0,"position":20},{"subject":1,"position":2},{"subject":1,"position":3}],
    [{"subject":1,"position":7}]]}}}"#;

const TRAIN: &str = r#"{"run":"pinned-00c0ffee","plan":{"Train":{
"network":"guided","config":{"arch":"v2","image_size":16,"in_channels":4,"num_channels":32,"num_res_blocks":1,
    "channel_mult":[1,2],"attention_downsample_rates":[2],"num_heads":2,"num_classes":2},
"train":{"steps":24,"batch":4,"learning_rate":0.001,"ema":0.8,"null_label":0.1,"dropout":0.1,"devices":1,"seed":0,
    "checkpoint_every":6},
"profile":{"device":"cpu","libtorch":"2.11.0","cpu_capability":"AVX2","threads":1},
"data":{"digest":"45a20a6577b03b4d365448b390ec13c90ea9edefc01f895f8a78cfb89fb9e1f7","scaling":"slice-minmax",
    "scored":[0,3],"subjects":["a","b"]},"validation":["b"]}}}"#;

const RECORD_KEYS: &[&str] = &[
    "ace84b52dc849337f326cfd98f95f97716e913c9e0fb7d5afc899b65b90c3a5d",
    "4b265713f2ac9d2f61eef84c40e9d495677ce68b954b75b16e96d6d003e87113",
    "c732c4a0fbed889413f16b27e256de6433e4d24fb15cab8fb122176e9e1c69e6",
    "ae5f5e198cfaad4c523289a8fba96870225ac6e34864414d4794ebc38d6a06a3",
    "d2e04ef1e82728863fb504c8f0a409f6fa5556ffef4e61281e8fd9ab762483b5",
    "68ac6d8f4a070bcf3a5673ed72dd16ed4205945f5f201013a68deea7bf8610f2",
    "ccabe95dcac3cd6793a3394af44311cb136e9bd5c33edef2c81fef0e40d4001f",
    "55b4b67e2d588aaa446c1bc46e9ef1a5b72e0341a91267e4cacfdd2ea11009e1",
    "f742ff2162e1c56ce93c40d6c124df87917a1dd78162ca6f0662a8b42da66817",
    "0f2642baf358ada0b8c7e8e11775a6ba01947071356df25edb66a757e2d389cd",
    "460bf35167fded13a4603ae1e5a3013f356a80b5f229fc4068fbefa2a0f5c736",
    "4b397a0da3d539c2a829689e29ecd0c4a717536eb8df1f8cd410451416dbbbd8",
];
const WEIGHTS_KEY: &str = "5dda8c92eabe71db6bd082f96470be8a1dab03b68736ef325050237cf4fb12d7";

fn plan(text: &str) -> Plan {
    Plan::from_json(text.as_bytes()).unwrap()
}

#[test]
fn keys_of_records_do_not_move() {
    let Plan::Forward(forward) = plan(FORWARD) else {
        panic!("another plan");
    };
    let keys = forward.record_keys().unwrap();
    let found: Vec<String> = keys.iter().flatten().map(ToString::to_string).collect();
    assert_eq!(found, RECORD_KEYS);
}

#[test]
fn the_key_of_weights_does_not_move() {
    let Plan::Train(train) = plan(TRAIN) else {
        panic!("another plan");
    };
    assert_eq!(train.key().unwrap().to_string(), WEIGHTS_KEY);
}

/// An artifact's digest is that of its bytes: what is read and written again must be the same.
#[test]
fn artifacts_of_plans_keep_their_bytes() {
    for text in [FORWARD, TRAIN] {
        let bytes = plan(text).to_json(RUN).unwrap();
        let compact: String = text.split_ascii_whitespace().collect();
        assert_eq!(String::from_utf8(bytes).unwrap(), compact);
    }
}
