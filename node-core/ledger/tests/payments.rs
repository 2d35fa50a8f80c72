//! Payments on reserved funds, as the wallet and the market rely on them: what a cheat can do, and what it costs whom.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use support::network::{FEE, Network, Payment, fee, key, tfuel, whole};
use theta_ledger::{Refusal, ResultCode};
use theta_types::{Coins, SecretKey, Wei};

const RESOURCE: &str = "7f3c-random-resource";
const YEARS: u64 = 50_000_000;

struct Parties {
    payer: SecretKey,
    provider: SecretKey,
    second: SecretKey,
    other: SecretKey,
}

/// A provider with its rule, and a payer with a reserve of 10 TFuel for it.
fn setting() -> (Network, Parties) {
    let parties = Parties {
        payer: key("payer"),
        provider: key("provider"),
        second: key("second address"),
        other: key("other"),
    };
    let mut network = Network::with_accounts(&[
        (&parties.payer, 100),
        (&parties.provider, 100),
        (&parties.second, 100),
        (&parties.other, 100),
    ]);
    let provider = parties.provider.address();
    network.accept(network.split(&parties.provider, RESOURCE, &[(provider, 100)], YEARS));
    network.accept(network.reserve(&parties.payer, &whole(10), &whole(11), RESOURCE));
    (network, parties)
}

fn voucher(sequence: u64) -> Payment<'static> {
    Payment { reserve: 1, sequence, resource: RESOURCE }
}

fn used(network: &Network, parties: &Parties) -> Coins {
    network.account(&parties.payer.address()).reserved_funds[0].used_fund.clone()
}

fn recorded(network: &Network, parties: &Parties) -> usize {
    network.account(&parties.payer.address()).reserved_funds[0].transfer_records.len()
}

#[test]
fn a_voucher_moves_its_amount_less_the_fee() {
    let (mut network, parties) = setting();
    let before = network.tfuel_of(&parties.provider);
    let payment = network.payment(&parties.payer, &parties.provider, &whole(2), voucher(1));
    network.accept(payment.clone());
    assert_eq!(network.tfuel_of(&parties.provider) + Wei::from(FEE), before + Wei::from_coins(2));
    assert_eq!(used(&network, &parties), whole(2));
    let fund = &network.account(&parties.payer.address()).reserved_funds[0];
    assert_eq!(fund.transfer_records[0].service_payment, payment);
}

#[test]
fn a_payment_to_the_payers_second_address_still_pays_the_provider() {
    let (mut network, parties) = setting();
    let (provider, second) = (network.tfuel_of(&parties.provider), network.tfuel_of(&parties.second));
    network.accept(network.payment(&parties.payer, &parties.second, &whole(7), voucher(1)));
    assert_eq!(network.tfuel_of(&parties.provider), provider + Wei::from_coins(7));
    assert_eq!(network.tfuel_of(&parties.second) + Wei::from(FEE), second);
}

#[test]
fn nobody_else_can_make_or_change_the_rule() {
    let (mut network, parties) = setting();
    let other = parties.other.address();
    let refusal = network.refuse(network.split(&parties.other, RESOURCE, &[(other, 100)], 1_000));
    assert_eq!(refusal, Refusal::ForeignSplitRule);
    assert_eq!(refusal.code(), ResultCode::UnauthorizedToUpdateSplitRule);
    assert_eq!(network.split_rule(RESOURCE).unwrap().splits[0].address, parties.provider.address());
    // Its maker can.
    let own = network.split(&parties.provider, RESOURCE, &[(other, 40)], 1_000);
    network.accept(own);
    let rule = network.split_rule(RESOURCE).unwrap();
    assert_eq!((rule.splits[0].percentage, rule.end_height.0), (40, network.height.0 - 1 + 1_000));
}

#[test]
fn an_unlisted_resource_moves_nothing_and_costs_the_target_the_fee() {
    let (mut network, parties) = setting();
    let (payer, second) = (network.account(&parties.payer.address()), network.tfuel_of(&parties.second));
    let unlisted = Payment { reserve: 1, sequence: 1, resource: "something else" };
    network.accept(network.payment(&parties.payer, &parties.second, &whole(1), unlisted));
    assert_eq!(network.account(&parties.payer.address()), payer);
    assert_eq!(network.tfuel_of(&parties.second) + Wei::from(FEE), second);
}

#[test]
fn an_overspending_voucher_moves_nothing_is_not_recorded_and_can_be_replayed() {
    let (mut network, parties) = setting();
    network.accept(network.payment(&parties.payer, &parties.provider, &whole(9), voucher(1)));
    let before = network.tfuel_of(&parties.provider);
    let over = network.payment(&parties.payer, &parties.provider, &whole(5), voucher(2));
    network.accept(over.clone());
    network.accept(over);
    assert_eq!(network.tfuel_of(&parties.provider) + Wei::from(2 * FEE), before);
    assert_eq!((used(&network, &parties), recorded(&network, &parties)), (whole(9), 1));
    // What is left can still be paid.
    network.accept(network.payment(&parties.payer, &parties.provider, &whole(1), voucher(2)));
    assert_eq!((used(&network, &parties), recorded(&network, &parties)), (whole(10), 2));
}

#[test]
fn a_voucher_counts_once_and_only_upwards() {
    let (mut network, parties) = setting();
    let second = network.payment(&parties.payer, &parties.provider, &whole(2), voucher(2));
    network.accept(second.clone());
    assert_eq!(network.refuse(second), Refusal::PaymentSequence { got: 2, last: 2 });
    for sequence in [0, 1, 2] {
        let old = network.payment(&parties.payer, &parties.provider, &whole(3), voucher(sequence));
        let refusal = network.refuse(old);
        assert_eq!(refusal.code(), ResultCode::CheckTransferReservedFundFailed);
    }
    // Sequences are counted for each target by itself.
    network.accept(network.payment(&parties.payer, &parties.second, &whole(1), voucher(1)));
    network.accept(network.payment(&parties.payer, &parties.provider, &whole(1), voucher(3)));
    assert_eq!(used(&network, &parties), whole(4));
}

#[test]
fn sequence_zero_is_never_paid() {
    let (mut network, parties) = setting();
    let zero = network.payment(&parties.payer, &parties.provider, &whole(1), voucher(0));
    assert_eq!(network.refuse(zero), Refusal::PaymentSequence { got: 0, last: 0 });
}

#[test]
fn a_reserve_pays_to_its_end_and_is_gone_five_blocks_later() {
    let (mut network, parties) = setting();
    let end = network.account(&parties.payer.address()).reserved_funds[0].end_height;
    network.height = end;
    network.accept(network.payment(&parties.payer, &parties.provider, &whole(1), voucher(1)));
    let late = network.payment(&parties.payer, &parties.provider, &whole(1), voucher(2));
    let refusal = network.refuse(late.clone());
    assert_eq!(
        refusal,
        Refusal::ReserveExpired { reserve_sequence: 1, end, height: theta_types::Height(end.0 + 1) }
    );
    network.height = theta_types::Height(end.0 + 5);
    assert_eq!(network.refuse(late), Refusal::NoReserve(1));

    // The payer's next stored change brings fund and collateral back.
    let before = network.account(&parties.payer.address());
    assert_eq!(before.reserved_funds.len(), 1);
    network.accept(network.send(&parties.payer, parties.other.address(), &tfuel(1)));
    let after = network.account(&parties.payer.address());
    assert!(after.reserved_funds.is_empty());
    let returned = whole(9) + whole(11);
    assert_eq!(after.balance + fee() + tfuel(1), before.balance + returned);
}

#[test]
fn an_ended_rule_leaves_the_payment_to_its_target_and_disappears() {
    let parties = Parties {
        payer: key("payer"),
        provider: key("provider"),
        second: key("second address"),
        other: key("other"),
    };
    let mut network =
        Network::with_accounts(&[(&parties.payer, 100), (&parties.provider, 100), (&parties.second, 100)]);
    let provider = parties.provider.address();
    network.accept(network.split(&parties.provider, RESOURCE, &[(provider, 100)], 2));
    network.accept(network.reserve(&parties.payer, &whole(10), &whole(11), RESOURCE));
    let end = network.split_rule(RESOURCE).unwrap().end_height;
    network.run_to(end.0 + 1);
    let before = network.tfuel_of(&parties.second);
    network.accept(network.payment(&parties.payer, &parties.second, &whole(3), voucher(1)));
    assert_eq!(network.tfuel_of(&parties.second) + Wei::from(FEE), before + Wei::from_coins(3));
    assert_eq!(network.split_rule(RESOURCE), None);
}

#[test]
fn an_ended_rule_keeps_its_resource_until_another_rule_is_made() {
    let (alice, bob) = (key("alice"), key("bob"));
    let mut network = Network::with_accounts(&[(&alice, 100), (&bob, 100)]);
    network.accept(network.split(&alice, "rid", &[], 0));
    network.run_to(network.height.0 + 5);
    assert_eq!(network.refuse(network.split(&bob, "rid", &[], 10)), Refusal::ForeignSplitRule);
    // Any rule clears the ended ones away.
    network.accept(network.split(&bob, "unrelated", &[], 10));
    assert_eq!(network.split_rule("rid"), None);
    network.accept(network.split(&bob, "rid", &[], 10));
    assert_eq!(network.split_rule("rid").unwrap().initiator_address, bob.address());
}

#[test]
fn a_foreign_or_changed_voucher_is_refused() {
    let (mut network, parties) = setting();
    let honest = network.payment(&parties.payer, &parties.provider, &whole(2), voucher(1));

    let mut raised = honest.clone();
    raised.source.coins = whole(3);
    raised.sign_as_target(&network.rules.chain_id, &parties.provider);
    assert!(matches!(network.refuse(raised), Refusal::Signature { code: ResultCode::GenericError, .. }));

    let mut redirected = honest.clone();
    redirected.target.address = parties.second.address();
    redirected.sign_as_target(&network.rules.chain_id, &parties.second);
    assert!(matches!(network.refuse(redirected), Refusal::Signature { .. }));

    let mut not_taken = honest.clone();
    not_taken.target.signature = theta_types::Signature::empty();
    assert!(matches!(network.refuse(not_taken), Refusal::Signature { .. }));

    let itself = network.payment(&parties.payer, &parties.payer, &whole(1), voucher(1));
    assert_eq!(network.refuse(itself), Refusal::PaysItself(parties.payer.address()));

    let theta =
        network.payment(&parties.payer, &parties.provider, &Coins::theta(Wei::from(1u64)), voucher(1));
    assert_eq!(network.refuse(theta), Refusal::ThetaPaid);

    network.accept(honest);
}

#[test]
fn a_provider_without_account_pays_the_fee_from_the_payment() {
    let (mut network, parties) = setting();
    let newcomer = key("newcomer");
    // The rule sends the payment to the provider, so the newcomer has nothing to pay the fee from.
    let tx = network.payment(&parties.payer, &newcomer, &whole(1), voucher(1));
    assert_eq!(network.refuse(tx), Refusal::FeeNotCharged);
    assert_eq!(network.view().stored_account(&newcomer.address()).unwrap(), None);

    // On a resource without a rule it is the target's.
    network.accept(network.reserve(&parties.payer, &whole(10), &whole(11), "free resource"));
    let what = Payment { reserve: 2, sequence: 1, resource: "free resource" };
    let tx = network.payment(&parties.payer, &newcomer, &whole(1), what);
    network.accept(tx);
    let account = network.account(&newcomer.address());
    assert_eq!(account.balance + fee(), whole(1));
    assert_eq!((account.sequence, account.last_updated_height.0), (0, network.height.0 - 1));
}

#[test]
fn everybody_in_the_rule_gets_an_account_even_when_nothing_moves() {
    let (mut network, parties) = setting();
    let stranger = key("stranger");
    let splits = [(stranger.address(), 10), (parties.payer.address(), 20)];
    network.accept(network.split(&parties.provider, "other resource", &splits, 1_000));
    let what = Payment { reserve: 1, sequence: 1, resource: "other resource" };
    let payer = network.account(&parties.payer.address());
    network.accept(network.payment(&parties.payer, &parties.provider, &whole(1), what));
    assert_eq!(network.account(&stranger.address()).balance, Coins::zero());
    assert_eq!(network.account(&parties.payer.address()), payer);
}

#[test]
fn a_payer_can_get_a_part_back_by_the_rule() {
    let (mut network, parties) = setting();
    let splits = [(parties.payer.address(), 25), (parties.payer.address(), 25)];
    network.accept(network.split(&parties.provider, "shared", &splits, 1_000));
    network.accept(network.reserve(&parties.payer, &whole(10), &whole(11), "shared"));
    let (payer, provider) = (network.tfuel_of(&parties.payer), network.tfuel_of(&parties.provider));
    let what = Payment { reserve: 2, sequence: 1, resource: "shared" };
    network.accept(network.payment(&parties.payer, &parties.provider, &whole(8), what));
    assert_eq!(network.tfuel_of(&parties.payer), payer + Wei::from_coins(4));
    assert_eq!(network.tfuel_of(&parties.provider) + Wei::from(FEE), provider + Wei::from_coins(4));
}

#[test]
fn reservations_keep_to_their_bounds() {
    let payer = key("payer");
    let mut network = Network::with_accounts(&[(&payer, 100)]);
    for (duration, accepted) in [(299, false), (300, true), (43_200, true), (43_201, false)] {
        let mut tx = network.reserve(&payer, &whole(1), &whole(2), "rid");
        tx.duration = duration;
        tx.sign(&network.rules.chain_id, &payer);
        if accepted {
            network.accept(tx);
        } else {
            assert_eq!(network.refuse(tx), Refusal::Duration(duration));
        }
    }
    let (fund, theta) = (whole(1), Coins::theta(Wei::from(1u64)));
    let equal = network.reserve(&payer, &fund, &fund, "rid");
    assert!(matches!(network.refuse(equal), Refusal::Collateral { .. }));
    // Theta in the collateral is fine, Theta in the fund is not.
    network.accept(network.reserve(&payer, &fund, &(&fund + &theta), "rid"));
    let refusal = network.refuse(network.reserve(&payer, &(&fund + &theta), &whole(2), "rid"));
    assert_eq!(refusal, Refusal::ThetaReserved);
    assert_eq!(
        network.refuse(network.reserve(&payer, &Coins::zero(), &whole(2), "rid")),
        Refusal::NothingReserved
    );
    let too_much = network.reserve(&payer, &whole(40), &whole(60), "rid");
    assert_eq!(network.refuse(too_much).code(), ResultCode::InsufficientFund);
    // The sequence of the transaction names the reserve.
    let names: Vec<_> =
        network.account(&payer.address()).reserved_funds.iter().map(|fund| fund.reserve_sequence).collect();
    assert_eq!(names, [1, 2, 3]);
}
