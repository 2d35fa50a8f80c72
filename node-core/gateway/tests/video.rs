//! The Video API over real HTTP.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use edge_gateway::{BackendError, Clock, GatewayConfig, NewKey, UploadState, VideoId, VideoStore};
use edge_jobs::ContentHash;
use jiff::Timestamp;
use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};
use support::{Served, Setup, answer, backends::ScriptedVideo, until};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

const BYTES: &[u8] = b"not a film, but bytes";

fn as_account(request: RequestBuilder, key: &NewKey) -> RequestBuilder {
    request.header("x-tva-sa-id", key.record.id.as_str()).header("x-tva-sa-secret", &key.secret)
}

async fn new_upload(served: &Served, key: &NewKey) -> (String, String) {
    let request = as_account(Client::new().post(format!("{}/upload", served.base)), key);
    let (status, body) = answer(request).await;
    assert_eq!((status, &body["status"]), (200, &json!("success")), "{body}");
    let upload = &body["body"]["uploads"][0];
    assert_eq!(upload["service_account_id"], key.record.id.as_str());
    assert_eq!(upload["presigned_url_expired"], false);
    (upload["id"].as_str().unwrap().to_owned(), upload["presigned_url"].as_str().unwrap().to_owned())
}

async fn uploaded(served: &Served, key: &NewKey) -> String {
    let (id, url) = new_upload(served, key).await;
    assert_eq!(Client::new().put(url).body(BYTES).send().await.unwrap().status(), 200);
    id
}

async fn order(served: &Served, key: &NewKey, body: Value) -> (u16, Value) {
    answer(as_account(Client::new().post(format!("{}/video", served.base)), key).json(&body)).await
}

async fn video(served: &Served, key: &NewKey, id: &str) -> Value {
    let (status, body) =
        answer(as_account(Client::new().get(format!("{}/video/{id}", served.base)), key)).await;
    assert_eq!(status, 200, "{body}");
    body["body"]["videos"][0].clone()
}

async fn finished(served: &Served, key: &NewKey, id: &str) -> Value {
    let done =
        async || ["success", "error"].contains(&video(served, key, id).await["state"].as_str().unwrap());
    until("the video is finished", done).await;
    video(served, key, id).await
}

#[tokio::test]
async fn an_upload_becomes_a_stream() {
    let served = Setup::default().serve().await;
    let key = served.key().await;
    let upload = uploaded(&served, &key).await;
    let body = json!({
        "source_upload_id": upload, "playback_policy": "public", "resolutions": [720, 360],
        "file_name": "sea.mp4", "metadata": { "place": "reef", "take": 2 },
    });
    let (status, created) = order(&served, &key, body).await;
    assert_eq!(status, 200, "{created}");
    let created = &created["body"]["videos"][0];
    assert_eq!((&created["state"], &created["sub_state"]), (&json!("created"), &json!("none")));
    assert_eq!(created["playback_uri"], Value::Null);

    let done = finished(&served, &key, created["id"].as_str().unwrap()).await;
    for (field, value) in [
        ("state", json!("success")),
        ("sub_state", json!("none")),
        ("progress", json!(100)),
        ("duration", json!("5.312")),
        ("resolution", json!(720)),
        ("source_upload_id", json!(upload)),
        ("source_uri", Value::Null),
        ("playback_policy", json!("public")),
        ("file_name", json!("sea.mp4")),
        ("metadata", json!({ "place": "reef", "take": "2" })),
        ("playback_uri", json!("http://127.0.0.1:1/share/master.m3u8")),
        ("player_uri", json!("http://127.0.0.1:1/share")),
        ("error", Value::Null),
        ("cost_tfuelwei", json!("30")),
    ] {
        assert_eq!(done[field], value, "{field}");
    }
    let requests = served.video.requests.lock().unwrap();
    assert_eq!(requests[0].source.hash, ContentHash::of(BYTES));
    assert_eq!(requests[0].resolutions, [360, 720]);
}

#[tokio::test]
async fn an_upload_address_is_good_once_for_fifteen_minutes_and_with_its_token() {
    let now = Arc::new(AtomicI64::new(1_700_000_000));
    let clock = Clock::from_fn({
        let now = now.clone();
        move || Timestamp::from_second(now.load(Ordering::SeqCst)).unwrap()
    });
    let served = Setup { clock, ..Setup::default() }.serve().await;
    let key = served.key().await;
    let put = async |url: &str| Client::new().put(url).body(BYTES).send().await.unwrap().status().as_u16();

    let (_, url) = new_upload(&served, &key).await;
    assert_eq!(put(&url.replace("token=", "token=x")).await, 403);
    assert_eq!(put(url.split('?').next().unwrap()).await, 403);
    now.fetch_add(15 * 60 - 1, Ordering::SeqCst);
    assert_eq!(put(&url).await, 200);
    assert_eq!(put(&url).await, 409);

    let (_, late) = new_upload(&served, &key).await;
    now.fetch_add(15 * 60, Ordering::SeqCst);
    assert_eq!(put(&late).await, 403);
}

#[tokio::test]
async fn what_is_too_large_leaves_nothing_behind_and_can_be_put_again() {
    let configure = Box::new(|config: &mut GatewayConfig| config.largest_upload = 1000);
    let served = Setup { configure, ..Setup::default() }.serve().await;
    let key = served.key().await;
    let (id, url) = new_upload(&served, &key).await;
    // Announced too large, and found too large while it comes without a length.
    let announced = Client::new().put(&url).body(vec![1; 1001]);
    assert_eq!(answer(announced).await.0, 413);
    let chunks = futures::stream::iter((0..2000).map(|_| Ok::<_, std::io::Error>(vec![1u8])));
    let unannounced = Client::new().put(&url).body(reqwest::Body::wrap_stream(chunks)).send().await;
    assert!(unannounced.is_err() || unannounced.unwrap().status() == 413);
    let file = served.folder.path().join("uploads").join(&id);
    until("the incomplete file is removed", async || !file.exists()).await;
    until("the address works again", async || {
        Client::new().put(&url).body(vec![1; 1000]).send().await.unwrap().status() == 200
    })
    .await;
    assert_eq!(std::fs::metadata(&file).unwrap().len(), 1000);
}

#[tokio::test]
async fn a_full_folder_is_507() {
    let configure = Box::new(|config: &mut GatewayConfig| config.uploads_capacity = 30);
    let served = Setup { configure, ..Setup::default() }.serve().await;
    let key = served.key().await;
    uploaded(&served, &key).await;
    let (_, url) = new_upload(&served, &key).await;
    let (status, body) = answer(Client::new().put(url).body(BYTES)).await;
    assert_eq!((status, &body["status"]), (507, &json!("error")));
}

/// A PUT that says how long it is, and sends a part only.
async fn stalled_put(url: &str, announced: usize, sent: &[u8]) -> TcpStream {
    let (address, path) = url.strip_prefix("http://").unwrap().split_once('/').unwrap();
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!("PUT /{path} HTTP/1.1\r\nHost: {address}\r\nContent-Length: {announced}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(sent).await.unwrap();
    stream
}

#[tokio::test]
async fn two_uploads_that_fit_singly_do_not_both_get_the_room() {
    let configure = Box::new(|config: &mut GatewayConfig| config.uploads_capacity = 30);
    let served = Setup { configure, ..Setup::default() }.serve().await;
    let key = served.key().await;
    let (id, first) = new_upload(&served, &key).await;
    let (_, second) = new_upload(&served, &key).await;
    let receiving = async || {
        let upload = served.store.upload(&id.parse().unwrap()).await.unwrap().unwrap();
        upload.state == UploadState::Receiving
    };
    // Once by the length that is announced, once by the bytes that have come.
    let announced = stalled_put(&first, BYTES.len(), &[]).await;
    until("the first upload is announced", receiving).await;
    let (status, body) = answer(Client::new().put(&second).body(BYTES)).await;
    assert_eq!((status, &body["status"]), (507, &json!("error")));
    drop(announced);
    until("the first upload waits again", async || !receiving().await).await;

    let (sender, chunks) = futures::channel::mpsc::unbounded::<std::io::Result<&'static [u8]>>();
    sender.unbounded_send(Ok(BYTES)).unwrap();
    let request = Client::new().put(&first).body(reqwest::Body::wrap_stream(chunks));
    let unannounced = tokio::spawn(async move { request.send().await.unwrap().status() });
    let file = served.folder.path().join("uploads").join(&id);
    let written = async || std::fs::metadata(&file).is_ok_and(|file| file.len() == BYTES.len() as u64);
    until("the first upload's bytes have come", written).await;
    assert_eq!(answer(Client::new().put(&second).body(BYTES)).await.0, 507);
    drop(sender);
    assert_eq!(unannounced.await.unwrap(), 200);
    assert_eq!(answer(Client::new().put(&second).body(BYTES)).await.0, 507);
    assert_eq!(Client::new().put(&second).body(&BYTES[..9]).send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn an_upload_that_stalls_ends_and_can_be_put_again() {
    let configure = Box::new(|config: &mut GatewayConfig| {
        config.upload_idle = Duration::from_millis(200);
        config.uploads_capacity = BYTES.len() as u64;
    });
    let served = Setup { configure, ..Setup::default() }.serve().await;
    let key = served.key().await;
    let (id, url) = new_upload(&served, &key).await;
    let mut stream = stalled_put(&url, BYTES.len(), &BYTES[..5]).await;
    let mut text = String::new();
    tokio::time::timeout(Duration::from_secs(5), stream.read_to_string(&mut text)).await.unwrap().unwrap();
    assert!(text.starts_with("HTTP/1.1 408 "), "{text}");
    assert!(text.contains(r#""status":"error""#), "{text}");
    let file = served.folder.path().join("uploads").join(&id);
    until("the incomplete file is removed", async || !file.exists()).await;
    until("the address and its room can be used", async || {
        Client::new().put(&url).body(BYTES).send().await.unwrap().status() == 200
    })
    .await;
}

#[tokio::test]
async fn what_lies_in_the_folder_counts_after_a_restart_and_what_a_crash_left_does_not() {
    let configure = Box::new(|config: &mut GatewayConfig| config.uploads_capacity = 30);
    let first = Setup { configure, ..Setup::default() }.serve().await;
    let key = first.key().await;
    uploaded(&first, &key).await;
    let (id, url) = new_upload(&first, &key).await;
    let _cut = stalled_put(&url, 9, b"half").await;
    let uploads = first.folder.path().join("uploads");
    until("a part has come", async || std::fs::read(uploads.join(&id)).is_ok_and(|part| part == b"half"))
        .await;

    // The second gateway opens the same folder while the first one's upload comes, as after a crash.
    let folder = uploads.clone();
    let configure = Box::new(|config: &mut GatewayConfig| {
        (config.uploads, config.uploads_capacity) = (folder, 30);
    });
    let second = Setup { store: first.store.clone(), configure, ..Setup::default() }.serve().await;
    assert!(!uploads.join(&id).exists());
    let url = url.replace(&first.base, &second.base);
    assert_eq!(answer(Client::new().put(&url).body(BYTES)).await.0, 507);
    assert_eq!(Client::new().put(&url).body(&BYTES[..9]).send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn upload_addresses_that_wait_are_bounded_for_each_key() {
    let configure = Box::new(|config: &mut GatewayConfig| config.uploads_waiting = 2);
    let served = Setup { configure, ..Setup::default() }.serve().await;
    let (key, other) = (served.key().await, served.key().await);
    let ask = async |key: &NewKey| {
        Client::new().post(format!("{}/upload", served.base)).bearer_auth(&key.bearer).send().await.unwrap()
    };
    let (_, url) = new_upload(&served, &key).await;
    new_upload(&served, &key).await;
    let refused = ask(&key).await;
    assert_eq!(refused.status(), 429);
    assert!(refused.headers().contains_key("retry-after"));
    assert_eq!(refused.json::<Value>().await.unwrap()["status"], "error");
    assert_eq!(ask(&other).await.status(), 200);
    assert_eq!(Client::new().put(url).body(BYTES).send().await.unwrap().status(), 200);
    assert_eq!(ask(&key).await.status(), 200);
}

#[tokio::test]
async fn what_the_http_library_refuses_has_the_envelope_too() {
    let served = Setup::default().serve().await;
    let key = served.key().await;
    let account = key.record.id.as_str();
    let (_, url) = new_upload(&served, &key).await;
    let twice = format!("{url}&token=x");
    let get = |path: String| Client::new().get(format!("{}{path}", served.base)).bearer_auth(&key.bearer);
    let large = Client::new().post(format!("{}/video", served.base)).body(vec![b' '; (1 << 20) + 1]);
    for (request, status) in [
        (get(format!("/video/{account}/list?page=x")), 400),
        (get(format!("/video/{account}/list?number=-1")), 400),
        (get("/video/%ff".into()), 400),
        (Client::new().get(format!("{}/video/{account}/list?page=x", served.base)), 401),
        (large.try_clone().unwrap().bearer_auth(&key.bearer), 413),
        (large, 401),
        (Client::new().put(twice).body(BYTES), 400),
    ] {
        let asked = format!("{request:?}");
        let (got, answer) = answer(request).await;
        assert_eq!((got, &answer["status"]), (status, &json!("error")), "{asked} -> {answer}");
        assert!(answer["message"].is_string());
    }
}

#[tokio::test]
async fn errors_have_the_envelope() {
    let served = Setup::default().serve().await;
    let key = served.key().await;
    let stranger = served.key().await;
    let upload = uploaded(&served, &key).await;
    let (waiting, _) = new_upload(&served, &key).await;
    let unknown = "upload_0123456789012345678901234";
    for (who, body, status) in [
        (&key, json!({}), 400),
        (&key, json!({ "source_upload_id": unknown }), 404),
        (&stranger, json!({ "source_upload_id": upload }), 404),
        (&key, json!({ "source_upload_id": waiting }), 400),
        (&key, json!({ "source_upload_id": upload, "playback_policy": "private" }), 400),
        (&key, json!({ "source_upload_id": upload, "use_drm": true }), 400),
        (&key, json!({ "source_uri": "http://127.0.0.1:9/etc/passwd" }), 400),
        (&key, json!({ "source_upload_id": upload, "resolutions": [1] }), 400),
        (&key, json!({ "source_upload_id": upload, "metadata": { "a": {} } }), 400),
    ] {
        let (got, answer) = order(&served, who, body.clone()).await;
        assert_eq!((got, &answer["status"]), (status, &json!("error")), "{body} -> {answer}");
        assert!(answer["message"].is_string());
    }
    let nobody = answer(Client::new().post(format!("{}/upload", served.base))).await;
    assert_eq!((nobody.0, &nobody.1["status"]), (401, &json!("error")));
    let nowhere = answer(Client::new().get(format!("{}/stream", served.base))).await;
    assert_eq!((nowhere.0, &nowhere.1["status"]), (404, &json!("error")));
    let method = answer(Client::new().delete(format!("{}/video", served.base))).await;
    assert_eq!((method.0, &method.1["status"]), (405, &json!("error")));
}

#[tokio::test]
async fn videos_are_listed_by_page_and_found_by_metadata_for_their_owner_alone() {
    let served = Setup::default().serve().await;
    let (key, stranger) = (served.key().await, served.key().await);
    let upload = uploaded(&served, &key).await;
    for take in 0..3 {
        let body = json!({ "source_upload_id": upload, "metadata": { "take": take.to_string() } });
        let (_, created) = order(&served, &key, body).await;
        finished(&served, &key, created["body"]["videos"][0]["id"].as_str().unwrap()).await;
    }
    let account = key.record.id.as_str();
    let takes = async |path: String, key: &NewKey| {
        let (status, body) =
            answer(as_account(Client::new().get(format!("{}{path}", served.base)), key)).await;
        let videos = body["body"]["videos"].as_array().cloned().unwrap_or_default();
        (
            status,
            videos.iter().map(|v| v["metadata"]["take"].as_str().unwrap().to_owned()).collect::<Vec<_>>(),
        )
    };
    assert_eq!(
        takes(format!("/video/{account}/list?page=1&number=2"), &key).await,
        (200, vec!["2".into(), "1".into()])
    );
    assert_eq!(takes(format!("/video/{account}/list?page=2&number=2"), &key).await, (200, vec!["0".into()]));
    assert_eq!(takes(format!("/video/{account}/search?take=1"), &key).await, (200, vec!["1".into()]));
    assert_eq!(takes(format!("/video/{account}/list"), &stranger).await.0, 404);
}

#[tokio::test]
async fn a_video_that_cannot_be_made_says_why() {
    let refuse = BackendError::BadOrder("this is not a video that can be read".into());
    let video = ScriptedVideo { inspected: Err(refuse), ..ScriptedVideo::default() };
    let served = Setup { video, ..Setup::default() }.serve().await;
    let key = served.key().await;
    let upload = uploaded(&served, &key).await;
    let (_, created) = order(&served, &key, json!({ "source_upload_id": upload })).await;
    let done = finished(&served, &key, created["body"]["videos"][0]["id"].as_str().unwrap()).await;
    assert_eq!(
        (&done["state"], &done["error"]),
        (&json!("error"), &json!("this is not a video that can be read"))
    );
}

#[tokio::test]
async fn a_video_above_the_key_s_limit_is_not_made() {
    let served = Setup::default().serve().await;
    // One try costs 30, and a second one as much again: what is left has to pay for one.
    let key = served.limited_key(Some(29), None).await;
    let upload = uploaded(&served, &key).await;
    let (_, created) = order(&served, &key, json!({ "source_upload_id": upload })).await;
    let done = finished(&served, &key, created["body"]["videos"][0]["id"].as_str().unwrap()).await;
    assert!(done["error"].as_str().unwrap().contains("spending limit"), "{done}");
    assert!(served.video.requests.lock().unwrap().is_empty());
}

#[tokio::test]
async fn too_many_videos_are_429() {
    let video = ScriptedVideo { pause: Duration::from_secs(60), ..ScriptedVideo::default() };
    let configure =
        Box::new(|config: &mut GatewayConfig| (config.videos_at_once, config.videos_waiting) = (1, 1));
    let served = Setup { video, configure, ..Setup::default() }.serve().await;
    let key = served.key().await;
    let upload = uploaded(&served, &key).await;
    let mut refused = None;
    for _ in 0..4 {
        let (status, body) = order(&served, &key, json!({ "source_upload_id": upload })).await;
        if status != 200 {
            refused = Some((status, body));
            break;
        }
    }
    let (status, body) = refused.expect("four videos do not fit one place and one seat");
    assert_eq!((status, &body["status"]), (429, &json!("error")));
}

#[tokio::test]
async fn an_unfinished_video_goes_on_after_a_restart() {
    let video = ScriptedVideo { pause: Duration::from_secs(60), ..ScriptedVideo::default() };
    let first = Setup { video, ..Setup::default() }.serve().await;
    let key = first.key().await;
    let upload = uploaded(&first, &key).await;
    let (_, created) = order(&first, &key, json!({ "source_upload_id": upload })).await;
    let id = created["body"]["videos"][0]["id"].as_str().unwrap().to_owned();
    until("a provider is asked", async || !first.video.requests.lock().unwrap().is_empty()).await;
    first.gateway.as_ref().unwrap().close().await;
    assert_eq!(video_state(&first, &id).await, "processing");

    let uploads = first.folder.path().join("uploads");
    let configure = Box::new(|config: &mut GatewayConfig| config.uploads = uploads);
    let kept = first.video.kept.lock().unwrap().clone();
    assert_eq!(kept, [id.parse().unwrap()], "what was done of it stays");
    let of_nobody = VideoId::random();
    let video = ScriptedVideo {
        kept: Mutex::new([kept, vec![of_nobody.clone()]].concat()),
        ..ScriptedVideo::default()
    };
    let second = Setup { video, store: first.store.clone(), configure, ..Setup::default() }.serve().await;
    assert!(!second.video.kept.lock().unwrap().contains(&of_nobody));
    assert_eq!(finished(&second, &key, &id).await["state"], "success");
    until("what was kept is removed", async || second.video.kept.lock().unwrap().is_empty()).await;
}

#[tokio::test]
async fn a_video_waits_for_what_passes_and_is_never_an_error_for_it() {
    let video = ScriptedVideo { not_yet: [3.into(), 2.into(), 1.into()], ..ScriptedVideo::default() };
    let configure = Box::new(|config: &mut GatewayConfig| config.videos_again = Duration::from_millis(300));
    let served = Setup { video, configure, ..Setup::default() }.serve().await;
    let key = served.key().await;
    let upload = uploaded(&served, &key).await;
    let (_, created) = order(&served, &key, json!({ "source_upload_id": upload })).await;
    let id = created["body"]["videos"][0]["id"].as_str().unwrap();
    until("the video is taken up", async || video_state(&served, id).await == "processing").await;
    let done = finished(&served, &key, id).await;
    assert_eq!((&done["state"], &done["error"]), (&json!("success"), &Value::Null));
    assert_eq!(done["cost_tfuelwei"], "30", "the tries that came to nothing cost nothing");
    assert_eq!(served.video.requests.lock().unwrap().len(), 2);
}

async fn video_state(served: &Served, id: &str) -> &'static str {
    served.store.video(&id.parse().unwrap()).await.unwrap().unwrap().state.names().0
}
