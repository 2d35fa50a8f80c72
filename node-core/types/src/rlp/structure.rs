//! RLP of structures: a list of the fields in the order of the wire.

/// Gives a structure its codec: `rlp_structure!(TxOutput { address, coins });`. Too few or too many elements are errors.
macro_rules! rlp_structure {
    ($name:ident { $($field:ident),+ $(,)? }) => {
        impl $crate::rlp::Encode for $name {
            fn encode_to(&self, out: &mut Vec<u8>) {
                $crate::rlp::encode_list(out, |out| {
                    $($crate::rlp::Encode::encode_to(&self.$field, out);)+
                });
            }
        }

        impl $crate::rlp::Decode for $name {
            fn decode_from(reader: &mut $crate::rlp::Reader<'_>) -> Result<Self, $crate::rlp::RlpError> {
                let mut list = reader.list()?;
                let value = Self {
                    $($field: $crate::rlp::Decode::decode_from(&mut list)?,)+
                };
                list.finish()?;
                Ok(value)
            }
        }
    };
}

pub(crate) use rlp_structure;
