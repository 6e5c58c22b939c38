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
    "0bd2719d220f931be216444aa7a07ee4b831cc98d94dad0fc376568cd08f9f8e",
    "283c5d4d40bdb3ff06d561b268309007e9443366b4912708bb74eb316692e481",
    "03e056c0a27ae869d90b2cc27a4599c6ca2701b4e141320f28545d5c131d1f7f",
    "754f500ae4fee76545d16d99251fbd514232e16e557a8343597460bbe50bf35f",
    "97ef2d7f5898beb3756564d685ae608f8280011a74096a967cd31ba913968f25",
    "36b4cd5524e6ee156af265ad44795d5e18bf069fff389f6cea3bc6c73ad7030d",
    "aa0dbcf5a3e70268eea91220c22bd3f1d8816745f7551733e9456737342f62fd",
    "9e1338c896df746c3a1e16c5cbf8859c364f13008c7ada3a29cb2aa6476cecea",
    "ebebd590d8912550be4e5715a70884dc04b51a87f3b5f01474bd5743732718c2",
    "b8fbbfe0c43830ddca049ad5233daf3fd0e9bebcb21bc3471e3da4620f559418",
    "30b88739b3c752f847ee346be9aeed95f970897f15cd7cb7a43a90f6d620dcf5",
    "7cd5cc4327e1816271fd08e769fcf60f3a6461660c725dffa00ae7f484b630a5",
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
