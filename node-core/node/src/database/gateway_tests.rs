//! The gateway's stores keep what they are given, across a restart, and hold its limits.

use std::collections::BTreeMap;

use edge_gateway::{
    Clock, Day, KeyId, Keys, Reservation, ReservationId, SpendingLimit, SpendingLimits, SpendingStore,
    UploadId, UploadRecord, UploadState, VideoFilter, VideoId, VideoPhase, VideoRecord, VideoState,
    VideoStore,
};
use edge_jobs::ContentHash;
use theta_types::Wei;

use super::Database;

struct Kept {
    folder: tempfile::TempDir,
    database: Database,
}

impl Kept {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let database = Database::open(&folder.path().join("db")).unwrap();
        Self { folder, database }
    }

    fn restarted(self) -> Self {
        let database = Database::open(&self.folder.path().join("db")).unwrap();
        Self { folder: self.folder, database }
    }
}

fn upload(key: &KeyId) -> UploadRecord {
    UploadRecord {
        id: UploadId::random(),
        key: key.clone(),
        token: [7; 32],
        created_ms: 1,
        updated_ms: 2,
        expires_ms: 3,
        state: UploadState::Waiting,
        bytes: None,
        hash: None,
    }
}

fn video(key: &KeyId, take: u32) -> VideoRecord {
    VideoRecord {
        id: VideoId::random(),
        key: key.clone(),
        upload: UploadId::random(),
        created_ms: 10,
        updated_ms: 20,
        file_name: Some("sea.mp4".into()),
        resolutions: vec![360, 720],
        metadata: BTreeMap::from([("take".into(), take.to_string()), ("a.b\"[0]".into(), "odd".into())]),
        state: VideoState::Processing(Some(VideoPhase::Checking)),
        progress: 55,
        error: None,
        duration_ms: Some(5_312),
        short_side: Some(720),
        stream: None,
        cost: Wei::from(u128::MAX) * 3,
    }
}

#[tokio::test]
async fn keys_survive_a_restart_and_a_revocation_stays() {
    let kept = Kept::new();
    let keys = Keys::new(std::sync::Arc::new(kept.database.clone()), Clock::system());
    let one = keys.create("one", Some(Wei::from(5u64)), None).await.unwrap().record;
    let two = keys.create("two", None, Some(Wei::from(6u64))).await.unwrap().record;
    assert!(keys.revoke(&one.id).await.unwrap());
    assert!(!keys.revoke(&KeyId::random()).await.unwrap());
    let kept = kept.restarted();
    let listed = Keys::new(std::sync::Arc::new(kept.database.clone()), Clock::system()).list().await.unwrap();
    assert_eq!(listed.len(), 2);
    let found = |id: &KeyId| listed.iter().find(|key| key.id == *id).unwrap().clone();
    assert_eq!(found(&two.id), two);
    assert!(found(&one.id).revoked_ms.is_some());
}

#[tokio::test]
async fn spending_counts_reservations_and_bookings_together() {
    let kept = Kept::new();
    let (key, other) = (KeyId::random(), KeyId::random());
    let reserve = async |database: &Database, id: &str, key: &KeyId, day: i64, least: u64, amount: u64| {
        let limits = SpendingLimits {
            key_day: Some(Wei::from(10u64)),
            key_total: Some(Wei::from(15u64)),
            all_day: Some(Wei::from(16u64)),
        };
        let (amount, least) = (Wei::from(amount), Wei::from(least));
        let reservation =
            Reservation { id: ReservationId(id.into()), key: key.clone(), day: Day(day), amount, least };
        let granted = database.reserve(reservation, limits).await.unwrap();
        granted.map(|granted| granted.to_u64().unwrap()).map_err(|refused| refused.limit)
    };
    let database = kept.database.clone();
    assert_eq!(reserve(&database, "a", &key, 1, 9, 9).await, Ok(9));
    assert_eq!(reserve(&database, "b", &key, 1, 2, 2).await, Err(SpendingLimit::KeyDay));
    database.book(&ReservationId("a".into()), &Wei::from(4u64)).await.unwrap();
    database.book(&ReservationId("a".into()), &Wei::from(4u64)).await.unwrap();
    // More is asked for than is left: what is left is granted, and only that is kept.
    assert_eq!(reserve(&database, "c", &key, 1, 1, 500).await, Ok(6));
    assert_eq!(reserve(&database, "d", &key, 2, 6, 6).await, Err(SpendingLimit::KeyTotal));
    assert_eq!(reserve(&database, "e", &other, 1, 7, 7).await, Err(SpendingLimit::AllDay));
    assert_eq!(reserve(&database, "f", &other, 1, 5, 7).await, Ok(6));
    assert_eq!(reserve(&database, "g", &other, 1, 1, 1).await, Err(SpendingLimit::AllDay));

    let kept = kept.restarted();
    kept.database.book_open_in_full().await.unwrap();
    let spent = kept.database.spent(&key, Day(1)).await.unwrap();
    assert_eq!((spent.day, spent.total), (Wei::from(10u64), Wei::from(10u64)));
    assert_eq!(kept.database.spent(&key, Day(2)).await.unwrap().day, Wei::zero());
}

#[tokio::test]
async fn an_upload_changes_only_from_the_state_that_is_expected() {
    let kept = Kept::new();
    let waiting = upload(&KeyId::random());
    assert!(kept.database.add_upload(waiting.clone(), 1).await.unwrap());
    let received = UploadRecord {
        state: UploadState::Received,
        bytes: Some(u64::from(u32::MAX) * 3),
        hash: Some(ContentHash([9; 32])),
        ..waiting.clone()
    };
    assert!(!kept.database.change_upload(UploadState::Receiving, received.clone()).await.unwrap());
    assert!(kept.database.change_upload(UploadState::Waiting, received.clone()).await.unwrap());
    let kept = kept.restarted();
    assert_eq!(kept.database.upload(&waiting.id).await.unwrap(), Some(received));
    kept.database.remove_upload(&waiting.id).await.unwrap();
    assert_eq!(kept.database.uploads().await.unwrap(), []);
}

#[tokio::test]
async fn a_key_has_only_so_many_uploads_that_wait() {
    let kept = Kept::new();
    let key = KeyId::random();
    let add = async |upload| kept.database.add_upload(upload, 2).await.unwrap();
    let waiting = upload(&key);
    assert!(add(waiting.clone()).await && add(upload(&key)).await);
    assert!(!add(upload(&key)).await);
    assert!(add(upload(&KeyId::random())).await, "another key's do not count");
    // One whose bytes have come makes a place, and so do those that have expired.
    let received = UploadRecord { state: UploadState::Received, ..waiting };
    assert!(kept.database.change_upload(UploadState::Waiting, received).await.unwrap());
    assert!(add(upload(&key)).await);
    assert!(!add(upload(&key)).await);
    assert!(add(UploadRecord { created_ms: 3, expires_ms: 6, ..upload(&key) }).await);
}

#[tokio::test]
async fn videos_are_found_by_key_page_and_metadata() {
    let kept = Kept::new();
    let key = KeyId::random();
    let mut takes: Vec<_> = (0..4).map(|take| video(&key, take)).collect();
    for take in &takes {
        kept.database.add_video(take.clone()).await.unwrap();
    }
    kept.database.add_video(video(&KeyId::random(), 9)).await.unwrap();
    takes[0].state = VideoState::Success;
    takes[0].stream = Some("share".into());
    kept.database.change_video(takes[0].clone()).await.unwrap();

    let kept = kept.restarted();
    let found = async |filter| kept.database.videos(&key, filter).await.unwrap();
    let page = VideoFilter { skip: 1, take: 2, ..VideoFilter::default() };
    assert_eq!(found(page).await, [takes[2].clone(), takes[1].clone()]);
    let odd =
        BTreeMap::from([("a.b\"[0]".to_owned(), "odd".to_owned()), ("take".to_owned(), "0".to_owned())]);
    assert_eq!(found(VideoFilter { metadata: odd, skip: 0, take: 10 }).await, [takes[0].clone()]);
    let unfinished = kept.database.unfinished_videos().await.unwrap();
    assert_eq!(unfinished.len(), 4);
    assert_eq!(unfinished[0].id, takes[1].id, "oldest first");
    assert_eq!(kept.database.video(&takes[3].id).await.unwrap(), Some(takes[3].clone()));
}
