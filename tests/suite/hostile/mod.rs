//! Strangers who mean harm: what they get, and what an honest client has left meanwhile.

mod attacks;
mod fixation;
mod frames;
mod requests;
mod siege;
pub mod wire;
