"""Runs commands of the openstack client in one process, because starting the client costs more than a second.

    driver.py CLOUD      as this cloud of clouds.yaml
    driver.py --list     says what commands there are, and with which options

Each line of the standard input is a JSON list, the words of a command. For each of them a line is written:
{"code": exit code, "out": standard output, "err": what was said and logged}.

The client keeps what it knows of a cloud in its classes, so a process serves one cloud.
"""

import argparse
import contextlib
import importlib.metadata
import io
import json
import logging
import sys
import warnings

warnings.filterwarnings("ignore")

from openstackclient import shell  # noqa: E402


def start(cloud):
    """An application that has read its settings and waits for commands, as the client's interactive mode does."""
    app = shell.OpenStackShell()
    app.options, rest = app.parser.parse_known_args(["--os-cloud", cloud])
    app.interactive_mode = False
    app.command_options = rest
    app.configure_logging()
    app.initialize_app(rest)
    return app


def run(app, words):
    """Runs one command; returns its exit code, what it printed, and what it said about errors."""
    out, err = io.StringIO(), io.StringIO()
    handler = logging.StreamHandler(err)
    handler.setLevel(logging.ERROR)
    logging.getLogger("").addHandler(handler)
    app.stdout, app.stderr = out, err
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = app.run_subcommand(words)
    except SystemExit as e:  # what argparse does with options that it does not know
        code = e.code
    except Exception as e:  # some commands raise what others log
        code = 1
        err.write(str(e))
    finally:
        logging.getLogger("").removeHandler(handler)
    return {"code": code or 0, "out": out.getvalue(), "err": err.getvalue()}


class Nothing:
    """Stands for the application where a command only says what options it has."""

    auth_ref = None
    client_manager = property(lambda self: self)
    options = argparse.Namespace()
    stdout = sys.stdout

    def is_network_endpoint_enabled(self):
        return True


def commands():
    """The commands of networking, each with its options."""
    found = {}
    for group in ("openstack.network.v2", "openstack.neutronclient.v2"):
        for entry in importlib.metadata.entry_points().select(group=group):
            parser = entry.load()(Nothing(), None).get_parser("openstack")
            options = [name for action in parser._actions for name in action.option_strings if name.startswith("--")]
            found[entry.name.replace("_", " ")] = options
    return found


def main(what):
    answers = sys.stdout
    if what == "--list":
        json.dump(commands(), answers)
        return
    app = start(what)
    for line in sys.stdin:
        print(json.dumps(run(app, json.loads(line))), file=answers, flush=True)


main(sys.argv[1])
