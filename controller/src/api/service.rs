//! Services: what a person writes is checked, proposed, and read back once it is committed.

use controller_core::{Command, Service, ServiceId, State};
use proto::v1;

use crate::convert;
use crate::error::ApiError;
use crate::leader::clock;
use crate::server::Context;
use crate::telemetry::current_traceparent;

pub(super) async fn create(
    context: &Context,
    request: v1::CreateServiceRequest,
) -> Result<v1::CreateServiceResponse, ApiError> {
    let spec = convert::service_spec(request.spec)?;
    let id = context.ids.service();
    let command = Command::CreateService { id, spec, trace: current_traceparent(), at: clock() };
    context.store.propose_checked(command).await?;
    Ok(v1::CreateServiceResponse { service: Some(read(context, &id)?) })
}

pub(super) async fn update(
    context: &Context,
    request: v1::UpdateServiceRequest,
) -> Result<v1::UpdateServiceResponse, ApiError> {
    let id = find(&context.store.state(), &request.service)?.id;
    let spec = convert::service_spec(request.spec)?;
    let trace = current_traceparent();
    let command = Command::UpdateService { id, version: request.version, spec, trace, at: clock() };
    context.store.propose_checked(command).await?;
    Ok(v1::UpdateServiceResponse { service: Some(read(context, &id)?) })
}

pub(super) async fn remove(
    context: &Context,
    request: &v1::RemoveServiceRequest,
) -> Result<v1::RemoveServiceResponse, ApiError> {
    let id = find(&context.store.state(), &request.service)?.id;
    context.store.propose_checked(Command::RemoveService { id, at: clock() }).await?;
    Ok(v1::RemoveServiceResponse {})
}

pub(super) fn get(
    context: &Context,
    request: &v1::GetServiceRequest,
) -> Result<v1::GetServiceResponse, ApiError> {
    let state = context.store.state();
    let service = find(&state, &request.service)?;
    Ok(v1::GetServiceResponse { service: Some(convert::service(&state, service)) })
}

pub(super) fn list(context: &Context) -> v1::ListServicesResponse {
    let state = context.store.state();
    let mut services: Vec<_> = state.services().map(|service| convert::service(&state, service)).collect();
    let name = |service: &v1::Service| service.spec.as_ref().map(|spec| spec.name.clone());
    services.sort_by_key(name);
    v1::ListServicesResponse { services }
}

/// A service by name or id.
pub(super) fn find<'a>(state: &'a State, name: &str) -> Result<&'a Service, ApiError> {
    let by_id = || name.parse().ok().and_then(|id| state.service(&id));
    let service = state.service_by_name(name).or_else(by_id);
    service.map(AsRef::as_ref).ok_or_else(|| ApiError::not_found("service", name))
}

/// What was just written; it is gone when somebody removed it in this very moment.
fn read(context: &Context, id: &ServiceId) -> Result<v1::Service, ApiError> {
    let state = context.store.state();
    let service = state.service(id).ok_or_else(|| ApiError::not_found("service", id.as_str()))?;
    Ok(convert::service(&state, service))
}
