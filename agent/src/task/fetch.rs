//! Gets images that are missing. A pull goes on when nobody waits for it any
//! more, because the next task will want it. That the same image is pulled once,
//! however many ask for it, is the engine's doing.

use agent_engine::Engine;
use agent_engine::image::{PullError, PullOptions, Reference};
use tracing::{Instrument, info};

/// Cheap to clone.
#[derive(Debug, Clone)]
pub struct Fetcher {
    engine: Engine,
}

impl Fetcher {
    /// Pulls into the engine's store.
    pub fn new(engine: Engine) -> Self {
        Self { engine }
    }

    /// When this answers, the image is on this host.
    ///
    /// # Errors
    /// What the registry or the image has wrong.
    pub async fn ensure(&self, image: &Reference) -> Result<(), PullError> {
        if self.engine.images().get(image).await?.is_some() {
            return Ok(());
        }
        self.pull(image, PullOptions::default()).await
    }

    /// Pulls an image, whether it is here or not.
    ///
    /// # Errors
    /// As [`Fetcher::ensure`].
    pub async fn pull(&self, image: &Reference, options: PullOptions) -> Result<(), PullError> {
        let (engine, image) = (self.engine.clone(), image.clone());
        let pull = async move {
            let pulled = engine.images().pull(&image, &options, |_| {}).await?;
            info!(image = image.full(), digest = %pulled.manifest_digest, "pulled");
            Ok(())
        };
        tokio::spawn(pull.in_current_span()).await.unwrap_or(Err(PullError::Interrupted))
    }
}
