//! Trying a device in a process of its own.

use std::{
    io::Read,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use super::{Api, check, open};
use crate::ComputeError;

const POLL: Duration = Duration::from_millis(20);
/// A report is a line; whatever a driver prints besides is not read.
const MAX_REPORT_BYTES: u64 = 64 * 1024;

/// What a probe found, as one line of JSON on standard output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeReport {
    /// The adapter's name.
    pub adapter: String,
    /// Whether the processor plays the GPU.
    pub software: bool,
    /// Whether known results came out right.
    pub passed: bool,
    /// What went wrong, in words; empty when it passed.
    pub problem: String,
}

/// Tries a device in this process, which it may crash.
pub fn probe_here(api: Api) -> ProbeReport {
    match open(api) {
        Ok(opened) => {
            let problem = check::check(&opened.device).err();
            ProbeReport {
                adapter: opened.adapter,
                software: opened.software,
                passed: problem.is_none(),
                problem: problem.unwrap_or_default(),
            }
        }
        Err(error) => {
            ProbeReport { adapter: String::new(), software: false, passed: false, problem: error.to_string() }
        }
    }
}

/// Runs `program probe --api NAME` and reads its report. A probe that takes longer than `time` is killed.
pub(super) fn probe_in_child(program: &Path, api: Api, time: Duration) -> Result<ProbeReport, ComputeError> {
    let no_gpu = |reason: String| ComputeError::NoGpu(reason);
    let mut child = Command::new(program)
        .args(["probe", "--api", api.name()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let Some(stdout) = child.stdout.take() else {
        return Err(no_gpu("the probe has no output".into()));
    };
    let reader = thread::spawn(move || {
        let mut text = String::new();
        stdout.take(MAX_REPORT_BYTES).read_to_string(&mut text).map(|_| text)
    });
    let deadline = Instant::now() + time;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if Instant::now() >= deadline {
            child.kill()?;
            child.wait()?;
            return Err(no_gpu(format!("the probe hung for {} s", time.as_secs_f32())));
        }
        thread::sleep(POLL);
    };
    if !status.success() {
        return Err(no_gpu(format!("the probe ended with {status}")));
    }
    let text = reader.join().map_err(|_| no_gpu("the probe's output could not be read".into()))??;
    let report = text.lines().rev().find_map(|line| serde_json::from_str(line).ok());
    report.ok_or_else(|| no_gpu("the probe gave no report".into()))
}
