//! `ctl container events` and `ctl events`: what happens on a host, line by line.

use std::process::ExitCode;

use proto::v1;
use proto::v1::events_client::EventsClient;
use proto::v1::follow_events_response::Message;

use super::filter::{self, Filter};
use crate::cli::Global;
use crate::error::CommandError;
use crate::moment;
use crate::output::rows::{self, EventRow};
use crate::output::shape::{self, Shape};
use crate::output::{self, Format};

/// Show what happens, as it happens
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Also what has happened since: how long ago (10m), a time, or seconds since 1970
    #[arg(long, value_name = "WHEN", value_parser = moment::when)]
    since: Option<u64>,
    /// End at this time, which may have passed
    #[arg(long, value_name = "WHEN", value_parser = moment::when)]
    until: Option<u64>,
    /// Only these: container, daemon, event, image, label, network, scope, type, volume (KEY=VALUE)
    #[arg(long, short = 'f', value_name = "KEY=VALUE", value_parser = filter::parse)]
    filter: Vec<Filter>,
    /// json, or a template with Docker's names, such as '{{.Type}} {{.Action}} {{.Actor.Attributes.name}}'
    #[arg(long, value_name = "FORMAT", value_parser = shape::shape)]
    format: Option<Shape>,
}

fn line(shape: &Shape, event: v1::Event) -> Result<String, CommandError> {
    match shape {
        Shape::Lines(template) | Shape::Columns(template) => shape::filled(template, &rows::event(&event)),
        Shape::Plain(Format::Json) => Ok(serde_json::to_string(&EventRow::from(event)).unwrap_or_default()),
        Shape::Plain(Format::Table) => Ok(EventRow::from(event).to_string()),
    }
}

/// Prints events until the end that was asked for, or until Ctrl-C; of `subject` only, if given.
///
/// # Errors
/// When the agent can't be asked or a filter makes no sense.
pub(super) async fn run(
    global: &Global,
    args: Args,
    subject: Option<&str>,
) -> Result<ExitCode, CommandError> {
    let mut agent = EventsClient::new(crate::cmd::host(global).await?);
    let shape = args.format.unwrap_or(Shape::Plain(global.output));
    let mut filters: Vec<v1::Filter> = args.filter.into_iter().map(Into::into).collect();
    if let Some(subject) = subject {
        filters.push(v1::Filter { key: "type".to_owned(), value: subject.to_owned() });
    }
    let request = v1::FollowEventsRequest { since_ns: args.since, until_ns: args.until, filters };
    let mut events = agent.follow_events(request).await?.into_inner();
    // Listened to all the time: one that comes while a line is printed counts too.
    let mut interrupted = std::pin::pin!(tokio::signal::ctrl_c());
    loop {
        let next = tokio::select! {
            next = events.message() => next?,
            _ = &mut interrupted => return Ok(ExitCode::SUCCESS),
        };
        let Some(answer) = next else { return Ok(ExitCode::SUCCESS) };
        match answer.message {
            Some(Message::Event(event)) => {
                let text = line(&shape, event)?;
                if output::bytes(format!("{text}\n").as_bytes(), false).is_err() {
                    return Ok(ExitCode::from(output::READER_GONE));
                }
            }
            Some(Message::Missed(count)) => output::note(&format!("{count} events are lost here")),
            None => {}
        }
    }
}
