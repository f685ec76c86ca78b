//! The reasons for which a token is refused.

use crate::refusal::refusals;

refusals! {
    /// All reasons for which a token is refused.
    TokenError {
        TooLong = TokenTooLong;
        Malformed = TokenMalformed;
        DuplicateNames = TokenDuplicateNames;
        Unsigned = TokenUnsigned;
        AlgorithmRefused = TokenAlgorithmRefused;
        CriticalHeader = TokenCriticalHeader;
        TypeRefused = TokenTypeRefused;
        IssuerUnknown = TokenIssuerUnknown;
        KeyUnknown = TokenKeyUnknown;
        KeysUnavailable = TokenKeysUnavailable;
        SignatureWrong = TokenSignatureWrong;
        AudienceWrong = TokenAudienceWrong;
        Expired = TokenExpired;
        NotYetValid = TokenNotYetValid;
        IssuedInFuture = TokenIssuedInFuture;
        ClaimMissing = TokenClaimMissing;
        ClaimInvalid = TokenClaimInvalid;
    }
}
