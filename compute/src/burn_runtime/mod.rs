//! The first runtime: burn, on a GPU through wgpu or on the processor through Flex.

mod bert;
mod llama;

use std::sync::Arc;

use burn::tensor::{Device, Int, Tensor, TensorData};

use crate::{
    ComputeError,
    bert::BertFile,
    llama::LlamaFile,
    runtime::{Decoder, DeviceDescription, Encoder, Runtime},
};

/// Added to an attention score that must not count: far below any score, and yet finite.
const UNSEEN: f32 = -1e30;

/// Burn on one device.
#[derive(Debug)]
pub struct BurnRuntime {
    device: Device,
    description: DeviceDescription,
}

impl BurnRuntime {
    /// Burn on a device that was tried before (see [`crate::device`]).
    pub fn new(device: Device, description: DeviceDescription) -> Self {
        Self { device, description }
    }

    /// Burn's own backend for processors, which works everywhere.
    pub fn processor() -> Self {
        let words = format!("processor (burn Flex, up to {} threads)", rayon::current_num_threads());
        Self::new(Device::flex(), DeviceDescription { words, gpu: false })
    }
}

impl Runtime for BurnRuntime {
    fn device(&self) -> &DeviceDescription {
        &self.description
    }

    fn load_encoder(&self, file: &BertFile<'_>) -> Result<Arc<dyn Encoder>, ComputeError> {
        Ok(Arc::new(bert::BurnBert::load(file, &self.device)?))
    }

    fn load_decoder(&self, file: &LlamaFile) -> Result<Arc<dyn Decoder>, ComputeError> {
        Ok(Arc::new(llama::BurnLlama::load(file, &self.device)?))
    }
}

fn matrix(values: Vec<f32>, rows: usize, columns: usize, device: &Device) -> Tensor<2> {
    Tensor::from_data(TensorData::new(values, [rows, columns]), device)
}

/// A matrix of `rows` rows, given row after row, column after column. Backends multiply fastest when the values of one
/// input stand side by side.
fn transposed(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    (0..columns).flat_map(|column| (0..rows).map(move |row| values[row * columns + column])).collect()
}

fn token_ids(tokens: impl IntoIterator<Item = u32>, device: &Device) -> Tensor<1, Int> {
    let ids: Vec<i64> = tokens.into_iter().map(i64::from).collect();
    let count = ids.len();
    Tensor::from_data(TensorData::new(ids, [count]), device)
}

/// The values of a tensor, on the host. On a GPU this waits for everything before it.
fn host_values<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>, ComputeError> {
    let values: Vec<f32> =
        tensor.try_into_vec_as().map_err(|error| ComputeError::Device(error.to_string()))?;
    if values.iter().all(|value| value.is_finite()) {
        Ok(values)
    } else {
        Err(ComputeError::Device("it computed values that are no numbers".into()))
    }
}
