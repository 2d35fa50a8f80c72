//! The loopback origin over real HTTP.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::Bytes;
use edge_jobs::{ContentHash, Rendition, SegmentInfo};
use edge_streams::{Manifest, Origin, SegmentStore, SignedManifest, SourceError, StreamId, StreamSource};
use theta_types::SecretKey;

/// A network that knows one stream, counts what it is asked for, and lies as often as it is told to.
struct Network {
    stream: Arc<SignedManifest>,
    segments: HashMap<ContentHash, Bytes>,
    lies: AtomicUsize,
    /// How often it does not answer at all.
    silences: AtomicUsize,
    asked: AtomicUsize,
}

#[async_trait]
impl StreamSource for Network {
    async fn manifest(&self, stream: StreamId) -> Result<Arc<SignedManifest>, SourceError> {
        if stream == self.stream.id() { Ok(self.stream.clone()) } else { Err(SourceError::Unknown) }
    }

    async fn segment(&self, _: &SignedManifest, hash: ContentHash) -> Result<Bytes, SourceError> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let one_of = |left: &AtomicUsize| {
            left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
        };
        if one_of(&self.silences) {
            std::future::pending::<()>().await;
        }
        if one_of(&self.lies) {
            return Ok(Bytes::from_static(b"not the segment"));
        }
        self.segments.get(&hash).cloned().ok_or_else(|| SourceError::Unavailable("nobody has it".into()))
    }
}

struct Playing {
    address: SocketAddr,
    network: Arc<Network>,
    client: reqwest::Client,
    _folder: tempfile::TempDir,
}

impl Playing {
    async fn start(lies: usize) -> Self {
        Self::start_with(lies, 0).await
    }

    async fn start_with(lies: usize, silences: usize) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let key = SecretKey::from_bytes(&[5; 32]).unwrap();
        let contents: Vec<Bytes> = (0..4u8).map(|index| Bytes::from(vec![index; 5_000])).collect();
        let segment = |(index, bytes): (usize, &Bytes)| SegmentInfo {
            index: index as u32,
            file: String::new(),
            duration_ms: 2_000,
            bytes: bytes.len() as u64,
            hash: ContentHash::of(bytes),
        };
        let stream = Manifest {
            creator: key.address(),
            nonce: [1; 16],
            revision: 0,
            created: 0,
            title: "A film".into(),
            duration_ms: 8_000,
            renditions: vec![Rendition {
                name: "360p".into(),
                width: 640,
                height: 360,
                bandwidth: 20_000,
                average_bandwidth: 20_000,
                codecs: "avc1.64001e".into(),
                frame_rate: (25, 1),
                segments: contents.iter().enumerate().map(segment).collect(),
            }],
            thumbnails: vec![],
        }
        .sign(&key)
        .unwrap();
        let network = Arc::new(Network {
            stream: Arc::new(stream),
            segments: contents.into_iter().map(|bytes| (ContentHash::of(&bytes), bytes)).collect(),
            lies: AtomicUsize::new(lies),
            silences: AtomicUsize::new(silences),
            asked: AtomicUsize::new(0),
        });
        let folder = tempfile::tempdir().unwrap();
        let store = SegmentStore::open(folder.path(), 1_000_000).unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let origin = Origin::new(store, network.clone());
        let router = origin.with_patience(Duration::from_millis(300)).router();
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, network, client: reqwest::Client::new(), _folder: folder }
    }

    async fn get(&self, path: &str) -> reqwest::Response {
        self.client.get(format!("http://{}{path}", self.address)).send().await.unwrap()
    }

    fn hls(&self, path: &str) -> String {
        format!("/hls/{}/{path}", self.network.stream.id())
    }
}

#[tokio::test]
async fn a_player_finds_playlists_and_segments() {
    let playing = Playing::start(0).await;
    let master = playing.get(&playing.hls("master.m3u8")).await;
    assert_eq!(master.headers()["content-type"], "application/vnd.apple.mpegurl");
    assert!(master.text().await.unwrap().ends_with("360p/index.m3u8\n"));
    let media = playing.get(&playing.hls("360p/index.m3u8")).await.text().await.unwrap();
    assert_eq!(media.matches("#EXTINF").count(), 4);
    for index in 0..4u8 {
        let bytes = playing.get(&playing.hls(&format!("360p/{index}.ts"))).await.bytes().await.unwrap();
        assert_eq!(bytes, vec![index; 5_000]);
    }
    // Each part was fetched once, though those ahead were asked for twice.
    assert_eq!(playing.network.asked.load(Ordering::SeqCst), 4);
}

#[tokio::test]
async fn wrong_bytes_are_dropped_and_playback_goes_on() {
    let playing = Playing::start(3).await;
    let response = playing.get(&playing.hls("360p/3.ts")).await;
    assert_eq!(response.bytes().await.unwrap(), vec![3; 5_000]);
    assert_eq!(playing.network.asked.load(Ordering::SeqCst), 4);
}

#[tokio::test]
async fn a_source_that_does_not_answer_is_asked_again_and_holds_nobody_up() {
    let playing = Playing::start_with(0, 2).await;
    let begun = Instant::now();
    let response = playing.get(&playing.hls("360p/3.ts")).await;
    assert_eq!(response.bytes().await.unwrap(), vec![3; 5_000]);
    assert_eq!(playing.network.asked.load(Ordering::SeqCst), 3);
    assert!(begun.elapsed() >= Duration::from_millis(800), "{:?}", begun.elapsed());

    let silent = Playing::start_with(0, usize::MAX).await;
    let response = silent.get(&silent.hls("360p/3.ts")).await;
    assert_eq!(response.status(), 502);
    assert!(response.text().await.unwrap().contains("in time"));
}

#[tokio::test]
async fn a_source_that_only_lies_is_an_error_and_never_wrong_bytes() {
    let playing = Playing::start(usize::MAX).await;
    let response = playing.get(&playing.hls("360p/3.ts")).await;
    assert_eq!(response.status(), 502);
    assert!(response.text().await.unwrap().contains("wrong"));
}

#[tokio::test]
async fn the_player_page_loads_nothing_from_elsewhere() {
    let playing = Playing::start(0).await;
    let page = playing.get(&format!("/watch/{}", playing.network.stream.id())).await;
    let policy = page.headers()["content-security-policy"].to_str().unwrap().to_owned();
    assert!(policy.contains("default-src 'none'"), "{policy}");
    let html = page.text().await.unwrap();
    assert!(!html.contains("http://") && !html.contains("https://"), "{html}");
    for asset in ["/assets/player.css", "/assets/player.js", "/assets/hls.min.js"] {
        assert!(html.contains(asset));
        assert_eq!(playing.get(asset).await.status(), 200);
    }
}

#[tokio::test]
async fn what_is_not_there_is_said_in_words() {
    let playing = Playing::start(0).await;
    for (path, status) in [
        ("/watch/nonsense".to_owned(), 400),
        (format!("/hls/{}/master.m3u8", "0".repeat(32)), 404),
        (playing.hls("720p/index.m3u8"), 404),
        (playing.hls("360p/4.ts"), 404),
        (playing.hls("360p/-1.ts"), 404),
        (playing.hls("thumbnails/0.jpg"), 404),
    ] {
        let response = playing.get(&path).await;
        assert_eq!(response.status(), status, "{path}");
        assert!(!response.text().await.unwrap().is_empty(), "{path}");
    }
}

#[tokio::test]
async fn a_website_with_its_own_name_for_this_machine_is_refused() {
    let playing = Playing::start(0).await;
    let url = format!("http://{}{}", playing.address, playing.hls("master.m3u8"));
    let response = playing.client.get(url).header("host", "attacker.example").send().await.unwrap();
    assert_eq!(response.status(), 421);
}
