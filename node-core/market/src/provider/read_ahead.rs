//! Events of a task that are read as they come, whatever holds up whoever acts on them.

use std::collections::VecDeque;

use edge_jobs::Event;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::RunningTask;

/// Most events that wait. A worker makes no ladder with more segments and pictures than this.
const MAX_WAITING: usize = 50_000;

/// The same task, its events read ahead. A ladder's segments go out as fast as the line allows and as they are paid; its
/// worker would meanwhile run into a full queue, and its job be taken for abandoned. Of news about the progress only the
/// newest is kept. A backlog without end ends the task.
pub(super) fn read_ahead(mut task: RunningTask) -> RunningTask {
    let (sender, receiver) = mpsc::channel(1);
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    tokio::spawn(async move {
        let mut backlog = Backlog::default();
        let mut goes_on = true;
        while goes_on || !backlog.is_empty() {
            tokio::select! {
                () = stopped.cancelled() => return,
                event = task.next(), if goes_on => match event {
                    Some(event) if backlog.len() < MAX_WAITING => backlog.push(event),
                    Some(_) => return warn!("a task has more events than can wait, and is stopped"),
                    None => goes_on = false,
                },
                place = sender.reserve(), if !backlog.is_empty() => match (place, backlog.next()) {
                    (Ok(place), Some(event)) => place.send(event),
                    _ => return,
                },
            }
        }
    });
    RunningTask::new(receiver, stop)
}

#[derive(Default)]
struct Backlog {
    progress: Option<Event>,
    others: VecDeque<Event>,
}

impl Backlog {
    fn push(&mut self, event: Event) {
        match event {
            Event::Progress { .. } => self.progress = Some(event),
            other => self.others.push_back(other),
        }
    }

    /// Progress first: it is small, and what comes after it may take long.
    fn next(&mut self) -> Option<Event> {
        self.progress.take().or_else(|| self.others.pop_front())
    }

    fn len(&self) -> usize {
        self.others.len()
    }

    fn is_empty(&self) -> bool {
        self.progress.is_none() && self.others.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use edge_jobs::{JobId, MediaInfo};

    use super::*;

    fn progress(permille: u16) -> Event {
        Event::Progress { job: JobId([0; 16]), permille }
    }

    fn inspected(duration_ms: u64) -> Event {
        let media = MediaInfo {
            duration_ms,
            width: 1,
            height: 1,
            frame_rate: (25, 1),
            audio: false,
            video_codec: String::new(),
        };
        Event::Inspected { job: JobId([0; 16]), media }
    }

    #[tokio::test]
    async fn a_slow_reader_holds_nobody_up_and_gets_everything_but_old_progress() {
        let (worker, events) = mpsc::channel(2);
        let mut task = read_ahead(RunningTask::new(events, CancellationToken::new()));
        for number in 0..3_000 {
            worker.send(progress(number as u16)).await.unwrap();
            worker.send(inspected(number)).await.unwrap();
        }
        drop(worker);
        let (mut news, mut others) = (Vec::new(), Vec::new());
        while let Some(event) = task.next().await {
            match event {
                Event::Progress { permille, .. } => news.push(permille),
                other => others.push(other),
            }
        }
        assert_eq!(others, (0..3_000).map(inspected).collect::<Vec<_>>());
        assert!(news.len() < 10 && news.is_sorted() && news.last() == Some(&2_999), "{news:?}");
    }

    #[tokio::test]
    async fn dropping_it_stops_the_task() {
        let (worker, events) = mpsc::channel(2);
        let stop = CancellationToken::new();
        let task = read_ahead(RunningTask::new(events, stop.clone()));
        worker.send(inspected(1)).await.unwrap();
        drop(task);
        tokio::time::timeout(Duration::from_secs(5), stop.cancelled()).await.unwrap();
    }
}
