//! The nodes of chains, which know whether a contract wallet accepts a signature.

use std::{collections::HashMap, future::Future, pin::Pin, sync::Arc};

use common::{config::ChainUrl, secret::Secret};
use identity::siwe::{ContractAnswer, ContractQuestion, EthCall, RpcFault, read_rpc_answer};

use crate::http::Outbound;

/// The configured nodes, by chain.
pub struct Nodes {
    urls: HashMap<u64, Secret>,
    outbound: Arc<Outbound>,
}

impl Nodes {
    /// These nodes.
    pub fn new(urls: &[ChainUrl], outbound: Arc<Outbound>) -> Self {
        Self { urls: urls.iter().map(|node| (node.chain, node.url.clone())).collect(), outbound }
    }

    async fn ask(&self, question: &ContractQuestion) -> Result<ContractAnswer, RpcFault> {
        let url = self.urls.get(&question.chain).ok_or(RpcFault)?;
        let answer = self.outbound.post_json(url.reveal(), question.rpc_request().to_string()).await.map_err(|error| {
            tracing::warn!(chain = question.chain, %error, "the node of a chain does not answer");
            RpcFault
        })?;
        read_rpc_answer(&answer).inspect_err(|_| {
            tracing::warn!(chain = question.chain, "the node of a chain does not answer the call");
        })
    }
}

impl EthCall for Nodes {
    fn eth_call<'a>(
        &'a self,
        question: &'a ContractQuestion,
    ) -> Pin<Box<dyn Future<Output = Result<ContractAnswer, RpcFault>> + 'a>> {
        Box::pin(self.ask(question))
    }
}
