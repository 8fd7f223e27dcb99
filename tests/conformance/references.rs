//! Names of images mean the same to controller and agent, which share no code: what one accepts the other does.

use agent_engine::image::Reference;
use controller_core::spec::{ContainerSpec, ServiceSpec};

/// Pieces whose combinations touch every rule.
const DOMAINS: [&str; 16] = [
    "",
    "localhost/",
    "localhost:5000/",
    "ghcr.io/",
    "UPPER/",
    "a:0/",
    "a:65536/",
    "a:/",
    "[::1]/",
    "[::1]:5000/",
    "[::1/",
    "-a.b/",
    "a..b/",
    "index.docker.io/",
    "docker.io/",
    "10.0.0.1:80/",
];
const PATHS: [&str; 16] = [
    "a",
    "a/b",
    "A",
    "a/B",
    "a..b",
    "a__b",
    "a___b",
    "a--b",
    "a.",
    "_a",
    "a//b",
    "",
    "a/../b",
    "a b",
    "a.b_c-d/e",
    "\u{e4}",
];
const TAGS: [&str; 9] = ["", ":1", ":", ":-a", ":a.b-c_D", "::1", ":a:b", ":\u{e4}", ":_"];

/// Whether the controller does, and whether the agent does.
fn accepts(image: &str) -> (bool, bool) {
    let container = ContainerSpec { image: image.to_owned(), ..ContainerSpec::default() };
    let spec = ServiceSpec { name: "web".to_owned(), container, ..ServiceSpec::default() };
    let refused = spec.validate().is_err_and(|error| error.to_string().contains("image"));
    (!refused, image.parse::<Reference>().is_ok())
}

#[test]
fn controller_and_agent_accept_the_same_names_of_images() {
    let (short, long) = ("0a".repeat(32), "0a".repeat(64));
    let digests = [
        String::new(),
        format!("@sha256:{short}"),
        format!("@sha512:{long}"),
        format!("@sha256:{long}"),
        format!("@md5:{short}"),
        "@".to_owned(),
        format!("@sha256:{short}@sha256:{short}"),
    ];
    let mut names = vec!["a".repeat(237), "a".repeat(238)];
    names.extend([251, 252].map(|length| format!("b.c/{}", "a".repeat(length))));
    names.extend([128, 129].map(|length| format!("a:{}", "t".repeat(length))));
    for domain in DOMAINS {
        for path in PATHS {
            for tag in TAGS {
                names.extend(digests.iter().map(|digest| format!("{domain}{path}{tag}{digest}")));
            }
        }
    }
    let differs = |name: &&String| {
        let (controller, agent) = accepts(name);
        controller != agent
    };
    let differ: Vec<&String> = names.iter().filter(differs).collect();
    assert!(differ.is_empty(), "{} of {}: {:?}", differ.len(), names.len(), &differ[..differ.len().min(20)]);
    let accepted = names.iter().filter(|name| accepts(name).1).count();
    assert!(accepted > 500 && accepted < names.len() / 2, "{accepted} of {}", names.len());
}
