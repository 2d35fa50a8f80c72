//! A chain over RPC: a server on loopback that answers as the reference does (spec 06 section 1).

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use serde_json::{Value, json};
use theta_types::*;
use theta_wallet::*;

/// Answers that come before the usual ones, and the questions that were asked.
#[derive(Clone, Default)]
struct Script {
    first: Arc<Mutex<VecDeque<(u16, String)>>>,
    asked: Arc<Mutex<Vec<Value>>>,
    height: Arc<Mutex<u64>>,
}

const ADDRESS: &str = "0x2E833968E5bB786Ae419c4d13189fB081Cc43bab";

async fn answer(State(script): State<Script>, body: String) -> Response {
    let question: Value = serde_json::from_str(&body).unwrap();
    script.asked.lock().unwrap().push(question.clone());
    if let Some((status, text)) = script.first.lock().unwrap().pop_front() {
        return (StatusCode::from_u16(status).unwrap(), text).into_response();
    }
    let argument = &question["params"][0];
    let outcome = match question["method"].as_str().unwrap() {
        "theta.GetStatus" => Ok(json!({
            "chain_id": "privatenet",
            "latest_finalized_block_height": script.height.lock().unwrap().to_string(),
        })),
        "theta.GetAccount" if argument["address"] == ADDRESS => Ok(json!({
            "sequence": "7", "coins": {"thetawei": "2500000000000000000", "tfuelwei": "91000000000000000"},
            "reserved_funds": null, "last_updated_block_height": "14000002",
            "root": format!("0x{}", "0".repeat(64)), "code": EMPTY_CODE_HASH,
        })),
        "theta.GetAccount" => Err(format!("Account with address {} is not found", argument["address"])),
        "theta.GetSplitRule" if argument["resource_id"] == "known" => Ok(json!({
            "initiator_address": ADDRESS, "resource_id": "known",
            "splits": [{"Address": ADDRESS, "Percentage": 100}], "end_block_height": "99",
        })),
        "theta.GetSplitRule" => Ok(json!({})),
        "theta.GetTransaction" => {
            let hash = argument["hash"].as_str().unwrap();
            let (status, height) = match &hash[..2] {
                "01" => ("finalized", "12"),
                "02" => ("pending", "0"),
                "03" => ("abandoned", "0"),
                "04" => ("strange", "0"),
                _ => ("not_found", "0"),
            };
            Ok(
                json!({"status": status, "block_height": height, "hash": format!("0x{}", "0".repeat(64)), "blance_changes": null}),
            )
        }
        "theta.BroadcastRawTransactionAsync" => {
            let raw = hex::decode(argument["tx_bytes"].as_str().unwrap()).unwrap();
            match raw.as_slice() {
                [1] => Err("Transaction already seen".to_owned()),
                [2] => Err("Insufficient fee. Transaction fee needs to be at least 1 TFuelWei".to_owned()),
                [4] => Err("Mempool is full, try again later".to_owned()),
                [5] => Err(format!("Too many transactions of {ADDRESS} are pending, try again later")),
                [3] => Ok(json!({"hash": format!("0x{}", "0".repeat(64))})),
                _ => Ok(json!({"hash": Transaction::hash_of_raw(&raw)})),
            }
        }
        other => panic!("{other}"),
    };
    let text = match outcome {
        Ok(result) => json!({"jsonrpc": "2.0", "id": 1, "result": result}),
        Err(message) => json!({"jsonrpc": "2.0", "id": 1, "error": {"code": -32000, "message": message}}),
    };
    text.to_string().into_response()
}

async fn serve(script: Script) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/rpc", listener.local_addr().unwrap());
    let router = Router::new().route("/rpc", post(answer)).with_state(script);
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

fn quick() -> RpcOptions {
    RpcOptions { timeout: Duration::from_secs(2), poll: Duration::from_millis(20) }
}

async fn connected() -> (Script, RpcChain) {
    let script = Script::default();
    let url = serve(script.clone()).await;
    // The height is asked for rarely, so that scripted answers go to the test's own questions.
    let calm = RpcOptions { poll: Duration::from_secs(3600), ..quick() };
    let chain = RpcChain::connect(&url, calm).await.unwrap();
    // The first tick of the clock asks at once.
    while script.asked.lock().unwrap().len() < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    (script, chain)
}

#[tokio::test]
async fn questions_are_answered() {
    let (_, chain) = connected().await;
    assert_eq!(chain.chain_id(), "privatenet");
    assert_eq!(chain.finalized_height().await, Ok(Height(0)));
    let address = parse_address(ADDRESS).unwrap();
    let account = chain.account(address).await.unwrap().unwrap();
    assert_eq!((account.address, account.sequence), (address, 7));
    assert_eq!(account.balance.tfuel, Wei::from(91_000_000_000_000_000u64));
    assert!(account.reserved_funds.is_empty() && !account.is_contract());
    assert_eq!(chain.account(Address::repeat_byte(9)).await, Ok(None));

    let rule = chain.split_rule("known").await.unwrap().unwrap();
    assert_eq!(rule.splits, [Split { address, percentage: 100 }]);
    assert_eq!(chain.split_rule("unknown").await, Ok(None));

    let status = async |first: u8| chain.transaction(TxHash(B256::repeat_byte(first))).await;
    assert_eq!(status(1).await, Ok(TxStatus::Finalized { height: Height(12) }));
    assert_eq!(status(2).await, Ok(TxStatus::Pending));
    assert_eq!(status(3).await, Ok(TxStatus::Abandoned));
    assert!(matches!(status(4).await, Err(ChainError::BadAnswer(_))));
    assert_eq!(status(5).await, Ok(TxStatus::NotFound));
}

#[tokio::test]
async fn submitting_says_whether_the_chain_has_it() {
    let (_, chain) = connected().await;
    assert_eq!(chain.submit(vec![9]).await, Ok(Transaction::hash_of_raw(&[9])));
    assert_eq!(chain.submit(vec![1]).await, Ok(Transaction::hash_of_raw(&[1])), "seen before is as good");
    assert!(
        matches!(chain.submit(vec![2]).await, Err(ChainError::Refused(text)) if text.starts_with("Insufficient fee"))
    );
    assert!(matches!(chain.submit(vec![3]).await, Err(ChainError::BadAnswer(_))), "it took something else");
}

#[tokio::test]
async fn a_full_mempool_is_no_refusal_of_the_transaction() {
    let (_, chain) = connected().await;
    for transaction in [4, 5] {
        let answer = chain.submit(vec![transaction]).await;
        assert!(
            matches!(&answer, Err(ChainError::Unreachable(text)) if text.ends_with("try again later")),
            "{answer:?}"
        );
    }
}

#[tokio::test]
async fn questions_are_repeated_and_submissions_are_not() {
    let (script, chain) = connected().await;
    let busy = || (503, r#"{"error": {"message":"Timeout"}}"#.to_owned());
    script.first.lock().unwrap().extend([busy(), busy()]);
    assert_eq!(chain.finalized_height().await, Ok(Height(0)));

    script.asked.lock().unwrap().clear();
    script.first.lock().unwrap().push_back(busy());
    assert!(matches!(chain.submit(vec![9]).await, Err(ChainError::Unreachable(_))));
    assert_eq!(script.asked.lock().unwrap().len(), 1, "whoever journals it decides to repeat it");

    script.first.lock().unwrap().extend([busy(), busy(), busy()]);
    assert!(matches!(chain.finalized_height().await, Err(ChainError::Unreachable(_))));
}

#[tokio::test]
async fn unusable_answers_are_errors() {
    let (script, chain) = connected().await;
    let bad = [
        (200, "not json".to_owned()),
        (200, "{}".to_owned()),
        (200, r#"{"result":{"chain_id":7}}"#.to_owned()),
        (200, r#"{"error":{"code":-32601,"message":"no such method"}}"#.to_owned()),
        (404, String::new()),
        (302, String::new()),
        (200, " ".repeat(17 * 1024 * 1024)),
    ];
    for (status, text) in bad {
        let shown = text.chars().take(40).collect::<String>();
        script.first.lock().unwrap().push_back((status, text));
        assert!(matches!(chain.finalized_height().await, Err(ChainError::BadAnswer(_))), "{status} {shown}");
    }
}

#[tokio::test]
async fn heights_are_watched_and_never_fall() {
    let script = Script::default();
    *script.height.lock().unwrap() = 5;
    let chain = RpcChain::connect(&serve(script.clone()).await, quick()).await.unwrap();
    let mut heights = chain.heights();
    assert_eq!(*heights.borrow_and_update(), Height(5));
    *script.height.lock().unwrap() = 8;
    tokio::time::timeout(Duration::from_secs(5), heights.changed()).await.unwrap().unwrap();
    assert_eq!(*heights.borrow_and_update(), Height(8));
    *script.height.lock().unwrap() = 3;
    let asked = script.asked.lock().unwrap().len();
    while script.asked.lock().unwrap().len() < asked + 3 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(*heights.borrow(), Height(8));
    drop(chain);
    tokio::time::timeout(Duration::from_secs(5), heights.changed()).await.unwrap().unwrap_err();
}

#[tokio::test]
async fn nobody_there_is_said() {
    let refused = RpcChain::connect("http://127.0.0.1:1/rpc", quick()).await.unwrap_err();
    assert!(matches!(refused, ChainError::Unreachable(_)));
    for url in ["not a url", "ftp://127.0.0.1/rpc"] {
        assert!(matches!(RpcChain::connect(url, quick()).await.unwrap_err(), ChainError::BadAnswer(_)));
    }
}
