//! Rebuilds the crate when a file of the app is added or removed: what is built in is the folder as
//! it is.

fn main() {
    println!("cargo:rerun-if-changed=../static");
}
