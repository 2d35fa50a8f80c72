use super::halves_apart;

#[test]
fn pairs_are_taken_apart_head_by_head() {
    // Two heads of four rows, one value each: pairs (0, 1), (2, 3) and (4, 5), (6, 7).
    let rows: Vec<f32> = (0..8_u8).map(f32::from).collect();
    assert_eq!(halves_apart(&rows, 4, 1), [0.0, 2.0, 1.0, 3.0, 4.0, 6.0, 5.0, 7.0]);
}
