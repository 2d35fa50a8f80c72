//! `thetis-compute`: the compute worker of a node. It speaks frames of `edge-jobs` on standard input and output, and
//! logs on standard error.

use std::{
    env, io,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context;
use clap::{Parser, Subcommand};
use edge_compute::{
    ComputeError,
    burn_runtime::BurnRuntime,
    device::{self, Api},
    loaded::{LoadedModels, MemoryLimits},
    model_store::ModelStore,
    registry::Registry,
    runtime::Runtime,
    worker::{JobLimits, Worker},
};
use edge_jobs::ComputeDevice;
use tracing_subscriber::EnvFilter;

/// Runs AI models for a node: embeddings and chat.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    settings: Settings,
}

#[derive(Subcommand)]
enum Action {
    /// Try a device in this process, and say what came out as a line of JSON.
    Probe {
        /// The way to the device.
        #[arg(long, value_enum)]
        api: Api,
    },
    /// Say which device a worker would take here, and which models are installed.
    Inspect,
}

#[derive(clap::Args)]
struct Settings {
    /// The folder with the model files, each named by its BLAKE3 hash.
    #[arg(long, env = "THETIS_MODELS", default_value = "models", global = true)]
    models: PathBuf,
    /// A registry of models in place of the built-in one.
    #[arg(long, global = true)]
    registry: Option<PathBuf>,
    /// Where models run.
    #[arg(long, value_enum, default_value = "auto", global = true)]
    device: Wanted,
    /// Threads that a computation on the processor takes; one for every two cores if absent.
    #[arg(long, global = true)]
    threads: Option<usize>,
    /// Memory for the weights of all loaded models, in MiB.
    #[arg(long, default_value_t = 2048, global = true)]
    memory_mib: u64,
    /// Seconds after which a model that nobody uses is unloaded.
    #[arg(long, default_value_t = 300, global = true)]
    idle_s: u64,
    /// Jobs that take turns.
    #[arg(long, default_value_t = JobLimits::default().running, global = true)]
    running: usize,
}

/// The names of [`ComputeDevice`] on the command line.
#[derive(Clone, Copy, clap::ValueEnum)]
enum Wanted {
    Auto,
    Gpu,
    SoftwareGpu,
    Cpu,
    /// The processor through burn alone, to compare with
    Flex,
}

impl Wanted {
    /// The runtime on that device; `program` probes GPUs.
    fn runtime(self, program: &Path) -> Result<Box<dyn Runtime>, ComputeError> {
        let device = match self {
            Wanted::Auto => ComputeDevice::Auto,
            Wanted::Gpu => ComputeDevice::Gpu,
            Wanted::SoftwareGpu => ComputeDevice::SoftwareGpu,
            Wanted::Cpu => ComputeDevice::Cpu,
            Wanted::Flex => return Ok(Box::new(BurnRuntime::processor())),
        };
        device::choose(&device, program, device::PROBE_TIME)
    }
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let filter =
        EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn,edge_compute=info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(false).init();
    if let Some(Action::Probe { api }) = arguments.action {
        println!("{}", serde_json::to_string(&device::probe_here(api))?);
        return Ok(());
    }
    let settings = arguments.settings;
    // The worker itself is a thread of the pool, so that a small product need not wake another one.
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(settings.threads.unwrap_or_else(half_the_cores))
        .build()?;
    pool.install(|| run(&settings, arguments.action.is_some()))
}

fn half_the_cores() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| cores.get().div_ceil(2))
}

fn run(settings: &Settings, inspect: bool) -> anyhow::Result<()> {
    let models = open_models(settings)?;
    if inspect {
        let device = models.runtime().device();
        let answer = serde_json::json!({
            "device": device.words, "gpu": device.gpu, "models": models.installed(),
        });
        println!("{answer}");
        return Ok(());
    }
    let limits = JobLimits { running: settings.running.max(1), ..JobLimits::default() };
    Worker::new(models, limits, io::stdout()).run(io::stdin())?;
    Ok(())
}

fn open_models(settings: &Settings) -> anyhow::Result<LoadedModels> {
    let registry = match &settings.registry {
        None => Registry::built_in()?,
        Some(path) => {
            let text =
                std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
            Registry::parse(&text)?
        }
    };
    let program = env::current_exe().context("finding this program, to probe with")?;
    let runtime = settings.device.runtime(&program)?;
    let limits = MemoryLimits {
        bytes: settings.memory_mib.saturating_mul(1024 * 1024),
        idle: Duration::from_secs(settings.idle_s),
    };
    Ok(LoadedModels::new(registry, ModelStore::new(&settings.models), runtime, limits))
}
