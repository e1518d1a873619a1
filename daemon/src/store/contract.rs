//! What every store must do, as one test that each of them runs.

use sealcast_broker::{Compare, Key, Op, Range};

use super::{Outcome, Store, WatchEvent};

fn key(text: &str) -> Key {
    Key(text.as_bytes().to_vec())
}

fn put(name: &str, value: &str) -> Op {
    Op::Put(key(name), value.as_bytes().to_vec())
}

fn is(name: &str, value: Option<&str>) -> Compare {
    Compare { key: key(name), expected: value.map(|value| value.as_bytes().to_vec()) }
}

/// Runs the contract on a fresh, empty store and closes it.
pub(super) async fn hold(store: impl Store) {
    reads_what_was_written(&store).await;
    conditions_hold_or_nothing_happens(&store).await;
    ranges_are_in_order(&store).await;
    one_of_many_wins(&store).await;
    watches_tell(&store).await;
    store.close().await.unwrap();
    assert!(store.commit(vec![], vec![put("late", "x")]).await.is_err());
}

async fn reads_what_was_written(store: &impl Store) {
    assert_eq!(store.get(&key("a")).await.unwrap(), None);
    assert_eq!(store.commit(vec![], vec![put("a", "1"), put("b", "")]).await.unwrap(), Outcome::Committed);
    assert_eq!(store.get(&key("a")).await.unwrap().as_deref(), Some(&b"1"[..]));
    assert_eq!(store.get(&key("b")).await.unwrap().as_deref(), Some(&b""[..]), "empty is not absent");
    let delete = vec![Op::Delete(key("b")), Op::Delete(key("never"))];
    assert_eq!(store.commit(vec![], delete).await.unwrap(), Outcome::Committed);
    assert_eq!(store.get(&key("b")).await.unwrap(), None);
    assert_eq!(store.commit(vec![], vec![]).await.unwrap(), Outcome::Committed);
}

async fn conditions_hold_or_nothing_happens(store: &impl Store) {
    store.commit(vec![], vec![put("c", "1")]).await.unwrap();
    let both = vec![put("c", "2"), put("d", "2")];
    for wrong in [is("c", Some("0")), is("c", None), is("d", Some("")), is("d", Some("1"))] {
        let compare = vec![is("c", Some("1")), wrong];
        assert_eq!(store.commit(compare, both.clone()).await.unwrap(), Outcome::Conflict);
        assert_eq!(store.get(&key("c")).await.unwrap().as_deref(), Some(&b"1"[..]));
        assert_eq!(store.get(&key("d")).await.unwrap(), None);
    }
    let compare = vec![is("c", Some("1")), is("d", None)];
    assert_eq!(store.commit(compare, both).await.unwrap(), Outcome::Committed);
    assert_eq!(store.get(&key("d")).await.unwrap().as_deref(), Some(&b"2"[..]));
}

async fn ranges_are_in_order(store: &impl Store) {
    let names = ["r/1", "r/10", "r/2", "r0", "q/9"];
    store.commit(vec![], names.iter().map(|name| put(name, name)).collect()).await.unwrap();
    let stretch = |limit, reverse| Range { start: key("r/"), end: key("r0"), limit, reverse };
    let read = async |range: Range| -> Vec<String> {
        let entries = store.range(&range).await.unwrap();
        entries.into_iter().map(|(key, _)| String::from_utf8(key.0).unwrap()).collect()
    };
    assert_eq!(read(stretch(9, false)).await, ["r/1", "r/10", "r/2"]);
    assert_eq!(read(stretch(2, false)).await, ["r/1", "r/10"]);
    assert_eq!(read(stretch(2, true)).await, ["r/2", "r/10"]);
    assert!(read(stretch(0, false)).await.is_empty());
    let backwards = Range { start: key("r0"), end: key("r/"), limit: 9, reverse: false };
    assert!(read(backwards).await.is_empty());
}

/// Twenty read the same and write on condition of it: exactly one may.
async fn one_of_many_wins(store: &impl Store) {
    store.commit(vec![], vec![put("w", "start")]).await.unwrap();
    let tries = (0..20).map(|index| {
        let mine = format!("{index}");
        store.commit(vec![is("w", Some("start"))], vec![put("w", &mine)])
    });
    let outcomes = futures::future::join_all(tries).await;
    let won = outcomes.into_iter().filter(|outcome| *outcome.as_ref().unwrap() == Outcome::Committed).count();
    assert_eq!(won, 1);
}

async fn watches_tell(store: &impl Store) {
    let mut watch = store.watch(b"x/");
    store.commit(vec![], vec![put("y/1", "1")]).await.unwrap();
    store.commit(vec![is("x/1", Some("no"))], vec![put("x/1", "1")]).await.unwrap();
    store.commit(vec![], vec![put("x/2", "1"), put("y/2", "1"), Op::Delete(key("x/3"))]).await.unwrap();
    assert_eq!(watch.next().await, Some(WatchEvent::Changed(vec![key("x/2"), key("x/3")])));
    for index in 0..super::WATCH_BACKLOG_MAX + 1 {
        store.commit(vec![], vec![put("x/n", &index.to_string())]).await.unwrap();
    }
    assert_eq!(watch.next().await, Some(WatchEvent::Missed));
    assert!(matches!(watch.next().await, Some(WatchEvent::Changed(_))));
}
