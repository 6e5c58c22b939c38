//! Messages of every kind. The first byte of the input says which, and whether the rest is a payload, which gets an envelope
//! that fits, or the whole message.

#![no_main]

use anofpdm_common::plan::{Job, Manifest};
use anofpdm_common::queue::local::{Request, Response};
use anofpdm_common::queue::redis::{DeliveredClaim, Hello};
use anofpdm_common::record::Record;
use anofpdm_common::wire::{Message, decode, enclose, encode};
use anofpdm_coordinator::ledger::Entry;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((choice, rest)) = data.split_first() else {
        return;
    };
    let whole = choice & 8 != 0;
    match choice & 7 {
        0 => read::<Request>(rest, whole),
        1 => read::<Response>(rest, whole),
        2 => read::<Entry>(rest, whole),
        3 => read::<Record>(rest, whole),
        4 => read::<Manifest>(rest, whole),
        5 => read::<Job>(rest, whole),
        6 => read::<DeliveredClaim>(rest, whole),
        _ => read::<Hello>(rest, whole),
    }
});

/// What can be read can be written, and is the same when read again.
fn read<T: Message>(bytes: &[u8], whole: bool) {
    let decoded = if whole {
        decode::<T>(bytes)
    } else {
        decode::<T>(&enclose(T::KIND, bytes))
    };
    let Ok(value) = decoded else {
        return;
    };
    let written = encode(&value).expect("a value that was read");
    let again: T = decode(&written).expect("a value that was written");
    assert_eq!(encode(&again).expect("the same"), written);
}
