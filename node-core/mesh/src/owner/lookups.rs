//! Questions to the hash table, and what it stores for others.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use libp2p::{
    PeerId,
    kad::{
        self, GetClosestPeersError, GetProvidersOk, GetRecordOk, InboundRequest, Mode, QueryId, QueryResult,
        store::RecordStore,
    },
};
use theta_types::Address;
use tokio::sync::oneshot;

use super::{MAX_LOOKUPS, Owner};
use crate::{
    Fault, MeshError, SignedRecord,
    provider_ledger::MAX_KEY_BYTES,
    record::{self, MAX_RECORD_BYTES, MAX_RECORD_NAME_BYTES, now_ms},
};

/// Providers that are enough.
const ENOUGH_PROVIDERS: usize = 32;
/// Keys that this node may provide.
const MAX_PROVIDED: usize = 16_384;
/// Records that one wallet may keep here.
const MAX_RECORDS_OF_A_WALLET: usize = 16;
/// New peers are waited for this long before provided keys are announced to them.
const ANNOUNCE_AFTER: Duration = Duration::from_millis(500);

type Answer<T> = oneshot::Sender<Result<T, MeshError>>;

/// A question that was asked, and who waits for its answer.
pub(super) enum Lookup {
    Addresses { peer: PeerId },
    Provide { answer: Option<Answer<()>> },
    Providers { found: HashSet<PeerId>, answer: Answer<Vec<PeerId>> },
    PutRecord { answer: Answer<()> },
    GetRecord { key: kad::RecordKey, best: Option<SignedRecord>, answer: Answer<Option<SignedRecord>> },
}

impl Owner {
    pub(super) fn look_up_addresses(&mut self, peer: PeerId) {
        let id = self.swarm.behaviour_mut().kademlia.get_closest_peers(peer);
        self.lookups.insert(id, Lookup::Addresses { peer });
    }

    pub(super) fn provide(&mut self, key: Vec<u8>, answer: Answer<()>) {
        if let Some(error) = self.refusal(&key) {
            let _ = answer.send(Err(error));
            return;
        }
        if self.provided.len() >= MAX_PROVIDED {
            let _ = answer.send(Err(MeshError::Busy("too many keys are provided")));
            return;
        }
        let key = kad::RecordKey::new(&key);
        match self.swarm.behaviour_mut().kademlia.start_providing(key.clone()) {
            Ok(id) => {
                self.provided.insert(key);
                self.lookups.insert(id, Lookup::Provide { answer: Some(answer) });
            }
            Err(_) => drop(answer.send(Err(MeshError::Busy("the provider store is full")))),
        }
    }

    pub(super) fn stop_providing(&mut self, key: Vec<u8>) {
        let key = kad::RecordKey::new(&key);
        self.provided.remove(&key);
        self.swarm.behaviour_mut().kademlia.stop_providing(&key);
    }

    /// Announces the provided keys again: whoever connected since the last time may be nearer to them.
    pub(super) fn announce_provided(&mut self) {
        self.announce_at = None;
        let keys: Vec<_> = self.provided.iter().cloned().collect();
        for key in keys {
            if self.lookups.len() >= MAX_LOOKUPS {
                // The rest when these are through.
                self.announce_at = Some(tokio::time::Instant::now() + ANNOUNCE_AFTER);
                return;
            }
            if let Ok(id) = self.swarm.behaviour_mut().kademlia.start_providing(key) {
                self.lookups.insert(id, Lookup::Provide { answer: None });
            }
        }
    }

    pub(super) fn find_providers(&mut self, key: Vec<u8>, answer: Answer<Vec<PeerId>>) {
        if let Some(error) = self.refusal(&key) {
            let _ = answer.send(Err(error));
            return;
        }
        let id = self.swarm.behaviour_mut().kademlia.get_providers(kad::RecordKey::new(&key));
        self.lookups.insert(id, Lookup::Providers { found: HashSet::new(), answer });
    }

    pub(super) fn put_record(&mut self, name: &str, value: &[u8], answer: Answer<()>) {
        let outcome = self.start_put(name, value);
        match outcome {
            Ok(id) => {
                self.lookups.insert(id, Lookup::PutRecord { answer });
            }
            Err(error) => drop(answer.send(Err(error))),
        }
    }

    fn start_put(&mut self, name: &str, value: &[u8]) -> Result<QueryId, MeshError> {
        if let Some(error) = self.refusal(name.as_bytes()) {
            return Err(error);
        }
        for (what, bytes, limit) in [
            ("a record's name", name.len(), MAX_RECORD_NAME_BYTES),
            ("a record", value.len(), MAX_RECORD_BYTES),
        ] {
            if bytes > limit {
                return Err(MeshError::TooLarge { what, bytes, limit });
            }
        }
        let sequence = now_ms();
        let bytes = record::encode(&self.config.node_key, &self.binding, name, sequence, value)
            .ok_or(MeshError::NodeKey)?;
        let wallet = self.binding.wallet();
        let record = kad::Record::new(record::place(&wallet, name), bytes);
        self.swarm
            .behaviour_mut()
            .kademlia
            .put_record(record, kad::Quorum::One)
            .map_err(|_| MeshError::Busy("the record store is full"))
    }

    pub(super) fn get_record(&mut self, wallet: &Address, name: &str, answer: Answer<Option<SignedRecord>>) {
        if let Some(error) = self.refusal(name.as_bytes()) {
            let _ = answer.send(Err(error));
            return;
        }
        let key = record::place(wallet, name);
        let id = self.swarm.behaviour_mut().kademlia.get_record(key.clone());
        self.lookups.insert(id, Lookup::GetRecord { key, best: None, answer });
    }

    fn refusal(&self, key: &[u8]) -> Option<MeshError> {
        if self.lookups.len() >= MAX_LOOKUPS {
            return Some(MeshError::Busy("too many lookups are under way"));
        }
        (key.len() > MAX_KEY_BYTES).then_some(MeshError::TooLarge {
            what: "a key",
            bytes: key.len(),
            limit: MAX_KEY_BYTES,
        })
    }

    pub(super) fn on_kademlia(&mut self, event: kad::Event) {
        match event {
            kad::Event::OutboundQueryProgressed { id, result, step, .. } => {
                self.on_answer(id, result, step.last);
            }
            kad::Event::InboundRequest { request } => self.on_request(request),
            kad::Event::RoutingUpdated { is_new_peer: true, .. } if !self.provided.is_empty() => {
                self.announce_at.get_or_insert(tokio::time::Instant::now() + ANNOUNCE_AFTER);
            }
            kad::Event::ModeChanged { new_mode } => {
                tracing::info!(server = new_mode == Mode::Server, "place in the hash table");
            }
            _ => {}
        }
    }

    fn on_answer(&mut self, id: QueryId, result: QueryResult, last: bool) {
        let Some(lookup) = self.lookups.get_mut(&id) else { return };
        match (lookup, &result) {
            (
                Lookup::Providers { found, .. },
                QueryResult::GetProviders(Ok(GetProvidersOk::FoundProviders { providers, .. })),
            ) => {
                found.extend(providers);
                if found.len() >= ENOUGH_PROVIDERS
                    && let Some(mut query) = self.swarm.behaviour_mut().kademlia.query_mut(&id)
                {
                    query.finish();
                }
            }
            (
                Lookup::GetRecord { key, best, .. },
                QueryResult::GetRecord(Ok(GetRecordOk::FoundRecord(found))),
            ) => {
                let record = record::decode(&found.record.value, key, &self.config.chain_id, now_ms());
                match record {
                    Ok(record) if best.as_ref().is_none_or(|best| best.sequence < record.sequence) => {
                        *best = Some(record);
                    }
                    Ok(_) => {}
                    Err(error) => {
                        tracing::debug!(%error, "a record of the hash table is refused");
                        if let Some(peer) = found.peer {
                            self.fault(peer, Fault::BadRecord);
                        }
                    }
                }
            }
            _ => {}
        }
        if last && let Some(lookup) = self.lookups.remove(&id) {
            self.conclude(lookup, result);
        }
    }

    fn conclude(&mut self, lookup: Lookup, result: QueryResult) {
        // An answer that nobody waits for any more is dropped.
        match lookup {
            Lookup::Addresses { peer } => {
                let QueryResult::GetClosestPeers(result) = result else { return };
                let peers = match result {
                    Ok(found) => found.peers,
                    Err(GetClosestPeersError::Timeout { peers, .. }) => peers,
                };
                let addresses = peers.into_iter().find(|info| info.peer_id == peer).map(|info| info.addrs);
                self.on_addresses(peer, addresses.unwrap_or_default());
            }
            // Announcing reaches whom it can; it is repeated anyway.
            Lookup::Provide { answer } => {
                if let Some(answer) = answer {
                    let _ = answer.send(Ok(()));
                }
            }
            Lookup::Providers { mut found, answer } => {
                found.remove(self.swarm.local_peer_id());
                found.retain(|peer| self.faults.ban_reason(peer).is_none());
                let _ = answer.send(Ok(found.into_iter().collect()));
            }
            Lookup::PutRecord { answer } => {
                let outcome = match result {
                    QueryResult::PutRecord(Err(error)) => {
                        tracing::debug!(%error, "a record reached nobody");
                        Err(MeshError::NobodyListens)
                    }
                    _ => Ok(()),
                };
                let _ = answer.send(outcome);
            }
            Lookup::GetRecord { best, answer, .. } => {
                let _ = answer.send(Ok(best));
            }
        }
    }

    /// Stores what others announce, when it is true and not too much.
    fn on_request(&mut self, request: InboundRequest) {
        match request {
            InboundRequest::AddProvider { record: Some(record) } => {
                let provider = record.provider;
                if record.key.as_ref().len() > MAX_KEY_BYTES {
                    self.fault(provider, Fault::Oversize);
                } else if self.provider_ledger.admit(provider, &record.key, Instant::now()) {
                    // A full list of providers ignores new ones, which is as good.
                    let _ = self.swarm.behaviour_mut().kademlia.store_mut().add_provider(record);
                } else {
                    tracing::debug!(peer = %provider, "an announcement is dropped: too many");
                }
            }
            InboundRequest::PutRecord { source, record: Some(record), .. } => {
                let read = record::decode(&record.value, &record.key, &self.config.chain_id, now_ms());
                match read {
                    Ok(new) => self.store_record(&new, record),
                    Err(error) => {
                        tracing::debug!(peer = %source, %error, "a record is refused");
                        self.fault(source, Fault::BadRecord);
                    }
                }
            }
            _ => {}
        }
    }

    fn store_record(&mut self, new: &SignedRecord, record: kad::Record) {
        let chain_id = &self.config.chain_id;
        let store = self.swarm.behaviour_mut().kademlia.store_mut();
        let known = store.get(&record.key).map(|known| known.into_owned());
        match known {
            Some(known) => {
                let stale = record::decode(&known.value, &record.key, chain_id, now_ms())
                    .is_ok_and(|known| known.sequence > new.sequence);
                if stale {
                    return;
                }
            }
            None => {
                let place = record::place(&new.wallet, "");
                let of_wallet =
                    store.records().filter(|known| known.key.as_ref().starts_with(place.as_ref()));
                if of_wallet.count() >= MAX_RECORDS_OF_A_WALLET {
                    tracing::debug!(wallet = %new.wallet, "a record is dropped: too many of one wallet");
                    return;
                }
            }
        }
        if store.put(record).is_err() {
            tracing::debug!("a record is dropped: the store is full");
        }
    }
}
