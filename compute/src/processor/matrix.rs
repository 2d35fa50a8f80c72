//! Matrices that stay as narrow as their file has them.

use rayon::prelude::*;

use super::kernels::{Kernel, Panel, Rows, vectorised};
use crate::gguf::{BLOCK, Blocks, Tensor};

/// Weights that one task takes: some ten microseconds of work.
const TASK_WEIGHTS: usize = 128 * 1024;

/// A matrix with a row for each output value.
#[derive(Debug)]
pub struct Matrix {
    rows: usize,
    columns: usize,
    blocks: Blocks,
}

impl Matrix {
    /// Takes a tensor over.
    pub fn new(tensor: Tensor<'_>) -> Self {
        Self { rows: tensor.rows, columns: tensor.columns, blocks: tensor.blocks() }
    }

    /// Memory that it takes, in bytes.
    pub fn bytes(&self) -> usize {
        match &self.blocks {
            Blocks::Floats(values) => size_of_val(values.as_slice()),
            Blocks::FourBits(blocks) => size_of_val(blocks.as_slice()),
            Blocks::EightBits(blocks) => size_of_val(blocks.as_slice()),
        }
    }

    /// The values of a row.
    pub fn row(&self, number: usize, out: &mut [f32]) {
        let range = number * self.columns / BLOCK..(number + 1) * self.columns / BLOCK;
        match &self.blocks {
            Blocks::Floats(values) => out.copy_from_slice(&values[number * self.columns..][..self.columns]),
            Blocks::FourBits(blocks) => {
                blocks[range]
                    .iter()
                    .zip(out.as_chunks_mut().0)
                    .for_each(|(block, out)| *out = block.values());
            }
            Blocks::EightBits(blocks) => {
                blocks[range]
                    .iter()
                    .zip(out.as_chunks_mut().0)
                    .for_each(|(block, out)| *out = block.values());
            }
        }
    }

    /// The products with one or more inputs: `inputs` has their values one after another, and so has the result.
    pub fn multiply(&self, inputs: &[f32]) -> Vec<f32> {
        let count = inputs.len() / self.columns;
        if count == 1 {
            match &self.blocks {
                Blocks::Floats(_) => {}
                Blocks::FourBits(blocks) => return self.multiply_one(blocks, inputs),
                Blocks::EightBits(blocks) => return self.multiply_one(blocks, inputs),
            }
        }
        self.multiply_many(inputs, count)
    }

    /// Reads each block once and never widens it in memory.
    fn multiply_one<B: Sync>(&self, blocks: &[B], input: &[f32]) -> Vec<f32>
    where
        for<'a> Rows<'a, B>: Kernel,
    {
        let input = input.as_chunks::<BLOCK>().0;
        let sums: Vec<f32> = input.iter().map(|block| block.iter().sum()).collect();
        let mut out = vec![0.0; self.rows];
        let task = self.rows_of_a_task(1);
        let tasks = out.par_chunks_mut(task).zip(blocks.par_chunks(task * input.len()));
        tasks.for_each(|(out, blocks)| vectorised(Rows { blocks, input, sums: &sums, out }));
        out
    }

    /// Reads each value once for a panel of inputs.
    fn multiply_many(&self, inputs: &[f32], count: usize) -> Vec<f32> {
        let mut out = vec![0.0; count * self.rows];
        let (mut inputs, mut rest) = (inputs, out.as_mut_slice());
        while !inputs.is_empty() {
            let left = inputs.len() / self.columns;
            let taken = match left {
                0..=8 => self.multiply_panel::<8>(inputs, rest),
                9..=16 => self.multiply_panel::<16>(inputs, rest),
                _ => self.multiply_panel::<32>(inputs, rest),
            };
            inputs = &inputs[taken * self.columns..];
            rest = &mut rest[taken * self.rows..];
        }
        out
    }

    /// Multiplies up to `W` of the inputs and returns how many.
    fn multiply_panel<const W: usize>(&self, inputs: &[f32], out: &mut [f32]) -> usize {
        let count = (inputs.len() / self.columns).min(W);
        let mut panel = vec![[0.0; W]; self.columns];
        for (at, input) in inputs.chunks_exact(self.columns).take(count).enumerate() {
            panel.iter_mut().zip(input).for_each(|(values, value)| values[at] = *value);
        }
        let inputs = panel.as_slice();
        let mut by_row = vec![[0.0; W]; self.rows];
        let task = self.rows_of_a_task(W);
        let tasks = by_row.par_chunks_mut(task);
        match &self.blocks {
            Blocks::Floats(values) => tasks
                .zip(values.par_chunks(task * self.columns))
                .for_each(|(out, rows)| vectorised(Panel { rows, inputs, out })),
            Blocks::FourBits(blocks) => tasks
                .zip(blocks.par_chunks(task * self.columns / BLOCK))
                .for_each(|(out, rows)| vectorised(Panel { rows, inputs, out })),
            Blocks::EightBits(blocks) => tasks
                .zip(blocks.par_chunks(task * self.columns / BLOCK))
                .for_each(|(out, rows)| vectorised(Panel { rows, inputs, out })),
        }
        for (at, out) in out.chunks_exact_mut(self.rows).take(count).enumerate() {
            out.iter_mut().zip(&by_row).for_each(|(out, values)| *out = values[at]);
        }
        count
    }

    fn rows_of_a_task(&self, inputs: usize) -> usize {
        (TASK_WEIGHTS / (self.columns * inputs).max(1)).clamp(1, self.rows)
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::gguf::{
        Gguf,
        writer::{Writer, q4_1_block, q8_0_block},
    };

    /// A file with the same shape of matrix in each format.
    fn file(rows: usize, seed: u8) -> Gguf {
        let blocks = rows * 3;
        let number = |block: usize, at: usize| (block * 31 + at * 7 + usize::from(seed)) as u8;
        let four = (0..blocks).flat_map(|block| {
            q4_1_block(0.1 * block as f32, -0.7, &std::array::from_fn(|at| number(block, at) % 16))
        });
        let eight = (0..blocks)
            .flat_map(|block| q8_0_block(0.01, &std::array::from_fn(|at| number(block, at).cast_signed())));
        let floats: Vec<f32> = (0..blocks * 32).map(|at| f32::from(number(at, 1)) - 100.0).collect();
        let shape = [96, rows as u64];
        let mut writer = Writer::default();
        writer.tensor("four", &shape, 3, four.collect()).tensor("eight", &shape, 8, eight.collect());
        Gguf::parse(writer.f32_tensor("floats", &shape, &floats).bytes()).unwrap()
    }

    proptest! {
        #[test]
        fn products_are_those_of_the_exact_values(
            rows in 1_usize..40,
            seed in any::<u8>(),
            inputs in vec(vec(-2.0_f32..2.0, 96), 1..50),
        ) {
            let file = file(rows, seed);
            let flat = inputs.concat();
            for name in ["four", "eight", "floats"] {
                let tensor = file.tensor(name, rows, 96).unwrap();
                let values = tensor.values();
                let matrix = Matrix::new(tensor);
                let found = matrix.multiply(&flat);
                prop_assert_eq!(found.len(), rows * inputs.len());
                for (found, input) in found.chunks_exact(rows).zip(&inputs) {
                    for (found, row) in found.iter().zip(values.chunks_exact(96)) {
                        let products = || row.iter().zip(input).map(|(a, b)| f64::from(*a) * f64::from(*b));
                        let scale: f64 = products().map(f64::abs).sum();
                        let exact: f64 = products().sum();
                        prop_assert!((f64::from(*found) - exact).abs() <= 1e-6 * scale + 1e-6, "{found} {exact}");
                    }
                }
                let mut last = vec![0.0; 96];
                matrix.row(rows - 1, &mut last);
                prop_assert_eq!(&last, &values[(rows - 1) * 96..]);
            }
        }
    }
}
