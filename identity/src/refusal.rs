//! The trait of all refusals in this crate. It lets the servers answer all of them in one way.

use common::error::ErrorCode;

/// A refusal that a client may see.
pub trait Refusal: std::error::Error {
    /// Its row in the error table.
    fn code(&self) -> ErrorCode;
}

/// Declares an enum of refusals. Each variant is a row of the error table, which says what it means
/// and what to do.
macro_rules! refusals {
    ($(#[$doc:meta])* $type:ident { $($variant:ident = $code:ident;)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[allow(missing_docs, reason = "the table of errors says it")]
        pub enum $type {
            $($variant,)*
        }

        impl $type {
            /// All variants.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];
        }

        impl $crate::Refusal for $type {
            fn code(&self) -> common::error::ErrorCode {
                match self { $(Self::$variant => common::error::ErrorCode::$code,)* }
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                out.write_str($crate::Refusal::code(self).row().meaning)
            }
        }

        impl std::error::Error for $type {}

        impl From<$type> for common::error::ErrorCode {
            fn from(refusal: $type) -> Self {
                $crate::Refusal::code(&refusal)
            }
        }

        impl From<$type> for common::error::ClientError {
            fn from(refusal: $type) -> Self {
                $crate::Refusal::code(&refusal).into()
            }
        }
    };
}

pub(crate) use refusals;

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::{agent_keys::KeyError, policy::Denied, siwe::SiweError, tokens::TokenError};

    #[test]
    fn every_refusal_has_a_row_of_its_own() {
        fn of<T: Refusal>(all: &[T]) -> impl Iterator<Item = ErrorCode> {
            all.iter().map(Refusal::code)
        }
        let mut seen = HashSet::new();
        for code in of(SiweError::ALL).chain(of(TokenError::ALL)).chain(of(KeyError::ALL)).chain(of(Denied::ALL)) {
            assert!(seen.insert(code), "{code} stands for two refusals");
            assert!(code.row().status >= 400, "{code}");
        }
    }
}
