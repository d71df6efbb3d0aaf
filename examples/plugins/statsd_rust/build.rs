//! Link flags that every plugin should have: see builtin-exporters/loadable/build.rs.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|os| os == "linux") {
        for flag in ["-Wl,-z,defs", "-Wl,-z,now", "-Wl,-z,nodelete", "-Wl,-Bsymbolic"] {
            println!("cargo:rustc-cdylib-link-arg={flag}");
        }
    }
}
