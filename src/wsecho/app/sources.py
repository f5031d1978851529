"""What a configuration wants to be listened on, and the TLS for it.

Rules of this file: it opens what the configuration names, files and systemd's sockets, and binds nothing.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from wsecho.app.configuration import ConfigurationError
from wsecho.app.listeners import DescriptionListener, IListener, ListenError, PortListener
from wsecho.tls.certificates import CertificateAndKey, CertificateError
from wsecho.tls.configuration import TlsConfiguration
from wsecho.tls.contexts import ConfiguredCreator, check_certificate

if TYPE_CHECKING:
    from wsecho.app.configuration import Configuration

__all__ = ["build_listeners", "build_tls"]


def build_listeners(
    configuration: Configuration, reactor: Any, creator: ConfiguredCreator | None = None
) -> list[IListener]:
    """Return what the configuration wants to be listened on.

    :param creator: what gives connections their TLS.
    :raises ConfigurationError: a description needs a socket that systemd did not hand over.
    """
    listeners: list[IListener] = []
    proxies = configuration.proxies()
    if configuration.port is not None:
        only_host = configuration.is_given("host") and not configuration.is_given("port")
        name = configuration.named("host" if only_host else "port")
        listeners.append(PortListener(reactor, name, configuration.port, configuration.host, proxies))
    for option, its_creator in (("listen", None), ("listen-tls", creator)):
        for description in configuration.texts(option):
            name = configuration.named(option, description)
            try:
                listeners.append(DescriptionListener(reactor, name, description, its_creator, proxies))
            except ListenError as error:
                raise ConfigurationError(f"{name}: {error}") from None
    return listeners


def build_tls(configuration: Configuration) -> ConfiguredCreator | None:
    """Return what gives connections their TLS; None without a certificate.

    :raises ConfigurationError: a certificate, a key or the authority of clients cannot be used.
    """
    if not configuration.certificates:
        return None
    # The names must mean the same files when they are read again, in whatever folder the daemon runs.
    pairs = [
        CertificateAndKey(os.path.abspath(certificate), os.path.abspath(key))
        for certificate, key in configuration.certificates
    ]
    for pair, (certificate, _) in zip(pairs, configuration.certificates, strict=True):
        try:
            check_certificate(pair)
        except CertificateError as error:
            raise ConfigurationError(f"{configuration.named('certificate', certificate)}: {error}") from None
    client_ca = configuration["client-ca"]
    authority = None if client_ca is None else os.path.abspath(str(client_ca))
    try:
        return ConfiguredCreator(TlsConfiguration(tuple(pairs), client_ca=authority))
    except CertificateError as error:
        raise ConfigurationError(f"{configuration.named('client-ca')}: {error}") from None
