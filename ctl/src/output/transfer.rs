//! What a person sees while an image is pulled or pushed: on a terminal a bar for each layer, elsewhere a line when
//! something changes, and now and then one that says how far it is. All of it goes to stderr.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{HumanBytes, MultiProgress, ProgressBar, ProgressStyle};
use proto::v1::TransferPhase as Phase;

/// Between two lines about the same layer while nothing but its bytes change.
const SILENCE: Duration = Duration::from_secs(10);
/// Digits of a digest that tell layers apart for people.
const DIGITS: usize = 12;

/// The layers of one transfer.
#[derive(Debug)]
pub struct Transfers {
    /// "fetching" or "sending".
    verb: &'static str,
    /// Lines wait until a bar that fills has been drawn, so all go through here.
    bars: MultiProgress,
    layers: Vec<Layer>,
    terminal: bool,
}

#[derive(Debug)]
struct Layer {
    digest: String,
    bar: ProgressBar,
    phase: Phase,
    said: Instant,
}

impl Transfers {
    /// Starts to show a transfer; `verb` says what happens to bytes, `title` is the first line.
    pub fn start(verb: &'static str, title: &str) -> Self {
        super::note(title);
        let terminal = std::io::stderr().is_terminal();
        Self { verb, bars: MultiProgress::new(), layers: Vec::new(), terminal }
    }

    /// Something that is not about one layer.
    pub fn note(&self, text: &str) {
        if self.terminal {
            // A terminal that has gone away needs no notes.
            let _ = self.bars.println(text);
        } else {
            super::note(text);
        }
    }

    /// Shows where a layer is; `detail` goes with some phases.
    pub fn layer(&mut self, digest: &str, phase: Phase, bytes: u64, total: u64, detail: &str) {
        if digest.is_empty() {
            return;
        }
        let known = self.layers.iter().position(|layer| layer.digest == digest);
        let index = known.unwrap_or_else(|| {
            let bar = if self.terminal { self.bars.add(ProgressBar::new(1)) } else { ProgressBar::hidden() };
            bar.set_prefix(short(digest));
            self.layers.push(Layer {
                digest: digest.to_owned(),
                bar,
                phase: Phase::Unspecified,
                said: Instant::now(),
            });
            self.layers.len() - 1
        });
        let (verb, terminal) = (self.verb, self.terminal);
        let Some(layer) = self.layers.get_mut(index) else { return };
        let changed = layer.phase != phase;
        layer.phase = phase;
        if terminal {
            layer.draw(verb, changed, bytes, total, detail);
        } else if let Some(line) = layer.line(verb, changed, bytes, total, detail) {
            super::note(&line);
        }
    }

    /// Ends the display: on a terminal nothing of it stays, since the result follows.
    pub fn finish(self) {
        for layer in &self.layers {
            layer.bar.finish_and_clear();
        }
    }
}

impl Layer {
    fn draw(&self, verb: &str, changed: bool, bytes: u64, total: u64, detail: &str) {
        if changed {
            let template = match self.phase {
                Phase::Moving => "{prefix} [{bar:24}] {bytes}/{total_bytes}, {bytes_per_sec}",
                Phase::Unpacking => "{prefix} {spinner} {msg}",
                _ => "{prefix} {msg}",
            };
            if let Ok(style) = ProgressStyle::with_template(template) {
                self.bar.set_style(style.progress_chars("=> "));
            }
            if self.phase == Phase::Unpacking {
                self.bar.enable_steady_tick(Duration::from_millis(120));
            } else {
                self.bar.disable_steady_tick();
            }
            self.bar.set_message(words(self.phase, verb, detail));
        }
        if self.phase == Phase::Moving {
            self.bar.set_length(total.max(1));
            self.bar.set_position(bytes);
        } else {
            self.bar.tick();
        }
    }

    /// What there is to say without a terminal, if there is something new.
    fn line(&mut self, verb: &str, changed: bool, bytes: u64, total: u64, detail: &str) -> Option<String> {
        let prefix = short(&self.digest);
        if changed {
            self.said = Instant::now();
            return match self.phase {
                Phase::Unspecified | Phase::Waiting | Phase::Unpacking => None,
                Phase::Moving => Some(format!("{prefix}: {verb} {}", HumanBytes(total))),
                phase => Some(format!("{prefix}: {}", words(phase, verb, detail))),
            };
        }
        if self.phase != Phase::Moving || self.said.elapsed() < SILENCE {
            return None;
        }
        self.said = Instant::now();
        Some(format!("{prefix}: {} of {}", HumanBytes(bytes), HumanBytes(total)))
    }
}

/// A digest as people tell it from others.
fn short(digest: &str) -> String {
    digest.split(':').next_back().unwrap_or(digest).chars().take(DIGITS).collect()
}

fn words(phase: Phase, verb: &str, detail: &str) -> String {
    match phase {
        Phase::Unspecified => String::new(),
        Phase::Waiting => "waiting".to_owned(),
        Phase::Moving => verb.to_owned(),
        Phase::Unpacking => "unpacking".to_owned(),
        Phase::Done => "done".to_owned(),
        Phase::Present => "already there".to_owned(),
        Phase::Mounted => format!("taken over from {detail}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_terminal_each_change_is_a_line_and_bytes_are_not() {
        let bar = ProgressBar::hidden();
        let digest = format!("sha256:{}", "ab".repeat(32));
        let mut layer = Layer { digest, bar, phase: Phase::Waiting, said: Instant::now() };
        let mut say = |phase, bytes| {
            let changed = layer.phase != phase;
            layer.phase = phase;
            layer.line("fetching", changed, bytes, 2048, "other/app")
        };
        assert_eq!(say(Phase::Waiting, 0), None);
        assert_eq!(say(Phase::Moving, 0).as_deref(), Some("abababababab: fetching 2.00 KiB"));
        assert_eq!(say(Phase::Moving, 1024), None);
        assert_eq!(say(Phase::Unpacking, 0), None);
        assert_eq!(say(Phase::Done, 0).as_deref(), Some("abababababab: done"));
        assert_eq!(say(Phase::Mounted, 0).as_deref(), Some("abababababab: taken over from other/app"));
    }
}
