//! Reading a finished MPEG transport stream segment (ISO/IEC 13818-1): when its pictures are shown and how large they are,
//! whether it starts with a key frame, and what its sound is. It decodes nothing, so that it is quick and safe on a
//! stranger's bytes.

use crate::picture_parameters::{ParameterError, PictureSize, picture_size};

/// Ticks of the time stamps per second.
pub(crate) const TICKS_PER_SECOND: u64 = 90_000;

const PACKET: usize = 188;
const SYNC: u8 = 0x47;
const STREAM_TYPE_H264: u8 = 0x1b;
const STREAM_TYPE_AAC: u8 = 0x0f;
const NAL_SLICE: u8 = 1;
const NAL_KEY_SLICE: u8 = 5;
const NAL_PARAMETERS: u8 = 7;
/// Largest coded picture that is looked at, in bytes; an honest one is far smaller.
const MAX_PICTURE_BYTES: usize = 16 * 1024 * 1024;
/// Most different sequence parameter sets, and most bytes of one. H.264 has room for 32; an encoder makes one, of a hundred
/// bytes.
const MAX_PARAMETER_SETS: usize = 32;
const MAX_PARAMETER_BYTES: usize = 2048;

/// What a segment holds: one H.264 stream with a picture in each packet of the elementary stream, and AAC or silence.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TransportSegment {
    /// When each picture is shown, in ticks of 1/90000 s, ascending. The count starts anywhere but does not wrap
    /// inside a segment.
    pub shown_at: Vec<u64>,
    /// Whether the first picture can be decoded by itself, its parameters before it.
    pub starts_with_key_picture: bool,
    /// How many pictures can be decoded by themselves.
    pub key_pictures: usize,
    /// The sequence parameter sets in the order of their first appearance, without start codes.
    pub parameters: Vec<Vec<u8>>,
    /// The sizes of pictures that these sets are for, in the same order.
    pub sizes: Vec<PictureSize>,
    /// The sound, if any.
    pub sound: Option<Sound>,
}

/// AAC sound in a segment, from its ADTS headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sound {
    /// MPEG-4 audio object type, 2 for AAC-LC.
    pub object_type: u8,
    /// Samples per second.
    pub sample_rate: u32,
    /// Channels, 0 where the header leaves it open.
    pub channels: u8,
    /// Frames of 1024 samples.
    pub frames: u64,
}

/// Why bytes are not such a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransportStreamError {
    /// Its length is no multiple of 188, or a packet lacks its mark.
    #[error("it is not an MPEG transport stream")]
    NotTransportStream,
    /// It does not start with its tables, or they name no H.264 stream.
    #[error("it does not start with tables that name an H.264 stream")]
    NoVideo,
    /// A picture has no time stamp of its own, or none is there.
    #[error("it has pictures without a time")]
    NoTimes,
    /// A picture has too many bytes.
    #[error("it has a picture of more than 16 MiB")]
    TooLarge,
    /// It has more different sequence parameter sets than H.264 has room for, or one that is far too long.
    #[error("it has too many parameters")]
    TooManyParameters,
    /// A sequence parameter set cannot be read.
    #[error("it has parameters that cannot be read")]
    BadParameters,
    /// Its pictures are larger than any level of H.264 allows.
    #[error("it has pictures of more pixels than H.264 allows")]
    TooManyPixels,
}

impl From<ParameterError> for TransportStreamError {
    fn from(error: ParameterError) -> Self {
        match error {
            ParameterError::Unreadable => Self::BadParameters,
            ParameterError::TooLarge => Self::TooManyPixels,
        }
    }
}

impl TransportSegment {
    /// Reads a segment.
    pub fn parse(bytes: &[u8]) -> Result<Self, TransportStreamError> {
        let (packets, rest) = bytes.as_chunks::<PACKET>();
        if packets.is_empty() || !rest.is_empty() || packets.iter().any(|packet| packet[0] != SYNC) {
            return Err(TransportStreamError::NotTransportStream);
        }
        let mut reader = Reader::default();
        for packet in packets.iter().map(Packet) {
            reader.take(&packet)?;
        }
        reader.finish()
    }

    fn take_parameters(&mut self, unit: &[u8]) -> Result<(), TransportStreamError> {
        if self.parameters.iter().any(|known| known == unit) {
            return Ok(());
        }
        if self.parameters.len() == MAX_PARAMETER_SETS || unit.len() > MAX_PARAMETER_BYTES {
            return Err(TransportStreamError::TooManyParameters);
        }
        self.sizes.push(picture_size(unit)?);
        self.parameters.push(unit.to_vec());
        Ok(())
    }

    /// When the first picture is shown, in ticks.
    pub fn start(&self) -> u64 {
        self.shown_at.first().copied().unwrap_or_default()
    }

    /// When the last picture starts to be shown, in ticks.
    pub fn last(&self) -> u64 {
        self.shown_at.last().copied().unwrap_or_default()
    }
}

struct Packet<'a>(&'a [u8; PACKET]);

impl<'a> Packet<'a> {
    fn stream(&self) -> u16 {
        u16::from_be_bytes([self.0[1], self.0[2]]) & 0x1fff
    }

    fn starts_unit(&self) -> bool {
        self.0[1] & 0x40 != 0
    }

    fn payload(&self) -> &'a [u8] {
        let start = match self.0[3] >> 4 & 3 {
            1 => 4,
            3 => 5 + usize::from(self.0[4]),
            _ => PACKET,
        };
        self.0.get(start..).unwrap_or_default()
    }
}

#[derive(Default)]
struct Reader {
    table_stream: Option<u16>,
    video_stream: Option<u16>,
    sound_stream: Option<u16>,
    picture: Vec<u8>,
    sound: Vec<u8>,
    found: TransportSegment,
}

impl Reader {
    fn take(&mut self, packet: &Packet<'_>) -> Result<(), TransportStreamError> {
        let stream = Some(packet.stream());
        let payload = packet.payload();
        if packet.stream() == 0 && self.table_stream.is_none() {
            self.table_stream = program_table(section(payload));
        } else if stream == self.table_stream && self.video_stream.is_none() {
            (self.video_stream, self.sound_stream) = streams(section(payload));
        } else if stream == self.video_stream {
            if packet.starts_unit() {
                self.end_picture()?;
            }
            self.picture.extend_from_slice(payload);
            if self.picture.len() > MAX_PICTURE_BYTES {
                return Err(TransportStreamError::TooLarge);
            }
        } else if stream == self.sound_stream {
            if packet.starts_unit() {
                self.end_sound();
            }
            self.sound.extend_from_slice(payload);
            if self.sound.len() > MAX_PICTURE_BYTES {
                return Err(TransportStreamError::TooLarge);
            }
        }
        Ok(())
    }

    fn end_picture(&mut self) -> Result<(), TransportStreamError> {
        if self.picture.is_empty() {
            return Ok(());
        }
        let (time, data) = elementary_packet(&self.picture).ok_or(TransportStreamError::NoTimes)?;
        let time = time.ok_or(TransportStreamError::NoTimes)?;
        let is_first = self.found.shown_at.is_empty();
        let (mut has_parameters, mut pictures) = (false, 0);
        // All of them, though the first slice tells what the picture is: a decoder would find what is hidden behind it.
        for unit in nal_units(data) {
            let kind = unit[0] & 0x1f;
            match kind {
                NAL_PARAMETERS => {
                    has_parameters = true;
                    self.found.take_parameters(unit)?;
                }
                NAL_SLICE | NAL_KEY_SLICE if starts_picture(unit) => {
                    pictures += 1;
                    if kind == NAL_KEY_SLICE {
                        self.found.key_pictures += 1;
                        self.found.starts_with_key_picture |= is_first && has_parameters;
                    }
                }
                _ => {}
            }
        }
        if pictures != 1 {
            return Err(TransportStreamError::NoTimes);
        }
        let unwrapped = self.found.shown_at.first().map_or(time, |first| unwrap(time, *first));
        self.found.shown_at.push(unwrapped);
        self.picture.clear();
        Ok(())
    }

    fn end_sound(&mut self) {
        let data = elementary_packet(&self.sound).map_or(&[][..], |(_, data)| data);
        for header in adts_headers(data) {
            self.found.sound.get_or_insert(header).frames += 1;
        }
        self.sound.clear();
    }

    fn finish(mut self) -> Result<TransportSegment, TransportStreamError> {
        self.video_stream.ok_or(TransportStreamError::NoVideo)?;
        self.end_picture()?;
        self.end_sound();
        if self.found.shown_at.is_empty() {
            return Err(TransportStreamError::NoTimes);
        }
        self.found.shown_at.sort_unstable();
        Ok(self.found)
    }
}

/// The table section that starts in a payload, after its pointer.
fn section(payload: &[u8]) -> &[u8] {
    payload.first().and_then(|pointer| payload.get(1 + usize::from(*pointer)..)).unwrap_or_default()
}

/// The stream of the first program's table, from a program association section.
fn program_table(section: &[u8]) -> Option<u16> {
    let entries = section.get(8..)?;
    (section.first() == Some(&0x00) && entries.len() >= 4)
        .then(|| u16::from_be_bytes([entries[2], entries[3]]) & 0x1fff)
}

/// The first H.264 and the first AAC stream, from a program map section.
fn streams(section: &[u8]) -> (Option<u16>, Option<u16>) {
    let (mut video, mut sound) = (None, None);
    if section.len() < 12 || section[0] != 0x02 {
        return (video, sound);
    }
    let length = usize::from(u16::from_be_bytes([section[1], section[2]]) & 0x0fff);
    let mut entries = section
        .get(12 + usize::from(u16::from_be_bytes([section[10], section[11]]) & 0x0fff)..)
        .unwrap_or_default();
    // The section's length counts from its fourth byte and ends with a checksum of four bytes.
    let used = section.len() - entries.len();
    entries = &entries[..entries.len().min((length + 3).saturating_sub(4 + used))];
    while entries.len() >= 5 {
        let stream = u16::from_be_bytes([entries[1], entries[2]]) & 0x1fff;
        match entries[0] {
            STREAM_TYPE_H264 if video.is_none() => video = Some(stream),
            STREAM_TYPE_AAC if sound.is_none() => sound = Some(stream),
            _ => {}
        }
        let described = usize::from(u16::from_be_bytes([entries[3], entries[4]]) & 0x0fff);
        entries = entries.get(5 + described..).unwrap_or_default();
    }
    (video, sound)
}

/// The presentation time and the data of a packet of an elementary stream.
fn elementary_packet(packet: &[u8]) -> Option<(Option<u64>, &[u8])> {
    if packet.len() < 9 || packet[..3] != [0, 0, 1] {
        return None;
    }
    let data = packet.get(9 + usize::from(packet[8])..)?;
    let time = (packet[7] & 0x80 != 0 && packet.len() >= 14).then(|| {
        let part = |index: usize| u64::from(packet[index]);
        (part(9) >> 1 & 7) << 30 | part(10) << 22 | (part(11) >> 1) << 15 | part(12) << 7 | part(13) >> 1
    });
    Some((time, data))
}

/// The NAL units of a byte stream, without start codes and none of them empty.
fn nal_units(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = after_start_code(data);
    std::iter::from_fn(move || {
        let current = rest.take()?;
        let end = find_start_code(current).unwrap_or(current.len());
        rest = after_start_code(&current[end..]);
        // The zero byte of a four-byte start code belongs to no unit.
        let zeros = current[..end].iter().rev().take_while(|byte| **byte == 0).count();
        Some(&current[..end - zeros])
    })
    .filter(|unit| !unit.is_empty())
}

/// Whether a slice is its picture's first: its macroblocks start at 0, which is a single bit (section 7.3.3).
fn starts_picture(slice: &[u8]) -> bool {
    slice.get(1).is_some_and(|first| first & 0x80 != 0)
}

fn find_start_code(data: &[u8]) -> Option<usize> {
    data.windows(3).position(|window| window == [0, 0, 1])
}

fn after_start_code(data: &[u8]) -> Option<&[u8]> {
    find_start_code(data).map(|at| &data[at + 3..])
}

/// The headers of the ADTS frames in `data`, each counted as no frame yet.
fn adts_headers(mut data: &[u8]) -> impl Iterator<Item = Sound> {
    const RATES: [u32; 13] = [
        96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350,
    ];
    std::iter::from_fn(move || {
        let header = data.get(..7).filter(|header| header[0] == 0xff && header[1] & 0xf6 == 0xf0)?;
        let length =
            usize::from(header[3] & 3) << 11 | usize::from(header[4]) << 3 | usize::from(header[5] >> 5);
        let sound = Sound {
            object_type: (header[2] >> 6) + 1,
            sample_rate: *RATES.get(usize::from(header[2] >> 2 & 0xf))?,
            channels: (header[2] & 1) << 2 | header[3] >> 6,
            frames: 0,
        };
        data = data.get(length.max(7)..).unwrap_or_default();
        Some(sound)
    })
}

/// `time` of a counter of 33 bits, as a number near `first`.
fn unwrap(time: u64, first: u64) -> u64 {
    const WRAP: u64 = 1 << 33;
    let forward = time.wrapping_sub(first) % WRAP;
    if forward < WRAP / 2 { first + forward } else { first.saturating_sub(WRAP - forward) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::picture_parameters::tests::parameter_set;

    /// A packet with a header and as much of `payload` as fits, stuffed by an adaptation field.
    fn packet(stream: u16, starts: bool, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![SYNC, (stream >> 8) as u8 | if starts { 0x40 } else { 0 }, stream as u8, 0x10];
        let room = PACKET - 4;
        assert!(payload.len() <= room);
        if payload.len() < room {
            bytes[3] = 0x30;
            let stuffing = room - payload.len() - 1;
            bytes.push(stuffing as u8);
            bytes.extend(std::iter::repeat_n(0xff, stuffing));
        }
        bytes.extend_from_slice(payload);
        bytes
    }

    fn tables() -> Vec<u8> {
        let association = [0, 0x00, 0xb0, 13, 0, 1, 0xc1, 0, 0, 0, 1, 0xe0, 32, 1, 2, 3, 4];
        let map = [
            0, 0x02, 0xb0, 23, 0, 1, 0xc1, 0, 0, 0xe0, 65, 0xf0, 0, 0x1b, 0xe0, 65, 0xf0, 0, 0x0f, 0xe0, 66,
            0xf0, 0, 1, 2, 3, 4,
        ];
        [packet(0, true, &association), packet(32, true, &map)].concat()
    }

    fn elementary(time: u64, data: &[u8]) -> Vec<u8> {
        let stamp = [
            0x21 | (time >> 29) as u8 & 0x0e,
            (time >> 22) as u8,
            (time >> 14) as u8 | 1,
            (time >> 7) as u8,
            (time << 1) as u8 | 1,
        ];
        [&[0, 0, 1, 0xe0, 0, 0, 0x80, 0x80, 5][..], &stamp, data].concat()
    }

    const SLICE: [u8; 7] = [0, 0, 0, 1, 0x41, 0x9a, 2];

    /// A key picture after these parameter sets.
    fn key_after(sets: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes: Vec<u8> =
            sets.iter().flat_map(|set| [&[0, 0, 0, 1], set.as_slice()].concat()).collect();
        bytes.extend([0, 0, 0, 1, 0x65, 0x88, 2, 3]);
        bytes
    }

    fn key() -> Vec<u8> {
        key_after(&[parameter_set(20, 15, (0, 0))])
    }

    /// The packets of a picture of any length.
    fn picture(time: u64, data: &[u8]) -> Vec<u8> {
        let bytes = elementary(time, data);
        let packets = bytes.chunks(PACKET - 4).enumerate();
        packets.flat_map(|(index, part)| packet(65, index == 0, part)).collect()
    }

    #[test]
    fn a_segment_tells_its_times_its_key_picture_and_its_sound() {
        let frame = [0xff, 0xf1, 0x4c, 0x80, 0x01, 0x1f, 0xfc, 9];
        let bytes = [
            tables(),
            packet(65, true, &elementary(900_000, &key())),
            packet(65, true, &elementary(907_200, &SLICE)),
            packet(66, true, &elementary(900_000, &[frame, frame].concat())),
            packet(65, true, &elementary(903_600, &SLICE)),
        ]
        .concat();
        let found = TransportSegment::parse(&bytes).unwrap();
        assert_eq!(found.shown_at, [900_000, 903_600, 907_200]);
        assert!(found.starts_with_key_picture);
        assert_eq!(found.key_pictures, 1);
        assert_eq!(found.parameters, [parameter_set(20, 15, (0, 0))]);
        assert_eq!(found.sizes, [PictureSize { width: 320, height: 240 }]);
        assert_eq!(found.sound, Some(Sound { object_type: 2, sample_rate: 48_000, channels: 2, frames: 2 }));
    }

    #[test]
    fn a_counter_that_wraps_goes_on_upwards() {
        let wrap = 1u64 << 33;
        let bytes = [
            tables(),
            packet(65, true, &elementary(wrap - 3_600, &key())),
            packet(65, true, &elementary(0, &SLICE)),
        ]
        .concat();
        assert_eq!(TransportSegment::parse(&bytes).unwrap().shown_at, [wrap - 3_600, wrap]);
    }

    #[test]
    fn a_segment_that_starts_inside_a_group_of_pictures_is_seen() {
        let bytes = [
            tables(),
            packet(65, true, &elementary(0, &SLICE)),
            packet(65, true, &elementary(3_600, &key())),
        ]
        .concat();
        let found = TransportSegment::parse(&bytes).unwrap();
        assert!(!found.starts_with_key_picture);
        assert_eq!(found.key_pictures, 1);
    }

    #[test]
    fn what_is_no_segment_has_a_name() {
        assert_eq!(TransportSegment::parse(b"hello"), Err(TransportStreamError::NotTransportStream));
        assert_eq!(TransportSegment::parse(&[]), Err(TransportStreamError::NotTransportStream));
        assert_eq!(TransportSegment::parse(&packet(7, true, &[])), Err(TransportStreamError::NoVideo));
        assert_eq!(TransportSegment::parse(&tables()), Err(TransportStreamError::NoTimes));
    }

    #[test]
    fn parameters_are_bounded_in_number_length_and_size() {
        let read =
            |sets: &[Vec<u8>]| TransportSegment::parse(&[tables(), picture(0, &key_after(sets))].concat());
        let sets: Vec<Vec<u8>> =
            (1..=MAX_PARAMETER_SETS as u32 + 1).map(|side| parameter_set(side, 1, (0, 0))).collect();
        assert_eq!(read(&sets[1..]).unwrap().parameters, sets[1..]);
        assert_eq!(read(&sets), Err(TransportStreamError::TooManyParameters));
        let long = [parameter_set(20, 15, (0, 0)), vec![1; MAX_PARAMETER_BYTES]].concat();
        assert_eq!(read(&[long]), Err(TransportStreamError::TooManyParameters));
        assert_eq!(read(&[vec![0x67, 66]]), Err(TransportStreamError::BadParameters));
        assert_eq!(read(&[parameter_set(4_096, 4_096, (0, 0))]), Err(TransportStreamError::TooManyPixels));
    }

    #[test]
    fn a_flood_of_parameters_is_refused_at_once() {
        // Compared each with each they would take minutes.
        let set = [&[0, 0, 1][..], &parameter_set(20, 15, (0, 0))].concat();
        let mut data = Vec::new();
        for number in 0..1_000_000u32 {
            data.extend_from_slice(&set);
            data.extend(number.to_be_bytes().map(|byte| byte | 0x80));
        }
        data.truncate(MAX_PICTURE_BYTES / 2);
        let bytes = [tables(), picture(0, &data)].concat();
        let started = std::time::Instant::now();
        assert_eq!(TransportSegment::parse(&bytes), Err(TransportStreamError::TooManyParameters));
        assert!(started.elapsed() < std::time::Duration::from_secs(2), "{:?}", started.elapsed());
    }

    #[test]
    fn what_hides_behind_a_picture_is_found() {
        let second = [key(), SLICE.to_vec()].concat();
        let bytes = [tables(), picture(0, &second)].concat();
        assert_eq!(TransportSegment::parse(&bytes), Err(TransportStreamError::NoTimes));
        let huge = [key(), key_after(&[parameter_set(4_096, 4_096, (0, 0))])].concat();
        let bytes = [tables(), picture(0, &huge)].concat();
        assert_eq!(TransportSegment::parse(&bytes), Err(TransportStreamError::TooManyPixels));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_segment_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
            let _ = TransportSegment::parse(&bytes);
        }

        #[test]
        fn any_payloads_behind_good_tables_are_a_segment_or_an_error(
            payloads in proptest::collection::vec((65u16..67, any::<bool>(), proptest::collection::vec(prop_oneof![Just(0), Just(1), any::<u8>()], 0..184)), 0..12),
        ) {
            let mut bytes = tables();
            for (stream, starts, payload) in payloads {
                bytes.extend(packet(stream, starts, &payload));
            }
            let _ = TransportSegment::parse(&bytes);
        }

        #[test]
        fn a_cut_or_flipped_segment_is_read_or_refused(cut in 0usize..5, at in 0usize..900, bit in 0u8..8) {
            let mut bytes = [tables(), packet(65, true, &elementary(1, &key())), packet(65, true, &elementary(2, &SLICE))].concat();
            bytes.truncate(bytes.len() - cut * PACKET.min(bytes.len() / 5));
            if let Some(byte) = bytes.get_mut(at) { *byte ^= 1 << bit; }
            let _ = TransportSegment::parse(&bytes);
        }
    }
}
