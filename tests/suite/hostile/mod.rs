//! Strangers who mean harm: what they get, and what an honest client has left meanwhile.

mod attacks;
mod requests;
mod siege;
mod wire;
