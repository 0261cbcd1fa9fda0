//! Taking in documents by their URL.
//!
//! The API judges the address as far as that goes without asking anybody, notes it and answers: it never connects to another service.
//! A worker fetches it, and judges every hop and every IP address then. The address may hold a secret, so that it is not logged.

use axum::extract::FromRequest as _;
use axum::extract::Request;
use axum::response::Response;
use http::StatusCode;
use millrace_shared::db::assets::{self, NewByUrl};
use millrace_shared::fetch::SourceUrl;
use millrace_shared::ids::{AssetId, OrgId};
use millrace_shared::intake::{self, IntakeError};
use millrace_shared::jobs::{AssetProcess, Fetch, JobPayload as _, JobRequest, NewJob, OnConflict};
use millrace_shared::label;
use millrace_shared::ledger::Accepted;
use serde::Deserialize;
use utoipa::ToSchema;

use super::upload::{Seen, answer, gone};
use crate::error::ApiError;
use crate::extract::Json;
use crate::state::AppState;

/// A document by its URL.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({ "url": "https://example.org/reports/water-levels.pdf", "name": "Water levels.pdf" }))]
pub(super) struct AssetByUrl {
    /// Where it is: `http` or `https`, at a public address, without a user name or a password.
    #[schema(format = "uri", max_length = 2048)]
    url: String,
    /// What to call it. Otherwise its server says, or the end of the URL.
    name: Option<String>,
}

/// Takes in the document that a body of JSON names.
pub(super) async fn take(state: &AppState, org: OrgId, trace: String, request: Request) -> Result<Response, ApiError> {
    // The route is one of uploads, which have time limits of their own; this body is small.
    let patience = state.limits().request_timeout;
    let read = tokio::time::timeout(patience, Json::<AssetByUrl>::from_request(request, state)).await;
    let Json(body) = read.map_err(|_| ApiError::Timeout(patience))??;
    let url = SourceUrl::parse(&body.url, state.fetch_rules())
        .map_err(|refusal| ApiError::invalid("url", refusal.to_string()))?;
    let name = match &body.name {
        None => url.label(),
        Some(name) => label::of_file(name).ok_or_else(|| ApiError::invalid("name", "is empty; leave it out"))?,
    };
    let source = Source { org, url, name, trace };
    if let Some(response) = source.insert(state).await? {
        return Ok(response);
    }
    source.again(state).await
}

/// A document that is to be fetched.
struct Source {
    org: OrgId,
    url: SourceUrl,
    name: String,
    trace: String,
}

impl Source {
    fn job(&self, state: &AppState, asset_id: AssetId, fetch: Fetch) -> Result<NewJob, ApiError> {
        let payload = serde_json::to_value(AssetProcess { asset_id, fetch }).map_err(ApiError::internal)?;
        let request = vec![JobRequest::new(AssetProcess::KIND, payload)];
        let jobs = intake::check(state.kinds(), request, &self.trace, |_| String::new()).map_err(ApiError::Invalid)?;
        jobs.into_iter().next().ok_or_else(|| ApiError::internal("a checked request gave no job"))
    }

    /// A new asset with its job; `None` if the organisation has this address already.
    async fn insert(&self, state: &AppState) -> Result<Option<Response>, ApiError> {
        let id = AssetId::new();
        let job = self.job(state, id, Fetch::IfMissing)?;
        let mut transaction = state.database().begin().await?;
        let new = NewByUrl { id, org: self.org, name: &self.name, source_url: &self.url, job: job.id };
        let Some(asset) = assets::insert_by_url(&mut transaction, &new).await? else { return Ok(None) };
        let accepted = intake::accept(&mut transaction, self.org, &[job], |_| String::new()).await?;
        transaction.commit().await?;
        intake::publish(state.queues(), &accepted).await;
        Ok(Some(answer(StatusCode::ACCEPTED, asset, accepted.first().map(Accepted::row).cloned(), Seen::First)))
    }

    /// Has the asset of this address fetched once more. A job that waits does it; behind one that runs, and may have fetched already,
    /// another one is queued.
    async fn again(&self, state: &AppState) -> Result<Response, ApiError> {
        let mut transaction = state.database().begin().await?;
        let known = assets::find_by_url(&mut transaction, self.org, &self.url).await?.ok_or_else(gone)?;
        let job = NewJob { on_conflict: OnConflict::Replace, ..self.job(state, known.id, Fetch::IfChanged)? };
        let accepted = intake::accept(&mut transaction, self.org, &[job], |_| String::new()).await;
        let accepted = accepted.map_err(|error| match error {
            IntakeError::Invalid(_) => gone(),
            IntakeError::Database(error) => error.into(),
        })?;
        let asset = assets::get(&mut transaction, self.org, known.id).await?.ok_or_else(gone)?;
        transaction.commit().await?;
        intake::publish(state.queues(), &accepted).await;
        Ok(answer(StatusCode::ACCEPTED, asset, accepted.first().map(Accepted::row).cloned(), Seen::Before))
    }
}
