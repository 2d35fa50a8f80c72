use proptest::{array::uniform32, collection::vec, prelude::*};

use super::{
    Gguf, GgufError, TensorType, Value,
    writer::{Writer, q4_1_block, q8_0_block},
};

fn small_file() -> Writer {
    let mut writer = Writer::default();
    writer
        .text("general.architecture", "llama")
        .u32("llama.block_count", 2)
        .f32("epsilon", 0.5)
        .texts("words", &["a".into(), "bc".into(), String::new()])
        .i32s("kinds", &[1, -3])
        .f32_tensor("weights", &[3, 2], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
        .tensor("packed", &[32], 3, q4_1_block(0.5, -2.0, &std::array::from_fn(|at| at as u8 % 16)));
    writer
}

#[test]
fn values_and_tensors_come_back() {
    let file = Gguf::parse(small_file().bytes()).unwrap();
    assert_eq!(file.text("general.architecture"), Ok("llama"));
    assert_eq!(file.count("llama.block_count"), Ok(2));
    assert_eq!(file.fraction("epsilon"), Ok(0.5));
    assert_eq!(file.texts("words").unwrap(), ["a", "bc", ""]);
    assert_eq!(file.integers("kinds").unwrap(), [1, -3]);
    assert_eq!(file.value("words").map(|value| matches!(value, Value::Texts(_))), Some(true));
    let weights = file.tensor("weights", 2, 3).unwrap();
    assert_eq!((weights.kind, weights.values()), (TensorType::F32, vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]));
    let packed = file.tensor("packed", 1, 32).unwrap().values();
    assert_eq!(packed[..4], [-2.0, -1.5, -1.0, -0.5]);
    assert_eq!(packed[31], 5.5);
}

#[test]
fn a_missing_value_or_another_shape_is_said_by_name() {
    let file = Gguf::parse(small_file().bytes()).unwrap();
    assert_eq!(file.count("general.architecture"), Err(GgufError::Missing("general.architecture".into())));
    assert_eq!(file.tensor("weights", 3, 2).unwrap_err(), GgufError::Shape("weights".into()));
    assert_eq!(file.tensor("other", 3, 2).unwrap_err(), GgufError::Missing("other".into()));
}

#[test]
fn a_block_type_that_is_not_read_is_refused_by_name() {
    for (number, name) in [(12, "Q4_K"), (14, "Q6_K"), (30, "BF16"), (99, "type 99")] {
        let mut writer = Writer::default();
        writer.tensor("blk.0.attn_q.weight", &[256], number, vec![0; 512]);
        let error = Gguf::parse(writer.bytes()).unwrap_err();
        assert_eq!(error, GgufError::TensorType { tensor: "blk.0.attn_q.weight".into(), kind: name.into() });
    }
}

#[test]
fn counts_and_sizes_beyond_the_file_are_refused_before_anything_is_allocated() {
    let mut many_values = b"GGUF\x03\0\0\0".to_vec();
    many_values.extend(0_u64.to_le_bytes());
    many_values.extend(u64::MAX.to_le_bytes());
    assert!(matches!(Gguf::parse(many_values), Err(GgufError::Truncated(_))));

    let mut array = 8_u32.to_le_bytes().to_vec();
    array.extend(u64::MAX.to_le_bytes());
    let huge_array = Writer::default().value("words", 9, &array).bytes();
    assert!(matches!(Gguf::parse(huge_array), Err(GgufError::Truncated(_))));

    let huge_tensor = Writer::default().tensor("t", &[1 << 40, 1 << 40], 0, vec![]).bytes();
    assert_eq!(Gguf::parse(huge_tensor).unwrap_err(), GgufError::Shape("t".into()));

    let half_block = Writer::default().tensor("t", &[33], 8, vec![0; 68]).bytes();
    assert_eq!(Gguf::parse(half_block).unwrap_err(), GgufError::Shape("t".into()));

    let short_data = Writer::default().tensor("t", &[64], 0, vec![0; 32]).bytes();
    assert_eq!(Gguf::parse(short_data).unwrap_err(), GgufError::Truncated("a tensor"));
}

#[test]
fn an_array_of_arrays_a_name_twice_and_an_odd_alignment_are_refused() {
    let nested = Writer::default().value("a", 9, &[9, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]).bytes();
    assert_eq!(Gguf::parse(nested).unwrap_err(), GgufError::ValueType(9));
    let twice = Writer::default().u32("a", 1).u32("a", 2).bytes();
    assert_eq!(Gguf::parse(twice).unwrap_err(), GgufError::Duplicate("a".into()));
    for alignment in [0, 3, 1 << 20] {
        let odd = Writer::default().u32("general.alignment", alignment).bytes();
        assert_eq!(Gguf::parse(odd).unwrap_err(), GgufError::Alignment(alignment.into()));
    }
}

#[test]
fn tensors_that_share_bytes_are_refused() {
    let mut writer = Writer::default();
    writer.f32_tensor("a", &[8], &[1.0; 8]).f32_tensor("b", &[8], &[2.0; 8]).f32_tensor("c", &[8], &[3.0; 8]);
    assert!(Gguf::parse(writer.bytes()).is_ok());
    for moved_back in [1, 32, 64] {
        writer.moved_back = moved_back;
        let error = Gguf::parse(writer.bytes()).unwrap_err();
        assert_eq!(error, GgufError::Overlap("a".into(), "b".into()), "{moved_back}");
    }
    // Nothing shares nothing.
    let mut empty = Writer::default();
    empty.tensor("none", &[8, 0], 0, vec![]).f32_tensor("some", &[8], &[1.0; 8]);
    assert!(Gguf::parse(empty.bytes()).is_ok());
}

#[test]
fn a_file_cut_anywhere_is_an_error() {
    let bytes = small_file().bytes();
    // The last tensor is followed by padding to 32 bytes, which may be missing.
    let end = bytes.len() - 12;
    for cut in 0..end {
        assert!(Gguf::parse(bytes[..cut].to_vec()).is_err(), "cut at {cut}");
    }
    assert!(Gguf::parse(bytes[..end].to_vec()).is_ok());
}

proptest! {
    #[test]
    fn any_bytes_are_a_file_or_an_error(bytes in vec(any::<u8>(), 0..400)) {
        let _ = Gguf::parse(bytes.clone());
        let mut with_header = b"GGUF\x03\0\0\0".to_vec();
        with_header.extend([1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]);
        with_header.extend(bytes);
        let _ = Gguf::parse(with_header);
    }

    #[test]
    fn a_damaged_file_is_a_file_or_an_error(
        flips in vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut bytes = small_file().bytes();
        for (at, value) in flips {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Ok(file) = Gguf::parse(bytes)
            && let Ok(tensor) = file.tensor("packed", 1, 32)
        {
            prop_assert_eq!(tensor.values().len(), 32);
        }
    }

    #[test]
    fn blocks_decode_to_what_their_formula_says(
        scale in -4.0_f32..4.0,
        minimum in -4.0_f32..4.0,
        nibbles in uniform32(0_u8..16),
        bytes in uniform32(any::<i8>()),
    ) {
        let file = Writer::default()
            .tensor("q4", &[32], 3, q4_1_block(scale, minimum, &nibbles))
            .tensor("q8", &[32], 8, q8_0_block(scale, &bytes))
            .bytes();
        let file = Gguf::parse(file).unwrap();
        let round = |value| half::f16::from_f32(value).to_f32();
        let q4 = file.tensor("q4", 1, 32).unwrap().values();
        let q8 = file.tensor("q8", 1, 32).unwrap().values();
        for at in 0..32 {
            prop_assert_eq!(q4[at], round(scale) * f32::from(nibbles[at]) + round(minimum));
            prop_assert_eq!(q8[at], round(scale) * f32::from(bytes[at]));
        }
    }
}
