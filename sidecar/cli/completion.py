"""``sidecar completion``: the Tab key knows the commands."""

from __future__ import annotations

import click

INSTALL = {
    "bash": "sidecar completion bash > ~/.local/share/bash-completion/completions/sidecar",
    "zsh": 'sidecar completion zsh > "${fpath[1]}/_sidecar"',
    "fish": "sidecar completion fish > ~/.config/fish/completions/sidecar.fish",
}


@click.command()
@click.argument("shell", type=click.Choice(list(INSTALL)))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print a script that completes commands and options in SHELL; its last lines say how it is installed.

    \b
    Example:
      sidecar completion bash > ~/.local/share/bash-completion/completions/sidecar
    """
    from click.shell_completion import get_completion_class

    shape = get_completion_class(shell)
    assert shape is not None
    script = shape(context.find_root().command, {}, "sidecar", "_SIDECAR_COMPLETE")
    # The class's own source() runs the shell to ask its version, but the script may be for another machine.
    click.echo(script.source_template % script.source_vars())
    click.echo(f"# To install it (and open a new shell):\n#   {INSTALL[shell]}")
