//! What the files of a ladder are called, below its folder. Both ends go by it, so that no name is a stranger's choice.

/// The segment `index` of a rendition, e.g. `360p/00007.ts`.
pub fn segment_file(rendition: &str, index: u32) -> String {
    format!("{rendition}/{index:05}.ts")
}

/// The still picture at `number` times the order's distance, e.g. `thumbnails/00003.jpg`.
pub fn thumbnail_file(number: u64) -> String {
    format!("thumbnails/{number:05}.jpg")
}
