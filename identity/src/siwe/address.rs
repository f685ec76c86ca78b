//! Ethereum addresses, and the checksum in their capitals (EIP-55).

use std::fmt;

use serde::{Deserialize, Serialize};
use sha3::{Digest, Keccak256};

use crate::encoding::{from_hex, to_hex};

/// The address of a key or contract: 20 bytes, displayed in the spelling of EIP-55.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address(pub [u8; 20]);

/// Why a text is not an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressFault {
    /// Not `0x` and forty digits.
    #[error("is not 0x and forty hexadecimal digits")]
    Malformed,
    /// The capitals are not those of EIP-55.
    #[error("is not spelled with the checksum of EIP-55")]
    Checksum,
}

impl Address {
    /// Reads an address in the spelling of EIP-55, and in no other.
    ///
    /// # Errors
    /// See [`AddressFault`].
    pub fn parse_checksummed(text: &str) -> Result<Self, AddressFault> {
        let address = Self::parse_digits(text)?;
        if address.to_string() == text { Ok(address) } else { Err(AddressFault::Checksum) }
    }

    /// Reads an address as people pass it on: with the right checksum, or all in one case and so
    /// without a checksum.
    ///
    /// # Errors
    /// See [`AddressFault`].
    pub fn parse(text: &str) -> Result<Self, AddressFault> {
        let address = Self::parse_digits(text)?;
        let digits = text.get(2..).unwrap_or_default();
        let is_of_one_case =
            !digits.bytes().any(|byte| byte.is_ascii_uppercase()) || !digits.bytes().any(|byte| byte.is_ascii_lowercase());
        if is_of_one_case || address.to_string() == text { Ok(address) } else { Err(AddressFault::Checksum) }
    }

    fn parse_digits(text: &str) -> Result<Self, AddressFault> {
        let digits = text.strip_prefix("0x").filter(|digits| digits.len() == 40).ok_or(AddressFault::Malformed)?;
        let bytes = from_hex(digits).ok_or(AddressFault::Malformed)?;
        bytes.try_into().map(Self).map_err(|_| AddressFault::Malformed)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = to_hex(&self.0);
        let hash = to_hex(&Keccak256::digest(digits.as_bytes()));
        out.write_str("0x")?;
        for (digit, nibble) in digits.chars().zip(hash.chars()) {
            let shown = if nibble >= '8' { digit.to_ascii_uppercase() } else { digit };
            fmt::Write::write_char(out, shown)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl Serialize for Address {
    fn serialize<S: serde::Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: serde::Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        let text = String::deserialize(input)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_examples_of_eip_55_hold() {
        for spelled in [
            "0x52908400098527886E0F7030069857D2E4169EE7",
            "0x8617E340B3D01FA5F11F306F4090FD50E238070D",
            "0xde709f2102306220921060314715629080e2fb77",
            "0x27b1fdb04752bbc536007a920d24acb045561c26",
            "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
            "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
            "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
            "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
        ] {
            assert_eq!(Address::parse_checksummed(spelled).map(|address| address.to_string()), Ok(spelled.to_owned()));
        }
    }

    #[test]
    fn a_wrong_capital_is_a_wrong_checksum() {
        let wrong = "0x5AAeb6053F3E94C9b9A09f33669435E7Ef1BeAed";
        assert_eq!(Address::parse(wrong), Err(AddressFault::Checksum));
        let lower = wrong.to_ascii_lowercase();
        assert_eq!(Address::parse_checksummed(&lower), Err(AddressFault::Checksum));
        assert!(Address::parse(&lower).is_ok());
    }

    #[test]
    fn a_text_that_is_no_address_is_malformed() {
        for text in
            ["", "0x", "0X52908400098527886E0F7030069857D2E4169EE7", "52908400098527886E0F7030069857D2E4169EE7", "0x1", "0xzz"]
        {
            assert_eq!(Address::parse(text), Err(AddressFault::Malformed), "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_address_has_one_spelling(bytes in any::<[u8; 20]>()) {
            let address = Address(bytes);
            prop_assert_eq!(Address::parse_checksummed(&address.to_string()), Ok(address));
            prop_assert_eq!(Address::parse(&address.to_string().to_ascii_lowercase()), Ok(address));
        }

        #[test]
        fn no_text_makes_it_panic(text in "(0x)?\\PC{0,50}") {
            let _ = Address::parse(&text);
        }
    }
}
