//! Backends that do what a test says. The market and its workers have their own tests.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use edge_gateway::{
    AiBackend, BackendError, Bill, ChatEvent, ChatStream, Cost, Embeddings, Model, Playback, SourceFile,
    VideoBackend, VideoEvent, VideoId, VideoPhase, VideoRequest, VideoStream,
};
use edge_jobs::{ChatFinish, ChatOrder, EmbeddingsOrder, JobKind, MediaInfo, Order};
use futures::{StreamExt, stream};
use theta_types::Wei;

/// Says the words it was given, one event each, and charges the price of a unit for each.
pub struct ScriptedAi {
    pub price: Wei,
    /// Units of a chat that only the model's context ends.
    pub longest: u64,
    pub words: Vec<&'static str>,
    pub pause: Duration,
    pub then: Option<BackendError>,
    pub refuse: Option<BackendError>,
    pub running: Arc<AtomicUsize>,
    pub said: Arc<AtomicUsize>,
    pub orders: Mutex<Vec<Order>>,
}

impl Default for ScriptedAi {
    fn default() -> Self {
        Self {
            price: Wei::from(1u64),
            longest: 100,
            words: vec!["Deep", " water", "."],
            pause: Duration::ZERO,
            then: None,
            refuse: None,
            running: Arc::default(),
            said: Arc::default(),
            orders: Mutex::default(),
        }
    }
}

/// Counts a job for as long as it lives.
pub struct Running(Arc<AtomicUsize>);

impl Running {
    fn start(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count.clone())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The vector that a text has here: not of unit length, but told apart.
pub fn vector_of(text: &str) -> Vec<f32> {
    vec![text.len() as f32, 0.1, -1.5e-7]
}

#[async_trait]
impl AiBackend for ScriptedAi {
    async fn models(&self) -> Vec<Model> {
        let model = |id: &str, kind, context_tokens, dimensions| Model {
            id: id.into(),
            kind,
            created: 1_700_000_000,
            owned_by: "thetis".into(),
            context_tokens,
            dimensions,
        };
        vec![
            model("talk", JobKind::Chat, Some(100), None),
            model("embed", JobKind::Embeddings, None, Some(3)),
        ]
    }

    async fn cost(&self, order: &Order) -> Result<Cost, BackendError> {
        let units = match order {
            Order::Chat(chat) => chat.max_tokens.map_or(self.longest, u64::from),
            _ => 1,
        };
        Ok(Cost { least: self.price.clone(), highest: &self.price * units })
    }

    async fn chat(&self, order: ChatOrder, bill: Bill) -> Result<ChatStream, BackendError> {
        self.orders.lock().unwrap().push(Order::Chat(order));
        if let Some(error) = self.refuse.clone() {
            return Err(error);
        }
        let running = Running::start(&self.running);
        let (pause, said, price) = (self.pause, self.said.clone(), self.price.clone());
        let count = self.words.len() as u64;
        let words = stream::iter(self.words.clone()).then(move |word| {
            // The closure owns it, so that it lives as long as the stream.
            let _ = &running;
            let (bill, said, price) = (bill.clone(), said.clone(), price.clone());
            async move {
                tokio::time::sleep(pause).await;
                bill.charge(&price)?;
                said.fetch_add(1, Ordering::SeqCst);
                Ok(ChatEvent::Text(word.to_owned()))
            }
        });
        let end = match self.then.clone() {
            Some(error) => Err(error),
            None => Ok(ChatEvent::Finished {
                finish: ChatFinish::Stop,
                prompt_tokens: 7,
                completion_tokens: count,
            }),
        };
        Ok(words.chain(stream::iter([end])).boxed())
    }

    async fn embed(&self, order: EmbeddingsOrder, bill: Bill) -> Result<Embeddings, BackendError> {
        self.orders.lock().unwrap().push(Order::Embeddings(order.clone()));
        if let Some(error) = self.refuse.clone() {
            return Err(error);
        }
        let _running = Running::start(&self.running);
        tokio::time::sleep(self.pause).await;
        bill.charge(&self.price)?;
        let prompt_tokens = order.inputs.len() as u64 * 2;
        Ok(Embeddings { vectors: order.inputs.iter().map(|text| vector_of(text)).collect(), prompt_tokens })
    }
}

/// Publishes everything, in the steps that a provider takes.
pub struct ScriptedVideo {
    pub inspected: Result<MediaInfo, BackendError>,
    pub cost: u64,
    pub pause: Duration,
    /// How often each step says that it cannot be done now, before it is done.
    pub not_yet: [AtomicUsize; 3],
    pub requests: Mutex<Vec<VideoRequest>>,
    /// Videos of which something is kept.
    pub kept: Mutex<Vec<VideoId>>,
}

impl ScriptedVideo {
    fn ask(&self, step: usize) -> Result<(), BackendError> {
        let left =
            self.not_yet[step].fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if left.is_ok() { Err(BackendError::Later(format!("step {step} waits"))) } else { Ok(()) }
    }
}

impl Default for ScriptedVideo {
    fn default() -> Self {
        Self {
            inspected: Ok(MediaInfo {
                duration_ms: 5_312,
                width: 1280,
                height: 720,
                frame_rate: (25, 1),
                audio: true,
                video_codec: "H.264".into(),
            }),
            cost: 30,
            pause: Duration::ZERO,
            not_yet: Default::default(),
            requests: Mutex::default(),
            kept: Mutex::default(),
        }
    }
}

#[async_trait]
impl VideoBackend for ScriptedVideo {
    async fn inspect(&self, source: &SourceFile) -> Result<MediaInfo, BackendError> {
        assert_eq!(std::fs::metadata(&source.path).unwrap().len(), source.bytes);
        self.ask(0)?;
        self.inspected.clone()
    }

    async fn cost(&self, _media: &MediaInfo) -> Result<Cost, BackendError> {
        self.ask(1)?;
        Ok(Cost { least: Wei::from(self.cost), highest: Wei::from(self.cost * 2) })
    }

    async fn publish(&self, request: VideoRequest, bill: Bill) -> Result<VideoStream, BackendError> {
        self.kept.lock().unwrap().push(request.id.clone());
        self.requests.lock().unwrap().push(request);
        self.ask(2)?;
        let (pause, cost) = (self.pause, self.cost);
        let steps = vec![
            VideoEvent::Phase(VideoPhase::Transcoding),
            VideoEvent::Progress(505),
            VideoEvent::Phase(VideoPhase::Checking),
            VideoEvent::Published { stream: "share".into() },
        ];
        let events = stream::iter(steps).then(move |event| {
            let bill = bill.clone();
            async move {
                tokio::time::sleep(pause).await;
                if event == VideoEvent::Phase(VideoPhase::Checking) {
                    bill.charge(&Wei::from(cost))?;
                }
                Ok(event)
            }
        });
        Ok(events.boxed())
    }

    async fn discard(&self, video: &VideoId) {
        self.kept.lock().unwrap().retain(|kept| kept != video);
    }

    async fn keep_only(&self, unfinished: &[VideoId]) {
        self.kept.lock().unwrap().retain(|kept| unfinished.contains(kept));
    }

    fn playback(&self, stream: &str) -> Option<Playback> {
        Some(Playback {
            playback_uri: format!("http://127.0.0.1:1/{stream}/master.m3u8"),
            player_uri: format!("http://127.0.0.1:1/{stream}"),
        })
    }
}
