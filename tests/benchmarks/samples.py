"""Measurements that were never made, for tests of what is made of them."""

from benchmarks.measuring import Measurement
from benchmarks.report import Circumstances

__all__ = ["CIRCUMSTANCES", "SAMPLES", "measurement"]


def measurement(
    contestant: str, scenario: str, place: int, value: float, per_cpu_second: float | None = None
) -> Measurement:
    """One without disturbance."""
    return Measurement(
        contestant,
        scenario,
        place,
        value,
        value if per_cpu_second is None else per_cpu_second,
        p50_us=10,
        foreign=0.02,
    )


SAMPLES = (
    measurement("wsecho", "e2", 1, 100, 150),
    measurement("aiohttp", "e2", 1, 50, 60),
    measurement("limit", "e2", 1, 200, 300),
    measurement("wsecho", "e2", 2, 300, 330),
    measurement("aiohttp", "e2", 2, 90, 110),
    measurement("limit", "e2", 2, 400, 440),
    measurement("wsecho", "e2", 3, 180, 200),
    Measurement("aiohttp", "e2", 3, error="connection 3: the server closed, code 1011"),
    measurement("limit", "e2", 3, 200, 250),
    *(
        Measurement(name, "m1", 1, value)
        for name, value in (("wsecho", 6.0), ("aiohttp", 12.0), ("limit", 0.5))
    ),
    *(
        measurement(name, scenario, 1, value)
        for name, scenario, value in (("wsecho", "g1", 1000), ("wsecho", "g2", 900), ("limit", "g1", 2000))
    ),
)

CIRCUMSTANCES = Circumstances(
    day="2026-11-27",
    command="python -m benchmarks.compare --rounds 3",
    machine="a machine",
    pinned="server on core 0, load on core 1",
    rounds=3,
    seconds=2.0,
    load_average=1.25,
    versions={"wsecho": "wsecho 0.1.0", "aiohttp": "aiohttp 3.14.5"},
    missing={"qt": "no PySide6-Addons: install it"},
    tls=False,
)
