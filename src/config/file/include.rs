//! Which files a pattern stands for.

use crate::base::error::error_text;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// Whether a pattern is one, rather than a plain path.
pub fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?'])
}

/// The files that a pattern stands for, in the order of their names; those of a plain path whether they exist or not.
///
/// # Errors
///
/// A folder cannot be read.
pub fn files(folder: &Path, pattern: &str) -> Result<Vec<PathBuf>, String> {
    let mut found = vec![folder.to_path_buf()];
    for component in Path::new(pattern).components() {
        found = match component {
            Component::Normal(name) if is_pattern(&name.to_string_lossy()) => matching(&found, name)?,
            // A path that starts with a slash takes the place of the folder.
            component => found.iter().map(|path| path.join(component)).collect(),
        };
    }
    if is_pattern(pattern) {
        // What follows a matching folder may be in some of them only.
        found.retain(|path| path.symlink_metadata().is_ok());
    }
    Ok(found)
}

/// What matches in these folders.
fn matching(folders: &[PathBuf], pattern: &OsStr) -> Result<Vec<PathBuf>, String> {
    let mut found = Vec::new();
    for folder in folders {
        // An empty path is the current folder.
        let readable = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        let named = |error: &io::Error| format!("{}: {}", readable.display(), error_text(error));
        let entries = match readable.read_dir() {
            Ok(entries) => entries,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => continue,
            Err(error) => return Err(named(&error)),
        };
        let mut names = Vec::new();
        for entry in entries {
            names.push(entry.map_err(|error| named(&error))?.file_name());
        }
        names.sort();
        let hidden = pattern.as_bytes().starts_with(b".");
        let fits = |name: &&std::ffi::OsString| {
            (hidden || !name.as_bytes().starts_with(b".")) && matches(pattern.as_bytes(), name.as_bytes())
        };
        found.extend(names.iter().filter(fits).map(|name| folder.join(name)));
    }
    Ok(found)
}

/// Whether a name is like a pattern, in which `*` stands for any number of bytes and `?` for one.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    // Where the last `*` was, and what it stands for so far ends here.
    let mut star = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(c) if *c == b'?' || *c == name[n] => {
                p += 1;
                n += 1;
            }
            _ => {
                let Some((at, end)) = star else { return false };
                star = Some((at, end + 1));
                (p, n) = (at + 1, end + 1);
            }
        }
    }
    pattern[p..].iter().all(|c| *c == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_patterns() {
        for (pattern, name, expected) in [
            ("*.toml", "a.toml", true),
            ("*.toml", ".toml", true),
            ("*.toml", "a.toml~", false),
            ("*", "", true),
            ("?", "", false),
            ("a?c", "abc", true),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYbZ", false),
            ("**", "abc", true),
            ("abc", "abc", true),
            ("abc", "abcd", false),
            ("[a]", "a", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), name.as_bytes()), expected, "{pattern} {name}");
        }
        // No pattern takes more time than its length times that of the name.
        assert!(!matches(&b"*a".repeat(200), &[b'a'; 199]));
    }

    #[test]
    fn patterns_find_files_in_the_order_of_their_names() {
        let folder = std::env::temp_dir().join(format!("cproxy-include-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        for name in ["b", "a", "c"] {
            std::fs::create_dir_all(folder.join(name)).unwrap();
            for file in ["2.toml", "1.toml", ".hidden.toml", "note.txt"] {
                std::fs::write(folder.join(name).join(file), "").unwrap();
            }
        }
        let find = |pattern: &str| {
            let found = files(&folder, pattern).unwrap();
            let names: Vec<_> =
                found.iter().map(|path| path.strip_prefix(&folder).unwrap_or(path).display().to_string()).collect();
            names.join(" ")
        };
        assert_eq!(find("a/*.toml"), "a/1.toml a/2.toml");
        assert_eq!(find("*/1.toml"), "a/1.toml b/1.toml c/1.toml");
        assert_eq!(
            find("?/*"),
            "a/1.toml a/2.toml a/note.txt b/1.toml b/2.toml b/note.txt c/1.toml c/2.toml c/note.txt"
        );
        assert_eq!(find("a/.*"), "a/.hidden.toml");
        assert_eq!(find("*/absent"), "");
        assert_eq!(find("absent/*.toml"), "");
        assert_eq!(find("a/1.toml/*"), "");
        assert_eq!(find("absent.toml"), "absent.toml");
        assert_eq!(find("/absent.toml"), "/absent.toml");
        assert_eq!(find("../absent.toml"), "../absent.toml");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
