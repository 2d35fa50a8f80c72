//! Jobs with what they brought or cost, and a reason beside each zero.

use edge_jobs::JobKind;
use edge_market::jobs::JobSide;
use theta_types::{Wei, format_coins};

use super::status;
use crate::{
    control::types::{Earnings, JobRow, KindTotals},
    database::{DatabaseError, JobEnds},
    node::Parts,
};

/// Jobs of a side with their payments, newest first, at most `limit` of them; the sums are over all.
pub(super) async fn earnings(parts: &Parts, side: JobSide, limit: u32) -> Result<Earnings, DatabaseError> {
    let database = &parts.database;
    let mut kinds = kinds(parts, side).await?;
    let mut jobs = database.jobs(side, limit).await?;
    let (vouchers, transactions) = database.payment_counts(side).await?;
    for job in &mut jobs {
        job.note = job_note(side, job);
    }
    let why_zero = match side {
        JobSide::Provider => why_zero(parts, &kinds),
        JobSide::Requester => None,
    };
    // What was never asked for is the sum's reason already.
    if why_zero.is_some() {
        kinds.retain(|kind| kind.jobs > 0);
    }
    Ok(Earnings { side, kinds, jobs, vouchers, transactions, why_zero })
}

/// Why this node has earned nothing; `None` when it has earned something.
pub(super) async fn why_nothing(parts: &Parts) -> Result<Option<String>, DatabaseError> {
    Ok(why_zero(parts, &kinds(parts, JobSide::Provider).await?))
}

/// The sums of each kind that there were jobs of, or that is offered.
async fn kinds(parts: &Parts, side: JobSide) -> Result<Vec<KindTotals>, DatabaseError> {
    let mut kinds = parts.database.job_totals(side).await?;
    for totals in &mut kinds {
        let ends = parts.database.job_ends(side, totals.kind).await?;
        totals.note = kind_note(side, totals, &ends);
    }
    if side == JobSide::Provider {
        for kind in JobKind::ALL {
            if parts.settings.offers(kind) && kinds.iter().all(|totals| totals.kind != kind) {
                let why = status::why_none(parts, kind);
                let note = why.unwrap_or_else(|| "no demand: nobody has asked for it yet".into());
                kinds.push(empty(kind, note));
            }
        }
    }
    Ok(kinds)
}

fn empty(kind: JobKind, note: String) -> KindTotals {
    let (jobs, failed, units, bytes, tokens) = (0, 0, 0, 0, 0);
    KindTotals { kind, jobs, failed, units, bytes, tokens, amount: Wei::zero(), note: Some(note) }
}

fn why_zero(parts: &Parts, kinds: &[KindTotals]) -> Option<String> {
    if kinds.iter().any(|kind| !kind.amount.is_zero()) {
        return None;
    }
    let notes: Vec<String> = kinds
        .iter()
        .filter(|kind| kind.jobs > 0)
        .filter_map(|kind| Some(format!("{}: {}", kind.kind.name(), kind.note.as_ref()?)))
        .collect();
    Some(if notes.is_empty() { status::why_nothing_earned(parts) } else { notes.join("; ") })
}

/// What is to be explained about the jobs of a kind.
fn kind_note(side: JobSide, totals: &KindTotals, ends: &JobEnds) -> Option<String> {
    if totals.amount.is_zero() {
        return Some(why_no_units(totals.jobs, ends));
    }
    (side == JobSide::Provider && !ends.unpaid.is_zero()).then(|| {
        format!(
            "{} TFUEL of it were delivered and not paid when their jobs ended",
            format_coins(&ends.unpaid)
        )
    })
}

fn why_no_units(jobs: u64, ends: &JobEnds) -> String {
    let failed = match &ends.last_error {
        Some(error) => format!("failed (the last one: {error})"),
        None => "failed".into(),
    };
    let parts: Vec<String> = [
        (ends.running, "still going on".into()),
        (ends.cancelled, "stopped by those who had ordered them".into()),
        (ends.failed, failed),
        (ends.interrupted, "broken off when the node ended".into()),
        (ends.done, "ended without an order for a unit".into()),
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, what): (u64, String)| format!("{count} {what}"))
    .collect();
    match jobs {
        1 => format!("its one job came to no unit: {}", parts.join(", ")),
        _ => format!("none of its {jobs} jobs came to a unit: {}", parts.join(", ")),
    }
}

/// What is to be explained about one job.
fn job_note(side: JobSide, job: &JobRow) -> Option<String> {
    let units_in = |state: &str| -> (u64, Wei) {
        let payments = || job.payments.iter().filter(|payment| payment.state == state);
        (
            payments().map(|payment| payment.units).sum(),
            payments().map(|payment| payment.amount.clone()).sum(),
        )
    };
    if job.units == 0 {
        let why = match job.state.as_str() {
            "running" => "its first unit is not done yet",
            "cancelled" => "it was stopped before its first unit was done",
            "interrupted" => "the node ended before its first unit was done",
            "failed" => "it failed before its first unit was done",
            _ => "no unit was ordered in it",
        };
        return Some(why.into());
    }
    let (owed, amount) = units_in("owed");
    if side == JobSide::Provider && job.ended.is_some() && owed > 0 {
        let amount = format_coins(&amount);
        return Some(format!(
            "{owed} units ({amount} TFUEL) were delivered and not paid; counted as lost until they are"
        ));
    }
    let (lapsed, amount) = units_in("lapsed");
    let amount = format_coins(&amount);
    (lapsed > 0).then(|| format!("the vouchers of {lapsed} units ({amount} TFUEL) were not settled in time"))
}

#[cfg(test)]
mod tests {
    use theta_types::Address;

    use super::*;
    use crate::control::types::PaymentRow;

    fn totals(jobs: u64, amount: u64) -> KindTotals {
        KindTotals { jobs, amount: Wei::from(amount), note: None, ..empty(JobKind::Chat, String::new()) }
    }

    #[test]
    fn jobs_that_brought_nothing_say_how_they_ended() {
        let ends = JobEnds {
            cancelled: 2,
            failed: 1,
            last_error: Some("the device failed".into()),
            ..JobEnds::default()
        };
        let note = kind_note(JobSide::Provider, &totals(3, 0), &ends).unwrap();
        assert_eq!(
            note,
            "none of its 3 jobs came to a unit: 2 stopped by those who had ordered them, 1 failed (the last one: the \
             device failed)"
        );
        let ends = JobEnds { interrupted: 1, ..JobEnds::default() };
        let note = kind_note(JobSide::Provider, &totals(1, 0), &ends).unwrap();
        assert_eq!(note, "its one job came to no unit: 1 broken off when the node ended");
    }

    #[test]
    fn what_was_not_paid_is_told_beside_what_was() {
        let ends = JobEnds { done: 2, unpaid: Wei::from_coins(3), ..JobEnds::default() };
        let note = kind_note(JobSide::Provider, &totals(2, 7), &ends).unwrap();
        assert!(note.starts_with("3 TFUEL of it were delivered and not paid"), "{note}");
        assert_eq!(kind_note(JobSide::Requester, &totals(2, 7), &ends), None);
        assert_eq!(kind_note(JobSide::Provider, &totals(2, 7), &JobEnds::default()), None);
    }

    fn job(state: &str, payments: &[(u64, &str)]) -> JobRow {
        let payment = |(units, state): &(u64, &str)| PaymentRow {
            units: *units,
            amount: Wei::from_coins(*units),
            state: (*state).to_owned(),
            transaction: None,
            height: None,
        };
        JobRow {
            job: "j".into(),
            kind: JobKind::Chat,
            model: None,
            counterparty: Address::ZERO,
            started: 1,
            ended: (state != "running").then_some(2),
            state: state.to_owned(),
            error: None,
            units: payments.iter().map(|(units, _)| units).sum(),
            price: Wei::from_coins(1),
            amount: Wei::zero(),
            bytes: 0,
            tokens: 0,
            payments: payments.iter().map(payment).collect(),
            note: None,
        }
    }

    #[test]
    fn a_job_s_zero_and_what_was_not_paid_of_it_have_their_reasons() {
        let note = |state, payments| job_note(JobSide::Provider, &job(state, payments));
        let has =
            |note: Option<String>, text: &str| assert!(note.as_ref().unwrap().contains(text), "{note:?}");
        has(note("cancelled", &[]), "stopped before its first unit");
        has(note("failed", &[]), "failed before its first unit");
        has(note("interrupted", &[]), "the node ended before");
        has(note("done", &[]), "no unit was ordered");
        has(
            note("cancelled", &[(4, "settled"), (1, "owed")]),
            "1 units (1 TFUEL) were delivered and not paid",
        );
        has(note("done", &[(2, "lapsed")]), "2 units (2 TFUEL) were not settled in time");
        assert_eq!(note("running", &[(3, "signed"), (1, "owed")]), None, "a running job may owe a unit");
        assert_eq!(note("done", &[(3, "signed")]), None);
    }
}
