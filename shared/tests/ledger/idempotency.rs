//! Requests are answered once.

use millrace_shared::{
    db::idempotency::{self, RETENTION, Seen},
    ids::OrgId,
};
use serde_json::json;

use crate::{concurrency::until_waiting, support::*};

#[tokio::test]
async fn the_same_request_gets_the_first_answer_and_another_one_is_told_apart() {
    let db = Db::new().await;
    let org = OrgId::new();
    let mut connection = db.connection().await;
    assert_eq!(idempotency::claim(&mut connection, org, "key", b"digest").await.unwrap(), Seen::New);
    idempotency::answer(&mut connection, org, "key", &json!({ "id": 1 })).await.unwrap();
    let again = idempotency::claim(&mut connection, org, "key", b"digest").await.unwrap();
    assert_eq!(again, Seen::Answered(json!({ "id": 1 })));
    assert_eq!(idempotency::claim(&mut connection, org, "key", b"other").await.unwrap(), Seen::OtherRequest);
    assert_eq!(idempotency::claim(&mut connection, OrgId::new(), "key", b"other").await.unwrap(), Seen::New);
}

#[tokio::test]
async fn a_request_that_comes_while_the_first_is_answered_waits_for_its_answer() {
    let db = Db::new().await;
    let org = OrgId::new();
    for first_fails in [false, true] {
        let key = format!("key-{first_fails}");
        let mut first = db.pool.begin().await.unwrap();
        assert_eq!(idempotency::claim(&mut first, org, &key, b"digest").await.unwrap(), Seen::New);
        let second = tokio::spawn({
            let (pool, key) = (db.pool.clone(), key.clone());
            async move { idempotency::claim(&mut pool.acquire().await.unwrap(), org, &key, b"digest").await.unwrap() }
        });
        until_waiting(&db, 1).await;
        if first_fails {
            first.rollback().await.unwrap();
            assert_eq!(second.await.unwrap(), Seen::New, "it is the first now");
        } else {
            idempotency::answer(&mut first, org, &key, &json!("done")).await.unwrap();
            first.commit().await.unwrap();
            assert_eq!(second.await.unwrap(), Seen::Answered(json!("done")));
        }
    }
}

#[tokio::test]
async fn old_answers_are_forgotten_a_bounded_number_at_a_time() {
    let db = Db::new().await;
    let org = OrgId::new();
    let mut connection = db.connection().await;
    for n in 0..5 {
        idempotency::claim(&mut connection, org, &n.to_string(), b"digest").await.unwrap();
    }

    sqlx::query(
        "UPDATE idempotency_keys SET created_at = now() - $1 * interval '1 second' WHERE idempotency_key <> '4'",
    )
    .bind((RETENTION + SECOND).as_secs_f64())
    .execute(&db.pool)
    .await
    .unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(idempotency::forget_old(&mut connection, 3).await.unwrap(), 3);
    assert_eq!(idempotency::forget_old(&mut connection, 3).await.unwrap(), 1);
    assert_eq!(idempotency::forget_old(&mut connection, 3).await.unwrap(), 0);
    assert_eq!(idempotency::claim(&mut connection, org, "4", b"other").await.unwrap(), Seen::OtherRequest);
}
