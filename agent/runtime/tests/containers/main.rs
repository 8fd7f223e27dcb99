//! Containers on the real kernel, as root: what they look like from outside, what they can see from inside, what
//! a hostile image gets out of them, and what a failure leaves behind.

mod attacks;
mod attest;
mod attest_execs;
mod calls;
mod cgroups;
mod confinement;
mod execs;
mod failures;
mod hostile;
mod lab;
mod limits;
mod probe;
mod streams;
