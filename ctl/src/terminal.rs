//! The user's terminal: raw mode for as long as a guard lives, its size, and
//! whether there is one.

use std::io::{IsTerminal, Write};

use rustix::termios::{self, OptionalActions, Termios};

use crate::error::{CommandError, Kind};

/// Whether standard input is a terminal.
pub fn stdin_is_terminal() -> bool {
    std::io::stdin().is_terminal()
}

/// Asks the user, who must answer y or yes.
///
/// # Errors
/// When there is nobody to ask.
pub fn confirm(question: &str) -> Result<bool, CommandError> {
    if !stdin_is_terminal() {
        return Err(CommandError::new(Kind::Usage, "standard input is no terminal, so nobody can be asked")
            .hint("say --force (-f) to do it without asking"));
    }
    let mut stderr = std::io::stderr();
    // Without a question there is no answer either.
    let _ = write!(stderr, "{question} [y/N] ").and_then(|()| stderr.flush());
    let mut answer = String::new();
    let read = std::io::stdin().read_line(&mut answer);
    Ok(read.is_ok() && matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

/// Rows and columns of the terminal, if there is one.
pub fn size() -> Option<(u16, u16)> {
    let size =
        termios::tcgetwinsize(std::io::stdin()).or_else(|_| termios::tcgetwinsize(std::io::stdout())).ok()?;
    Some((size.ws_row, size.ws_col))
}

/// Raw mode of standard input; dropping it restores what was there.
#[derive(Debug)]
pub struct RawMode {
    before: Termios,
}

impl RawMode {
    /// Switches to raw mode.
    ///
    /// # Errors
    /// When standard input is no terminal.
    pub fn enter() -> std::io::Result<Self> {
        let before = termios::tcgetattr(std::io::stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        termios::tcsetattr(std::io::stdin(), OptionalActions::Now, &raw)?;
        Ok(Self { before })
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        // Nothing is left to do when the terminal has gone away.
        let _ = termios::tcsetattr(std::io::stdin(), OptionalActions::Now, &self.before);
    }
}
