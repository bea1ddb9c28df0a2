//! `--completions`: scripts that complete command lines in bash, zsh and fish.

use crate::config::keys::{self, Key, Kind};
use std::fmt::Write;

/// The script for a shell, if it is one of [`keys::SHELLS`].
pub fn script(shell: &str) -> Option<String> {
    let flags: Vec<Key> = keys::flags().copied().collect();
    match shell {
        "bash" => Some(bash(&flags)),
        "zsh" => Some(zsh(&flags)),
        "fish" => Some(fish(&flags)),
        _ => None,
    }
}

/// A flag's names with their hyphens.
fn names(flag: &Key) -> Vec<String> {
    flag.short.iter().map(|short| format!("-{short}")).chain([format!("--{}", flag.long)]).collect()
}

/// Every name of every flag of which this is true.
fn all_names(flags: &[Key], which: impl Fn(&Key) -> bool) -> Vec<String> {
    flags.iter().filter(|flag| which(flag)).flat_map(names).collect()
}

/// The script for bash. It needs nothing from the bash-completion package.
fn bash(flags: &[Key]) -> String {
    let mut cases = String::new();
    let mut case = |patterns: Vec<String>, body: &str| {
        if !patterns.is_empty() {
            let _ = writeln!(cases, "        {})\n{body}            ;;", patterns.join("|"));
        }
    };
    let has = |flag: &Key, kind: Kind| flag.value.is_some_and(|value| value.kind == kind);
    case(all_names(flags, |flag| has(flag, Kind::Address)), BASH_ADDRESS);
    case(all_names(flags, |flag| has(flag, Kind::File)), BASH_FILE);
    let free = |flag: &Key| has(flag, Kind::Number) || has(flag, Kind::Text);
    case(all_names(flags, free), "            COMPREPLY=()\n");
    for flag in flags {
        if let Some(Kind::Words(words)) = flag.value.map(|value| value.kind) {
            let body = format!("            COMPREPLY=($(compgen -W '{}' -- \"$cur\"))\n", words.join(" "));
            case(names(flag), &body);
        }
    }
    format!(
        "# bash completion for cproxy\n{BASH_START}    case $flag in\n{cases}        *)\n            \
         COMPREPLY=($(compgen -W '{}' -- \"$cur\"))\n            ;;\n    esac\n}}\n\n\
         complete -F _cproxy cproxy\n",
        all_names(flags, |_| true).join(" ")
    )
}

/// Finds `cur`, the part of a word that bash completes, and `flag`, whose value it belongs to. Bash makes words of their
/// own of `=` and `:`, unless the user has told it otherwise.
const BASH_START: &str = r#"_cproxy() {
    local cur=${COMP_WORDS[COMP_CWORD]} flag='' value='' at=$COMP_CWORD word
    # Collect the pieces of the value back to the flag before them.
    value=$cur
    while ((at > 1)); do
        word=${COMP_WORDS[at - 1]}
        if [[ $value == [:=]* || $word =~ ^[:=]+$ ]]; then
            value=$word$value
            ((at--))
        else
            flag=$word
            break
        fi
    done
    if [[ $value == --*=* ]]; then
        flag=${value%%=*}
        value=${value#*=}
    fi
    [[ $cur =~ ^[:=]+$ ]] && cur=''
    if [[ $cur == --*=* ]]; then
        cur=${cur#*=}
    fi
"#;

/// Completes the value of a flag that is a file.
const BASH_FILE: &str = r#"            local IFS=$'\n'
            compopt -o filenames 2>/dev/null
            COMPREPLY=($(compgen -f -- "$cur"))
"#;

/// Completes the value of a flag that is an address.
const BASH_ADDRESS: &str = r#"            if [[ $value =~ ^((framed:)?unix|unixpacket|unixgram): ]]; then
                local IFS=$'\n' prefix=${BASH_REMATCH[0]}
                compopt -o filenames 2>/dev/null
                if [[ $cur == "$prefix"* ]]; then
                    COMPREPLY=($(compgen -f -P "$prefix" -- "${cur#"$prefix"}"))
                else
                    COMPREPLY=($(compgen -f -- "$cur"))
                fi
            elif [[ $value != *:* ]]; then
                compopt -o nospace 2>/dev/null
                COMPREPLY=($(compgen -W 'localhost: echo: framed: original: srv: stripe: tap: tcp: tun: udp: unix: unixgram: unixpacket:' -- "$cur"))
            fi
"#;

/// The script for zsh, to be found by its completion system as `_cproxy` or to be sourced.
fn zsh(flags: &[Key]) -> String {
    let mut script = format!("#compdef cproxy\n\n{ZSH_ADDRESS}\n_cproxy() {{\n    _arguments -s -S \\\n");
    for flag in flags {
        let again = if flag.repeatable { "*" } else { "" };
        let excluded = if flag.repeatable { String::new() } else { format!("({})", names(flag).join(" ")) };
        let action = flag.value.map_or(String::new(), |value| {
            let message = value.name.replace(['<', '>'], "").replace(':', "\\:");
            let action = match value.kind {
                Kind::Address => "_cproxy_address".to_string(),
                Kind::File => "_files".to_string(),
                Kind::Words(words) => format!("({})", words.join(" ")),
                Kind::Number | Kind::Text => " ".to_string(),
            };
            format!(":{message}:{action}")
        });
        let help = zsh_help(flag.help);
        for name in names(flag) {
            let attached = match (flag.value, name.starts_with("--")) {
                (None, _) => "",
                (Some(_), false) => "+",
                (Some(_), true) => "=",
            };
            let _ = writeln!(script, "        '{excluded}{again}{name}{attached}[{help}]{action}' \\");
        }
    }
    script.push_str("        && return 0\n    return 1\n}\n\n");
    script.push_str(
        "if [ \"$funcstack[1]\" = \"_cproxy\" ]; then\n    _cproxy \"$@\"\nelse\n    compdef _cproxy cproxy\nfi\n",
    );
    script
}

/// Help, as zsh takes it in brackets and quotes.
fn zsh_help(help: &str) -> String {
    help.replace('\\', "\\\\").replace('[', "\\[").replace(']', "\\]").replace(':', "\\:").replace('\'', "'\\''")
}

/// Completes an address.
const ZSH_ADDRESS: &str = r#"_cproxy_address() {
    if compset -P '(framed:|)unix:' || compset -P 'unix(packet|gram):'; then
        _files
    elif compset -P '((framed:|)stripe|tcp|udp|framed):'; then
        if compset -P '*:'; then _ports; else compadd -S '' -- localhost:; fi
    elif compset -P 'srv:'; then
        _message 'name of SRV records, such as _http._tcp.example.com'
    elif compset -P '*:'; then
        _ports
    else
        compadd -S '' -- localhost: echo: framed: original: srv: stripe: tap: tcp: tun: udp: unix: unixgram: unixpacket:
    fi
}
"#;

/// The script for fish.
fn fish(flags: &[Key]) -> String {
    let mut script = format!("# fish completion for cproxy\n\n{FISH_ADDRESS}\ncomplete -c cproxy -f\n");
    for flag in flags {
        script.push_str("complete -c cproxy");
        if let Some(short) = flag.short {
            let _ = write!(script, " -s {short}");
        }
        let _ = write!(script, " -l {} ", flag.long);
        match flag.value.map(|value| value.kind) {
            None => {}
            Some(Kind::Address) => script.push_str("-x -a '(__cproxy_addresses)' "),
            Some(Kind::File) => script.push_str("-r -F "),
            Some(Kind::Words(words)) => {
                let _ = write!(script, "-x -a '{}' ", words.join(" "));
            }
            Some(Kind::Number | Kind::Text) => script.push_str("-x "),
        }
        let _ = writeln!(script, "-d '{}'", flag.help.replace('\\', "\\\\").replace('\'', "\\'"));
    }
    script
}

/// Lists addresses for the word at the cursor.
const FISH_ADDRESS: &str = r#"function __cproxy_addresses
    set -l word (string replace -r -- '^(--[a-z-]+=|-[a-zA-Z])' '' (commandline -ct))
    set -l kind (string match -r -- '^(?:(?:framed:)?unix|unixpacket|unixgram):' $word)
    if test -n "$kind"
        set -l start (string replace -- $kind '' $word)
        for path in $start*
            if test -d $path
                echo $kind$path/
            else
                echo $kind$path
            end
        end
    else
        printf '%s\n' localhost: echo: framed: original: srv: stripe: tap: tcp: tun: udp: unix: unixgram: unixpacket:
    end
end
"#;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::keys::{Group, Place, SHELLS, Scope, Value};
    use std::process::{Command, Stdio};

    const TABLE: &[Key] = &[Key {
        short: Some('k'),
        long: "key",
        value: Some(Value { name: "<file>", kind: Kind::File, expected: "" }),
        scope: Scope::Include,
        place: Place::CommandLine,
        group: Group::Original,
        required: false,
        repeatable: false,
        misread_if_empty: false,
        default: None,
        help: "it's [a: b] \\ file",
        details: &[],
        example: "",
    }];

    #[test]
    fn help_is_quoted() {
        assert!(zsh(TABLE).contains("'(-k --key)-k+[it'\\''s \\[a\\: b\\] \\\\ file]:file:_files' \\\n"));
        assert!(fish(TABLE).contains("complete -c cproxy -s k -l key -r -F -d 'it\\'s [a: b] \\\\ file'\n"));
        let file = script("bash").expect("a script");
        assert!(
            file.contains(&format!(
                "        -c|--config|--stripe-key|--capture|--access-log)\n{BASH_FILE}            ;;\n"
            )),
            "{file}"
        );
        assert!(bash(TABLE).contains(&format!("        -k|--key)\n{BASH_FILE}            ;;\n")));
    }

    /// Each shell, where it is installed, can at least read its script.
    #[test]
    fn the_shells_read_their_scripts() {
        for shell in SHELLS {
            let flags: Vec<Key> = keys::flags().copied().collect();
            for table in [&flags, TABLE] {
                let script = match *shell {
                    "bash" => bash(table),
                    "zsh" => zsh(table),
                    _ => fish(table),
                };
                let Ok(mut child) =
                    Command::new(shell).args(["-n"]).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn()
                else {
                    continue;
                };
                std::io::Write::write_all(&mut child.stdin.take().expect("a pipe"), script.as_bytes()).expect(shell);
                let output = child.wait_with_output().expect(shell);
                assert!(output.status.success() && output.stderr.is_empty(), "{shell}: {output:?}");
            }
        }
    }
}
