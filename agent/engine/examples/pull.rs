//! Pulls an image into a directory, as the agent would, and says how long each part of it took. For measuring:
//! `cargo run --release -p agent-engine --example pull -- localhost:5000/app:1 /tmp/pulled`
#![forbid(unsafe_code)]

use std::error::Error;
use std::path::PathBuf;
use std::time::Instant;

use agent_engine::content::LocalContent;
use agent_engine::image::{Images, PullOptions, Reference, RegistryOptions};
use agent_engine::records::Records;
use agent_engine::snapshot::Snapshots;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(name), Some(dir)) = (arguments.next(), arguments.next()) else {
        return Err("usage: pull REFERENCE DIRECTORY".into());
    };
    let (name, dir): (Reference, _) = (name.parse()?, PathBuf::from(dir));
    let records = Records::open(dir.join("records")).await?;
    let content = LocalContent::open(dir.join("content"))?;
    let snapshots = Snapshots::open(dir.join("snapshots"))?;
    let images = Images::open(content, snapshots, &records, RegistryOptions::default());
    let started = Instant::now();
    let image = images.pull(&name, &PullOptions::default(), |_| {}).await?;
    let seconds = started.elapsed().as_secs_f64();
    eprintln!(
        "{}: {} layers, {} bytes transferred, {seconds:.2} s",
        image.name,
        image.layers.len(),
        image.size
    );
    records.close().await;
    Ok(())
}
