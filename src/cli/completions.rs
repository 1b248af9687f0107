//! Shell completions: of the command line, and of run ids and accounts from the running collector.

use std::io;

use clap::Command;
use clap_complete::Shell;

use super::args::{Global, Words};
use super::exit::{Exit, Failure};
use super::print::output;
use super::{client, settings};
use crate::api::wire::{Lease, Quota, Run};

/// Name of the program in completions.
const NAME: &str = "tokentail";
/// Longest wait of a shell for words.
const TIMEOUT: std::time::Duration = std::time::Duration::from_secs(1);

/// Bash: the words before the cursor select the completions.
const BASH: &str = r#"
_tokentail_words() {
    local -a with=()
    local at
    for ((at = 1; at + 1 < COMP_CWORD; at++)); do
        case "${COMP_WORDS[at]}" in
            --socket | --config)
                if [[ "${COMP_WORDS[at + 1]}" == "=" ]]; then
                    with+=("${COMP_WORDS[at]}" "${COMP_WORDS[at + 2]}")
                else
                    with+=("${COMP_WORDS[at]}" "${COMP_WORDS[at + 1]}")
                fi
                ;;
        esac
    done
    "${COMP_WORDS[0]}" words "$1" "${with[@]}" 2>/dev/null
}

_tokentail_asking() {
    _tokentail "$@"
    local cur="${COMP_WORDS[COMP_CWORD]}" prev="${COMP_WORDS[COMP_CWORD - 1]}" kind="" word
    if [[ "$prev" == "=" ]]; then
        prev="${COMP_WORDS[COMP_CWORD - 2]}"
    elif [[ "$cur" == "=" ]]; then
        cur=""
    fi
    case "$prev" in
        stop | forget | runs | --run) kind=runs ;;
        mark) kind=accounts ;;
        renew | release | revoke) kind=leases ;;
        --account)
            kind=accounts
            for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
                case "$word" in may-start | lease | capacity) kind=names ;; esac
            done
            ;;
        --incomplete | --json)
            for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
                case "$word" in stop | forget | runs) kind=runs ;; esac
            done
            ;;
    esac
    if [[ -n "$kind" && "$cur" != -* ]]; then
        COMPREPLY=($(compgen -W "$(_tokentail_words "$kind")" -- "$cur"))
    fi
}
"#;

const ZSH: &str = r#"
_tokentail_words() {
    local -a line with found
    local at
    line=(${(z)LBUFFER})
    for ((at = 1; at < ${#line}; at++)); do
        case ${line[at]} in
            --socket | --config) with+=(${line[at]} ${(Q)line[at+1]}) ;;
            --socket=* | --config=*) with+=(${(Q)line[at]}) ;;
        esac
    done
    found=(${(f)"$(tokentail words $1 $with 2>/dev/null)"})
    (( ${#found} )) && compadd -a found
}
_tokentail_runs() { _tokentail_words runs }
_tokentail_accounts() { _tokentail_words accounts }
_tokentail_names() { _tokentail_words names }
_tokentail_leases() { _tokentail_words leases }
"#;

const FISH: &str = r#"
function __tokentail_words
    set -l line (commandline -opc)
    set -l with
    for at in (seq (count $line))
        switch $line[$at]
            case --socket --config
                if test $at -lt (count $line)
                    set -a with $line[$at] $line[(math $at + 1)]
                end
            case '--socket=*' '--config=*'
                set -a with $line[$at]
        end
    end
    $line[1] words $argv[1] $with 2>/dev/null
end
complete -c tokentail -n "__fish_tokentail_using_subcommand stop" -f -a "(__tokentail_words runs)"
complete -c tokentail -n "__fish_tokentail_using_subcommand forget" -f -a "(__tokentail_words runs)"
complete -c tokentail -n "__fish_tokentail_using_subcommand runs" -f -a "(__tokentail_words runs)"
complete -c tokentail -n "__fish_tokentail_using_subcommand watch" -l run -r -f -a "(__tokentail_words runs)"
complete -c tokentail -n "__fish_tokentail_using_subcommand watch" -l account -r -f -a "(__tokentail_words accounts)"
complete -c tokentail -n "__fish_tokentail_using_subcommand top" -l run -r -f -a "(__tokentail_words runs)"
complete -c tokentail -n "__fish_tokentail_using_subcommand top" -l account -r -f -a "(__tokentail_words accounts)"
complete -c tokentail -n "__fish_tokentail_using_subcommand may-start" -l account -r -f -a "(__tokentail_words names)"
complete -c tokentail -n "__fish_tokentail_using_subcommand capacity" -l account -r -f -a "(__tokentail_words names)"
complete -c tokentail -n "__fish_tokentail_using_subcommand lease" -l account -r -f -a "(__tokentail_words names)"
complete -c tokentail -n "__fish_tokentail_using_subcommand lease; and __fish_seen_subcommand_from renew release revoke" -f -a "(__tokentail_words leases)"
complete -c tokentail -n "__fish_tokentail_using_subcommand quota; and __fish_seen_subcommand_from mark" -f -a "(__tokentail_words accounts)"
"#;

/// The script of a shell.
///
/// # Errors
/// Never: the generators write into memory.
pub fn script(shell: Shell, command: &mut Command) -> io::Result<String> {
    let mut text = Vec::new();
    clap_complete::generate(shell, command, NAME, &mut text);
    let text = String::from_utf8(text).map_err(io::Error::other)?;
    Ok(match shell {
        Shell::Bash => text.replace("complete -F _tokentail ", "complete -F _tokentail_asking ") + BASH,
        Shell::Fish => text + FISH,
        Shell::Zsh => zsh(&text),
        _ => text,
    })
}

/// Gives each argument that is a run or an account a completion function of its own.
fn zsh(text: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    for line in text.lines() {
        let starts = |words: &[&str]| words.iter().any(|word| line.trim_start().starts_with(word));
        let function = if starts(&["':id -- ", "'::id -- ", "'*--run="]) {
            "_tokentail_runs"
        } else if starts(&["':account -- ", "'*--account="]) {
            "_tokentail_accounts"
        } else if starts(&["':lease -- "]) {
            "_tokentail_leases"
        } else if starts(&["'--account="]) {
            "_tokentail_names"
        } else {
            "_default"
        };
        lines.push(line.replace(":_default'", &format!(":{function}'")));
        if line.starts_with("autoload ") {
            lines.push(ZSH.to_owned());
        }
    }
    lines.join("\n") + "\n"
}

/// Prints the collector's words of one kind, one per line.
///
/// # Errors
/// No collector answers.
pub fn words(global: &Global, command: &Words) -> Result<Exit, Failure> {
    let socket = settings::asking(global)?.socket;
    let mut found: Vec<String> = match command {
        Words::Runs => {
            let runs: Vec<Run> = client::get_json_blocking(&socket, "/v1/runs", TIMEOUT)?;
            runs.into_iter().map(|run| run.id).collect()
        }
        Words::Leases => {
            let leases: Vec<Lease> = client::get_json_blocking(&socket, "/v1/leases", TIMEOUT)?;
            leases.into_iter().map(|lease| lease.id).collect()
        }
        Words::Accounts | Words::Names => {
            let quota: Quota = client::get_json_blocking(&socket, "/v1/quota", TIMEOUT)?;
            let name = |account: crate::api::wire::Account| match command {
                Words::Names => account.account,
                _ => format!("{}/{}", account.provider, account.account),
            };
            quota.accounts.into_iter().map(name).collect()
        }
    };
    found.sort_unstable();
    found.dedup();
    output::human(|out| found.iter().try_for_each(|word| writeln!(out, "{word}")))?;
    Ok(Exit::Ok)
}
