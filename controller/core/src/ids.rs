//! Ids of objects: 25 characters of 0-9 and a-z, and where they come from.
//!
//! An id is kept as its characters in an array, so it is `Copy`, needs no allocation and sorts like its text.
//! [`Ids`] makes them from a seed, with a stream of its own for every kind, so that one more task does not
//! shift the ids of all nodes in a recorded run. They are names, not secrets.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Length of every id in characters.
pub const ID_LENGTH: usize = 25;

/// A text that is not an id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an id has {ID_LENGTH} characters of a-z and 0-9, this one has another form")]
pub struct IdError;

fn parse(text: &str) -> Result<[u8; ID_LENGTH], IdError> {
    let bytes: [u8; ID_LENGTH] = text.as_bytes().try_into().map_err(|_wrong_length| IdError)?;
    if bytes.iter().all(|b| b.is_ascii_digit() || b.is_ascii_lowercase()) { Ok(bytes) } else { Err(IdError) }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; ID_LENGTH]);

        impl $name {
            /// Sorts before every id; for the start of a range.
            pub const MIN: Self = Self([0; ID_LENGTH]);
            /// Sorts after every id; for the end of a range.
            pub const MAX: Self = Self([u8::MAX; ID_LENGTH]);

            /// The id as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                std::str::from_utf8(&self.0).unwrap_or("")
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                parse(text).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                text.parse().map_err(de::Error::custom)
            }
        }
    };
}

id! {
    /// Names the cluster, in certificates too.
    ClusterId
}
id! {
    /// Names a node for as long as its agent keeps its data directory.
    NodeId
}
id! {
    /// Names a service; never used again after its removal.
    ServiceId
}
id! {
    /// Names a task; a replacement in the same slot has another.
    TaskId
}

/// SplitMix64: small, fast and the same on every machine.
#[derive(Clone, Debug)]
struct Stream(u64);

impl Stream {
    fn new(seed: u64, kind: u64) -> Self {
        // One round apart, so that neighbouring seeds and kinds do not give neighbouring streams.
        let mut first = Self(seed ^ kind.wrapping_mul(0xD1B5_4A32_D192_ED03));
        Self(first.next())
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn id(&mut self) -> [u8; ID_LENGTH] {
        const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
        let mut rest = (u128::from(self.next()) << 64) | u128::from(self.next());
        let mut text = [b'0'; ID_LENGTH];
        for place in text.iter_mut().rev() {
            *place = DIGITS[usize::try_from(rest % 36).unwrap_or(0)];
            rest /= 36;
        }
        text
    }
}

/// The source of all ids of one controller, from one seed.
#[derive(Clone, Debug)]
pub struct Ids {
    cluster: Stream,
    node: Stream,
    service: Stream,
    task: Stream,
    seal: Stream,
}

impl Ids {
    /// Equal seeds give equal ids. In production the seed comes from the kernel's random source.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            cluster: Stream::new(seed, 1),
            node: Stream::new(seed, 2),
            service: Stream::new(seed, 3),
            task: Stream::new(seed, 4),
            seal: Stream::new(seed, 5),
        }
    }

    /// The next cluster id.
    pub fn cluster(&mut self) -> ClusterId {
        ClusterId(self.cluster.id())
    }

    /// The next node id.
    pub fn node(&mut self) -> NodeId {
        NodeId(self.node.id())
    }

    /// The next service id.
    pub fn service(&mut self) -> ServiceId {
        ServiceId(self.service.id())
    }

    /// The next task id.
    pub fn task(&mut self) -> TaskId {
        TaskId(self.task.id())
    }

    /// The next seal of a plan; never 0, which stands for "no plan yet".
    pub fn seal(&mut self) -> u64 {
        self.seal.next().max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_a_function_of_the_seed() {
        let (mut a, mut b, mut c) = (Ids::new(7), Ids::new(7), Ids::new(8));
        assert_eq!(a.task(), b.task());
        assert_ne!(a.task(), c.task());
    }

    #[test]
    fn one_kind_does_not_shift_another() {
        let (mut a, mut b) = (Ids::new(7), Ids::new(7));
        a.task();
        assert_eq!(a.node(), b.node());
    }

    #[test]
    fn text_and_id_are_the_same_thing() {
        let id = Ids::new(1).service();
        assert_eq!(id.to_string().len(), ID_LENGTH);
        assert_eq!(id.to_string().parse(), Ok(id));
    }

    #[test]
    fn other_texts_are_refused() {
        let long = "a".repeat(26);
        for text in ["", "short", "ABCDEFGHIJKLMNOPQRSTUVWXY", "../../../../../etc/passwd", long.as_str()] {
            assert_eq!(text.parse::<TaskId>(), Err(IdError), "{text}");
        }
    }
}
