//! Whose turn it is.

use theta_types::{Address, Epoch, ValidatorSet, Wei};

use crate::go_rand::int63n;

/// The validator that may propose in an epoch: a draw weighted by stake that depends on the epoch alone (spec 03 section 2.4).
///
/// Nobody in epoch 0, without validators, and in the rare epochs where the rounded-down weights leave the draw beyond the last of them:
/// there the reference stops, and no block of such an epoch is valid.
pub fn proposer(validators: &ValidatorSet, epoch: Epoch) -> Option<Address> {
    if epoch.0 == 0 {
        return None;
    }
    let total = validators.total_stake();
    let scale = total.mul_div(1, u64::from(u32::MAX)) + Wei::from(1u64);
    let scaled = |stake: &Wei| Wei::from(stake.as_biguint() / scale.as_biguint()).to_u64();
    // The reference seeds with the epoch's bits read as a signed number.
    let drawn = int63n(epoch.0 as i64, scaled(&total)?)?;
    let mut upto = 0u64;
    for validator in validators {
        upto = upto.checked_add(scaled(&validator.stake)?)?;
        if drawn < upto {
            return Some(validator.address);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use theta_types::Validator;

    use super::*;

    fn set(stakes: &[(&str, u64)]) -> ValidatorSet {
        ValidatorSet::new(stakes.iter().map(|(address, millions)| Validator {
            address: address.parse().unwrap(),
            stake: Wei::from_coins(millions * 1_000_000),
        }))
    }

    /// The genesis validators of the reference's test network and of the main network, with the draws of spec 03 section 11.1.
    #[test]
    fn proposers_of_the_specification() {
        let test_network = set(&[
            ("2E833968E5bB786Ae419c4d13189fB081Cc43bab", 50),
            ("9F1233798E905E173560071255140b4A8aBd3Ec6", 50),
            ("7631958d57Cf6a5605635a5F06Aa2ae2e000820e", 50),
            ("c15E24083152dD76Ae6FC2aEb5269FF23d70330B", 50),
        ]);
        let expected = ["9f12", "c15e", "c15e", "c15e", "9f12", "c15e", "2e83", "9f12", "9f12", "7631"];
        for (epoch, beginning) in (1..).zip(expected) {
            let address = proposer(&test_network, Epoch(epoch)).unwrap();
            assert_eq!(hex::encode(&address[..2]), beginning, "epoch {epoch}");
        }

        let main_network = set(&[
            ("cbcef62ca7a2e367a9c93aba07ea4e63139da99d", 32),
            ("a61abd72cdc50d17a3cbdceb57d3d5e4d8839bce", 32),
            ("e2408dff7a1f9bc247c803e43efa2f0a37b10ba6", 30),
            ("a144e6a98b967e585b214bfa7f6692af81987e5b", 30),
            ("15cc4c3f21417c392119054c8fe5895146e1a493", 30),
            ("afcc901b0e8eac02f0e91bd12791888a0df8a252", 28),
            ("4b80a68a8469d33449eb101082e5500b932a23ce", 28),
        ]);
        for (epoch, beginning) in [(1, "afcc"), (2, "e240"), (3, "e240"), (1_000_000, "afcc")] {
            let address = proposer(&main_network, Epoch(epoch)).unwrap();
            assert_eq!(hex::encode(&address[..2]), beginning, "epoch {epoch}");
        }
    }

    #[test]
    fn nobody_proposes_in_epoch_zero_or_without_validators() {
        assert_eq!(proposer(&set(&[("2E833968E5bB786Ae419c4d13189fB081Cc43bab", 50)]), Epoch(0)), None);
        assert_eq!(proposer(&ValidatorSet::default(), Epoch(1)), None);
    }

    #[test]
    fn turns_follow_the_stakes() {
        let validators = set(&[
            ("0000000000000000000000000000000000000001", 10),
            ("0000000000000000000000000000000000000002", 30),
        ]);
        let small =
            (1..=4_000).filter(|epoch| proposer(&validators, Epoch(*epoch)).unwrap()[19] == 1).count();
        assert!((800..1_200).contains(&small), "{small} of 4000 turns for a quarter of the stake");
    }
}
