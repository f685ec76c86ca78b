//! What a broker says to the edge of a client, not to the client: in binary frames on the client's connection, which no
//! client is ever sent. The other way the edge speaks with signed assertions ([`crate::assertion`]), so that no client can
//! speak for it.

use serde::{Deserialize, Serialize, Serializer};

use crate::secret::Secret;

/// What the broker asks of the edge.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToEdge {
    /// The client sent later credentials in-band (`connection:refresh`): judge them and answer it.
    Refresh {
        /// The id of the client's frame.
        id: Option<String>,
        /// The token.
        #[serde(serialize_with = "reveal")]
        token: Secret,
    },
}

impl ToEdge {
    /// As it stands in the frame.
    pub fn encode(&self) -> Vec<u8> {
        // Strings in a struct: serialisation has no way to fail.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads it; `None` for what a later broker may say.
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
    fn what_the_broker_asks_arrives_and_the_token_does_not_show() {
        let ask = ToEdge::Refresh { id: Some("1".into()), token: Secret::new("a.b.c") };
        assert!(!format!("{ask:?}").contains("a.b.c"));
        let Some(ToEdge::Refresh { id, token }) = ToEdge::parse(&ask.encode()) else { panic!("not read") };
        assert_eq!((id.as_deref(), token.reveal()), (Some("1"), "a.b.c"));
        assert!(ToEdge::parse(b"{}").is_none());
    }
}
