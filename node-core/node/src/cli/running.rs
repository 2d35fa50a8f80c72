//! Commands that ask the running node: status, earnings, pause, resume, limits, settle, stop.

use std::time::Duration;

use anyhow::Context;
use clap::{Args, ValueEnum};
use edge_market::jobs::JobSide;
use serde_json::{Value, json};
use theta_types::{Wei, checksum_text, format_coins};

use super::{
    Place,
    output::{columns, count},
};
use crate::control::{
    ControlClient, Status,
    types::{ChangeLimits, EarnedSection, Earnings, JobRow, LimitsSection, Pause, Settled},
};

/// Runs one call to the node of a data folder.
pub(super) fn ask<T>(
    place: &Place,
    call: impl AsyncFnOnce(ControlClient) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let client = ControlClient::attach(&place.folder()?)?;
    runtime()?.block_on(call(client))
}

/// A runtime for one call.
pub(super) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

/// `thetis status`.
pub(super) fn status(place: &Place) -> anyhow::Result<()> {
    let status: Status = ask(place, async |client| Ok(client.get("/api/status").await?))?;
    place.output().print(&status, status_text)
}

fn status_text(status: &Status) -> String {
    let amount = |wei: &Wei| format!("{} TFUEL", format_coins(wei));
    let chain = match (&status.chain.stopped, status.chain.verified) {
        (Some(why), _) => format!("{} stopped: {why}", status.chain.chain_id),
        (None, true) => {
            format!("{} at block {}, verified here", status.chain.chain_id, status.chain.finalized_height)
        }
        (None, false) => format!(
            "{} at block {}, as {} says (trusted, not verified)",
            status.chain.chain_id, status.chain.finalized_height, status.chain.rpc
        ),
    };
    let wallet = match (&status.wallet.balance, status.wallet.locked) {
        (Some(coins), locked) => format!(
            "{}{}: {} TFUEL, {} THETA",
            checksum_text(&status.wallet.address),
            if locked { " (locked)" } else { "" },
            format_coins(&coins.tfuel),
            format_coins(&coins.theta)
        ),
        (None, _) => format!("{}: the chain does not answer", checksum_text(&status.wallet.address)),
    };
    let mut rows = vec![
        ("State", status.work.summary.clone()),
        ("Wallet", wallet),
        ("Chain", chain),
        (
            "Overlay",
            match &status.overlay {
                Some(overlay) => {
                    let peers = count(overlay.peers.len() as u64, "peer");
                    format!("{peers}, {} as {}", overlay.reachable, overlay.peer)
                }
                None => "not joined".into(),
            },
        ),
        ("Earned", earned_text(&status.earned)),
        (
            "Spent",
            format!(
                "{} settled; {} signed, not yet settled; {} locked in reserves{}",
                amount(&status.spent.settled),
                amount(&status.spent.signed),
                amount(&status.spent.locked),
                status.spent.locked_until.map(|height| format!(" until block {height}")).unwrap_or_default()
            ),
        ),
    ];
    rows.push(("Limits", limits_text(&status.limits)));
    rows.push(("Disk", disk_text(&status.limits)));
    if let Some(gateway) = &status.gateway {
        rows.push((
            "Gateway",
            format!("{} ({} running, {} waiting)", gateway.url, gateway.running, gateway.waiting),
        ));
    }
    if let Some(player) = &status.player {
        rows.push(("Player", player.clone()));
    }
    let mut text = columns(&rows);
    text.push('\n');
    for kind in &status.work.kinds {
        let state = match &kind.why_none {
            Some(why) => why.clone(),
            None => {
                format!("{} of {} places taken, {} a unit", kind.running, kind.places, amount(&kind.price))
            }
        };
        text.push_str(&format!("{:<11} {state}\n", kind.kind.name()));
    }
    for worker in &status.workers {
        text.push_str(&format!("{:<11} worker {}: {}\n", worker.name, worker.state, worker.detail));
    }
    text
}

fn earned_text(earned: &EarnedSection) -> String {
    let amount = |wei: &Wei| format!("{} TFUEL", format_coins(wei));
    let mut text = match &earned.why_zero {
        Some(why) => format!("nothing: {why}"),
        None => format!(
            "{} settled; {} signed, not yet settled; {} owed",
            amount(&earned.settled),
            amount(&earned.signed),
            amount(&earned.owed)
        ),
    };
    if !earned.lost.is_zero() {
        text.push_str(&format!("; {} lost: delivered and never paid", amount(&earned.lost)));
    }
    if !earned.forgone.is_zero() {
        text.push_str(&format!("; {} forgone: signed and not settled in time", amount(&earned.forgone)));
    }
    text
}

fn limits_text(limits: &LimitsSection) -> String {
    let upload = limits.upload_bytes_per_second.map_or("no limit".into(), |rate| format!("{rate} bytes/s"));
    format!("upload {upload}; {}; {} MiB for models", threads_text(limits), limits.model_memory_mib)
}

fn threads_text(limits: &LimitsSection) -> String {
    let threads = |count: u32| if count == 1 { "1 thread".into() } else { format!("{count} threads") };
    let all = limits.cpu_threads.map(|all| format!("{} at most: ", threads(all))).unwrap_or_default();
    let models = limits.compute_threads.map_or("half of the processor".into(), threads);
    format!("{all}{} for a video, {models} for models", threads(limits.media_threads))
}

fn disk_text(limits: &LimitsSection) -> String {
    let disk = &limits.disk;
    format!(
        "{} bytes: {} of streams (others' {} of {} allowed), {} of uploads, {} of jobs",
        disk.used, disk.segments, limits.segments.cached, limits.segments.cap, disk.uploads, disk.work
    )
}

/// Shows jobs with what they brought or cost.
#[derive(Debug, Args)]
pub struct EarningsCommand {
    /// Jobs that this node did, or jobs that others did for it
    #[arg(long, value_enum, default_value_t = SideName::Provider)]
    side: SideName,
    /// How many jobs, newest first
    #[arg(long, default_value_t = 20)]
    limit: u32,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum SideName {
    Provider,
    Requester,
}

impl EarningsCommand {
    /// Does what was asked.
    pub fn run(self, place: &Place) -> anyhow::Result<()> {
        let side = match self.side {
            SideName::Provider => "provider",
            SideName::Requester => "requester",
        };
        let path = format!("/api/earnings?side={side}&limit={}", self.limit);
        let earnings: Earnings = ask(place, async |client| Ok(client.get(&path).await?))?;
        place.output().print(&earnings, earnings_text)
    }
}

fn earnings_text(earnings: &Earnings) -> String {
    let mut text = match &earnings.why_zero {
        Some(why) => format!("Nothing earned yet: {why}.\n"),
        None => String::new(),
    };
    if earnings.kinds.is_empty() {
        return match earnings.side {
            JobSide::Provider => text,
            JobSide::Requester => "Nothing bought yet.".into(),
        };
    }
    text.push_str(&format!(
        "{:<11} {:>7} {:>7} {:>9} {:>12} {:>9}  TFUEL\n",
        "KIND", "JOBS", "FAILED", "UNITS", "BYTES", "TOKENS"
    ));
    for kind in &earnings.kinds {
        text.push_str(&format!(
            "{:<11} {:>7} {:>7} {:>9} {:>12} {:>9}  {}\n",
            kind.kind.name(),
            kind.jobs,
            kind.failed,
            kind.units,
            kind.bytes,
            kind.tokens,
            format_coins(&kind.amount)
        ));
        if let Some(note) = &kind.note {
            text.push_str(&format!("    {note}\n"));
        }
    }
    text.push_str(&format!(
        "\n{}, {} on the chain\n\n",
        count(earnings.vouchers, "voucher"),
        count(earnings.transactions, "transaction")
    ));
    for job in &earnings.jobs {
        text.push_str(&job_text(job));
    }
    text
}

fn job_text(job: &JobRow) -> String {
    let mut text = format!(
        "{}  {:<10} {:<11} {} at {} = {} TFUEL, with {}\n",
        job.job,
        job.kind.name(),
        job.state,
        count(job.units, "unit"),
        format_coins(&job.price),
        format_coins(&job.amount),
        checksum_text(&job.counterparty)
    );
    if let Some(error) = &job.error {
        text.push_str(&format!("    {error}\n"));
    }
    if let Some(note) = &job.note {
        text.push_str(&format!("    {note}\n"));
    }
    for payment in &job.payments {
        let transaction = payment.transaction.as_ref().map(|hash| format!(" by {hash}")).unwrap_or_default();
        text.push_str(&format!(
            "    {} TFUEL {}{transaction}\n",
            format_coins(&payment.amount),
            payment.state
        ));
    }
    text
}

/// Stops work for others; workers are down within a second, and their jobs go elsewhere.
#[derive(Debug, Args)]
#[command(after_help = "This node's own videos wait until then too. A pause outlives a restart.

Examples:
  thetis pause            until `thetis resume`
  thetis pause --for 1h")]
pub struct PauseCommand {
    /// Resume by itself after this long, e.g. 90s, 30m, 2h
    #[arg(long = "for", value_name = "TIME", value_parser = parse_duration)]
    time: Option<Duration>,
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no time like 90s, 30m or 2h");
    let unit = text.chars().last().ok_or_else(wrong)?;
    let (number, seconds) = match unit {
        's' => (text.strip_suffix('s'), 1),
        'm' => (text.strip_suffix('m'), 60),
        'h' => (text.strip_suffix('h'), 3_600),
        'd' => (text.strip_suffix('d'), 86_400),
        _ => return Err(wrong()),
    };
    let number: u64 =
        number.and_then(|number| number.parse().ok()).filter(|number| *number > 0).ok_or_else(wrong)?;
    Ok(Duration::from_secs(number.checked_mul(seconds).ok_or_else(wrong)?))
}

impl PauseCommand {
    /// Does what was asked.
    pub fn run(self, place: &Place) -> anyhow::Result<()> {
        let pause = Pause { seconds: self.time.map(|time| time.as_secs()) };
        let status: Status = ask(place, async |client| Ok(client.post("/api/pause", &pause).await?))?;
        place.output().print(&status.work, |work| work.summary.clone())
    }
}

/// `thetis resume`.
pub(super) fn resume(place: &Place) -> anyhow::Result<()> {
    let status: Status = ask(place, async |client| Ok(client.post("/api/resume", &json!({})).await?))?;
    place.output().print(&status.work, |work| work.summary.clone())
}

/// Changes limits of the running node, until its next start.
#[derive(Debug, Args)]
#[command(after_help = "The settings file has the lasting limits.

Examples:
  thetis limits --upload 500000       half a megabyte a second for all streams together
  thetis limits --upload 0            no limit")]
pub struct LimitsCommand {
    /// Bytes a second that may be sent to other nodes; 0 for no limit
    #[arg(long, value_name = "BYTES")]
    upload: Option<u64>,
    /// Bytes of other people's segments on disk; what is above goes at once, the least recently used first
    #[arg(long, value_name = "BYTES")]
    cache: Option<u64>,
}

impl LimitsCommand {
    /// Does what was asked.
    pub fn run(self, place: &Place) -> anyhow::Result<()> {
        let change = ChangeLimits { upload_bytes_per_second: self.upload, cache_bytes: self.cache };
        let status: Status = ask(place, async |client| Ok(client.post("/api/limits", &change).await?))?;
        place.output().print(&status.limits, |limits| {
            let upload =
                limits.upload_bytes_per_second.map_or("no limit".into(), |rate| format!("{rate} bytes/s"));
            columns(&[
                ("Upload", upload),
                ("Processor", threads_text(limits)),
                ("Memory", format!("{} MiB for models", limits.model_memory_mib)),
                ("Cache", format!("{} of {} bytes", limits.segments.cached, limits.segments.cap)),
                ("Own streams", format!("{} bytes", limits.segments.pinned)),
                ("Largest video", format!("{} bytes", limits.source_bytes)),
                ("Disk", disk_text(limits)),
            ])
        })
    }
}

/// `thetis settle`.
pub(super) fn settle(place: &Place) -> anyhow::Result<()> {
    let settled: Settled = ask(place, async |client| Ok(client.post("/api/settle", &json!({})).await?))?;
    place.output().print(&settled, |settled| match settled.left.is_zero() {
        true => "Everything that is worth a fee is settled.".into(),
        false => {
            format!("{} TFUEL are signed and not settled yet; they stay good.", format_coins(&settled.left))
        }
    })
}

/// `thetis stop`.
pub(super) fn stop(place: &Place) -> anyhow::Result<()> {
    let folder = place.folder()?;
    ask(place, async |client| {
        client.post::<Value>("/api/stop", &json!({})).await?;
        // The folder has no owner any more when everything is closed, and when the node died of it.
        for _ in 0..300 {
            if crate::data_folder::DataFolder::owner(&folder).is_none() {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        anyhow::bail!("the node was told to stop and has not ended yet: look at its log")
    })
    .context("the node could not be stopped")?;
    place.output().print(&json!({ "stopped": true }), |_| "The node has stopped.".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_and_nonsense_is_refused() {
        assert_eq!(parse_duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration("2h"), Ok(Duration::from_secs(7_200)));
        for text in ["", "h", "0m", "-1h", "5", "5 h", "1w", "99999999999999999999d", "é"] {
            assert!(parse_duration(text).is_err(), "{text:?}");
        }
    }
}
