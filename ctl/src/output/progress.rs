//! What a person sees while waiting: a bar that fills on a terminal, a line per
//! change elsewhere. All of it goes to stderr.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// Progress of one thing that is counted.
#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    shown: bool,
    last: String,
}

impl Progress {
    /// Starts to show progress of `what`.
    pub fn start(what: &str) -> Self {
        let shown = std::io::stderr().is_terminal();
        let bar = if shown { ProgressBar::new(1) } else { ProgressBar::hidden() };
        if let Ok(style) =
            ProgressStyle::with_template("{spinner} {prefix} [{bar:24}] {pos}/{len} {wide_msg}")
        {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_prefix(what.to_owned());
        bar.enable_steady_tick(Duration::from_millis(120));
        Self { bar, shown, last: String::new() }
    }

    /// Shows how far it is; `message` says what it waits for.
    pub fn set(&mut self, position: u64, total: u64, message: &str) {
        self.bar.set_length(total.max(1));
        self.bar.set_position(position);
        self.bar.set_message(message.to_owned());
        if self.shown {
            return;
        }
        let text = format!("{}: {position}/{total} {message}", self.bar.prefix());
        let text = text.trim_end().to_owned();
        if text != self.last {
            super::note(&text);
            self.last = text;
        }
    }

    /// Ends the display; the last line of it stays where there is a terminal.
    pub fn finish(self) {
        if self.shown {
            self.bar.abandon();
        }
    }

    /// Removes the display: an error message follows.
    pub fn clear(self) {
        self.bar.finish_and_clear();
    }
}
