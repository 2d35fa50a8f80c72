//! The loops that take the time, written so that the compiler turns them into vector instructions: whole arrays of
//! lanes, no early exits, and compiled once for each generation of processors, chosen when the program runs.

use macerator::{AutoArch, Simd, WithSimd};

use crate::gguf::{BLOCK, EightBitBlock, FourBitBlock};

/// Independent sums of a dot product.
const LANES: usize = 16;

/// Loops over plain slices.
pub trait Kernel {
    /// Runs the loops. Must be inlined always, or it keeps the instructions of the oldest processors.
    fn run(self);
}

/// Runs loops with the best instructions that this processor has.
pub fn vectorised<K: Kernel>(kernel: K) {
    struct Vectorised<K>(K);
    impl<K: Kernel> WithSimd for Vectorised<K> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self) {
            self.0.run();
        }
    }
    AutoArch::new().dispatch(Vectorised(kernel));
}

/// Dot products of rows with one input.
pub struct Rows<'a, B> {
    /// Rows of blocks, one after another.
    pub blocks: &'a [B],
    /// The input, as blocks.
    pub input: &'a [[f32; BLOCK]],
    /// The sums of the input's blocks.
    pub sums: &'a [f32],
    /// One value for each row.
    pub out: &'a mut [f32],
}

impl Kernel for Rows<'_, FourBitBlock> {
    #[inline(always)]
    fn run(self) {
        let Self { blocks, input, sums, out } = self;
        for (row, out) in blocks.chunks_exact(input.len()).zip(out) {
            let mut lanes = [0.0_f32; LANES];
            let mut minimums = 0.0;
            for ((block, input), sum) in row.iter().zip(input).zip(sums) {
                let mut products = [0.0_f32; LANES];
                for at in 0..LANES {
                    let low = f32::from(block.numbers[at] & 0xf);
                    let high = f32::from(block.numbers[at] >> 4);
                    products[at] = low * input[at] + high * input[at + LANES];
                }
                for at in 0..LANES {
                    lanes[at] += block.scale * products[at];
                }
                minimums += block.minimum * sum;
            }
            *out = total(&lanes) + minimums;
        }
    }
}

impl Kernel for Rows<'_, EightBitBlock> {
    #[inline(always)]
    fn run(self) {
        let Self { blocks, input, out, .. } = self;
        for (row, out) in blocks.chunks_exact(input.len()).zip(out) {
            let mut lanes = [0.0_f32; LANES];
            for (block, input) in row.iter().zip(input) {
                let mut products = [0.0_f32; LANES];
                for at in 0..LANES {
                    let (left, right) = (block.numbers[at], block.numbers[at + LANES]);
                    products[at] = f32::from(left) * input[at] + f32::from(right) * input[at + LANES];
                }
                for at in 0..LANES {
                    lanes[at] += block.scale * products[at];
                }
            }
            *out = total(&lanes);
        }
    }
}

/// Dot products of rows with `W` inputs at once.
pub struct Panel<'a, B, const W: usize> {
    /// Rows, one after another.
    pub rows: &'a [B],
    /// The inputs, transposed: the values that meet one value of a row stand together.
    pub inputs: &'a [[f32; W]],
    /// For each row, one value for each input.
    pub out: &'a mut [[f32; W]],
}

/// Rows of blocks are widened on the way, and not in memory.
impl<B: Widen, const W: usize> Kernel for Panel<'_, B, W> {
    #[inline(always)]
    fn run(self) {
        let Self { rows, inputs, out } = self;
        let inputs = inputs.as_chunks::<BLOCK>().0;
        for (row, out) in rows.chunks_exact(inputs.len()).zip(out) {
            let mut sums = [0.0; W];
            for (block, inputs) in row.iter().zip(inputs) {
                for (value, input) in block.widen().iter().zip(inputs) {
                    add_scaled(&mut sums, *value, input);
                }
            }
            *out = sums;
        }
    }
}

impl<const W: usize> Kernel for Panel<'_, f32, W> {
    #[inline(always)]
    fn run(self) {
        let Self { rows, inputs, out } = self;
        for (row, out) in rows.chunks_exact(inputs.len()).zip(out) {
            let mut sums = [0.0; W];
            for (value, input) in row.iter().zip(inputs) {
                add_scaled(&mut sums, *value, input);
            }
            *out = sums;
        }
    }
}

#[inline(always)]
fn add_scaled<const W: usize>(sums: &mut [f32; W], value: f32, input: &[f32; W]) {
    for at in 0..W {
        sums[at] += value * input[at];
    }
}

/// A block that can be widened.
pub trait Widen {
    /// Its values.
    fn widen(&self) -> [f32; BLOCK];
}

impl Widen for FourBitBlock {
    #[inline(always)]
    fn widen(&self) -> [f32; BLOCK] {
        self.values()
    }
}

impl Widen for EightBitBlock {
    #[inline(always)]
    fn widen(&self) -> [f32; BLOCK] {
        self.values()
    }
}

/// The dot product of two slices of one length.
#[inline(always)]
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0_f32; LANES];
    let ((a_parts, a_rest), (b_parts, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    for (a, b) in a_parts.iter().zip(b_parts) {
        for at in 0..LANES {
            lanes[at] += a[at] * b[at];
        }
    }
    total(&lanes) + short_dot(a_rest, b_rest)
}

#[inline(always)]
fn short_dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[inline(always)]
fn total(lanes: &[f32; LANES]) -> f32 {
    let mut sum = 0.0;
    for lane in lanes {
        sum += lane;
    }
    sum
}

/// One head of one token: what it finds in the text so far.
pub struct Head<'a> {
    /// The query.
    pub query: &'a [f32],
    /// Keys of the text, one row of all key heads for each token.
    pub keys: &'a [f32],
    /// Values of the text, in the same way.
    pub values: &'a [f32],
    /// Length of a row of keys.
    pub row: usize,
    /// Where this head's key begins in a row.
    pub at: usize,
    /// Room for one score for each token.
    pub scores: &'a mut [f32],
    /// What was found, as long as the query.
    pub out: &'a mut [f32],
}

impl Kernel for Head<'_> {
    #[inline(always)]
    fn run(self) {
        let Self { query, keys, values, row, at, scores, out } = self;
        let part = at..at + query.len();
        let scale = 1.0 / (query.len() as f32).sqrt();
        let mut top = f32::NEG_INFINITY;
        for (score, key) in scores.iter_mut().zip(keys.chunks_exact(row)) {
            *score = dot(query, &key[part.clone()]) * scale;
            top = top.max(*score);
        }
        let mut sum = 0.0;
        for score in scores.iter_mut() {
            *score = (*score - top).exp();
            sum += *score;
        }
        out.fill(0.0);
        for (score, value) in scores.iter().zip(values.chunks_exact(row)) {
            let share = score / sum;
            for (out, value) in out.iter_mut().zip(&value[part.clone()]) {
                *out += share * value;
            }
        }
    }
}
