//! Keys from passphrases: scrypt as thetacli writes it, and PBKDF2, which is read only.

use serde::{Deserialize, Serialize};
use sha2::Sha256;
use zeroize::Zeroizing;

/// Cost of a new key file: n = 2^18. Takes 256 MiB and about a second.
pub(crate) const STANDARD: ScryptCost = ScryptCost { log_n: 18, r: 8, p: 1 };

/// Limits for files of others: memory of scrypt (128 * n * r bytes), its work, and rounds of PBKDF2.
const MAX_MEMORY: u64 = 1 << 30;
const MAX_WORK: u64 = 1 << 25;
const MAX_ROUNDS: u32 = 10_000_000;
const MAX_SALT: usize = 1024;

/// Bytes that are derived: 16 for the cipher, 16 for the check.
pub(crate) const DERIVED_LENGTH: usize = 32;

/// How much work scrypt does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ScryptCost {
    /// Logarithm of n.
    pub log_n: u8,
    pub r: u32,
    pub p: u32,
}

/// The `kdf` and `kdfparams` members of a key file. Members in the order of the reference.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "kdf", content = "kdfparams", rename_all = "lowercase")]
pub(crate) enum Kdf {
    Scrypt {
        dklen: u32,
        n: u64,
        p: u32,
        r: u32,
        #[serde(with = "hex::serde")]
        salt: Vec<u8>,
    },
    Pbkdf2 {
        c: u32,
        dklen: u32,
        prf: String,
        #[serde(with = "hex::serde")]
        salt: Vec<u8>,
    },
}

/// Why parameters are refused. The file was made by something else, or to exhaust this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum KdfError {
    #[error("its key derivation has parameters that make no sense")]
    Senseless,
    #[error("its key derivation would take too much memory or time")]
    TooCostly,
    #[error("its key derivation is of an unknown kind")]
    Unknown,
}

impl Kdf {
    /// Scrypt with this salt.
    pub fn scrypt(cost: ScryptCost, salt: [u8; 32]) -> Self {
        Self::Scrypt {
            dklen: DERIVED_LENGTH as u32,
            n: 1 << cost.log_n,
            p: cost.p,
            r: cost.r,
            salt: salt.to_vec(),
        }
    }

    /// The 32 bytes that the passphrase gives.
    pub fn derive(&self, passphrase: &str) -> Result<Zeroizing<[u8; DERIVED_LENGTH]>, KdfError> {
        let mut derived = Zeroizing::new([0u8; DERIVED_LENGTH]);
        match self {
            Self::Scrypt { dklen, n, p, r, salt } => {
                check_length(*dklen, salt)?;
                if !n.is_power_of_two() || *n < 2 || *r == 0 || *p == 0 {
                    return Err(KdfError::Senseless);
                }
                let blocks = n.checked_mul(u64::from(*r)).ok_or(KdfError::TooCostly)?;
                let memory = blocks.checked_mul(128).ok_or(KdfError::TooCostly)?;
                let work = blocks.checked_mul(u64::from(*p)).ok_or(KdfError::TooCostly)?;
                if memory > MAX_MEMORY || work > MAX_WORK {
                    return Err(KdfError::TooCostly);
                }
                let log_n = n.trailing_zeros() as u8;
                let params = scrypt::Params::new(log_n, *r, *p).map_err(|_| KdfError::Senseless)?;
                scrypt::scrypt(passphrase.as_bytes(), salt, &params, derived.as_mut_slice())
                    .map_err(|_| KdfError::Senseless)?;
            }
            Self::Pbkdf2 { c, dklen, prf, salt } => {
                check_length(*dklen, salt)?;
                if prf != "hmac-sha256" {
                    return Err(KdfError::Unknown);
                }
                match c {
                    0 => return Err(KdfError::Senseless),
                    1..=MAX_ROUNDS => {}
                    _ => return Err(KdfError::TooCostly),
                }
                pbkdf2::pbkdf2_hmac::<Sha256>(passphrase.as_bytes(), salt, *c, derived.as_mut_slice());
            }
        }
        Ok(derived)
    }
}

/// More bytes than 32 begin with the same 32, for both functions, and no more are used.
fn check_length(dklen: u32, salt: &[u8]) -> Result<(), KdfError> {
    if (dklen as usize) < DERIVED_LENGTH || salt.len() > MAX_SALT {
        return Err(KdfError::Senseless);
    }
    Ok(())
}
