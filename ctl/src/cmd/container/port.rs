//! `ctl container port`.

use std::process::ExitCode;

use proto::v1::{InspectContainerRequest, Protocol, PublishedPort};

use crate::cli::Global;
use crate::error::{CommandError, Kind};
use crate::output::{self, rows::PortRow};

/// Show which ports of the host lead to a container
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name or id of the container
    container: String,
    /// Only those that lead to this port of it: PORT[/udp]
    #[arg(value_parser = target)]
    port: Option<(u32, Protocol)>,
}

fn target(text: &str) -> Result<(u32, Protocol), String> {
    let (number, protocol) = match text.split_once('/') {
        None | Some((_, "tcp")) => (text.trim_end_matches("/tcp"), Protocol::Tcp),
        Some((number, "udp")) => (number, Protocol::Udp),
        Some((_, other)) => return Err(format!("protocol {other:?} is neither tcp nor udp")),
    };
    match number.parse::<u16>() {
        Ok(number) if number > 0 => Ok((number.into(), protocol)),
        _ => Err(format!("{text:?} is no port; expected PORT[/udp]")),
    }
}

/// Lists them, or only what leads to one port.
///
/// # Errors
/// When there is no such container, or nothing leads to the port.
pub(super) async fn run(global: &Global, args: Args) -> Result<ExitCode, CommandError> {
    let mut agent = crate::cmd::agent(global).await?;
    let request = InspectContainerRequest { container: args.container, size: false };
    let found = agent.inspect_container(request).await?.into_inner().container.unwrap_or_default();
    let runs = matches!(found.state.as_str(), "running" | "paused");
    let wanted = |port: &&PublishedPort| match args.port {
        Some((target, protocol)) => {
            port.target == target && (port.protocol() == Protocol::Udp) == (protocol == Protocol::Udp)
        }
        None => true,
    };
    let rows: Vec<PortRow> = found.ports.iter().filter(|_| runs).filter(wanted).map(PortRow::from).collect();
    if let Some((target, protocol)) = args.port
        && rows.is_empty()
    {
        let protocol = if protocol == Protocol::Udp { "udp" } else { "tcp" };
        let message =
            format!("no port of the host leads to port {target}/{protocol} of container {}", found.name);
        return Err(CommandError::new(Kind::NotFound, message));
    }
    match global.output {
        output::Format::Json => output::json(&rows),
        output::Format::Table => {
            for row in &rows {
                output::line(&if args.port.is_some() { row.host() } else { row.to_string() });
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_a_number_and_perhaps_a_protocol() {
        assert_eq!(target("80"), Ok((80, Protocol::Tcp)));
        assert_eq!(target("53/udp"), Ok((53, Protocol::Udp)));
        for text in ["", "0", "x", "80/sctp", "70000"] {
            assert!(target(text).is_err(), "{text}");
        }
    }
}
