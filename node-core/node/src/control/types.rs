//! What the control API says and takes. Amounts are wei as decimal text; times are Unix seconds; sizes are bytes.

use edge_jobs::JobKind;
use edge_market::jobs::JobSide;
use edge_streams::StoreUsage;
use serde::{Deserialize, Serialize};
use theta_types::{Address, Coins, Wei};

use crate::{governor::Halt, settings::Network};

/// The node as it is now. Each field is a section; the stream of changes sends sections.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The node itself.
    pub node: NodeSection,
    /// Whether it works for others, and why not.
    pub work: WorkSection,
    /// The wallet.
    pub wallet: WalletSection,
    /// The chain.
    pub chain: ChainSection,
    /// The overlay; absent while this node has not joined it.
    pub overlay: Option<OverlaySection>,
    /// The worker programs.
    pub workers: Vec<WorkerSection>,
    /// What work may take of this machine, and takes.
    pub limits: LimitsSection,
    /// The APIs for creators and developers; absent when this node does not serve them.
    pub gateway: Option<GatewaySection>,
    /// Where streams are played; absent when this node does not play any.
    pub player: Option<String>,
    /// What this node earned.
    pub earned: EarnedSection,
    /// What it spent.
    pub spent: SpentSection,
}

/// The node itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeSection {
    /// Its version.
    pub version: String,
    /// Its network.
    pub network: Network,
    /// Its data folder.
    pub data: String,
    /// When it started.
    pub started: u64,
    /// Its process.
    pub pid: u32,
}

/// Whether the node works for others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkSection {
    /// One line in plain words.
    pub summary: String,
    /// Why no work is taken; absent while work is taken.
    pub halt: Option<Halt>,
    /// Each kind of work.
    pub kinds: Vec<KindSection>,
}

/// One kind of work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KindSection {
    /// The kind.
    pub kind: JobKind,
    /// Jobs at a time.
    pub places: usize,
    /// Jobs now.
    pub running: usize,
    /// Price of a unit in TFuelWei.
    pub price: Wei,
    /// Why none of this kind is offered or done; absent while it is.
    pub why_none: Option<String>,
}

/// The wallet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WalletSection {
    /// Its address.
    pub address: Address,
    /// Whether its key is away: then no paid work is taken and nothing is spent.
    pub locked: bool,
    /// Its balance on finalized state; absent while the chain does not answer.
    pub balance: Option<Coins>,
}

/// The chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainSection {
    /// Its name.
    pub chain_id: String,
    /// Height of the last finalized block.
    pub finalized_height: u64,
    /// Where its theta.* RPC is.
    pub rpc: String,
    /// True when this node runs and verifies the chain itself; false when it trusts the RPC's answers.
    pub verified: bool,
    /// Why it stopped, if it did.
    pub stopped: Option<String>,
}

/// The overlay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverlaySection {
    /// This node's name on it.
    pub peer: String,
    /// Addresses under which others can dial it.
    pub listen: Vec<String>,
    /// Whether others can reach it: `public`, `private` or `unknown`.
    pub reachable: String,
    /// The nodes it is connected to.
    pub peers: Vec<PeerSection>,
    /// Bytes sent since the start.
    pub sent: u64,
    /// Bytes received since the start.
    pub received: u64,
}

/// A node that this one is connected to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerSection {
    /// Its name.
    pub peer: String,
    /// The wallet that it acts for.
    pub wallet: Address,
    /// Round trip in milliseconds, once measured.
    pub rtt_ms: Option<u64>,
}

/// Something that a provider of the network offers now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfferRow {
    /// Who is paid.
    pub provider: Address,
    /// What kind of work.
    pub kind: JobKind,
    /// The model, for kinds that have one.
    pub model: Option<String>,
    /// Price of a unit in TFuelWei.
    pub price: Wei,
    /// Jobs that it would take now.
    pub free: u32,
    /// Jobs that it does at a time.
    pub places: u32,
    /// The device that the model runs on there, in words.
    pub device: Option<String>,
    /// Why this node would not choose it; absent when it would.
    pub why_not: Option<String>,
}

/// A worker program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerSection {
    /// `media` or `compute`.
    pub name: String,
    /// `starting`, `ready`, `stopped`, `restarting` or `absent`.
    pub state: String,
    /// What it can do, or what is wrong with it, in words.
    pub detail: String,
}

/// What work may take of this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitsSection {
    /// Bytes a second that all streams to other nodes may send together; absent means no limit.
    pub upload_bytes_per_second: Option<u64>,
    /// Segments on disk.
    pub segments: StoreUsage,
    /// What the files of streams, uploads and jobs take on disk.
    pub disk: DiskSection,
    /// The largest video that is taken to be transcoded.
    pub source_bytes: u64,
    /// Processor threads that work may take; absent means half of the processor for videos, and half for models.
    pub cpu_threads: Option<u32>,
    /// Processor threads of one transcode.
    pub media_threads: u32,
    /// Processor threads of models; absent leaves the number to the compute worker.
    pub compute_threads: Option<u32>,
    /// Memory for the weights of models, in MiB.
    pub model_memory_mib: u64,
}

/// Bytes on disk that grow with work, measured every few seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskSection {
    /// All of the following.
    pub used: u64,
    /// Segments of streams, own and others'.
    pub segments: u64,
    /// Videos that creators uploaded to this node's gateway.
    pub uploads: u64,
    /// Files of jobs under way.
    pub work: u64,
}

/// The APIs for creators and developers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewaySection {
    /// Where they are, e.g. `http://127.0.0.1:8088`; the OpenAI API is under `/v1`.
    pub url: String,
    /// Calls that run.
    pub running: usize,
    /// Calls that wait.
    pub waiting: usize,
}

/// What this node earned, in TFuelWei. The three amounts are different things and never added.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EarnedSection {
    /// Paid out on the chain.
    pub settled: Wei,
    /// In vouchers that are not settled.
    pub signed: Wei,
    /// Delivered, and no voucher holds it.
    pub owed: Wei,
    /// Delivered, and never paid.
    pub lost: Wei,
    /// Signed, and not settled in time: it was worth less than a fee, or this node was away.
    pub forgone: Wei,
    /// Why nothing was earned; absent when something was.
    pub why_zero: Option<String>,
}

/// What this node spent, in TFuelWei.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpentSection {
    /// Paid on the chain.
    pub settled: Wei,
    /// In vouchers that are not settled.
    pub signed: Wei,
    /// Agreed to, and not signed.
    pub owed: Wei,
    /// Locked in reserves now, collaterals included.
    pub locked: Wei,
    /// The height from which the last of it can come back.
    pub locked_until: Option<u64>,
}

/// Jobs with their payments, newest first, and sums by kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Earnings {
    /// Which side.
    pub side: JobSide,
    /// Sums over all jobs, a kind each.
    pub kinds: Vec<KindTotals>,
    /// The last jobs.
    pub jobs: Vec<JobRow>,
    /// Vouchers that were received, or signed.
    pub vouchers: u64,
    /// Transactions of this node on the chain: payments that it settled, reserves, rules, sends.
    pub transactions: u64,
    /// Why nothing was earned; absent when something was.
    pub why_zero: Option<String>,
}

/// Sums over the jobs of a kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KindTotals {
    /// The kind.
    pub kind: JobKind,
    /// Jobs.
    pub jobs: u64,
    /// Jobs that failed.
    pub failed: u64,
    /// Paid units.
    pub units: u64,
    /// Bytes delivered.
    pub bytes: u64,
    /// Tokens made.
    pub tokens: u64,
    /// Price times units, in TFuelWei.
    pub amount: Wei,
    /// Why there is nothing, or not all of it; absent when there is nothing to explain.
    pub note: Option<String>,
}

/// One job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobRow {
    /// Its id.
    pub job: String,
    /// Its kind.
    pub kind: JobKind,
    /// The model, for kinds that have one.
    pub model: Option<String>,
    /// The wallet on the other side.
    pub counterparty: Address,
    /// When it began.
    pub started: u64,
    /// When it ended; absent while it runs.
    pub ended: Option<u64>,
    /// `running`, `done`, `cancelled`, `failed` or `interrupted`.
    pub state: String,
    /// Why it failed.
    pub error: Option<String>,
    /// Paid units.
    pub units: u64,
    /// Price of one in TFuelWei.
    pub price: Wei,
    /// Price times units.
    pub amount: Wei,
    /// Bytes delivered.
    pub bytes: u64,
    /// Tokens made.
    pub tokens: u64,
    /// How its units are paid.
    pub payments: Vec<PaymentRow>,
    /// Why it brought nothing, or not all of it; absent when there is nothing to explain.
    pub note: Option<String>,
}

/// How some units of a job are paid.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentRow {
    /// Units.
    pub units: u64,
    /// TFuelWei.
    pub amount: Wei,
    /// `owed`, `signed`, `submitted`, `settled` or `lapsed`; `unknown` when the book has no record of the line.
    pub state: String,
    /// The payment on the chain, once there is one.
    pub transaction: Option<String>,
    /// The height at which it was seen on finalized state.
    pub height: Option<u64>,
}

/// Ends work for others, for a while or until resumed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// For so many seconds; absent means until resumed.
    pub seconds: Option<u64>,
}

/// Changes limits until the next start; the settings file has the lasting ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeLimits {
    /// Bytes a second; 0 lifts the limit; absent leaves it.
    pub upload_bytes_per_second: Option<u64>,
    /// Bytes of other people's segments on disk; absent leaves it.
    pub cache_bytes: Option<u64>,
}

/// Opens the wallet.
#[derive(Clone, Serialize, Deserialize)]
pub struct Unlock {
    /// Its passphrase.
    pub passphrase: String,
}

impl std::fmt::Debug for Unlock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Unlock")
    }
}

/// Sends coins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SendCoins {
    /// A name of the caller's choosing: the same name is never sent twice, so a call that broke can be repeated.
    pub request: String,
    /// To whom.
    pub to: Address,
    /// How much of each token, in wei.
    pub coins: Coins,
}

/// A transaction that the chain has taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SentTransaction {
    /// Its hash.
    pub transaction: String,
}

/// Makes an API key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateKey {
    /// What its owner calls it.
    pub name: String,
    /// The most it may spend in a day, in TFuelWei.
    pub daily_limit: Option<Wei>,
    /// The most it may spend at all, in TFuelWei.
    pub total_limit: Option<Wei>,
}

/// A new API key: the one time that its secret is shown.
#[derive(Clone, Serialize, Deserialize)]
pub struct CreatedKey {
    /// For `x-tva-sa-id`.
    pub id: String,
    /// For `x-tva-sa-secret`.
    pub secret: String,
    /// For `Authorization: Bearer`.
    pub key: String,
}

impl std::fmt::Debug for CreatedKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CreatedKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// An API key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRow {
    /// Its id.
    pub id: String,
    /// What its owner calls it.
    pub name: String,
    /// When it was made.
    pub created: u64,
    /// When it was revoked.
    pub revoked: Option<u64>,
    /// The most it may spend in a day.
    pub daily_limit: Option<Wei>,
    /// The most it may spend at all.
    pub total_limit: Option<Wei>,
    /// Spent and reserved today.
    pub spent_today: Wei,
    /// Spent and reserved in all.
    pub spent: Wei,
}

/// A stream that this node's creator published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamRow {
    /// Its share id.
    pub id: String,
    /// Its title.
    pub title: String,
    /// When it was published.
    pub created: u64,
    /// Its duration in milliseconds.
    pub duration_ms: u64,
    /// Its renditions, e.g. `360p`.
    pub renditions: Vec<String>,
}

/// Plays a stream here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Play {
    /// Its share id.
    pub stream: String,
}

/// Where a stream is played.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Playing {
    /// The player page.
    pub page: String,
    /// The HLS master playlist, for players.
    pub playlist: String,
    /// The stream's title.
    pub title: String,
}

/// What settling left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settled {
    /// TFuelWei that are signed and still not settled, because they are worth less than a fee or the chain did not answer
    /// in time.
    pub left: Wei,
}
