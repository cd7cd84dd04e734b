//! Finds liblamina: in $LAMINA_LIB_DIR, else where pkg-config says.

use std::env;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-env-changed=LAMINA_LIB_DIR");
    println!("cargo:rerun-if-env-changed=PKG_CONFIG_PATH");
    println!("cargo:rustc-link-lib=dylib=lamina");
    if let Ok(directory) = env::var("LAMINA_LIB_DIR") {
        println!("cargo:rustc-link-search=native={directory}");
        return;
    }
    let found = Command::new("pkg-config").args(["--variable=libdir", "lamina"]).output();
    match found {
        Ok(output) if output.status.success() => {
            let directory = String::from_utf8_lossy(&output.stdout);
            println!("cargo:rustc-link-search=native={}", directory.trim());
        }
        _ => println!("cargo:warning=pkg-config does not find lamina; set LAMINA_LIB_DIR if the linker does not either"),
    }
}
