//! An answer while it is made, token by token.

use std::sync::Arc;

use edge_jobs::{ChatFinish, ChatOrder};

use super::{ChatModel, Sampler, StopTexts};
use crate::{ComputeError, runtime::Decoding, tokenizer::Utf8Stream};

/// Prompt tokens that one step reads: enough to multiply well, few enough to cancel at once.
const PROMPT_STEP: usize = 32;

/// An answer to a conversation. Each step is short, so that whoever drives it can stop between steps or take turns with
/// other work.
#[derive(Debug)]
pub struct Answer {
    model: Arc<ChatModel>,
    text: Box<dyn Decoding>,
    prompt: Vec<u32>,
    /// Logits of the next token, once the prompt is read.
    logits: Option<Vec<f32>>,
    sampler: Sampler,
    utf8: Utf8Stream,
    stop: StopTexts,
    made: usize,
    most: usize,
}

/// What one step brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// More of the prompt was read.
    Reading,
    /// More text, and how many completion tokens it stands for. The text is empty while a character is incomplete or
    /// text may turn out to be a stop text.
    Text {
        /// The text.
        text: String,
        /// Completion tokens.
        count: u32,
    },
    /// The answer is complete.
    End {
        /// Text that was still held back.
        text: String,
        /// Completion tokens that it and the step stand for.
        count: u32,
        /// Why it ended.
        finish: ChatFinish,
    },
}

impl Answer {
    pub(super) fn new(
        model: Arc<ChatModel>,
        order: &ChatOrder,
        fresh_seed: u64,
    ) -> Result<Self, ComputeError> {
        if order.max_tokens == Some(0) {
            return Err(ComputeError::BadOrder("an answer of no tokens is no answer".into()));
        }
        let sampler = Sampler::new(&order.sampling, fresh_seed)?;
        let stop = StopTexts::new(&order.stop)?;
        let prompt = model.prompt(order)?;
        let room = model.decoder().max_tokens() - prompt.len();
        let most = order.max_tokens.map_or(room, |wanted| room.min(wanted as usize));
        let text = model.decoder().start(prompt.len() + most)?;
        let utf8 = Utf8Stream::default();
        Ok(Self { model, text, prompt, logits: None, sampler, utf8, stop, made: 0, most })
    }

    /// How many tokens the conversation has.
    pub fn prompt_tokens(&self) -> u32 {
        self.prompt.len() as u32
    }

    /// How many completion tokens were made so far.
    pub fn completion_tokens(&self) -> u32 {
        self.made as u32
    }

    /// Reads a piece of the prompt, or makes one token. Must not be called again after the end.
    pub fn step(&mut self) -> Result<Step, ComputeError> {
        let Some(logits) = self.logits.take() else { return self.read() };
        let token = self.sampler.draw(&logits);
        if token == self.model.tokenizer().end() || self.model.tokenizer().is_control(token) {
            let text = self.rest();
            return Ok(Step::End { text, count: 0, finish: ChatFinish::Stop });
        }
        self.made += 1;
        let text = self.utf8.push(self.model.tokenizer().bytes(token));
        let passed = self.stop.push(&text);
        if passed.stopped {
            return Ok(Step::End { text: passed.text, count: 1, finish: ChatFinish::Stop });
        }
        if self.made == self.most {
            let text = passed.text + &self.rest();
            return Ok(Step::End { text, count: 1, finish: ChatFinish::Length });
        }
        self.logits = Some(self.text.push(&[token])?);
        Ok(Step::Text { text: passed.text, count: 1 })
    }

    fn read(&mut self) -> Result<Step, ComputeError> {
        let start = self.text.tokens();
        let end = self.prompt.len().min(start + PROMPT_STEP);
        let logits = self.text.push(&self.prompt[start..end])?;
        if end == self.prompt.len() {
            self.logits = Some(logits);
        }
        Ok(Step::Reading)
    }

    /// Text that was held back, at an end that no stop text made.
    fn rest(&mut self) -> String {
        let unfinished = self.utf8.finish();
        let passed = self.stop.push(&unfinished);
        if passed.stopped { passed.text } else { passed.text + &self.stop.finish() }
    }
}
