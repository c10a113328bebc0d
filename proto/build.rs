//! Compiles the protobuf files in pure Rust: a fresh machine needs no protoc.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = [
        "sterna/v1/worker.proto",
        "sterna/v1/admin.proto",
        "sterna/v1/raft.proto",
    ];
    for file in files {
        println!("cargo::rerun-if-changed={file}");
    }
    let descriptors = protox::compile(files, ["."])?;
    tonic_prost_build::configure().compile_fds(descriptors)?;
    Ok(())
}
