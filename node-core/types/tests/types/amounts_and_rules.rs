//! Amounts, texts of amounts and addresses, and the rules of networks.

use proptest::prelude::*;
use theta_types::*;

use crate::values;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn amounts_come_back_from_their_text(wei in values::wei()) {
        prop_assert_eq!(wei.to_string().parse::<Wei>(), Ok(wei.clone()));
        if wei < Wei::from_coins(u64::MAX) {
            prop_assert_eq!(parse_coin_amount(&format_coins(&wei)), Ok(wei.clone()));
            prop_assert_eq!(parse_coin_amount(&format!("{wei} WEI")), Ok(wei));
        }
    }

    #[test]
    fn coins_are_counted_part_by_part(a in values::coins(), b in values::coins()) {
        let sum = &a + &b;
        prop_assert_eq!(sum.checked_sub(&b), Some(a.clone()));
        prop_assert_eq!(a.checked_sub(&b).is_some(), a.covers(&b));
        prop_assert_eq!([&a, &b].into_iter().sum::<Coins>(), sum);
        let (part, rest) = (a.tfuel.percent(30), a.tfuel.percent(70));
        let left = a.tfuel.checked_sub(&(part + rest)).unwrap();
        prop_assert!(left <= Wei::from(1u64), "each part is rounded down");
    }

    #[test]
    fn texts_do_not_make_parsers_panic(text in ".{0,60}", number in "[-+0-9.eE wWiI]{0,30}") {
        for text in [&text, &number] {
            let _ = parse_coin_amount(text);
            let _ = parse_address(text);
            let _ = lenient_address(text);
            let _ = lenient_hash(text);
            let _ = text.parse::<Wei>();
            let rules = ChainRules { chain_id: text.to_string(), ..ChainRules::mainnet() };
            let _ = rules.eth_chain_id(Height(u64::MAX));
            let _ = ChainRules::from_forks_json("c", text);
        }
    }
}

#[test]
fn amounts_are_exact() {
    let wei = |text: &str| parse_coin_amount(text).map(|wei| wei.to_string());
    assert_eq!(wei("1.1").as_deref(), Ok("1100000000000000000"));
    assert_eq!(wei("0.3").as_deref(), Ok("300000000000000000"));
    assert_eq!(wei("0.0000000000000000019").as_deref(), Ok("1"));
    assert_eq!(wei(".5").as_deref(), Ok("500000000000000000"));
    assert_eq!(wei("1.9wei").as_deref(), Ok("1"));
    assert_eq!(wei("-0").as_deref(), Ok("0"));
    for text in ["", "wei", ".", "e3", "1e", "1e999999999999", "1,5", "0x10", "1 2", "NaN", "Inf"] {
        assert_eq!(wei(text), Err(ParseCoinError::Malformed), "{text}");
    }
    assert_eq!(format_coins(&Wei::from(1_500_000_000_000_000_000u64)), "1.5");
    assert_eq!(format_coins(&Wei::from(1u64)), "0.000000000000000001");
    assert_eq!(format_coins(&Wei::zero()), "0");
}

#[test]
fn addresses_are_read_strictly_where_people_type_them_and_leniently_where_the_reference_does() {
    assert!(is_address("0X5AAEB6053f3e94c9b9a09f33669435e7ef1beaed"));
    assert!(is_address("5aaeb6053f3e94c9b9a09f33669435e7ef1beaed"));
    assert!(!is_address("0x5aaeb6053f3e94c9b9a09f33669435e7ef1beae"));
    assert!(!is_address("0x5aaeb6053f3e94c9b9a09f33669435e7ef1beaeg"));
    let lenient = |text: &str| hex::encode(lenient_address(text));
    assert!(lenient("0x1234zz99").ends_with("00001234"), "what follows a bad pair is dropped");
    assert_eq!(lenient(&format!("ff{}", "11".repeat(20))), "11".repeat(20), "the rightmost bytes stay");
    assert_eq!(lenient("zz"), "00".repeat(20));
}

#[test]
fn fork_heights_are_read_from_a_file() {
    let rules = ChainRules { chain_id: "testnet".into(), ..ChainRules::privatenet() };
    let mut file = serde_json::to_value(rules.forks).unwrap();
    file["ReturnLockingPeriod"] = 1000.into();
    assert_eq!(ChainRules::from_forks_json("testnet", &file.to_string()).unwrap(), rules);

    let mut without = file.clone();
    without.as_object_mut().unwrap().remove("ReturnLockingPeriod");
    assert!(matches!(
        ChainRules::from_forks_json("c", &without.to_string()),
        Err(ForksFileError::NoReturnLockingPeriod)
    ));
    let mut without = file.clone();
    without.as_object_mut().unwrap().remove("HeightEnableTheta2");
    assert!(matches!(ChainRules::from_forks_json("c", &without.to_string()), Err(ForksFileError::Syntax(_))));
    file["HeightOfTomorrow"] = 7.into();
    assert!(matches!(
        ChainRules::from_forks_json("c", &file.to_string()),
        Err(ForksFileError::UnknownRule(name)) if name == "HeightOfTomorrow"
    ));
}

#[test]
fn payment_sequences_count_per_target() {
    let payment = |target: u8, sequence| TransferRecord {
        service_payment: ServicePaymentTx {
            fee: Coins::zero(),
            source: TxInput::default(),
            target: TxInput { address: Address::repeat_byte(target), ..TxInput::default() },
            payment_sequence: sequence,
            reserve_sequence: 1,
            resource_id: "r".into(),
        },
    };
    let fund = ReservedFund {
        collateral: Coins::tfuel(Wei::from(11u64)),
        initial_fund: Coins::tfuel(Wei::from(10u64)),
        used_fund: Coins::tfuel(Wei::from(4u64)),
        resource_ids: vec!["r".into()],
        end_height: Height(9),
        reserve_sequence: 1,
        transfer_records: vec![payment(1, 3), payment(2, 9), payment(1, 5)],
    };
    assert_eq!(fund.last_payment_sequence(&Address::repeat_byte(1)), Some(5));
    assert_eq!(fund.last_payment_sequence(&Address::repeat_byte(7)), None);
    assert_eq!(fund.remaining(), Coins::tfuel(Wei::from(6u64)));
    assert_eq!(fund.returned_on_release(), Coins::tfuel(Wei::from(17u64)));
}
