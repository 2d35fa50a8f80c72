//! A small network with one validator: blocks are proposed and then verified, as on a real one.

use std::sync::Arc;

use theta_ledger::{BlockRules, Refusal, StateView, execute_block, propose_block};
use theta_state::{MemoryNodes, Trie};
use theta_types::rlp::Encode;
use theta_types::{
    Account, Address, Block, ChainRules, Coins, Height, HeightList, ReserveFundTx, ResourceId, SecretKey,
    SendTx, ServicePaymentTx, Split, SplitRule, SplitRuleTx, Stake, StakeHolder, Transaction, TxInput,
    TxOutput, ValidatorCandidatePool, ValidatorSet, Wei, keccak256,
};

/// The smallest fee of most kinds, in TFuelWei.
pub const FEE: u64 = 300_000_000_000_000_000;

pub struct Network {
    pub rules: ChainRules,
    pub state: Trie,
    /// Of the newest block.
    pub height: Height,
    pub validator: SecretKey,
}

/// A key made from a name.
pub fn key(name: &str) -> SecretKey {
    SecretKey::from_bytes(keccak256(name).as_slice()).unwrap()
}

pub fn tfuel(wei: u64) -> Coins {
    Coins::tfuel(Wei::from(wei))
}

/// Whole TFuel.
pub fn whole(coins: u64) -> Coins {
    Coins::tfuel(Wei::from_coins(coins))
}

pub fn fee() -> Coins {
    tfuel(FEE)
}

impl Network {
    /// At height 110, well away from a checkpoint, with these accounts, each with so many whole Theta and TFuel.
    pub fn with_accounts(accounts: &[(&SecretKey, u64)]) -> Self {
        let mut network = Self::empty(ChainRules::privatenet(), Height(110));
        for (owner, coins) in accounts {
            let balance = Coins::new(Wei::from_coins(*coins), Wei::from_coins(*coins));
            network.set_account(&Account { balance, ..Account::new(owner.address(), Height(0)) });
        }
        network
    }

    /// Nobody but the validator, who has nothing.
    pub fn empty(rules: ChainRules, height: Height) -> Self {
        let validator = key("validator");
        let mut state = Trie::empty(Arc::new(MemoryNodes::default()));
        let stake = Stake::new(validator.address(), Wei::from_coins(2_000_000));
        let pool = ValidatorCandidatePool {
            sorted_candidates: vec![StakeHolder { holder: validator.address(), stakes: vec![stake] }],
        };
        state.insert(b"ls/vcp", pool.to_rlp()).unwrap();
        state.insert(b"ls/sthl", HeightList { heights: vec![Height(0)] }.to_rlp()).unwrap();
        let mut network = Self { rules, state, height, validator };
        network.set_account(&Account::new(network.validator.address(), Height(0)));
        network
    }

    pub fn set_account(&mut self, account: &Account) {
        self.state.insert(&theta_ledger::keys::account(&account.address), account.to_rlp()).unwrap();
    }

    pub fn view(&self) -> StateView<'_> {
        StateView::new(&self.state, self.height)
    }

    /// The account as it is stored.
    pub fn account(&self, address: &Address) -> Account {
        self.view().stored_account(address).unwrap().unwrap()
    }

    pub fn tfuel_of(&self, owner: &SecretKey) -> Wei {
        self.account(&owner.address()).balance.tfuel
    }

    pub fn split_rule(&self, resource: &str) -> Option<SplitRule> {
        self.view().split_rule(&ResourceId::from(resource)).unwrap()
    }

    pub fn validators(&self) -> ValidatorSet {
        ValidatorSet::select(&self.view().validator_candidates().unwrap().unwrap())
    }

    /// Proposes a block of these transactions, verifies it, and goes on to its state. Gives the refusals, by position.
    pub fn block(&mut self, transactions: Vec<Transaction>) -> Vec<Option<Refusal>> {
        let raws: Vec<_> = transactions.iter().map(Transaction::encode).collect();
        self.raw_block(raws)
    }

    pub fn raw_block(&mut self, raws: Vec<Vec<u8>>) -> Vec<Option<Refusal>> {
        let rules = BlockRules::after(&self.rules, self.height);
        let validators = self.validators();
        let proposed = propose_block(rules, &validators, &self.state, &self.validator, raws.clone()).unwrap();

        let mut block = Block::default();
        block.header.state_hash = proposed.state.root();
        block.transactions = proposed.transactions;
        let executed = execute_block(rules, &validators, &self.state, &block).unwrap();
        assert_eq!(executed.state.root(), proposed.state.root());
        assert_eq!(executed.changes, proposed.changes);

        let mut refused = proposed.refused.into_iter().peekable();
        let mut outcome = Vec::new();
        for raw in raws {
            let hash = Transaction::hash_of_raw(&raw);
            outcome.push(refused.next_if(|(refused, _)| *refused == hash).map(|(_, refusal)| refusal));
        }
        assert!(refused.next().is_none());
        self.state = executed.state;
        self.height = self.height.next();
        outcome
    }

    /// One transaction in a block of its own; it has to be accepted.
    pub fn accept(&mut self, transaction: impl Into<Transaction>) {
        assert_eq!(self.block(vec![transaction.into()]), [None]);
    }

    /// One transaction in a block of its own; it has to be refused, and must leave nothing behind.
    pub fn refuse(&mut self, transaction: impl Into<Transaction>) -> Refusal {
        let root = self.state.root();
        let refusal = self.block(vec![transaction.into()]).remove(0).expect("the transaction was accepted");
        assert_eq!(self.state.root(), root, "a refused transaction changed the state");
        refusal
    }

    /// Blocks without transactions until the height is reached.
    pub fn run_to(&mut self, height: u64) {
        while self.height < Height(height) {
            self.block(Vec::new());
        }
    }

    /// The next sequence of an account.
    pub fn next_sequence(&self, owner: &SecretKey) -> u64 {
        self.account(&owner.address()).sequence + 1
    }

    pub fn send(&self, from: &SecretKey, to: Address, coins: &Coins) -> SendTx {
        let sent = coins + &fee();
        let mut tx = SendTx {
            fee: fee(),
            inputs: vec![TxInput::unsigned(from.address(), sent, self.next_sequence(from))],
            outputs: vec![TxOutput { address: to, coins: coins.clone() }],
        };
        tx.sign(&self.rules.chain_id, from);
        tx
    }

    pub fn reserve(
        &self,
        payer: &SecretKey,
        fund: &Coins,
        collateral: &Coins,
        resource: &str,
    ) -> ReserveFundTx {
        let mut tx = ReserveFundTx {
            fee: fee(),
            source: TxInput::unsigned(payer.address(), fund.clone(), self.next_sequence(payer)),
            collateral: collateral.clone(),
            resource_ids: vec![ResourceId::from(resource)],
            duration: 1_000,
        };
        tx.sign(&self.rules.chain_id, payer);
        tx
    }

    pub fn split(
        &self,
        initiator: &SecretKey,
        resource: &str,
        splits: &[(Address, u64)],
        duration: u64,
    ) -> SplitRuleTx {
        let mut tx = SplitRuleTx {
            fee: fee(),
            resource_id: ResourceId::from(resource),
            initiator: TxInput::unsigned(initiator.address(), Coins::zero(), self.next_sequence(initiator)),
            splits: splits
                .iter()
                .map(|(address, percentage)| Split { address: *address, percentage: *percentage })
                .collect(),
            duration,
        };
        tx.sign(&self.rules.chain_id, initiator);
        tx
    }

    /// A payment signed by both sides.
    pub fn payment(
        &self,
        payer: &SecretKey,
        target: &SecretKey,
        amount: &Coins,
        what: Payment<'_>,
    ) -> ServicePaymentTx {
        let mut tx = ServicePaymentTx {
            fee: fee(),
            source: TxInput::unsigned(payer.address(), amount.clone(), 0),
            target: TxInput::unsigned(target.address(), Coins::zero(), 0),
            payment_sequence: what.sequence,
            reserve_sequence: what.reserve,
            resource_id: ResourceId::from(what.resource),
        };
        tx.sign_as_source(&self.rules.chain_id, payer);
        tx.sign_as_target(&self.rules.chain_id, target);
        tx
    }

    /// Everything that the ledger holds: balances, reserves with their collaterals, stakes.
    pub fn total(&self) -> Coins {
        let mut total = Coins::zero();
        for entry in self.state.entries(theta_ledger::keys::ACCOUNTS) {
            let (_, value) = entry.unwrap();
            let account = <Account as theta_types::Decode>::from_rlp(&value).unwrap();
            total += account.balance;
            for fund in account.reserved_funds {
                total += fund.returned_on_release();
            }
        }
        let pool = self.view().validator_candidates().unwrap().unwrap();
        let stakes = pool.sorted_candidates.iter().flat_map(|candidate| &candidate.stakes);
        total.theta += stakes.map(|stake| &stake.amount).sum::<Wei>();
        total
    }
}

/// What a payment says besides who, whom and how much.
#[derive(Clone, Copy)]
pub struct Payment<'a> {
    pub reserve: u64,
    pub sequence: u64,
    pub resource: &'a str,
}
