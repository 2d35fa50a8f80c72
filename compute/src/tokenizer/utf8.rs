//! Bytes to text while they arrive.

/// Turns the bytes of tokens into text as early as possible, and never inside a character.
#[derive(Debug, Default)]
pub struct Utf8Stream {
    /// The start of a character whose end is still to come; at most three bytes.
    held: Vec<u8>,
}

impl Utf8Stream {
    /// Takes more bytes and returns the text that is complete. What can be no character becomes U+FFFD.
    pub fn push(&mut self, bytes: &[u8]) -> String {
        self.held.extend(bytes);
        let mut text = String::new();
        let mut rest = self.held.as_slice();
        loop {
            match std::str::from_utf8(rest) {
                Ok(valid) => {
                    text.push_str(valid);
                    rest = &[];
                    break;
                }
                Err(error) => {
                    let (valid, after) = rest.split_at(error.valid_up_to());
                    text.push_str(&String::from_utf8_lossy(valid));
                    let Some(wrong) = error.error_len() else {
                        rest = after;
                        break;
                    };
                    text.push(char::REPLACEMENT_CHARACTER);
                    rest = &after[wrong..];
                }
            }
        }
        self.held = rest.to_vec();
        text
    }

    /// What is left at the end: nothing, or U+FFFD for a character that never ended.
    pub fn finish(&mut self) -> String {
        let text = String::from_utf8_lossy(&self.held).into_owned();
        self.held.clear();
        text
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    #[test]
    fn a_character_comes_when_its_last_byte_does() {
        let mut stream = Utf8Stream::default();
        let film = "🎬".as_bytes();
        assert_eq!(stream.push(&film[..1]), "");
        assert_eq!(stream.push(&film[1..3]), "");
        assert_eq!(stream.push(&film[3..]), "🎬");
        assert_eq!(stream.push(&film[..2]), "");
        assert_eq!(stream.finish(), "\u{fffd}");
        assert_eq!(stream.finish(), "");
    }

    proptest! {
        #[test]
        fn pieces_give_the_same_text_as_the_whole(bytes in vec(any::<u8>(), 0..64), cuts in vec(1_usize..5, 64)) {
            let mut stream = Utf8Stream::default();
            let (mut text, mut rest) = (String::new(), bytes.as_slice());
            for cut in cuts {
                let (piece, after) = rest.split_at(cut.min(rest.len()));
                text += &stream.push(piece);
                rest = after;
            }
            text += &stream.push(rest);
            text += &stream.finish();
            prop_assert_eq!(text, String::from_utf8_lossy(&bytes));
        }
    }
}
