//! Networks made before anybody asks for them: namespace, pair and address of containers that do not exist yet. Each
//! is made under the id that the next container will have, so that everything on the host is named after its
//! container from the start, and a crash leaves nothing that the sweep of the next start does not know.
//!
//! It fills once a container has wanted a network, and is given up when none has for a while: a host that starts
//! nothing keeps nothing. What was lent to a container that is not started soon is taken back; its start makes
//! another one.

use std::{
    collections::{BTreeMap, VecDeque},
    os::fd::OwnedFd,
    sync::{Arc, Mutex, Weak},
    time::{Duration, Instant},
};

use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use tokio::sync::Notify;

use super::{Inner, Network, NetworkError, guard};

/// After so long without a request nothing is kept.
const IDLE: Duration = Duration::from_secs(30);
/// A container that was made and is not started keeps its network for so long.
const LENT: Duration = Duration::from_secs(10);
/// How often is looked whether either is over.
const LOOK: Duration = Duration::from_secs(2);
/// After a failure, before the next try.
const PAUSE: Duration = Duration::from_secs(1);

/// So many times its size must be free in the subnet.
const ROOM: usize = 4;

/// How many, and under which names.
#[derive(Debug, Clone, Copy)]
pub struct PoolConfig {
    /// So many are kept ready; zero is none.
    pub size: usize,
    /// Makes the id of a container.
    pub new_id: fn() -> std::io::Result<String>,
}

#[derive(Debug)]
pub(super) struct Pool {
    config: PoolConfig,
    stock: Mutex<Stock>,
    wanted: Arc<Notify>,
    /// Held while one is made, so that closing can wait for it.
    making: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Stock {
    ready: VecDeque<String>,
    lent: BTreeMap<String, Instant>,
    asked: Option<Instant>,
    closed: bool,
}

impl Pool {
    pub(super) fn new(config: PoolConfig) -> Self {
        Self {
            config,
            stock: Mutex::default(),
            wanted: Arc::default(),
            making: tokio::sync::Mutex::default(),
        }
    }

    /// An id whose network is there, if there is one, and the wish for another.
    pub(super) fn lend(&self) -> Option<String> {
        if self.config.size == 0 {
            return None;
        }
        let mut stock = guard(&self.stock);
        let now = Instant::now();
        stock.asked = Some(now);
        self.wanted.notify_one();
        let id = stock.ready.pop_front()?;
        stock.lent.insert(id.clone(), now);
        Some(id)
    }

    /// Whether the network of `id` was lent and nobody has taken it yet; afterwards it is the caller's.
    pub(super) fn claim(&self, id: &str) -> bool {
        self.config.size > 0 && guard(&self.stock).lent.remove(id).is_some()
    }

    /// Whether another one is to be made.
    fn is_short(&self) -> bool {
        let stock = guard(&self.stock);
        let is_asked = stock.asked.is_some_and(|asked| asked.elapsed() < IDLE);
        !stock.closed && is_asked && stock.ready.len() < self.config.size
    }

    /// What is no longer to be kept.
    fn stale(&self, everything: bool) -> Vec<String> {
        let mut stock = guard(&self.stock);
        let mut stale = Vec::new();
        if everything || stock.asked.is_none_or(|asked| asked.elapsed() >= IDLE) {
            stale.extend(stock.ready.drain(..));
        }
        let over = |lent: &Instant| everything || lent.elapsed() >= LENT;
        stale.extend(stock.lent.extract_if(.., |_, lent| over(lent)).map(|(id, _)| id));
        stale
    }
}

impl Network {
    /// The id for a container that will be attached soon, with its network made already; `None` when there is none
    /// in stock, which makes no difference but time.
    pub fn lend(&self) -> Option<String> {
        self.inner.pool.lend()
    }

    /// Gives back what no container has taken, and makes no more.
    pub async fn close_pool(&self) {
        guard(&self.inner.pool.stock).closed = true;
        self.inner.pool.wanted.notify_one();
        drop(self.inner.pool.making.lock().await);
        self.give_back(true).await;
    }

    /// Takes the stock apart; with `everything` also what is lent or may still be wanted.
    pub(super) async fn give_back(&self, everything: bool) {
        let stale = self.inner.pool.stale(everything);
        let results = futures::future::join_all(stale.iter().map(|id| self.detach(id))).await;
        for (id, result) in stale.iter().zip(results) {
            if let Err(error) = result {
                tracing::warn!(network = id, %error, "a network in stock stays; the next start sweeps it");
            }
        }
    }

    /// Whether addresses are plenty: the last ones are for containers that are there.
    fn has_room(&self) -> bool {
        let free = usize::try_from(guard(&self.inner.leases).free()).unwrap_or(usize::MAX);
        free > self.inner.pool.config.size * ROOM
    }

    /// Makes one and puts it into stock.
    async fn stock_up(&self) -> Result<(), NetworkError> {
        let pool = &self.inner.pool;
        let failed = |source| NetworkError::File { action: "read", path: "/dev/urandom".into(), source };
        let id = (pool.config.new_id)().map_err(failed)?;
        self.attach(&id).await?;
        guard(&pool.stock).ready.push_back(id);
        Ok(())
    }
}

/// Keeps the stock, for as long as the network is open.
pub(super) async fn keep(network: Weak<Inner>) {
    loop {
        let Some(inner) = network.upgrade() else { return };
        let network = Network { inner };
        if network.has_room() && network.inner.pool.is_short() {
            let _making = network.inner.pool.making.lock().await;
            if network.inner.pool.is_short()
                && let Err(error) = network.stock_up().await
            {
                tracing::debug!(%error, "no network is made in advance");
                tokio::time::sleep(PAUSE).await;
            }
            continue;
        }
        if guard(&network.inner.pool.stock).closed {
            return;
        }
        network.give_back(false).await;
        let wanted = Arc::clone(&network.inner.pool.wanted);
        drop(network);
        // Whichever comes first.
        let _ = tokio::time::timeout(LOOK, wanted.notified()).await;
    }
}

/// A socket to ask for the index of an interface.
pub(super) fn probe() -> Result<OwnedFd, NetworkError> {
    socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)
        .map_err(|errno| NetworkError::Link { action: "open a socket".to_owned(), source: errno.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(size: usize) -> Pool {
        Pool::new(PoolConfig { size, new_id: || Ok(String::new()) })
    }

    #[test]
    fn what_is_lent_can_be_claimed_once() {
        let pool = pool(2);
        guard(&pool.stock).ready.push_back("a".into());
        assert_eq!(pool.lend().as_deref(), Some("a"));
        assert!(pool.claim("a") && !pool.claim("a") && !pool.claim("b"));
        assert_eq!(pool.lend(), None);
    }

    #[test]
    fn nothing_is_made_before_somebody_asks_and_without_a_size_never() {
        let (none, some) = (pool(0), pool(1));
        assert!(!some.is_short());
        assert!(some.lend().is_none() && some.is_short());
        assert!(none.lend().is_none() && !none.is_short());
        guard(&some.stock).closed = true;
        assert!(!some.is_short());
    }

    #[test]
    fn what_nobody_claims_is_taken_back_and_what_nobody_asks_for_is_not_kept() {
        let Some(long_ago) = Instant::now().checked_sub(IDLE) else { return };
        let pool = pool(2);
        {
            let mut stock = guard(&pool.stock);
            stock.ready.extend(["a".to_owned(), "b".to_owned()]);
            stock.asked = Some(Instant::now());
            stock.lent.insert("old".into(), long_ago);
            stock.lent.insert("new".into(), Instant::now());
        }
        assert_eq!(pool.stale(false), ["old"]);
        guard(&pool.stock).asked = Some(long_ago);
        assert_eq!(pool.stale(false), ["a", "b"]);
        assert_eq!(pool.stale(true), ["new"]);
    }
}
