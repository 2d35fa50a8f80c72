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
use edge_jobs::Order;
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
async fn a_chat_without_max_tokens_runs_on_what_a_limited_key_has_left() {
    // As on the market: a unit is 0.05 TFUEL, and a whole context of 8192 tokens with its spare units costs 25.85.
    let milli = |amount: u64| Wei::from(1_000_000_000_000_000u64) * amount;
    let ai = ScriptedAi { price: milli(50), longest: 517, ..ScriptedAi::default() };
    let served = Setup { ai, ..Setup::default() }.serve().await;
    let keys = served.gateway.as_ref().unwrap().keys();
    let key = keys.create("five a day", Some(milli(5_000)), None).await.unwrap();
    let body = json!({ "model": "talk", "messages": [{ "role": "user", "content": "hi" }] });
    // One after the other, also when the bill of the last one was not booked yet.
    for calls in 1..=33 {
        let (status, answer) = answer(served.post("/v1/chat/completions", &key, &body)).await;
        assert_eq!(status, 200, "call {calls}: {answer}");
    }
    until("the bills are booked", async || served.store.open_reservations() == 0).await;
    let spent = served.gateway.as_ref().unwrap().spending().spent(&key.record.id).await.unwrap();
    assert_eq!(spent.day, milli(4_950), "three units a call");
    // One unit is left, and the order says so to the market.
    let _ = answer(served.post("/v1/chat/completions", &key, &body)).await;
    let limits: Vec<_> = served.ai.orders.lock().unwrap().iter().map(max_tokens).collect();
    assert_eq!((limits[0], limits[33]), (Some(1_600), Some(16)), "five TFUEL are 100 units of 16 tokens");

    until("the bill is booked", async || served.store.open_reservations() == 0).await;
    let (status, body) = answer(served.post("/v1/chat/completions", &key, &body)).await;
    assert_eq!((status, &body["error"]["code"]), (429, &json!("insufficient_quota")));
    let message = body["error"]["message"].as_str().unwrap();
    assert!(message.contains("0 TFUEL left for today, and this costs at least 0.05 TFUEL"), "{message}");
    assert!(message.contains("midnight UTC"), "{message}");
}

fn max_tokens(order: &Order) -> Option<u32> {
    let Order::Chat(chat) = order else { panic!("{order:?}") };
    chat.max_tokens
}

#[tokio::test]
async fn what_running_calls_hold_is_said_and_comes_back() {
    let served = Setup { ai: slow(), ..Setup::default() }.serve().await;
    let key = served.limited_key(Some(100), None).await;
    let running = tokio::spawn(served.post("/v1/chat/completions", &key, &chat(100, false)).send());
    until("the first call runs", async || served.ai.said.load(Ordering::SeqCst) >= 1).await;
    let refused = served.post("/v1/chat/completions", &key, &chat(1, false)).send().await.unwrap();
    assert_eq!(refused.status(), 429);
    assert!(refused.headers().contains_key("retry-after"));
    let body: Value = refused.json().await.unwrap();
    assert_eq!(body["error"]["code"], "rate_limit_exceeded");
    assert!(body["error"]["message"].as_str().unwrap().contains("held for calls that still run"), "{body}");
    // A call that waits for the money gets it when the other one ends.
    let waiting = tokio::spawn(served.post("/v1/chat/completions", &key, &chat(1, true)).send());
    tokio::time::sleep(Duration::from_millis(100)).await;
    running.abort();
    assert_eq!(waiting.await.unwrap().unwrap().status(), 200);
}

#[tokio::test]
async fn a_key_s_daily_limit_holds_and_starts_anew_the_next_day() {
    let now = Arc::new(AtomicI64::new(1_700_000_000));
    let clock = Clock::from_fn({
        let now = now.clone();
        move || Timestamp::from_second(now.load(Ordering::SeqCst)).unwrap()
    });
    let served = Setup { clock, ..Setup::default() }.serve().await;
    let key = served.limited_key(Some(6), None).await;
    let other = served.key().await;
    // Each spends 3, whatever is reserved.
    for wanted in [5, 50] {
        assert_eq!(answer(served.post("/v1/chat/completions", &key, &chat(wanted, false))).await.0, 200);
        until("the bill is booked", async || served.store.open_reservations() == 0).await;
    }
    let (status, body) = answer(served.post("/v1/chat/completions", &key, &chat(1, false))).await;
    assert_eq!((status, &body["error"]["code"]), (429, &json!("insufficient_quota")));
    let message = body["error"]["message"].as_str().unwrap();
    assert!(message.contains("midnight UTC, 2023-11-15T00:00:00.000Z"), "{message}");
    assert_eq!(answer(served.post("/v1/chat/completions", &other, &chat(50, false))).await.0, 200);

    now.fetch_add(86_400, Ordering::SeqCst);
    assert_eq!(answer(served.post("/v1/chat/completions", &key, &chat(8, false))).await.0, 200);
}

#[tokio::test]
async fn limits_of_a_key_s_life_and_of_the_gateway_hold() {
    let configure = Box::new(|config: &mut GatewayConfig| config.daily_limit = Some(Wei::from(6u64)));
    let served = Setup { configure, ..Setup::default() }.serve().await;
    let key = served.limited_key(None, Some(3)).await;
    assert_eq!(answer(served.post("/v1/chat/completions", &key, &chat(6, false))).await.0, 200);
    until("the bill is booked", async || served.store.open_reservations() == 0).await;
    let (status, body) = answer(served.post("/v1/chat/completions", &key, &chat(6, false))).await;
    assert_eq!((status, &body["error"]["type"]), (429, &json!("insufficient_quota")));
    assert!(body["error"]["message"].as_str().unwrap().contains("this key's spending limit"));
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
    let key = first.limited_key(Some(60), None).await;
    let call = tokio::spawn(first.post("/v1/chat/completions", &key, &chat(60, false)).send());
    until("the job runs", async || first.ai.said.load(Ordering::SeqCst) >= 1).await;
    // The second gateway opens the same store while the first one's reservation is open, as after a crash.
    let second = Setup { store: first.store.clone(), ..Setup::default() }.serve().await;
    let spent = second.gateway.as_ref().unwrap().spending().spent(&key.record.id).await.unwrap();
    assert_eq!(spent.day, Wei::from(60u64));
    assert_eq!(answer(second.post("/v1/chat/completions", &key, &chat(1, false))).await.0, 429);
    call.abort();
}
