//! The node in figures and plain words.

use edge_jobs::JobKind;
use edge_market::payee::Earnings;
use edge_mesh::NatState;

use super::earnings;
use crate::{
    clock,
    control::types::{
        ChainSection, EarnedSection, GatewaySection, KindSection, LimitsSection, NodeSection, OverlaySection,
        PeerSection, SpentSection, Status, WalletSection, WorkSection, WorkerSection,
    },
    governor::Halt,
    node::{
        Parts,
        edge::{Edge, EdgeState},
    },
    workers::{Worker, WorkerState},
};

/// The node as it is now.
pub(super) async fn status(parts: &Parts) -> Status {
    let edge = match &*parts.edge.borrow() {
        EdgeState::Running(edge) => Some(edge.clone()),
        EdgeState::Off | EdgeState::Failed(_) => None,
    };
    let (earned, spent) = money(parts).await;
    Status {
        node: NodeSection {
            version: env!("CARGO_PKG_VERSION").into(),
            network: parts.settings.chain.network,
            data: parts.data.display().to_string(),
            started: parts.started,
            pid: std::process::id(),
        },
        work: work(parts),
        wallet: wallet(parts).await,
        chain: chain(parts),
        overlay: edge.as_ref().map(overlay),
        workers: workers(parts),
        limits: limits(parts, edge.as_ref()),
        gateway: parts.gateway.as_ref().map(|door| GatewaySection {
            url: door.url.clone(),
            running: door.admission.running(),
            waiting: door.admission.waiting(),
        }),
        player: parts.player.clone(),
        earned,
        spent,
    }
}

fn limits(parts: &Parts, edge: Option<&Edge>) -> LimitsSection {
    let limits = &parts.settings.limits;
    LimitsSection {
        upload_bytes_per_second: match edge {
            Some(edge) => edge.mesh.upload_limit().get(),
            None => limits.upload_bytes_per_second,
        },
        segments: parts.segments.usage(),
        disk: parts.disk.section(),
        source_bytes: limits.source_bytes,
        cpu_threads: limits.cpu_threads,
        media_threads: parts.settings.media_threads(),
        compute_threads: parts.settings.compute_threads(),
        model_memory_mib: limits.model_memory_mib,
    }
}

/// Why a kind of work is not offered or done; `None` while it is.
pub(super) fn why_none(parts: &Parts, kind: JobKind) -> Option<String> {
    let halt = parts.governor.halted().borrow().clone();
    kind_section(parts, kind, halt.as_ref()).why_none
}

/// Why nobody has asked for work, from the most basic reason on.
pub(super) fn why_nothing_earned(parts: &Parts) -> String {
    let kinds = work(parts).kinds;
    let chosen: Vec<_> = kinds.iter().filter(|kind| kind.places > 0).collect();
    if chosen.is_empty() {
        return "not chosen: this node offers no work; name kinds under offer.places in its settings".into();
    }
    if let Some(reason) =
        chosen.iter().all(|kind| kind.why_none.is_some()).then(|| chosen[0].why_none.clone())
    {
        return reason.unwrap_or_default();
    }
    "no demand: nobody has asked for work yet".into()
}

fn work(parts: &Parts) -> WorkSection {
    let halt = parts.governor.halted().borrow().clone();
    let kinds: Vec<KindSection> =
        JobKind::ALL.into_iter().map(|kind| kind_section(parts, kind, halt.as_ref())).collect();
    let summary = summary(&kinds, halt.as_ref());
    WorkSection { summary, halt, kinds }
}

fn summary(kinds: &[KindSection], halt: Option<&Halt>) -> String {
    if let Some(halt) = halt {
        return sentence(&halt_words(halt));
    }
    let running: Vec<String> = kinds
        .iter()
        .filter(|kind| kind.running > 0)
        .map(|kind| match (kind.kind, kind.running) {
            (JobKind::Relay, 1) => "serving one stream".into(),
            (JobKind::Relay, n) => format!("serving {n} streams"),
            (JobKind::Transcode, 1) => "transcoding one video".into(),
            (JobKind::Transcode, n) => format!("transcoding {n} videos"),
            (JobKind::Embeddings, n) => format!("computing {n} embeddings"),
            (JobKind::Chat, 1) => "answering one chat".into(),
            (JobKind::Chat, n) => format!("answering {n} chats"),
        })
        .collect();
    if !running.is_empty() {
        return format!("Working: {}", running.join(", "));
    }
    let offered: Vec<_> = kinds.iter().filter(|kind| kind.places > 0).collect();
    match offered.iter().find_map(|kind| kind.why_none.as_ref()) {
        _ if offered.is_empty() => "Offers no work to others".into(),
        Some(why) if offered.iter().all(|kind| kind.why_none.is_some()) => format!("Waiting: {why}"),
        _ => "Waiting: no one has asked for work yet".into(),
    }
}

/// Why no work is taken, with the end of it where one is known.
fn halt_words(halt: &Halt) -> String {
    match halt {
        Halt::Paused { until: Some(until) } => format!("paused until {}", clock::local_text(*until)),
        other => other.to_string(),
    }
}

fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

fn kind_section(parts: &Parts, kind: JobKind, halt: Option<&Halt>) -> KindSection {
    let (free, places) = parts.governor.places(kind);
    let why_none = if places == 0 {
        Some("not chosen: no places under offer.places in the settings".to_owned())
    } else {
        halt.map(halt_words).or_else(|| why_not_worked(parts, kind)).or_else(|| why_not_offered(parts, kind))
    };
    let price = parts.settings.offer.price(kind).wei().clone();
    KindSection { kind, places, running: places.saturating_sub(free), price, why_none }
}

/// What is wrong with the worker that a kind needs.
fn why_not_worked(parts: &Parts, kind: JobKind) -> Option<String> {
    let (name, worker) = match kind {
        JobKind::Relay => return None,
        JobKind::Transcode => ("media", &parts.crew.media),
        JobKind::Embeddings | JobKind::Chat => ("compute", &parts.crew.compute),
    };
    let Some(worker) = worker else {
        let missing = parts.crew.missing.iter().find(|(missing, _)| *missing == name);
        return Some(
            missing.map_or_else(|| format!("the {name} worker is not installed"), |(_, why)| why.clone()),
        );
    };
    match &*worker.state().borrow() {
        WorkerState::Ready(can) if name == "media" && can.encoders.is_empty() => {
            Some("the media worker found no video encoder that works".into())
        }
        WorkerState::Ready(can) if name == "compute" && can.models.is_empty() => {
            Some("no models are installed: `make models` fetches them".into())
        }
        WorkerState::Ready(_) => None,
        WorkerState::Starting => Some(format!("the {name} worker is starting")),
        WorkerState::Stopped => Some(format!("the {name} worker is stopped")),
        WorkerState::Restarting { why } => {
            Some(format!("the {name} worker died and is started again: {why}"))
        }
    }
}

/// Why others do not see the offer.
fn why_not_offered(parts: &Parts, kind: JobKind) -> Option<String> {
    match &*parts.edge.borrow() {
        EdgeState::Failed(why) => Some(format!("this node could not join the overlay: {why}")),
        EdgeState::Off => Some("this node has not joined the overlay".into()),
        EdgeState::Running(edge) => {
            let registered = |payee: &edge_market::payee::Payee| payee.resource().borrow().is_some();
            if !parts.money.payee.as_ref().is_some_and(registered) {
                return Some(
                    "not registered: the rule that pays this node is not on the chain yet (it costs 0.3 TFUEL once)".into(),
                );
            }
            if edge.mesh.peers().is_empty() {
                return Some("no peers reached".into());
            }
            (!edge.offers(kind)).then(|| "the offer is not announced yet".into())
        }
    }
}

async fn wallet(parts: &Parts) -> WalletSection {
    let address = parts.wallet.address();
    let account = parts.chain.access.account(address).await;
    let balance = account.ok().map(|account| account.map(|account| account.balance).unwrap_or_default());
    WalletSection { address, locked: parts.wallet.is_locked(), balance }
}

fn chain(parts: &Parts) -> ChainSection {
    ChainSection {
        chain_id: parts.chain.rules.chain_id.clone(),
        finalized_height: parts.chain.access.heights().borrow().0,
        rpc: parts.chain.rpc.clone(),
        verified: parts.chain.own.is_some(),
        stopped: parts.chain.own.as_ref().and_then(|chain| chain.stopped()).map(|why| why.to_string()),
    }
}

fn overlay(edge: &Edge) -> OverlaySection {
    let traffic = edge.mesh.traffic();
    OverlaySection {
        peer: edge.mesh.local_peer().to_string(),
        listen: edge.mesh.listen_addresses().iter().map(ToString::to_string).collect(),
        reachable: match edge.mesh.nat_state() {
            NatState::Unknown => "unknown",
            NatState::Public => "public",
            NatState::Private => "private",
        }
        .into(),
        peers: edge
            .mesh
            .peers()
            .into_iter()
            .map(|peer| PeerSection {
                peer: peer.peer.to_string(),
                wallet: peer.wallet,
                rtt_ms: peer.rtt.map(|rtt| u64::try_from(rtt.as_millis()).unwrap_or(u64::MAX)),
            })
            .collect(),
        sent: traffic.sent,
        received: traffic.received,
    }
}

fn workers(parts: &Parts) -> Vec<WorkerSection> {
    let section = |name: &str, worker: &Worker| {
        let (state, detail) = match &*worker.state().borrow() {
            WorkerState::Starting => ("starting", String::new()),
            WorkerState::Stopped => ("stopped", "stopped while this node takes no work".into()),
            WorkerState::Restarting { why } => ("restarting", why.clone()),
            WorkerState::Ready(can) => {
                let encoders = can.encoders.iter().map(|encoder| format!("{encoder:?}").to_lowercase());
                let mut words: Vec<String> = encoders.chain(can.models.iter().cloned()).collect();
                words.extend(can.device.clone());
                ("ready", words.join(", "))
            }
        };
        WorkerSection { name: name.to_owned(), state: state.to_owned(), detail }
    };
    let crew = &parts.crew;
    let employed = crew
        .media
        .iter()
        .map(|w| section("media", w))
        .chain(crew.compute.iter().map(|w| section("compute", w)));
    let absent = crew.missing.iter().map(|(name, why)| WorkerSection {
        name: (*name).to_owned(),
        state: "absent".into(),
        detail: why.clone(),
    });
    employed.chain(absent).collect()
}

async fn money(parts: &Parts) -> (EarnedSection, SpentSection) {
    let earned = match &parts.money.payee {
        None => EarnedSection { why_zero: Some(why_nothing_earned(parts)), ..EarnedSection::default() },
        Some(payee) => match payee.earnings().await {
            Ok(earned) => {
                let nothing = earned.settled.is_zero() && earned.signed.is_zero() && earned.owed.is_zero();
                let why_zero = if nothing { why_nothing_came_in(parts, &earned).await } else { None };
                EarnedSection {
                    settled: earned.settled,
                    signed: earned.signed,
                    owed: earned.owed,
                    lost: earned.lost,
                    forgone: earned.forgone,
                    why_zero,
                }
            }
            Err(error) => EarnedSection { why_zero: Some(error.to_string()), ..EarnedSection::default() },
        },
    };
    let spent = match parts.money.payer.summary().await {
        Ok(spent) => SpentSection {
            settled: spent.settled,
            signed: spent.signed,
            owed: spent.owed,
            locked: spent.locked,
            locked_until: spent.locked_until.map(|height| height.0),
        },
        Err(error) => {
            tracing::warn!(%error, "the payer's book cannot be read");
            SpentSection::default()
        }
    };
    (earned, spent)
}

/// Why the book has no money in it: no work, or work that nobody paid.
async fn why_nothing_came_in(parts: &Parts, earned: &Earnings) -> Option<String> {
    if !earned.lost.is_zero() || !earned.forgone.is_zero() {
        return Some("what was delivered was not paid, or not settled in time".into());
    }
    match earnings::why_nothing(parts).await {
        Ok(why) => why,
        Err(error) => Some(error.to_string()),
    }
}
