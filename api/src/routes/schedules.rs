//! Schedules: jobs that are submitted at intervals, or by the clocks of a time zone.

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use http::StatusCode;
use http::header::LOCATION;
use millrace_shared::db::schedules as rows;
use millrace_shared::ids::ScheduleId;
use millrace_shared::intake;
use millrace_shared::schedules::{self, ChangeError, CreateError};
use millrace_shared::wire::{self as shapes, Job, Payload, Schedule};

use crate::envelope::TraceContext;
use crate::error::ApiError;
use crate::extract::{self, Path, Query, Submitter};
use crate::state::AppState;
use crate::wire::{List, NewSchedule, PageParams, ScheduleChange, page_request};

/// Make a schedule.
///
/// Its jobs are submitted at an interval (`every`), the first one interval from now, or by a cron expression on the clocks of a time zone.
/// The answer's `upcoming` tells the next ticks, so that it can be seen whether it was understood.
#[utoipa::path(
    post, path = "/v1/schedules", tag = "Schedules", operation_id = "createSchedule", request_body = NewSchedule,
    responses(
        (status = 201, description = "The schedule", body = Schedule),
        (status = 409, description = "The organisation has as many as it may have (`too_many_schedules`)"),
        (status = 422, description = "A field is wrong"),
    ),
)]
pub(super) async fn create(
    State(state): State<AppState>,
    Submitter(caller): Submitter,
    extract::Json(body): extract::Json<NewSchedule>,
) -> Result<(StatusCode, Json<Schedule>), ApiError> {
    let terms = (state.kinds(), &state.limits().schedules);
    let mut transaction = state.database().begin().await?;
    let row = schedules::create(&mut transaction, caller.org, body.into(), terms).await?;
    transaction.commit().await?;
    Ok((StatusCode::CREATED, Json(Schedule::of(row, Payload::Shown))))
}

/// List schedules.
///
/// Newest first, without their payloads.
#[utoipa::path(
    get, path = "/v1/schedules", tag = "Schedules", operation_id = "listSchedules", params(PageParams),
    responses((status = 200, description = "A page of schedules", body = List<Schedule>)),
)]
pub(super) async fn list(
    State(state): State<AppState>,
    Submitter(caller): Submitter,
    Query(params): Query<PageParams>,
) -> Result<Json<List<Schedule>>, ApiError> {
    let page = page_request(params.cursor, params.limit);
    let before = page.after.map(|cursor| ScheduleId(cursor.id()));
    let mut connection = state.database().acquire().await?;
    let found = rows::list(&mut connection, Some(caller.org), before, page.fetch_limit()).await?;
    Ok(Json(List::of(page.page(found, |row| row.id.0), |row| Schedule::of(row, Payload::LeftOut))))
}

/// Read a schedule.
#[utoipa::path(
    get, path = "/v1/schedules/{id}", tag = "Schedules", operation_id = "getSchedule",
    params(("id" = uuid::Uuid, Path, description = "The schedule")),
    responses((status = 200, description = "The schedule", body = Schedule), (status = 404, description = "No such schedule")),
)]
pub(super) async fn get(
    State(state): State<AppState>,
    Submitter(caller): Submitter,
    Path(id): Path<ScheduleId>,
) -> Result<Json<Schedule>, ApiError> {
    let mut connection = state.database().acquire().await?;
    let row = rows::get(&mut connection, caller.org, id).await?.ok_or(NO_SUCH_SCHEDULE)?;
    Ok(Json(Schedule::of(row, Payload::Shown)))
}

/// Change a schedule.
///
/// Pauses it, lets it go on, or changes what it does and when. What is left out stays. Another timing begins now; what would have ticked during
/// a pause is not caught up.
#[utoipa::path(
    patch, path = "/v1/schedules/{id}", tag = "Schedules", operation_id = "changeSchedule", request_body = ScheduleChange,
    params(("id" = uuid::Uuid, Path, description = "The schedule")),
    responses(
        (status = 200, description = "The schedule", body = Schedule),
        (status = 404, description = "No such schedule"),
        (status = 422, description = "A field is wrong"),
    ),
)]
pub(super) async fn change(
    State(state): State<AppState>,
    Submitter(caller): Submitter,
    Path(id): Path<ScheduleId>,
    extract::Json(body): extract::Json<ScheduleChange>,
) -> Result<Json<Schedule>, ApiError> {
    let terms = (state.kinds(), &state.limits().schedules);
    let mut transaction = state.database().begin().await?;
    let row = schedules::change(&mut transaction, (caller.org, id), body.into(), terms).await?;
    transaction.commit().await?;
    Ok(Json(Schedule::of(row, Payload::Shown)))
}

/// Delete a schedule.
///
/// Jobs that it has submitted go on.
#[utoipa::path(
    delete, path = "/v1/schedules/{id}", tag = "Schedules", operation_id = "deleteSchedule",
    params(("id" = uuid::Uuid, Path, description = "The schedule")),
    responses((status = 204, description = "It is gone"), (status = 404, description = "No such schedule")),
)]
pub(super) async fn delete(
    State(state): State<AppState>,
    Submitter(caller): Submitter,
    Path(id): Path<ScheduleId>,
) -> Result<StatusCode, ApiError> {
    let mut connection = state.database().acquire().await?;
    if rows::delete(&mut connection, caller.org, id).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(NO_SUCH_SCHEDULE)
    }
}

/// Run a schedule now.
///
/// Submits its job out of turn, also while it is paused. Its next tick stays where it is. While its job before has not ended, that one is
/// given back, unless the schedule is not `unique`.
#[utoipa::path(
    post, path = "/v1/schedules/{id}/run", tag = "Schedules", operation_id = "runSchedule",
    params(("id" = uuid::Uuid, Path, description = "The schedule")),
    responses(
        (status = 202, description = "The job", body = Job, headers(("location" = String, description = "Where to read it"))),
        (status = 404, description = "No such schedule"),
        (status = 422, description = "Its kind does not take its payload any more"),
    ),
)]
pub(super) async fn run(
    State(state): State<AppState>,
    Submitter(caller): Submitter,
    Extension(trace): Extension<TraceContext>,
    Path(id): Path<ScheduleId>,
) -> Result<Response, ApiError> {
    let mut transaction = state.database().begin().await?;
    let accepted = schedules::run_now(&mut transaction, (caller.org, id), state.kinds(), Some(trace.0)).await?;
    let accepted = accepted.ok_or(NO_SUCH_SCHEDULE)?;
    transaction.commit().await?;
    intake::publish(state.queues(), std::slice::from_ref(&accepted)).await;
    let job = shapes::accepted(accepted.into_row());
    let location = format!("/v1/jobs/{}", job.id);
    Ok((StatusCode::ACCEPTED, [(LOCATION, location)], Json(job)).into_response())
}

const NO_SUCH_SCHEDULE: ApiError = ApiError::NotFound("schedule");

impl From<CreateError> for ApiError {
    fn from(error: CreateError) -> Self {
        match error {
            CreateError::Invalid(fields) => Self::Invalid(fields),
            CreateError::TooMany(_) => Self::Conflict { code: "too_many_schedules", detail: error.to_string() },
            CreateError::Database(error) => error.into(),
        }
    }
}

impl From<ChangeError> for ApiError {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::NotFound => NO_SUCH_SCHEDULE,
            ChangeError::Invalid(fields) => Self::Invalid(fields),
            ChangeError::Database(error) => error.into(),
        }
    }
}
