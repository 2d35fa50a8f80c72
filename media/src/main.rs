//! The program `thetis-media`: the media worker of a Thetis node.

use std::time::Duration;

use anyhow::{Context, bail};
use edge_media::worker::{Settings, run};

const HELP: &str = "\
The media worker of a Thetis node. It reads commands on standard input and writes events on standard output, each as a
length of four bytes and JSON; logs go to standard error. It ends when standard input is closed.

Usage: thetis-media [OPTIONS]

      --max-tasks N      Tasks that run at once; further ones are refused as busy [default: 4]
      --patience SECONDS Give a ladder up that stands still for so long [default: 30]
  -h, --help             Print this help
  -V, --version          Print the version

Environment: THETIS_LOG sets what is logged (e.g. edge_media=debug).";

fn main() -> anyhow::Result<()> {
    let Some(settings) = settings(std::env::args().skip(1))? else { return Ok(()) };
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_env("THETIS_LOG").unwrap_or_else(|_| "info".into()),
        )
        .init();
    run(std::io::stdin(), std::io::stdout(), settings)?;
    Ok(())
}

fn settings(mut arguments: impl Iterator<Item = String>) -> anyhow::Result<Option<Settings>> {
    let mut settings = Settings::default();
    while let Some(argument) = arguments.next() {
        let mut number = || -> anyhow::Result<u64> {
            let value = arguments.next().with_context(|| format!("{argument} needs a number"))?;
            let number = value.parse().with_context(|| format!("{argument}: {value} is not a number"))?;
            if number == 0 { bail!("{argument} must be at least 1") } else { Ok(number) }
        };
        match argument.as_str() {
            "--max-tasks" => settings.max_tasks = number()?.min(64) as usize,
            "--patience" => settings.patience = Duration::from_secs(number()?),
            "-h" | "--help" => {
                println!("{HELP}");
                return Ok(None);
            }
            "-V" | "--version" => {
                println!("thetis-media {}", env!("CARGO_PKG_VERSION"));
                return Ok(None);
            }
            other => bail!("unknown option {other}; see --help"),
        }
    }
    Ok(Some(settings))
}
