//! The `thetis` program.

use std::process::ExitCode;

use clap::Parser;
use thetis::cli::Cli;

fn main() -> ExitCode {
    match Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("thetis: {error:#}");
            ExitCode::FAILURE
        }
    }
}
