//! A chain that executes theta-ledger, with blocks when the test wants them: exact, and 300 blocks take no time.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use theta_ledger::{BlockExecutor, BlockRules, StateView};
use theta_state::{GenesisBuilder, Trie};
use theta_types::{
    Account, Address, ChainRules, Coins, Height, ReserveFundTx, ResourceId, SendTx, Split, SplitRule,
    SplitRuleTx, Transaction, TxHash, TxInput, TxOutput, ValidatorSet, Wei,
};
use theta_wallet::{ChainAccess, ChainError, TxStatus, Wallet};
use tokio::sync::watch;

use super::fee;

#[derive(Debug)]
pub struct TestChain {
    rules: ChainRules,
    state: Mutex<State>,
    heights: watch::Sender<Height>,
    supply: Wei,
}

#[derive(Debug)]
struct State {
    trie: Trie,
    height: u64,
    waiting: Vec<Vec<u8>>,
    included: HashMap<TxHash, Height>,
    fees: Wei,
    /// Submissions fail as if the node could not be reached.
    unreachable: bool,
}

impl TestChain {
    /// A chain on which each of these has 1,000 TFuel.
    pub fn new(rich: &[Address]) -> Arc<Self> {
        let rules = ChainRules::local();
        let validator = super::wallet(250).address();
        let stake = Wei::from_coins(50_000_000);
        let mut genesis = GenesisBuilder::new(rules.chain_id.clone(), 1_700_000_000)
            .fund(validator, Coins::theta(stake.clone()))
            .stake(validator, validator, stake);
        for address in rich {
            genesis = genesis.fund(*address, Coins::tfuel(Wei::from_coins(1_000)));
        }
        let trie = genesis.build().unwrap().state().clone();
        let state = State {
            trie,
            height: 0,
            waiting: Vec::new(),
            included: HashMap::new(),
            fees: Wei::zero(),
            unreachable: false,
        };
        let chain = Arc::new(Self {
            rules,
            state: Mutex::new(state),
            heights: watch::Sender::new(Height(0)),
            supply: Wei::from_coins(1_000) * rich.len() as u64,
        });
        // Past the fork heights.
        chain.produce(3);
        chain
    }

    pub fn id(&self) -> String {
        self.rules.chain_id.clone()
    }

    pub fn rules(&self) -> ChainRules {
        self.rules.clone()
    }

    pub fn height(&self) -> Height {
        *self.heights.borrow()
    }

    /// Makes blocks; the first takes what waits.
    pub fn produce(&self, blocks: u64) {
        for _ in 0..blocks {
            let mut state = self.state.lock().unwrap();
            let validators = ValidatorSet::default();
            let parent = state.trie.clone();
            let rules = BlockRules::after(&self.rules, Height(state.height));
            let mut executor = BlockExecutor::new(rules, &validators, &parent).unwrap();
            let height = Height(state.height + 1);
            for raw in std::mem::take(&mut state.waiting) {
                if let Ok(done) = executor.execute(&raw) {
                    let fee = done.fee().map(|fee| fee.tfuel.clone()).unwrap_or_default();
                    state.fees += fee;
                    state.included.insert(Transaction::hash_of_raw(&raw), height);
                }
            }
            for (key, value) in executor.finish().unwrap() {
                match value {
                    Some(value) => state.trie.insert(&key, value).unwrap(),
                    None => state.trie.remove(&key).unwrap(),
                }
            }
            state.height += 1;
            drop(state);
            self.heights.send_replace(height);
        }
    }

    /// Makes a block every so often, until the guard is dropped.
    pub fn run(self: &Arc<Self>, every: Duration) -> Running {
        let chain = self.clone();
        let task = tokio::spawn(async move {
            loop {
                tokio::time::sleep(every).await;
                chain.produce(1);
            }
        });
        Running(task.abort_handle())
    }

    pub fn submit_now(&self, transaction: impl Into<Transaction>) -> Result<TxHash, ChainError> {
        self.take(transaction.into().encode())
    }

    /// Submits, and makes a block with it.
    pub fn include(&self, transaction: impl Into<Transaction>) {
        let hash = self.submit_now(transaction).unwrap();
        self.produce(1);
        assert!(self.state.lock().unwrap().included.contains_key(&hash));
    }

    pub fn set_unreachable(&self, unreachable: bool) {
        self.state.lock().unwrap().unreachable = unreachable;
    }

    pub fn of(&self, address: Address) -> Account {
        self.account_now(address).unwrap_or_else(|| Account::new(address, Height(0)))
    }

    pub fn balance(&self, address: Address) -> Wei {
        self.of(address).balance.tfuel
    }

    pub fn rule(&self, resource: &ResourceId) -> Option<SplitRule> {
        let state = self.state.lock().unwrap();
        StateView::new(&state.trie, Height(state.height)).split_rule(resource).unwrap()
    }

    /// Gives coins to somebody.
    pub fn give(&self, from: &Wallet, to: Address, amount: Wei) {
        let (fee, amount) = (Coins::tfuel(fee()), Coins::tfuel(amount));
        let sequence = self.of(from.address()).sequence + 1;
        let mut tx = SendTx {
            fee: fee.clone(),
            inputs: vec![TxInput::unsigned(from.address(), amount.clone() + fee, sequence)],
            outputs: vec![TxOutput { address: to, coins: amount }],
        };
        from.sign_send(&self.id(), &mut tx).unwrap();
        self.include(tx);
    }

    /// Registers a rule for a resource.
    pub fn register(&self, owner: &Wallet, resource: &ResourceId, splits: Vec<Split>, duration: u64) {
        let sequence = self.of(owner.address()).sequence + 1;
        let mut tx = SplitRuleTx {
            fee: Coins::tfuel(fee()),
            resource_id: resource.clone(),
            initiator: TxInput::unsigned(owner.address(), Coins::zero(), sequence),
            splits,
            duration,
        };
        owner.sign_split_rule(&self.id(), &mut tx).unwrap();
        self.include(tx);
    }

    /// Reserves a fund; its sequence.
    pub fn reserve(&self, payer: &Wallet, resources: Vec<ResourceId>, fund: Wei, duration: u64) -> u64 {
        let sequence = self.of(payer.address()).sequence + 1;
        let mut tx = ReserveFundTx {
            fee: Coins::tfuel(fee()),
            source: TxInput::unsigned(payer.address(), Coins::tfuel(fund.clone()), sequence),
            collateral: Coins::tfuel(fund + Wei::from(1u64)),
            resource_ids: resources,
            duration,
        };
        payer.sign_reserve(&self.id(), &mut tx).unwrap();
        self.include(tx);
        sequence
    }

    /// Balances, and what reserves hold, and fees burnt, are what there was at the beginning, wei for wei.
    pub fn audit(&self) {
        let state = self.state.lock().unwrap();
        let mut sum = state.fees.clone();
        for entry in state.trie.entries(b"ls/a/") {
            let (_, value) = entry.unwrap();
            let account = <Account as theta_types::Decode>::from_rlp(&value).unwrap();
            sum += account.balance.tfuel;
            for fund in &account.reserved_funds {
                sum += fund.returned_on_release().tfuel;
            }
        }
        assert_eq!(sum, self.supply, "coins appeared or vanished");
    }

    fn account_now(&self, address: Address) -> Option<Account> {
        let state = self.state.lock().unwrap();
        StateView::new(&state.trie, Height(state.height)).account(&address).unwrap()
    }

    fn take(&self, raw: Vec<u8>) -> Result<TxHash, ChainError> {
        let hash = Transaction::hash_of_raw(&raw);
        let mut state = self.state.lock().unwrap();
        if state.unreachable {
            return Err(ChainError::Unreachable("switched off".into()));
        }
        if state.included.contains_key(&hash) || state.waiting.contains(&raw) {
            return Ok(hash);
        }
        // As a mempool screens: on top of what waits.
        let validators = ValidatorSet::default();
        let parent = state.trie.clone();
        let rules = BlockRules::after(&self.rules, Height(state.height));
        let mut executor = BlockExecutor::new(rules, &validators, &parent).unwrap();
        for before in &state.waiting {
            let _ = executor.execute(before);
        }
        executor.execute(&raw).map_err(|error| ChainError::Refused(error.to_string()))?;
        state.waiting.push(raw);
        Ok(hash)
    }
}

/// Stops the blocks when it is dropped.
#[derive(Debug)]
pub struct Running(tokio::task::AbortHandle);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[async_trait]
impl ChainAccess for TestChain {
    fn chain_id(&self) -> String {
        self.id()
    }

    async fn submit(&self, raw: Vec<u8>) -> Result<TxHash, ChainError> {
        self.take(raw)
    }

    async fn account(&self, address: Address) -> Result<Option<Account>, ChainError> {
        Ok(self.account_now(address))
    }

    async fn finalized_height(&self) -> Result<Height, ChainError> {
        Ok(self.height())
    }

    async fn split_rule(&self, resource: &str) -> Result<Option<SplitRule>, ChainError> {
        Ok(self.rule(&ResourceId::from(resource)))
    }

    async fn transaction(&self, hash: TxHash) -> Result<TxStatus, ChainError> {
        let state = self.state.lock().unwrap();
        Ok(match state.included.get(&hash) {
            Some(height) => TxStatus::Finalized { height: *height },
            None if state.waiting.iter().any(|raw| Transaction::hash_of_raw(raw) == hash) => {
                TxStatus::Pending
            }
            None => TxStatus::NotFound,
        })
    }

    fn heights(&self) -> watch::Receiver<Height> {
        self.heights.subscribe()
    }
}
