//! Compiles the hello server, the one program of the image that the agent
//! carries, to a static binary that `src/hello.rs` includes. It is done here,
//! with a bare rustc, because Cargo cannot put one crate's binary into another.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let manifest = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let source = manifest.join("hello/src");
    println!("cargo::rerun-if-changed={}", source.display());
    let output = Path::new(&env::var("OUT_DIR")?).join("hello");
    let mut rustc = Command::new(env::var("RUSTC")?);
    rustc
        .arg(source.join("main.rs"))
        .args(["--crate-name", "hello", "--crate-type", "bin", "--edition", "2024"])
        .args(["--target", &env::var("TARGET")?])
        .args(["-C", "target-feature=+crt-static", "-C", "relocation-model=static"])
        .args(["-C", "opt-level=s", "-C", "panic=abort", "-C", "strip=symbols"])
        .arg("-o")
        .arg(&output);
    let status = rustc.status()?;
    if !status.success() {
        return Err(format!("compiling the hello server: {status}").into());
    }
    Ok(())
}
