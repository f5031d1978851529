"""What twistd calls: `Options`, and `makeService` with what they hold.

makeService runs before a daemon forks, in the directory that twistd was started in and as the user who
started it: files are read and systemd's sockets found here, and nothing is bound.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from wsecho.app.configuration import ConfigurationError
from wsecho.app.log_output import CannotLog, json_observer, text_observer
from wsecho.app.notify import notifier_from
from wsecho.app.options import Options
from wsecho.app.process import Process
from wsecho.app.service import build_service, say_on_stderr
from wsecho.app.steady import make_steady
from wsecho.app.workers.supervisor import build_supervisor

if TYPE_CHECKING:
    from wsecho.app.service import WebSocketService
    from wsecho.app.workers.supervisor import Supervisor

__all__ = ["Options", "makeService"]


def makeService(options: Options, reactor: Any = None) -> WebSocketService | Supervisor:
    """Return the service of a parsed command line; SystemExit with one line when it cannot be made.

    :param reactor: the global reactor when None.
    """
    if reactor is None:
        # Only now: importing it installs it, and twistd's --reactor chooses which.
        from twisted.internet import reactor
    make_steady(reactor)
    configuration = options.configuration
    try:
        build: Any = build_service if configuration.workers == 1 else build_supervisor
        service: WebSocketService | Supervisor = build(
            configuration,
            reactor,
            process=Process(reactor),
            say=None if _logs_to_terminal(options.parent) else say_on_stderr,
            notifier=notifier_from(os.environ, reactor, process_id=os.getpid()),
        )
        observer = json_observer if configuration.text("log-format") == "json" else text_observer
        service.log_observer = observer(options.parent, reactor)
    except (ConfigurationError, CannotLog) as error:
        raise SystemExit(f"wsecho: {error}") from None
    return service


def _logs_to_terminal(twistd: Any) -> bool:
    """Tell whether whoever started twistd sees the log, in which every error stands anyway."""
    if twistd is None or not twistd.get("nodaemon"):
        return False
    return twistd.get("logfile") in (None, "-") and not twistd.get("syslog") and not twistd.get("logger")
