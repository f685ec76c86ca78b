//! Why a token is refused.

use crate::refusal::refusals;

refusals! {
    /// Every way in which a token is refused.
    TokenError {
        TooLong "token_too_long" 401 lasting, "The token is longer than this server reads.";
        Malformed "token_malformed" 401 lasting, "The token is not three parts of base64url with JSON objects in the first two.";
        DuplicateNames "token_duplicate_names" 401 lasting, "A name occurs twice in the token's header or claims.";
        Unsigned "token_unsigned" 401 lasting, "The token has no signature.";
        AlgorithmRefused "token_algorithm_refused" 401 lasting, "The token is signed in a way that is not allowed for its issuer.";
        CriticalHeader "token_critical_header" 401 lasting, "The token's header asks for extensions that this server does not have.";
        TypeRefused "token_type_refused" 401 lasting, "The token is of a type that is not for logging in with.";
        IssuerUnknown "token_issuer_unknown" 401 lasting, "The token names no issuer that this server trusts.";
        KeyUnknown "token_key_unknown" 401 lasting, "The token is signed with a key that its issuer does not publish.";
        KeysUnavailable "token_keys_unavailable" 503 temporary, "The issuer's keys cannot be fetched just now. Try again later.";
        SignatureWrong "token_signature_wrong" 401 lasting, "The token's signature does not fit.";
        AudienceWrong "token_audience_wrong" 401 lasting, "The token was made for another audience.";
        Expired "token_expired" 401 lasting, "The token has expired. Refresh it.";
        NotYetValid "token_not_yet_valid" 401 lasting, "The token is not valid yet.";
        IssuedInFuture "token_issued_in_future" 401 lasting, "The token says that it was issued in the future.";
        ClaimMissing "token_claim_missing" 401 lasting, "The token lacks a claim that this server needs.";
        ClaimInvalid "token_claim_invalid" 401 lasting, "A claim of the token has not the form this server needs.";
    }
}
