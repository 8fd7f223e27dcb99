//! Tasks: read only, because only the cluster makes and ends them.

use std::sync::Arc;

use controller_core::{ServiceId, State, Task};
use proto::v1;

use super::{node, service};
use crate::convert;
use crate::error::ApiError;
use crate::server::Context;

pub(super) fn list(
    context: &Context,
    request: &v1::ListTasksRequest,
) -> Result<v1::ListTasksResponse, ApiError> {
    let state = context.store.state();
    let of_service = match request.service.as_str() {
        "" => None,
        name => Some(service_id(&state, name)?),
    };
    let on_node = match request.node.as_str() {
        "" => None,
        name => Some(node::find(&state, name)?.id),
    };
    let here = |task: &&Arc<Task>| on_node.is_none_or(|node| task.node == Some(node));
    let render = |task: &Arc<Task>| convert::task(&state, task);
    let tasks = match (of_service, on_node) {
        (Some(service), _) => state.tasks_of_service(&service).filter(here).map(render).collect(),
        (None, Some(node)) => state.tasks_on_node(&node).map(render).collect(),
        (None, None) => state.tasks().map(render).collect(),
    };
    Ok(v1::ListTasksResponse { tasks })
}

/// The id of a service; of a removed one too, as long as it has tasks.
pub(super) fn service_id(state: &State, name: &str) -> Result<ServiceId, ApiError> {
    match service::find(state, name) {
        Ok(service) => Ok(service.id),
        Err(error) => {
            let removed = name.parse().ok().filter(|id| state.tasks_of_service(id).next().is_some());
            removed.ok_or(error)
        }
    }
}
