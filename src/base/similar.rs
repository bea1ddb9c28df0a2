//! Which known word a mistyped one was meant to be.

/// Words longer than this are not compared.
const LONGEST: usize = 40;

/// The known word that takes the fewest changes, if a word of this length could be mistyped so.
pub fn similar<'k>(word: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    if word.len() > LONGEST {
        return None;
    }
    let most = (word.chars().count() / 3).max(1);
    known
        .map(|other| (distance(word, other), other))
        .filter(|(n, _)| *n <= most)
        .min_by_key(|(n, _)| *n)
        .map(|(_, w)| w)
}

/// How many characters must be put in, left out, replaced, or swapped with their neighbours.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    rows[0] = (0..=b.len()).collect();
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = replaced.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = least;
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        for (a, b, expected) in [
            ("", "", 0),
            ("abc", "abc", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("idel", "idle", 1),
            ("kitten", "sitting", 3),
            ("é", "e", 1),
        ] {
            assert_eq!(distance(a, b), expected, "{a} {b}");
        }
    }

    #[test]
    fn the_nearest_word_is_found() {
        let known = ["listen", "remote", "idle-timeout", "connect-timeout"];
        for (word, expected) in [
            ("idel-timeout", Some("idle-timeout")),
            ("idle_timeout", Some("idle-timeout")),
            ("lisen", Some("listen")),
            ("remotes", Some("remote")),
            ("timeout", None),
            ("", None),
            ("x", None),
            (&"x".repeat(100_000), None),
        ] {
            assert_eq!(similar(word, known.into_iter()), expected, "{word}");
        }
    }
}
