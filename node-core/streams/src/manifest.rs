//! What a stream consists of, signed by its creator.

use edge_jobs::{ContentHash, Rendition, SegmentInfo, Thumbnail};
use serde::{Deserialize, Serialize};
use theta_types::{Address, SecretKey, Signature};

use crate::StreamId;

/// The largest manifest in bytes, signature included: some 20,000 segments.
pub const MAX_MANIFEST_BYTES: usize = 8 * 1024 * 1024;
const MAX_RENDITIONS: usize = 16;
const MAX_SEGMENTS: usize = 20_000;
const MAX_THUMBNAILS: usize = 10_000;
const MAX_TITLE_CHARS: usize = 300;
const MAX_SEGMENT_MS: u64 = 60_000;
const MAX_SEGMENT_BYTES: u64 = 64 * 1024 * 1024;
const MAX_DURATION_MS: u64 = 48 * 3_600_000;
const DOMAIN: &[u8] = b"thetis manifest 1\n";

/// What a stream consists of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Who made it, and may sign newer revisions.
    pub creator: Address,
    /// With the creator's address it makes the stream's id.
    #[serde(with = "hex::serde")]
    pub nonce: [u8; 16],
    /// Grows with each change; the largest counts.
    pub revision: u32,
    /// When it was signed, Unix seconds.
    pub created: u64,
    /// What a person calls it.
    pub title: String,
    /// Duration in milliseconds.
    pub duration_ms: u64,
    /// The ladder, smallest first.
    pub renditions: Vec<Rendition>,
    /// Still pictures in order of time.
    pub thumbnails: Vec<Thumbnail>,
}

/// A manifest with its creator's signature: checked when made or decoded, so that holding one means that it is right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedManifest {
    id: StreamId,
    manifest: Manifest,
    bytes: Vec<u8>,
}

/// Why bytes are no manifest. Ask another node, or the creator.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Above [`MAX_MANIFEST_BYTES`], or too short for a signature.
    #[error("a manifest of {0} bytes is not one")]
    Size(usize),
    /// Not the JSON that is expected.
    #[error("the manifest cannot be read: {0}")]
    Malformed(#[from] serde_json::Error),
    /// A number or text outside its bounds.
    #[error("the manifest is not valid: {0}")]
    Invalid(&'static str),
    /// Not signed by the creator that it names.
    #[error("the manifest is not signed by its creator")]
    Signature,
}

impl Manifest {
    /// The stream's id.
    pub fn id(&self) -> StreamId {
        StreamId::derive(&self.creator, &self.nonce)
    }

    /// Checks and signs it. The key is the creator's.
    pub fn sign(self, key: &SecretKey) -> Result<SignedManifest, ManifestError> {
        if self.creator != key.address() {
            return Err(ManifestError::Signature);
        }
        self.check()?;
        let body = serde_json::to_vec(&self)?;
        let signature = key.sign(&signed_bytes(&body));
        let mut bytes = signature.as_bytes().to_vec();
        bytes.extend_from_slice(&body);
        if bytes.len() > MAX_MANIFEST_BYTES {
            return Err(ManifestError::Size(bytes.len()));
        }
        Ok(SignedManifest { id: self.id(), manifest: self, bytes })
    }

    fn check(&self) -> Result<(), ManifestError> {
        let require = |holds: bool, what| if holds { Ok(()) } else { Err(ManifestError::Invalid(what)) };
        require(self.title.chars().count() <= MAX_TITLE_CHARS, "the title is too long")?;
        require((1..=MAX_DURATION_MS).contains(&self.duration_ms), "the duration is out of range")?;
        require((1..=MAX_RENDITIONS).contains(&self.renditions.len()), "it has no renditions, or too many")?;
        require(self.thumbnails.len() <= MAX_THUMBNAILS, "it has too many still pictures")?;
        for (place, rendition) in self.renditions.iter().enumerate() {
            require(
                is_rendition_name(&rendition.name),
                "a rendition's name is not of lower case letters and digits",
            )?;
            let twin = self.renditions[..place].iter().any(|other| other.name == rendition.name);
            require(!twin, "two renditions have one name")?;
            require(
                (16..=16_384).contains(&rendition.width) && (16..=16_384).contains(&rendition.height),
                "a size is out of range",
            )?;
            require(
                rendition.codecs.len() <= 100 && rendition.codecs.chars().all(is_codec_char),
                "a codecs text is not one",
            )?;
            require(
                (1..=MAX_SEGMENTS).contains(&rendition.segments.len()),
                "a rendition has no segments, or too many",
            )?;
            for (index, segment) in rendition.segments.iter().enumerate() {
                require(segment.index as usize == index, "segments are not numbered in order")?;
                require(
                    (1..=MAX_SEGMENT_MS).contains(&segment.duration_ms),
                    "a segment's duration is out of range",
                )?;
                require(
                    (1..=MAX_SEGMENT_BYTES).contains(&segment.bytes),
                    "a segment's size is out of range",
                )?;
            }
        }
        Ok(())
    }
}

impl SignedManifest {
    /// Reads a manifest and checks its bounds and signature.
    pub fn decode(bytes: &[u8]) -> Result<Self, ManifestError> {
        if bytes.len() <= Signature::LENGTH || bytes.len() > MAX_MANIFEST_BYTES {
            return Err(ManifestError::Size(bytes.len()));
        }
        let (signature, body) = bytes.split_at(Signature::LENGTH);
        let manifest: Manifest = serde_json::from_slice(body)?;
        if !Signature::from(signature).verify(&signed_bytes(body), &manifest.creator) {
            return Err(ManifestError::Signature);
        }
        manifest.check()?;
        Ok(Self { id: manifest.id(), manifest, bytes: bytes.to_vec() })
    }

    /// The signature (65 bytes) and the JSON that it covers.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The stream's id.
    pub fn id(&self) -> StreamId {
        self.id
    }

    /// What the creator signed.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// A rendition by its name.
    pub fn rendition(&self, name: &str) -> Option<&Rendition> {
        self.manifest.renditions.iter().find(|rendition| rendition.name == name)
    }

    /// Every segment and still picture: its hash and size in bytes.
    pub fn contents(&self) -> impl Iterator<Item = (ContentHash, u64)> + '_ {
        let segments = self.manifest.renditions.iter().flat_map(|rendition| &rendition.segments);
        let segments = segments.map(|segment: &SegmentInfo| (segment.hash, segment.bytes));
        segments.chain(self.manifest.thumbnails.iter().map(|picture| (picture.hash, picture.bytes)))
    }
}

fn signed_bytes(body: &[u8]) -> Vec<u8> {
    [DOMAIN, body].concat()
}

fn is_rendition_name(name: &str) -> bool {
    (1..=16).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

fn is_codec_char(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || letter == '.' || letter == ','
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(crate) fn key(seed: u8) -> SecretKey {
        SecretKey::from_bytes(&[seed; 32]).unwrap()
    }

    /// A stream of two renditions whose segments hold `segment(rendition, index)`.
    pub(crate) fn manifest(segments: u32) -> Manifest {
        let rendition = |name: &str, width, height| Rendition {
            name: name.into(),
            width,
            height,
            bandwidth: 900_000,
            average_bandwidth: 700_000,
            codecs: "avc1.64001e,mp4a.40.2".into(),
            frame_rate: (25, 1),
            segments: (0..segments)
                .map(|index| SegmentInfo {
                    index,
                    file: format!("{name}/{index:05}.ts"),
                    duration_ms: 2_000,
                    bytes: segment(name, index).len() as u64,
                    hash: ContentHash::of(&segment(name, index)),
                })
                .collect(),
        };
        Manifest {
            creator: key(1).address(),
            nonce: [9; 16],
            revision: 0,
            created: 1_700_000_000,
            title: "A film".into(),
            duration_ms: 2_000 * u64::from(segments),
            renditions: vec![rendition("360p", 640, 360), rendition("720p", 1280, 720)],
            thumbnails: vec![],
        }
    }

    pub(crate) fn segment(rendition: &str, index: u32) -> Vec<u8> {
        format!("segment {index} of {rendition}; ").repeat(100).into_bytes()
    }

    #[test]
    fn a_manifest_survives_its_bytes() {
        let signed = manifest(3).sign(&key(1)).unwrap();
        let read = SignedManifest::decode(signed.bytes()).unwrap();
        assert_eq!(read, signed);
        assert_eq!(read.id(), StreamId::derive(&key(1).address(), &[9; 16]));
        assert_eq!(read.id().to_string().parse::<StreamId>().unwrap(), read.id());
    }

    #[test]
    fn another_key_cannot_sign_for_the_creator() {
        assert!(matches!(manifest(1).sign(&key(2)), Err(ManifestError::Signature)));
        let mut foreign = manifest(1);
        foreign.creator = key(2).address();
        let bytes = foreign.sign(&key(2)).unwrap().bytes().to_vec();
        // The stream's id follows from the creator, so a foreign manifest is another stream.
        assert_ne!(SignedManifest::decode(&bytes).unwrap().id(), manifest(1).id());
    }

    #[test]
    fn one_changed_byte_is_noticed() {
        let bytes = manifest(1).sign(&key(1)).unwrap().bytes().to_vec();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert!(SignedManifest::decode(&changed).is_err(), "byte {at}");
        }
    }

    #[test]
    fn values_out_of_bounds_are_refused_by_name() {
        let refuse = |edit: &dyn Fn(&mut Manifest)| {
            let mut manifest = manifest(2);
            edit(&mut manifest);
            assert!(matches!(manifest.sign(&key(1)), Err(ManifestError::Invalid(_))));
        };
        refuse(&|m| m.title = "x".repeat(301));
        refuse(&|m| m.renditions.clear());
        refuse(&|m| m.duration_ms = 0);
        refuse(&|m| m.renditions[0].name = "../up".into());
        refuse(&|m| m.renditions[1].name = "360p".into());
        refuse(&|m| m.renditions[0].codecs = "avc1\"\n#EXT".into());
        refuse(&|m| m.renditions[0].segments[1].index = 7);
        refuse(&|m| m.renditions[0].segments[0].duration_ms = 0);
        refuse(&|m| m.renditions[0].segments[0].bytes = u64::MAX);
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_manifest_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(SignedManifest::decode(&bytes).is_err());
        }
    }
}
