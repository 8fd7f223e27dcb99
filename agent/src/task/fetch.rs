//! Gets images that are missing. However many tasks ask for one at the same
//! time, it is pulled once; a pull goes on when nobody waits for it any more,
//! because the next task will want it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use agent_engine::Engine;
use agent_engine::image::{PullError, Reference};
use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use tokio::sync::Semaphore;
use tracing::{Instrument, info};

/// Images that are pulled side by side.
const PULLS: usize = 3;

type Flight = Shared<BoxFuture<'static, Result<(), PullError>>>;

/// Cheap to clone; all clones share their pulls.
#[derive(Clone)]
pub struct Fetcher {
    engine: Engine,
    flights: Arc<Mutex<BTreeMap<String, Flight>>>,
    places: Arc<Semaphore>,
}

impl std::fmt::Debug for Fetcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fetcher").finish_non_exhaustive()
    }
}

impl Fetcher {
    /// Pulls into the engine's store.
    pub fn new(engine: Engine) -> Self {
        Self { engine, flights: Arc::default(), places: Arc::new(Semaphore::new(PULLS)) }
    }

    /// When this answers, the image is on this host.
    ///
    /// # Errors
    /// What the registry or the image has wrong.
    pub async fn ensure(&self, image: &Reference) -> Result<(), PullError> {
        if self.engine.images().get(image).await?.is_some() {
            return Ok(());
        }
        self.flight(image).await
    }

    /// The pull that is under way, or a new one.
    fn flight(&self, image: &Reference) -> Flight {
        let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        let name = image.full();
        if let Some(flight) = flights.get(&name) {
            return flight.clone();
        }
        let (this, image) = (self.clone(), image.clone());
        let pull = async move {
            let result = this.pull(&image).await;
            this.flights.lock().unwrap_or_else(PoisonError::into_inner).remove(&image.full());
            result
        };
        let flight = pull.in_current_span().boxed().shared();
        flights.insert(name, flight.clone());
        // The spawned copy carries it on when every other is dropped.
        tokio::spawn(flight.clone());
        flight
    }

    async fn pull(&self, image: &Reference) -> Result<(), PullError> {
        // Never closed, so this only ever waits.
        let _place = self.places.acquire().await;
        let pulled = self.engine.images().pull(image, |_| {}).await?;
        info!(image = image.full(), digest = %pulled.manifest_digest, "pulled");
        Ok(())
    }
}
