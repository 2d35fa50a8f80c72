//! Keystores, signing, access to a chain, and payment vouchers.
