//! What a broker tells the edge about a client: in binary frames on the client's connection, which
//! are never sent to a client. In the other direction the edge uses signed assertions
//! ([`crate::assertion`]), so that no client can speak for it.

use serde::{Deserialize, Serialize, Serializer};

use crate::secret::Secret;

/// A request of the broker to the edge.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToEdge {
    /// The client sent later credentials in-band (`connection:refresh`). The edge checks and
    /// answers them.
    Refresh {
        /// The id of the client's frame.
        id: Option<String>,
        /// The token.
        #[serde(serialize_with = "reveal")]
        token: Secret,
    },
}

impl ToEdge {
    /// The payload of the frame.
    pub fn encode(&self) -> Vec<u8> {
        // A struct of strings: serialisation cannot fail.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Parses a payload. `None` for a request of a later broker.
    pub fn parse(payload: &[u8]) -> Option<Self> {
        serde_json::from_slice(payload).ok()
    }
}

fn reveal<S: Serializer>(secret: &Secret, out: S) -> Result<S::Ok, S::Error> {
    out.serialize_str(secret.reveal())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_brokers_request_arrives_and_hides_the_token() {
        let ask = ToEdge::Refresh { id: Some("1".into()), token: Secret::new("a.b.c") };
        assert!(!format!("{ask:?}").contains("a.b.c"));
        let Some(ToEdge::Refresh { id, token }) = ToEdge::parse(&ask.encode()) else { panic!("not read") };
        assert_eq!((id.as_deref(), token.reveal()), (Some("1"), "a.b.c"));
        assert!(ToEdge::parse(b"{}").is_none());
    }
}
