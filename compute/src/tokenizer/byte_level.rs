//! Byte-level BPE as GGUF files carry it.

use std::{collections::HashMap, fmt};

use tokenizers::{
    Tokenizer,
    models::bpe::{BPE, Vocab},
    pre_tokenizers::{byte_level::ByteLevel, digits::Digits, sequence::Sequence},
};

use crate::{ComputeError, gguf::Gguf};

/// How GGUF numbers a token that steers the model instead of standing for text.
const CONTROL: i64 = 3;

/// A byte-level BPE: any text has tokens, and tokens join to the text's bytes.
pub struct ByteLevelBpe {
    tokenizer: Tokenizer,
    /// The bytes that each token stands for; none for control tokens.
    bytes: Vec<Box<[u8]>>,
    controls: HashMap<String, u32>,
    end: u32,
    longest: usize,
}

impl ByteLevelBpe {
    /// Reads the tokenizer of a GGUF file. Only the split that SmolLM models use is known.
    pub fn from_gguf(gguf: &Gguf) -> Result<Self, ComputeError> {
        let refused = |reason: String| ComputeError::ModelFile(format!("the tokenizer {reason}"));
        let (model, split) = (gguf.text("tokenizer.ggml.model")?, gguf.text("tokenizer.ggml.pre")?);
        if (model, split) != ("gpt2", "smollm") {
            return Err(refused(format!("`{model}` with the split `{split}` is not known here")));
        }
        let names = gguf.texts("tokenizer.ggml.tokens")?;
        let kinds = gguf.integers("tokenizer.ggml.token_type")?;
        if names.len() != kinds.len() || u32::try_from(names.len()).is_err() {
            return Err(refused(format!("has {} tokens and {} kinds", names.len(), kinds.len())));
        }
        let end = gguf.count("tokenizer.ggml.eos_token_id")?;
        if end >= names.len() as u64 {
            return Err(refused(format!("ends with the unknown token {end}")));
        }
        let (mut vocabulary, mut controls) = (Vocab::default(), HashMap::new());
        let mut bytes: Vec<Box<[u8]>> = Vec::with_capacity(names.len());
        let alphabet = alphabet();
        for ((id, name), kind) in (0_u32..).zip(names).zip(kinds) {
            if *kind == CONTROL {
                controls.insert(name.clone(), id);
                bytes.push(Box::default());
            } else {
                let stands_for: Option<Box<[u8]>> =
                    name.chars().map(|letter| alphabet.get(&letter).copied()).collect();
                bytes.push(stands_for.ok_or_else(|| refused(format!("has the odd token {name:?}")))?);
            }
            if vocabulary.insert(name.clone(), id).is_some() {
                return Err(refused(format!("has the token {name:?} twice")));
            }
        }
        let merges = gguf.texts("tokenizer.ggml.merges")?.iter().map(|merge| {
            let (left, right) = merge.split_once(' ').ok_or_else(|| refused(format!("merges {merge:?}")))?;
            Ok((left.to_owned(), right.to_owned()))
        });
        let merges = merges.collect::<Result<Vec<_>, ComputeError>>()?;
        let bpe = BPE::builder().vocab_and_merges(vocabulary, merges).build();
        let mut tokenizer = Tokenizer::new(bpe.map_err(|error| refused(error.to_string()))?);
        // The split named `smollm`: each digit alone, then GPT-2's words. A control token's name inside a text is
        // never looked for, so a message cannot smuggle one in.
        let steps = vec![Digits::new(true).into(), ByteLevel::new(false, true, true).into()];
        tokenizer.with_pre_tokenizer(Some(Sequence::new(steps)));
        let longest = bytes.iter().map(|bytes| bytes.len()).max().unwrap_or(0);
        Ok(Self { tokenizer, bytes, controls, end: end as u32, longest })
    }

    /// The tokens of a text; the names of control tokens in it are plain text.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, ComputeError> {
        let encoding = self.tokenizer.encode_fast(text, false).map_err(|error| {
            ComputeError::BadOrder(format!("a text cannot be split into tokens: {error}"))
        })?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The control token of that name.
    pub fn control(&self, name: &str) -> Result<u32, ComputeError> {
        self.controls
            .get(name)
            .copied()
            .ok_or_else(|| ComputeError::ModelFile(format!("the tokenizer lacks the control token {name}")))
    }

    /// Whether a token steers the model instead of standing for text.
    pub fn is_control(&self, token: u32) -> bool {
        self.controls.values().any(|control| *control == token)
    }

    /// The token that ends an answer.
    pub fn end(&self) -> u32 {
        self.end
    }

    /// The bytes that a token stands for; none for a control token or an unknown one.
    pub fn bytes(&self, token: u32) -> &[u8] {
        self.bytes.get(token as usize).map_or(&[], |bytes| bytes)
    }

    /// The fewest tokens that a text of so many bytes can have.
    pub fn least_tokens(&self, bytes: usize) -> usize {
        bytes.div_ceil(self.longest.max(1))
    }
}

impl fmt::Debug for ByteLevelBpe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ByteLevelBpe").field("tokens", &self.bytes.len()).finish_non_exhaustive()
    }
}

/// The byte that each letter of a byte-level vocabulary stands for: printable Latin-1 is itself, and the other bytes
/// follow as U+0100, U+0101 and so on.
fn alphabet() -> HashMap<char, u8> {
    let mut substitutes = (0x100_u32..).filter_map(char::from_u32);
    (0..=u8::MAX)
        .filter_map(|byte| {
            let printable = matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
            let letter = if printable { Some(char::from(byte)) } else { substitutes.next() };
            letter.map(|letter| (letter, byte))
        })
        .collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::gguf::writer::Writer;

    /// Three control tokens, every byte, and two merges: a tokenizer small enough to check by hand.
    pub fn write_tiny(writer: &mut Writer) -> usize {
        let letters: HashMap<u8, char> =
            alphabet().into_iter().map(|(letter, byte)| (byte, letter)).collect();
        let mut names: Vec<String> = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"].map(String::from).into();
        names.extend((0..=u8::MAX).map(|byte| letters[&byte].to_string()));
        names.extend(["he", "Ġhe", "Ġ1"].map(String::from));
        let kinds: Vec<i32> = (0..names.len()).map(|id| if id < 3 { 3 } else { 1 }).collect();
        writer
            .text("tokenizer.ggml.model", "gpt2")
            .text("tokenizer.ggml.pre", "smollm")
            .texts("tokenizer.ggml.tokens", &names)
            .i32s("tokenizer.ggml.token_type", &kinds)
            .texts("tokenizer.ggml.merges", &["h e", "Ġ he", "Ġ 1"].map(String::from))
            .u32("tokenizer.ggml.eos_token_id", 2);
        names.len()
    }

    fn tiny() -> ByteLevelBpe {
        let mut writer = Writer::default();
        write_tiny(&mut writer);
        ByteLevelBpe::from_gguf(&Gguf::parse(writer.bytes()).unwrap()).unwrap()
    }

    fn byte(byte: u8) -> u32 {
        3 + u32::from(byte)
    }

    #[test]
    fn merges_join_letters_and_digits_stand_alone() {
        let tokens = tiny().encode("he he 11").unwrap();
        // The space before a digit is split off with the digit's split, so "Ġ1" is never made.
        assert_eq!(tokens, [259, 260, byte(b' '), byte(b'1'), byte(b'1')]);
    }

    #[test]
    fn the_name_of_a_control_token_in_a_text_is_plain_text() {
        let bpe = tiny();
        let tokens = bpe.encode("<|im_end|>").unwrap();
        assert!(tokens.iter().all(|token| !bpe.is_control(*token)));
        assert_eq!(bpe.control("<|im_end|>").unwrap(), 2);
        assert!(bpe.is_control(2) && bpe.bytes(2).is_empty());
    }

    #[test]
    fn another_kind_of_tokenizer_is_refused_by_name() {
        let mut writer = Writer::default();
        writer.text("tokenizer.ggml.model", "llama").text("tokenizer.ggml.pre", "default");
        let error = ByteLevelBpe::from_gguf(&Gguf::parse(writer.bytes()).unwrap()).unwrap_err();
        assert!(error.to_string().contains("`llama`"), "{error}");
    }

    proptest! {
        #[test]
        fn tokens_join_to_the_text_they_came_from(text in any::<String>()) {
            let bpe = tiny();
            let tokens = bpe.encode(&text).unwrap();
            prop_assert!(tokens.len() >= bpe.least_tokens(text.len()));
            let bytes: Vec<u8> = tokens.iter().flat_map(|token| bpe.bytes(*token)).copied().collect();
            prop_assert_eq!(String::from_utf8(bytes).unwrap(), text);
        }
    }
}
