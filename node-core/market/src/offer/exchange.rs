//! The offers that a node knows, given to a node that has just connected: what it would else hear one by one, as each provider
//! announces itself again.
//!
//! On a stream of their own, each offer follows its length (4 bytes, big endian) as it was signed. Who gets them checks the
//! signatures, so it does not matter who gives them.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::{MAX_OFFER_BYTES, OfferError, Offers};

/// Most offers that are given, and taken, at one time: the newest.
pub const MAX_GIVEN: usize = 256;

/// Why the offers of another node were not taken, or not all of them.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// The stream broke.
    #[error("the stream broke: {0}")]
    Stream(#[from] std::io::Error),
    /// It sent something that is no offer. It would not have taken that itself.
    #[error(transparent)]
    Offer(#[from] OfferError),
    /// It sent more than [`MAX_GIVEN`].
    #[error("more than {MAX_GIVEN} offers")]
    TooMany,
}

impl ExchangeError {
    /// Whether the node that sent them is to blame.
    pub fn is_fault(&self) -> bool {
        !matches!(self, ExchangeError::Stream(_))
    }
}

impl Offers {
    /// Gives the newest offers, and ends the stream.
    ///
    /// # Errors
    /// The stream broke.
    pub async fn give(&self, stream: &mut (impl AsyncWrite + Unpin)) -> std::io::Result<()> {
        for offer in self.newest(MAX_GIVEN) {
            stream.write_u32(u32::try_from(offer.len()).map_err(std::io::Error::other)?).await?;
            stream.write_all(&offer).await?;
        }
        stream.shutdown().await
    }

    /// Takes what another node gives; how many there were. What was taken before an error stays.
    ///
    /// # Errors
    /// See [`ExchangeError`].
    pub async fn take_all(&self, stream: &mut (impl AsyncRead + Unpin)) -> Result<usize, ExchangeError> {
        let mut taken = 0;
        loop {
            let length = match stream.read_u32().await {
                Ok(length) => length as usize,
                Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(taken),
                Err(error) => return Err(error.into()),
            };
            if taken == MAX_GIVEN {
                return Err(ExchangeError::TooMany);
            }
            if length > MAX_OFFER_BYTES {
                return Err(OfferError::Length(length).into());
            }
            let mut offer = vec![0; length];
            stream.read_exact(&mut offer).await?;
            match self.take(&offer, None) {
                // It may have ended on the way, and clocks differ.
                Ok(()) | Err(OfferError::Time) => taken += 1,
                Err(error) => return Err(error.into()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::{
        SystemClock,
        clock::Clock,
        offer::{
            SignedOffer,
            signed::tests::{offer, wallet},
        },
    };

    fn book() -> Offers {
        Offers::new("local", Arc::new(SystemClock))
    }

    fn signed(number: u8) -> SignedOffer {
        let wallet = wallet(number);
        SignedOffer::sign(offer(&wallet, SystemClock.unix_seconds()), "local", &wallet).unwrap()
    }

    #[tokio::test]
    async fn what_one_node_knows_another_one_knows_then() {
        let (giver, taker) = (book(), book());
        for number in 1..=9 {
            giver.insert(signed(number));
        }
        let mut bytes = Vec::new();
        giver.give(&mut bytes).await.unwrap();
        assert_eq!(taker.take_all(&mut bytes.as_slice()).await.unwrap(), 9);
        let sorted = |book: &Offers| {
            let mut all = book.all();
            all.sort_by_key(|offer| offer.provider);
            all
        };
        assert_eq!(sorted(&taker), sorted(&giver));
    }

    #[tokio::test]
    async fn a_node_that_gives_what_is_no_offer_or_too_many_is_to_blame_and_one_that_breaks_off_is_not() {
        let mut bytes = Vec::new();
        let giver = book();
        giver.insert(signed(1));
        giver.give(&mut bytes).await.unwrap();
        let fault = async |bytes: Vec<u8>| book().take_all(&mut bytes.as_slice()).await.unwrap_err();

        let mut forged = bytes.clone();
        *forged.last_mut().unwrap() ^= 1;
        assert!(fault(forged).await.is_fault());
        assert!(fault(vec![0xff; 8]).await.is_fault());
        assert!(matches!(fault(bytes.repeat(MAX_GIVEN + 1)).await, ExchangeError::TooMany));
        assert!(!fault(bytes[..bytes.len() - 1].to_vec()).await.is_fault());
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let taker = book();
            let _ = runtime.block_on(taker.take_all(&mut bytes.as_slice()));
            prop_assert!(taker.all().is_empty());
        }
    }
}
