"""textmill completion: the script that lets a shell complete verbs and flags."""

from typing import Annotated, Any, Literal

from cyclopts import Parameter

from textmill.console.standard_streams import write_text


def completion(
    shell: Annotated[Literal["bash", "zsh", "fish"], Parameter(name="SHELL")],
    /,
    *,
    app: Annotated[Any, Parameter(parse=False)],
) -> None:
    """Print the script with which a shell completes commands, flags, choices, presets, files and run folders.

    bash: eval "$(textmill completion bash)" in ~/.bashrc. zsh: the script as _textmill in a folder of $fpath. fish: as
    ~/.config/fish/completions/textmill.fish.

    Parameters
    ----------
    shell
        bash, zsh or fish.
    """
    script = app.generate_completion(shell=shell, prog_name="textmill")
    write_text(script.replace("complete -F", "complete -o filenames -F"))  # bash: a folder goes on with what is in it
