//! What every refusal of this crate can say of itself, so that the servers answer all of them in one way.

/// A refusal that a client may see.
pub trait Refusal: std::error::Error {
    /// The permanent code on the wire, and the label in metrics.
    fn code(&self) -> &'static str;
    /// The HTTP status when it is told over HTTP.
    fn status(&self) -> u16;
    /// Whether the same request can succeed later.
    fn is_temporary(&self) -> bool;
}

/// Declares an enum of refusals as a table: variant, code, status, `final` or `temporary`, what it means and what to do.
macro_rules! refusals {
    ($(#[$doc:meta])* $type:ident { $($variant:ident $code:literal $status:literal $lasting:ident, $meaning:literal;)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
        pub enum $type {
            $(#[doc = $meaning] #[error($meaning)] $variant,)*
        }

        impl $type {
            /// Every one, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];
        }

        impl $crate::Refusal for $type {
            fn code(&self) -> &'static str {
                match self { $(Self::$variant => $code,)* }
            }

            fn status(&self) -> u16 {
                match self { $(Self::$variant => $status,)* }
            }

            fn is_temporary(&self) -> bool {
                match self { $(Self::$variant => $crate::refusal::lasting!($lasting),)* }
            }
        }
    };
}

macro_rules! lasting {
    (temporary) => {
        true
    };
    (lasting) => {
        false
    };
}

pub(crate) use lasting;
pub(crate) use refusals;

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::{agent_keys::KeyError, policy::Denied, siwe::SiweError, tokens::TokenError};

    fn rows() -> Vec<(&'static str, u16, String)> {
        fn of<T: Refusal>(all: &[T]) -> impl Iterator<Item = (&'static str, u16, String)> {
            all.iter().map(|refusal| (refusal.code(), refusal.status(), refusal.to_string()))
        }
        of(SiweError::ALL).chain(of(TokenError::ALL)).chain(of(KeyError::ALL)).chain(of(Denied::ALL)).collect()
    }

    #[test]
    fn codes_are_unique_and_well_formed() {
        let mut seen = HashSet::new();
        for (code, status, meaning) in rows() {
            assert!(seen.insert(code), "{code} occurs twice");
            assert!(code.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_'), "{code}");
            assert!((400..600).contains(&status), "{code}");
            assert!(meaning.ends_with('.') && meaning.len() > 20, "{code} says what to do");
        }
    }
}
