//! Generates the gRPC types with a compiler that is a crate: no `protoc` needed on the machine.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto/sealcast.proto");
    let descriptors = protox::compile(["proto/sealcast.proto"], ["proto"])?;
    tonic_prost_build::configure().compile_fds(descriptors)?;
    Ok(())
}
