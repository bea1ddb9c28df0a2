//! What is written about the file from the table of options is what is in the repository.
//!
//! `CPROXY_UPDATE=1 cargo test --test configuration` writes it anew.

use crate::support::{Folder, load};
use cproxy::config::file::example::{example, reference};
use cproxy::config::keys;
use std::path::Path;

/// Compares a file of the repository with what it should be, or writes it.
fn compare(name: &str, expected: impl Fn(&str) -> String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    let expected = expected(&found);
    if std::env::var_os("CPROXY_UPDATE").is_some() && found != expected {
        std::fs::write(&path, expected).expect(name);
    } else {
        assert!(found == expected, "{name} is not up to date: CPROXY_UPDATE=1 cargo test --test configuration");
    }
}

#[test]
fn the_example_has_every_key() {
    compare("packaging/cproxy.toml", |_| example());
}

#[test]
fn the_documentation_has_every_key() {
    compare("docs/configuration.md", |found| {
        let (before, rest) = found.split_once("<!-- keys -->\n").expect("a mark");
        let (_, after) = rest.split_once("<!-- /keys -->\n").expect("a mark");
        format!("{before}<!-- keys -->\n\n{}\n<!-- /keys -->\n{after}", reference())
    });
}

#[test]
fn the_example_does_nothing_and_says_why() {
    assert_eq!(Folder::new().errors(example()), ["cproxy.toml: no service: add a table [service.NAME]"]);
}

/// With all its comments removed, it is good.
#[test]
fn the_example_is_good() {
    let folder = Folder::new();
    folder.write("conf.d/b.toml", "[service.b]\nlisten = \"127.0.0.1:1\"\nremote = \"echo:\"\n");
    let lines = example();
    let lines: Vec<_> =
        lines.lines().filter_map(|line| line.strip_prefix('#')).filter(|line| !line.starts_with(' ')).collect();
    // A key is of no use without a stripe, and `requests` without clients that have no connection.
    let text = lines.join("\n").replace("remote = \"", "remote = \"stripe:");
    let text = text.replace("listen = [", "listen = [\"udp:0.0.0.0:5000\", ");
    folder.write("networks.txt", "192.0.2.0/24\n");
    folder.write("stripe.key", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n");
    let settings = folder.load(&text).unwrap_or_else(|errors| panic!("{}", errors[0]));
    assert_eq!(settings.services.len(), 2);
    for key in keys::at_top().chain(keys::of_service()) {
        assert!(text.contains(&format!("\n{} = ", key.long)) || text.starts_with(key.long), "{}", key.long);
    }
}

#[test]
fn the_examples_of_the_documentation_are_good() {
    for (name, least) in
        [("docs/configuration.md", 2), ("docs/access.md", 1), ("docs/balancing.md", 1), ("docs/proxy-protocol.md", 1)]
    {
        let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).expect("a page");
        let mut examples = 0;
        for block in page.split("```toml\n").skip(1) {
            let text = block.split("```").next().expect("a block");
            load(text);
            examples += 1;
        }
        assert!(examples >= least, "{name}");
    }
    load(cproxy::cli::man_config::EXAMPLE);
}

#[test]
fn the_documentation_has_every_metric() {
    compare("docs/metrics.md", |_| cproxy::status::metrics::reference());
}
