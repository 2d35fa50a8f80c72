//! What a transaction costs (spec 01 section 6.5).

use theta_types::{ForkHeights, Height, Wei};

/// Fee of every kind but a send, in TFuelWei, for a block of this height: 0.3 TFuel since June 2021.
pub fn regular_fee(height: Height, forks: &ForkHeights) -> Wei {
    if height < forks.june_2021_fees {
        Wei::from(1_000_000_000_000u64)
    } else {
        Wei::from(300_000_000_000_000_000u64)
    }
}

/// Fee of a send with this many inputs and outputs together, in TFuelWei.
pub fn send_fee(parties: usize, height: Height, forks: &ForkHeights) -> Wei {
    if height < forks.june_2021_fees {
        regular_fee(height, forks)
    } else {
        regular_fee(height, forks).mul_div(parties.max(2) as u64, 2)
    }
}
