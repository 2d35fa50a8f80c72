//! A requester that is killed in the middle of a unit, and comes back.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use edge_jobs::ContentHash;
use edge_market::{
    jobs::{JobOutcome, JobSide},
    requester::OpenPurse,
};
use support::{
    chain::{Running, TestChain},
    milli,
    network::{Disk, Node, NodeSettings, Way, Wires},
    scene::{chat, run_chat, transcode_job},
    wallet,
    worker::{TestWorker, words},
};
use theta_types::Wei;

/// A requester and one provider, which gives no credit.
struct Pair {
    chain: Arc<TestChain>,
    wires: Wires,
    provider: Node,
    requester: Node,
    _running: Running,
}

impl Pair {
    async fn start() -> Self {
        let chain = TestChain::new(&[wallet(1).address(), wallet(2).address()]);
        let running = chain.run(Duration::from_millis(20));
        let wires = Wires::default();
        let start = |number: u8| {
            let (worker, settings) = (TestWorker::honest(), NodeSettings::default());
            Node::start(&chain, &wires, wallet(number), worker, settings, Disk::default())
        };
        let (requester, provider) = (start(1), start(2));
        provider.announce_to(&chain.id(), &[&requester]).await;
        provider.worker.slow(Duration::from_millis(5));
        Self { chain, wires, provider, requester, _running: running }
    }

    /// Kills the requester when its provider is about to hear of a payment for so many units: the unit after it is out then.
    fn kill_requester_after(&self, units: u64) -> Arc<AtomicBool> {
        let (kill, killed) = (self.requester.killer(&self.wires), Arc::new(AtomicBool::new(false)));
        let (paid, seen) = (AtomicBool::new(false), killed.clone());
        self.wires.set_filter(Some(Arc::new(move |way, message| {
            if message["say"] == "pay" && message["units"] == units {
                paid.store(true, Ordering::SeqCst);
            } else if way == Way::ToRequester && message["say"] == "due" && paid.load(Ordering::SeqCst) {
                kill();
                seen.store(true, Ordering::SeqCst);
            }
            Some(message)
        })));
        killed
    }

    /// Starts the requester again on what it kept, once its provider has counted the unit as lost.
    async fn restart_requester(&mut self) {
        self.wires.set_filter(None);
        while self.lost().await.is_zero() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let (settings, disk) = (self.requester.settings.clone(), self.requester.disk.clone());
        self.requester =
            Node::start(&self.chain, &self.wires, wallet(1), TestWorker::honest(), settings, disk);
        self.provider.announce_to(&self.chain.id(), &[&self.requester]).await;
    }

    async fn lost(&self) -> Wei {
        self.provider.payee.earnings().await.unwrap().lost
    }

    /// What the provider holds or has been paid, in units of the price.
    async fn earned_units(&self) -> u64 {
        tokio::time::sleep(Duration::from_millis(150)).await;
        let earnings = self.provider.payee.earnings().await.unwrap();
        let earned = earnings.signed + earnings.settled;
        (0..1_000).find(|units| milli(50) * *units == earned).unwrap()
    }
}

/// Words of an answer; none when it broke off.
async fn words_of_chat(node: &Node, tokens: u32) -> Option<usize> {
    run_chat(node, chat(tokens))
        .await
        .inspect_err(|error| println!("{error}"))
        .ok()
        .map(|(text, _)| words(&text))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_unit_that_was_begun_is_paid_when_its_provider_asks_and_once() {
    let mut pair = Pair::start().await;
    let killed = pair.kill_requester_after(2);
    assert_eq!(words_of_chat(&pair.requester, 200).await, None);
    assert!(killed.load(Ordering::SeqCst));
    pair.restart_requester().await;
    assert_eq!((pair.earned_units().await, pair.lost().await), (2, milli(50)));

    assert_eq!(words_of_chat(&pair.requester, 16).await, Some(16));
    // Two before the end, the one that was begun, and this one.
    assert_eq!((pair.earned_units().await, pair.lost().await), (4, Wei::zero()));
    let jobs = pair.requester.disk.jobs.all();
    let outcomes = jobs.iter().filter(|job| job.side == JobSide::Requester).map(|job| &job.outcome);
    assert!(outcomes.into_iter().all(|outcome| *outcome != JobOutcome::Interrupted), "{jobs:?}");

    assert_eq!(words_of_chat(&pair.requester, 16).await, Some(16));
    assert_eq!(pair.earned_units().await, 5);
    pair.chain.audit();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transcode_goes_on_where_it_was_paid_when_the_requester_was_killed() {
    let mut pair = Pair::start().await;
    let folder = tempfile::tempdir().unwrap();
    let job = transcode_job(&folder, 20_000);
    let killed = pair.kill_requester_after(4);
    let run = pair.requester.requester.transcode(job.clone(), Arc::new(OpenPurse));
    assert!(run.finish().await.is_err());
    assert!(killed.load(Ordering::SeqCst));
    pair.restart_requester().await;
    assert_eq!(pair.earned_units().await, 4);

    pair.wires.take_log();
    let result = pair.requester.requester.transcode(job, Arc::new(OpenPurse)).finish().await.unwrap();
    for rendition in &result.renditions {
        let indices: Vec<u32> = rendition.segments.iter().map(|segment| segment.index).collect();
        assert_eq!(indices, (0..10).collect::<Vec<_>>(), "{}", rendition.name);
        for segment in &rendition.segments {
            let bytes = std::fs::read(result.folder.join(&segment.file)).unwrap();
            assert_eq!(ContentHash::of(&bytes), segment.hash);
        }
    }
    assert_eq!(result.thumbnails.len(), 2);
    let log = pair.wires.take_log();
    let opens: Vec<_> = log.iter().filter(|(_, message)| message["say"] == "open").collect();
    assert!(opens.iter().all(|(_, open)| open["work"]["order"]["from"]["segment"] == 4), "{opens:?}");
    // All ten, and the one that was begun twice.
    assert_eq!((pair.earned_units().await, pair.lost().await), (11, Wei::zero()));
    pair.chain.audit();
}
