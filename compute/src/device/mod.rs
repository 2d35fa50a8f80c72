//! The device that models run on: found by trying it.

mod check;
mod probe;

use std::{path::Path, time::Duration};

use burn::tensor::{Device, wgpu::WgpuBackend};
use edge_jobs::ComputeDevice;

use self::probe::probe_in_child;
pub use self::probe::{ProbeReport, probe_here};
use crate::{
    ComputeError,
    burn_runtime::BurnRuntime,
    processor::ProcessorRuntime,
    runtime::{DeviceDescription, Runtime},
};

/// A driver may compile kernels for a while; one that takes longer hangs.
pub const PROBE_TIME: Duration = Duration::from_secs(60);

/// A way to a GPU, by the name that `thetis-compute probe` takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Api {
    /// Vulkan: with SPIR-V kernels if built with the feature `vulkan`, else with WGSL kernels.
    Vulkan,
    /// Apple's Metal.
    Metal,
    /// Direct3D 12.
    Dx12,
    /// OpenGL.
    Gl,
    /// No GPU: burn's backend for processors.
    Flex,
}

impl Api {
    /// Every way to a GPU on this system, the best first.
    fn of_this_system() -> &'static [Api] {
        if cfg!(target_vendor = "apple") {
            &[Api::Metal]
        } else if cfg!(windows) {
            &[Api::Vulkan, Api::Dx12]
        } else {
            &[Api::Vulkan, Api::Gl]
        }
    }

    fn graphics(self) -> Option<WgpuBackend> {
        match self {
            Api::Vulkan => Some(WgpuBackend::Vulkan),
            Api::Metal => Some(WgpuBackend::Metal),
            Api::Dx12 => Some(WgpuBackend::Dx12),
            Api::Gl => Some(WgpuBackend::Gl),
            Api::Flex => None,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Api::Vulkan => "vulkan",
            Api::Metal => "metal",
            Api::Dx12 => "dx12",
            Api::Gl => "gl",
            Api::Flex => "flex",
        }
    }
}

/// A device that burn runs on, and what is known about it.
struct Opened {
    device: Device,
    adapter: String,
    /// Whether the processor plays the GPU.
    software: bool,
}

fn open(api: Api) -> Result<Opened, ComputeError> {
    let Some(graphics) = api.graphics() else {
        return Ok(Opened { device: Device::flex(), adapter: "processor".into(), software: true });
    };
    let no_gpu = |error: burn::tensor::wgpu::WgpuInitError| ComputeError::NoGpu(error.to_string());
    let (device, setup) = Device::wgpu_options().graphics_api(graphics).init_with_setup().map_err(no_gpu)?;
    let info = setup.adapter.get_info();
    let software = info.device_type == burn::tensor::wgpu::wgpu::DeviceType::Cpu;
    Ok(Opened { device, adapter: info.name, software })
}

/// Chooses the device for a worker: each candidate is tried by `program probe` in a process of its own, because a broken
/// driver may hang or crash and take its process with it. What passes is opened here.
pub fn choose(
    wanted: &ComputeDevice,
    program: &Path,
    time: Duration,
) -> Result<Box<dyn Runtime>, ComputeError> {
    if *wanted == ComputeDevice::Cpu {
        return Ok(Box::new(ProcessorRuntime::new()));
    }
    let software_allowed = *wanted == ComputeDevice::SoftwareGpu;
    let mut reasons = Vec::new();
    for api in Api::of_this_system() {
        let reason = match probe_in_child(program, *api, time) {
            Ok(report) if !report.passed => report.problem,
            Ok(report) if report.software && !software_allowed => {
                format!("{} is a processor that plays a GPU", report.adapter)
            }
            Ok(_) => match open(*api) {
                Ok(opened) => return Ok(Box::new(runtime_on(*api, opened))),
                Err(error) => error.to_string(),
            },
            Err(error) => error.to_string(),
        };
        tracing::info!(api = api.name(), reason, "not taken");
        reasons.push(format!("{}: {reason}", api.name()));
    }
    if *wanted == ComputeDevice::Auto {
        return Ok(Box::new(ProcessorRuntime::new()));
    }
    Err(ComputeError::NoGpu(reasons.join("; ")))
}

fn runtime_on(api: Api, opened: Opened) -> BurnRuntime {
    let kind = if opened.software { ", software" } else { "" };
    let words = format!("{} (burn wgpu through {}{kind})", opened.adapter, api.name());
    BurnRuntime::new(opened.device, DeviceDescription { words, gpu: !opened.software })
}

#[cfg(test)]
mod tests;
