use super::*;
use std::collections::HashSet;

#[test]
fn no_name_occurs_twice() {
    let mut names = HashSet::new();
    // A service may have an option of the process, too; on the command line there is only one.
    let of_both = |key: &Key| key.is_of_service() && !key.is_flag() && at_top().any(|other| other.long == key.long);
    for key in TABLES.into_iter().flatten().filter(|key| !of_both(key)) {
        assert!(names.insert(key.long.to_string()), "{}", key.long);
        assert!(key.short.is_none_or(|short| names.insert(short.to_string())), "{}", key.long);
        assert!(named(key.long).is_some_and(|found| found.help == key.help));
    }
    assert_eq!(all().count(), TABLES.concat().len());
    // It would not be told from the tables.
    assert!(names.insert("service".to_string()));
}

#[test]
fn every_option_is_described() {
    for key in all().chain([&remote::ADDRESS]).chain(remote::KEYS) {
        assert!(key.long.len() > 1 && key.long.is_ascii(), "{}", key.long);
        assert!(!key.help.is_empty() && !key.help.ends_with('.'), "{}", key.long);
        assert!(!key.help.contains(['\n', '`']), "{}", key.long);
        assert!(!key.details.is_empty(), "{}", key.long);
        for text in key.details {
            assert!(text.ends_with('.') && text.matches('`').count() % 2 == 0, "{}", key.long);
            assert!(text.is_ascii() && !text.contains("  ") && !text.contains('\n'), "{}", key.long);
        }
        let Some(value) = key.value else { continue };
        assert_eq!(value.name.matches('<').count(), value.name.matches('>').count());
        assert!(!value.expected.is_empty() && value.expected.is_ascii(), "{}", key.long);
        if let Kind::Words(words) = value.kind {
            for word in words {
                assert!(key.help.contains(word) && key.details[0].contains(&format!("`{word}`")), "{word}");
                assert!(value.expected.contains(word), "{word}");
            }
        }
    }
}

#[test]
fn the_originals_flags_come_first() {
    let shorts: Vec<_> = flags().take(5).map(|key| key.short).collect();
    assert_eq!(shorts, [Some('l'), Some('r'), Some('b'), Some('n'), Some('t')]);
    assert_eq!(flags_in(Group::Original).count(), 5);
}

#[test]
fn an_option_is_given_where_its_scope_is_known() {
    for key in all() {
        match key.scope {
            Scope::Program { .. } | Scope::Print(_) => assert_eq!(key.place, Place::CommandLine, "{}", key.long),
            Scope::Include => assert_eq!(key.place, Place::File, "{}", key.long),
            Scope::Remote { .. } => panic!("{} is none of a service", key.long),
            Scope::Process { .. } | Scope::Service { .. } => {}
        }
    }
    assert_eq!(all().count(), flags().count() + all().filter(|key| key.place == Place::File).count());
    assert!(at_top().all(|key| !key.is_of_service()) && of_service().all(Key::is_of_service));
}
