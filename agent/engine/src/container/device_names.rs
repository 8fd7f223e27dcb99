//! The CDI devices of a container: looked up when it is made, so that a wrong name is refused before anything exists,
//! and again at each start, since drivers rewrite their specifications.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use agent_runtime::container::ContainerSpec;
use agent_runtime::defaults;

use super::create::blocking;
use super::isolation::cdi;
use super::record::Record;
use super::{ContainerConfig, source};
use crate::EngineError;
use crate::cdi::{Edits, Registry};
use crate::engine::Inner;

impl Inner {
    /// What its devices change of a container.
    pub(crate) async fn device_edits(&self, config: &ContainerConfig) -> Result<Edits, EngineError> {
        let names = config.isolation.devices.names.clone();
        if names.is_empty() {
            return Ok(Edits::default());
        }
        let directories = self.config.cdi_dirs.clone();
        let find = move || {
            let found = Registry::read(&directories).edits(&names);
            found.map_err(|error| EngineError::invalid("device", error.to_string()))
        };
        blocking(find).await
    }

    /// Adds what its devices change to the specification of a container about to start, and opens all of its mounts.
    pub(crate) async fn open_all(
        &self,
        record: &Record,
        spec: &mut ContainerSpec,
    ) -> Result<Vec<OwnedFd>, EngineError> {
        let (config, isolation) = (&record.config, &record.config.isolation);
        let edits = self.device_edits(config).await?;
        cdi::apply(&edits, &mut spec.oci, isolation.own_users(), isolation.confinement.privileged)?;
        let more = cdi::mounts(&edits, &config.mounts)?;
        self.open_mounts(record, more, spec).await
    }

    /// Refuses devices that are not there, or that cannot be given to this container.
    pub(crate) async fn check_device_names(&self, config: &ContainerConfig) -> Result<(), EngineError> {
        let edits = self.device_edits(config).await?;
        if edits.is_empty() {
            return Ok(());
        }
        let isolation = &config.isolation;
        // Only for what it refuses.
        cdi::apply(
            &edits,
            &mut defaults::spec(None),
            isolation.own_users(),
            isolation.confinement.privileged,
        )?;
        let mounts = cdi::mounts(&edits, &config.mounts)?;
        let forbidden: [PathBuf; 2] = [self.config.data_dir.clone(), self.config.run_dir.clone()];
        blocking(move || {
            let open = |mount: &super::mount::Mount| {
                source::open(Path::new(&mount.source), false, &forbidden).map(drop)
            };
            mounts.iter().try_for_each(open)
        })
        .await
    }
}
