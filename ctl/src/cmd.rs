//! One file per command: its arguments, its help text, and what it does.

pub mod cluster;
pub mod completion;
pub mod container;
pub mod dev;
pub mod image;
pub mod info;
mod lines;
pub mod logging;
pub mod login;
pub mod node;
pub mod service;
pub mod system;
pub mod volume;

use std::process::ExitCode;

use crate::cli::{Cli, Command, Global, Short};
use crate::client;
use crate::context::{self, Config};
use crate::error::CommandError;

/// Performs the command.
///
/// # Errors
/// Whatever it says to the user.
pub async fn run(cli: Cli) -> Result<ExitCode, CommandError> {
    let mut global = cli.global;
    match cli.command {
        Command::Dev(args) => dev::run(args).await,
        Command::Service(command) => service::run(&global, command).await,
        Command::Node(command) => node::run(&global, command).await,
        Command::Cluster(command) => cluster::run(&global, command).await,
        Command::Container(group) => container::run(group.scope(&mut global), group.command).await,
        Command::Image(group) => image::run(group.scope(&mut global), group.command).await,
        Command::Volume(group) => volume::run(group.scope(&mut global), group.command).await,
        Command::System(group) => system::run(group.scope(&mut global), group.command).await,
        Command::Images(short) => image::run(short.scope(&mut global), image::Command::Ls(short.args)).await,
        Command::Pull(short) => image::run(short.scope(&mut global), image::Command::Pull(short.args)).await,
        Command::Rmi(short) => image::run(short.scope(&mut global), image::Command::Rm(short.args)).await,
        Command::Run(short) => {
            let short: Short<_> = *short;
            container::run(short.scope(&mut global), container::Command::Run(Box::new(short.args))).await
        }
        Command::Exec(short) => {
            let short: Short<_> = *short;
            container::run(short.scope(&mut global), container::Command::Exec(Box::new(short.args))).await
        }
        Command::Ps(short) => {
            container::run(short.scope(&mut global), container::Command::Ls(short.args)).await
        }
        Command::Logs(short) => {
            container::run(short.scope(&mut global), container::Command::Logs(short.args)).await
        }
        Command::Events(short) => container::all_events(short.scope(&mut global), short.args).await,
        Command::Info(short) => info::run(short.scope(&mut global), short.args).await,
        Command::Push(short) => image::run(short.scope(&mut global), image::Command::Push(short.args)).await,
        Command::Login(short) => login::login(short.scope(&mut global), short.args).await,
        Command::Logout(args) => login::logout(args).await,
        Command::Completion(args) => completion::run(&args),
    }
}

/// A client of the selected context's cluster.
pub(crate) async fn control(global: &Global) -> Result<client::Control, CommandError> {
    let config = Config::load(&context::path()?)?;
    client::control(config.select(global.context.as_deref())?).await
}

/// The agent of this host, or of the node that was asked for.
pub(crate) async fn host(global: &Global) -> Result<client::Host, CommandError> {
    if let Some(node) = &global.node {
        let config = Config::load(&context::path()?)?;
        return client::node(config.select(global.context.as_deref())?, node).await;
    }
    let socket = match &global.agent_socket {
        Some(socket) => socket.clone(),
        None => Config::load(&context::path()?)?.agent(global.context.as_deref())?,
    };
    client::agent(&socket).await
}

/// A client for the containers and images of [`host`].
pub(crate) async fn agent(global: &Global) -> Result<client::Node, CommandError> {
    host(global).await.map(client::Node::new)
}
