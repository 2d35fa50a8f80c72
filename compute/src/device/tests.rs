use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf};

use tempfile::TempDir;

use super::*;

/// A program that stands for `thetis-compute probe` on a machine with a certain driver.
fn driver(folder: &TempDir, script: &str) -> PathBuf {
    let path = folder.path().join("probe");
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn report(software: bool, passed: bool) -> String {
    let report = ProbeReport { adapter: "Card".into(), software, passed, problem: "wrong".into() };
    format!("echo '{}'", serde_json::to_string(&report).unwrap())
}

const SHORT: Duration = Duration::from_millis(300);

#[test]
fn a_driver_that_crashes_hangs_lies_or_computes_wrong_leaves_the_processor() {
    for script in ["kill -SEGV $$", "exec sleep 30", "echo hello", "exit 3", &report(false, false)] {
        let folder = TempDir::new().unwrap();
        let program = driver(&folder, script);
        let runtime = choose(&ComputeDevice::Auto, &program, SHORT).unwrap();
        assert!(!runtime.device().gpu, "{script}");
        let error = choose(&ComputeDevice::Gpu, &program, SHORT).unwrap_err();
        assert!(matches!(error, ComputeError::NoGpu(_)), "{script}: {error}");
    }
}

#[test]
fn a_software_adapter_is_no_gpu_unless_asked_for() {
    let folder = TempDir::new().unwrap();
    let program = driver(&folder, &report(true, true));
    assert!(!choose(&ComputeDevice::Auto, &program, SHORT).unwrap().device().gpu);
    let error = choose(&ComputeDevice::Gpu, &program, SHORT).unwrap_err();
    assert!(error.to_string().contains("plays a GPU"), "{error}");
}

#[test]
fn the_processor_is_taken_without_a_probe_when_it_is_asked_for() {
    let runtime = choose(&ComputeDevice::Cpu, Path::new("/nonexistent"), SHORT).unwrap();
    assert!(!runtime.device().gpu);
    assert!(runtime.device().words.contains("processor"));
}

#[test]
fn the_processor_passes_its_own_probe() {
    let report = probe_here(Api::Flex);
    assert!(report.passed, "{report:?}");
}
