//! Known results that a device must reproduce before it is trusted.

use burn::tensor::{Device, Tensor, TensorData, activation};

/// Rows, inner length and columns of the known product; none is a multiple of a usual tile.
const PRODUCT: (usize, usize, usize) = (67, 200, 45);
/// How far functions that are rounded may be off.
const TOLERANCE: f64 = 1e-5;

/// Computes known results on a device. `Err` says in words what came out wrong.
pub fn check(device: &Device) -> Result<(), String> {
    check_product(device)?;
    check_functions(device)
}

/// A product of small whole numbers: every partial sum is exact in 32-bit floats in any order, so the result must be
/// exact too. A device that silently takes shorter floats fails here.
fn check_product(device: &Device) -> Result<(), String> {
    let (rows, inner, columns) = PRODUCT;
    let left = |row: usize, at: usize| ((row * 31 + at * 17) % 127) as i64 - 63;
    let right = |at: usize, column: usize| ((at * 13 + column * 29) % 113) as i64 - 56;
    let tensor = |height: usize, width: usize, value: &dyn Fn(usize, usize) -> i64| {
        let values: Vec<f32> = (0..height * width).map(|at| value(at / width, at % width) as f32).collect();
        Tensor::<2>::from_data(TensorData::new(values, [height, width]), device)
    };
    let product = tensor(rows, inner, &left).matmul(tensor(inner, columns, &right));
    let found = on_host(product)?;
    for (at, found) in found.iter().enumerate() {
        let (row, column) = (at / columns, at % columns);
        let exact: i64 = (0..inner).map(|at| left(row, at) * right(at, column)).sum();
        if *found != exact as f32 {
            return Err(format!("a product came out as {found} instead of {exact}"));
        }
    }
    Ok(())
}

/// The functions that models use besides products, each compared with the processor's double precision.
fn check_functions(device: &Device) -> Result<(), String> {
    let inputs: Vec<f32> = (0..40_u8).map(|at| (f32::from(at) - 20.0) / 4.0).collect();
    let exact = |function: &dyn Fn(f64) -> f64| -> Vec<f64> {
        inputs.iter().map(|value| function(f64::from(*value))).collect()
    };
    let tensor = Tensor::<2>::from_data(TensorData::new(inputs.clone(), [1, inputs.len()]), device);
    let total: f64 = exact(&f64::exp).iter().sum();
    let silu = exact(&|x| x / (1.0 + (-x).exp()));
    let softmax = exact(&|x| x.exp() / total);
    let root = exact(&|x| (x * x + 1.0).sqrt());
    let cases = [
        ("softmax", activation::softmax(tensor.clone(), 1), softmax),
        ("silu", activation::silu(tensor.clone()), silu),
        ("root", (tensor.square() + 1.0).sqrt(), root),
    ];
    for (name, found, exact) in cases {
        for (found, exact) in on_host(found)?.into_iter().zip(exact) {
            // A result that is no number is not near either.
            let near = (f64::from(found) - exact).abs() <= TOLERANCE;
            if !near {
                return Err(format!("{name} came out as {found} instead of {exact}"));
            }
        }
    }
    Ok(())
}

fn on_host(tensor: Tensor<2>) -> Result<Vec<f32>, String> {
    tensor.try_into_vec_as().map_err(|error| error.to_string())
}
