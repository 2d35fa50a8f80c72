//! A chat model: weights, tokenizer and template that belong together.

use std::sync::Arc;

use edge_jobs::ChatOrder;

use super::{Answer, ChatTemplate, Piece};
use crate::{
    ComputeError,
    gguf::Gguf,
    llama::LlamaFile,
    runtime::{Decoder, Runtime},
    tokenizer::ByteLevelBpe,
};

const MAX_MESSAGES: usize = 4096;

/// A loaded chat model.
#[derive(Debug)]
pub struct ChatModel {
    decoder: Arc<dyn Decoder>,
    tokenizer: ByteLevelBpe,
    template: ChatTemplate,
}

impl ChatModel {
    /// Loads a GGUF file's bytes on a runtime. `max_tokens` bounds prompt and answer together.
    pub fn load(bytes: Vec<u8>, max_tokens: usize, runtime: &dyn Runtime) -> Result<Arc<Self>, ComputeError> {
        let file = LlamaFile::new(Gguf::parse(bytes)?, max_tokens)?;
        let tokenizer = ByteLevelBpe::from_gguf(file.gguf())?;
        let template = ChatTemplate::recognise(file.gguf().text("tokenizer.chat_template")?)?;
        Ok(Arc::new(Self { decoder: runtime.load_decoder(&file)?, tokenizer, template }))
    }

    /// The tokens of a conversation up to where the answer begins.
    pub fn prompt(&self, order: &ChatOrder) -> Result<Vec<u32>, ComputeError> {
        if order.messages.is_empty() || order.messages.len() > MAX_MESSAGES {
            return Err(ComputeError::BadOrder(format!("a conversation has 1 to {MAX_MESSAGES} messages")));
        }
        let limit = self.decoder.max_tokens();
        let too_long = |tokens: usize| ComputeError::PromptTooLong { tokens, limit };
        let bytes: usize = order.messages.iter().map(|message| message.content.len()).sum();
        let least = self.tokenizer.least_tokens(bytes);
        if least >= limit {
            return Err(too_long(least));
        }
        let mut tokens = Vec::new();
        for piece in self.template.lay_out(&order.messages, order.continues)? {
            match piece {
                Piece::Control(name) => tokens.push(self.tokenizer.control(name)?),
                Piece::Text(text) => tokens.extend(self.tokenizer.encode(&text)?),
            }
        }
        if tokens.len() >= limit { Err(too_long(tokens.len())) } else { Ok(tokens) }
    }

    /// Begins the answer to a conversation. `fresh_seed` is taken when the order has no seed.
    pub fn answer(self: &Arc<Self>, order: &ChatOrder, fresh_seed: u64) -> Result<Answer, ComputeError> {
        Answer::new(self.clone(), order, fresh_seed)
    }

    /// The weights on their device.
    pub fn decoder(&self) -> &dyn Decoder {
        self.decoder.as_ref()
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &ByteLevelBpe {
        &self.tokenizer
    }
}
