//! Signatures of wallets over messages (EIP-191, `personal_sign`): parses them and finds the
//! signer.

use k256::ecdsa::{RecoveryId, Signature as CurveSignature, VerifyingKey};
use sha3::{Digest, Keccak256};

use super::{Address, SiweError};
use crate::encoding::from_hex;

/// The longest signature that is parsed, in bytes. Those of contracts have any length; one of ten
/// owners has 650.
pub const MAX_BYTES: usize = 2048;

/// A signature as received: 65 bytes for keys, anything for contracts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature(Vec<u8>);

impl Signature {
    /// Reads `0x` and hexadecimal digits.
    ///
    /// # Errors
    /// `siwe_signature_encoding`, `siwe_message_too_long`.
    pub fn parse(text: &str) -> Result<Self, SiweError> {
        if text.len() > 2 + 2 * MAX_BYTES {
            return Err(SiweError::MessageTooLong);
        }
        text.strip_prefix("0x").and_then(from_hex).map(Self).ok_or(SiweError::SignatureEncoding)
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The address of the key that signed this hash.
    ///
    /// # Errors
    /// Not the canonical form: `siwe_signature_length`, `_recovery`, `_range`, `_high_s`. No such
    /// key: `siwe_wrong_signer`.
    pub fn signer(&self, hash: &[u8; 32]) -> Result<Address, SiweError> {
        let (numbers, recovery) = match self.0.split_last() {
            Some((recovery, numbers)) if numbers.len() == 64 => (numbers, *recovery),
            _ => return Err(SiweError::SignatureLength),
        };
        let is_y_odd = match recovery {
            0 | 27 => false,
            1 | 28 => true,
            _ => return Err(SiweError::SignatureRecovery),
        };
        let signature = CurveSignature::from_slice(numbers).map_err(|_| SiweError::SignatureRange)?;
        if signature.normalize_s() != signature {
            return Err(SiweError::SignatureHighS);
        }
        let key = VerifyingKey::recover_from_prehash(hash, &signature, RecoveryId::new(is_y_odd, false))
            .map_err(|_| SiweError::WrongSigner)?;
        address_of(&key).ok_or(SiweError::WrongSigner)
    }
}

/// The last 20 bytes of the hash of the key's point.
fn address_of(key: &VerifyingKey) -> Option<Address> {
    let point = key.to_sec1_point(false);
    let digest = Keccak256::digest(point.as_bytes().get(1..)?);
    digest.get(12..)?.try_into().ok().map(Address)
}

/// The hash that wallets sign for a text (EIP-191, version 0x45).
pub fn personal_hash(text: &str) -> [u8; 32] {
    let mut hash = Keccak256::new();
    hash.update(format!("\x19Ethereum Signed Message:\n{}", text.len()));
    hash.update(text);
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use k256::ecdsa::SigningKey;
    use proptest::prelude::*;

    use super::*;
    use crate::encoding::to_hex;

    fn sign(key: &SigningKey, hash: &[u8; 32]) -> Vec<u8> {
        let (signature, recovery) = key.sign_prehash_recoverable(hash);
        let mut bytes = signature.to_bytes().to_vec();
        bytes.push(27 + recovery.to_byte());
        bytes
    }

    fn parse(bytes: &[u8]) -> Signature {
        Signature::parse(&format!("0x{}", to_hex(bytes))).expect("hexadecimal")
    }

    #[test]
    fn the_signer_is_found_in_both_notations() {
        let key = SigningKey::from_slice(&[7; 32]).expect("in range");
        let hash = personal_hash("hello");
        let mut bytes = sign(&key, &hash);
        let signer = address_of(key.verifying_key()).expect("address");
        assert_eq!(parse(&bytes).signer(&hash), Ok(signer));
        bytes[64] -= 27;
        assert_eq!(parse(&bytes).signer(&hash), Ok(signer));
        assert_ne!(parse(&bytes).signer(&personal_hash("hellp")), Ok(signer));
    }

    #[test]
    fn every_other_form_is_refused() {
        let key = SigningKey::from_slice(&[7; 32]).expect("in range");
        let hash = personal_hash("hello");
        let good = sign(&key, &hash);
        let with = |change: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = good.clone();
            change(&mut bytes);
            parse(&bytes).signer(&hash)
        };
        assert_eq!(with(&|bytes| bytes.truncate(64)), Err(SiweError::SignatureLength));
        assert_eq!(with(&|bytes| bytes.push(0)), Err(SiweError::SignatureLength));
        for recovery in [2, 3, 26, 29, 35, 255] {
            assert_eq!(with(&|bytes| bytes[64] = recovery), Err(SiweError::SignatureRecovery));
        }
        assert_eq!(with(&|bytes| bytes[..32].fill(0)), Err(SiweError::SignatureRange));
        assert_eq!(with(&|bytes| bytes[32..64].fill(0xff)), Err(SiweError::SignatureRange));
        let high = with(&|bytes| {
            let signature = CurveSignature::from_slice(&bytes[..64]).expect("good");
            let low = *signature.s();
            let high = CurveSignature::from_scalars(signature.r(), -low).expect("good");
            bytes[..64].copy_from_slice(&high.to_bytes());
            bytes[64] ^= 7;
        });
        assert_eq!(high, Err(SiweError::SignatureHighS));
        for text in ["", "0x0", "0xzz", "00", "0X00"] {
            assert_eq!(Signature::parse(text), Err(SiweError::SignatureEncoding), "{text}");
        }
        assert_eq!(Signature::parse(&format!("0x{}", "00".repeat(MAX_BYTES + 1))), Err(SiweError::MessageTooLong));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..70), hash in any::<[u8; 32]>()) {
            let _ = parse(&bytes).signer(&hash);
        }

        #[test]
        fn no_numbers_make_it_panic(mut bytes in prop::collection::vec(any::<u8>(), 65), hash in any::<[u8; 32]>()) {
            bytes[64] = 27;
            bytes[32] &= 0x3f;
            let _ = parse(&bytes).signer(&hash);
        }
    }
}
