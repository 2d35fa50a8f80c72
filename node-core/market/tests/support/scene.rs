//! A requester and providers that are tried in order, and what tests ask them for.

use std::{path::PathBuf, sync::Arc, time::Duration};

use edge_jobs::{
    ChatMessage, ChatOrder, ContentHash, EmbeddingsOrder, Ladder, Role, Sampling, ThumbnailOrder,
    TranscodeOrder, VideoEncoder,
};
use edge_market::{
    requester::{ChatEvent, OpenPurse, RequestError, TranscodeJob},
    standing::Fault,
};
use theta_types::{Address, Wei};

use super::{
    chain::{Running, TestChain},
    milli,
    network::{CHAT_MODEL, Disk, EMBEDDINGS_MODEL, Node, NodeSettings, Wires},
    wallet,
    worker::{TestWorker, video},
};

pub const BLOCK: Duration = Duration::from_millis(20);

pub struct Scene {
    pub chain: Arc<TestChain>,
    pub wires: Wires,
    pub requester: Node,
    pub providers: Vec<Node>,
    _running: Running,
}

/// A requester with its own worker, and providers that cost more one after the other, so that they are tried in order.
pub async fn scene(own: Arc<TestWorker>, settings: NodeSettings, workers: Vec<Arc<TestWorker>>) -> Scene {
    scene_of(own, settings, workers.into_iter().map(|worker| (worker, VideoEncoder::X264)).collect()).await
}

/// The same, with a video encoder for each provider.
pub async fn scene_of(
    own: Arc<TestWorker>,
    settings: NodeSettings,
    workers: Vec<(Arc<TestWorker>, VideoEncoder)>,
) -> Scene {
    let rich: Vec<Address> = (1..=workers.len() as u8 + 1).map(|number| wallet(number).address()).collect();
    let chain = TestChain::new(&rich);
    let running = chain.run(BLOCK);
    let wires = Wires::default();
    let requester = Node::start(&chain, &wires, wallet(1), own, settings.clone(), Disk::default());
    let mut providers = Vec::new();
    for (index, (worker, encoder)) in workers.into_iter().enumerate() {
        let mut settings = NodeSettings { price: milli(50 + index as u64), ..settings.clone() };
        settings.provider.encoder = encoder;
        let provider =
            Node::start(&chain, &wires, wallet(index as u8 + 2), worker, settings, Disk::default());
        provider.announce_to(&chain.id(), &[&requester]).await;
        providers.push(provider);
    }
    Scene { chain, wires, requester, providers, _running: running }
}

pub fn chat(tokens: u32) -> ChatOrder {
    ChatOrder {
        model: CHAT_MODEL.into(),
        messages: vec![ChatMessage { role: Role::User, content: "Count.".into() }],
        continues: false,
        max_tokens: Some(tokens),
        sampling: Sampling::default(),
        stop: vec![],
    }
}

pub async fn run_chat(node: &Node, order: ChatOrder) -> Result<(String, Vec<ChatEvent>), RequestError> {
    let mut run = node.requester.chat(order, Arc::new(OpenPurse));
    let (mut text, mut events) = (String::new(), Vec::new());
    while let Some(event) = run.next().await {
        let event = event?;
        if let ChatEvent::Text { text: more, .. } = &event {
            text.push_str(more);
        }
        events.push(event);
    }
    Ok((text, events))
}

pub fn texts(texts: &[&str]) -> EmbeddingsOrder {
    EmbeddingsOrder {
        model: EMBEDDINGS_MODEL.into(),
        inputs: texts.iter().map(|text| (*text).to_owned()).collect(),
    }
}

pub fn faults(scene: &Scene) -> Vec<(Address, Fault)> {
    scene.requester.disk.standing.faults().into_iter().map(|fault| (fault.node, fault.fault)).collect()
}

pub async fn signed(node: &Node) -> Wei {
    tokio::time::sleep(Duration::from_millis(150)).await;
    let earnings = node.payee.earnings().await.unwrap();
    earnings.signed + earnings.settled
}

/// A source file, and a transcode of it.
pub fn transcode_job(folder: &tempfile::TempDir, duration_ms: u64) -> TranscodeJob {
    let bytes = video(1280, 720, duration_ms);
    let source: PathBuf = folder.path().join("source.mp4");
    std::fs::write(&source, &bytes).unwrap();
    let output = folder.path().join("output");
    std::fs::create_dir_all(&output).unwrap();
    TranscodeJob {
        order: TranscodeOrder {
            source: ContentHash::of(&bytes),
            source_bytes: bytes.len() as u64,
            source_duration_ms: duration_ms,
            ladder: Ladder::default(),
            thumbnails: Some(ThumbnailOrder { every_ms: 10_000, short_side: 180 }),
            from: None,
        },
        source,
        output,
    }
}
