//! The two tokens of the chain, always carried together.

use std::iter::Sum;
use std::ops::{Add, AddAssign};

use serde::{Deserialize, Serialize};

use crate::rlp::rlp_structure;
use crate::wei::Wei;

/// An amount of both tokens. RLP `[theta, tfuel]`; JSON `{"thetawei":"1","tfuelwei":"2"}` (spec 01 section 6.1).
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Coins {
    /// ThetaWei: the staking token.
    #[serde(rename = "thetawei", default)]
    pub theta: Wei,
    /// TFuelWei: the token that fees and work are paid in.
    #[serde(rename = "tfuelwei", default)]
    pub tfuel: Wei,
}

rlp_structure!(Coins { theta, tfuel });

impl Coins {
    /// Both tokens.
    pub fn new(theta: Wei, tfuel: Wei) -> Self {
        Self { theta, tfuel }
    }

    /// TFuel alone.
    pub fn tfuel(tfuel: Wei) -> Self {
        Self { theta: Wei::zero(), tfuel }
    }

    /// Theta alone.
    pub fn theta(theta: Wei) -> Self {
        Self { theta, tfuel: Wei::zero() }
    }

    /// Neither.
    pub fn zero() -> Self {
        Self::default()
    }

    /// True when there is neither.
    pub fn is_zero(&self) -> bool {
        self.theta.is_zero() && self.tfuel.is_zero()
    }

    /// True when both parts reach those of `other`. Not the opposite of "less": the parts are compared one by one.
    pub fn covers(&self, other: &Coins) -> bool {
        self.theta >= other.theta && self.tfuel >= other.tfuel
    }

    /// `self - other`, or `None` when a part would be negative.
    pub fn checked_sub(&self, other: &Coins) -> Option<Coins> {
        Some(Coins {
            theta: self.theta.checked_sub(&other.theta)?,
            tfuel: self.tfuel.checked_sub(&other.tfuel)?,
        })
    }

    /// Floor of `percentage` hundredths of each part.
    pub fn percent(&self, percentage: u64) -> Coins {
        Coins { theta: self.theta.percent(percentage), tfuel: self.tfuel.percent(percentage) }
    }
}

impl Add for Coins {
    type Output = Coins;
    fn add(self, other: Coins) -> Coins {
        Coins { theta: self.theta + other.theta, tfuel: self.tfuel + other.tfuel }
    }
}

impl<'a> Add<&'a Coins> for &Coins {
    type Output = Coins;
    fn add(self, other: &'a Coins) -> Coins {
        Coins { theta: &self.theta + &other.theta, tfuel: &self.tfuel + &other.tfuel }
    }
}

impl<'a> AddAssign<&'a Coins> for Coins {
    fn add_assign(&mut self, other: &'a Coins) {
        self.theta += &other.theta;
        self.tfuel += &other.tfuel;
    }
}

impl AddAssign for Coins {
    fn add_assign(&mut self, other: Coins) {
        *self += &other;
    }
}

impl Sum for Coins {
    fn sum<I: Iterator<Item = Coins>>(parts: I) -> Coins {
        parts.fold(Coins::zero(), Add::add)
    }
}

impl<'a> Sum<&'a Coins> for Coins {
    fn sum<I: Iterator<Item = &'a Coins>>(parts: I) -> Coins {
        parts.fold(Coins::zero(), |mut sum, part| {
            sum += part;
            sum
        })
    }
}
