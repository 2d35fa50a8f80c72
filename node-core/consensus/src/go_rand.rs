//! The first bounded draw of the reference's random generator.

const MODULUS: u64 = (1 << 31) - 1;
const MULTIPLIER: u64 = 48_271;
const SEED_FOR_ZERO: u64 = 89_482_311;

/// The entries of the generator's constant table that its first outputs use: numbers 606 and 333, 605 and 332, and so on (spec 03
/// section 2.4). A draw takes more than one output once in 2^31 times, more than four never.
const TABLE: [(u64, u64); 4] = [
    (0x39a0_0a3a_31c0_25c6, 0xbfb2_f4d9_68b7_59c3),
    (0x7e57_a19b_735e_f03b, 0x3b7f_c3ad_0d1c_d36b),
    (0x7453_5a96_cc7a_dfd7, 0xf11b_fbb3_ba3e_0841),
    (0xe1de_048d_c78b_382e, 0x0310_89e8_7fba_b9a7),
];

/// `Int63n(bound)` of a generator just seeded, as Go's `math/rand` computes it. `None` for a bound of zero, and when no output that is
/// known here is accepted.
pub(crate) fn int63n(seed: i64, bound: u64) -> Option<u64> {
    if bound == 0 {
        return None;
    }
    let mut outputs = (0..TABLE.len()).map(|index| int63(seed, index));
    if bound.is_power_of_two() {
        return outputs.next().map(|output| output & (bound - 1));
    }
    let largest = i64::MAX as u64 - (1u64 << 63) % bound;
    outputs.find(|output| *output <= largest).map(|output| output % bound)
}

/// Output number `index` of the generator, in closed form.
fn int63(seed: i64, index: usize) -> u64 {
    let start = match seed.rem_euclid(MODULUS as i64) as u64 {
        0 => SEED_FOR_ZERO,
        start => start,
    };
    let (late, early) = TABLE[index];
    let sum = slot(start, 606 - index as u64, late).wrapping_add(slot(start, 333 - index as u64, early));
    sum & i64::MAX as u64
}

/// One of the generator's 607 starting values.
fn slot(start: u64, number: u64, constant: u64) -> u64 {
    let part = |offset| lehmer(start, offset + 3 * number);
    (part(21) << 40) ^ (part(22) << 20) ^ part(23) ^ constant
}

/// Member `n` of the sequence that multiplies by [`MULTIPLIER`] each time.
fn lehmer(start: u64, n: u64) -> u64 {
    let (mut value, mut factor, mut left) = (start, MULTIPLIER, n);
    while left > 0 {
        if left & 1 == 1 {
            value = value * factor % MODULUS;
        }
        factor = factor * factor % MODULUS;
        left >>= 1;
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_data::vectors;

    #[test]
    fn draws_are_those_of_go() {
        let mut draws = 0;
        for vector in vectors("go_math_rand") {
            let seed = vector["seed"].as_i64().unwrap();
            if let Some(expected) = vector["expected_int63n"].as_str() {
                let bound = vector["n"].as_str().unwrap().parse().unwrap();
                assert_eq!(int63n(seed, bound), Some(expected.parse().unwrap()), "{}", vector["name"]);
            } else {
                for (index, output) in vector["expected_first_int63"].as_array().unwrap().iter().enumerate() {
                    assert_eq!(int63(seed, index), output.as_str().unwrap().parse::<u64>().unwrap());
                }
            }
            draws += 1;
        }
        assert_eq!(draws, 35);
    }

    #[test]
    fn draws_of_the_specification() {
        // Spec 03 section 11.1: epoch, first two outputs, draws below 1000, 2^32 - 1 and 2^31.
        let table: [(i64, u64, u64, u64, u64, u64); 11] = [
            (0, 8_717_895_732_742_165_505, 2_259_404_117_704_393_152, 505, 1_006_224_380, 1_123_914_753),
            (1, 5_577_006_791_947_779_410, 8_674_665_223_082_153_551, 410, 1_432_518_515, 134_020_434),
            (2, 1_543_039_099_823_358_511, 2_444_694_468_985_893_231, 511, 3_773_594_641, 1_266_844_207),
            (3, 6_640_668_014_774_057_861, 6_019_456_696_934_794_384, 861, 2_282_774_501, 736_623_493),
            (4, 2_244_708_090_865_615_074, 941_813_985_761_165_487, 74, 3_148_107_519, 477_987_042),
            (5, 7_414_159_922_357_799_360, 4_792_641_634_685_506_511, 360, 1_190_620_395, 1_611_860_416),
            (100, 7_530_908_113_823_513_298, 8_856_843_482_472_596_024, 298, 3_641_828_313, 1_888_402_130),
            (
                1_000_000,
                5_695_672_335_781_932_653,
                4_733_224_635_382_936_224,
                653,
                1_247_299_133,
                2_068_655_725,
            ),
            (
                31_000_000,
                5_648_231_347_547_934_668,
                7_876_733_278_230_736_356,
                668,
                1_983_159_368,
                668_078_028,
            ),
            (
                2_147_483_646,
                3_644_962_268_338_389_676,
                550_171_362_161_912_239,
                676,
                983_073_931,
                134_415_020,
            ),
            (
                2_147_483_647,
                8_717_895_732_742_165_505,
                2_259_404_117_704_393_152,
                505,
                1_006_224_380,
                1_123_914_753,
            ),
        ];
        for (epoch, first, second, thousand, large, power) in table {
            assert_eq!((int63(epoch, 0), int63(epoch, 1)), (first, second), "{epoch}");
            assert_eq!(int63n(epoch, 1_000), Some(thousand));
            assert_eq!(int63n(epoch, 4_294_967_295), Some(large));
            assert_eq!(int63n(epoch, 1 << 31), Some(power));
        }
    }

    #[test]
    fn nothing_is_drawn_below_zero() {
        assert_eq!(int63n(7, 0), None);
        assert_eq!(int63n(7, 1), Some(0));
        assert!(int63n(-7, 10).is_some());
    }
}
