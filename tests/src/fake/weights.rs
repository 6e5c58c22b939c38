//! What a fake training leaves behind: a small safetensors file.

use anofpdm_common::ids::Digest;
use safetensors::tensor::{Dtype, TensorView};

/// The weights of the training plan with this key: the same bytes on every worker.
///
/// # Panics
/// Never: one tensor of the right size is always a file.
pub(super) fn trained(key: &Digest) -> Vec<u8> {
    let name = key.to_string();
    // Text as numbers would be NaN here and there; small integers are exact in f32.
    let values: Vec<u8> = name
        .bytes()
        .flat_map(|byte| f32::from(byte).to_le_bytes())
        .collect();
    TensorView::new(Dtype::F32, vec![name.len()], &values)
        .and_then(|tensor| safetensors::serialize([("fake.weight", tensor)], None))
        .expect("one tensor of the right size is a file")
}

#[cfg(test)]
mod tests {
    use safetensors::SafeTensors;

    use super::*;

    #[test]
    fn a_valid_file_that_depends_on_the_key_only() {
        let key = Digest::of(b"plan");
        let bytes = trained(&key);
        assert_eq!(bytes, trained(&key));
        assert_ne!(bytes, trained(&Digest::of(b"other")));
        let file = SafeTensors::deserialize(&bytes).unwrap();
        assert_eq!(file.names(), ["fake.weight"]);
    }
}
