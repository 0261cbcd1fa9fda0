//! Bytes that nobody names are deleted, whoever dies before that; and what is answered for is there.

use std::time::Duration;

use anyhow::{Context as _, Result};
use millrace_harness::{Stack, Until};
use millrace_tests::{Ledger, short_lease, until};

use super::parts::{mail, stored};
use super::uploads::{begin_upload, files_in_storage};

const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn an_upload_that_crosses_a_deletion_is_a_document_of_its_own() -> Result<()> {
    let stack = Stack::builder().workers(0).start().await?;
    let ledger = Ledger::open(stack.database_url())?;
    let client = stack.client().clone();
    let first = client.upload("a.txt", "The same words.").await?.expect(202)?;
    let id = first["asset"]["id"].as_str().context("no id")?.parse::<uuid::Uuid>()?;

    let mut deletion = ledger.pool().begin().await?;
    sqlx::query("DELETE FROM assets WHERE id = $1").bind(id).execute(&mut *deletion).await?;
    let uploader = client.clone();
    let upload = tokio::spawn(async move { uploader.upload("b.txt", "The same words.").await });
    until("the upload waits for the deletion", PATIENCE, async || ledger.somebody_waits().await).await?;
    deletion.commit().await?;

    let second = upload.await??.expect(202)?;
    assert_eq!(second["duplicate"], false);
    assert_ne!(second["asset"]["id"], first["asset"]["id"]);
    let path = format!("/v1/assets/{}", second["asset"]["id"].as_str().context("no id")?);
    assert_eq!(client.get(&path).await?.expect(200)?["name"], "b.txt");
    stack.drain().await
}

#[tokio::test]
async fn what_a_killed_api_has_stored_of_an_upload_is_swept() -> Result<()> {
    let mut stack = Stack::builder().start().await?;
    let ledger = Ledger::open(stack.database_url())?;
    let kept = stack.client().upload("kept.txt", "What was uploaded before.").await?.expect(202)?;

    let begun = begin_upload(&stack, 20 << 20, 15 << 20).await?;
    until("the upload has reached the storage", PATIENCE, async || Ok(files_in_storage(&stack) == 2)).await?;
    stack.api.kill().await?;
    drop(begun);
    assert_eq!(files_in_storage(&stack), 2, "who died cleans up nothing");
    assert_eq!(ledger.hurry_strays().await?, 1);
    until("the beginning of the upload is swept", PATIENCE, async || Ok(files_in_storage(&stack) == 1)).await?;

    // Now it dies when the object is whole and the row is not there.
    stack.api.start_again(Until::Ready).await?;
    let mut holder = ledger.pool().begin().await?;
    sqlx::query("LOCK TABLE assets IN EXCLUSIVE MODE").execute(&mut *holder).await?;
    let client = stack.client().clone();
    let upload = tokio::spawn(async move { client.upload("lost.txt", "What nobody was told of.").await });
    until("the object is stored", PATIENCE, async || Ok(stored(&stack).len() == 2)).await?;
    stack.api.kill().await?;
    assert!(upload.await?.is_err(), "nobody was told that it is there");
    holder.rollback().await?;
    until("the object is swept", PATIENCE, async || {
        ledger.hurry_strays().await?;
        Ok(stored(&stack).len() == 1)
    })
    .await?;

    stack.api.start_again(Until::Ready).await?;
    let kept = kept["job"]["id"].as_str().context("no job")?;
    assert_eq!(stack.client().wait_job(kept, PATIENCE).await?["state"], "succeeded");
    stack.drain().await
}

/// The worker is killed when the parts are stored and the rows are not, and the job never comes to its end.
#[tokio::test]
async fn parts_of_a_document_whose_job_was_cancelled_are_swept() -> Result<()> {
    let mut stack = short_lease(Stack::builder()).start().await?;
    let ledger = Ledger::open(stack.database_url())?;
    let client = stack.client().clone();
    let mut holder = ledger.pool().begin().await?;
    sqlx::query("LOCK TABLE asset_texts IN ACCESS EXCLUSIVE MODE").execute(&mut *holder).await?;
    let content = mail("m", &[("a.txt", "First words."), ("b.txt", "Second words.")]);
    let uploaded = client.upload("m.eml", content).await?.expect(202)?;
    until("both parts are stored", PATIENCE, async || Ok(stored(&stack).len() == 3)).await?;
    stack.workers[0].kill().await?;
    holder.rollback().await?;
    let job = format!("/v1/jobs/{}/cancel", uploaded["job"]["id"].as_str().context("no job")?);
    assert_eq!(client.post_empty(&job).await?.expect(200)?["state"], "cancelled");
    stack.workers[0].start_again(Until::Ready).await?;
    assert_eq!(ledger.hurry_strays().await?, 2);
    until("the parts are swept", PATIENCE, async || Ok(stored(&stack).len() == 1)).await?;
    stack.drain().await
}

#[tokio::test]
async fn an_object_that_cannot_be_deleted_holds_up_no_other() -> Result<()> {
    let mut stack = Stack::builder().workers(0).start().await?;
    let ledger = Ledger::open(stack.database_url())?;
    let directory = stack.dir().join("storage/assets/org");
    // The store can delete no directory that has something in it.
    std::fs::create_dir_all(directory.join("stuck"))?;
    std::fs::write(directory.join("stuck/file"), "")?;
    let note = "INSERT INTO stray_objects (storage_key, org_id, due_at)
                SELECT 'assets/org/' || name, gen_random_uuid(), now() - $2 * interval '1 hour' FROM UNNEST($1::text[]) AS name";
    sqlx::query(note).bind(vec!["stuck"]).bind(2).execute(ledger.pool()).await?;
    let names: Vec<String> = (0..120).map(|number| number.to_string()).collect();
    for name in &names {
        std::fs::write(directory.join(name), "")?;
    }
    sqlx::query(note).bind(&names).bind(1).execute(ledger.pool()).await?;
    stack.add_worker().await?;
    until("all others are swept", PATIENCE, async || Ok(stored(&stack).len() == 1)).await?;
    let left = "SELECT storage_key, failures > 0 AND due_at > now() FROM stray_objects";
    until("the one that is left waits", PATIENCE, async || {
        let left: Vec<(String, bool)> = sqlx::query_as(left).fetch_all(ledger.pool()).await?;
        Ok(left == [("assets/org/stuck".to_owned(), true)])
    })
    .await?;
    std::fs::remove_dir_all(directory.join("stuck"))?;
    until("it goes when it can", PATIENCE, async || Ok(ledger.hurry_strays().await? == 0)).await?;
    assert!(stored(&stack).is_empty());
    stack.drain().await
}
