//! What stays of a ladder when its provider is gone, or when this program ends.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use edge_jobs::{
    ContentHash, LadderStart, Rendition, SegmentInfo, TRANSCODE_UNIT_MS, Thumbnail, TranscodeOrder,
    VideoEncoder, bandwidth,
};
use serde::{Deserialize, Serialize};
use theta_types::Address;
use tracing::{info, warn};

use crate::{provider::path_below, session::segments_of_units};

/// The file in a job's output folder that says what is kept there.
const RECORD: &str = "kept.json";
/// The largest record that is read: twelve hours of nine renditions are half of it.
const MAX_RECORD_BYTES: u64 = 64 * 1024 * 1024;

/// The beginning of a ladder, by one provider or several: equally many segments of each rendition, all of them paid.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct KeptLadder {
    /// Where its files are, among others that are not kept.
    #[serde(skip)]
    folder: Option<PathBuf>,
    /// Units that are paid for it.
    units: u64,
    segments: BTreeMap<String, Vec<SegmentInfo>>,
    thumbnails: Vec<Thumbnail>,
    /// What it is encoded with.
    encoder: Option<VideoEncoder>,
    /// Who made it.
    makers: Vec<Address>,
}

/// What one provider has delivered.
#[derive(Debug, Default)]
pub(super) struct Delivered {
    pub segments: BTreeMap<String, Vec<SegmentInfo>>,
    pub thumbnails: Vec<Thumbnail>,
}

/// What the record's file holds.
#[derive(Serialize, Deserialize)]
struct Record {
    order: TranscodeOrder,
    /// The name of its folder in the output folder.
    folder: String,
    ladder: KeptLadder,
}

impl KeptLadder {
    /// What an earlier run of the program kept for `order` in `output`: nothing, when the files are not those that were kept.
    pub async fn load(output: &Path, order: &TranscodeOrder) -> Self {
        let (folder, wanted) = (output.to_owned(), order.clone());
        let read = tokio::task::spawn_blocking(move || read_record(&folder, &wanted)).await;
        match read.map_err(io::Error::other).and_then(|read| read) {
            Ok(Some(kept)) => {
                info!(segments = kept.len(), "a ladder that was begun before goes on");
                kept
            }
            Ok(None) => Self::default(),
            Err(error) => {
                warn!(%error, folder = %output.display(), "what was kept of a ladder is of no use; it is begun anew");
                Self::default()
            }
        }
    }

    /// Writes down for the next run of the program what is kept. The files are on their way to the disk already; one that does
    /// not arrive there has another hash when the record is read.
    pub async fn save(&self, output: &Path, order: &TranscodeOrder) -> io::Result<()> {
        let Some(folder) = self.folder().and_then(Path::file_name).and_then(|name| name.to_str()) else {
            return Ok(());
        };
        let record = Record { order: order.clone(), folder: folder.to_owned(), ladder: self.clone() };
        let (file, new) = (output.join(RECORD), output.join(format!("{RECORD}.new")));
        tokio::fs::write(&new, serde_json::to_vec(&record)?).await?;
        tokio::fs::rename(new, file).await
    }

    pub fn is_empty(&self) -> bool {
        self.units == 0
    }

    /// Segments of each rendition.
    pub fn len(&self) -> usize {
        self.segments.values().map(Vec::len).min().unwrap_or(0)
    }

    /// Where its files are.
    pub fn folder(&self) -> Option<&Path> {
        self.folder.as_deref()
    }

    pub fn makers(&self) -> &[Address] {
        &self.makers
    }

    /// Whether a ladder of these renditions can go on from it.
    pub fn fits(&self, renditions: &[String]) -> bool {
        self.is_empty()
            || renditions.len() == self.segments.len()
                && renditions.iter().all(|name| self.segments.contains_key(name))
    }

    /// From 0 to 1000, how much of the order it is, with so many units after it.
    pub fn permille(&self, order: &TranscodeOrder, more: u64) -> u16 {
        let kept_ms = (self.units + more) * TRANSCODE_UNIT_MS;
        u16::try_from(kept_ms * 1_000 / order.source_duration_ms.max(1)).unwrap_or(1_000).min(1_000)
    }

    /// Where the next provider is to begin; `None` for the beginning.
    pub fn start(&self, order: &TranscodeOrder) -> Option<LadderStart> {
        let segment = u32::try_from(self.len()).ok().filter(|segment| *segment > 0)?;
        let last = self.thumbnails.last().zip(order.thumbnails.as_ref());
        let thumbnail = last.map_or(0, |(last, order)| last.at_ms / order.every_ms.max(1) + 1);
        Some(LadderStart { segment, ms: self.units * TRANSCODE_UNIT_MS, thumbnail, encoder: self.encoder? })
    }

    /// This and what was delivered after it, as far as `paid` units go; `None` when that is nothing more.
    ///
    /// Renditions may be ahead of one another, and a unit may be delivered and not paid: neither is kept.
    pub fn with(
        &self,
        delivered: &Delivered,
        paid: u64,
        order: &TranscodeOrder,
        encoder: Option<VideoEncoder>,
        maker: Address,
    ) -> Option<Self> {
        let lengths = |segments: &[SegmentInfo]| segments.iter().map(|s| s.duration_ms).collect::<Vec<_>>();
        let renditions = || delivered.segments.values();
        let needed = renditions().map(|segments| segments_of_units(lengths(segments), paid)).max()?;
        let mut more = renditions().map(|segments| segments.len().min(needed)).min()?;
        let before_ms = |name: &str| self.segments.get(name).map_or(0, |s| lengths(s).iter().sum::<u64>());
        let end_ms = |more: usize| {
            let ends = delivered
                .segments
                .iter()
                .map(|(name, segments)| before_ms(name) + lengths(segments).iter().take(more).sum::<u64>());
            ends.max().unwrap_or(0)
        };
        // Something must be left for the next one to make: the last unit is not paid before all is checked.
        while more > 0 && end_ms(more) + TRANSCODE_UNIT_MS / 4 >= order.source_duration_ms {
            more -= 1;
        }
        if paid == 0 || more == 0 || encoder.is_none() {
            return None;
        }
        let mut kept = self.clone();
        for (name, segments) in &delivered.segments {
            kept.segments.entry(name.clone()).or_default().extend_from_slice(&segments[..more]);
        }
        let end_ms = end_ms(more);
        kept.thumbnails.extend(delivered.thumbnails.iter().filter(|picture| picture.at_ms < end_ms).cloned());
        kept.thumbnails.sort_by_key(|picture| picture.at_ms);
        kept.units += paid;
        kept.encoder = encoder;
        kept.makers.push(maker);
        Some(kept)
    }

    /// This and what was delivered after it, as one list for each rendition.
    pub fn segments_with(&self, delivered: &Delivered) -> BTreeMap<String, Vec<SegmentInfo>> {
        let mut all = self.segments.clone();
        for (name, segments) in &delivered.segments {
            all.entry(name.clone()).or_default().extend_from_slice(segments);
        }
        all
    }

    /// A report on what came after this, as one on the whole.
    pub fn join(&self, renditions: &mut [Rendition], thumbnails: &mut Vec<Thumbnail>) {
        if self.is_empty() {
            return;
        }
        for rendition in renditions {
            let before = self.segments.get(&rendition.name).into_iter().flatten().cloned();
            rendition.segments.splice(0..0, before);
            (rendition.bandwidth, rendition.average_bandwidth) = bandwidth(&rendition.segments);
        }
        thumbnails.splice(0..0, self.thumbnails.iter().cloned());
    }

    /// Makes `folder` and moves the files there. What else lay beside them is deleted.
    pub async fn move_to(&mut self, folder: &Path) -> std::io::Result<()> {
        tokio::fs::create_dir(folder).await?;
        let Some(old) = self.folder.replace(folder.to_owned()) else { return Ok(()) };
        let segments = self.segments.values().flatten().map(|segment| &segment.file);
        for name in segments.chain(self.thumbnails.iter().map(|picture| &picture.file)) {
            // Names were checked when the files came.
            let paths = path_below(&old, name).zip(path_below(folder, name));
            let (from, to) = paths.ok_or_else(|| std::io::Error::other("a file with an impossible name"))?;
            if let Some(parent) = to.parent() {
                tokio::fs::create_dir_all(parent).await?;
            }
            tokio::fs::rename(from, to).await?;
        }
        tokio::fs::remove_dir_all(old).await
    }

    /// Begins anew, in the same folder's place.
    pub fn forget(&mut self) {
        *self = Self { folder: self.folder.take(), ..Self::default() };
    }
}

fn read_record(output: &Path, order: &TranscodeOrder) -> io::Result<Option<KeptLadder>> {
    let file = output.join(RECORD);
    match std::fs::metadata(&file) {
        Ok(found) if found.len() > MAX_RECORD_BYTES => return Err(io::ErrorKind::FileTooLarge.into()),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    }
    let record: Record = serde_json::from_slice(&std::fs::read(file)?)?;
    if record.order != *order {
        return Err(io::Error::other("it was kept for another order"));
    }
    let outside = || io::Error::other("a file with an impossible name");
    let folder = path_below(output, &record.folder).ok_or_else(outside)?;
    let kept = KeptLadder { folder: Some(folder.clone()), ..record.ladder };
    let segments = kept.segments.values().flatten().map(|segment| (&segment.file, segment.hash));
    for (name, hash) in segments.chain(kept.thumbnails.iter().map(|picture| (&picture.file, picture.hash))) {
        let file = std::fs::File::open(path_below(&folder, name).ok_or_else(outside)?)?;
        if ContentHash::of_reader(file)? != hash {
            return Err(io::Error::other(format!("{name} is not what was kept")));
        }
    }
    Ok(Some(kept))
}

#[cfg(test)]
mod tests {
    use edge_jobs::{ContentHash, Ladder, ThumbnailOrder, segment_file, thumbnail_file};

    use super::*;

    fn order(source_duration_ms: u64) -> TranscodeOrder {
        TranscodeOrder {
            source: ContentHash([0; 32]),
            source_bytes: 1,
            source_duration_ms,
            ladder: Ladder::default(),
            thumbnails: Some(ThumbnailOrder { every_ms: 3_000, short_side: 90 }),
            from: None,
        }
    }

    /// Segments of `length` each, as many as the counts say, from `first` on; pictures up to `pictures`.
    fn delivered(length: u64, first: u32, counts: [u32; 2], pictures: std::ops::Range<u64>) -> Delivered {
        let segment = |name: &str, index| SegmentInfo {
            index,
            file: segment_file(name, index),
            duration_ms: length,
            bytes: 1,
            hash: ContentHash([0; 32]),
        };
        let rendition = |name: &str, count| {
            (name.to_owned(), (first..first + count).map(|index| segment(name, index)).collect())
        };
        let picture = |number| Thumbnail {
            at_ms: number * 3_000,
            file: thumbnail_file(number),
            bytes: 1,
            hash: ContentHash([0; 32]),
        };
        Delivered {
            segments: BTreeMap::from([rendition("360p", counts[0]), rendition("720p", counts[1])]),
            thumbnails: pictures.map(picture).collect(),
        }
    }

    const X264: Option<VideoEncoder> = Some(VideoEncoder::X264);

    #[test]
    fn paid_segments_stay_and_those_ahead_go() {
        let (order, maker) = (order(60_000), Address::repeat_byte(1));
        // The smaller rendition is ahead, and the third unit was not paid.
        let first =
            KeptLadder::default().with(&delivered(2_000, 0, [4, 3], 0..9), 2, &order, X264, maker).unwrap();
        assert_eq!(first.len(), 2);
        let start = first.start(&order).unwrap();
        assert_eq!((start.segment, start.ms, start.thumbnail), (2, 4_000, 2));
        assert_eq!([0, 1, 99].map(|more| first.permille(&order, more)), [66, 100, 1_000]);
        // A second one goes on, and so does a third.
        let second = first.with(&delivered(2_000, 2, [5, 5], 2..4), 5, &order, X264, maker).unwrap();
        let start = second.start(&order).unwrap();
        assert_eq!((start.segment, start.ms, start.thumbnail), (7, 14_000, 4));
        assert_eq!(
            second.segments["720p"].iter().map(|s| s.index).collect::<Vec<_>>(),
            (0..7).collect::<Vec<_>>()
        );
        // One that was not paid, or whose encoder is not known, leaves nothing.
        assert!(first.with(&delivered(2_000, 2, [1, 1], 0..0), 0, &order, X264, maker).is_none());
        assert!(first.with(&delivered(2_000, 2, [1, 1], 0..0), 1, &order, None, maker).is_none());
    }

    #[test]
    fn segments_are_not_units() {
        let maker = Address::repeat_byte(1);
        let long = order(3_000_000);
        let kept =
            KeptLadder::default().with(&delivered(2_002, 0, [1_400, 1_400], 0..0), 1_001, &long, X264, maker);
        let start = kept.unwrap().start(&long).unwrap();
        assert_eq!((start.segment, start.ms), (1_000, 2_002_000));
        // All segments are there, but the last unit is not paid before the check: one is made again.
        let short = order(200_050);
        let kept =
            KeptLadder::default().with(&delivered(2_002, 0, [100, 100], 0..0), 100, &short, X264, maker);
        let start = kept.unwrap().start(&short).unwrap();
        assert_eq!((start.segment, start.ms), (99, 200_000));
    }

    #[tokio::test]
    async fn files_move_and_what_is_not_kept_goes() {
        let root = tempfile::tempdir().unwrap();
        let (order, maker) = (order(60_000), Address::repeat_byte(1));
        let (one, two) = (root.path().join("one"), root.path().join("two"));
        let mut kept = KeptLadder::default();
        kept.move_to(&one).await.unwrap();
        let came = delivered(2_000, 0, [3, 3], 0..2);
        for segment in came.segments.values().flatten() {
            std::fs::create_dir_all(one.join(&segment.file).parent().unwrap()).unwrap();
            std::fs::write(one.join(&segment.file), &segment.file).unwrap();
        }
        std::fs::create_dir(one.join("thumbnails")).unwrap();
        came.thumbnails
            .iter()
            .for_each(|picture| std::fs::write(one.join(&picture.file), "picture").unwrap());
        let mut kept = kept.with(&came, 2, &order, X264, maker).unwrap();
        kept.move_to(&two).await.unwrap();
        assert!(!one.exists());
        assert_eq!(std::fs::read_to_string(two.join("720p/00001.ts")).unwrap(), "720p/00001.ts");
        assert!(two.join("thumbnails/00001.jpg").exists() && !two.join("720p/00002.ts").exists());
        kept.forget();
        assert!(kept.is_empty());
    }

    #[tokio::test]
    async fn what_is_kept_is_there_at_the_next_start_and_only_what_is_whole() {
        let root = tempfile::tempdir().unwrap();
        let (order, maker) = (order(60_000), Address::repeat_byte(1));
        let mut none = KeptLadder::load(root.path(), &order).await;
        assert!(none.is_empty());
        let folder = root.path().join("job");
        none.move_to(&folder).await.unwrap();
        let mut came = delivered(2_000, 0, [2, 2], 0..1);
        let put = |name: &str| {
            std::fs::create_dir_all(folder.join(name).parent().unwrap()).unwrap();
            std::fs::write(folder.join(name), name).unwrap();
            ContentHash::of(name.as_bytes())
        };
        came.segments.values_mut().flatten().for_each(|segment| segment.hash = put(&segment.file));
        came.thumbnails.iter_mut().for_each(|picture| picture.hash = put(&picture.file));
        let kept = none.with(&came, 2, &order, X264, maker).unwrap();
        kept.save(root.path(), &order).await.unwrap();
        assert_eq!(KeptLadder::load(root.path(), &order).await, kept);

        let other = TranscodeOrder { source_bytes: order.source_bytes + 1, ..order.clone() };
        assert!(KeptLadder::load(root.path(), &other).await.is_empty());
        std::fs::write(folder.join("720p/00001.ts"), "cut").unwrap();
        assert!(KeptLadder::load(root.path(), &order).await.is_empty());
        std::fs::write(root.path().join(RECORD), "{").unwrap();
        assert!(KeptLadder::load(root.path(), &order).await.is_empty());
    }
}
