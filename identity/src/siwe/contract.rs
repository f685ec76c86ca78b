//! Contract wallets (EIP-1271). A contract cannot sign; it is asked whether it accepts a signature.
//!
//! This module makes the question and reads the answer. The servers do the asking ([`EthCall`]):
//! one `eth_call` to a node of the chain.

use std::{future::Future, pin::Pin};

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Address, Signature};
use crate::encoding::{from_hex, to_hex};

/// The selector of `isValidSignature(bytes32,bytes)`, which is also its answer for yes.
const MAGIC: [u8; 4] = [0x16, 0x26, 0xba, 0x7e];
/// A node's answer to such a call has about 100 bytes.
const MAX_ANSWER: usize = 64 * 1024;

/// A question to a contract: does it accept this signature over this hash?
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContractQuestion {
    /// The chain the contract is on.
    pub chain: u64,
    /// The contract.
    pub contract: Address,
    /// What to call it with.
    pub call_data: Vec<u8>,
}

/// The result of the call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContractAnswer {
    /// It returned these bytes; none if there is no contract.
    Returned(Vec<u8>),
    /// It reverted, which means no.
    Reverted,
}

/// The node could not be asked, or its answer is malformed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the node did not answer the call")]
pub struct RpcFault;

/// Asks a node. An implementation bounds the time and the size of the answer, and dials only the
/// configured URLs.
pub trait EthCall {
    /// One `eth_call` at the latest block of the question's chain.
    fn eth_call<'a>(
        &'a self,
        question: &'a ContractQuestion,
    ) -> Pin<Box<dyn Future<Output = Result<ContractAnswer, RpcFault>> + 'a>>;
}

impl ContractQuestion {
    /// The question whether a contract accepts a signature over a hash.
    pub(super) fn new(chain: u64, contract: Address, hash: &[u8; 32], signature: &Signature) -> Self {
        let word = |number: usize| {
            let mut word = [0_u8; 32];
            word[24..].copy_from_slice(&u64::try_from(number).unwrap_or(u64::MAX).to_be_bytes());
            word
        };
        let bytes = signature.as_bytes();
        let mut call_data = [MAGIC.as_slice(), hash, &word(64), &word(bytes.len()), bytes].concat();
        call_data.resize(call_data.len() + bytes.len().next_multiple_of(32) - bytes.len(), 0);
        Self { chain, contract, call_data }
    }

    /// The body of the JSON-RPC request.
    pub fn rpc_request(&self) -> Value {
        let data = format!("0x{}", to_hex(&self.call_data));
        json!({"jsonrpc": "2.0", "id": 1, "method": "eth_call", "params": [{"to": self.contract, "data": data}, "latest"]})
    }
}

impl ContractAnswer {
    /// Whether the contract said yes: the magic number, padded to a word.
    pub fn is_yes(&self) -> bool {
        let mut yes = [0_u8; 32];
        yes[..4].copy_from_slice(&MAGIC);
        matches!(self, Self::Returned(bytes) if bytes.get(..32) == Some(yes.as_slice()))
    }

    /// Whether there is no contract at the address.
    pub fn is_nobody(&self) -> bool {
        matches!(self, Self::Returned(bytes) if bytes.is_empty())
    }
}

/// Reads the body of a node's answer.
///
/// # Errors
/// It is not the answer to an `eth_call`, or the node reports an error other than a revert.
pub fn read_rpc_answer(body: &[u8]) -> Result<ContractAnswer, RpcFault> {
    #[derive(Deserialize)]
    struct Answer {
        result: Option<String>,
        error: Option<Fault>,
    }
    #[derive(Deserialize)]
    struct Fault {
        code: i64,
        #[serde(default)]
        message: String,
    }
    if body.len() > MAX_ANSWER {
        return Err(RpcFault);
    }
    match serde_json::from_slice(body).map_err(|_| RpcFault)? {
        Answer { result: Some(result), error: None } => {
            result.strip_prefix("0x").and_then(from_hex).map(ContractAnswer::Returned).ok_or(RpcFault)
        }
        // Nodes agree on 3 for a revert; older ones say -32000 or -32015 with the word in the
        // message.
        Answer { error: Some(Fault { code, message }), .. } if code == 3 || message.contains("revert") => {
            Ok(ContractAnswer::Reverted)
        }
        Answer { .. } => Err(RpcFault),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_call_is_laid_out_as_solidity_has_it() {
        let signature = Signature::parse(&format!("0x{}", "ab".repeat(65))).expect("hexadecimal");
        let question = ContractQuestion::new(1, Address([1; 20]), &[2; 32], &signature);
        let data = &question.call_data;
        assert_eq!(data.len(), 4 + 32 + 32 + 32 + 96);
        assert_eq!((&data[..4], &data[4..36], data[67], data[99]), (&MAGIC[..], &[2; 32][..], 64, 65));
        assert_eq!((data[100], data[164], data[165], data[195]), (0xab, 0xab, 0, 0));
        let request = question.rpc_request();
        assert_eq!(request["params"][0]["to"], "0x0101010101010101010101010101010101010101");
        assert!(request["params"][0]["data"].as_str().is_some_and(|data| data.starts_with("0x1626ba7e0202")));
    }

    #[test]
    fn only_the_magic_word_is_yes() {
        let answer = |result: &str| read_rpc_answer(format!(r#"{{"jsonrpc":"2.0","id":1,"result":"{result}"}}"#).as_bytes());
        let yes = answer(&format!("0x1626ba7e{}", "0".repeat(56))).expect("answer");
        assert!(yes.is_yes());
        for no in [format!("0x1626ba7e{}1", "0".repeat(55)), "0x1626ba7e".into(), format!("0xffffffff{}", "0".repeat(56))] {
            assert!(!answer(&no).expect("answer").is_yes(), "{no}");
        }
        assert!(answer("0x").expect("answer").is_nobody());
        assert_eq!(answer("1626"), Err(RpcFault));
    }

    #[test]
    fn reverts_and_faults_of_the_node_are_distinguished() {
        let answer = |error: &str| read_rpc_answer(format!(r#"{{"jsonrpc":"2.0","id":1,"error":{error}}}"#).as_bytes());
        assert_eq!(answer(r#"{"code":3,"message":"execution reverted"}"#), Ok(ContractAnswer::Reverted));
        assert_eq!(answer(r#"{"code":-32000,"message":"execution reverted: no"}"#), Ok(ContractAnswer::Reverted));
        assert_eq!(answer(r#"{"code":-32005,"message":"limit exceeded"}"#), Err(RpcFault));
        assert_eq!(read_rpc_answer(b"{}"), Err(RpcFault));
    }

    proptest! {
        #[test]
        fn no_answer_makes_it_panic(body in any::<Vec<u8>>()) {
            let _ = read_rpc_answer(&body);
        }
    }
}
