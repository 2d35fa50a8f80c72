//! Transcodes as the node orders them: to several providers, some of which die or lie.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use edge_jobs::{ContentHash, JobKind, VideoEncoder, WorkerCapabilities};
use edge_market::{
    requester::{OpenPurse, RequestError, TranscodeEvent, TranscodeResult},
    standing::Fault,
};
use support::{
    milli,
    network::{NodeSettings, Way},
    scene::{Scene, chat, faults, run_chat, scene, scene_of, signed, transcode_job},
    worker::{Lie, TestWorker},
};
use theta_types::Wei;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ladder_arrives_whole_is_checked_and_paid_two_seconds_at_a_time() {
    let scene = scene(TestWorker::honest(), NodeSettings::default(), vec![TestWorker::honest()]).await;
    let folder = tempfile::tempdir().unwrap();
    let mut run = scene.requester.requester.transcode(transcode_job(&folder, 11_000), Arc::new(OpenPurse));
    let (mut steps, mut result) = (Vec::new(), None);
    while let Some(event) = run.next().await {
        match event.unwrap() {
            TranscodeEvent::Done(done) => result = Some(*done),
            other => steps.push(other),
        }
    }
    let result = result.unwrap();
    assert_eq!(result.renditions.iter().map(|r| r.name.as_str()).collect::<Vec<_>>(), ["360p", "720p"]);
    for rendition in &result.renditions {
        assert_eq!(rendition.segments.len(), 6);
        for segment in &rendition.segments {
            let bytes = std::fs::read(result.folder.join(&segment.file)).unwrap();
            assert_eq!(ContentHash::of(&bytes), segment.hash);
        }
    }
    assert_eq!(result.thumbnails.iter().map(|picture| picture.at_ms).collect::<Vec<_>>(), [0, 10_000]);
    assert!(steps.contains(&TranscodeEvent::Checking));
    // 11 s are 6 units.
    assert_eq!(result.paid, milli(50) * 6);
    let log = scene.wires.take_log();
    let pays: Vec<u64> = log
        .iter()
        .filter(|(way, message)| *way == Way::ToProvider && message["say"] == "pay")
        .map(|(_, message)| message["units"].as_u64().unwrap())
        .collect();
    assert_eq!(pays, [1, 2, 3, 4, 5, 6]);
    // Never is a segment on its way whose unit's forerunner is unpaid.
    let mut paid = 0;
    for (way, message) in &log {
        match (way, message["event"]["event"].as_str()) {
            (Way::ToProvider, _) if message["say"] == "pay" => paid = message["units"].as_u64().unwrap(),
            (Way::ToRequester, Some("segment")) => {
                let index = message["event"]["segment"]["index"].as_u64().unwrap();
                assert!(index <= paid, "segment {index} went out with {paid} units paid");
            }
            _ => {}
        }
    }
    assert_eq!(signed(&scene.providers[0]).await, milli(300));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ladder_of_other_pictures_is_not_paid_and_made_elsewhere() {
    // From the first segment on: found before anything is paid. From the last on: the last part is not paid.
    for (from_segment, earned) in [(0, 0), (5, 5)] {
        let workers = vec![TestWorker::with(Lie::Frames { from_segment }), TestWorker::honest()];
        let scene = scene(TestWorker::honest(), NodeSettings::default(), workers).await;
        let folder = tempfile::tempdir().unwrap();
        let job = transcode_job(&folder, 11_000);
        let output = job.output.clone();
        let result = scene.requester.requester.transcode(job, Arc::new(OpenPurse)).finish().await.unwrap();
        assert_eq!(result.provider, scene.providers[1].address());
        assert_eq!(faults(&scene), [(scene.providers[0].address(), Fault::WrongFrames)]);
        assert_eq!(signed(&scene.providers[0]).await, milli(50) * earned);
        // What the liar sent is gone.
        assert_eq!(folders_in(&output), 1);
    }
}

/// Folders in a job's output: one for each provider's part that is there.
fn folders_in(output: &Path) -> usize {
    std::fs::read_dir(output).unwrap().filter(|entry| entry.as_ref().unwrap().path().is_dir()).count()
}

/// Kills the first provider when so many segments have gone out.
fn kill_after(scene: &Scene, segments: u32) {
    let (counted, kill) = (AtomicU32::new(0), scene.providers[0].killer(&scene.wires));
    scene.wires.set_filter(Some(Arc::new(move |_, message| {
        if message["event"]["event"] == "segment" && counted.fetch_add(1, Ordering::SeqCst) + 1 == segments {
            kill();
        }
        Some(message)
    })));
}

/// What the orders on the wire begin with: segment, milliseconds and thumbnail, if not at the beginning.
fn starts(scene: &Scene) -> Vec<Option<[u64; 3]>> {
    let log = scene.wires.take_log();
    let opens = log.iter().filter(|(_, message)| message["say"] == "open");
    opens
        .map(|(_, open)| {
            let from = &open["work"]["order"]["from"];
            Some([from["segment"].as_u64()?, from["ms"].as_u64()?, from["thumbnail"].as_u64()?])
        })
        .collect()
}

/// Every segment and picture of the source is there once, in order, with its bytes.
fn assert_whole(result: &TranscodeResult, segments: u32, pictures: u64) {
    for rendition in &result.renditions {
        let indices: Vec<u32> = rendition.segments.iter().map(|segment| segment.index).collect();
        assert_eq!(indices, (0..segments).collect::<Vec<_>>(), "{}", rendition.name);
        for segment in &rendition.segments {
            let bytes = std::fs::read(result.folder.join(&segment.file)).unwrap();
            assert_eq!(ContentHash::of(&bytes), segment.hash);
        }
    }
    let at: Vec<u64> = result.thumbnails.iter().map(|picture| picture.at_ms).collect();
    assert_eq!(at, (0..pictures).map(|number| number * 10_000).collect::<Vec<_>>());
    for picture in &result.thumbnails {
        assert_eq!(ContentHash::of(&std::fs::read(result.folder.join(&picture.file)).unwrap()), picture.hash);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transcode_goes_on_where_its_killed_provider_was_paid_and_nothing_is_paid_twice() {
    let workers = vec![TestWorker::honest(), TestWorker::honest()];
    let scene = scene(TestWorker::honest(), NodeSettings::default(), workers).await;
    scene.providers[0].worker.slow(Duration::from_millis(20));
    let folder = tempfile::tempdir().unwrap();
    let job = transcode_job(&folder, 60_000);
    let output = job.output.clone();
    // Of the third unit only one rendition is out.
    kill_after(&scene, 5);
    let mut run = scene.requester.requester.transcode(job, Arc::new(OpenPurse));
    let (mut progress, mut result) = (Vec::new(), None);
    while let Some(event) = run.next().await {
        match event.unwrap() {
            TranscodeEvent::Progress(permille) => progress.push(permille),
            TranscodeEvent::Done(done) => result = Some(*done),
            _ => {}
        }
    }
    let result = result.unwrap();
    assert_eq!(result.provider, scene.providers[1].address());
    assert_whole(&result, 30, 6);
    // The first one's two units, and the second one's for the other 28: a minute of source.
    assert_eq!(starts(&scene), [None, Some([2, 4_000, 1])]);
    assert_eq!(signed(&scene.providers[1]).await, milli(51) * 28);
    assert_eq!(result.paid, milli(50) * 2 + milli(51) * 28);
    assert_eq!(faults(&scene), [(scene.providers[0].address(), Fault::BrokeOff)]);
    assert!(progress.is_sorted(), "it never goes back: {progress:?}");
    let average = result.renditions[0].average_bandwidth;
    assert!((80_000..81_000).contains(&average), "{average} bit/s are not those of the whole");
    assert_eq!(folders_in(&output), 1, "one folder has all of it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transcode_goes_on_elsewhere_when_its_providers_node_stops_its_worker() {
    let workers = vec![TestWorker::with(Lie::IsStopped { after: 4 }), TestWorker::honest()];
    let scene = scene(TestWorker::honest(), NodeSettings::default(), workers).await;
    scene.providers[0].worker.slow(Duration::from_millis(20));
    let folder = tempfile::tempdir().unwrap();
    let run = scene.requester.requester.transcode(transcode_job(&folder, 20_000), Arc::new(OpenPurse));
    let result = run.finish().await.unwrap();
    assert_eq!(result.provider, scene.providers[1].address());
    assert_whole(&result, 10, 2);
    // What was paid when it was stopped is not ordered again. (It may not have taken the last payment any more.)
    let second = signed(&scene.providers[1]).await;
    let first = result.paid.saturating_sub(&second);
    let units = [(first, 50), (second, 51)].map(|(paid, price)| (1..=10).find(|n| milli(price) * *n == paid));
    assert_eq!(units.into_iter().flatten().sum::<u64>(), 10, "{units:?}");
    assert!(faults(&scene).is_empty(), "that is no fault: {:?}", faults(&scene));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_third_provider_goes_on_when_the_second_one_makes_something_else() {
    let workers = vec![TestWorker::honest(), TestWorker::honest(), TestWorker::honest()];
    let scene = scene(TestWorker::honest(), NodeSettings::default(), workers).await;
    scene.providers[0].worker.slow(Duration::from_millis(20));
    let folder = tempfile::tempdir().unwrap();
    let dead = scene.providers[0].killer(&scene.wires);
    let (ladders, segments) = (AtomicU32::new(0), AtomicU32::new(0));
    scene.wires.set_filter(Some(Arc::new(move |_, mut message| {
        if message["event"]["event"] == "segment" && segments.fetch_add(1, Ordering::SeqCst) == 4 {
            dead();
        }
        // The second provider names other renditions.
        if message["say"] == "ladder" && ladders.fetch_add(1, Ordering::SeqCst) == 1 {
            message["renditions"] = serde_json::json!(["360p", "480p"]);
        }
        Some(message)
    })));
    let run = scene.requester.requester.transcode(transcode_job(&folder, 20_000), Arc::new(OpenPurse));
    let result = run.finish().await.unwrap();
    assert_eq!(result.provider, scene.providers[2].address());
    assert_whole(&result, 10, 2);
    assert_eq!(starts(&scene), [None, Some([2, 4_000, 1]), Some([2, 4_000, 1])]);
    assert_eq!(result.paid, milli(50) * 2 + milli(52) * 8);
    let lied = (scene.providers[1].address(), Fault::WrongFrames);
    assert_eq!(faults(&scene), [(scene.providers[0].address(), Fault::BrokeOff), lied]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ladder_of_two_makers_that_is_no_good_in_the_end_is_begun_anew() {
    // The second one's last segment is wrong, which is seen only when all is there.
    let lie = TestWorker::with(Lie::Frames { from_segment: 9 });
    let workers = vec![TestWorker::honest(), lie, TestWorker::honest()];
    let scene = scene(TestWorker::honest(), NodeSettings::default(), workers).await;
    scene.providers[0].worker.slow(Duration::from_millis(20));
    let folder = tempfile::tempdir().unwrap();
    kill_after(&scene, 5);
    let run = scene.requester.requester.transcode(transcode_job(&folder, 20_000), Arc::new(OpenPurse));
    let result = run.finish().await.unwrap();
    assert_eq!(result.provider, scene.providers[2].address());
    assert_whole(&result, 10, 2);
    assert_eq!(starts(&scene), [None, Some([2, 4_000, 1]), None]);
    // The unit that was held back is not paid.
    assert_eq!(signed(&scene.providers[1]).await, milli(51) * 7);
    let [first, second] = [0, 1].map(|index| scene.providers[index].address());
    let doubtful = |node| (node, Fault::Doubtful);
    assert_eq!(faults(&scene), [(first, Fault::BrokeOff), doubtful(first), doubtful(second)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_a_provider_with_the_same_encoder_goes_on_and_another_one_begins_anew() {
    let workers = [VideoEncoder::X264, VideoEncoder::Openh264].map(|encoder| (TestWorker::honest(), encoder));
    let scene = scene_of(TestWorker::honest(), NodeSettings::default(), workers.into()).await;
    scene.providers[0].worker.slow(Duration::from_millis(20));
    let other = &scene.providers[1];
    assert_eq!(scene.requester.offers.of(&other.address()).unwrap().encoders, [VideoEncoder::Openh264]);

    let folder = tempfile::tempdir().unwrap();
    kill_after(&scene, 5);
    let run = scene.requester.requester.transcode(transcode_job(&folder, 20_000), Arc::new(OpenPurse));
    let result = run.finish().await.unwrap();
    assert_eq!(result.provider, other.address());
    assert_whole(&result, 10, 2);
    assert_eq!(starts(&scene), [None, None]);
    assert_eq!(result.paid, milli(50) * 2 + milli(51) * 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn still_pictures_of_something_else_are_not_signed_nor_the_last_unit_paid() {
    let workers = vec![TestWorker::with(Lie::Thumbnails), TestWorker::honest()];
    let scene = scene(TestWorker::honest(), NodeSettings::default(), workers).await;
    let folder = tempfile::tempdir().unwrap();
    let run = scene.requester.requester.transcode(transcode_job(&folder, 11_000), Arc::new(OpenPurse));
    assert_whole(&run.finish().await.unwrap(), 6, 2);
    assert_eq!(faults(&scene), [(scene.providers[0].address(), Fault::WrongFrames)]);
    assert_eq!(signed(&scene.providers[0]).await, milli(50) * 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_with_other_names_are_not_taken() {
    let workers = vec![TestWorker::with(Lie::Names), TestWorker::honest()];
    let scene = scene(TestWorker::honest(), NodeSettings::default(), workers).await;
    let folder = tempfile::tempdir().unwrap();
    let run = scene.requester.requester.transcode(transcode_job(&folder, 11_000), Arc::new(OpenPurse));
    assert_whole(&run.finish().await.unwrap(), 6, 2);
    assert_eq!(faults(&scene), [(scene.providers[0].address(), Fault::BadMessage)]);
    assert_eq!(signed(&scene.providers[0]).await, Wei::zero());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ladder_that_kills_the_checker_twice_is_not_paid_and_made_elsewhere() {
    // Once may be chance: it is looked at again, and nobody is blamed.
    for (deaths, blamed) in [(1, false), (2, true)] {
        let own = TestWorker::honest();
        own.deadly_checks.store(deaths, Ordering::SeqCst);
        let workers = vec![TestWorker::honest(), TestWorker::honest()];
        let scene = scene(own, NodeSettings::default(), workers).await;
        let folder = tempfile::tempdir().unwrap();
        let run = scene.requester.requester.transcode(transcode_job(&folder, 11_000), Arc::new(OpenPurse));
        let result = run.finish().await.unwrap();
        assert_whole(&result, 6, 2);
        let first = scene.providers[0].address();
        assert_eq!(faults(&scene), if blamed { vec![(first, Fault::Doubtful)] } else { vec![] });
        assert_eq!(result.provider == first, !blamed);
        assert_eq!(signed(&scene.providers[0]).await, milli(50) * if blamed { 0 } else { 6 });
        assert!(!scene.requester.standing.is_excluded(&first), "that is no lie yet");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_line_loses_no_job_however_much_the_worker_has_to_say() {
    let scene = scene(TestWorker::honest(), NodeSettings::default(), vec![TestWorker::honest()]).await;
    // Some 24,000 events, where a queue of a thousand is the limit.
    scene.providers[0].worker.chatter.store(400, Ordering::SeqCst);
    scene.wires.drip(scene.providers[0].peer, Duration::from_millis(30));
    let folder = tempfile::tempdir().unwrap();
    let run = scene.requester.requester.transcode(transcode_job(&folder, 60_000), Arc::new(OpenPurse));
    let result = run.finish().await.unwrap();
    assert_whole(&result, 30, 6);
    assert_eq!(result.provider, scene.providers[0].address());
    assert!(faults(&scene).is_empty(), "{:?}", faults(&scene));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transcode_is_offered_only_with_the_encoder_that_is_set() {
    let scene = scene(TestWorker::honest(), NodeSettings::default(), vec![TestWorker::honest()]).await;
    let provider = &scene.providers[0];
    let offer = |encoders| {
        let can = WorkerCapabilities { encoders, ..WorkerCapabilities::default() };
        provider.provider.offer(provider.peer, &[can]).unwrap()
    };
    let other = offer(vec![VideoEncoder::Openh264]);
    assert!(other.service(JobKind::Transcode, None).is_none() && other.encoders.is_empty());
    let both = offer(vec![VideoEncoder::Openh264, VideoEncoder::X264]);
    assert!(both.service(JobKind::Transcode, None).is_some());
    assert_eq!(both.encoders, [VideoEncoder::X264]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_video_fails_without_a_second_try() {
    let workers = vec![TestWorker::honest(), TestWorker::honest()];
    let scene = scene(TestWorker::honest(), NodeSettings::default(), workers).await;
    let folder = tempfile::tempdir().unwrap();
    let mut job = transcode_job(&folder, 4_000);
    let bytes = b"a text\n".to_vec();
    std::fs::write(&job.source, &bytes).unwrap();
    (job.order.source, job.order.source_bytes) = (ContentHash::of(&bytes), bytes.len() as u64);
    let failed = scene.requester.requester.transcode(job, Arc::new(OpenPurse)).finish().await.unwrap_err();
    assert!(matches!(&failed, RequestError::BadOrder(error) if error.message == "not a video"), "{failed}");
    assert!(faults(&scene).is_empty());
    assert_eq!(signed(&scene.providers[1]).await, Wei::zero());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_transcode_waits_for_the_first() {
    let mut settings = NodeSettings { places: 1, ..NodeSettings::default() };
    // Blocks are made faster here than a busy machine transcodes.
    settings.payer.duration = 4_000;
    let scene = scene(TestWorker::honest(), settings, vec![TestWorker::honest()]).await;
    scene.providers[0].worker.slow(Duration::from_millis(60));
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    // So that its reserve is there, and the two meet at the place alone.
    run_chat(&scene.requester, chat(16)).await.unwrap();
    let runs = folders.iter().map(|folder| {
        let job = transcode_job(folder, 11_000);
        scene.requester.requester.transcode(job, Arc::new(OpenPurse)).finish()
    });
    for done in futures::future::join_all(runs).await {
        assert_eq!(done.unwrap().paid, milli(300));
    }
    let refusals = scene.wires.take_log().iter().filter(|(_, message)| message["say"] == "refused").count();
    assert!(refusals > 0, "the second one found the place taken");
    assert!(faults(&scene).is_empty());
}
