//! Keys from words.

use theta_types::{KeyError, checksum_text};
use theta_wallet::*;

/// A public test phrase (spec 06 section 4.2).
const THETA: &str = "remain sorry remember trick purse also roast kidney history dragon fatigue chuckle";

/// The test phrase of Ethereum's development tools.
const ETHEREUM: &str = "test test test test test test test test test test test junk";

#[test]
fn words_give_the_keys_of_the_theta_wallets() {
    let words = Words::parse(THETA).unwrap();
    let key = |index| words.key(DerivationPath::Theta, index).unwrap();
    assert_eq!(
        hex::encode(key(0).to_bytes().as_slice()),
        "19f66b5f75f0cf6fe4fbbcca24aba2031031affef8b596b922b9dfd669f8f5ae"
    );
    assert_eq!(checksum_text(&key(0).address()), "0x95944D0F9C86794284ABc375616C83B0E6A1A8B7");
    assert_eq!(checksum_text(&key(1).address()), "0x471E2Aa03dbDc153a92b89Fb10B67020b729BD98");
}

#[test]
fn words_give_the_keys_of_ethereum_wallets() {
    let words = Words::parse(ETHEREUM).unwrap();
    let address = |index| checksum_text(&words.key(DerivationPath::Ethereum, index).unwrap().address());
    assert_eq!(address(0), "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266");
    assert_eq!(address(1), "0x70997970C51812dc3A010C7d01b50e0d17dc79C8");
}

#[test]
fn words_are_read_as_people_type_them() {
    let typed = format!("  {}\n", THETA.to_uppercase().replace(' ', "  "));
    assert_eq!(Words::parse(&typed).unwrap().reveal(), THETA);
    assert_eq!(Words::parse("one two three").unwrap_err(), WordsError::Count(3));
    assert_eq!(Words::parse(&THETA.replace("roast", "rost")).unwrap_err(), WordsError::UnknownWord(7));
    assert_eq!(
        Words::parse(&THETA.replace("sorry remember", "remember sorry")).unwrap_err(),
        WordsError::Checksum
    );
    assert_eq!(Words::parse(&"é".repeat(12)).unwrap_err(), WordsError::Count(1));
}

#[test]
fn new_words_are_random_and_read_back() {
    for (count, number) in [(WordCount::Twelve, 12), (WordCount::TwentyFour, 24)] {
        let words = Words::random(count).unwrap();
        assert_eq!(words.reveal().split(' ').count(), number);
        assert_ne!(words.reveal(), Words::random(count).unwrap().reveal());
        let again = Words::parse(words.reveal()).unwrap();
        let address = |words: &Words| words.key(DerivationPath::Theta, 0).unwrap().address();
        assert_eq!(address(&again), address(&words));
        assert!(!format!("{words:?}").contains(words.reveal()));
    }
}

#[test]
fn a_key_is_read_from_hex() {
    let digits = "93a90ea508331dfdf27fb79757d4250b4e84954927ba0073cd67454ac432c737";
    let address = "0x2E833968E5bB786Ae419c4d13189fB081Cc43bab";
    assert_eq!(checksum_text(&parse_secret_key(digits).unwrap().address()), address);
    assert_eq!(checksum_text(&parse_secret_key(&format!(" 0X{digits}\n")).unwrap().address()), address);
    assert!(parse_secret_key(&digits[2..]).is_err());
    assert!(parse_secret_key("0x").is_err());
    assert_eq!(parse_secret_key(&"0".repeat(64)).unwrap_err(), KeyError::SecretRange);
}
