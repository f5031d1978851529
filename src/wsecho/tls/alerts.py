"""Alerts of TLS: what each side tells the other before it gives up, by IANA's table.

Rules: the names are those of the registry "TLS Alerts" (RFC 8446 section 6, RFC 5246 section 7.2 and later
ones), because OpenSSL's function for them is not within reach. This file knows no connection.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

__all__ = ["ALERTS", "CLOSE_NOTIFY", "FATAL", "WARNING", "Alert"]

WARNING: Final = 1
FATAL: Final = 2
CLOSE_NOTIFY: Final = 0

#: Descriptions by type.
ALERTS: Final = MappingProxyType(
    {
        0: "close_notify",
        10: "unexpected_message",
        20: "bad_record_mac",
        21: "decryption_failed",
        22: "record_overflow",
        30: "decompression_failure",
        40: "handshake_failure",
        41: "no_certificate",
        42: "bad_certificate",
        43: "unsupported_certificate",
        44: "certificate_revoked",
        45: "certificate_expired",
        46: "certificate_unknown",
        47: "illegal_parameter",
        48: "unknown_ca",
        49: "access_denied",
        50: "decode_error",
        51: "decrypt_error",
        52: "too_many_cids_requested",
        60: "export_restriction",
        70: "protocol_version",
        71: "insufficient_security",
        80: "internal_error",
        86: "inappropriate_fallback",
        90: "user_canceled",
        100: "no_renegotiation",
        109: "missing_extension",
        110: "unsupported_extension",
        111: "certificate_unobtainable",
        112: "unrecognized_name",
        113: "bad_certificate_status_response",
        114: "bad_certificate_hash_value",
        115: "unknown_psk_identity",
        116: "certificate_required",
        117: "general_error",
        120: "no_application_protocol",
        121: "ech_required",
    }
)


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert: ``level`` 1 is a warning and 2 fatal, ``type`` a number of `ALERTS`."""

    level: int
    type: int

    @classmethod
    def of_openssl(cls, value: int) -> Alert:
        """The alert that OpenSSL's info callback tells of: the level in the upper byte, the type below."""
        return cls(value >> 8, value & 0xFF)

    @property
    def description(self) -> str:
        """The registered name; ``unassigned (N)`` of a number that has none."""
        return ALERTS.get(self.type, f"unassigned ({self.type})")

    @property
    def is_fatal(self) -> bool:
        """Whether the connection ends with it."""
        return self.level == FATAL

    def __str__(self) -> str:
        level = {WARNING: "warning", FATAL: "fatal"}.get(self.level, f"level {self.level}")
        return f"{self.description} ({level})"
