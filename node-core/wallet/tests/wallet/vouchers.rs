//! Vouchers and reserves: what an honest side accepts, and what it does not.

use proptest::prelude::*;
use theta_types::*;
use theta_wallet::*;

fn wallet(seed: u8) -> Wallet {
    Wallet::unlocked(SecretKey::from_bytes(&[seed; 32]).unwrap())
}

fn line() -> PaymentLine {
    PaymentLine {
        chain_id: "thetislocal".into(),
        payer: wallet(1).address(),
        provider: wallet(2).address(),
        reserve_sequence: 7,
        resource_id: "resource".into(),
    }
}

fn wei(amount: u64) -> Wei {
    Wei::from(amount)
}

fn voucher(sequence: u64, total: u64) -> Voucher {
    line().voucher(&wallet(1), sequence, wei(total)).unwrap()
}

/// A change of one thing in a voucher, signature kept.
type Forgery = fn(&mut Voucher);

#[test]
fn only_what_the_payer_signed_is_accepted() {
    let good = voucher(1, 100);
    assert_eq!(line().verify(&good), Ok(()));
    let forged = |change: Forgery| {
        let mut voucher = good.clone();
        change(&mut voucher);
        line().verify(&voucher).unwrap_err()
    };
    assert_eq!(forged(|voucher| voucher.total = wei(101)), VoucherError::Signature);
    assert_eq!(forged(|voucher| voucher.payment_sequence = 2), VoucherError::Signature);
    assert_eq!(forged(|voucher| voucher.signature = Signature::empty()), VoucherError::Signature);
    assert_eq!(forged(|voucher| voucher.payer = voucher.provider), VoucherError::OtherLine);
    assert_eq!(
        forged(|voucher| voucher.provider = voucher.payer),
        VoucherError::OtherLine,
        "a second target"
    );
    assert_eq!(forged(|voucher| voucher.reserve_sequence = 8), VoucherError::OtherLine);
    assert_eq!(forged(|voucher| voucher.resource_id = "other".into()), VoucherError::OtherLine);

    let elsewhere = PaymentLine { chain_id: "mainnet".into(), ..line() };
    assert_eq!(elsewhere.verify(&good), Err(VoucherError::Signature), "signed for another chain");
    assert!(matches!(line().voucher(&wallet(3), 1, wei(1)), Err(WalletError::OtherKey { .. })));
    assert!(matches!(line().voucher(&Wallet::locked(line().payer), 1, wei(1)), Err(WalletError::Locked)));
}

#[test]
fn a_settlement_carries_both_signatures() {
    let voucher = voucher(3, 50);
    let payment = voucher.settlement("thetislocal", wei(9), &wallet(2)).unwrap();
    assert_eq!(payment.fee, Coins::tfuel(wei(9)));
    let (source, target) = (&payment.source, &payment.target);
    assert!(source.signature.verify(&payment.source_sign_bytes("thetislocal"), &source.address));
    assert!(target.signature.verify(&payment.target_sign_bytes("thetislocal"), &target.address));
    assert_eq!(source.coins, Coins::tfuel(wei(50)));
    assert!(matches!(voucher.settlement("c", wei(9), &wallet(3)), Err(WalletError::OtherKey { .. })));
    let again = voucher.settlement("thetislocal", wei(9), &wallet(2)).unwrap();
    assert_eq!(
        Transaction::from(again).encode(),
        Transaction::from(payment.clone()).encode(),
        "the same bytes"
    );
}

fn fund() -> ReservedFund {
    ReservedFund {
        collateral: Coins::tfuel(wei(1001)),
        initial_fund: Coins::tfuel(wei(1000)),
        used_fund: Coins::tfuel(wei(400)),
        resource_ids: vec!["resource".into()],
        end_height: Height(900),
        reserve_sequence: 7,
        transfer_records: Vec::new(),
    }
}

fn account_with(fund: ReservedFund) -> Account {
    Account { reserved_funds: vec![fund], ..Account::new(line().payer, Height(0)) }
}

fn rule() -> SplitRule {
    SplitRule {
        initiator_address: line().provider,
        resource_id: "resource".into(),
        splits: vec![Split { address: line().provider, percentage: 100 }],
        end_height: Height(10_000),
    }
}

#[test]
fn a_provider_works_only_on_a_reserve_that_secures_it() {
    let terms = ReserveTerms { needed: wei(600), blocks_left: 20 };
    let check = |fund: ReservedFund, rule: Option<SplitRule>, height| {
        check_reserve(&line(), Some(&account_with(fund)), rule.as_ref(), Height(height), &terms)
    };
    let good = Reserve { end_height: Height(900), remaining: wei(600), last_recorded: 0 };
    assert_eq!(check(fund(), Some(rule()), 880), Ok(good));

    assert_eq!(check_reserve(&line(), None, Some(&rule()), Height(1), &terms), Err(ReserveError::Missing));
    assert_eq!(
        check(ReservedFund { reserve_sequence: 6, ..fund() }, Some(rule()), 1),
        Err(ReserveError::Missing)
    );
    for resource_ids in [vec![], vec!["resource".into(), "other".into()], vec!["other".into()]] {
        let other = check(ReservedFund { resource_ids, ..fund() }, Some(rule()), 1);
        assert_eq!(other, Err(ReserveError::OtherResources("resource".into())));
    }
    let ends_soon = |now| Err(ReserveError::EndsSoon { end: Height(900), now: Height(now) });
    assert_eq!(check(fund(), Some(rule()), 881), ends_soon(881));
    assert_eq!(check(fund(), Some(rule()), 2000), ends_soon(2000), "expired");
    let less = ReservedFund { used_fund: Coins::tfuel(wei(401)), ..fund() };
    let too_little = ReserveError::TooLittle { remaining: wei(599), needed: wei(600) };
    assert_eq!(check(less, Some(rule()), 1), Err(too_little));

    let stranger = wallet(3).address();
    let split = |address, percentage| Split { address, percentage };
    let foreign_rules = [
        None,
        Some(SplitRule { initiator_address: stranger, ..rule() }),
        Some(SplitRule { splits: vec![], ..rule() }),
        Some(SplitRule { splits: vec![split(line().provider, 99)], ..rule() }),
        Some(SplitRule { splits: vec![split(stranger, 1), split(line().provider, 99)], ..rule() }),
        Some(SplitRule { splits: vec![split(stranger, 100)], ..rule() }),
        Some(SplitRule { end_height: Height(899), ..rule() }),
        Some(SplitRule { resource_id: "other".into(), ..rule() }),
    ];
    for rule in foreign_rules {
        assert_eq!(check(fund(), rule.clone(), 1), Err(ReserveError::NoRule), "{rule:?}");
    }
}

#[test]
fn the_last_recorded_sequence_is_the_largest_whatever_the_order() {
    let mut paid = fund();
    for sequence in [3, 5, 4] {
        let service_payment = voucher(sequence, 10).settlement("c", wei(1), &wallet(2)).unwrap();
        paid.transfer_records.push(TransferRecord { service_payment });
    }
    let terms = ReserveTerms { needed: Wei::zero(), blocks_left: 0 };
    let reserve =
        check_reserve(&line(), Some(&account_with(paid)), Some(&rule()), Height(900), &terms).unwrap();
    assert_eq!(reserve.last_recorded, 5);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn vouchers_come_back_from_the_wire_and_no_bytes_panic(sequence in any::<u64>(), total in any::<u128>(), bytes in proptest::collection::vec(any::<u8>(), 0..300), at in any::<prop::sample::Index>()) {
        let voucher = line().voucher(&wallet(1), sequence, Wei::from(total)).unwrap();
        let wire = voucher.to_rlp();
        prop_assert_eq!(Voucher::decode(&wire), Ok(voucher.clone()));
        prop_assert_eq!(serde_json::from_str::<Voucher>(&serde_json::to_string(&voucher).unwrap()).unwrap(), voucher);
        let _ = Voucher::decode(&bytes);
        let mut damaged = wire.clone();
        let at = at.index(damaged.len());
        damaged[at] ^= 0x10;
        if let Ok(damaged) = Voucher::decode(&damaged) {
            prop_assert!(line().verify(&damaged).is_err());
        }
        prop_assert!(Voucher::decode(&vec![0; MAX_VOUCHER_LENGTH + 1]).is_err());
    }
}
