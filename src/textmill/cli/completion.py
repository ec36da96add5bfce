"""textmill completion: the script that lets a shell complete verbs and flags."""

from typing import Annotated, Any, Literal

from cyclopts import Parameter

from textmill.console.standard_streams import write_text

# Where a model is named, RUN/ goes on with best, last and the steps of the run's checkpoints.
_BASH = """
_textmill_and_checkpoints() {
  _textmill "$@"
  local word="${COMP_WORDS[COMP_CWORD]}" before="${COMP_WORDS[COMP_CWORD-1]}" step names="best last"
  [[ "${COMP_WORDS[1]}" =~ ^(generate|evaluate|verify)$ || "$before" =~ ^--(init|resume)-from$ ]] || return 0
  [[ "$word" == */* && -d "${word%/*}/checkpoints" ]] || return 0
  for step in "${word%/*}"/checkpoints/step-*/; do
    step="${step%/}"
    [[ "${step##*step-}" =~ ^[0-9]+$ ]] && names+=" step-$((10#${step##*step-}))"
  done
  COMPREPLY+=( $(compgen -W "$names" -P "${word%/*}/" -- "${word##*/}") )
}

complete -o filenames -F _textmill_and_checkpoints textmill
"""

_ZSH = """
_textmill() {
  local run=${PREFIX%/*} step
  local -a names=(best last)
  if [[ $PREFIX == */* && -d $run/checkpoints ]] &&
     [[ $words[2] == (generate|evaluate|verify) || $words[CURRENT-1] == --(init|resume)-from ]]; then
    for step in $run/checkpoints/step-<->(N/:t); do
      names+=(step-$((10#${step#step-})))
    done
    compadd -- $run/$^names
  fi
  _cyclopts_textmill "$@"
}

if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
  _textmill "$@"
else
  compdef _textmill textmill
fi
"""

_FISH = r"""
function __textmill_checkpoints
    set -l run (string replace -r '/[^/]*$' '' -- (commandline -ct))
    test -d "$run/checkpoints"; or return
    printf '%s\n' $run/best $run/last
    for step in $run/checkpoints/step-*
        printf '%s\n' $run/step-(string replace -r '.*/step-0*(?=\d)' '' -- $step)
    end
end

for verb in generate evaluate verify
    complete -c textmill -n "__fish_textmill_using_command $verb" -a '(__textmill_checkpoints)' -d checkpoint
end
for flag in init-from resume-from
    complete -c textmill -l $flag -r -a '(__textmill_checkpoints)' -d checkpoint
end
"""


def completion(
    shell: Annotated[Literal["bash", "zsh", "fish"], Parameter(name="SHELL")],
    /,
    *,
    app: Annotated[Any, Parameter(parse=False)],
) -> None:
    """Print the script with which a shell completes commands, flags, choices, presets, files, runs and checkpoints.

    bash: eval "$(textmill completion bash)" in ~/.bashrc. zsh: the script as _textmill in a folder of $fpath. fish: as
    ~/.config/fish/completions/textmill.fish.

    Parameters
    ----------
    shell
        bash, zsh or fish.
    """
    script = app.generate_completion(shell=shell, prog_name="textmill")
    # Registered below, under another name; with `filenames` a folder goes on with what is in it.
    script = "\n".join(line for line in script.splitlines() if not line.startswith("complete -F"))
    write_text(script + {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}[shell])
