//! Chat: from a conversation to the text that continues it.

mod answer;
mod model;
mod sampler;
mod stop;
mod template;

pub use self::{
    answer::{Answer, Step},
    model::ChatModel,
    sampler::Sampler,
    stop::StopTexts,
    template::{ChatTemplate, Piece},
};

#[cfg(test)]
pub(crate) use self::template::tests::TEXT as TEMPLATE_TEXT;

#[cfg(test)]
mod tests;
