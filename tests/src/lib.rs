//! What the tests that need more than one crate share: nothing but a harness.
#![forbid(unsafe_code)]
