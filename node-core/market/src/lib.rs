//! Offers, matching, checking of results, payment lines, settlement and reputation.
