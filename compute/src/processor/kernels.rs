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

/// Dot products of rows with several inputs. Each row is widened once for all of them.
pub struct Widened<'a, B> {
    /// Rows of blocks, one after another.
    pub blocks: &'a [B],
    /// Inputs, one after another.
    pub inputs: &'a [f32],
    /// Values of a row and of an input.
    pub columns: usize,
    /// For each row, one value for each input.
    pub out: &'a mut [f32],
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

impl<B: Widen> Kernel for Widened<'_, B> {
    #[inline(always)]
    fn run(self) {
        let Self { blocks, inputs, columns, out } = self;
        let mut row = vec![0.0; columns];
        let rows = blocks.chunks_exact(columns / BLOCK);
        for (blocks, out) in rows.zip(out.chunks_exact_mut(inputs.len() / columns)) {
            for (block, wide) in blocks.iter().zip(row.as_chunks_mut::<BLOCK>().0) {
                *wide = block.widen();
            }
            dots(&row, inputs, out);
        }
    }
}

/// Dot products of rows of floats with several inputs.
pub struct Floats<'a> {
    /// Rows, one after another.
    pub rows: &'a [f32],
    /// Inputs, one after another.
    pub inputs: &'a [f32],
    /// Values of a row and of an input.
    pub columns: usize,
    /// For each row, one value for each input.
    pub out: &'a mut [f32],
}

impl Kernel for Floats<'_> {
    #[inline(always)]
    fn run(self) {
        let Self { rows, inputs, columns, out } = self;
        for (row, out) in rows.chunks_exact(columns).zip(out.chunks_exact_mut(inputs.len() / columns)) {
            dots(row, inputs, out);
        }
    }
}

/// Dot products of one row with several inputs; four inputs at a time, so that a value of the row is loaded once for
/// them.
#[inline(always)]
fn dots(row: &[f32], inputs: &[f32], out: &mut [f32]) {
    let width = row.len();
    let mut fours = inputs.chunks_exact(4 * width);
    let mut out_fours = out.chunks_exact_mut(4);
    for (inputs, out) in fours.by_ref().zip(out_fours.by_ref()) {
        let (a, rest) = inputs.split_at(width);
        let (b, rest) = rest.split_at(width);
        let (c, d) = rest.split_at(width);
        out.copy_from_slice(&dot_four(row, a, b, c, d));
    }
    for (input, out) in fours.remainder().chunks_exact(width).zip(out_fours.into_remainder()) {
        *out = dot(row, input);
    }
}

#[inline(always)]
fn dot_four(row: &[f32], a: &[f32], b: &[f32], c: &[f32], d: &[f32]) -> [f32; 4] {
    let [mut in_a, mut in_b, mut in_c, mut in_d] = [[0.0_f32; LANES]; 4];
    let (rows, row_rest) = row.as_chunks::<LANES>();
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let ((c, c_rest), (d, d_rest)) = (c.as_chunks::<LANES>(), d.as_chunks::<LANES>());
    for ((((row, a), b), c), d) in rows.iter().zip(a).zip(b).zip(c).zip(d) {
        for at in 0..LANES {
            in_a[at] += row[at] * a[at];
        }
        for at in 0..LANES {
            in_b[at] += row[at] * b[at];
        }
        for at in 0..LANES {
            in_c[at] += row[at] * c[at];
        }
        for at in 0..LANES {
            in_d[at] += row[at] * d[at];
        }
    }
    [
        total(&in_a) + short_dot(row_rest, a_rest),
        total(&in_b) + short_dot(row_rest, b_rest),
        total(&in_c) + short_dot(row_rest, c_rest),
        total(&in_d) + short_dot(row_rest, d_rest),
    ]
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
