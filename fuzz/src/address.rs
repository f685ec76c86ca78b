//! Addresses.

use common::{address::Address, id::MAX_NAME};

/// An address is written as it was read, apart from the case of a session's UUID, and reads the
/// same again.
pub fn address(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(address) = Address::parse(text) else { return };
    let written = address.to_string();
    assert_eq!(Address::parse(&written).as_ref(), Ok(&address));
    assert!(text.len() <= "session:".len() + MAX_NAME);
    match address {
        Address::Session(_) => assert!(written.eq_ignore_ascii_case(text)),
        _ => assert_eq!(written, text),
    }
}
