//! Why a login with a wallet is refused.

use crate::refusal::refusals;

refusals! {
    /// Every way in which a challenge or its answer is refused.
    SiweError {
        MessageTooLong "siwe_message_too_long" 413 lasting, "The message or signature is longer than any this server hands out.";
        Characters "siwe_characters" 400 lasting, "The message has characters other than printable ASCII and line feeds. Send the text of the challenge unchanged.";
        LineEndings "siwe_line_endings" 400 lasting, "The message has carriage returns. Its lines end with a line feed alone; send the text unchanged.";
        Malformed "siwe_malformed" 400 lasting, "The message lacks a line that EIP-4361 asks for, or its lines are out of order.";
        DomainMalformed "siwe_domain_malformed" 400 lasting, "The domain in the message's first line is not an authority (RFC 3986).";
        AddressMalformed "siwe_address_malformed" 400 lasting, "The address is not 0x and forty hexadecimal digits.";
        AddressChecksum "siwe_address_checksum" 400 lasting, "The address is not spelled with the checksum of EIP-55.";
        StatementMalformed "siwe_statement_malformed" 400 lasting, "The statement has characters that EIP-4361 does not allow in it.";
        UriMalformed "siwe_uri_malformed" 400 lasting, "The URI in the message is not one of RFC 3986.";
        VersionUnsupported "siwe_version_unsupported" 400 lasting, "The version of the message is not 1.";
        ChainMalformed "siwe_chain_malformed" 400 lasting, "The chain id is not a number, or has leading zeros.";
        NonceMalformed "siwe_nonce_malformed" 400 lasting, "The nonce is not eight or more letters and digits.";
        TimeMalformed "siwe_time_malformed" 400 lasting, "A time in the message is not one of RFC 3339.";
        RequestIdMalformed "siwe_request_id_malformed" 400 lasting, "The request id has characters that EIP-4361 does not allow in it.";
        ResourceMalformed "siwe_resource_malformed" 400 lasting, "A resource in the message is not a URI of RFC 3986 after a dash.";
        ExtraContent "siwe_extra_content" 400 lasting, "The message goes on after its last field.";
        DomainMismatch "siwe_domain_mismatch" 401 lasting, "The message was made for another domain. Sign only what this site asks for.";
        UriMismatch "siwe_uri_mismatch" 401 lasting, "The message was made for another URI.";
        ChainNotAllowed "siwe_chain_not_allowed" 403 lasting, "This server accepts no logins on that chain.";
        NonceUnknown "siwe_nonce_unknown" 401 lasting, "The nonce is not one of this server, or was forgotten. Ask for a new challenge.";
        NonceUsed "siwe_nonce_used" 401 lasting, "The nonce was used before. Ask for a new challenge.";
        NonceOfAnother "siwe_nonce_of_another_session" 401 lasting, "The challenge was given to another session. Ask for one of your own.";
        AddressMismatch "siwe_address_mismatch" 401 lasting, "The message names another address than the challenge was asked for.";
        ChainMismatch "siwe_chain_mismatch" 401 lasting, "The message names another chain than the challenge was asked for.";
        Expired "siwe_expired" 401 lasting, "The challenge has expired. Ask for a new one.";
        NotYetValid "siwe_not_yet_valid" 401 lasting, "The message says that it is not valid yet.";
        IssuedInFuture "siwe_issued_in_future" 401 lasting, "The message says that it was issued in the future.";
        Altered "siwe_message_altered" 401 lasting, "The message is not the text of the challenge. Sign and send it unchanged.";
        SignatureEncoding "siwe_signature_encoding" 400 lasting, "The signature is not 0x and hexadecimal digits.";
        SignatureLength "siwe_signature_length" 401 lasting, "The signature has not 65 bytes.";
        SignatureRecovery "siwe_signature_recovery" 401 lasting, "The last byte of the signature is none of 0, 1, 27, 28.";
        SignatureRange "siwe_signature_range" 401 lasting, "The signature's numbers are outside the curve's range.";
        SignatureHighS "siwe_signature_high_s" 401 lasting, "The signature is not in its canonical form (its s is in the upper half).";
        WrongSigner "siwe_wrong_signer" 401 lasting, "The signature was not made by the address in the message.";
        ContractRefused "siwe_contract_refused" 401 lasting, "The contract at the address does not accept the signature.";
        ContractUnavailable "siwe_contract_unavailable" 503 temporary, "The node that could ask the contract wallet does not answer. Try again later.";
        Unavailable "siwe_unavailable" 503 temporary, "No challenge can be made just now. Try again later.";
    }
}
