//! Files that a file includes.

use crate::support::Folder;

fn service(name: &str, port: u16) -> String {
    format!("[service.{name}]\nlisten = \"127.0.0.1:{port}\"\nremote = \"echo:\"\n")
}

fn names(folder: &Folder, text: &str) -> Vec<String> {
    let settings = folder.load(text).unwrap_or_else(|errors| panic!("{}", errors[0]));
    settings.services.into_iter().map(|service| service.name).collect()
}

#[test]
fn services_of_included_files_come_in_the_order_of_their_names() {
    let folder = Folder::new();
    folder.write("conf.d/2.toml", service("two", 2));
    folder.write("conf.d/10.toml", service("ten", 10));
    folder.write("conf.d/.hidden.toml", "bad");
    folder.write("conf.d/note.txt", "bad");
    folder.write("other/x.toml", service("x", 11));
    assert_eq!(names(&folder, "include = \"conf.d/*.toml\"\n"), ["ten", "two"]);
    let main = "include = [\"other/x.toml\", \"conf.d/*.toml\", \"conf.d/2.toml\", \"none/*\"]\n".to_string();
    assert_eq!(names(&folder, &(main + &service("main", 1))), ["main", "x", "ten", "two"]);
    let absolute = format!("include = \"{}/other/?.toml\"\n", folder.path().display());
    assert_eq!(names(&folder, &absolute), ["x"]);
    // A file is read once, by whatever names it goes.
    std::os::unix::fs::symlink("x.toml", folder.path().join("other/y.toml")).expect("a link");
    assert_eq!(names(&folder, "include = [\"other/*.toml\", \"conf.d/../other/x.toml\"]\n"), ["x"]);
    // The pattern may mean the file itself, which is then not meant.
    assert_eq!(names(&folder, &format!("include = \"*.toml\"\n{}", service("main", 1))), ["main"]);
}

#[test]
fn what_cannot_be_included_is_an_error() {
    let folder = Folder::new();
    folder.write("include-again.toml", "include = \"cproxy.toml\"\n");
    folder.write("bytes.toml", b"a = \"\xff\"\n");
    folder.write("folder.toml/x", "");
    for (pattern, expected) in [
        ("cproxy.toml", "cproxy.toml:1:11: the file includes itself"),
        ("include-again.toml", "include-again.toml:1:1: an included file cannot include others"),
        ("absent.toml", "cproxy.toml:1:11: absent.toml: No such file or directory"),
        ("bytes.toml", "bytes.toml:1:6: this is not valid UTF-8"),
        ("folder.tom?", "cproxy.toml:1:11: folder.toml: not a regular file"),
        ("folder.toml", "cproxy.toml:1:11: folder.toml: not a regular file"),
        ("", "cproxy.toml:1:11: the path is empty"),
        ("a\\u0000b", "cproxy.toml:1:11: a\\u{0}b: file name contained an unexpected NUL byte"),
    ] {
        assert_eq!(folder.errors(format!("include = \"{pattern}\"\n")), [expected], "{pattern}");
    }
    assert_eq!(
        folder.errors("include = 5\n"),
        [
            "cproxy.toml:1:11: `include` is a whole number; expected a string with a path or a pattern, or an array of such strings"
        ]
    );
    assert_eq!(
        folder.errors("[service.a]\nlisten = \"127.0.0.1:1\"\nremote = \"echo:\"\ninclude = \"x\"\n"),
        ["cproxy.toml:4:1: `include` belongs at the top of the file, before the first table"]
    );
}
