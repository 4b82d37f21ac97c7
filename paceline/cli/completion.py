"""`paceline completion SHELL`: a script that completes verbs and flags. It is complete in itself, so a TAB starts no Python."""

from __future__ import annotations

from dataclasses import dataclass

import typer

from paceline.cli import app, verbs
from paceline.cli._flags import argument
from paceline.errors import SpecError, did_you_mean

__all__ = ["completion"]

BASH = """\
_paceline() {
  local words="VERBS"
  if [ "$COMP_CWORD" -gt 1 ]; then
    case "${COMP_WORDS[1]}" in
      CASES
      *) words="" ;;
    esac
  fi
  COMPREPLY=($(compgen -W "$words" -- "${COMP_WORDS[COMP_CWORD]}"))
}
complete -o default -F _paceline paceline
"""
ZSH = "autoload -U +X bashcompinit && bashcompinit\n"
SHELLS = ("bash", "fish", "zsh")


@dataclass(frozen=True)
class Options:
    """Whose script."""

    shell: str = argument(..., "bash, zsh or fish.", "SHELL")


def completion(options: Options) -> None:
    """Print a completion script: add its output to your shell's start-up file, as in `paceline completion bash >> ~/.bashrc`."""
    if options.shell not in SHELLS:
        raise SpecError(f"There is no completion for the shell {options.shell!r}.{did_you_mean(options.shell, SHELLS)}")
    flags = flags_by_verb()
    typer.echo(fish(flags) if options.shell == "fish" else (ZSH if options.shell == "zsh" else "") + bash(flags), nl=False)


def flags_by_verb() -> dict[str, list[str]]:
    """Verb -> its flags, as typed."""
    group = typer.main.get_command(app(*verbs()))
    return {verb: [name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)
                   if name.startswith("--")] for verb, command in group.commands.items()}  # type: ignore[attr-defined]


def bash(flags: dict[str, list[str]]) -> str:
    cases = "\n      ".join(f'{verb}) words="{" ".join(names)}" ;;' for verb, names in flags.items())
    return BASH.replace("VERBS", " ".join(flags)).replace("CASES", cases)


def fish(flags: dict[str, list[str]]) -> str:
    verbs = [f"complete -c paceline -n __fish_use_subcommand -f -a '{' '.join(flags)}'"]
    verbs += [f"complete -c paceline -n '__fish_seen_subcommand_from {verb}' -l {name.removeprefix('--')}"
              for verb, names in flags.items() for name in names]
    return "\n".join(verbs) + "\n"
