"""The command `concordat`: one sub-command per role, loaded when it is used.

A custodian installs next to nothing, so no sub-command's module is imported before it is asked for. Errors are one line
on stderr, or with `--json` one object on stdout. Exit codes: 0 done, 2 wrong input or configuration, 1 anything else.
"""

from __future__ import annotations

import json
import resource
import sys
from typing import TYPE_CHECKING, Final

from cyclopts import App, CycloptsError

from concordat import __version__
from concordat.errors import ConcordatError, ConfigError, InputError
from concordat.leaving import leave

if TYPE_CHECKING:
    from collections.abc import Sequence

_OWN_PACKAGES: Final = ("concordat", "gateway", "services", "demo")

# Sub-command -> module:attribute, the extra that it needs, help.
_COMMANDS: Final = {
    "console": ("services.console.cli:app", "console", "Run the hub operator's page, and make login links for it."),
    "demo": (
        "demo.cli:app",
        "gateway,node,partner,console",
        "Run a whole federation on this machine and check its report.",
    ),
    "audit": ("concordat.story.cli:app", "", "Check offline what parties show of their checks."),
    "federation": ("concordat.identity.cli:app", "", "Make a local federation, and check a party's folder."),
    "custodian": ("services.custodian.cli:app", "custodian", "Run a custodian of the token keys."),
    "gateway": ("gateway.cli:app", "gateway", "Run the hub."),
    "health": ("concordat.rpc.cli:health", "", "Ask whether the service of a folder serves, as a probe does."),
    "home": ("concordat.identity.cli:home", "", "Put a party's keys into its folder."),
    "node": ("services.node.cli:app", "node", "Run a node; submit, check, see matches."),
    "partner": ("concordat.client.cli:app", "partner", "Ask as a partner organisation: check a list of identifiers."),
    "oprf": ("concordat.oprf.cli:app", "", "Measure blinded tokens on this machine."),
}

app = App(name="concordat", version=__version__, help="Cross-check identifiers without showing them.")
for _name, (_target, _extra, _help) in _COMMANDS.items():
    app.command(_target, name=_name, help=_help)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit."""
    # Keys, labels, match secrets and tokens are in this process's memory; none of them may end in a core file (I2).
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    given = list(sys.argv[1:] if arguments is None else arguments)
    leave(run(given))


def run(arguments: Sequence[str]) -> int:
    """Run the command line and return its exit code."""
    as_json = "--json" in arguments
    try:
        result = app(arguments, exit_on_error=False, print_error=False, result_action="return_value")
    except ConcordatError as error:
        return _fail(error, as_json=as_json)
    except CycloptsError as error:
        return _fail(InputError(_usage(error), code="bad_input"), as_json=as_json)
    except ImportError as error:
        explained = _missing(error, arguments)
        if explained is None:
            raise
        return _fail(explained, as_json=as_json)
    except KeyboardInterrupt:
        return 130
    return result if isinstance(result, int) and not isinstance(result, bool) else 0


def _fail(error: ConcordatError, *, as_json: bool) -> int:
    if as_json:
        print(json.dumps({"error": {"code": error.code, "message": error.message}}))
    else:
        print(f"concordat: {error.message} [{error.code}]", file=sys.stderr)
    return 2 if isinstance(error, InputError | ConfigError) else 1


def _usage(error: CycloptsError) -> str:
    try:
        text = " ".join(str(error).split())
    except ImportError:
        # To suggest a similar command cyclopts loads all of them, and an extra may not be installed.
        text = ""
    return text or "no such command; see concordat --help"


def _missing(error: ImportError, arguments: Sequence[str]) -> ConfigError | None:
    """Say which extra to install, if it is another's package that is missing and not a fault of ours."""
    command = next((one for one in arguments if one in _COMMANDS), None)
    cause: BaseException | None = error
    while cause is not None and not (isinstance(cause, ModuleNotFoundError) and cause.name):
        cause = cause.__cause__
    if command is None or not isinstance(cause, ModuleNotFoundError) or not cause.name:
        return None
    extra = _COMMANDS[command][1]
    if cause.name.partition(".")[0] in _OWN_PACKAGES:
        return ConfigError(f"this version of Concordat has no '{command}' yet")
    if not extra:
        return None
    # No command to install by name: the name may belong to somebody else on a public index.
    return ConfigError(f"'{command}' needs more packages: install Concordat's own wheel again with the extra [{extra}]")
