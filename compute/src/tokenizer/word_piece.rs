//! The tokenizer of BERT models.

use tokenizers::{Tokenizer, TruncationParams};

use crate::ComputeError;

/// WordPiece as a model's `tokenizer.json` describes it, with truncation but without padding.
#[derive(Debug)]
pub struct WordPiece {
    tokenizer: Tokenizer,
}

impl WordPiece {
    /// Reads a `tokenizer.json`. Texts are cut to `max_tokens`, special tokens included; what the file says about
    /// cutting and padding is set aside, because it was written for training.
    pub fn from_json(json: &[u8], max_tokens: usize) -> Result<Self, ComputeError> {
        let refused = |error: tokenizers::Error| ComputeError::ModelFile(format!("tokenizer.json: {error}"));
        let mut tokenizer = Tokenizer::from_bytes(json).map_err(refused)?;
        tokenizer.with_padding(None);
        let truncation = TruncationParams { max_length: max_tokens, ..TruncationParams::default() };
        tokenizer.with_truncation(Some(truncation)).map_err(refused)?;
        Ok(Self { tokenizer })
    }

    /// The ids of a text, special tokens included.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, ComputeError> {
        let encoding = self.tokenizer.encode_fast(text, true).map_err(|error| {
            ComputeError::BadOrder(format!("a text cannot be split into tokens: {error}"))
        })?;
        Ok(encoding.get_ids().to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tiny() -> WordPiece {
        let json = r###"{"version":"1.0","truncation":{"max_length":3,"strategy":"LongestFirst","stride":0},
            "padding":{"strategy":{"Fixed":9},"direction":"Right","pad_to_multiple_of":null,"pad_id":0,"pad_type_id":0,
            "pad_token":"[PAD]"},"added_tokens":[],
            "normalizer":{"type":"BertNormalizer","clean_text":true,"handle_chinese_chars":true,"strip_accents":null,
            "lowercase":true},"pre_tokenizer":{"type":"BertPreTokenizer"},
            "post_processor":{"type":"TemplateProcessing",
            "single":[{"SpecialToken":{"id":"[CLS]","type_id":0}},{"Sequence":{"id":"A","type_id":0}},
            {"SpecialToken":{"id":"[SEP]","type_id":0}}],"pair":[{"Sequence":{"id":"A","type_id":0}},
            {"Sequence":{"id":"B","type_id":1}}],
            "special_tokens":{"[CLS]":{"id":"[CLS]","ids":[1],"tokens":["[CLS]"]},
            "[SEP]":{"id":"[SEP]","ids":[2],"tokens":["[SEP]"]}}},"decoder":null,
            "model":{"type":"WordPiece","unk_token":"[UNK]","continuing_subword_prefix":"##",
            "max_input_chars_per_word":20,
            "vocab":{"[PAD]":0,"[CLS]":1,"[SEP]":2,"[UNK]":3,"cafe":4,"##s":5,",":6,"the":7}}}"###;
        WordPiece::from_json(json.as_bytes(), 6).unwrap()
    }

    #[test]
    fn words_are_lower_cased_and_split_into_known_pieces() {
        assert_eq!(tiny().encode("The CAFÉS,").unwrap(), [1, 7, 4, 5, 6, 2]);
        assert_eq!(tiny().encode("xyz").unwrap(), [1, 3, 2]);
        assert_eq!(tiny().encode("").unwrap(), [1, 2]);
    }

    #[test]
    fn long_texts_are_cut_to_the_limit_and_keep_their_end_token() {
        assert_eq!(tiny().encode("the the the the the the").unwrap(), [1, 7, 7, 7, 7, 2]);
    }

    #[test]
    fn a_text_that_is_no_tokenizer_is_refused() {
        assert!(matches!(WordPiece::from_json(b"{}", 6), Err(ComputeError::ModelFile(_))));
    }
}
