//! The workers of this node: those that its settings need, up while the governor lets them.

use std::path::{Path, PathBuf};

use edge_jobs::{ComputeDevice, JobKind};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{Worker, WorkerProgram, find_program};
use crate::{governor::Governor, settings::Settings};

/// Added to a worker's nice value.
const NICENESS: i32 = 10;
/// Tasks of the node itself that the media worker does beside those of others: files are looked into, ladders checked.
const OWN_TASKS: usize = 4;

/// The workers of a node. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Crew {
    /// Transcodes and checks video; absent when nothing needs it, or its program is not installed.
    pub media: Option<Worker>,
    /// Runs models; absent alike.
    pub compute: Option<Worker>,
    /// Programs that are needed and not there, with where they were looked for.
    pub missing: Vec<(&'static str, String)>,
}

impl Crew {
    /// Employs what the settings need; the processes run unless the governor lets the machine rest. Models lie in `models`
    /// unless the settings name another folder.
    pub fn start(settings: &Settings, models: &Path, governor: &Governor) -> Self {
        let places = settings.places();
        let offered = |kind| places.get(&kind).copied().unwrap_or(0);
        let mut crew = Self::default();
        // A creator checks what others transcoded for it.
        if settings.gateway.enabled || offered(JobKind::Transcode) > 0 {
            let tasks = offered(JobKind::Transcode) + OWN_TASKS;
            let arguments = vec!["--max-tasks".into(), tasks.to_string()];
            let chosen = settings.workers.media.as_deref();
            crew.media = crew.employ("media", "thetis-media", chosen, arguments, settings, governor);
        }
        let places = offered(JobKind::Chat) + offered(JobKind::Embeddings);
        let models = settings.workers.models.clone().unwrap_or_else(|| models.to_path_buf());
        // A gateway that has models does a part of the work again, to see whether providers lie.
        if places > 0 || (settings.gateway.enabled && models.is_dir()) {
            let arguments = compute_arguments(settings, models, places.max(1));
            let chosen = settings.workers.compute.as_deref();
            crew.compute = crew.employ("compute", "thetis-compute", chosen, arguments, settings, governor);
        }
        crew
    }

    fn employ(
        &mut self,
        name: &'static str,
        program: &str,
        chosen: Option<&Path>,
        arguments: Vec<String>,
        settings: &Settings,
        governor: &Governor,
    ) -> Option<Worker> {
        let Some(path) = find_program(chosen, program) else {
            let place = chosen
                .map_or_else(|| "beside this program and on the path".into(), |p| p.display().to_string());
            tracing::warn!(worker = name, %place, "the worker program is not installed");
            self.missing.push((name, format!("{program} was not found: looked {place}")));
            return None;
        };
        let wanted = !*governor.rests().borrow();
        let processors = settings.limits.cpu_threads;
        Some(Worker::start(WorkerProgram { name, path, arguments, niceness: NICENESS, processors }, wanted))
    }

    /// Takes the workers down within the moment that the governor lets the machine rest, and up again when it does not.
    pub fn follow(&self, governor: &Governor, tasks: &TaskTracker, stop: CancellationToken) {
        let crew = self.clone();
        let mut rests = governor.rests();
        tasks.spawn(async move {
            loop {
                let rest = *rests.borrow_and_update();
                for worker in crew.media.iter().chain(&crew.compute) {
                    if rest { worker.stop() } else { worker.resume() }
                }
                tokio::select! {
                    changed = rests.changed() => if changed.is_err() { return },
                    () = stop.cancelled() => return,
                }
            }
        });
    }
}

fn compute_arguments(settings: &Settings, models: PathBuf, places: usize) -> Vec<String> {
    let device = match settings.workers.device {
        ComputeDevice::Auto => "auto",
        ComputeDevice::Gpu => "gpu",
        ComputeDevice::SoftwareGpu => "software-gpu",
        ComputeDevice::Cpu => "cpu",
    };
    let mut arguments = vec![
        "--models".into(),
        models.to_string_lossy().into_owned(),
        "--device".into(),
        device.into(),
        "--running".into(),
        places.to_string(),
        "--memory-mib".into(),
        settings.limits.model_memory_mib.to_string(),
    ];
    if let Some(threads) = settings.compute_threads() {
        arguments.extend(["--threads".into(), threads.to_string()]);
    }
    arguments
}
