//! The keys that take a user away from a terminal without ending what runs in
//! it, in Docker's notation: `ctrl-p,ctrl-q`, or any list of single characters
//! and `ctrl-` with a letter or one of `@ [ \ ] ^ _`.

use std::str::FromStr;

/// More keys are nobody's idea of leaving.
const MOST: usize = 16;

/// A sequence of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Keys {
    keys: [u8; MOST],
    length: usize,
}

impl Default for Keys {
    /// Ctrl-P, Ctrl-Q.
    fn default() -> Self {
        let mut keys = [0; MOST];
        keys[..2].copy_from_slice(&[0x10, 0x11]);
        Self { keys, length: 2 }
    }
}

impl FromStr for Keys {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut keys = [0; MOST];
        let mut length = 0;
        for word in text.split(',').filter(|_| !text.is_empty()) {
            let slot = keys.get_mut(length).ok_or_else(|| format!("at most {MOST} keys"))?;
            *slot = key(word)?;
            length += 1;
        }
        Ok(Self { keys, length })
    }
}

fn key(word: &str) -> Result<u8, String> {
    match (word.strip_prefix("ctrl-").map(str::as_bytes), word.as_bytes()) {
        (Some([letter @ b'a'..=b'z']), _) => Ok(letter - b'a' + 1),
        (Some([sign @ (b'@' | b'[' | b'\\' | b']' | b'^' | b'_')]), _) => Ok(sign - b'@'),
        (None, [single]) => Ok(*single),
        _ => Err(format!("{word:?} is no key: write ctrl-p,ctrl-q or a single character")),
    }
}

/// Looks for the keys in what a user types, however it is cut into pieces.
#[derive(Debug)]
pub(super) struct Watcher {
    keys: Keys,
    matched: usize,
}

/// What is to be done with input.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Typed {
    /// It is for the program. The beginning of the keys waits for what follows.
    Input(Vec<u8>),
    /// The user leaves; this came before the keys.
    Leave(Vec<u8>),
}

impl Watcher {
    pub(super) fn new(keys: Keys) -> Self {
        Self { keys, matched: 0 }
    }

    pub(super) fn typed(&mut self, input: &[u8]) -> Typed {
        let keys = &self.keys.keys[..self.keys.length];
        if keys.is_empty() {
            return Typed::Input(input.to_vec());
        }
        let mut out = Vec::with_capacity(input.len());
        for byte in input {
            // What was held back is the program's when the sequence breaks, but for a beginning of it anew.
            while self.matched > 0 && keys[self.matched] != *byte {
                let held = &keys[..self.matched];
                let again =
                    (1..=held.len()).find(|from| keys.starts_with(&held[*from..])).unwrap_or(held.len());
                out.extend_from_slice(&held[..again]);
                self.matched = held.len() - again;
            }
            if keys[self.matched] != *byte {
                out.push(*byte);
                continue;
            }
            self.matched += 1;
            if self.matched == keys.len() {
                return Typed::Leave(out);
            }
        }
        Typed::Input(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn type_in(keys: &str, pieces: &[&[u8]]) -> (Vec<u8>, bool) {
        let mut watcher = Watcher::new(keys.parse().unwrap());
        let mut all = Vec::new();
        for piece in pieces {
            match watcher.typed(piece) {
                Typed::Input(input) => all.extend(input),
                Typed::Leave(input) => {
                    all.extend(input);
                    return (all, true);
                }
            }
        }
        (all, false)
    }

    #[test]
    fn dockers_notation_is_understood() {
        let keys = |text: &str| text.parse::<Keys>().map(|keys| keys.keys[..keys.length].to_vec());
        assert_eq!(keys("ctrl-p,ctrl-q").unwrap(), [16, 17]);
        assert_eq!(keys("ctrl-p,ctrl-q").unwrap(), keys_of(Keys::default()));
        assert_eq!(
            keys("ctrl-@,ctrl-[,ctrl-\\,ctrl-],ctrl-^,ctrl-_,a").unwrap(),
            [0, 27, 28, 29, 30, 31, b'a']
        );
        assert_eq!(keys("").unwrap(), [0; 0]);
        for bad in ["ctrl-", "ctrl-P", "ctrl-ab", "ab", "a,,b", "ä"] {
            assert!(keys(bad).is_err(), "{bad}");
        }
        assert!(keys(&["a"; 17].join(",")).is_err());
    }

    fn keys_of(keys: Keys) -> Vec<u8> {
        keys.keys[..keys.length].to_vec()
    }

    #[test]
    fn the_keys_are_found_across_pieces_and_everything_else_arrives() {
        assert_eq!(type_in("ctrl-p,ctrl-q", &[b"ls\x10", b"\x11more"]), (b"ls".to_vec(), true));
        assert_eq!(type_in("ctrl-p,ctrl-q", &[b"\x10", b"x\x10\x10\x11"]), (b"\x10x\x10".to_vec(), true));
        assert_eq!(type_in("a,a,b", &[b"aaab"]), (b"a".to_vec(), true));
        assert_eq!(type_in("a,b,a,c", &[b"ababac"]), (b"ab".to_vec(), true));
        assert_eq!(type_in("", &[b"\x10\x11"]), (b"\x10\x11".to_vec(), false));
    }
}
