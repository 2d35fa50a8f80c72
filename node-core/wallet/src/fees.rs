//! What a transaction costs (spec 01 section 6.5).

use theta_types::{ForkHeights, Height, Wei};

/// Blocks within which a transaction made now is likely in one.
const LEAD: u64 = 20;

/// The height whose fees a transaction made now pays: some blocks above the last final one, because blocks that are not final yet may be
/// past a fork that raises fees. Paying more than the least is valid before it.
pub fn fee_height(last_final: Height) -> Height {
    Height(last_final.0.saturating_add(LEAD))
}

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
