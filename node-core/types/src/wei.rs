//! The smallest unit of both tokens.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Mul};
use std::str::FromStr;

use num_bigint::BigUint;
use num_traits::{ToPrimitive, Zero};
use serde::de::{Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use crate::rlp::{Decode, Encode, Reader, RlpError};

/// Decimal digits of a whole coin: 1 Theta = 10^18 ThetaWei, 1 TFuel = 10^18 TFuelWei.
pub const DECIMALS: u32 = 18;

/// Longest decimal text that is read. The total supply has 28 digits.
const MAX_DIGITS: usize = 1024;

/// An amount of ThetaWei or TFuelWei: never negative, unbounded. Text and JSON are decimal digits.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Wei(BigUint);

/// Why a text is no amount of wei.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an amount of wei is written in decimal digits, at most {MAX_DIGITS} of them")]
pub struct ParseWeiError;

impl Wei {
    /// Nothing.
    pub fn zero() -> Self {
        Self(BigUint::zero())
    }

    /// Whole coins.
    pub fn from_coins(coins: u64) -> Self {
        Self(BigUint::from(coins) * BigUint::from(10u64).pow(DECIMALS))
    }

    /// True when nothing.
    pub fn is_zero(&self) -> bool {
        self.0.is_zero()
    }

    /// `self - other`, or `None` when that would be negative.
    pub fn checked_sub(&self, other: &Self) -> Option<Self> {
        (self.0 >= other.0).then(|| Self(&self.0 - &other.0))
    }

    /// `self - other`, but not below zero.
    pub fn saturating_sub(&self, other: &Self) -> Self {
        self.checked_sub(other).unwrap_or_default()
    }

    /// Floor of `self * percentage / 100`.
    pub fn percent(&self, percentage: u64) -> Self {
        self.mul_div(percentage, 100)
    }

    /// Floor of `self * numerator / denominator`; nothing when the denominator is 0.
    pub fn mul_div(&self, numerator: u64, denominator: u64) -> Self {
        if denominator == 0 {
            return Self::zero();
        }
        Self(&self.0 * numerator / denominator)
    }

    /// The amount, when it fits 64 bits.
    pub fn to_u64(&self) -> Option<u64> {
        self.0.to_u64()
    }

    /// The amount, when it fits 128 bits.
    pub fn to_u128(&self) -> Option<u128> {
        self.0.to_u128()
    }

    /// Nearest floating number, for ratios and charts. Never for money.
    pub fn to_f64_lossy(&self) -> f64 {
        self.0.to_f64().unwrap_or(f64::INFINITY)
    }

    /// The integer.
    pub fn as_biguint(&self) -> &BigUint {
        &self.0
    }

    /// Minimal big-endian bytes; none for zero.
    pub fn to_be_bytes(&self) -> Vec<u8> {
        if self.0.is_zero() { Vec::new() } else { self.0.to_bytes_be() }
    }

    /// From big-endian bytes.
    pub fn from_be_bytes(bytes: &[u8]) -> Self {
        Self(BigUint::from_bytes_be(bytes))
    }
}

impl From<BigUint> for Wei {
    fn from(value: BigUint) -> Self {
        Self(value)
    }
}

impl From<u64> for Wei {
    fn from(value: u64) -> Self {
        Self(BigUint::from(value))
    }
}

impl From<u128> for Wei {
    fn from(value: u128) -> Self {
        Self(BigUint::from(value))
    }
}

impl Add for Wei {
    type Output = Wei;
    fn add(self, other: Wei) -> Wei {
        Wei(self.0 + other.0)
    }
}

impl<'a> Add<&'a Wei> for Wei {
    type Output = Wei;
    fn add(self, other: &'a Wei) -> Wei {
        Wei(self.0 + &other.0)
    }
}

impl<'a> Add<&'a Wei> for &Wei {
    type Output = Wei;
    fn add(self, other: &'a Wei) -> Wei {
        Wei(&self.0 + &other.0)
    }
}

impl AddAssign for Wei {
    fn add_assign(&mut self, other: Wei) {
        self.0 += other.0;
    }
}

impl<'a> AddAssign<&'a Wei> for Wei {
    fn add_assign(&mut self, other: &'a Wei) {
        self.0 += &other.0;
    }
}

impl Mul<u64> for Wei {
    type Output = Wei;
    fn mul(self, factor: u64) -> Wei {
        Wei(self.0 * factor)
    }
}

impl Mul<u64> for &Wei {
    type Output = Wei;
    fn mul(self, factor: u64) -> Wei {
        Wei(&self.0 * factor)
    }
}

impl Sum for Wei {
    fn sum<I: Iterator<Item = Wei>>(amounts: I) -> Wei {
        amounts.fold(Wei::zero(), Add::add)
    }
}

impl<'a> Sum<&'a Wei> for Wei {
    fn sum<I: Iterator<Item = &'a Wei>>(amounts: I) -> Wei {
        amounts.fold(Wei::zero(), |sum, amount| sum + amount)
    }
}

impl fmt::Display for Wei {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl FromStr for Wei {
    type Err = ParseWeiError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() || text.len() > MAX_DIGITS || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(ParseWeiError);
        }
        BigUint::parse_bytes(text.as_bytes(), 10).map(Self).ok_or(ParseWeiError)
    }
}

impl Serialize for Wei {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Wei {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Digits;

        impl Visitor<'_> for Digits {
            type Value = Wei;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number as a decimal string")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Wei, E> {
                // The reference's parser takes a sign; a negative amount is none.
                text.strip_prefix('+').unwrap_or(text).parse().map_err(E::custom)
            }
        }

        deserializer.deserialize_str(Digits)
    }
}

impl Encode for Wei {
    fn encode_to(&self, out: &mut Vec<u8>) {
        self.0.encode_to(out);
    }
}

impl Decode for Wei {
    fn decode_from(reader: &mut Reader<'_>) -> Result<Self, RlpError> {
        Ok(Self(BigUint::decode_from(reader)?))
    }
}
