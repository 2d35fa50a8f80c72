//! The state as transactions see it: typed values over a parent state, with changes on top.

use std::collections::BTreeMap;
use std::fmt;

use theta_state::Trie;
use theta_types::rlp::{Decode, Encode};
use theta_types::{Account, Address, Height, HeightList, ResourceId, SplitRule, ValidatorCandidatePool};

use crate::error::LedgerError;
use crate::keys;

/// Key to new value; `None` deletes the key.
pub type StateChanges = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// A parent state with changes on top, in two layers: what is kept, and the draft of the transaction under way. A refused transaction
/// therefore leaves nothing behind.
pub struct StateView<'s> {
    base: &'s Trie,
    height: Height,
    kept: StateChanges,
    draft: StateChanges,
}

impl<'s> StateView<'s> {
    /// The post-state of a block of this height, unchanged.
    pub fn new(base: &'s Trie, height: Height) -> Self {
        Self::with_changes(base, height, StateChanges::new())
    }

    /// The same with changes made earlier.
    pub fn with_changes(base: &'s Trie, height: Height, kept: StateChanges) -> Self {
        Self { base, height, kept, draft: StateChanges::new() }
    }

    /// Height of the block whose post-state this is: "now" for everything that expires.
    pub fn height(&self) -> Height {
        self.height
    }

    /// Makes the draft permanent.
    pub fn keep(&mut self) {
        self.kept.append(&mut self.draft);
    }

    /// Forgets the draft.
    pub fn discard(&mut self) {
        self.draft.clear();
    }

    /// All that was kept.
    pub fn into_changes(self) -> StateChanges {
        self.kept
    }

    /// The account as it is stored, with reserves that have ended still in it.
    ///
    /// # Errors
    /// The state cannot be read.
    pub fn stored_account(&self, address: &Address) -> Result<Option<Account>, LedgerError> {
        self.value(&keys::account(address))
    }

    /// The account as transactions see it: reserves whose freeze is over at [`Self::height`] are back in the balance (spec 02
    /// section 7.4). That is stored only when the account is.
    ///
    /// # Errors
    /// The state cannot be read.
    pub fn account(&self, address: &Address) -> Result<Option<Account>, LedgerError> {
        let mut account = self.stored_account(address)?;
        if let Some(account) = &mut account {
            crate::reserve::release_ended(account, self.height);
        }
        Ok(account)
    }

    /// Like [`Self::account`]; a new one for an address without (spec 02 section 1.4).
    ///
    /// # Errors
    /// The state cannot be read.
    pub fn account_or_new(&self, address: &Address) -> Result<Account, LedgerError> {
        Ok(self.account(address)?.unwrap_or_else(|| Account::new(*address, self.height)))
    }

    /// Stores an account.
    pub fn set_account(&mut self, account: &Account) {
        self.set(keys::account(&account.address), account.to_rlp());
    }

    /// The split rule of a resource, ended or not.
    ///
    /// # Errors
    /// The state cannot be read.
    pub fn split_rule(&self, resource_id: &ResourceId) -> Result<Option<SplitRule>, LedgerError> {
        self.value(&keys::split_rule(resource_id))
    }

    /// Stores a split rule under its resource.
    pub fn set_split_rule(&mut self, rule: &SplitRule) {
        self.set(keys::split_rule(&rule.resource_id), rule.to_rlp());
    }

    /// Deletes the split rule of a resource.
    pub fn delete_split_rule(&mut self, resource_id: &ResourceId) {
        self.draft.insert(keys::split_rule(resource_id), None);
    }

    /// Deletes all split rules that ended before [`Self::height`].
    ///
    /// # Errors
    /// The state cannot be read.
    pub fn delete_ended_split_rules(&mut self) -> Result<(), LedgerError> {
        for (key, value) in self.scan(keys::SPLIT_RULES)? {
            let rule: SplitRule = decode(&key, &value)?;
            if rule.end_height < self.height {
                self.draft.insert(key, None);
            }
        }
        Ok(())
    }

    /// The validator candidates.
    ///
    /// # Errors
    /// The state cannot be read.
    pub fn validator_candidates(&self) -> Result<Option<ValidatorCandidatePool>, LedgerError> {
        self.value(keys::VALIDATOR_CANDIDATES)
    }

    /// Stores the validator candidates.
    pub fn set_validator_candidates(&mut self, pool: &ValidatorCandidatePool) {
        self.set(keys::VALIDATOR_CANDIDATES.to_vec(), pool.to_rlp());
    }

    /// Heights of the blocks that changed validator stakes.
    ///
    /// # Errors
    /// The state cannot be read.
    pub fn stake_heights(&self) -> Result<Option<HeightList>, LedgerError> {
        self.value(keys::STAKE_HEIGHTS)
    }

    /// Fails when the state holds pools whose rules are not built yet: going on would lead to other states than the chain's.
    ///
    /// # Errors
    /// [`LedgerError::UnsupportedPool`].
    pub fn require_known_pools(&self) -> Result<(), LedgerError> {
        if self.get(keys::GUARDIAN_CANDIDATES)?.is_some() {
            return Err(LedgerError::UnsupportedPool("guardian pool"));
        }
        if !self.scan(keys::ELITE_EDGE_NODES)?.is_empty() {
            return Err(LedgerError::UnsupportedPool("pool of elite edge nodes"));
        }
        Ok(())
    }

    fn value<T: Decode>(&self, key: &[u8]) -> Result<Option<T>, LedgerError> {
        self.get(key)?.map(|value| decode(key, &value)).transpose()
    }

    fn set(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.draft.insert(key, Some(value));
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, LedgerError> {
        match self.draft.get(key).or_else(|| self.kept.get(key)) {
            Some(changed) => Ok(changed.clone()),
            None => Ok(self.base.get(key)?.map(|value| value.to_vec())),
        }
    }

    fn scan(&self, prefix: &[u8]) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, LedgerError> {
        let mut found = BTreeMap::new();
        for entry in self.base.entries(prefix) {
            let (key, value) = entry?;
            found.insert(key, value.to_vec());
        }
        for layer in [&self.kept, &self.draft] {
            let changed = layer.range(prefix.to_vec()..).take_while(|(key, _)| key.starts_with(prefix));
            for (key, value) in changed {
                match value {
                    Some(value) => found.insert(key.clone(), value.clone()),
                    None => found.remove(key),
                };
            }
        }
        Ok(found)
    }
}

impl fmt::Debug for StateView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StateView")
            .field("height", &self.height)
            .field("kept", &self.kept.len())
            .field("draft", &self.draft.len())
            .finish_non_exhaustive()
    }
}

fn decode<T: Decode>(key: &[u8], value: &[u8]) -> Result<T, LedgerError> {
    T::from_rlp(value).map_err(|error| LedgerError::Damaged { key: key.to_vec(), error })
}
