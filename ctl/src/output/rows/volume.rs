//! Volumes as `ctl` prints them.

use std::collections::BTreeMap;

use proto::v1;
use serde::Serialize;

use super::Row;
use crate::output::time;

/// A volume of this host.
#[derive(Debug, Serialize)]
pub struct VolumeRow {
    name: String,
    driver: String,
    anonymous: bool,
    mountpoint: String,
    labels: BTreeMap<String, String>,
    options: BTreeMap<String, String>,
    containers: Vec<String>,
    created_at: String,
    #[serde(skip)]
    age: String,
}

impl From<&v1::Volume> for VolumeRow {
    fn from(volume: &v1::Volume) -> Self {
        Self {
            name: volume.name.clone(),
            driver: volume.driver.clone(),
            anonymous: volume.anonymous,
            mountpoint: volume.mountpoint.clone(),
            labels: volume.labels.clone().into_iter().collect(),
            options: volume.options.clone().into_iter().collect(),
            containers: volume.containers.clone(),
            created_at: time::rfc3339(volume.created_at_ms),
            age: time::age(volume.created_at_ms, time::now_ms()),
        }
    }
}

impl Row for VolumeRow {
    fn headings() -> Vec<&'static str> {
        vec!["NAME", "DRIVER", "CREATED", "USED BY"]
    }
    fn cells(&self) -> Vec<String> {
        vec![self.name.clone(), self.driver.clone(), self.age.clone(), self.containers.join(", ")]
    }
}
