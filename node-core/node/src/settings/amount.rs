//! Amounts in settings: TFUEL as text, e.g. `"0.05"`.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use theta_types::{ParseCoinError, Wei, format_coins, parse_coin_amount};

/// An amount of TFUEL, written as decimal text, held in wei.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tfuel(Wei);

impl Tfuel {
    /// So many thousandths of a TFUEL.
    pub fn milli(thousandths: u64) -> Self {
        Self(Wei::from(u128::from(thousandths) * 10u128.pow(15)))
    }

    /// The amount in wei.
    pub fn wei(&self) -> &Wei {
        &self.0
    }
}

impl FromStr for Tfuel {
    type Err = ParseCoinError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse_coin_amount(text).map(Self)
    }
}

impl fmt::Display for Tfuel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&format_coins(&self.0))
    }
}

impl Serialize for Tfuel {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Tfuel {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_wei_survives_its_text(wei: u128) {
            let amount = Tfuel(Wei::from(wei));
            prop_assert_eq!(amount.to_string().parse::<Tfuel>().unwrap(), amount);
        }
    }
}
