"""Server contexts: how wsecho speaks TLS, and how certificate files become a context.

Rules: every choice is made here and none is left to the defaults of whichever OpenSSL is installed. A wrong
file is one `CertificateError` with one line, before anything listens; the line names the file and never shows
what is in it. A context is frozen by OpenSSL at its first connection, so nothing changes one: whoever wants
other settings makes a new context and puts it into the creator, where new connections find it, while those
that live keep theirs.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOProtocol
from zope.interface import implementer

from wsecho.policy.text import escape_peer_text

__all__ = ["CertificateError", "ServerConnectionCreator", "server_context", "server_creator"]

_log = Logger()

# The "intermediate" list of Mozilla's guidelines, version 5.7, for TLS 1.2: forward secrecy and authenticated
# encryption only. Its two finite-field Diffie-Hellman suites are left out, which only clients without
# elliptic curves need. The suites of TLS 1.3 are all good, OpenSSL's default stays.
_TLS12_CIPHERS = (
    b"ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"
    b"ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"
    b"ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"
)


class CertificateError(ValueError):
    """A certificate or key cannot be used; the message is one line that names the file."""


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
        connection = SSL.Connection(self.context, None)
        connection.set_app_data(tlsProtocol)
        return connection


def server_creator(certificate_file: str, private_key_file: str) -> ServerConnectionCreator:
    """Return a connection creator for a certificate and its key: `server_context` in its replaceable frame.

    :raises CertificateError: the files cannot be used.
    """
    return ServerConnectionCreator(server_context(certificate_file, private_key_file))


def _utc_now() -> datetime:
    return datetime.now(UTC)


def server_context(
    certificate_file: str, private_key_file: str, *, now: Callable[[], datetime] = _utc_now
) -> SSL.Context:
    """Return a server's context: TLS 1.2 and 1.3, no renegotiation, no compression, ``http/1.1`` where ALPN
    is asked.

    A certificate out of its time is used and a warning logged: refusing would turn a late renewal, which
    clients may tolerate, into an outage at the next start.

    :param certificate_file: PEM; the server's certificate first, then the intermediate ones that lead to its
        authority.
    :param private_key_file: PEM, not encrypted; may be the same file.
    :param now: the clock for the certificate's time, aware.
    :raises CertificateError: a file is missing, unreadable or not PEM, the key is encrypted or belongs to
        another certificate, or OpenSSL refuses either.
    """
    certificate_name = f'certificate file "{escape_peer_text(certificate_file)}"'
    key_name = f'private key file "{escape_peer_text(private_key_file)}"'
    chain = _certificates(_content(certificate_file, certificate_name), certificate_name)
    key = _private_key(_content(private_key_file, key_name), key_name)
    _check_pair(chain, key, certificate_name, key_name)
    _warn_about_time(chain[0], certificate_name, now())

    context = SSL.Context(SSL.TLS_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_options(
        # Renegotiation in TLS 1.2 lets a client cause handshakes without end (CVE-2011-1473) and nobody needs
        # it.
        SSL.OP_NO_RENEGOTIATION
        # CRIME
        | SSL.OP_NO_COMPRESSION
        | SSL.OP_CIPHER_SERVER_PREFERENCE
    )
    context.set_cipher_list(_TLS12_CIPHERS)
    # An idle connection gives its two buffers of 17 kB back.
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    # Clients come back by ticket, which costs the server no memory; a cache of sessions would. The tickets'
    # key lives and dies with the context. Where client certificates are asked for, OpenSSL ends a connection
    # that comes back to a context without a session id.
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_session_id(b"wsecho")
    # WebSocket begins as HTTP/1.1 (over HTTP/2 it would be RFC 8441). A client that offers other protocols
    # only gets no answer rather than a refusal: many a program offers what its library does and then speaks
    # HTTP/1.1 all the same.
    context.set_alpn_select_callback(
        lambda _, offered: b"http/1.1" if b"http/1.1" in offered else SSL.NO_OVERLAPPING_PROTOCOLS
    )
    try:
        context.use_certificate(chain[0])
        for issuer in chain[1:]:
            context.add_extra_chain_cert(issuer)
        context.use_privatekey(key)  # type: ignore[arg-type]
    except SSL.Error as error:
        raise CertificateError(f"{certificate_name}: OpenSSL refuses it ({_reasons(error)})") from None
    return context


def _content(path: str, name: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise CertificateError(f"{name}: {error.strerror}") from None
    except ValueError:
        raise CertificateError(f"{name}: not a file name") from None


def _certificates(data: bytes, name: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(data)
    except ValueError:
        raise CertificateError(
            f"{name}: holds no readable PEM certificate (-----BEGIN CERTIFICATE-----)"
        ) from None


def _private_key(data: bytes, name: str) -> PrivateKeyTypes:
    # Read here and not by OpenSSL, which would ask on the terminal for the passphrase of an encrypted key.
    try:
        return load_pem_private_key(data, None)
    except TypeError:
        raise CertificateError(
            f"{name}: the key is encrypted; wsecho takes it without passphrase only"
        ) from None
    except ValueError:
        raise CertificateError(
            f"{name}: holds no readable PEM private key (-----BEGIN PRIVATE KEY-----)"
        ) from None


def _check_pair(
    chain: Sequence[x509.Certificate], key: PrivateKeyTypes, certificate_name: str, key_name: str
) -> None:
    wanted = _public_bytes(key.public_key())
    for position, certificate in enumerate(chain):
        if _public_bytes(certificate.public_key()) == wanted:
            if position == 0:
                return
            place = f"it is number {position + 1}"
            raise CertificateError(
                f"{certificate_name}: the server's own certificate must come first; {place}"
            )
    raise CertificateError(f"{key_name}: the key does not belong to the certificate in {certificate_name}")


def _public_bytes(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _warn_about_time(certificate: x509.Certificate, name: str, now: datetime) -> None:
    if now > certificate.not_valid_after_utc:
        _log.warn(
            "{name}: expired on {limit}; clients will refuse it",
            name=name,
            limit=certificate.not_valid_after_utc,
        )
    elif now < certificate.not_valid_before_utc:
        _log.warn(
            "{name}: valid from {limit} only; clients will refuse it",
            name=name,
            limit=certificate.not_valid_before_utc,
        )


def _reasons(error: SSL.Error) -> str:
    # The argument of an error of pyOpenSSL: a list of (library, function, reason).
    return ", ".join(reason for _, _, reason in error.args[0])
