//! What is checked of bytes from outside, whatever they are. Each function takes any input and
//! panics if a promise is broken.
//!
//! `fuzz_targets/` hands them to libFuzzer; the integration tests run them on the seeds and on
//! changed seeds.

mod address;
mod agent_key;
mod asks;
mod assertion;
mod assets;
mod credentials;
mod envelope;
mod frames;
mod hybrid;
mod key_set;
mod login_bodies;
mod pieces;
mod proxies;
mod raw_frames;
mod supervisor;
mod token;
mod wallet_message;

pub use address::address;
pub use agent_key::agent_key;
pub use asks::asks;
pub use assertion::assertion;
pub use assets::assets;
pub use credentials::credentials;
pub use envelope::envelope;
pub use frames::frames;
pub use hybrid::hybrid;
pub use key_set::key_set;
pub use login_bodies::login_bodies;
pub use proxies::proxies;
pub use raw_frames::raw_frames;
pub use supervisor::supervisor;
pub use token::token;
pub use wallet_message::wallet_message;
