//! SIGKILL at any moment of a payment's way: chain, journal and the books of both sides agree each time.
//!
//! A child process trades with itself as fast as the disk lets it: a payer reserves, signs vouchers and pays; a provider delivers, keeps
//! the vouchers and settles them on a chain that runs beside them. Each of the three has a folder of its own. The parent kills it at a
//! drawn moment and looks at what is on the disk.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use edge_jobs::{JobId, JobKind};
use edge_market::{
    JobShare, LineId, StoreError, SystemClock,
    payee::{Payee, PayeeBook, PayeeChange, PayeeConfig, PayeeLedger, PayeeLine, PayeeStore, PayeeTerms},
    payer::{
        Payer, PayerBook, PayerChange, PayerConfig, PayerLedger, PayerLine, PayerStore, PayerTerms, UnitsDue,
    },
};
use theta_consensus::{Chain, ChainConfig, ChainHandle, GenesisSource, Timing, local_network, verify};
use theta_ledger::MempoolLimits;
use theta_types::{
    Account, Address, ChainRules, Coins, Decode, Height, SecretKey, Transaction, TxHash, Wei, keccak256,
};
use theta_wallet::{
    ChainAccess, JournalEntry, JournalError, TransactionSender, TxJournal, TxOutcome, TxRequest, Wallet,
};
use thetis::{
    chain::OwnChain,
    database::{Database, PayeeBooks, PayerBooks},
};

const FOLDER: &str = "THETIS_KILLS_FOLDER";
/// How often the child is killed.
const KILLS: &str = "THETIS_KILLS";
const SEED: &str = "THETIS_KILLS_SEED";
/// After so many kills a new chain begins, so that checking each from genesis stays short.
const KILLS_PER_CHAIN: u64 = 20;
const BLOCK: Duration = Duration::from_millis(15);
/// What the faucet, who pays here, has at the beginning, and what it gives to the provider for its fees.
const SUPPLY_TFUEL: u64 = 5_000_000_000;
const GIFT_TFUEL: u64 = 100;

fn key(byte: u8) -> SecretKey {
    SecretKey::from_bytes(&[byte; 32]).unwrap()
}

fn validator() -> SecretKey {
    key(1)
}

fn payer() -> Wallet {
    Wallet::unlocked(key(2))
}

fn provider() -> Wallet {
    Wallet::unlocked(key(3))
}

fn price() -> Wei {
    Wei::from(130_000_000_000_000_000u64)
}

fn payer_terms() -> PayerTerms {
    PayerTerms { fund: Wei::from_coins(4), duration: 300, ..PayerTerms::default() }
}

fn payee_terms() -> PayeeTerms {
    // Credit for the one unit whose voucher may be lost with the process.
    PayeeTerms { settle_at_fees: 2, credit: price(), freeze_wait: 0, ..PayeeTerms::default() }
}

/// A chain in this folder; without the validator's key it stands still.
fn open_chain(folder: &Path, validator: Option<SecretKey>) -> ChainHandle {
    let (mut network, genesis) = local_network(self::validator().address(), payer().address()).unwrap();
    network.timing = Timing { min_block_interval: BLOCK, max_epoch_length: 2 * BLOCK };
    Chain::start(ChainConfig {
        data_dir: folder.join("chain"),
        network,
        genesis: GenesisSource::Made(Box::new(genesis)),
        validator,
        mempool: MempoolLimits::default(),
    })
    .unwrap()
}

fn open_database(folder: &Path, whose: &str) -> Database {
    std::fs::create_dir_all(folder.join(whose)).unwrap();
    Database::open(&folder.join(whose).join("thetis.sqlite")).unwrap()
}

/// A store that says when a write begins and when it is durable.
#[derive(Debug)]
struct Told<T>(T);

fn say(word: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{word}").and_then(|()| out.flush()).unwrap();
}

impl PayerStore for Told<PayerBooks> {
    fn load(&self) -> Result<PayerBook, StoreError> {
        self.0.load()
    }

    fn apply(&self, changes: &[PayerChange]) -> Result<(), StoreError> {
        say("write");
        self.0.apply(changes).inspect(|()| say("commit"))
    }

    fn shares(&self, job: JobId) -> Result<Vec<JobShare>, StoreError> {
        self.0.shares(job)
    }

    fn line(&self, id: LineId) -> Result<Option<PayerLine>, StoreError> {
        self.0.line(id)
    }
}

impl PayeeStore for Told<PayeeBooks> {
    fn load(&self) -> Result<PayeeBook, StoreError> {
        self.0.load()
    }

    fn apply(&self, changes: &[PayeeChange]) -> Result<(), StoreError> {
        say("write");
        self.0.apply(changes).inspect(|()| say("commit"))
    }

    fn shares(&self, job: JobId) -> Result<Vec<JobShare>, StoreError> {
        self.0.shares(job)
    }

    fn line(&self, id: LineId) -> Result<Option<PayeeLine>, StoreError> {
        self.0.line(id)
    }
}

#[async_trait]
impl TxJournal for Told<Database> {
    async fn record(&self, entry: JournalEntry) -> Result<(), JournalError> {
        say("write");
        self.0.record(entry).await.inspect(|()| say("commit"))
    }

    async fn conclude(&self, hash: TxHash, outcome: TxOutcome) -> Result<(), JournalError> {
        say("write");
        self.0.conclude(hash, outcome).await.inspect(|()| say("commit"))
    }

    async fn open(&self, sender: Address) -> Result<Vec<JournalEntry>, JournalError> {
        self.0.open(sender).await
    }

    async fn of_request(&self, sender: Address, id: &str) -> Result<Option<JournalEntry>, JournalError> {
        self.0.of_request(sender, id).await
    }
}

/// Runs in the child process only, until it is killed.
#[test]
fn child() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(trade(Path::new(&folder)));
}

async fn trade(folder: &Path) {
    let chain = open_chain(folder, Some(validator()));
    let access: Arc<dyn ChainAccess> = Arc::new(OwnChain::new(chain));
    let (payer_db, provider_db) = (open_database(folder, "payer"), open_database(folder, "provider"));
    say("");
    let sender = |wallet: Wallet, database: &Database| {
        let journal = Arc::new(Told(database.clone()));
        TransactionSender::start(access.clone(), wallet, journal, ChainRules::local())
    };
    let transactions = sender(payer(), &payer_db);
    let gift = TxRequest::send(provider().address(), Coins::tfuel(Wei::from_coins(GIFT_TFUEL)));
    transactions.send("gift", gift).await.unwrap().outcome().await.unwrap();

    let payer = Payer::start(PayerConfig {
        wallet: payer(),
        chain: access.clone(),
        transactions,
        store: Arc::new(Told(PayerBooks(payer_db))),
        terms: payer_terms(),
        clock: Arc::new(SystemClock),
    })
    .unwrap();
    let payee = Payee::start(PayeeConfig {
        wallet: provider(),
        chain: access.clone(),
        transactions: sender(provider(), &provider_db),
        store: Arc::new(Told(PayeeBooks(provider_db))),
        terms: payee_terms(),
        clock: Arc::new(SystemClock),
    })
    .unwrap();
    let resource = payee.resource().wait_for(Option::is_some).await.unwrap().clone().unwrap();
    payer.introduce(provider().address(), resource).await.unwrap();
    loop {
        let ended = session(&payer, &payee).await;
        say(&format!("session ended: {ended}"));
    }
}

/// Units are delivered and paid until one side does not go on, as at the end of a reserve.
async fn session(payer: &Payer, payee: &Payee) -> Box<dyn std::error::Error> {
    let (job, provider, price) = (JobId::random(), provider().address(), price());
    let run = async {
        payer.ensure(provider, price.clone()).await?;
        let voucher = payer.settle_up(provider).await?;
        let reserve = payer.read(move |ledger| ledger.open_reserve(provider)).await?;
        let own = payer.address();
        payee.look_at(own, reserve, voucher.as_ref()).await?;
        let session = payee.open(own, job, JobKind::Chat, price.clone(), voucher).await?;
        for units in 1.. {
            payer.authorize(job, price.clone()).await?;
            payer.ensure(provider, price.clone()).await?;
            let delivered = payee.deliver(session, 1).await?;
            assert_eq!(delivered, units);
            let due = UnitsDue { provider, job, kind: JobKind::Chat, price: price.clone(), units };
            let voucher = payer.pay(due, Wei::zero()).await?;
            let paid = payee.pay(own, session, units, voucher).await?;
            if let Some(line) = paid.freeze {
                let asked = LineId { counterparty: provider, ..line };
                let last = payer.freeze(asked).await?;
                payee.frozen(own, line, last).await?;
            }
        }
        payee.close(session).await?;
        Ok::<_, Box<dyn std::error::Error>>(())
    };
    let error = run.await.unwrap_err();
    payer.release(job).await.unwrap();
    error
}

#[derive(Debug, Default)]
struct Said {
    writing: i64,
    writes: u64,
}

impl Said {
    fn hear(&mut self, line: &str) {
        match line {
            "write" => {
                self.writing += 1;
                self.writes += 1;
            }
            "commit" => self.writing -= 1,
            _ => {}
        }
    }
}

/// Lets the child run for a while after its first write, kills it, and gives what it had said.
fn run_and_kill(folder: &Path, after: Duration) -> Said {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["child", "--exact", "--nocapture", "--test-threads=1"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut said = Said::default();
    while said.writes == 0 {
        said.hear(&lines.next().expect("the child starts").unwrap());
    }
    // Read on, or the pipe would fill up and the child wait.
    let reader = std::thread::spawn(move || {
        lines.map_while(Result::ok).for_each(|line| said.hear(&line));
        said
    });
    std::thread::sleep(after);
    // SIGKILL on Unix.
    child.kill().unwrap();
    child.wait().unwrap();
    reader.join().unwrap()
}

#[test]
fn chain_journal_and_books_agree_after_every_kill() {
    let kills: u64 = std::env::var(KILLS).map_or(200, |kills| kills.parse().unwrap());
    let seed: u64 = std::env::var(SEED).map_or(1, |seed| seed.parse().unwrap());
    println!("{kills} kills with seed {seed}");
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (mut between, mut writes, mut units, mut payments) = (0, 0, 0, 0);
    for generation in 0..kills.div_ceil(KILLS_PER_CHAIN) {
        let folder = tempfile::tempdir().unwrap();
        let mut seen = Seen::default();
        for kill in generation * KILLS_PER_CHAIN..kills.min((generation + 1) * KILLS_PER_CHAIN) {
            let draw = keccak256([seed.to_be_bytes(), kill.to_be_bytes()].concat());
            let after = Duration::from_micros(u64::from_be_bytes(draw[..8].try_into().unwrap()) % 400_000);
            let said = run_and_kill(folder.path(), after);
            between += u64::from(said.writing > 0);
            writes += said.writes;
            println!("kill {kill} after {after:?}, {} writes, writing: {}", said.writes, said.writing > 0);
            seen = runtime.block_on(look(folder.path(), &seen));
        }
        units += seen.units;
        payments += seen.payments;
    }
    println!(
        "{between} of {kills} kills fell between write and commit; {writes} writes, {units} units paid, {payments} settlements"
    );
    assert!(kills < 200 || between >= 50, "too few kills while something was written: {between}");
    assert!(kills < 200 || (payments > 20 && units > 200), "{payments} settlements, {units} units");
}

/// What was there after a kill. It never becomes less.
#[derive(Debug, Default)]
struct Seen {
    agreed: Wei,
    known: Wei,
    settled: Wei,
    units: u64,
    payments: u64,
}

/// Opens everything as the next start would, and compares.
async fn look(folder: &Path, before: &Seen) -> Seen {
    let report = verify(&folder.join("chain"), &ChainRules::local(), None, |_| {}).unwrap();
    let chain = open_chain(folder, None);
    let (payer_db, provider_db) = (open_database(folder, "payer"), open_database(folder, "provider"));
    let (on_chain, minted) = transactions_of(&chain, report.final_height);

    // Journal and chain: what is on the chain was journaled with these bytes; what the journal calls final is there.
    let own = |from: Address| on_chain.iter().filter(move |(_, (_, sender, _))| *sender == Some(from));
    for (wallet, database) in [(payer(), &payer_db), (provider(), &provider_db)] {
        let journal = database.wallet_transactions(wallet.address(), u32::MAX).await.unwrap();
        let mut requests = BTreeSet::new();
        for entry in &journal {
            assert!(requests.insert(&entry.request_id), "{} was made twice", entry.request_id);
            match &entry.outcome {
                Some(TxOutcome::Final { height }) => {
                    assert_eq!(on_chain.get(&entry.hash).map(|found| found.0), Some(*height), "{entry:?}");
                }
                Some(other) => panic!("{other:?} of {}", entry.request_id),
                None => {}
            }
        }
        for (hash, _) in own(wallet.address()) {
            let entries = journal.iter().filter(|entry| entry.hash == *hash).count();
            assert_eq!(entries, 1, "transaction {hash} is on the chain and not in the journal");
        }
        let open = journal.iter().filter(|entry| entry.outcome.is_none()).count();
        assert!(open <= 1, "{open} transactions are open at one time");
    }

    // The books, brought up to the chain as a start does.
    let mut seen = books(&chain, payer_db, provider_db, report.final_height);
    seen.payments = on_chain.values().filter(|(_, sender, _)| sender.is_none()).count() as u64;
    assert!(seen.agreed >= before.agreed, "the payer forgot what it agreed to: {seen:?} after {before:?}");
    // A reserve may have ended: then what was not worth a fee is forgone, which is not lost.
    assert!(seen.known >= before.known, "the provider lost a voucher: {seen:?} after {before:?}");
    assert!(seen.settled >= before.settled);

    // Wei for wei: balances and reserves are what there was and what was minted since, less the fees.
    let fees: Wei = on_chain.values().map(|(_, _, fee)| fee).sum();
    let (_, state) = chain.final_state();
    let mut there = Wei::zero();
    for entry in state.entries(b"ls/a/") {
        let account = Account::from_rlp(&entry.unwrap().1).unwrap();
        there += account.balance.tfuel;
        there += account.reserved_funds.iter().map(|fund| fund.returned_on_release().tfuel).sum::<Wei>();
    }
    assert_eq!(there + fees, Wei::from_coins(SUPPLY_TFUEL) + minted, "coins appeared or vanished");
    chain.shutdown().await;
    seen
}

/// By hash: height, whose sequence it takes (nobody's of a payment), and its fee.
type OnChain = BTreeMap<TxHash, (Height, Option<Address>, Wei)>;

/// All transactions but coinbases, and what those minted.
fn transactions_of(chain: &ChainHandle, last: Height) -> (OnChain, Wei) {
    let (mut found, mut minted) = (OnChain::new(), Wei::zero());
    for height in (1..=last.0).map(Height) {
        for raw in chain.block_at(height).unwrap().unwrap().block.transactions {
            let (sender, fee) = match Transaction::decode(&raw).unwrap() {
                Transaction::Coinbase(tx) => {
                    minted += tx.outputs.iter().map(|output| &output.coins.tfuel).sum::<Wei>();
                    continue;
                }
                Transaction::Send(tx) => (Some(tx.inputs[0].address), tx.fee),
                Transaction::ReserveFund(tx) => (Some(tx.source.address), tx.fee),
                Transaction::SplitRule(tx) => (Some(tx.initiator.address), tx.fee),
                Transaction::ServicePayment(tx) => (None, tx.fee),
                other @ Transaction::ReleaseFund(_) => panic!("{other:?}"),
            };
            let twice = found.insert(Transaction::hash_of_raw(&raw), (height, sender, fee.tfuel));
            assert_eq!(twice, None, "a transaction is on the chain twice");
        }
    }
    (found, minted)
}

fn books(chain: &ChainHandle, payer_db: Database, provider_db: Database, height: Height) -> Seen {
    let id = chain.status().chain_id;
    let store = Arc::new(PayerBooks(payer_db));
    let mut book = PayerLedger::open(payer(), id.clone(), payer_terms(), store).unwrap();
    let account = chain.account(&payer().address()).unwrap().unwrap();
    book.observe(&account, height).unwrap();
    let store = Arc::new(PayeeBooks(provider_db));
    let Some(resource) = store.load().unwrap().resource else { return Seen::default() };
    let rule = chain.split_rule(&resource).unwrap();
    let mut till = PayeeLedger::open(provider().address(), id, resource, payee_terms(), store).unwrap();
    till.set_rule(rule);
    till.observe(payer().address(), Some(&account), height).unwrap();

    let (spent, earned) = (book.summary(), till.earnings());
    let agreed = book.agreed(provider().address());
    let held = &earned.settled + &earned.signed;
    assert_eq!(&spent.settled + &spent.signed + spent.owed.clone(), agreed, "{spent:?}");
    // A unit is in the provider's book before it is delivered, and in the payer's before its voucher goes out.
    assert!(held <= agreed, "the provider holds more than was agreed: {earned:?}, {agreed}");
    // What is missing: one voucher on its way, and vouchers that were not worth their fee when their reserve ended.
    let one = price();
    let missing = agreed.saturating_sub(&held);
    assert!(missing <= &earned.forgone + &one, "more than one unit is missing: {earned:?}, {agreed}");
    assert_eq!(earned.settled, spent.settled, "what is settled is one number");
    assert!(earned.lost <= one, "the payer is blamed for what died with the provider: {earned:?}");
    let units = (0..).find(|units| &price() * *units >= agreed).unwrap();
    Seen { agreed, known: held + earned.forgone, settled: earned.settled, units, payments: 0 }
}
