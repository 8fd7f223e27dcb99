//! The suite every [`ContentStore`] passes: the contract of the module, case by case, each on a fresh store.

use std::any::Any;
use std::io::Read;

use super::{ContentError, ContentStore, Digest, Expected};

type Store = Box<dyn ContentStore>;

/// Runs every case. `make` answers a new store, and what must live as long as it.
pub(super) fn run(make: impl Fn() -> (Store, Box<dyn Any>)) {
    let cases: [fn(&dyn ContentStore); 7] = [
        a_finished_blob_is_visible_and_reads_back,
        an_unfinished_ingest_is_invisible_and_leaves_nothing,
        a_wrong_digest_is_refused_and_leaves_nothing,
        a_wrong_size_is_refused_and_leaves_nothing,
        the_same_blob_may_arrive_twice_at_once,
        deleting_is_final_and_repeatable,
        both_algorithms_are_kept_apart_and_listed_in_order,
    ];
    for case in cases {
        let (store, _kept) = make();
        case(store.as_ref());
    }
}

fn expect(bytes: &[u8]) -> Expected {
    Expected { digest: Some(Digest::of(bytes)), size: Some(bytes.len() as u64) }
}

fn a_finished_blob_is_visible_and_reads_back(store: &dyn ContentStore) {
    let bytes = vec![7; 300_000];
    let mut ingest = store.begin(expect(&bytes)).unwrap();
    for piece in bytes.chunks(1000) {
        ingest.write(piece).unwrap();
    }
    let digest = ingest.finish().unwrap();
    assert_eq!(digest, Digest::of(&bytes));
    assert_eq!(store.size(&digest).unwrap(), Some(300_000));
    let mut read = Vec::new();
    store.open_blob(&digest).unwrap().read_to_end(&mut read).unwrap();
    assert_eq!(read, bytes);
    assert!(matches!(store.read_all(&digest, 1000), Err(ContentError::TooLarge { limit: 1000 })));
}

fn an_unfinished_ingest_is_invisible_and_leaves_nothing(store: &dyn ContentStore) {
    let mut ingest = store.begin(expect(b"abc")).unwrap();
    ingest.write(b"abc").unwrap();
    assert_eq!(store.size(&Digest::of(b"abc")).unwrap(), None);
    assert!(matches!(store.open_blob(&Digest::of(b"abc")), Err(ContentError::Missing { .. })));
    drop(ingest);
    assert!(store.list().unwrap().is_empty());
}

fn a_wrong_digest_is_refused_and_leaves_nothing(store: &dyn ContentStore) {
    let mut ingest = store.begin(expect(b"abc")).unwrap();
    ingest.write(b"abd").unwrap();
    let fault = ingest.finish().unwrap_err();
    let (expected, actual) = (Digest::of(b"abc"), Digest::of(b"abd"));
    assert_eq!(fault.to_string(), format!("content {expected} has digest {actual} instead"));
    assert!(store.list().unwrap().is_empty());
}

fn a_wrong_size_is_refused_and_leaves_nothing(store: &dyn ContentStore) {
    let mut short = store.begin(expect(b"abc")).unwrap();
    short.write(b"ab").unwrap();
    assert!(matches!(short.finish(), Err(ContentError::Truncated { received: 2, announced: 3 })));
    let mut long = store.begin(expect(b"abc")).unwrap();
    long.write(b"abc").unwrap();
    assert!(matches!(long.write(b"d"), Err(ContentError::TooLarge { limit: 3 })));
    drop(long);
    assert!(store.list().unwrap().is_empty());
}

fn the_same_blob_may_arrive_twice_at_once(store: &dyn ContentStore) {
    let mut one = store.begin(expect(b"abc")).unwrap();
    let mut two = store.begin(Expected::default()).unwrap();
    one.write(b"abc").unwrap();
    two.write(b"abc").unwrap();
    assert_eq!(one.finish().unwrap(), two.finish().unwrap());
    assert_eq!(store.list().unwrap(), [(Digest::of(b"abc"), 3)]);
}

fn deleting_is_final_and_repeatable(store: &dyn ContentStore) {
    let digest = store.write_all(b"abc", Expected::default()).unwrap();
    let mut reader = store.open_blob(&digest).unwrap();
    store.delete(&digest).unwrap();
    store.delete(&digest).unwrap();
    assert_eq!(store.size(&digest).unwrap(), None);
    let mut read = Vec::new();
    reader.read_to_end(&mut read).unwrap();
    assert_eq!(read, b"abc", "an open reader reads to the end");
}

fn both_algorithms_are_kept_apart_and_listed_in_order(store: &dyn ContentStore) {
    let long: Digest = concat!(
        "sha512:ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a",
        "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f"
    )
    .parse()
    .unwrap();
    store.write_all(b"abc", Expected { digest: Some(long.clone()), size: None }).unwrap();
    let short = store.write_all(b"abc", Expected::default()).unwrap();
    assert_eq!(store.list().unwrap(), [(short, 3), (long, 3)]);
}
