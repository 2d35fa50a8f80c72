//! Queue, spending limits, and clients that go away.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use edge_gateway::{Clock, GatewayConfig, QueueLimits};
use futures::StreamExt;
use jiff::Timestamp;
use serde_json::{Value, json};
use support::{Setup, answer, backends::ScriptedAi, until};
use theta_types::Wei;

fn chat(max_tokens: u32, stream: bool) -> Value {
    json!({
        "model": "talk",
        "messages": [{ "role": "user", "content": "hi" }],
        "max_tokens": max_tokens,
        "stream": stream,
    })
}

fn slow() -> ScriptedAi {
    ScriptedAi { words: vec!["word "; 1000], pause: Duration::from_millis(20), ..ScriptedAi::default() }
}

#[tokio::test]
async fn a_full_queue_is_429_with_a_time_to_come_back() {
    let queue = QueueLimits { running: 1, waiting: 1, longest_wait: Duration::from_secs(5) };
    let configure = Box::new(move |config: &mut GatewayConfig| config.ai_queue = queue);
    let served = Setup { ai: slow(), configure, ..Setup::default() }.serve().await;
    let key = served.key().await;
    let admission = served.gateway.as_ref().unwrap().admission().clone();
    let running = tokio::spawn(served.post("/v1/chat/completions", &key, &chat(50, false)).send());
    until("the first call runs", async || admission.running() == 1).await;
    let waiting = tokio::spawn(served.post("/v1/chat/completions", &key, &chat(50, false)).send());
    until("the second call waits", async || admission.waiting() == 1).await;

    let refused = served.post("/v1/chat/completions", &key, &chat(50, false)).send().await.unwrap();
    assert_eq!(refused.status(), 429);
    let seconds: u64 = refused.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=60).contains(&seconds));
    let body: Value = refused.json().await.unwrap();
    assert_eq!(body["error"]["code"], "rate_limit_exceeded");

    // Both clients go away; the place and the queue are free again.
    running.abort();
    waiting.abort();
    until("queue and place are free", async || admission.running() == 0 && admission.waiting() == 0).await;
}

#[tokio::test]
async fn a_client_that_goes_away_ends_its_job_and_payments_within_a_second() {
    for stream in [false, true] {
        let served = Setup { ai: slow(), ..Setup::default() }.serve().await;
        let key = served.key().await;
        let request = served.post("/v1/chat/completions", &key, &chat(100, stream));
        let call = tokio::spawn(async move {
            let response = request.send().await.unwrap();
            let mut body = response.bytes_stream();
            while body.next().await.is_some() {}
        });
        until("the job runs", async || served.ai.said.load(Ordering::SeqCst) >= 3).await;
        call.abort();
        let gone = std::time::Instant::now();
        until("the job ends", async || served.ai.running.load(Ordering::SeqCst) == 0).await;
        assert!(gone.elapsed() < Duration::from_secs(1), "{:?}", gone.elapsed());
        let said = served.ai.said.load(Ordering::SeqCst);
        until("the reservation is booked", async || served.store.open_reservations() == 0).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(served.ai.said.load(Ordering::SeqCst), said, "nothing was paid after the job ended");
        let spent = served.gateway.as_ref().unwrap().spending().spent(&key.record.id).await.unwrap();
        assert_eq!(spent.total, Wei::from(said as u64), "what was paid is booked, the rest is free");
    }
}

#[tokio::test]
async fn a_key_s_daily_limit_holds_and_starts_anew_the_next_day() {
    let now = Arc::new(AtomicI64::new(1_700_000_000));
    let clock = Clock::from_fn({
        let now = now.clone();
        move || Timestamp::from_second(now.load(Ordering::SeqCst)).unwrap()
    });
    let served = Setup { clock, ..Setup::default() }.serve().await;
    let key = served.limited_key(Some(10), None).await;
    let other = served.key().await;
    // 9 are reserved, 3 are spent.
    assert_eq!(answer(served.post("/v1/chat/completions", &key, &chat(9, false))).await.0, 200);
    until("the bill is booked", async || served.store.open_reservations() == 0).await;
    let (status, body) = answer(served.post("/v1/chat/completions", &key, &chat(8, false))).await;
    assert_eq!((status, &body["error"]["code"]), (429, &json!("insufficient_quota")));
    assert!(body["error"]["message"].as_str().unwrap().contains("midnight UTC"));
    assert_eq!(answer(served.post("/v1/chat/completions", &key, &chat(7, false))).await.0, 200);
    assert_eq!(answer(served.post("/v1/chat/completions", &other, &chat(50, false))).await.0, 200);

    now.fetch_add(86_400, Ordering::SeqCst);
    assert_eq!(answer(served.post("/v1/chat/completions", &key, &chat(8, false))).await.0, 200);
}

#[tokio::test]
async fn limits_of_a_key_s_life_and_of_the_gateway_hold() {
    let configure = Box::new(|config: &mut GatewayConfig| config.daily_limit = Some(Wei::from(7u64)));
    let served = Setup { configure, ..Setup::default() }.serve().await;
    let key = served.limited_key(None, Some(5)).await;
    let (status, body) = answer(served.post("/v1/chat/completions", &key, &chat(6, false))).await;
    assert_eq!((status, &body["error"]["type"]), (429, &json!("insufficient_quota")));
    let free = served.key().await;
    assert_eq!(answer(served.post("/v1/chat/completions", &free, &chat(7, false))).await.0, 200);
    until("the bill is booked", async || served.store.open_reservations() == 0).await;
    let (status, body) = answer(served.post("/v1/chat/completions", &free, &chat(5, false))).await;
    assert_eq!(status, 429);
    assert!(body["error"]["message"].as_str().unwrap().contains("this gateway's spending limit"));
}

#[tokio::test]
async fn a_job_that_would_cost_more_than_reserved_is_stopped() {
    let ai = ScriptedAi { words: vec!["word"; 5], ..ScriptedAi::default() };
    let served = Setup { ai, ..Setup::default() }.serve().await;
    let key = served.key().await;
    let (status, body) = answer(served.post("/v1/chat/completions", &key, &chat(4, false))).await;
    assert_eq!((status, &body["error"]["code"]), (429, &json!("insufficient_quota")));
    until("the bill is booked", async || served.store.open_reservations() == 0).await;
    let spent = served.gateway.as_ref().unwrap().spending().spent(&key.record.id).await.unwrap();
    assert_eq!(spent.day, Wei::from(4u64));
}

#[tokio::test]
async fn what_a_crash_left_reserved_counts_in_full() {
    let first = Setup { ai: slow(), ..Setup::default() }.serve().await;
    let key = first.limited_key(Some(100), None).await;
    let call = tokio::spawn(first.post("/v1/chat/completions", &key, &chat(60, false)).send());
    until("the job runs", async || first.ai.said.load(Ordering::SeqCst) >= 1).await;
    // The second gateway opens the same store while the first one's reservation is open, as after a crash.
    let second = Setup { store: first.store.clone(), ..Setup::default() }.serve().await;
    let spent = second.gateway.as_ref().unwrap().spending().spent(&key.record.id).await.unwrap();
    assert_eq!(spent.day, Wei::from(60u64));
    assert_eq!(answer(second.post("/v1/chat/completions", &key, &chat(41, false))).await.0, 429);
    call.abort();
}
