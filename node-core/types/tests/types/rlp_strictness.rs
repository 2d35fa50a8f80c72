//! The rules of reading, one by one (spec 01 section 1.2).

use theta_types::rlp::Reader;
use theta_types::*;

#[test]
fn lengths_are_written_in_their_shortest_form() {
    let long_zero = [&[0xb9, 0x00, 0x38][..], &[1; 56]].concat();
    assert_eq!(Reader::new(&long_zero).string(), Err(RlpError::NonCanonicalLength));
    assert_eq!(Reader::new(&[0xb8, 0x02, 1, 2]).string(), Err(RlpError::NonCanonicalLength));
    assert_eq!(Reader::new(&[0x81, 0x7f]).string(), Err(RlpError::NonCanonicalLength));
    assert_eq!(Reader::new(&[0xf8, 0x01, 0x80]).list().err(), Some(RlpError::NonCanonicalLength));
    assert_eq!(Reader::new(&[0x81, 0x80]).string(), Ok(&[0x80][..]));
}

#[test]
fn a_length_beyond_the_input_is_refused_without_allocating() {
    for first in [0xbf, 0xff] {
        let huge = [&[first][..], &[0xff; 8]].concat();
        assert_eq!(Reader::new(&huge).raw_item(), Err(RlpError::TooShort));
    }
}

#[test]
fn an_element_does_not_reach_out_of_its_list() {
    // A list of two bytes whose element says it has three.
    assert_eq!(Coins::from_rlp(&[0xc2, 0x83, 0x01, 0x02, 0x03]), Err(RlpError::TooShort));
}

#[test]
fn structures_have_exactly_their_fields() {
    assert_eq!(Coins::from_rlp(&[0xc1, 0x01]), Err(RlpError::TooFewElements));
    assert_eq!(Coins::from_rlp(&[0xc3, 1, 2, 3]), Err(RlpError::TooManyElements));
    assert_eq!(Coins::from_rlp(&[0x82, 1, 2]), Err(RlpError::UnexpectedString));
    assert_eq!(u64::from_rlp(&[0xc0]), Err(RlpError::UnexpectedList));
}

#[test]
fn integers_fit_their_width() {
    assert_eq!(u64::from_rlp(&[&[0x89][..], &[1; 9]].concat()), Err(RlpError::IntegerTooWide { bits: 64 }));
    assert_eq!(u64::from_rlp(&[&[0x88][..], &[0xff; 8]].concat()), Ok(u64::MAX));
    assert_eq!(Reader::new(&[0x82, 1, 0]).u8(), Err(RlpError::IntegerTooWide { bits: 8 }));
    assert_eq!(bool::from_rlp(&[0x00]), Err(RlpError::LeadingZero));
}

#[test]
fn a_header_has_the_items_of_its_height_and_no_others() {
    let forks = ForkHeights { theta2: Height(100), theta3: Height(200), ..ForkHeights::mainnet() };
    for (height, form) in
        [(99, HeaderForm::Plain), (100, HeaderForm::WithGuardians), (200, HeaderForm::WithEdgeNodes)]
    {
        for written in [HeaderForm::Plain, HeaderForm::WithGuardians, HeaderForm::WithEdgeNodes] {
            let header = BlockHeader { form: written, height: Height(height), ..BlockHeader::default() };
            let read = BlockHeader::from_rlp(&header.to_rlp(), &forks);
            assert_eq!(read.is_ok(), written == form, "height {height}, {written:?}");
        }
    }
}

#[test]
fn a_header_with_something_else_for_votes_is_refused() {
    let forks = ForkHeights::all_at(Height(2));
    let header = BlockHeader { form: HeaderForm::WithEdgeNodes, height: Height(2), ..BlockHeader::default() };
    let mut rlp = header.to_rlp();
    assert_eq!(BlockHeader::from_rlp(&rlp, &forks), Ok(header));
    // Item 14, the last byte, becomes an empty string instead of an empty list.
    *rlp.last_mut().unwrap() = 0x80;
    assert_eq!(BlockHeader::from_rlp(&rlp, &forks), Err(RlpError::UnexpectedString));
}

#[test]
fn absent_blocks_are_all_zero_blocks() {
    let proposal = Proposal::default();
    let rlp = proposal.to_rlp();
    assert_eq!(Proposal::from_rlp(&rlp, &ForkHeights::mainnet()), Ok(proposal.clone()));
    assert!(proposal.block.to_rlp().ends_with(&[0xc0]));
    assert!(proposal.block.to_rlp().len() > 400, "a header of zeros, not an empty list");
}

#[test]
fn other_kinds_of_transactions_are_refused_by_name() {
    let refusal = |kind: u8| Transaction::decode(&[kind, 0xc0]).unwrap_err().to_string();
    assert_eq!(refusal(0x07), "SmartContractTx transactions are not supported by this version");
    assert_eq!(refusal(0x01), "SlashTx transactions are not supported by this version");
    assert_eq!(refusal(0x0a), "DepositStakeTxV2 transactions are not supported by this version");
    assert_eq!(refusal(0x0c), "Unknown TX type: 12");
}
