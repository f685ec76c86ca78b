//! The reasons for which a login with a wallet is refused.

use crate::refusal::refusals;

refusals! {
    /// All reasons for which a challenge or its answer is refused.
    SiweError {
        MessageTooLong = SiweMessageTooLong;
        Characters = SiweCharacters;
        LineEndings = SiweLineEndings;
        Malformed = SiweMalformed;
        DomainMalformed = SiweDomainMalformed;
        AddressMalformed = SiweAddressMalformed;
        AddressChecksum = SiweAddressChecksum;
        StatementMalformed = SiweStatementMalformed;
        UriMalformed = SiweUriMalformed;
        VersionUnsupported = SiweVersionUnsupported;
        ChainMalformed = SiweChainMalformed;
        NonceMalformed = SiweNonceMalformed;
        TimeMalformed = SiweTimeMalformed;
        RequestIdMalformed = SiweRequestIdMalformed;
        ResourceMalformed = SiweResourceMalformed;
        ExtraContent = SiweExtraContent;
        DomainMismatch = SiweDomainMismatch;
        UriMismatch = SiweUriMismatch;
        ChainNotAllowed = SiweChainNotAllowed;
        NonceUnknown = SiweNonceUnknown;
        NonceUsed = SiweNonceUsed;
        NonceOfAnother = SiweNonceOfAnother;
        AddressMismatch = SiweAddressMismatch;
        ChainMismatch = SiweChainMismatch;
        Expired = SiweExpired;
        NotYetValid = SiweNotYetValid;
        IssuedInFuture = SiweIssuedInFuture;
        Altered = SiweAltered;
        SignatureEncoding = SiweSignatureEncoding;
        SignatureLength = SiweSignatureLength;
        SignatureRecovery = SiweSignatureRecovery;
        SignatureRange = SiweSignatureRange;
        SignatureHighS = SiweSignatureHighS;
        WrongSigner = SiweWrongSigner;
        ContractRefused = SiweContractRefused;
        ContractUnavailable = SiweContractUnavailable;
        Unavailable = SiweUnavailable;
    }
}
