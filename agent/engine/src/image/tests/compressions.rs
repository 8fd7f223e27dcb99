//! Layers in every compression: said by their type, said by their first bytes, and made to mean harm.

use std::io::{Read as _, Write as _};

use super::server::Server;
use super::*;

const PLAIN: &str = "application/vnd.oci.image.layer.v1.tar";

fn bzip2(data: &[u8]) -> Vec<u8> {
    let mut encoder = ::bzip2::write::BzEncoder::new(Vec::new(), ::bzip2::Compression::fast());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

fn xz(data: &[u8]) -> Vec<u8> {
    let mut encoder = lzma_rust2::XzWriter::new(Vec::new(), lzma_rust2::XzOptions::with_preset(1)).unwrap();
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

fn zstd(data: &[u8]) -> Vec<u8> {
    ::zstd::encode_all(data, 1).unwrap()
}

/// Type of a layer and what makes its bytes.
type Form = (&'static str, fn(&[u8]) -> Vec<u8>);

const FORMS: [Form; 4] = [("gzip", gzip), ("bzip2", bzip2), ("xz", xz), ("zstd", zstd)];

fn image(archive: &[u8], layer: Vec<u8>, media_type: &str) -> Pushed {
    Pushed::assemble(&[layer], &[Digest::of(archive)], media_type)
}

async fn pulled(image: Pushed) -> Result<(Host, Digest), String> {
    let host = Host::new().await;
    let server = Server::of(image).await;
    match host.pull(&format!("{}/app", server.address)).await {
        Ok(image) => Ok((host, image.layers[0].clone())),
        Err(fault) => {
            host.assert_untouched().await;
            Err(fault.to_string())
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn layers_of_every_compression_are_unpacked_whether_their_type_says_so_or_not() {
    let archive = tar_of(&[("greeting", b"good day"), ("noise", &noise(1 << 20)), ("zeros", &[0; 1 << 20])]);
    for (name, compress) in FORMS {
        let typed = format!("{PLAIN}+{name}");
        for media_type in [typed.as_str(), PLAIN] {
            // Two members or frames after each other are one file, in all of the formats.
            let (first, second) = archive.split_at(archive.len() / 3);
            let layer = [compress(first), compress(second)].concat();
            let (host, layer) = pulled(image(&archive, layer, media_type)).await.expect(media_type);
            let root = host.snapshots.layer_path(&layer);
            assert_eq!(read(&root.join("greeting")), "good day", "{name} as {media_type}");
            assert_eq!(fs::read(root.join("noise")).unwrap(), noise(1 << 20), "{name} as {media_type}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn layers_that_end_early_or_are_damaged_are_refused_in_every_compression() {
    let archive = tar_of(&[("noise", &noise(1 << 20))]);
    for (name, compress) in FORMS {
        let whole = compress(&archive);
        let media_type = format!("{PLAIN}+{name}");
        let mut damaged = whole.clone();
        let middle = damaged.len() / 2;
        damaged[middle] ^= 0x55;
        for (what, layer) in
            [("short", whole[..middle].to_vec()), ("damaged", damaged), ("other", noise(4096))]
        {
            let fault = pulled(image(&archive, layer, &media_type)).await.map(drop).expect_err(what);
            // Who notices first differs; zstd writes no checksum unless asked to.
            let told = ["cannot be decompressed", "cannot be unpacked", "configuration says"];
            assert!(told.iter().any(|words| fault.contains(words)), "{name}, {what}: {fault}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bombs_of_every_compression_are_stopped() {
    let archive = tar_of(&[("zeros", &vec![0; 8 << 20])]);
    for (name, compress) in FORMS {
        let mut host = Host::new().await;
        let server = Server::of(image(&archive, compress(&archive), &format!("{PLAIN}+{name}"))).await;
        let inner = std::sync::Arc::get_mut(&mut host.images.inner).unwrap();
        inner.limits.ratio_free_bytes = 1 << 20;
        inner.limits.ratio = 20;
        let fault = host.pull(&format!("{}/app", server.address)).await.unwrap_err().to_string();
        assert!(fault.contains("it inflates to more than 20 times its size"), "{name}: {fault}");
        host.assert_untouched().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn windows_and_dictionaries_beyond_what_decoders_must_take_are_refused() {
    let archive = tar_of(&[("greeting", b"good day")]);
    let mut encoder = ::zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(27).unwrap();
    encoder.write_all(&archive).unwrap();
    let fault = pulled(image(&archive, encoder.finish().unwrap(), &format!("{PLAIN}+zstd"))).await;
    let fault = fault.map(drop).unwrap_err();
    assert!(fault.contains("cannot be decompressed"), "{fault}");

    let layer = with_dictionary_of_4_gib(xz(&archive));
    let fault = pulled(image(&archive, layer, &format!("{PLAIN}+xz"))).await.map(drop).unwrap_err();
    assert!(fault.contains("cannot be decompressed"), "{fault}");
}

/// The first block header says how large the dictionary is (the .xz file format, sections 3.1 and 5.3.1).
fn with_dictionary_of_4_gib(mut file: Vec<u8>) -> Vec<u8> {
    const BLOCK: usize = 12;
    let length = (usize::from(file[BLOCK]) + 1) * 4;
    assert_eq!(file[BLOCK + 2..BLOCK + 4], [0x21, 1], "one LZMA2 filter");
    file[BLOCK + 4] = 40;
    let mut checksum = flate2::CrcReader::new(&file[BLOCK..BLOCK + length - 4]);
    std::io::copy(&mut checksum.by_ref(), &mut std::io::sink()).unwrap();
    let sum = checksum.crc().sum().to_le_bytes();
    file[BLOCK + length - 4..BLOCK + length].copy_from_slice(&sum);
    file
}
