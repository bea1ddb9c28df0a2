//! The markup of manual pages. Texts have backquotes round what is typed as it stands and angle brackets round what
//! stands for something else.

use std::fmt::Write;

/// A part of a synopsis: everything is typed as it stands, but for brackets, blanks and what angle brackets enclose.
pub fn synopsis(part: &str) -> String {
    if part.starts_with("[<") {
        return part.split_inclusive(']').map(roff).collect();
    }
    let open = if part.starts_with('[') { "[" } else { "" };
    let close = part.find(']').map_or("", |at| &part[at..]);
    let inner = &part[open.len()..part.len() - close.len()];
    let mut marked = String::new();
    for (i, piece) in inner.split(['<', '>']).enumerate() {
        match (i % 2, piece) {
            (_, "") => {}
            (0, ":" | " ") => marked.push_str(piece),
            (0, piece) => marked.push_str(&format!("`{}`{}", piece.trim_end(), &piece[piece.trim_end().len()..])),
            (_, piece) => marked.push_str(&format!("<{piece}>")),
        }
    }
    format!("{open}{}{close}", roff(&marked))
}

/// A heading.
pub fn section(page: &mut String, name: &str) {
    let quote = if name.contains(' ') { "\"" } else { "" };
    let _ = writeln!(page, ".SH {quote}{name}{quote}");
}

/// A tag and the text indented below it.
pub fn tagged(page: &mut String, tag: &str, meaning: &str) {
    let _ = writeln!(page, ".TP\n{}", roff(tag));
    text(page, meaning);
}

/// Paragraphs, with the macro between them.
pub fn paragraphs(page: &mut String, paragraphs: &[&str]) {
    for (i, paragraph) in paragraphs.iter().enumerate() {
        // The first paragraph of a section needs no macro, and lint says so.
        if i > 0 || !page.lines().last().is_some_and(|line| line.starts_with(".S")) {
            page.push_str(".PP\n");
        }
        text(page, paragraph);
    }
}

/// One paragraph's text: a new line for each sentence, and lines of a length that lint accepts.
pub fn text(page: &mut String, paragraph: &str) {
    let mut line = String::new();
    for word in roff(paragraph).split(' ') {
        if !line.is_empty() && line.len() + 1 + word.len() > 78 {
            push_line(page, &line);
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
        if word.ends_with('.') {
            push_line(page, &line);
            line.clear();
        }
    }
    if !line.is_empty() {
        push_line(page, &line);
    }
}

/// One line of text, which must not look like a request.
fn push_line(page: &mut String, line: &str) {
    if line.starts_with(['.', '\'']) {
        page.push_str("\\&");
    }
    page.push_str(line);
    page.push('\n');
}

/// Something that is typed as it stands.
pub fn literal(text: &str) -> String {
    roff(&format!("`{text}`"))
}

/// Backquotes become bold and angle brackets italic; what roff would take for something else is escaped.
pub fn roff(marked: &str) -> String {
    let mut text = String::with_capacity(marked.len() + 16);
    let mut bold = false;
    for c in marked.chars() {
        match c {
            '`' => {
                bold = !bold;
                text.push_str(if bold { "\\fB" } else { "\\fR" });
            }
            '<' if !bold => text.push_str("\\fI"),
            '>' if !bold => text.push_str("\\fR"),
            '-' if bold => text.push_str("\\-"),
            '\'' if bold => text.push_str("\\(aq"),
            '~' => text.push_str("\\(ti"),
            '^' => text.push_str("\\(ha"),
            '\\' => text.push_str("\\e"),
            c => text.push(c),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup() {
        assert_eq!(roff("a `-b`, <c>-d"), "a \\fB\\-b\\fR, \\fIc\\fR-d");
        assert_eq!(roff("a\\b `it's` ~^"), "a\\eb \\fBit\\(aqs\\fR \\(ti\\(ha");
        assert_eq!(synopsis("-n"), "\\fB\\-n\\fR");
        assert_eq!(synopsis("[-b <bytes>]"), "[\\fB\\-b\\fR \\fIbytes\\fR]");
        assert_eq!(synopsis("[-l <addr>:<port>]..."), "[\\fB\\-l\\fR \\fIaddr\\fR:\\fIport\\fR]...");
        assert_eq!(synopsis("unix:@<name>"), "\\fBunix:@\\fR\\fIname\\fR");
        assert_eq!(synopsis("[<v6>]:<port>"), "[\\fIv6\\fR]:\\fIport\\fR");
        let mut page = String::new();
        text(&mut page, "One. .two 'three");
        assert_eq!(page, "One.\n\\&.two 'three\n");
    }
}
