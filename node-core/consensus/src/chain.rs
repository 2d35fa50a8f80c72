//! The chain's one owner.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use theta_ledger::{MempoolError, MempoolLimits, TxMemory};
use theta_state::{ChainDb, Genesis};
use theta_types::{Account, Address, Block, Height, SecretKey, TxHash, Vote};
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use crate::engine::{Engine, Input, Now, Outgoing, Output};
use crate::error::ChainError;
use crate::events::ChainEvent;
use crate::handle::{ChainHandle, Published};
use crate::network::Network;

/// Name of the database in the data folder.
pub const DATABASE: &str = "chain.db";

/// What a chain is started with.
#[derive(Debug)]
pub struct ChainConfig {
    /// Where the database is or will be. It has one owner at a time.
    pub data_dir: PathBuf,
    /// Which chain.
    pub network: Network,
    /// What it begins with. Read on the first start only.
    pub genesis: GenesisSource,
    /// The validator's key; none to follow only.
    pub validator: Option<SecretKey>,
    /// Bounds of the mempool.
    pub mempool: MempoolLimits,
}

/// Where a genesis comes from.
#[derive(Debug)]
pub enum GenesisSource {
    /// Made by this program.
    Made(Box<Genesis>),
    /// A genesis file, plain or gzip.
    File(PathBuf),
}

impl GenesisSource {
    fn load(self) -> Result<Genesis, ChainError> {
        match self {
            Self::Made(genesis) => Ok(*genesis),
            Self::File(path) => {
                let file = std::fs::File::open(path).map_err(theta_state::GenesisError::Io)?;
                Ok(Genesis::read(file)?)
            }
        }
    }
}

/// What the owner is asked to do.
pub(crate) enum Command {
    Submit { raw: Vec<u8>, answer: oneshot::Sender<Result<TxHash, MempoolError>> },
    MemoryOf { transaction: TxHash, answer: oneshot::Sender<Option<TxMemory>> },
    Waiting { answer: oneshot::Sender<Vec<TxHash>> },
    Preview { address: Address, answer: oneshot::Sender<Result<Option<Account>, ChainError>> },
    Block(Box<Block>),
    Vote(Vote),
    Shutdown { answer: oneshot::Sender<()> },
}

/// Requests that may wait for the owner; who sends more waits himself.
const QUEUE: usize = 512;
/// Events that a listener may lag behind.
const EVENTS: usize = 1_024;

/// The task that owns the chain: it alone changes blocks, votes and mempool. Everybody else has a [`ChainHandle`].
#[derive(Debug)]
pub struct Chain {
    engine: Engine,
    commands: mpsc::Receiver<Command>,
    published: watch::Sender<Arc<Published>>,
    heights: watch::Sender<Height>,
    events: broadcast::Sender<ChainEvent>,
    outgoing: broadcast::Sender<Outgoing>,
    stopped: watch::Sender<Option<Arc<str>>>,
}

impl Chain {
    /// Opens the chain and lets it go on, on a thread of its own: it writes to the disk and executes blocks. It ends by
    /// [`ChainHandle::shutdown`], or when the last handle is gone.
    ///
    /// # Errors
    /// The database cannot be opened, is damaged, or of another chain; the genesis is not the network's.
    pub fn start(config: ChainConfig) -> Result<ChainHandle, ChainError> {
        let ChainConfig { data_dir, network, genesis, validator, mempool } = config;
        std::fs::create_dir_all(&data_dir).map_err(ChainError::Start)?;
        let db = ChainDb::open(data_dir.join(DATABASE))?;
        let engine = Engine::open(db, network, || genesis.load(), validator, mempool, now())?;

        let (sender, commands) = mpsc::channel(QUEUE);
        let first = Published::of(&engine, now().unix_seconds, true)?;
        let heights = watch::Sender::new(first.status.final_height);
        let published = watch::Sender::new(Arc::new(first));
        let events = broadcast::Sender::new(EVENTS);
        let outgoing = broadcast::Sender::new(EVENTS);
        let stopped = watch::Sender::new(None);
        let handle = ChainHandle {
            commands: sender,
            store: engine.store().clone(),
            published: published.subscribe(),
            heights: heights.subscribe(),
            events: events.clone(),
            outgoing: outgoing.clone(),
            stopped: stopped.subscribe(),
        };
        let chain = Self { engine, commands, published, heights, events, outgoing, stopped };
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().build().map_err(ChainError::Start)?;
        std::thread::Builder::new()
            .name("chain".to_owned())
            .spawn(move || runtime.block_on(chain.run()))
            .map_err(ChainError::Start)?;
        Ok(handle)
    }

    async fn run(mut self) {
        let height = self.published.borrow().status.final_height;
        tracing::info!(chain = %self.engine.network().rules.chain_id, %height, "chain started");
        let (reason, done) = match self.serve().await {
            Ok(done) => (Arc::from("it was shut down"), done),
            Err(error) => {
                tracing::error!(%error, "the chain cannot go on");
                (Arc::from(error.to_string()), None)
            }
        };
        self.stopped.send_replace(Some(reason));
        // Handles may be left. The folder is free all the same before anybody is told.
        self.engine.store().db().close();
        if let Some(done) = done {
            // Who asked may be gone.
            let _ = done.send(());
        }
    }

    /// Until told to end; gives whom to tell then.
    async fn serve(&mut self) -> Result<Option<oneshot::Sender<()>>, ChainError> {
        loop {
            let deadline = tokio::time::Instant::from_std(self.engine.next_deadline());
            tokio::select! {
                // Time first: a flood of requests must not keep the validator from voting.
                biased;
                () = tokio::time::sleep_until(deadline) => self.take(Input::Time)?,
                command = self.commands.recv() => match command {
                    None => return Ok(None),
                    Some(Command::Shutdown { answer }) => return Ok(Some(answer)),
                    Some(Command::Block(block)) => self.take(Input::Block(block))?,
                    Some(Command::Vote(vote)) => self.take(Input::Vote(vote))?,
                    Some(question) => self.answer(question),
                },
            }
        }
    }

    fn take(&mut self, input: Input) -> Result<(), ChainError> {
        let now = now();
        let output = self.engine.handle(input, now)?;
        self.publish(output, now)
    }

    /// Tells everybody what is durable now.
    fn publish(&mut self, output: Output, now: Now) -> Result<(), ChainError> {
        let was_syncing = self.published.borrow().status.syncing;
        let news = Published::of(&self.engine, now.unix_seconds, was_syncing)?;
        let height = news.status.final_height;
        self.published.send_replace(Arc::new(news));
        self.heights.send_if_modified(|last| std::mem::replace(last, height) != height);
        // That nobody listens is no failure.
        for (height, hash) in output.finalized {
            tracing::debug!(%height, %hash, "block is final");
            let _ = self.events.send(ChainEvent::Finalized { height, hash });
        }
        for message in output.outgoing {
            let _ = self.outgoing.send(message);
        }
        if let Some(refusal) = output.refused {
            tracing::warn!(%refusal, "block refused");
        }
        Ok(())
    }

    fn answer(&mut self, question: Command) {
        // Who asked may be gone by now; then nobody needs the answer.
        match question {
            Command::Submit { raw, answer } => {
                let _ = answer.send(self.engine.submit(raw, now()));
            }
            Command::MemoryOf { transaction, answer } => {
                let _ = answer.send(self.engine.memory_of(&transaction, now()));
            }
            Command::Waiting { answer } => {
                let _ = answer.send(self.engine.waiting());
            }
            Command::Preview { address, answer } => {
                let _ = answer.send(self.engine.preview(&address));
            }
            Command::Block(_) | Command::Vote(_) | Command::Shutdown { .. } => {}
        }
    }
}

fn now() -> Now {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    // A clock before 1970 is wrong anyway.
    Now { instant: Instant::now(), unix_seconds: since.map_or(0, |since| since.as_secs()) }
}
