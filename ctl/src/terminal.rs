//! The user's terminal: raw mode for as long as a guard lives, its size, and
//! whether there is one.

use std::io::{BufRead, IsTerminal, Write};

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

/// Asks the user for a line.
///
/// # Errors
/// When there is nobody to ask.
pub fn ask(question: &str) -> Result<String, CommandError> {
    prompt(question)?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer).map_err(|_| nobody())?;
    Ok(answer.trim_end_matches(['\r', '\n']).to_owned())
}

/// Asks the user for a line that nobody else is to see.
///
/// # Errors
/// When there is nobody to ask, or the user gives up (Ctrl-C, Ctrl-D).
pub fn ask_secretly(question: &str) -> Result<String, CommandError> {
    prompt(question)?;
    // In raw mode Ctrl-C is a character, so that the terminal is never left without an echo.
    let read = RawMode::enter().and_then(|_raw| secret_line(std::io::stdin().lock()));
    let _ = std::io::stderr().write_all(b"\r\n");
    read.map_err(|_| nobody())?.ok_or_else(|| CommandError::new(Kind::Usage, "given up"))
}

fn prompt(question: &str) -> Result<(), CommandError> {
    if !stdin_is_terminal() {
        return Err(nobody());
    }
    let mut stderr = std::io::stderr();
    // Without a question there is no answer either.
    let _ = write!(stderr, "{question}").and_then(|()| stderr.flush());
    Ok(())
}

fn nobody() -> CommandError {
    CommandError::new(Kind::Usage, "standard input is no terminal, so nobody can be asked")
        .hint("give --username, and the password on standard input with --password-stdin")
}

/// Reads to the end of a line, with backspace and Ctrl-U as people know them; `None` for Ctrl-C, and for Ctrl-D at
/// its beginning.
fn secret_line(input: impl BufRead) -> std::io::Result<Option<String>> {
    let mut line = Vec::new();
    for byte in input.bytes() {
        match byte? {
            b'\r' | b'\n' => break,
            0x03 => return Ok(None),
            0x04 if line.is_empty() => return Ok(None),
            0x04 => break,
            0x15 => line.clear(),
            0x08 | 0x7f => {
                // Of a character of several bytes all go.
                while line.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {}
            }
            byte => line.push(byte),
        }
    }
    let line = String::from_utf8(line);
    line.map(Some).map_err(|_| std::io::Error::from(std::io::ErrorKind::InvalidData))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_line_is_edited_as_people_know_it() {
        let read = |text: &str| secret_line(text.as_bytes()).unwrap();
        assert_eq!(read("secret\rmore").as_deref(), Some("secret"));
        assert_eq!(read("wro\u{7f}\u{7f}\u{7f}right\n").as_deref(), Some("right"));
        assert_eq!(read("aß\u{8}b\r").as_deref(), Some("ab"));
        assert_eq!(read("all wrong\u{15}ok\r").as_deref(), Some("ok"));
        assert_eq!(read("half\u{3}"), None);
        assert_eq!(read("\u{4}"), None);
        assert_eq!(read("ended\u{4}x").as_deref(), Some("ended"));
    }
}
