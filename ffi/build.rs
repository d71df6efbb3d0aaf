//! How libtallyport.so is linked: its name for the loader, and what the loader does with it.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let system = std::env::var("CARGO_CFG_TARGET_OS").unwrap_or_default();
    if system == "linux" {
        // The number is the ABI's major (docs/ABI.md). nodelete: threads, signal handlers and the loader's tables
        // may point into the library after a dlclose. now: a missing symbol fails at load.
        for argument in ["-soname,libtallyport.so.1", "-z,nodelete", "-z,now"] {
            println!("cargo::rustc-cdylib-link-arg=-Wl,{argument}");
        }
    }
}
