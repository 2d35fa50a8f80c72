//! Vectors of an embeddings order.

/// How far from 1 the length of a vector may be.
const LENGTH_TOLERANCE: f32 = 1e-2;
/// Most numbers in a vector.
const MAX_DIMENSIONS: usize = 65_536;

/// What is wrong with the form of the vectors for so many texts, if anything: one for each text, all of one size, of
/// unit length, and finite.
pub fn check_form(texts: usize, vectors: &[Vec<f32>]) -> Result<(), String> {
    if vectors.len() != texts {
        return Err(format!("{} vectors for {texts} texts", vectors.len()));
    }
    let size = vectors.first().map_or(0, Vec::len);
    if size == 0 || size > MAX_DIMENSIONS || vectors.iter().any(|vector| vector.len() != size) {
        return Err("vectors of different sizes, or of none".into());
    }
    for (index, vector) in vectors.iter().enumerate() {
        let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
        // Not a number is in no range.
        if !((1.0 - LENGTH_TOLERANCE)..=(1.0 + LENGTH_TOLERANCE)).contains(&length) {
            return Err(format!("vector {index} has length {length}"));
        }
    }
    Ok(())
}

/// What is wrong with the size of well-formed vectors, if anything; a model that is not known may have any.
pub fn check_dimensions(vectors: &[Vec<f32>], dimensions: Option<u32>) -> Result<(), String> {
    let Some(dimensions) = dimensions else { return Ok(()) };
    match vectors.iter().map(Vec::len).find(|size| *size != dimensions as usize) {
        Some(size) => Err(format!("vectors of {size} numbers from a model whose vectors have {dimensions}")),
        None => Ok(()),
    }
}

/// The largest difference between two vectors in one place; infinite when they cannot be compared.
pub fn largest_difference(one: &[f32], other: &[f32]) -> f32 {
    if one.len() != other.len() {
        return f32::INFINITY;
    }
    let differences = one.iter().zip(other).map(|(a, b)| (a - b).abs());
    differences.fold(0.0, |most, next| if next.is_nan() { f32::INFINITY } else { most.max(next) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_have_one_form() {
        let unit = vec![0.6, 0.8];
        assert_eq!(check_form(2, &[unit.clone(), unit.clone()]), Ok(()));
        for (texts, vectors) in [
            (1, vec![]),
            (1, vec![vec![]]),
            (1, vec![vec![0.6, 0.9]]),
            (1, vec![vec![f32::NAN, 1.0]]),
            (2, vec![unit.clone()]),
            (2, vec![unit.clone(), vec![1.0]]),
        ] {
            assert!(check_form(texts, &vectors).is_err(), "{texts} {vectors:?}");
        }
    }

    #[test]
    fn a_models_vectors_have_its_size() {
        let one = [vec![1.0]];
        assert_eq!(check_form(1, &one), Ok(()));
        assert!(check_dimensions(&one, Some(384)).is_err());
        assert_eq!(check_dimensions(&one, Some(1)), Ok(()));
        assert_eq!(check_dimensions(&one, None), Ok(()));
    }

    #[test]
    fn differences_are_found_in_any_place() {
        assert_eq!(largest_difference(&[0.0, 1.0], &[0.0, 1.0]), 0.0);
        assert_eq!(largest_difference(&[0.0, 1.0], &[0.5, 1.0]), 0.5);
        assert_eq!(largest_difference(&[0.0], &[0.0, 1.0]), f32::INFINITY);
        assert_eq!(largest_difference(&[f32::NAN], &[1.0]), f32::INFINITY);
    }
}
