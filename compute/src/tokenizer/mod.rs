//! Text to tokens and back.

mod byte_level;
mod utf8;
mod word_piece;

pub use self::{byte_level::ByteLevelBpe, utf8::Utf8Stream, word_piece::WordPiece};

#[cfg(test)]
pub(crate) use self::byte_level::tests::write_tiny;
