//! What an order may ask for, before anything is done about it.

use edge_jobs::{
    ChatOrder, EmbeddingsOrder, JobError, JobErrorCode, LadderStart, Order, Role, TRANSCODE_UNIT_MS,
    TranscodeOrder,
};

/// Longest model id.
const MAX_MODEL: usize = 128;
/// Most texts in one embeddings order.
const MAX_INPUTS: usize = 256;
/// Most bytes of text in one order.
const MAX_TEXT: usize = 4 * 1024 * 1024;
/// Most messages of a conversation.
const MAX_MESSAGES: usize = 1_024;
/// Most stop texts.
const MAX_STOPS: usize = 16;
/// Most renditions in one ladder.
const MAX_RUNGS: usize = 8;
/// Longest short side of a rendition or thumbnail.
const MAX_SIDE: u32 = 4_320;
/// Most thumbnails of one video.
const MAX_THUMBNAILS: u64 = 2_000;
/// Longest source: a day.
const MAX_SOURCE_MS: u64 = 24 * 60 * 60 * 1_000;

/// Checks the form of an order that came from a stranger. `max_source_bytes` bounds a source file.
pub fn check_order(order: &Order, max_source_bytes: u64) -> Result<(), JobError> {
    match order {
        Order::Transcode(order) => check_transcode(order, max_source_bytes),
        Order::Embeddings(order) => check_embeddings(order),
        Order::Chat(order) => check_chat(order),
    }
}

fn check_transcode(order: &TranscodeOrder, max_source_bytes: u64) -> Result<(), JobError> {
    if order.source_bytes == 0 || order.source_bytes > max_source_bytes {
        return bad(format!("a source has 1 to {max_source_bytes} bytes here"));
    }
    if order.source_duration_ms == 0 || order.source_duration_ms > MAX_SOURCE_MS {
        return bad("a source lasts at most a day");
    }
    let sides = &order.ladder.short_sides;
    if sides.len() > MAX_RUNGS || sides.iter().any(|side| !(16..=MAX_SIDE).contains(side)) {
        return bad(format!("a ladder has at most {MAX_RUNGS} rungs of 16 to {MAX_SIDE} pixels"));
    }
    if sides.is_empty() && !order.ladder.source_size {
        return bad("a ladder has at least one rung");
    }
    if let Some(thumbnails) = &order.thumbnails
        && (thumbnails.every_ms == 0
            || order.source_duration_ms / thumbnails.every_ms > MAX_THUMBNAILS
            || !(16..=MAX_SIDE).contains(&thumbnails.short_side))
    {
        return bad(format!("at most {MAX_THUMBNAILS} thumbnails of 16 to {MAX_SIDE} pixels"));
    }
    if order.from.as_ref().is_some_and(|from| !fits(from, order.source_duration_ms)) {
        return bad("a ladder goes on from a segment inside of it, after as many whole units");
    }
    Ok(())
}

/// Segments are nearly as long as units; an eighth covers every frame rate.
fn fits(from: &LadderStart, source_ms: u64) -> bool {
    let segments_ms = u64::from(from.segment) * TRANSCODE_UNIT_MS;
    from.segment > 0
        && from.ms > 0
        && from.ms.is_multiple_of(TRANSCODE_UNIT_MS)
        && from.ms < source_ms
        && segments_ms.abs_diff(from.ms) <= from.ms / 8 + TRANSCODE_UNIT_MS
        && from.thumbnail <= MAX_THUMBNAILS + 1
}

fn check_embeddings(order: &EmbeddingsOrder) -> Result<(), JobError> {
    if order.model.len() > MAX_MODEL {
        return bad("no model has such a long name");
    }
    if order.inputs.is_empty() || order.inputs.len() > MAX_INPUTS {
        return bad(format!("an order has 1 to {MAX_INPUTS} texts"));
    }
    if order.inputs.iter().map(String::len).sum::<usize>() > MAX_TEXT {
        return bad(format!("an order has at most {MAX_TEXT} bytes of text"));
    }
    Ok(())
}

fn check_chat(order: &ChatOrder) -> Result<(), JobError> {
    if order.model.len() > MAX_MODEL {
        return bad("no model has such a long name");
    }
    if order.messages.is_empty() || order.messages.len() > MAX_MESSAGES {
        return bad(format!("a conversation has 1 to {MAX_MESSAGES} messages"));
    }
    let last = order.messages.last().map(|message| message.role);
    if order.continues && last != Some(Role::Assistant) {
        return bad("only the model's own last message can be continued");
    }
    let text: usize = order.messages.iter().map(|message| message.content.len()).sum();
    let stops: usize = order.stop.iter().map(String::len).sum();
    if text + stops > MAX_TEXT {
        return bad(format!("a conversation has at most {MAX_TEXT} bytes of text"));
    }
    if order.stop.len() > MAX_STOPS || order.stop.iter().any(String::is_empty) {
        return bad(format!("at most {MAX_STOPS} stop texts, none of them empty"));
    }
    let sampling = &order.sampling;
    // Written so that what is no number is refused, too.
    let sound = (0.0..=2.0).contains(&sampling.temperature) && sampling.top_p > 0.0 && sampling.top_p <= 1.0;
    if !sound {
        return bad("temperature is 0 to 2, top-p above 0 and at most 1");
    }
    if order.max_tokens == Some(0) {
        return bad("at least one token must be wanted");
    }
    Ok(())
}

fn bad(message: impl Into<String>) -> Result<(), JobError> {
    Err(JobError::new(JobErrorCode::BadInput, message))
}

#[cfg(test)]
mod tests {
    use edge_jobs::{ChatMessage, ContentHash, Ladder, Role, Sampling, ThumbnailOrder, VideoEncoder};

    use super::*;

    fn chat() -> ChatOrder {
        ChatOrder {
            model: "m".into(),
            messages: vec![ChatMessage { role: Role::User, content: "Hello".into() }],
            continues: false,
            max_tokens: None,
            sampling: Sampling::default(),
            stop: vec![],
        }
    }

    fn transcode() -> TranscodeOrder {
        TranscodeOrder {
            source: ContentHash([0; 32]),
            source_bytes: 10,
            source_duration_ms: 10_000,
            ladder: Ladder::default(),
            thumbnails: None,
            from: None,
        }
    }

    fn refused(order: Order) -> bool {
        check_order(&order, 1_000).is_err_and(|error| error.code == JobErrorCode::BadInput)
    }

    #[test]
    fn ordinary_orders_pass() {
        check_order(&Order::Chat(chat()), 1_000).unwrap();
        check_order(&Order::Transcode(transcode()), 1_000).unwrap();
        let embeddings = EmbeddingsOrder { model: "m".into(), inputs: vec!["a".into()] };
        check_order(&Order::Embeddings(embeddings), 1_000).unwrap();
    }

    #[test]
    fn what_would_exhaust_a_provider_is_refused() {
        assert!(refused(Order::Embeddings(EmbeddingsOrder { model: "m".into(), inputs: vec![] })));
        let many = vec![String::new(); MAX_INPUTS + 1];
        assert!(refused(Order::Embeddings(EmbeddingsOrder { model: "m".into(), inputs: many })));
        assert!(refused(Order::Chat(ChatOrder { messages: vec![], ..chat() })));
        assert!(refused(Order::Chat(ChatOrder { stop: vec![String::new()], ..chat() })));
        assert!(refused(Order::Chat(ChatOrder { max_tokens: Some(0), ..chat() })));
        assert!(
            refused(Order::Chat(ChatOrder { continues: true, ..chat() })),
            "there is nothing to continue"
        );
        let hot = Sampling { temperature: f32::NAN, ..Sampling::default() };
        assert!(refused(Order::Chat(ChatOrder { sampling: hot, ..chat() })));
        assert!(refused(Order::Transcode(TranscodeOrder { source_bytes: 1_001, ..transcode() })));
        let ladder = Ladder { short_sides: vec![], source_size: false };
        assert!(refused(Order::Transcode(TranscodeOrder { ladder, ..transcode() })));
        let thumbnails = Some(ThumbnailOrder { every_ms: 1, short_side: 100 });
        assert!(refused(Order::Transcode(TranscodeOrder { thumbnails, ..transcode() })));
    }

    #[test]
    fn a_tail_begins_inside_the_source_and_about_where_it_says() {
        let tail = |segment, ms, thumbnail| {
            let from = LadderStart { segment, ms, thumbnail, encoder: VideoEncoder::X264 };
            Order::Transcode(TranscodeOrder { from: Some(from), ..transcode() })
        };
        check_order(&tail(2, 4_000, 1), 1_000).unwrap();
        check_order(&tail(3, 4_000, 0), 1_000).unwrap();
        for (segment, ms, thumbnail) in [
            (0, 4_000, 0),
            (2, 0, 0),
            (2, 4_100, 0),
            (5, 10_000, 0),
            (1, 8_000, 0),
            (4, 4_000, 0),
            (2, 4_000, 9_999),
        ] {
            assert!(refused(tail(segment, ms, thumbnail)), "{segment} {ms} {thumbnail}");
        }
    }
}
