//! Compiles the .proto files in Rust (protox), so that a build needs no `protoc`.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = [
        "container",
        "control",
        "dispatch",
        "events",
        "exec",
        "files",
        "identity",
        "image",
        "info",
        "node",
        "registry",
        "types",
        "volume",
    ]
    .map(|name| format!("roadstead/v1/{name}.proto"));
    for file in &files {
        println!("cargo::rerun-if-changed={file}");
    }
    let descriptors = protox::compile(&files, ["."])?;
    // What only few requests carry must not make all of them large.
    let isolation = ".roadstead.v1.CreateContainerRequest.isolation";
    // A password must not be printed by whoever prints a request.
    let secret = ".roadstead.v1.RegistryAuth";
    tonic_prost_build::configure().boxed(isolation).skip_debug([secret]).compile_fds(descriptors)?;
    Ok(())
}
