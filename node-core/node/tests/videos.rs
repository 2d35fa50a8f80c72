//! A creator's videos, with the real media worker: they outlive kills, pauses and a locked wallet, and keep to limits.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod support;

use std::{
    path::Path,
    time::{Duration, Instant},
};

use edge_jobs::JobKind;
use serde_json::{Value, json};
use support::{
    Daemon, status,
    streams::{MeetingPlace, offers, units},
    tls, until, until_within,
    video_api::{VideoApi, bunny},
};
use thetis::{
    control::{ControlClient, types::Earnings},
    workers::find_program,
};

/// Videos are made one at a time: what they take of the machine is measured.
static ONE_AT_A_TIME: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
/// How long making a video may take on a machine that has other things to do.
const PATIENCE: Duration = Duration::from_secs(240);

/// A chain that lives through everything, a node that transcodes, and a creator.
struct Studio {
    _chain: MeetingPlace,
    edge: Daemon,
    edge_client: ControlClient,
    creator: Daemon,
    api: VideoApi,
    // Last: the next one begins when these nodes are gone.
    _alone: tokio::sync::MutexGuard<'static, ()>,
}

impl Studio {
    /// `edge` are settings of the node that transcodes, `creator` those of the creator.
    async fn open(edge: &[&str], creator: &[&str]) -> Self {
        tls();
        let alone = ONE_AT_A_TIME.lock().await;
        // Tests lie in a folder below the programs.
        let programs = std::env::current_exe().unwrap().parent().unwrap().parent().unwrap().to_path_buf();
        assert!(
            programs.join("thetis-media").is_file() || find_program(None, "thetis-media").is_some(),
            "the media worker is not built: cargo build --workspace --bins"
        );
        let chain = MeetingPlace::start().await;
        let node = |flags: &[&str], set: &[&str]| {
            let set = set.iter().flat_map(|value| ["--set", value]);
            let all: Vec<&str> = flags.iter().copied().chain(set).collect();
            chain.init(&all)
        };
        let mut edge = node(&["--offer", "transcode"], edge);
        let edge_client = edge.serve(&[]).await;
        let mut creator = node(&["--gateway"], creator);
        creator.serve(&[]).await;
        let api = VideoApi::with_new_key(&creator);
        until_within(PATIENCE, "transcodes are offered", async || {
            offers(&edge_client, JobKind::Transcode).await
        })
        .await;
        Self { _alone: alone, _chain: chain, edge, edge_client, creator, api }
    }

    /// Uploads a file to the creator's gateway and orders a video of it; gives the video's id.
    async fn order(&self, file: &Path) -> String {
        self.api.order(&self.client(), file, json!({ "resolutions": [360] })).await
    }

    async fn video(&self, id: &str) -> Value {
        self.api.video(&self.client(), id).await
    }

    fn client(&self) -> ControlClient {
        self.creator.client().unwrap()
    }

    /// Waits until a provider has begun to deliver a video.
    async fn in_the_middle(&self, id: &str) {
        until_within(PATIENCE, "a part of the video is made", async || {
            let video = self.video(id).await;
            assert_ne!(video["state"], "error", "{video}");
            video["sub_state"] == "transcoding" && self.units().await > 0
        })
        .await;
    }

    async fn finished(&self, id: &str) -> Value {
        let mut last = Value::Null;
        until_within(PATIENCE, "the video is finished", async || {
            last = self.video(id).await;
            ["success", "error"].contains(&last["state"].as_str().unwrap())
        })
        .await;
        last
    }

    /// Asserts that a video goes on waiting for a while.
    async fn waits(&self, id: &str) {
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(4) {
            let video = self.video(id).await;
            assert_eq!((&video["state"], &video["error"]), (&json!("processing"), &Value::Null), "{video}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    async fn bought(&self) -> Earnings {
        self.client().get("/api/earnings?side=requester").await.unwrap()
    }

    /// Units that the creator has bought.
    async fn units(&self) -> u64 {
        units(&self.client(), "requester").await
    }
}

/// How Linux counts processor time towards programs.
const TICKS_PER_SECOND: f64 = 100.0;

/// Slow enough that a test can act while a video is on its way.
const SLOWLY: &str = "limits.upload_bytes_per_second=60000";

/// The media workers of a node that are alive.
fn media_workers(node: &Daemon) -> Vec<u32> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| {
        stat(*pid).is_some_and(|(name, parent, _)| name == "thetis-media" && parent == node.pid())
    })
    .collect()
}

/// Name, parent and processor time in ticks of a process that is no zombie.
fn stat(pid: u32) -> Option<(String, u32, u64)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (head, rest) = text.rsplit_once(')')?;
    let name = head.split_once('(')?.1.to_owned();
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let number = |index: usize| fields[index].parse::<u64>().ok();
    (fields[0] != "Z").then_some(())?;
    Some((name, u32::try_from(number(1)?).ok()?, number(11)? + number(12)?))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_video_outlives_the_kill_of_its_creator_and_waits_for_its_wallet() {
    // Each kill may leave one unit unpaid, which the provider puts up with as far as its credit goes: 0.1 TFUEL.
    let mut studio = Studio::open(&[SLOWLY, "offer.prices.transcode=\"0.05\""], &[]).await;
    let id = studio.order(&bunny()).await;
    studio.in_the_middle(&id).await;
    assert!(!studio.creator.end("-KILL"));

    // Without its key the creator can pay nobody, so the video waits.
    studio.creator.serve(&["--locked"]).await;
    studio.waits(&id).await;
    studio.edge.json(&["limits", "--upload", "0"]);
    studio.creator.json(&["wallet", "unlock"]);
    let done = studio.finished(&id).await;
    assert_eq!((&done["state"], &done["error"]), (&json!("success"), &Value::Null), "{done}");

    // And once more with its key there at once, while the media worker still starts.
    studio.edge.json(&["limits", "--upload", "60000"]);
    let id = studio.order(&bunny()).await;
    let before = studio.units().await;
    until_within(PATIENCE, "a part of the second video is made", async || studio.units().await > before)
        .await;
    assert!(!studio.creator.end("-KILL"));
    studio.edge.json(&["limits", "--upload", "0"]);
    studio.creator.serve(&[]).await;
    let done = studio.finished(&id).await;
    assert_eq!((&done["state"], &done["error"]), (&json!("success"), &Value::Null), "{done}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_creator_s_video_waits_for_the_resume_and_is_paid_once() {
    let studio = Studio::open(&[SLOWLY], &["gateway.running=1"]).await;
    let id = studio.order(&bunny()).await;
    studio.in_the_middle(&id).await;
    assert_eq!(media_workers(&studio.creator).len(), 1);
    let asked = Instant::now();
    studio.creator.json(&["pause"]);
    until("the creator's worker is gone", async || media_workers(&studio.creator).is_empty()).await;
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    studio.edge.json(&["limits", "--upload", "0"]);
    studio.waits(&id).await;

    // A video holds no place that a call to a model needs: this one is refused for another reason.
    let gateway = status(&studio.client()).await.gateway.unwrap().url;
    let call = reqwest::Client::new().post(format!("{gateway}/v1/embeddings"));
    let body = json!({ "model": "all-minilm-l6-v2", "input": "sea" });
    let answer = call.bearer_auth(studio.api.key["key"].as_str().unwrap()).json(&body).send().await.unwrap();
    let answer: Value = answer.json().await.unwrap();
    assert_eq!(answer["error"]["code"], "no_provider", "{answer}");

    studio.creator.json(&["resume"]);
    let done = studio.finished(&id).await;
    assert_eq!((&done["state"], &done["error"]), (&json!("success"), &Value::Null), "{done}");
    let bought = studio.bought().await;
    assert_eq!((bought.kinds[0].jobs, bought.kinds[0].units), (1, 3), "{bought:?}");
    assert_eq!(bought.jobs[0].state, "done");

    // What lies on the disk is measured: the upload, and the segments of the stream.
    until("the disk is measured", async || {
        let disk = status(&studio.client()).await.limits.disk;
        disk.uploads == std::fs::metadata(bunny()).unwrap().len() && disk.segments > 0 && disk.work == 0
    })
    .await;
    let disk = status(&studio.client()).await.limits.disk;
    assert_eq!(disk.used, disk.uploads + disk.segments);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_in_the_middle_of_a_video_books_what_it_cost_and_no_more() {
    let mut studio = Studio::open(&[SLOWLY], &[]).await;
    let id = studio.order(&bunny()).await;
    studio.in_the_middle(&id).await;
    studio.creator.json(&["stop"]);
    assert!(studio.creator.ended(), "it ends as with SIGTERM");
    let books = rusqlite::Connection::open(studio.creator.data().join("thetis.sqlite")).unwrap();
    let text = |sql: &str| books.query_row(sql, [], |row| row.get::<_, String>(0)).unwrap();
    assert_eq!(
        text("SELECT CAST(count(*) AS TEXT) FROM gateway_reservations"),
        "0",
        "nothing stays reserved"
    );
    let units = text("SELECT CAST(sum(units) AS TEXT) FROM shares WHERE side = 'payer'");
    let cost = u128::from(units.parse::<u64>().unwrap()) * 250_000_000_000_000_000;
    assert_eq!(text("SELECT amount FROM gateway_spent"), cost.to_string(), "{units} units");
    assert_eq!(text("SELECT state FROM gateway_videos"), "processing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_of_one_thread_is_for_one_video_which_takes_no_more_than_a_processor() {
    let studio = Studio::open(&["limits.cpu_threads=1", "offer.places.transcode=3"], &[]).await;
    let limits = status(&studio.edge_client).await.limits;
    assert_eq!((limits.cpu_threads, limits.media_threads), (Some(1), 1));
    let places = status(&studio.edge_client).await.work.kinds;
    let transcodes = places.iter().find(|kind| kind.kind == JobKind::Transcode).unwrap();
    assert_eq!(transcodes.places, 1, "one thread is for one video at a time");

    let film = studio.edge.folder.path().join("film.mp4");
    let source = bunny();
    let repeat = ["-v", "error", "-stream_loop", "5", "-i", source.to_str().unwrap(), "-c", "copy"];
    let made = std::process::Command::new("ffmpeg").args(repeat).arg(&film).status().unwrap();
    assert!(made.success(), "ffmpeg makes a longer film");
    let worker = media_workers(&studio.edge)[0];
    let id = studio.order(&film).await;
    // From the moment that the worker has something to do until it has done all of it.
    let processor_seconds = || stat(worker).unwrap().2 as f64 / TICKS_PER_SECOND;
    let idle = processor_seconds();
    until("the transcode begins", async || processor_seconds() > idle + 0.2).await;
    let (mut last, mut peak) = ((Instant::now(), processor_seconds()), 0.0_f64);
    until_within(PATIENCE, "the video is finished", async || {
        let elapsed = last.0.elapsed().as_secs_f64();
        if elapsed >= 0.5 {
            peak = peak.max((processor_seconds() - last.1) / elapsed);
            last = (Instant::now(), processor_seconds());
        }
        studio.video(&id).await["state"] != "processing"
    })
    .await;
    assert_eq!(studio.video(&id).await["state"], "success");
    println!("{peak:.2} processors in the busiest half second");
    // Time is counted in hundredths of a second.
    assert!((0.3..=1.1).contains(&peak), "{peak:.2} processors for a limit of one");
}
