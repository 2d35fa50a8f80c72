//! The stores, in memory.

use std::{collections::BTreeMap, sync::Mutex};

use async_trait::async_trait;
use edge_gateway::{
    Counted, Day, KeyId, KeyRecord, KeyStore, Reservation, ReservationId, SpendingLimits, SpendingRefused,
    SpendingStore, Spent, StoreError, Sums, UploadId, UploadRecord, UploadState, VideoFilter, VideoId,
    VideoRecord, VideoStore,
};
use theta_types::Wei;

#[derive(Default)]
pub struct MemoryStore(Mutex<Tables>);

#[derive(Default)]
struct Tables {
    keys: Vec<KeyRecord>,
    open: Vec<Reservation>,
    booked: Vec<(KeyId, Day, Wei)>,
    uploads: Vec<UploadRecord>,
    videos: Vec<VideoRecord>,
}

impl Tables {
    fn sums(&self, key: Option<&KeyId>, day: Option<Day>) -> Sums {
        let counts = |k: &KeyId, d: Day| key.is_none_or(|key| k == key) && day.is_none_or(|day| d == day);
        let open = self.open.iter().filter(|r| counts(&r.key, r.day)).map(|r| &r.amount);
        let booked = self.booked.iter().filter(|(k, d, _)| counts(k, *d)).map(|(_, _, amount)| amount);
        Sums { booked: booked.sum(), reserved: open.sum() }
    }
}

impl MemoryStore {
    pub fn open_reservations(&self) -> usize {
        self.0.lock().unwrap().open.len()
    }
}

#[async_trait]
impl KeyStore for MemoryStore {
    async fn add_key(&self, record: KeyRecord) -> Result<(), StoreError> {
        self.0.lock().unwrap().keys.push(record);
        Ok(())
    }

    async fn key(&self, id: &KeyId) -> Result<Option<KeyRecord>, StoreError> {
        Ok(self.0.lock().unwrap().keys.iter().find(|key| key.id == *id).cloned())
    }

    async fn keys(&self) -> Result<Vec<KeyRecord>, StoreError> {
        Ok(self.0.lock().unwrap().keys.clone())
    }

    async fn revoke_key(&self, id: &KeyId, at_ms: i64) -> Result<bool, StoreError> {
        let mut tables = self.0.lock().unwrap();
        let Some(key) = tables.keys.iter_mut().find(|key| key.id == *id) else { return Ok(false) };
        key.revoked_ms.get_or_insert(at_ms);
        Ok(true)
    }
}

#[async_trait]
impl SpendingStore for MemoryStore {
    async fn reserve(
        &self,
        r: Reservation,
        limits: SpendingLimits,
    ) -> Result<Result<Wei, SpendingRefused>, StoreError> {
        let mut tables = self.0.lock().unwrap();
        let counted = Counted {
            key_day: tables.sums(Some(&r.key), Some(r.day)),
            key_total: tables.sums(Some(&r.key), None),
            all_day: tables.sums(None, Some(r.day)),
        };
        let granted = limits.grant(&r, &counted);
        if let Ok(amount) = granted.clone() {
            tables.open.push(Reservation { amount, ..r });
        }
        Ok(granted)
    }

    async fn book(&self, id: &ReservationId, spent: &Wei) -> Result<(), StoreError> {
        let mut tables = self.0.lock().unwrap();
        if let Some(at) = tables.open.iter().position(|r| r.id == *id) {
            let r = tables.open.swap_remove(at);
            tables.booked.push((r.key, r.day, spent.clone()));
        }
        Ok(())
    }

    async fn book_open_in_full(&self) -> Result<(), StoreError> {
        let mut tables = self.0.lock().unwrap();
        let open = std::mem::take(&mut tables.open);
        tables.booked.extend(open.into_iter().map(|r| (r.key, r.day, r.amount)));
        Ok(())
    }

    async fn spent(&self, key: &KeyId, day: Day) -> Result<Spent, StoreError> {
        let tables = self.0.lock().unwrap();
        let whole = |Sums { booked, reserved }| booked + &reserved;
        let (today, ever) = (tables.sums(Some(key), Some(day)), tables.sums(Some(key), None));
        Ok(Spent { day: whole(today), total: whole(ever) })
    }
}

#[async_trait]
impl VideoStore for MemoryStore {
    async fn add_upload(&self, upload: UploadRecord, most_waiting: usize) -> Result<bool, StoreError> {
        let mut tables = self.0.lock().unwrap();
        let waits = |kept: &&UploadRecord| {
            kept.key == upload.key
                && kept.state != UploadState::Received
                && kept.expires_ms > upload.created_ms
        };
        let fits = tables.uploads.iter().filter(waits).count() < most_waiting;
        if fits {
            tables.uploads.push(upload);
        }
        Ok(fits)
    }

    async fn upload(&self, id: &UploadId) -> Result<Option<UploadRecord>, StoreError> {
        Ok(self.0.lock().unwrap().uploads.iter().find(|upload| upload.id == *id).cloned())
    }

    async fn change_upload(&self, from: UploadState, to: UploadRecord) -> Result<bool, StoreError> {
        let mut tables = self.0.lock().unwrap();
        let found = tables.uploads.iter_mut().find(|upload| upload.id == to.id && upload.state == from);
        Ok(found.map(|upload| *upload = to).is_some())
    }

    async fn remove_upload(&self, id: &UploadId) -> Result<(), StoreError> {
        self.0.lock().unwrap().uploads.retain(|upload| upload.id != *id);
        Ok(())
    }

    async fn uploads(&self) -> Result<Vec<UploadRecord>, StoreError> {
        Ok(self.0.lock().unwrap().uploads.clone())
    }

    async fn add_video(&self, video: VideoRecord) -> Result<(), StoreError> {
        self.0.lock().unwrap().videos.push(video);
        Ok(())
    }

    async fn change_video(&self, video: VideoRecord) -> Result<(), StoreError> {
        let mut tables = self.0.lock().unwrap();
        let kept = tables.videos.iter_mut().find(|kept| kept.id == video.id).unwrap();
        *kept = video;
        Ok(())
    }

    async fn video(&self, id: &VideoId) -> Result<Option<VideoRecord>, StoreError> {
        Ok(self.0.lock().unwrap().videos.iter().find(|video| video.id == *id).cloned())
    }

    async fn videos(&self, key: &KeyId, filter: VideoFilter) -> Result<Vec<VideoRecord>, StoreError> {
        let has = |metadata: &BTreeMap<String, String>| {
            filter.metadata.iter().all(|(k, v)| metadata.get(k) == Some(v))
        };
        let tables = self.0.lock().unwrap();
        let found = tables.videos.iter().rev().filter(|video| video.key == *key && has(&video.metadata));
        Ok(found.skip(filter.skip as usize).take(filter.take as usize).cloned().collect())
    }

    async fn unfinished_videos(&self) -> Result<Vec<VideoRecord>, StoreError> {
        Ok(self.0.lock().unwrap().videos.iter().filter(|video| !video.state.is_final()).cloned().collect())
    }
}
