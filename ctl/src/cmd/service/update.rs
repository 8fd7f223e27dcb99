//! `ctl service update`.

use std::process::ExitCode;
use std::time::Duration;

use proto::v1::{GetServiceRequest, PublishedPort, ServiceSpec, UpdateServiceRequest};

use super::converge::{self, Change};
use super::spec;
use crate::cli::Global;
use crate::cmd::logging::Logging;
use crate::error::{CommandError, Kind};
use crate::output;

/// Change a service; its tasks are replaced one by one
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Use this image
    #[arg(long)]
    image: Option<String>,
    /// Set the number of tasks
    #[arg(long, value_parser = super::create::replicas, allow_negative_numbers = true)]
    replicas: Option<u32>,
    /// Set or replace a variable: NAME=VALUE
    #[arg(long, value_name = "VARIABLE", value_parser = spec::env)]
    env_add: Vec<String>,
    /// Remove a variable
    #[arg(long, value_name = "NAME")]
    env_rm: Vec<String>,
    /// Publish one more port: PUBLISHED:TARGET[/udp]
    #[arg(long, value_name = "PORTS", value_parser = spec::port)]
    publish_add: Vec<PublishedPort>,
    /// No longer publish this port
    #[arg(long, value_name = "PUBLISHED")]
    publish_rm: Vec<u32>,
    /// Use these arguments, separated by spaces
    #[arg(long, value_name = "ARGUMENTS", allow_hyphen_values = true)]
    args: Option<String>,
    /// New limits of each task.
    #[command(flatten)]
    limits: spec::Limits,
    /// What of their output is kept; another driver begins without options.
    #[command(flatten)]
    logging: Logging,
    /// Tasks replaced at a time
    #[arg(long, value_name = "COUNT")]
    update_parallelism: Option<u32>,
    /// Do not wait for the tasks
    #[arg(long, short = 'd')]
    detach: bool,
    /// Give up waiting after this many seconds
    #[arg(long, default_value_t = 600, value_name = "SECONDS")]
    timeout: u64,
    /// Name or id of the service
    service: String,
}

/// Updates the service and waits.
///
/// # Errors
/// When it is refused, or the update fails and is rolled back.
pub(super) async fn run(global: &Global, args: Args) -> Result<ExitCode, CommandError> {
    let mut control = crate::cmd::control(global).await?;
    let request = GetServiceRequest { service: args.service.clone() };
    let service = control.get_service(request).await?.into_inner().service.unwrap_or_default();
    let mut wanted = service.spec.unwrap_or_default();
    change(&mut wanted, &args);
    let name = wanted.name.clone();
    let request = UpdateServiceRequest { service: service.id, version: service.version, spec: Some(wanted) };
    let updated = control.update_service(request).await?.into_inner().service.unwrap_or_default();
    if !args.detach {
        let timeout = Duration::from_secs(args.timeout);
        let waited = converge::wait(&mut control, &name, &Change::of(&updated), timeout).await;
        let waited = waited.map_err(|error| {
            let next = format!("what runs now:  ctl service ps {name}");
            if error.kind == Kind::NotConverged { error.hint(next) } else { error }
        })?;
        if !waited {
            return Ok(ExitCode::SUCCESS);
        }
    }
    output::line(&name);
    Ok(ExitCode::SUCCESS)
}

fn change(spec: &mut ServiceSpec, args: &Args) {
    if let Some(replicas) = args.replicas {
        spec.replicas = replicas;
    }
    spec.ports.retain(|port| !args.publish_rm.contains(&port.published));
    spec.ports.extend(args.publish_add.iter().copied());
    if let Some(parallelism) = args.update_parallelism {
        spec.update.get_or_insert_default().parallelism = parallelism;
    }
    let container = spec.container.get_or_insert_default();
    if let Some(image) = &args.image {
        container.image.clone_from(image);
    }
    if let Some(arguments) = &args.args {
        container.command = arguments.split_whitespace().map(str::to_owned).collect();
    }
    args.logging.clone().change(&mut container.logging);
    let name_of = |variable: &str| variable.split('=').next().unwrap_or(variable).to_owned();
    let replaced: Vec<String> = args.env_add.iter().map(|variable| name_of(variable)).collect();
    container.env.retain(|variable| {
        let name = name_of(variable);
        !args.env_rm.contains(&name) && !replaced.contains(&name)
    });
    container.env.extend(args.env_add.iter().cloned());
    let limits = container.limits.get_or_insert_default();
    limits.memory_bytes = args.limits.memory.unwrap_or(limits.memory_bytes);
    limits.nano_cpus = args.limits.cpus.unwrap_or(limits.nano_cpus);
    limits.pids = args.limits.pids_limit.unwrap_or(limits.pids);
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use proto::v1::ContainerSpec;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn changed(line: &[&str], mut spec: ServiceSpec) -> ServiceSpec {
        let line = Line::parse_from([&["update"], line, &["web"]].concat());
        change(&mut spec, &line.args);
        spec
    }

    #[test]
    fn only_what_was_named_changes() {
        let container =
            ContainerSpec { image: "a".into(), env: vec!["A=1".into(), "B=2".into()], ..Default::default() };
        let before = ServiceSpec { replicas: 3, container: Some(container), ..Default::default() };
        let after = changed(&["--env-add", "A=9", "--env-rm", "B", "--env-add", "C=3"], before);
        let container = after.container.expect("container");
        assert_eq!((after.replicas, container.image.as_str()), (3, "a"));
        assert_eq!(container.env, ["A=9", "C=3"]);
    }

    #[test]
    fn ports_are_added_and_removed_by_their_published_side() {
        let port = |published| PublishedPort { published, target: 80, ..Default::default() };
        let before = ServiceSpec { ports: vec![port(1), port(2)], ..Default::default() };
        let after = changed(&["--publish-rm", "1", "--publish-add", "3:80"], before);
        assert_eq!(after.ports.iter().map(|port| port.published).collect::<Vec<_>>(), [2, 3]);
    }
}
