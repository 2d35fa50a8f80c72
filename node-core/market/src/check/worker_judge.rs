//! Judging with the own workers.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use edge_jobs::{
    ChatMessage, ChatOrder, CheckTask, EmbeddingsOrder, Event, JobError, JobErrorCode, JobId, Rendition,
    RenditionCheck, Role, Sampling, Task,
};
use rand::RngExt;
use tokio::time::Instant;

use super::{Judge, LadderCheck, Verdict, check_form, largest_difference};
use crate::provider::Worker;

/// How far numbers of two runtimes may differ in one place.
const VECTOR_TOLERANCE: f32 = 1e-3;
/// Frames of each rendition that are compared when a ladder is finished.
const FRAMES: u32 = 6;
/// Frames that are compared while it is being made.
const FRAMES_SO_FAR: u32 = 2;
/// How often a ladder is tried to be compared when the worker dies of it: once more, in case it was chance.
const COMPARISONS: u32 = 2;
/// How long a worker is waited for that is busy, or was just started again.
const WORKER_WAIT: Duration = Duration::from_secs(30);
const WORKER_RETRY: Duration = Duration::from_millis(200);

/// Judges by doing a part of the work again on this machine.
#[derive(Clone)]
pub struct WorkerJudge {
    worker: Arc<dyn Worker>,
    worker_wait: Duration,
}

impl std::fmt::Debug for WorkerJudge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WorkerJudge").finish_non_exhaustive()
    }
}

impl WorkerJudge {
    /// Judges with `worker`.
    pub fn new(worker: Arc<dyn Worker>) -> Self {
        Self { worker, worker_wait: WORKER_WAIT }
    }

    async fn run(&self, task: Task) -> Result<Event, JobError> {
        let task = self.worker.start(JobId::random(), task).await?;
        match task.last().await {
            Some(Event::Failed { error, .. }) => Err(error),
            Some(event) => Ok(event),
            None => Err(JobError::new(JobErrorCode::Internal, "the worker died")),
        }
    }

    /// Compares a ladder with its source; `frames` pictures of each rendition.
    async fn compare(&self, check: LadderCheck, frames: u32, unfinished: bool) -> Verdict {
        let task = CheckTask {
            source: check.source,
            output: check.output,
            renditions: check.renditions,
            ladder: check.ladder,
            frames_per_rendition: frames,
            seed: rand::random(),
            unfinished,
            from_segment: check.from_segment,
            thumbnails: check.thumbnails,
            thumbnail_order: check.thumbnail_order,
        };
        let mut deadline = Instant::now() + self.worker_wait;
        let (mut failures, mut last) = (0, String::new());
        while failures < COMPARISONS {
            match self.run(Task::Check(task.clone())).await {
                Ok(Event::Checked { renditions, .. }) => return verdict_of(&task, &renditions),
                Ok(other) => return Verdict::Unknown(format!("the worker answered {other:?}")),
                Err(error) if error.code == JobErrorCode::Internal => {
                    (failures, last) = (failures + 1, error.message);
                    deadline = Instant::now() + self.worker_wait;
                }
                // It has no free place, or was killed or stopped and is not back yet.
                Err(error) if is_away(&error) && Instant::now() < deadline => {
                    tokio::time::sleep(WORKER_RETRY).await;
                }
                Err(error) => return Verdict::Unknown(error.message),
            }
        }
        Verdict::Stuck(format!("the check failed {failures} times: {last}"))
    }

    /// Tokens of a conversation with one message.
    async fn conversation_tokens(&self, model: &str, text: &str) -> Option<u64> {
        let order = ChatOrder {
            model: model.to_owned(),
            messages: vec![ChatMessage { role: Role::User, content: text.to_owned() }],
            continues: false,
            max_tokens: Some(1),
            sampling: Sampling { temperature: 0.0, top_p: 1.0, seed: Some(0) },
            stop: Vec::new(),
        };
        match self.run(Task::Chat(order)).await {
            Ok(Event::Chatted { prompt_tokens, .. }) => Some(u64::from(prompt_tokens)),
            _ => None,
        }
    }
}

#[async_trait]
impl Judge for WorkerJudge {
    /// Does one of the texts again, chosen at random.
    async fn vectors(&self, order: &EmbeddingsOrder, vectors: &[Vec<f32>]) -> Verdict {
        if let Err(wrong) = check_form(order.inputs.len(), vectors) {
            return Verdict::Bad(wrong);
        }
        let chosen = rand::rng().random_range(0..order.inputs.len());
        let one = EmbeddingsOrder { model: order.model.clone(), inputs: vec![order.inputs[chosen].clone()] };
        match self.run(Task::Embeddings(one)).await {
            Ok(Event::Embedded { vectors: own, .. }) if own.len() == 1 => {
                let difference = largest_difference(&own[0], &vectors[chosen]);
                if difference <= VECTOR_TOLERANCE {
                    Verdict::Good
                } else {
                    Verdict::Bad(format!("text {chosen}: its vector is off by {difference}"))
                }
            }
            Ok(other) => Verdict::Unknown(format!("the worker answered {other:?}")),
            Err(error) => Verdict::Unknown(error.message),
        }
    }

    /// The tokens of a conversation with the text, less those of one without.
    async fn count_tokens(&self, model: &str, text: &str) -> Option<u64> {
        let empty = self.conversation_tokens(model, "").await?;
        let full = self.conversation_tokens(model, text).await?;
        Some(full.saturating_sub(empty))
    }

    async fn ladder(&self, check: LadderCheck) -> Verdict {
        self.compare(check, FRAMES, false).await
    }

    async fn ladder_so_far(&self, check: LadderCheck) -> Verdict {
        self.compare(check, FRAMES_SO_FAR, true).await
    }
}

fn is_away(error: &JobError) -> bool {
    matches!(error.code, JobErrorCode::Busy | JobErrorCode::Cancelled)
}

/// Any problem is one too many, and so is a rendition of which nothing could be looked at.
fn verdict_of(task: &CheckTask, checks: &[RenditionCheck]) -> Verdict {
    if checks.is_empty() {
        return Verdict::Bad("there is no rendition".into());
    }
    if let Some(failed) = checks.iter().find(|check| !check.passed || !check.problems.is_empty()) {
        return Verdict::Bad(format!("{}: {}", failed.rendition, failed.problems.join(", ")));
    }
    let unseen = |rendition: &&Rendition| {
        let frames =
            checks.iter().filter(|check| check.rendition == rendition.name).map(|check| &check.frames);
        rendition.segments.len() > task.from_segment as usize && frames.flatten().next().is_none()
    };
    match task.renditions.iter().find(unseen) {
        Some(rendition) => Verdict::Bad(format!("{}: none of its pictures can be seen", rendition.name)),
        None => Verdict::Good,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use edge_jobs::{ContentHash, FrameDifference, Ladder, SegmentInfo};
    use tokio::sync::mpsc;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::provider::RunningTask;

    /// A worker that answers each task with the next of these; `None` as if it died.
    struct Script(Mutex<Vec<Result<Option<Event>, JobError>>>);

    #[async_trait]
    impl Worker for Script {
        async fn start(&self, _: JobId, _: Task) -> Result<RunningTask, JobError> {
            let next = self.0.lock().unwrap().remove(0)?;
            let (sender, events) = mpsc::channel(1);
            if let Some(event) = next {
                sender.try_send(event).unwrap();
            }
            Ok(RunningTask::new(events, CancellationToken::new()))
        }
    }

    fn job() -> JobId {
        JobId([0; 16])
    }

    fn checked(frames: usize, problems: &[&str]) -> Event {
        let frame = FrameDifference { at_ms: 0, psnr_db: 30.0 };
        let check = RenditionCheck {
            rendition: "360p".into(),
            passed: problems.is_empty(),
            problems: problems.iter().map(|problem| (*problem).to_owned()).collect(),
            frames: vec![frame; frames],
        };
        Event::Checked { job: job(), renditions: vec![check] }
    }

    fn failed(code: JobErrorCode) -> Event {
        Event::Failed { job: job(), error: JobError::new(code, "it stood still") }
    }

    /// The verdict on a ladder with one segment, and how many answers were left over.
    async fn verdict(answers: Vec<Result<Option<Event>, JobError>>) -> (Verdict, usize) {
        let script = Arc::new(Script(Mutex::new(answers)));
        let segment = SegmentInfo {
            index: 0,
            file: "360p/00000.ts".into(),
            duration_ms: 2_000,
            bytes: 1,
            hash: ContentHash([0; 32]),
        };
        let rendition = Rendition {
            name: "360p".into(),
            width: 0,
            height: 0,
            bandwidth: 0,
            average_bandwidth: 0,
            codecs: String::new(),
            frame_rate: (0, 1),
            segments: vec![segment],
        };
        let check = LadderCheck {
            source: "source".into(),
            output: "output".into(),
            renditions: vec![rendition],
            ladder: Ladder::default(),
            from_segment: 0,
            thumbnails: vec![],
            thumbnail_order: None,
        };
        let judge = WorkerJudge { worker: script.clone(), worker_wait: WORKER_RETRY * 3 };
        let verdict = judge.ladder_so_far(check).await;
        let left = script.0.lock().unwrap().len();
        (verdict, left)
    }

    #[tokio::test]
    async fn any_problem_is_bad_and_so_is_nothing_to_see() {
        assert_eq!(verdict(vec![Ok(Some(checked(2, &[])))]).await.0, Verdict::Good);
        for event in [checked(2, &["it is listed in another file"]), checked(0, &[])] {
            assert!(matches!(verdict(vec![Ok(Some(event))]).await.0, Verdict::Bad(_)));
        }
        let nothing = Event::Checked { job: job(), renditions: vec![] };
        assert!(matches!(verdict(vec![Ok(Some(nothing))]).await.0, Verdict::Bad(_)));
    }

    #[tokio::test]
    async fn a_ladder_that_kills_the_checker_twice_is_stuck_and_once_is_chance() {
        let internal = || Ok(Some(failed(JobErrorCode::Internal)));
        let (found, _) = verdict(vec![Ok(None), Ok(Some(checked(2, &[])))]).await;
        assert_eq!(found, Verdict::Good);
        // It is started again in between.
        let busy = || Err(JobError::new(JobErrorCode::Busy, "the worker does not run"));
        let answers = vec![Ok(None), busy(), busy(), internal(), Ok(Some(checked(2, &[])))];
        let (found, left) = verdict(answers).await;
        assert!(matches!(found, Verdict::Stuck(_)) && left == 1, "{found:?}");
    }

    #[tokio::test]
    async fn a_node_without_a_checker_does_not_know() {
        let busy = || Err(JobError::new(JobErrorCode::Busy, "the worker does not run"));
        let (found, left) = verdict((0..100).map(|_| busy()).collect()).await;
        assert!(matches!(found, Verdict::Unknown(_)) && left > 90, "{found:?} {left}");
        let stopped = || Ok(Some(failed(JobErrorCode::Cancelled)));
        let (found, _) = verdict((0..100).map(|_| stopped()).collect()).await;
        assert!(matches!(found, Verdict::Unknown(_)), "{found:?}");
        assert_eq!(verdict(vec![stopped(), Ok(Some(checked(2, &[])))]).await.0, Verdict::Good);
    }
}
