//! Vouchers: payments signed off the chain, unit by unit, and settled on it now and then.
//!
//! A voucher is the payer's source signature on a service payment. All vouchers between two settlements carry the same payment
//! sequence and a total that only grows; whoever holds the last holds them all.

use serde::{Deserialize, Serialize};
use theta_types::rlp::{Decode, Encode, Reader, RlpError, encode_list};
use theta_types::{Address, Coins, ResourceId, ServicePaymentTx, Signature, TxInput, Wei};

use crate::wallet::{Wallet, WalletError};

/// Largest voucher on the wire. A usual one has 200 bytes.
pub const MAX_VOUCHER_LENGTH: usize = 1024;

/// Who pays whom, from which reserve, for which resource: what all vouchers of one line have in common.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PaymentLine {
    /// The chain that settles it.
    pub chain_id: String,
    /// Who pays.
    pub payer: Address,
    /// Who is paid.
    pub provider: Address,
    /// The payer's reserve.
    pub reserve_sequence: u64,
    /// The provider's resource.
    pub resource_id: ResourceId,
}

/// A signed promise of a total.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Voucher {
    /// Who pays.
    pub payer: Address,
    /// Who is paid.
    pub provider: Address,
    /// The payer's reserve.
    #[serde(with = "theta_types::json::decimal")]
    pub reserve_sequence: u64,
    /// Which settlement it belongs to.
    #[serde(with = "theta_types::json::decimal")]
    pub payment_sequence: u64,
    /// The provider's resource.
    pub resource_id: ResourceId,
    /// TFuelWei since the last settlement, this unit included.
    pub total: Wei,
    /// The payer's.
    pub signature: Signature,
}

/// Why a voucher is not accepted. The work stops until a good one comes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VoucherError {
    /// Of other parties, another reserve or resource.
    #[error("the voucher is of another line of payments")]
    OtherLine,
    /// The payer did not sign this.
    #[error("the payer did not sign the voucher")]
    Signature,
    /// Not a voucher.
    #[error("not a voucher: {0}")]
    Malformed(#[from] RlpError),
}

impl PaymentLine {
    /// The voucher for a total, signed by the payer.
    ///
    /// # Errors
    /// The payer's wallet is locked.
    pub fn voucher(&self, payer: &Wallet, payment_sequence: u64, total: Wei) -> Result<Voucher, WalletError> {
        let mut voucher = Voucher {
            payer: self.payer,
            provider: self.provider,
            reserve_sequence: self.reserve_sequence,
            payment_sequence,
            resource_id: self.resource_id.clone(),
            total,
            signature: Signature::empty(),
        };
        if payer.address() != self.payer {
            return Err(WalletError::OtherKey { expected: self.payer, found: payer.address() });
        }
        let mut payment = voucher.payment();
        payer.sign_payment(&self.chain_id, &mut payment)?;
        voucher.signature = payment.source.signature;
        Ok(voucher)
    }

    /// Checks that a voucher is of this line and signed by its payer. Says nothing of sequence and total: what they must be is
    /// for whoever keeps the book of the line.
    ///
    /// # Errors
    /// [`VoucherError::OtherLine`] or [`VoucherError::Signature`].
    pub fn verify(&self, voucher: &Voucher) -> Result<(), VoucherError> {
        let same = voucher.payer == self.payer
            && voucher.provider == self.provider
            && voucher.reserve_sequence == self.reserve_sequence
            && voucher.resource_id == self.resource_id;
        if !same {
            return Err(VoucherError::OtherLine);
        }
        let signed = voucher.payment().source_sign_bytes(&self.chain_id);
        if !voucher.signature.verify(&signed, &self.payer) {
            return Err(VoucherError::Signature);
        }
        Ok(())
    }
}

impl Voucher {
    /// The payment that the voucher promises, with the payer's signature, and without the provider's.
    pub fn payment(&self) -> ServicePaymentTx {
        ServicePaymentTx {
            fee: Coins::zero(),
            source: TxInput {
                address: self.payer,
                coins: Coins::tfuel(self.total.clone()),
                // The chain does not check the sequences of payments.
                sequence: 0,
                signature: self.signature.clone(),
            },
            target: TxInput::unsigned(self.provider, Coins::zero(), 0),
            payment_sequence: self.payment_sequence,
            reserve_sequence: self.reserve_sequence,
            resource_id: self.resource_id.clone(),
        }
    }

    /// The payment signed by the provider too, ready to be submitted. The provider pays the fee.
    ///
    /// # Errors
    /// The provider's wallet is locked, or another's.
    pub fn settlement(
        &self,
        chain_id: &str,
        fee: Wei,
        provider: &Wallet,
    ) -> Result<ServicePaymentTx, WalletError> {
        if provider.address() != self.provider {
            return Err(WalletError::OtherKey { expected: self.provider, found: provider.address() });
        }
        let mut payment = self.payment();
        payment.fee = Coins::tfuel(fee);
        provider.sign_settlement(chain_id, &mut payment)?;
        Ok(payment)
    }

    /// Reads a voucher from the wire.
    ///
    /// # Errors
    /// Not exactly one voucher, or longer than [`MAX_VOUCHER_LENGTH`].
    pub fn decode(bytes: &[u8]) -> Result<Self, VoucherError> {
        if bytes.len() > MAX_VOUCHER_LENGTH {
            return Err(RlpError::Refused("a voucher is not that long").into());
        }
        Ok(Self::from_rlp(bytes)?)
    }
}

impl Encode for Voucher {
    fn encode_to(&self, out: &mut Vec<u8>) {
        encode_list(out, |out| {
            self.payer.encode_to(out);
            self.provider.encode_to(out);
            self.reserve_sequence.encode_to(out);
            self.payment_sequence.encode_to(out);
            self.resource_id.encode_to(out);
            self.total.encode_to(out);
            self.signature.encode_to(out);
        });
    }
}

impl Decode for Voucher {
    fn decode_from(reader: &mut Reader<'_>) -> Result<Self, RlpError> {
        let mut list = reader.list()?;
        let voucher = Self {
            payer: Decode::decode_from(&mut list)?,
            provider: Decode::decode_from(&mut list)?,
            reserve_sequence: Decode::decode_from(&mut list)?,
            payment_sequence: Decode::decode_from(&mut list)?,
            resource_id: Decode::decode_from(&mut list)?,
            total: Decode::decode_from(&mut list)?,
            signature: Decode::decode_from(&mut list)?,
        };
        list.finish()?;
        Ok(voucher)
    }
}
