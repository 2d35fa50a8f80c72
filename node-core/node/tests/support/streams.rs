//! Streams of random bytes, and networks of nodes that share them.

use edge_jobs::{ContentHash, JobKind, Rendition, SegmentInfo};
use edge_streams::{Manifest, SegmentStore, SignedManifest};
use serde_json::json;
use theta_types::SecretKey;
use theta_wallet::{KeyFolder, Passphrase};
use thetis::{
    control::{
        ControlClient,
        types::{Earnings, OfferRow, Playing},
    },
    database::Database,
};

use super::{Daemon, status, until};

/// A node that runs the chain and is the place to meet.
pub struct MeetingPlace {
    pub daemon: Daemon,
    pub client: ControlClient,
    pub rpc: String,
    pub join: Vec<String>,
}

impl MeetingPlace {
    /// One that does nothing else.
    pub async fn start() -> Self {
        Self::at(Daemon::init(&[])).await
    }

    /// At a node that is not up yet.
    pub async fn at(mut daemon: Daemon) -> Self {
        let client = daemon.serve(&[]).await;
        let now = status(&client).await;
        Self { daemon, client, rpc: now.chain.rpc, join: now.overlay.unwrap().listen }
    }

    /// At a creator that is not up yet, who then has 300 TFUEL.
    pub async fn at_creator(creator: Daemon) -> Self {
        let place = Self::at(creator).await;
        let wallet = status(&place.client).await.wallet.address.to_string();
        place.daemon.json(&["faucet", &wallet, "--amount", "300"]);
        place
    }

    /// A node with 300 TFUEL that is not up yet.
    pub fn init(&self, flags: &[&str]) -> Daemon {
        let bootstrap = self.join.iter().flat_map(|address| ["--bootstrap", address]);
        let all: Vec<&str> =
            ["--rpc", &self.rpc].into_iter().chain(bootstrap).chain(flags.iter().copied()).collect();
        let node = Daemon::init(&all);
        let wallet = node.json(&["wallet", "list"])[0].as_str().unwrap().to_owned();
        self.daemon.json(&["faucet", &wallet, "--amount", "300"]);
        node
    }

    /// One that is up.
    pub async fn join(&self, flags: &[&str]) -> (Daemon, ControlClient) {
        let mut node = self.init(flags);
        let client = node.serve(&[]).await;
        (node, client)
    }
}

/// A stream of random bytes.
pub struct Noise {
    pub nonce: u8,
    pub segments: u32,
    pub segment_bytes: usize,
}

impl Noise {
    pub fn segment(&self, index: u32) -> Vec<u8> {
        let mut bytes = vec![0; self.segment_bytes];
        blake3::Hasher::new()
            .update(&[self.nonce])
            .update(&index.to_le_bytes())
            .finalize_xof()
            .fill(&mut bytes);
        bytes
    }

    pub fn hash(&self, index: u32) -> ContentHash {
        ContentHash::of(&self.segment(index))
    }

    pub fn sign(&self, key: &SecretKey) -> SignedManifest {
        let segments = (0..self.segments).map(|index| SegmentInfo {
            index,
            file: format!("360p/{index}.ts"),
            duration_ms: 2_000,
            bytes: self.segment_bytes as u64,
            hash: self.hash(index),
        });
        let manifest = Manifest {
            creator: key.address(),
            nonce: [self.nonce; 16],
            revision: 0,
            created: 1_700_000_000,
            title: "Noise".into(),
            duration_ms: 2_000 * u64::from(self.segments),
            renditions: vec![Rendition {
                name: "360p".into(),
                width: 640,
                height: 360,
                bandwidth: 800_000,
                average_bandwidth: 800_000,
                codecs: "avc1.64001e".into(),
                frame_rate: (25, 1),
                segments: segments.collect(),
            }],
            thumbnails: vec![],
        };
        manifest.sign(key).unwrap()
    }

    /// Puts it into the data folder of a creator that is not up, as if it had been published there.
    pub async fn publish(&self, creator: &Daemon) -> SignedManifest {
        let keys = KeyFolder::open(creator.data().join("keys")).unwrap();
        let address = keys.addresses().unwrap()[0];
        let key: SecretKey = keys.unlock(&address, &Passphrase::new("correct horse")).unwrap();
        let stream = self.sign(&key);
        let store = SegmentStore::open(creator.data().join("segments"), u64::MAX).unwrap();
        store.pin(&stream);
        for index in 0..self.segments {
            store.put(self.hash(index), self.segment(index).into()).await.unwrap();
        }
        let database = Database::open(&creator.data().join("thetis.sqlite")).unwrap();
        database.publish_stream(&stream).await.unwrap();
        stream
    }
}

/// A stream as a player of a node sees it.
pub struct Player<'a> {
    noise: &'a Noise,
    pub title: String,
    base: String,
}

impl<'a> Player<'a> {
    /// Opens it, as soon as the node finds it.
    pub async fn open(client: &ControlClient, noise: &'a Noise, stream: &SignedManifest) -> Self {
        let mut playing = None;
        until("the node finds the stream", async || {
            let request = json!({ "stream": stream.id().to_string() });
            playing = client.post::<Playing>("/api/play", &request).await.ok();
            playing.is_some()
        })
        .await;
        let Playing { title, playlist, .. } = playing.unwrap();
        Self { noise, title, base: playlist.trim_end_matches("master.m3u8").to_owned() }
    }

    /// The playlist of the stream's rendition.
    pub async fn media_playlist(&self) -> String {
        reqwest::get(format!("{}360p/index.m3u8", self.base)).await.unwrap().text().await.unwrap()
    }

    /// The status that a segment is answered with; its bytes are right in any case.
    pub async fn try_segment(&self, index: u32) -> u16 {
        let answer = reqwest::get(format!("{}360p/{index}.ts", self.base)).await.unwrap();
        let status = answer.status().as_u16();
        if status == 200 {
            assert_eq!(answer.bytes().await.unwrap(), self.noise.segment(index));
        }
        status
    }

    pub async fn segment(&self, index: u32) {
        assert_eq!(self.try_segment(index).await, 200, "segment {index}");
    }
}

/// Whether a node offers a kind of work, as others see it.
pub async fn offers(client: &ControlClient, kind: JobKind) -> bool {
    let kinds = status(client).await.work.kinds;
    kinds.iter().any(|section| section.kind == kind && section.why_none.is_none())
}

/// Providers of a kind of work that a node has heard of.
pub async fn heard_of(client: &ControlClient, kind: JobKind) -> usize {
    let offers: Vec<OfferRow> = client.get("/api/offers").await.unwrap();
    offers.iter().filter(|offer| offer.kind == kind).count()
}

/// Segments that lie in a node's store.
pub async fn files(client: &ControlClient) -> usize {
    status(client).await.limits.segments.files
}

/// Units that a node earned or paid.
pub async fn units(client: &ControlClient, side: &str) -> u64 {
    let earnings: Earnings = client.get(&format!("/api/earnings?side={side}")).await.unwrap();
    earnings.kinds.iter().map(|kind| kind.units).sum()
}
