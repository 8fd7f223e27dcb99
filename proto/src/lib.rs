//! The wire types (`prost`) and gRPC services (`tonic`, `tonic_prost`) of
//! Roadstead, generated from the `.proto` files beside this crate. Those files
//! are the documentation of each interface; nothing is written here by hand but that
//! passwords do not print, and no logic belongs here.
#![forbid(unsafe_code)]
#![allow(
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    clippy::pedantic,
    reason = "generated code"
)]

/// Package `roadstead.v1`.
pub mod v1 {
    tonic::include_proto!("roadstead.v1");

    impl std::fmt::Debug for RegistryAuth {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.debug_struct("RegistryAuth").field("registry", &self.registry).finish_non_exhaustive()
        }
    }
}
