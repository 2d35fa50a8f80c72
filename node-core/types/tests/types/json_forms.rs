//! JSON as the reference writes and reads it (spec 01 section 2).

use proptest::prelude::*;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use theta_types::*;

use crate::values;

fn there_and_back<T: Serialize + DeserializeOwned>(value: &T) -> T {
    serde_json::from_str(&json::to_string(value).unwrap()).unwrap()
}

/// JSON shows resource ids as text: those that are no text do not come back.
fn is_text(id: &ResourceId) -> bool {
    std::str::from_utf8(id.as_bytes()).is_ok()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn values_come_back(account in values::account(), rule in values::split_rule(), payment in values::service_payment(), vote in values::vote(), pool in values::pool()) {
        let texts = account.reserved_funds.iter().all(|fund| {
            fund.resource_ids.iter().all(is_text) && fund.transfer_records.iter().all(|record| is_text(&record.service_payment.resource_id))
        });
        if texts {
            let unnamed = Account { address: Address::ZERO, ..account };
            prop_assert_eq!(there_and_back(&unnamed), unnamed);
        }
        if is_text(&rule.resource_id) {
            prop_assert_eq!(there_and_back(&rule), rule);
        }
        if is_text(&payment.resource_id) {
            prop_assert_eq!(there_and_back(&payment), payment);
        }
        prop_assert_eq!(there_and_back(&vote), vote);
        prop_assert_eq!(there_and_back(&pool), pool);
    }

    #[test]
    fn texts_are_escaped_as_go_does_and_mean_the_same(text in ".*") {
        let json = json::to_string(&text).unwrap();
        let escaped = ['<', '>', '&', '\u{2028}', '\u{2029}'];
        prop_assert!(!json.contains(escaped));
        prop_assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
    }
}

#[test]
fn escapes_are_written_as_go_writes_them() {
    let text = "a<b>&\u{2028}\u{2029}\u{8}\u{c}\n\t\"\\é";
    assert_eq!(json::to_string(text).unwrap(), r#""a\u003cb\u003e\u0026\u2028\u2029\u0008\u000c\n\t\"\\é""#);
}

#[test]
fn bytes_that_are_no_text_show_as_replacement_characters() {
    let id = ResourceId::from(&b"a\xff\xe2\x80b"[..]);
    assert_eq!(json::to_string(&id).unwrap(), "\"a\u{fffd}\u{fffd}\u{fffd}b\"");
}

#[test]
fn a_header_shows_the_references_names_and_hides_receipts() {
    let header =
        BlockHeader { chain_id: "c".into(), timestamp: Timestamp::from(5), ..BlockHeader::default() };
    let json = json::to_string(&header).unwrap();
    let zero = "0".repeat(64);
    assert_eq!(
        json,
        format!(
            "{{\"ChainID\":\"c\",\"Epoch\":0,\"Height\":0,\"Parent\":\"0x{zero}\",\
             \"HCC\":{{\"Votes\":[],\"BlockHash\":\"0x{zero}\"}},\"GuardianVotes\":null,\
             \"EliteEdgeNodeVotes\":null,\"TxHash\":\"0x{zero}\",\"StateHash\":\"0x{zero}\",\"Timestamp\":5,\
             \"Proposer\":\"0x{}\",\"Signature\":\"0x\"}}",
            "0".repeat(40)
        )
    );
    let block = Block { header, transactions: vec![vec![1, 2, 3]] };
    assert!(json::to_string(&block).unwrap().ends_with(",\"transactions\":[\"AQID\"]}"));
}

#[test]
fn absent_parts_are_read_as_empty() {
    #[derive(Deserialize)]
    struct Parts {
        input: TxInput,
        votes: VoteSet,
    }
    let parts: Parts = serde_json::from_str(
        r#"{"input":{"address":"0x0000000000000000000000000000000000000001","coins":null,"sequence":"3","signature":null},
            "votes":null}"#,
    )
    .unwrap();
    assert!(parts.input.coins.is_zero() && parts.input.signature.is_empty() && parts.votes.is_empty());
}

#[test]
fn amounts_are_decimal_texts() {
    assert!(serde_json::from_str::<Wei>("12").is_err());
    assert!(serde_json::from_str::<Wei>("\"-1\"").is_err());
    assert!(serde_json::from_str::<Wei>("\"0x1\"").is_err());
    assert!(serde_json::from_str::<Wei>("\"\"").is_err());
    assert_eq!(serde_json::from_str::<Wei>("\"+12\"").unwrap(), Wei::from(12u64));
    let much = "9".repeat(2000);
    assert!(serde_json::from_str::<Wei>(&format!("\"{much}\"")).is_err());
}
