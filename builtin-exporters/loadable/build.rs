//! Link flags that every plugin should have; a vendor may copy this file.
//!
//! `nodelete`: threads and thread-locals of Rust's std do not survive an unmap. `now`: a missing
//! symbol fails the load, not the first call. `-Bsymbolic`: a host linked with `-rdynamic` must
//! not capture the plugin's own functions.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "linux") {
        for flag in ["-Wl,-z,defs", "-Wl,-z,now", "-Wl,-z,nodelete", "-Wl,-Bsymbolic"] {
            println!("cargo:rustc-cdylib-link-arg={flag}");
        }
    }
}
