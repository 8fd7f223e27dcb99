//! Asks for the names that a shell may offer.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgMatches, CommandFactory};
use clap_complete::engine::CompletionCandidate;
use proto::v1::volumes_client::VolumesClient;
use proto::v1::{
    Container, ListContainersRequest, ListImagesRequest, ListNodesRequest, ListServicesRequest,
    ListVolumesRequest,
};

use crate::cli::{Cli, Global};
use crate::cmd;
use crate::error::CommandError;
use crate::output::Format;
use crate::output::rows::{short, short_image};

/// Nobody waits longer for what he could type himself.
const LIMIT: Duration = Duration::from_millis(500);

/// What has names.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    Container(Which),
    Image,
    Volume,
    Service,
    Node,
}

/// Which containers a command makes sense for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    All,
    Running,
    Paused,
    Resting,
}

impl Which {
    /// Of the command that is called so.
    pub(super) fn of(command: &str) -> Which {
        match command {
            "attach" | "exec" | "kill" | "pause" | "port" | "stats" | "stop" | "top" => Which::Running,
            "start" => Which::Resting,
            "unpause" => Which::Paused,
            _ => Which::All,
        }
    }

    fn admits(self, container: &Container) -> bool {
        match (self, container.state.as_str()) {
            (Which::All, _) | (Which::Paused | Which::Running, "paused") => true,
            (Which::Running, state) => state == "running",
            (Which::Paused, _) => false,
            (Which::Resting, state) => matches!(state, "created" | "exited"),
        }
    }
}

/// A name and what a shell may say about it.
type Named = (String, String);

/// The names that begin with what was typed.
pub(super) fn of(kind: Kind, typed: &OsStr) -> Vec<CompletionCandidate> {
    let Some(typed) = typed.to_str() else { return Vec::new() };
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return Vec::new();
    };
    let global = global();
    let asked = runtime.block_on(async { tokio::time::timeout(LIMIT, ask(kind, &global, typed)).await });
    runtime.shutdown_background();
    let names = asked.ok().and_then(Result::ok).unwrap_or_default();
    let shown = names.into_iter().filter(|(name, _)| name.starts_with(typed));
    shown.map(|(name, about)| CompletionCandidate::new(name).help(Some(about.into()))).collect()
}

async fn ask(kind: Kind, global: &Global, typed: &str) -> Result<Vec<Named>, CommandError> {
    match kind {
        Kind::Container(which) => {
            let request = ListContainersRequest { all: true, ..ListContainersRequest::default() };
            let all = cmd::agent(global).await?.list_containers(request).await?.into_inner().containers;
            let those: Vec<&Container> = all.iter().filter(|container| which.admits(container)).collect();
            let about =
                |container: &Container| format!("{}, {}", short_image(&container.image), container.state);
            let by_name = those.iter().map(|container| (container.name.clone(), about(container)));
            let names: Vec<Named> = by_name.filter(|(name, _)| name.starts_with(typed)).collect();
            if !names.is_empty() {
                return Ok(names);
            }
            Ok(those.iter().map(|container| (short(&container.id), container.name.clone())).collect())
        }
        Kind::Image => {
            let request = ListImagesRequest::default();
            let images = cmd::agent(global).await?.list_images(request).await?.into_inner().images;
            let names = images.into_iter().flat_map(|image| image.names);
            Ok(names.map(|name| (short_image(&name), String::new())).collect())
        }
        Kind::Volume => {
            let mut client = VolumesClient::new(cmd::host(global).await?);
            let volumes = client.list_volumes(ListVolumesRequest {}).await?.into_inner().volumes;
            Ok(volumes.into_iter().map(|volume| (volume.name, volume.containers.join(", "))).collect())
        }
        Kind::Service => {
            let request = ListServicesRequest::default();
            let services = cmd::control(global).await?.list_services(request).await?.into_inner().services;
            let named = |spec: proto::v1::ServiceSpec| {
                let image = spec.container.map(|container| short_image(&container.image));
                (spec.name, image.unwrap_or_default())
            };
            Ok(services.into_iter().filter_map(|service| service.spec).map(named).collect())
        }
        Kind::Node => {
            let nodes =
                cmd::control(global).await?.list_nodes(ListNodesRequest::default()).await?.into_inner().nodes;
            Ok(nodes.into_iter().map(|node| (node.name, node.address)).collect())
        }
    }
}

/// The options that stand on the line that is completed and say whom to ask.
fn global() -> Global {
    let typed = std::env::args_os().skip_while(|word| word != "--").skip(1);
    let matches = Cli::command().ignore_errors(true).try_get_matches_from(typed).unwrap_or_default();
    let mut global = Global { context: None, agent_socket: None, output: Format::Table, node: None };
    let mut level = Some(&matches);
    while let Some(matches) = level {
        fn given<T: Clone + Send + Sync + 'static>(matches: &ArgMatches, name: &str) -> Option<T> {
            matches.try_get_one::<T>(name).ok().flatten().cloned()
        }
        global.context = given::<String>(matches, "context").or(global.context);
        global.agent_socket = given::<PathBuf>(matches, "agent_socket").or(global.agent_socket);
        global.node = given::<String>(matches, "node").or(global.node);
        level = matches.subcommand().map(|(_, below)| below);
    }
    global
}
