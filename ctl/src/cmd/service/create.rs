//! `ctl service create`.

use std::process::ExitCode;
use std::time::Duration;

use proto::v1::{
    ContainerSpec, CreateServiceRequest, GetServiceRequest, PublishedPort, RemoveServiceRequest, Resources,
    Service, ServiceSpec, UpdatePolicy,
};

use super::converge::{self, Change};
use super::spec;
use crate::cli::Global;
use crate::client::Control;
use crate::cmd::logging::Logging;
use crate::error::{CommandError, Kind};
use crate::output;

/// Create a service and wait until its tasks run
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The name: lower-case letters, digits and "-"
    #[arg(long)]
    name: String,
    /// How many tasks to run
    #[arg(long, default_value_t = 1, allow_negative_numbers = true, value_parser = replicas)]
    replicas: u32,
    /// Publish a port on every node that runs a task: PUBLISHED:TARGET[/udp]
    #[arg(long, short = 'p', value_name = "PORTS", value_parser = spec::port)]
    publish: Vec<PublishedPort>,
    /// Set a variable: NAME=VALUE
    #[arg(long, short = 'e', value_name = "VARIABLE", value_parser = spec::env)]
    env: Vec<String>,
    /// Run as this user: UID[:GID] or a name of the image
    #[arg(long, short = 'u', default_value = "", hide_default_value = true)]
    user: String,
    /// Start in this directory
    #[arg(long, short = 'w', default_value = "", hide_default_value = true)]
    workdir: String,
    /// Label of the service: KEY=VALUE
    #[arg(long, short = 'l', value_name = "LABEL", value_parser = spec::label)]
    label: Vec<(String, String)>,
    /// Limits of each task.
    #[command(flatten)]
    limits: spec::Limits,
    /// Memory that must be free on a node for each task
    #[arg(long, value_name = "SIZE", value_parser = spec::size)]
    reserve_memory: Option<u64>,
    /// CPU that must be free on a node for each task, in cores
    #[arg(long, value_name = "CORES", value_parser = spec::cpus)]
    reserve_cpu: Option<u64>,
    /// What of their output is kept.
    #[command(flatten)]
    logging: Logging,
    /// Place tasks only where this holds: node.hostname==n1, node.labels.zone!=a
    #[arg(long, value_name = "EXPRESSION")]
    constraint: Vec<String>,
    /// Tasks replaced at a time by an update
    #[arg(long, default_value_t = 1, value_name = "COUNT")]
    update_parallelism: u32,
    /// Seconds between asking a task to stop and killing it
    #[arg(long, default_value_t = 10, value_name = "SECONDS")]
    stop_grace_period: u32,
    /// Do not wait for the tasks
    #[arg(long, short = 'd')]
    detach: bool,
    /// Give up waiting after this many seconds
    #[arg(long, default_value_t = 300, value_name = "SECONDS")]
    timeout: u64,
    /// The image
    image: String,
    /// Arguments, instead of the image's own
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

/// Reads a number of replicas; a negative one is named as such.
pub(super) fn replicas(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| match text.parse::<i64>() {
        Ok(number) if number < 0 => "replicas cannot be below 0".to_owned(),
        _ => format!("{text:?} is no number of replicas"),
    })
}

/// Creates the service, waits, and takes it back when it can't run.
///
/// # Errors
/// When it is refused or does not come to run.
pub(super) async fn run(global: &Global, args: Args) -> Result<ExitCode, CommandError> {
    let mut control = crate::cmd::control(global).await?;
    let (detach, timeout) = (args.detach, Duration::from_secs(args.timeout));
    let wanted = spec_of(args);
    let name = wanted.name.clone();
    let made = control.create_service(CreateServiceRequest { spec: Some(wanted) }).await?.into_inner();
    let service = made.service.unwrap_or_default();
    if !detach {
        settle(&mut control, &name, &service, timeout).await?;
    }
    output::line(&service.id);
    Ok(ExitCode::SUCCESS)
}

async fn settle(
    control: &mut Control,
    name: &str,
    service: &Service,
    timeout: Duration,
) -> Result<(), CommandError> {
    match converge::wait(control, name, &Change::of(service), timeout).await {
        Err(error) if error.kind == Kind::NotConverged => {
            Err(take_back(control, name, &service.id, error).await)
        }
        other => other.map(drop),
    }
}

/// A service that never came to run is removed again: nothing half-made stays.
async fn take_back(control: &mut Control, name: &str, id: &str, error: CommandError) -> CommandError {
    let request = RemoveServiceRequest { service: id.to_owned() };
    match control.remove_service(request).await {
        Ok(_) => error
            .hint("the service was removed again; mend the cause and repeat the command")
            .hint("with --detach it stays and is retried with growing pauses"),
        Err(status) => error
            .hint(format!("and it could not be removed again: {}", status.message()))
            .hint(format!("remove it yourself:  ctl service rm {name}")),
    }
}

fn spec_of(args: Args) -> ServiceSpec {
    let reservations = Resources {
        nano_cpus: args.reserve_cpu.unwrap_or(0),
        memory_bytes: args.reserve_memory.unwrap_or(0),
        pids: 0,
    };
    let container = ContainerSpec {
        image: args.image,
        command: args.command,
        env: args.env,
        user: args.user,
        working_dir: args.workdir,
        stop_grace_seconds: args.stop_grace_period,
        limits: Some(args.limits.to_resources()),
        reservations: Some(reservations),
        placement_constraints: args.constraint,
        logging: args.logging.asked(),
        ..ContainerSpec::default()
    };
    ServiceSpec {
        name: args.name,
        labels: args.label.into_iter().collect(),
        replicas: args.replicas,
        container: Some(container),
        ports: args.publish,
        update: Some(UpdatePolicy { parallelism: args.update_parallelism, ..UpdatePolicy::default() }),
    }
}

/// Makes sure that the demo service of `ctl dev --demo` runs.
///
/// # Errors
/// When it can't be created or does not come to run.
pub async fn start_demo(control: &mut Control, port: u32) -> Result<(), CommandError> {
    let name = "hello";
    let known = control.get_service(GetServiceRequest { service: name.into() }).await;
    let change = match known {
        Ok(_) => Change { since_ms: output::time::now_ms(), spec: None },
        Err(_) => {
            let container = ContainerSpec { image: "roadstead/hello".into(), ..ContainerSpec::default() };
            let wanted = ServiceSpec {
                name: name.into(),
                replicas: 3,
                container: Some(container),
                ports: vec![PublishedPort { published: port, target: 80, ..PublishedPort::default() }],
                ..ServiceSpec::default()
            };
            let made =
                control.create_service(CreateServiceRequest { spec: Some(wanted) }).await?.into_inner();
            Change::of(&made.service.unwrap_or_default())
        }
    };
    converge::wait(control, name, &change, Duration::from_secs(60)).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn negative_replicas_are_named_as_such() {
        assert_eq!(replicas("-1"), Err("replicas cannot be below 0".into()));
        assert_eq!(replicas("3"), Ok(3));
        assert!(replicas("many").is_err());
    }
}
