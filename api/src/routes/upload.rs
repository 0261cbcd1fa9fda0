//! Taking in documents.
//!
//! The file streams to the object store while it is hashed; memory stays flat. Its type is told from its first bytes. A file of a type
//! that nobody can read is taken in all the same: its asset becomes `failed`, with the type, where its owner will look for it. The name
//! is a label and nothing else. A body of JSON names a document by its URL instead: see [`super::by_url`].

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::extract::multipart::{Field, Multipart, MultipartError};
use axum::extract::{FromRequest as _, Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use bytes::BytesMut;
use http::header::LOCATION;
use http::{HeaderValue, StatusCode};
use millrace_shared::db::asset_parts;
use millrace_shared::db::assets::{self, AssetState, NewAsset};
use millrace_shared::db::jobs::{self, JobRow};
use millrace_shared::db::stray_objects::{self, TO_BE_NAMED_WITHIN};
use millrace_shared::ids::{AssetId, OrgId};
use millrace_shared::intake::{self, IntakeError};
use millrace_shared::jobs::{AssetProcess, JobPayload as _, JobRequest, NewJob};
use millrace_shared::label;
use millrace_shared::ledger::Accepted;
use millrace_shared::media::{self, MediaType};
use millrace_shared::storage::{ObjectKey, Received, Upload};
use utoipa::ToSchema;

use super::by_url::{self, AssetByUrl};
use crate::envelope::TraceContext;
use crate::error::ApiError;
use crate::extract::{Submitter, is_json, media_type};
use crate::paced::{Paced, Progress};
use crate::state::AppState;
use crate::wire::{Asset, Uploaded};

const FIELD: &str = "file";
/// How often the key of an upload that takes long is noted anew.
const RENEWED_EVERY: Duration = Duration::from_secs(600);
/// How often a document is looked for that comes and goes while its bytes are taken in.
const TRIES: usize = 5;

/// The form of an upload.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it describes the form; the handler reads it as a stream")]
pub(super) struct UploadForm {
    /// The document. Its file name becomes the asset's name; its content type is ignored.
    #[schema(value_type = String, format = Binary)]
    file: Vec<u8>,
}

/// Upload a document.
///
/// As a file in a form, or by its URL as JSON.
///
/// PDF, DOCX, PPTX, XLSX, XLS, ODT, ODS, ODP, EPUB, RTF, HTML, Markdown, CSV, plain text, mail (EML, MSG) or a ZIP, told from its bytes.
/// Attachments and members that can be read become assets of their own: `GET /v1/assets/{id}/parts`.
///
/// A file of any other type is taken too; its asset becomes `failed` with `unsupported_media_type` and the type that was found.
/// The same bytes twice in one organisation are one asset: the second upload answers 200 with the first one's, and a failed one is
/// processed again.
///
/// A URL is fetched by a worker, from public addresses only; the job ends when the text is there. The same URL twice in one organisation is
/// one asset: it is fetched again and processed again if it has changed. Its `media_type`, `size_bytes` and `sha256` are null until then.
#[utoipa::path(
    post, path = "/v1/assets", tag = "Assets", operation_id = "uploadAsset",
    request_body(content((UploadForm = "multipart/form-data"), (AssetByUrl = "application/json"))),
    responses(
        (status = 202, description = "It is stored, or noted, and will be processed", body = Uploaded, headers(("location" = String, description = "The asset"))),
        (status = 200, description = "The organisation has these bytes already", body = Uploaded),
        (status = 413, description = "It is larger than `MILLRACE_MAX_UPLOAD_BYTES`"),
        (status = 415, description = "The body is neither a multipart form nor JSON"),
        (status = 422, description = "There must be exactly one field `file`, and it must not be empty; or a `url` that may be fetched"),
    ),
)]
pub(super) async fn upload(
    State(state): State<AppState>,
    Submitter(caller): Submitter,
    Extension(trace): Extension<TraceContext>,
    request: Request,
) -> Result<Response, ApiError> {
    if is_json(request.headers()) {
        return by_url::take(&state, caller.org, trace.0, request).await;
    }
    let mut form = Form::open(request, state.limits().request_timeout).await?;
    let id = AssetId::new();
    let key = ObjectKey::asset(caller.org, id);
    let noted = Noted { state: &state, org: caller.org, key: &key };
    noted.note(TO_BE_NAMED_WITHIN).await?;
    let mut upload = state.storage().upload(&key, state.limits().upload_bytes);
    let received = tokio::select! {
        received = form.receive(&mut upload) => received,
        never = noted.renew() => match never {},
    };
    let file = match received {
        Ok(file) => file,
        Err(error) => {
            noted.discard(Some(upload)).await;
            return Err(error);
        }
    };
    let document =
        Document { org: caller.org, id, key: key.clone(), file, received: upload.received(), trace: trace.0 };
    document.record(&noted, upload).await
}

/// The key of an upload on its way, which is noted in `stray_objects` before its first byte is stored, and taken out by the transaction that makes
/// an asset of it. Whatever dies before that, a worker deletes what was stored.
struct Noted<'a> {
    state: &'a AppState,
    org: OrgId,
    key: &'a ObjectKey,
}

impl Noted<'_> {
    async fn note(&self, wait: Duration) -> sqlx::Result<()> {
        let mut connection = self.state.database().acquire().await?;
        stray_objects::note(&mut connection, self.org, std::slice::from_ref(self.key), wait).await
    }

    /// Keeps the key from becoming due while bytes come in, however slowly.
    async fn renew(&self) -> Infallible {
        loop {
            tokio::time::sleep(RENEWED_EVERY).await;
            if let Err(error) = self.note(TO_BE_NAMED_WITHIN).await {
                tracing::debug!(
                    error = &error as &dyn std::error::Error,
                    "the key of a long upload could not be noted again"
                );
            }
        }
    }

    /// Throws away what was stored, or is being stored, under the key.
    async fn discard(&self, upload: Option<Upload>) {
        if let Some(upload) = upload
            && let Err(error) = upload.abort().await
        {
            tracing::warn!(error = &error as &dyn std::error::Error, "an unfinished upload could not be thrown away");
        }
        if let Err(error) = self.note(Duration::ZERO).await {
            tracing::debug!(error = &error as &dyn std::error::Error, "what is left of an upload is swept later");
        }
    }
}

/// What the form told of the file.
struct File {
    name: String,
    media_type: MediaType,
}

/// The multipart form, read piece by piece.
struct Form {
    multipart: Multipart,
    progress: Progress,
    patience: Duration,
}

impl Form {
    async fn open(request: Request, patience: Duration) -> Result<Self, ApiError> {
        if media_type(request.headers()).as_deref() != Some("multipart/form-data") {
            return Err(ApiError::UnsupportedMediaType("multipart/form-data or application/json"));
        }
        let progress = Progress::default();
        let request = request.map(|body| Body::from_stream(Paced::new(body, progress.clone())));
        let multipart = Multipart::from_request(request, &())
            .await
            .map_err(|_| ApiError::Malformed("the content type names no valid boundary".into()))?;
        Ok(Self { multipart, progress, patience })
    }

    /// Reads the whole form; its one file goes to `upload`.
    async fn receive(&mut self, upload: &mut Upload) -> Result<File, ApiError> {
        let mut file = None;
        loop {
            let next = tokio::time::timeout(self.patience, self.multipart.next_field()).await;
            let Some(field) = next.map_err(|_| ApiError::Timeout(self.patience))?.map_err(|error| malformed(&error))?
            else {
                break;
            };
            match (field.name(), &file) {
                (Some(FIELD), None) => file = Some(self::receive(field, upload, &self.progress, self.patience).await?),
                (Some(FIELD), Some(_)) => {
                    return Err(ApiError::invalid(FIELD, "must be sent once; upload files one by one"));
                }
                (name, _) => {
                    let name: String = name.unwrap_or("(no name)").chars().take(100).collect();
                    return Err(ApiError::invalid(name, "is not a field of this form; send one field called `file`"));
                }
            }
        }
        file.ok_or_else(|| ApiError::invalid(FIELD, "is required: a multipart field called `file` with the document"))
    }
}

fn malformed(error: &MultipartError) -> ApiError {
    ApiError::Malformed(format!("the multipart form cannot be read: {}", error.body_text()).into())
}

async fn receive(
    mut field: Field<'_>,
    upload: &mut Upload,
    progress: &Progress,
    patience: Duration,
) -> Result<File, ApiError> {
    let name = label::of_file(field.file_name().unwrap_or_default()).unwrap_or_else(|| "unnamed".to_owned());
    let mut head = BytesMut::new();
    let mut media_type = None;
    loop {
        let piece = tokio::time::timeout(patience, field.chunk()).await;
        let Some(piece) = piece.map_err(|_| ApiError::Timeout(patience))?.map_err(|error| malformed(&error))? else {
            break;
        };
        progress.made();
        if media_type.is_none() {
            let missing = media::HEAD_BYTES - head.len();
            head.extend_from_slice(&piece[..piece.len().min(missing)]);
            if head.len() == media::HEAD_BYTES {
                media_type = Some(media::detect(&head));
            }
        }
        upload.write(piece).await?;
    }
    if head.is_empty() {
        return Err(ApiError::invalid(FIELD, "is empty"));
    }
    Ok(File { name, media_type: media_type.unwrap_or_else(|| media::detect(&head)) })
}

/// A document that was received, on its way into the ledger.
struct Document {
    org: OrgId,
    id: AssetId,
    key: ObjectKey,
    file: File,
    received: Received,
    trace: String,
}

impl Document {
    /// Makes it an asset, unless there is one with these bytes. Such a one may come or go at any moment.
    async fn record(&self, noted: &Noted<'_>, upload: Upload) -> Result<Response, ApiError> {
        let state = noted.state;
        let mut upload = Some(upload);
        for _ in 0..TRIES {
            if let Some(known) = self.known(state).await?
                && let Some(response) = self.again(state, known).await?
            {
                noted.discard(upload).await;
                return Ok(response);
            }
            if let Some(upload) = upload.take() {
                upload.finish().await?;
            }
            if let Some(response) = self.insert(state).await? {
                return Ok(response);
            }
        }
        noted.discard(upload).await;
        Err(gone())
    }

    async fn known(&self, state: &AppState) -> Result<Option<assets::Asset>, ApiError> {
        let mut connection = state.database().acquire().await?;
        Ok(assets::find_by_content(&mut connection, self.org, &self.received.sha256).await?)
    }

    fn job(&self, state: &AppState, asset_id: AssetId) -> Result<NewJob, ApiError> {
        let payload = serde_json::to_value(AssetProcess::new(asset_id)).map_err(ApiError::internal)?;
        let request = vec![JobRequest::new(AssetProcess::KIND, payload)];
        let jobs = intake::check(state.kinds(), request, &self.trace, |_| String::new()).map_err(ApiError::Invalid)?;
        jobs.into_iter().next().ok_or_else(|| ApiError::internal("a checked request gave no job"))
    }

    /// A new asset with its job; `None` if the organisation has got these bytes in the meantime.
    async fn insert(&self, state: &AppState) -> Result<Option<Response>, ApiError> {
        let job = self.job(state, self.id)?;
        let mut transaction = state.database().begin().await?;
        // The row comes first: whoever loses the race for the bytes must not have taken anything else.
        let new = NewAsset {
            id: self.id,
            org: self.org,
            name: &self.file.name,
            media_type: self.file.media_type.as_str(),
            size_bytes: i64::try_from(self.received.size_bytes).map_err(ApiError::internal)?,
            sha256: self.received.sha256,
            storage_key: &self.key,
            job: job.id,
        };
        let Some(asset) = assets::insert(&mut transaction, &new).await? else { return Ok(None) };
        if !stray_objects::adopt(&mut transaction, self.org, std::slice::from_ref(&self.key)).await? {
            // The database was away for as long as a key may wait, and what was stored is swept.
            return Err(ApiError::Unavailable("the object store", None));
        }
        let accepted = intake::accept(&mut transaction, self.org, &[job], |_| String::new()).await?;
        transaction.commit().await?;
        intake::publish(state.queues(), &accepted).await;
        Ok(Some(answer(StatusCode::ACCEPTED, asset, accepted.first().map(Accepted::row).cloned(), Seen::First)))
    }

    /// The asset that has these bytes; processed again if it had failed. `None` if it is deleted by now.
    async fn again(&self, state: &AppState, known: assets::Asset) -> Result<Option<Response>, ApiError> {
        let mut connection = state.database().acquire().await?;
        if !asset_parts::mark_uploaded(&mut connection, self.org, known.id).await? {
            return Ok(None);
        }
        if known.state != AssetState::Failed {
            let job = jobs::find(&mut connection, self.org, known.job_id).await?;
            return Ok(Some(answer(StatusCode::OK, known, job, Seen::Before)));
        }
        drop(connection);
        let job = self.job(state, known.id)?;
        let mut transaction = state.database().begin().await?;
        let accepted = match intake::accept(&mut transaction, self.org, &[job], |_| String::new()).await {
            Err(IntakeError::Invalid(_)) => return Ok(None),
            accepted => accepted?,
        };
        let Some(asset) = assets::get(&mut transaction, self.org, known.id).await? else { return Ok(None) };
        transaction.commit().await?;
        intake::publish(state.queues(), &accepted).await;
        let job = accepted.first().map(Accepted::row).cloned();
        Ok(Some(answer(StatusCode::ACCEPTED, asset, job, Seen::Before)))
    }
}

/// The same document was deleted while it was taken in again.
pub(super) fn gone() -> ApiError {
    ApiError::Conflict {
        code: "asset_deleted",
        detail: "the same document was deleted at the same moment; send it again".to_owned(),
    }
}

/// Whether the organisation had the document already.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Seen {
    First,
    Before,
}

pub(super) fn answer(status: StatusCode, asset: assets::Asset, job: Option<JobRow>, seen: Seen) -> Response {
    let location = HeaderValue::try_from(format!("/v1/assets/{}", asset.id));
    let body = Uploaded {
        asset: Asset::from(asset),
        job: job.map(millrace_shared::wire::accepted),
        duplicate: seen == Seen::Before,
    };
    let mut response = (status, Json(body)).into_response();
    if let Ok(location) = location {
        response.headers_mut().insert(LOCATION, location);
    }
    response
}
