"""The shells that complete mcpctl's command lines: the script of each, and where its user keeps such scripts.

A script asks `mcpctl __complete` at every Tab, so that it knows the commands of the mcpctl that is installed, and need
not be made again with the next one.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

from mcpctl.errors import CliError, UsageError
from protos import atomic

_BASH = r"""# mcpctl's completion for bash, written by `mcpctl completion bash`.

_mcpctl() {
    local word line mark='' begun=''
    local -a words=()
    # bash splits words at = and : as well; this joins them again.
    for word in "${COMP_WORDS[@]:1:COMP_CWORD}"; do
        if [[ ${#words[@]} -gt 0 && ( -n $mark || $word == [=:]* ) ]]; then
            words[${#words[@]}-1]+=$word
        else
            words+=("$word")
        fi
        [[ $word == *[=:] ]] && mark=yes || mark=''
    done
    # Of --option=value, bash replaces what is behind the sign.
    word=${words[${#words[@]}-1]}
    [[ $word == --*=* && $COMP_WORDBREAKS == *=* ]] && begun=${word%%=*}=
    COMPREPLY=()
    while IFS='' read -r line; do
        line=${line%%$'\t'*}
        if [[ $line == :files ]]; then
            compopt -o filenames
            while IFS='' read -r line; do
                COMPREPLY+=("$line")
            done < <(compgen -f -- "${word#"$begun"}")
        else
            COMPREPLY+=("${line#"$begun"}")
        fi
    done < <(command mcpctl __complete "${words[@]}" 2>/dev/null)
    # web may become web/api.
    [[ ${#COMPREPLY[@]} -gt 1 || ${COMPREPLY[0]:-} != */ ]] || compopt -o nospace
}

complete -F _mcpctl mcpctl
"""

_ZSH = r"""#compdef mcpctl
# mcpctl's completion for zsh, written by `mcpctl completion zsh`.

_mcpctl() {
    local line word about
    local -a described
    local -i files=0
    while IFS='' read -r line; do
        word=${line%%$'\t'*}
        about=${line#*$'\t'}
        if [[ $word == :files ]]; then
            files=1
        elif [[ $line == *$'\t'* ]]; then
            described+=("${word//:/\\:}:$about")
        else
            described+=("${word//:/\\:}")
        fi
    done < <(command mcpctl __complete "${(@Q)words[2,CURRENT-1]}" "$PREFIX" 2>/dev/null)
    (( ${#described} )) && _describe -V mcpctl described
    if (( files )); then
        compset -P '--*='
        _files
    fi
}

if [[ ${funcstack[1]} == _mcpctl ]]; then
    _mcpctl "$@"
else
    compdef _mcpctl mcpctl
fi
"""

_FISH = r"""# mcpctl's completion for fish, written by `mcpctl completion fish`.

function __mcpctl_complete
    set -l begun (commandline -ct)
    set -l words (commandline -opc)
    for line in (command mcpctl __complete $words[2..-1] "$begun" 2>/dev/null)
        if test "$line" = :files
            __fish_complete_path (string replace -r -- '^--[^=]*=' '' "$begun")
        else
            echo $line
        end
    end
end

complete -c mcpctl -f -k -a '(__mcpctl_complete)'
"""


class Shell(StrEnum):
    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


SCRIPTS = {Shell.BASH: _BASH, Shell.ZSH: _ZSH, Shell.FISH: _FISH}


class Installed(NamedTuple):
    """``is_new``: the file was not as it is now. ``advice``: what is left for the user to do."""

    path: Path
    is_new: bool
    advice: str


def of_user(environment: Mapping[str, str]) -> Shell:
    """The shell that its user logs in with. Raises UsageError for another one."""
    name = Path(environment.get("SHELL", "")).name
    try:
        return Shell(name)
    except ValueError:
        known = ", ".join(Shell)
        what = f"SHELL names {name}" if name else "SHELL names no shell"
        raise UsageError(f"{what}, and there are completions for {known}: say --shell") from None


def install(shell: Shell, environment: Mapping[str, str], home: Path) -> Installed:
    """Puts the script of ``shell`` where it looks for such of a user's. Raises CliError."""
    path = _place(shell, environment, home)
    text = SCRIPTS[shell].encode()
    try:
        is_new = not path.is_file() or path.read_bytes() != text
        if is_new:
            path.parent.mkdir(parents=True, exist_ok=True)
            atomic.write(path, text, mode=0o644)
    except OSError as error:
        raise CliError(f"{error.filename or path}: {error.strerror}; nothing was installed") from None
    return Installed(path, is_new, _advice(shell, path, environment, home))


def _place(shell: Shell, environment: Mapping[str, str], home: Path) -> Path:
    """As bash-completion's README, zshcompsys(1) and fish-completions(1) have it."""
    data = Path(environment.get("XDG_DATA_HOME") or home / ".local/share")
    if shell is Shell.BASH:
        return Path(environment.get("BASH_COMPLETION_USER_DIR") or data / "bash-completion") / "completions/mcpctl"
    if shell is Shell.ZSH:
        return data / "zsh/site-functions/_mcpctl"
    return Path(environment.get("XDG_CONFIG_HOME") or home / ".config") / "fish/completions/mcpctl.fish"


def _advice(shell: Shell, path: Path, environment: Mapping[str, str], home: Path) -> str:
    if shell is Shell.BASH:
        return (
            "It works in the next bash, where the package bash-completion is installed. Without that, put this line "
            "into ~/.bashrc:\n    source <(mcpctl completion bash)"
        )
    if shell is Shell.FISH:
        return "It works in every fish, from the next command on."
    settings = Path(environment.get("ZDOTDIR") or home) / ".zshrc"
    if _mentions(settings, path.parent, home):
        return "It works in the next zsh."
    return (
        f"zsh does not look there by itself. Put these lines into {settings}, the first above any compinit there:\n"
        f"    fpath=({path.parent} $fpath)\n    autoload -Uz compinit && compinit"
    )


def _mentions(settings: Path, folder: Path, home: Path) -> bool:
    try:
        return str(folder) in settings.read_text(errors="replace").replace("~", str(home))
    except OSError:
        return False
