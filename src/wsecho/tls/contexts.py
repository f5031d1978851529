"""Server contexts: how wsecho speaks TLS, and how a configuration becomes a context.

Rules: every choice is made here or in the configuration, and none is left to the defaults of whichever
OpenSSL is installed. A context is frozen by OpenSSL at its first connection, so nothing changes one: whoever
wants other settings makes a new context and puts it into the creator, where new connections find it, while
those that live keep theirs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from cryptography import x509
from OpenSSL import SSL, crypto
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.protocols.tls import TLSMemoryBIOProtocol
from zope.interface import implementer

from wsecho.tls.beneath import set_groups
from wsecho.tls.certificates import (
    CertificateAndKey,
    CertificateError,
    LoadedCertificate,
    load_authorities,
    names_of,
    utc_now,
)
from wsecho.tls.configuration import TlsConfiguration
from wsecho.tls.connections import ObservedConnection, is_accepted, verify_error
from wsecho.tls.interfaces import ITlsObserver
from wsecho.tls.preshared import take_keys
from wsecho.tls.verification import Verification

__all__ = [
    "CertificateError",
    "ConfiguredCreator",
    "ServerConnectionCreator",
    "check_certificate",
    "server_context",
    "server_creator",
    "trust",
    "use_certificate",
    "use_common_options",
]

# Mozilla's intermediate list, with the hybrid of ML-KEM in front where OpenSSL (3.5 and later) has it: what
# is recorded today must not be readable by the quantum computer of a later day.
_GROUPS = (b"X25519MLKEM768:X25519:P-256:P-384", b"X25519:P-256:P-384")

_VERIFY_MODES = {
    Verification.NONE: SSL.VERIFY_NONE,
    Verification.OPTIONAL: SSL.VERIFY_PEER,
    Verification.REQUIRED: SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT,
}


@implementer(IOpenSSLServerConnectionCreator)
class ServerConnectionCreator:
    """What `twisted.internet.endpoints.wrapServerTLS` asks for a connection.

    :param context: used for the next connections.
    """

    def __init__(self, context: SSL.Context) -> None:
        #: May be replaced at any time; connections that exist keep the context they were made with.
        self.context = context

    def serverConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        """Return a new connection whose application data is the Twisted protocol: callbacks of OpenSSL find
        it there."""
        return ObservedConnection(self.context, tlsProtocol, None)

    def observed_by(self, observer: ITlsObserver) -> IOpenSSLServerConnectionCreator:
        """Return a creator of the same connections that also tell ``observer``. Whatever context is put into
        this one is the other's as well."""
        return _ObservedCreator(self, observer)


@implementer(IOpenSSLServerConnectionCreator)
class _ObservedCreator:
    def __init__(self, creator: ServerConnectionCreator, observer: ITlsObserver) -> None:
        self._creator = creator
        self._observer = observer

    def serverConnectionForTLS(self, tlsProtocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        return ObservedConnection(self._creator.context, tlsProtocol, self._observer)


class ConfiguredCreator(ServerConnectionCreator):
    """A creator that makes its context from a configuration, and makes it anew when files were renewed.

    It logs for how long each certificate is valid.

    :param configuration: read at once
    :param now: the clock for that, aware
    :raises CertificateError: see `server_context`
    """

    def __init__(self, configuration: TlsConfiguration, *, now: Callable[[], datetime] = utc_now) -> None:
        self._now = now
        self.configuration = configuration
        certificates = _load(configuration)
        super().__init__(_server_context(configuration, certificates, now))
        #: For whom each certificate in use is, and when it ends.
        self.validity = _validity(certificates)

    def use(self, configuration: TlsConfiguration) -> None:
        """Take another configuration for the connections that come.

        :raises CertificateError: it cannot be used; then the old one stays
        """
        certificates = _load(configuration)
        self.context = _server_context(configuration, certificates, self._now)
        self.configuration = configuration
        self.validity = _validity(certificates)

    def reload(self) -> None:
        """Read the files again, for the connections that come.

        Tickets that were given out before are not taken any more: their clients make a whole handshake.

        :raises CertificateError: one of them cannot be used; then the old ones stay
        """
        self.use(self.configuration)


def server_creator(certificate_file: str, private_key_file: str) -> ConfiguredCreator:
    """Return a connection creator for a certificate and its key, all else as in `TlsConfiguration`.

    :param certificate_file: PEM; the server's certificate first, then the intermediate ones that lead to its
        authority
    :param private_key_file: PEM, not encrypted; may be the same file
    :raises CertificateError: the files cannot be used
    """
    return ConfiguredCreator(TlsConfiguration((CertificateAndKey(certificate_file, private_key_file),)))


def server_context(configuration: TlsConfiguration, *, now: Callable[[], datetime] = utc_now) -> SSL.Context:
    """Return a server's context: no renegotiation, no compression, and what the configuration says.

    A certificate out of its time is used and a warning logged: refusing would turn a late renewal, which
    clients may tolerate, into an outage at the next start.

    :param now: the clock for the certificates' time, aware
    :raises CertificateError: a file is missing, unreadable or not PEM, a key is encrypted or belongs to
        another certificate, or OpenSSL refuses any
    """
    return _server_context(configuration, _load(configuration), now)


def _load(configuration: TlsConfiguration) -> Sequence[LoadedCertificate]:
    return [one.load() for one in configuration.certificates]


def _validity(certificates: Sequence[LoadedCertificate]) -> Sequence[tuple[str, datetime]]:
    return [(names_of(one.chain[0]), one.chain[0].not_valid_after_utc) for one in certificates]


def _server_context(
    configuration: TlsConfiguration, certificates: Sequence[LoadedCertificate], now: Callable[[], datetime]
) -> SSL.Context:
    authorities: Sequence[x509.Certificate] = ()
    if configuration.client_ca is not None:
        authorities = load_authorities(configuration.client_ca, "client CA")
    contexts = [_context(configuration, one, authorities) for one in certificates]
    if configuration.pre_shared_keys is not None:
        contexts = [_context(configuration, None, authorities)]
    if len(certificates) > 1:
        names: dict[str, SSL.Context] = {}
        for one, context in zip(certificates, contexts, strict=True):
            for name in one.server_names:
                names.setdefault(name, context)
        contexts[0].set_tlsext_servername_callback(lambda connection: _switch(connection, names))
    # Last, so that a configuration that is refused says that only.
    for one in certificates:
        one.tell_time(now())
    return contexts[0]


def _switch(connection: SSL.Connection, names: Mapping[str, SSL.Context]) -> None:
    asked = (connection.get_servername() or b"").decode("ascii", "replace").lower()
    # A wildcard stands for one label (RFC 6125 section 6.4.3).
    chosen = names.get(asked) or names.get("*." + asked.partition(".")[2])
    if chosen is not None:
        connection.set_context(chosen)


def _context(
    configuration: TlsConfiguration,
    certificate: LoadedCertificate | None,
    authorities: Sequence[x509.Certificate],
) -> SSL.Context:
    context = SSL.Context(SSL.TLS_METHOD)
    use_common_options(context, configuration.minimum_version, configuration.ciphers, configuration.suites)
    context.set_options(SSL.OP_CIPHER_SERVER_PREFERENCE)
    # Clients come back by ticket, which costs the server no memory; a cache of sessions would. The tickets'
    # key lives and dies with the context. Where client certificates are asked for, OpenSSL ends a connection
    # that comes back to a context without a session id.
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_session_id(b"wsecho")
    if not configuration.session_tickets:
        context.set_options(SSL.OP_NO_TICKET)
    # WebSocket begins as HTTP/1.1 (over HTTP/2 it would be RFC 8441). A client that offers other protocols
    # only gets no answer rather than a refusal: many a program offers what its library does and then speaks
    # HTTP/1.1 all the same.
    known = [name.encode("ascii") for name in configuration.alpn]
    context.set_alpn_select_callback(
        lambda _, offered: next((name for name in known if name in offered), SSL.NO_OVERLAPPING_PROTOCOLS)
    )
    if certificate is not None:
        use_certificate(context, certificate)
    trust(context, authorities)
    for authority in authorities:
        # Told to clients, so that a browser offers its user the certificates that fit.
        context.add_client_ca(authority)
    context.set_verify(_VERIFY_MODES[configuration.verification or Verification.NONE], _verified)
    if configuration.pre_shared_keys is not None:
        take_keys(context, configuration.pre_shared_keys)
    key_log = configuration.key_log
    if key_log is not None:

        def log_key(_: SSL.Connection, line: bytes) -> None:
            key_log(line)

        context.set_keylog_callback(log_key)
    return context


def use_common_options(context: SSL.Context, minimum_version: int, ciphers: str, suites: str) -> None:
    """Set what is the same for servers and clients."""
    context.set_min_proto_version(minimum_version)
    context.set_options(
        # Renegotiation in TLS 1.2 lets a client cause handshakes without end (CVE-2011-1473) and nobody needs
        # it.
        SSL.OP_NO_RENEGOTIATION
        # CRIME
        | SSL.OP_NO_COMPRESSION
        # Many a peer ends TCP without close_notify; OpenSSL would answer with the fatal alert decode_error as
        # if it were attacked. What a cut off stream must not look like is told by the Close frame.
        | SSL.OP_IGNORE_UNEXPECTED_EOF
    )
    context.set_cipher_list(ciphers.encode("ascii"))
    if suites:
        context.set_tls13_ciphersuites(suites.encode("ascii"))
    set_groups(context, *_GROUPS)
    # An idle connection gives its two buffers of 17 kB back.
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)


def check_certificate(pair: CertificateAndKey) -> None:
    """Read a certificate and its key, and let OpenSSL judge them.

    :raises CertificateError: see `server_context`
    """
    use_certificate(SSL.Context(SSL.TLS_METHOD), pair.load())


def use_certificate(context: SSL.Context, certificate: LoadedCertificate) -> None:
    """Let a context show a certificate.

    :raises CertificateError: when OpenSSL refuses it
    """
    try:
        context.use_certificate(certificate.chain[0])
        for issuer in certificate.chain[1:]:
            context.add_extra_chain_cert(issuer)
        context.use_privatekey(certificate.key)  # type: ignore[arg-type]
    except SSL.Error as error:
        raise CertificateError(f"{certificate.name}: OpenSSL refuses it ({_reasons(error)})") from None


def trust(context: SSL.Context, authorities: Sequence[x509.Certificate]) -> None:
    """Let a context trust these authorities besides those that it trusts."""
    store = context.get_cert_store()
    assert store is not None
    for authority in authorities:
        store.add_cert(crypto.X509.from_cryptography(authority))


def _verified(connection: SSL.Connection, certificate: crypto.X509, code: int, depth: int, ok: int) -> bool:
    return bool(ok) or is_accepted(connection, verify_error(connection, certificate, code, depth))


def _reasons(error: SSL.Error) -> str:
    # The argument of an error of pyOpenSSL: a list of (library, function, reason).
    return ", ".join(reason for _, _, reason in error.args[0])
