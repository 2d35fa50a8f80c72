//! The workers of this node: those that its settings need, up while the governor lets them.

use std::path::{Path, PathBuf};

use edge_jobs::{ComputeDevice, JobKind};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{Worker, WorkerProgram, find_program};
use crate::{
    governor::{Governor, Halt},
    settings::Settings,
};

/// Added to a worker's nice value.
const NICENESS: i32 = 10;

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
    /// Starts what the settings need. Models lie in `models` unless the settings name another folder.
    pub fn start(settings: &Settings, models: &Path) -> Self {
        let offered = |kind| settings.offer.places.get(&kind).copied().unwrap_or(0);
        let mut crew = Self::default();
        // A creator checks what others transcoded for it.
        if settings.gateway.enabled || offered(JobKind::Transcode) > 0 {
            let tasks = offered(JobKind::Transcode) + 4;
            let arguments = vec!["--max-tasks".into(), tasks.to_string()];
            crew.media = crew.employ("media", "thetis-media", settings.workers.media.as_deref(), arguments);
        }
        let places = offered(JobKind::Chat) + offered(JobKind::Embeddings);
        let models = settings.workers.models.clone().unwrap_or_else(|| models.to_path_buf());
        // A gateway that has models does a part of the work again, to see whether providers lie.
        if places > 0 || (settings.gateway.enabled && models.is_dir()) {
            let arguments = compute_arguments(settings, models, places.max(1));
            crew.compute =
                crew.employ("compute", "thetis-compute", settings.workers.compute.as_deref(), arguments);
        }
        crew
    }

    fn employ(
        &mut self,
        name: &'static str,
        program: &str,
        chosen: Option<&Path>,
        arguments: Vec<String>,
    ) -> Option<Worker> {
        let Some(path) = find_program(chosen, program) else {
            let place = chosen
                .map_or_else(|| "beside this program and on the path".into(), |p| p.display().to_string());
            tracing::warn!(worker = name, %place, "the worker program is not installed");
            self.missing.push((name, format!("{program} was not found: looked {place}")));
            return None;
        };
        Some(Worker::start(WorkerProgram { name, path, arguments, niceness: NICENESS }))
    }

    /// Takes the workers down within the moment that the governor halts work, and up again when it does not.
    pub fn follow(&self, governor: &Governor, tasks: &TaskTracker, stop: CancellationToken) {
        let crew = self.clone();
        let mut halted = governor.halted();
        tasks.spawn(async move {
            loop {
                let down = match &*halted.borrow_and_update() {
                    // Without its key the node takes no work, so the workers idle; the owner's own videos may go on later.
                    None | Some(Halt::WalletLocked) => false,
                    Some(Halt::Paused { .. } | Halt::Schedule | Halt::Stopping) => true,
                };
                for worker in crew.media.iter().chain(&crew.compute) {
                    if down { worker.stop() } else { worker.resume() }
                }
                tokio::select! {
                    changed = halted.changed() => if changed.is_err() { return },
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
    vec![
        "--models".into(),
        models.to_string_lossy().into_owned(),
        "--device".into(),
        device.into(),
        "--running".into(),
        places.to_string(),
    ]
}
