"""What `import wsecho` gives, and what it does."""

import inspect
import pydoc

from twisted.trial.unittest import SynchronousTestCase

import wsecho
from tests.serving import run_python


class ExportTests(SynchronousTestCase):
    """The names of the package."""

    def test_factories_and_protocols(self) -> None:
        """The protocol and factory, and the ready ones for both services, are there, each factory with its
        protocol."""
        for kind in ("", "Echo", "Broadcast"):
            protocol, factory = (getattr(wsecho, f"{kind}Server{part}") for part in ("Protocol", "Factory"))
            self.assertTrue(issubclass(protocol, wsecho.ServerProtocol))
            self.assertTrue(issubclass(factory, wsecho.ServerFactory))
            self.assertIs(factory.protocol, protocol)

    def test_list(self) -> None:
        """The list of names is complete and in order: besides them there are only the modules."""
        public = {
            name
            for name, value in vars(wsecho).items()
            if not name.startswith("_") and not inspect.ismodule(value)
        }
        self.assertEqual(wsecho.__all__, sorted(public))

    def test_documented(self) -> None:
        """Each name has a docstring of its own."""
        for name in wsecho.__all__:
            self.assertTrue(pydoc.getdoc(getattr(wsecho, name)), name)

    def test_no_reactor(self) -> None:
        """Neither the import nor a factory that is given a reactor installs one: the program chooses it."""
        program = (
            "import sys, wsecho; from twisted.internet.task import Clock;"
            "wsecho.ServerFactory(reactor=Clock());"
            "print('twisted.internet.reactor' in sys.modules)"
        )
        self.assertEqual(run_python("-c", program), "False\n")
