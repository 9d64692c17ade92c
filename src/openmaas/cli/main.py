"""The command line: which commands there are, and in which file each one is."""

from __future__ import annotations

from importlib import import_module

import click

from openmaas.core.version import VERSION

#: Command → module of this package. A file is imported when its command is asked for: `serve` must not wait for others.
COMMANDS = {
    "agents": "selling",
    "audit-log": "audit_log",
    "batches": "jobs",
    "budgets": "selling",
    "calibrate": "simulate",
    "chat": "chat",
    "computer": "agent",
    "credit": "selling",
    "doctor": "doctor",
    "invoices": "invoices",
    "jobs": "jobs",
    "keys": "keys",
    "ledger": "ledger",
    "limits": "limits",
    "models": "models",
    "orders": "selling",
    "packs": "selling",
    "payers": "selling",
    "phone": "agent",
    "plans": "selling",
    "refunds": "selling",
    "serve": "serve",
    "settings": "settings",
    "simulate": "simulate",
    "subscriptions": "selling",
    "sweep": "sweep",
    "topup": "ledger",
    "traces": "agent",
    "usage": "ledger",
    "vouchers": "selling",
    "webhooks": "selling",
}


class Commands(click.Group):
    """The commands of ``COMMANDS``; each is an attribute of its module, under its own name (``_`` for ``-``)."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Their names, for ``--help`` and for completion."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of this name, or None."""
        if cmd_name not in COMMANDS:
            return None
        found: click.Command = getattr(import_module(f"openmaas.cli.{COMMANDS[cmd_name]}"), cmd_name.replace("-", "_"))
        return found


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(VERSION, prog_name="openmaas")
def main() -> None:
    """Model as a Service: serve, meter and bill language models.

    Begin with `openmaas serve`. Shell completion: eval "$(_OPENMAAS_COMPLETE=bash_source openmaas)".
    """
