//! `ctl container cp`: between this machine and a container, running or not. `-` is an archive on standard input or
//! output. What comes out of a container belongs to the caller, what goes in to the container's root, unless
//! `--archive` keeps the owners.

mod inward;
mod outward;
mod rules;

use std::ffi::OsString;
use std::io::IsTerminal;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::process::ExitCode;

use indicatif::{ProgressBar, ProgressStyle};
use proto::v1::container_files_client::ContainerFilesClient;

use crate::archive::Copied;
use crate::cli::Global;
use crate::client::Host;
use crate::error::{CommandError, Kind};
use crate::output::{self, rows};

pub(super) use outward::{pass_on, refuse_terminal};

type Files = ContainerFilesClient<Host>;

/// Copy files between a container and this machine
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Keep owners and groups
    #[arg(long, short = 'a')]
    archive: bool,
    /// Copy what a link at SOURCE leads to, not the link
    #[arg(long, short = 'L')]
    follow_link: bool,
    /// Say nothing when it succeeds
    #[arg(long, short = 'q')]
    quiet: bool,
    /// CONTAINER:PATH, a path of this machine, or - for an archive on standard input
    source: OsString,
    /// CONTAINER:PATH, a path of this machine, or - for an archive on standard output
    destination: OsString,
}

/// One end of a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
enum End {
    Container(String, Vec<u8>),
    Local(PathBuf),
    Stream,
}

/// How it is copied.
#[derive(Debug, Clone, Copy)]
struct Options {
    keep_owners: bool,
    follow: bool,
}

impl End {
    /// `CONTAINER:PATH`; a path with a colon is written with `./` or `/` before it.
    fn parse(text: &OsString) -> Result<End, CommandError> {
        let bytes = text.as_bytes();
        if bytes == b"-" {
            return Ok(End::Stream);
        }
        let colon = bytes.iter().position(|byte| *byte == b':');
        let is_path = bytes.starts_with(b"/") || bytes.starts_with(b".");
        let Some(colon) = colon.filter(|_| !is_path) else { return Ok(End::Local(PathBuf::from(text))) };
        let (container, path) = bytes.split_at(colon);
        let usage = |reason: &str| CommandError::new(Kind::Usage, format!("{}: {reason}", text.display()));
        let container =
            std::str::from_utf8(container).map_err(|_| usage("that can't be the name of a container"))?;
        match path.get(1..).unwrap_or_default() {
            _ if container.is_empty() => Err(usage("the container's name is missing before the colon")),
            [] => Err(usage("the path is missing after the colon; / is the container's root")),
            path => Ok(End::Container(container.to_owned(), path.to_vec())),
        }
    }
}

/// Copies.
///
/// # Errors
/// With what could not be copied, and what was before.
pub(super) async fn run(global: &Global, args: Args) -> Result<ExitCode, CommandError> {
    let (source, destination) = (End::parse(&args.source)?, End::parse(&args.destination)?);
    let options = Options { keep_owners: args.archive, follow: args.follow_link };
    let usage = |text: &str| Err(CommandError::new(Kind::Usage, text.to_owned()));
    let mut files = Files::new(crate::cmd::host(global).await?);
    let meter = Meter::start(!args.quiet && destination != End::Stream);
    let copied = match (&source, &destination) {
        (End::Container(container, path), End::Local(to)) => {
            outward::to_path(&mut files, container, path, to, options, &meter).await
        }
        (End::Container(container, path), End::Stream) => {
            outward::to_stdout(&mut files, container, path, options).await
        }
        (End::Local(from), End::Container(container, path)) => {
            inward::from_path(&mut files, from, container, path, options, &meter).await
        }
        (End::Stream, End::Container(container, path)) => {
            inward::from_stdin(&mut files, container, path, options, &meter).await
        }
        (End::Container(..), End::Container(..)) => {
            return usage(
                "files are copied between a container and this machine, not between two containers",
            );
        }
        _ => return usage("one of the two must be CONTAINER:PATH"),
    };
    meter.clear();
    let copied = copied?;
    copied.notes.iter().for_each(|note| output::note(note));
    if !args.quiet && destination != End::Stream {
        let entries = if copied.entries == 1 { "1 entry" } else { &format!("{} entries", copied.entries) };
        output::note(&format!(
            "copied {entries}, {}, to {}",
            rows::bytes(copied.bytes),
            args.destination.display()
        ));
    }
    Ok(ExitCode::SUCCESS)
}

/// What a person sees while it is copied: how much so far, on a terminal only.
#[derive(Debug, Clone)]
struct Meter(ProgressBar);

impl Meter {
    fn start(wanted: bool) -> Self {
        if !wanted || !std::io::stderr().is_terminal() {
            return Self(ProgressBar::hidden());
        }
        let bar = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{spinner} copied {bytes} ({bytes_per_sec})") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(std::time::Duration::from_millis(120));
        Self(bar)
    }

    fn add(&self, bytes: usize) {
        self.0.inc(bytes as u64);
    }

    fn clear(&self) {
        self.0.finish_and_clear();
    }
}

/// What the agent says it copied.
fn counted(copied: Option<proto::v1::Copied>) -> Copied {
    let copied = copied.unwrap_or_default();
    Copied { entries: copied.entries, bytes: copied.bytes, notes: copied.notes }
}

/// A path of this machine as bytes.
fn bytes_of(path: &std::path::Path) -> Vec<u8> {
    path.as_os_str().as_bytes().to_vec()
}

/// Bytes as a path of this machine.
fn path_of(bytes: Vec<u8>) -> PathBuf {
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_colon_tells_a_container_from_a_path() {
        let end = |text: &str| End::parse(&OsString::from(text));
        assert_eq!(end("web:/etc").unwrap(), End::Container("web".into(), b"/etc".to_vec()));
        assert_eq!(end("web:a:b").unwrap(), End::Container("web".into(), b"a:b".to_vec()));
        for local in ["./web:etc", "/a:b", "file", "../x:y"] {
            assert_eq!(end(local).unwrap(), End::Local(local.into()));
        }
        assert_eq!(end("-").unwrap(), End::Stream);
        assert!(end("web:").is_err() && end(":/etc").is_err());
    }
}
