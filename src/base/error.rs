//! How the system's errors are shown.

use std::io;

/// What the system calls an error, without Rust's own additions to it.
pub fn error_text(error: &io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error ") {
        Some((plain, _)) => plain.to_owned(),
        None => text,
    }
}

/// The number of a system error, 0 where it has none.
pub fn error_number(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_named_as_the_system_names_it() {
        let refused = io::Error::from_raw_os_error(libc::ECONNREFUSED);
        assert_eq!(error_text(&refused), "Connection refused");
        assert_eq!(error_number(&refused), libc::ECONNREFUSED);
        assert_eq!(error_text(&io::Error::other("short")), "short");
    }
}
