//! Writes GGUF files for tests, from the format's description and apart from the reader.

use half::f16;

/// A file under construction.
#[derive(Default)]
pub struct Writer {
    metadata: Vec<u8>,
    values: u64,
    tensors: Vec<(String, Vec<u64>, u32, Vec<u8>)>,
    /// How far each tensor is said to begin before its data does.
    pub moved_back: u64,
}

impl Writer {
    pub fn value(&mut self, key: &str, kind: u32, bytes: &[u8]) -> &mut Self {
        push_text(&mut self.metadata, key);
        self.metadata.extend(kind.to_le_bytes());
        self.metadata.extend(bytes);
        self.values += 1;
        self
    }

    pub fn u32(&mut self, key: &str, number: u32) -> &mut Self {
        self.value(key, 4, &number.to_le_bytes())
    }

    pub fn f32(&mut self, key: &str, number: f32) -> &mut Self {
        self.value(key, 6, &number.to_le_bytes())
    }

    pub fn text(&mut self, key: &str, text: &str) -> &mut Self {
        let mut bytes = Vec::new();
        push_text(&mut bytes, text);
        self.value(key, 8, &bytes)
    }

    pub fn texts(&mut self, key: &str, texts: &[String]) -> &mut Self {
        let mut bytes = 8_u32.to_le_bytes().to_vec();
        bytes.extend((texts.len() as u64).to_le_bytes());
        for text in texts {
            push_text(&mut bytes, text);
        }
        self.value(key, 9, &bytes)
    }

    pub fn i32s(&mut self, key: &str, numbers: &[i32]) -> &mut Self {
        let mut bytes = 5_u32.to_le_bytes().to_vec();
        bytes.extend((numbers.len() as u64).to_le_bytes());
        bytes.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
        self.value(key, 9, &bytes)
    }

    /// A tensor; `shape` has the contiguous dimension first, as in the file.
    pub fn tensor(&mut self, name: &str, shape: &[u64], kind: u32, data: Vec<u8>) -> &mut Self {
        self.tensors.push((name.into(), shape.to_vec(), kind, data));
        self
    }

    pub fn f32_tensor(&mut self, name: &str, shape: &[u64], values: &[f32]) -> &mut Self {
        self.tensor(name, shape, 0, values.iter().flat_map(|value| value.to_le_bytes()).collect())
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut file = b"GGUF".to_vec();
        file.extend(3_u32.to_le_bytes());
        file.extend((self.tensors.len() as u64).to_le_bytes());
        file.extend(self.values.to_le_bytes());
        file.extend(&self.metadata);
        let mut data = Vec::new();
        for (name, shape, kind, bytes) in &self.tensors {
            push_text(&mut file, name);
            file.extend((shape.len() as u32).to_le_bytes());
            for dimension in shape {
                file.extend(dimension.to_le_bytes());
            }
            file.extend(kind.to_le_bytes());
            file.extend((data.len() as u64).saturating_sub(self.moved_back).to_le_bytes());
            data.extend(bytes);
            data.resize(data.len().next_multiple_of(32), 0);
        }
        file.resize(file.len().next_multiple_of(32), 0);
        file.extend(data);
        file
    }
}

/// A Q4_1 block from its scale, minimum and 32 numbers of 4 bits.
pub fn q4_1_block(scale: f32, minimum: f32, numbers: &[u8; 32]) -> Vec<u8> {
    let mut block = f16::from_f32(scale).to_le_bytes().to_vec();
    block.extend(f16::from_f32(minimum).to_le_bytes());
    block.extend((0..16).map(|at| numbers[at] | numbers[at + 16] << 4));
    block
}

/// A Q8_0 block from its scale and 32 signed bytes.
pub fn q8_0_block(scale: f32, numbers: &[i8; 32]) -> Vec<u8> {
    let mut block = f16::from_f32(scale).to_le_bytes().to_vec();
    block.extend(numbers.iter().map(|number| number.cast_unsigned()));
    block
}

fn push_text(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend((text.len() as u64).to_le_bytes());
    bytes.extend(text.as_bytes());
}
