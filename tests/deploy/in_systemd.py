"""deploy/systemd under a real systemd: a Debian in a container of systemd-nspawn that has no network.

    sudo python3 -m tests.deploy.in_systemd

It needs root, debootstrap, systemd-container, a python3 that is 3.11 as Debian 12 has it, a package index and
three minutes; that is why this module is named so that `tests` as a whole passes it by. It prints what it
tried, and ends with status 0 when all of it held.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.checkout import CHECKOUT

PYTHON = "/opt/wsecho/bin/python"
KEYS = (
    "cd /etc/wsecho && /opt/wsecho/bin/wsecho make-certificate --force && "
    "chgrp wsecho-tls private-key.pem && chmod 640 private-key.pem"
)

#: Runs inside: echoes, runs a command, and tells how the connection ended: TALK URL COMMAND.
TALK = """
import subprocess, sys, time
from pathlib import Path
from twisted.internet import defer, task, threads
from wsecho import WebSocket
from wsecho.tls.client import ClientTls

async def talk(reactor, url, command):
    socket = WebSocket()
    socket.ssl_configuration = ClientTls(ca=Path("/etc/wsecho/ca.pem")) if url.startswith("wss") else None
    await socket.open(url)
    socket.send_binary_message(bytes(60_000))
    assert await anext(socket) == bytes(60_000)
    begin = time.monotonic()
    running = threads.deferToThread(subprocess.run, command, shell=True, check=True)
    await socket.when_disconnected()
    print("closed with", int(socket.close_code))
    await running
    print("seconds", time.monotonic() - begin)

task.react(lambda *arguments: defer.Deferred.fromCoroutine(talk(*arguments)), sys.argv[1:])
"""

#: Runs inside: opens a connection, runs a command, never answers a Close: SILENT COMMAND.
SILENT = """
import socket, subprocess, sys, time
lines = ["GET / HTTP/1.1", "Host: echo.example.com", "Upgrade: websocket", "Connection: Upgrade",
         "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13", "", ""]
with socket.create_connection(("127.0.0.1", 9000)) as client:
    client.sendall("\\r\\n".join(lines).encode())
    assert b"101" in client.recv(4096)
    begin = time.monotonic()
    subprocess.run(sys.argv[1], shell=True, check=True)
    print("seconds", time.monotonic() - begin)
"""

#: Runs inside: asks the admin endpoint: ASK PATH.
ASK = """
import sys, urllib.request
print(urllib.request.urlopen("http://127.0.0.1:9100" + sys.argv[1], timeout=20).read().decode())
"""

DROP_IN = """
[Service]
ExecStart=
ExecStart=/opt/wsecho/bin/wsecho {} --admin=systemd:domain=INET:name=admin --drain-timeout=8s
WatchdogSec=2
TimeoutStopSec=3
"""
SECURE = (
    "--listen-tls=systemd:domain=INET:name=ws --certificate=/etc/wsecho/certificate.pem "
    "--private-key=/etc/wsecho/private-key.pem"
)
PLAIN = "--listen=systemd:domain=INET:name=ws --allow-host=echo.example.com"


def run(*command: str | Path) -> None:
    """Run a command of this machine; what it says is shown only when it fails."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}: status {done.returncode}\n{done.stdout}")


def install(root: Path) -> None:
    """Make a Debian with wsecho and its units."""
    run("debootstrap", "--variant=minbase", "--include=systemd,dbus,python3,python3-venv", "bookworm", root)
    pip, wheels = ["python3", "-m", "pip", "--quiet"], root / "opt" / "wheels"
    run(*pip, "wheel", "--no-deps", "--wheel-dir", wheels, CHECKOUT)
    run(*pip, "download", "--dest", wheels, *wheels.glob("wsecho-*.whl"))
    offline = "/opt/wsecho/bin/pip install --quiet --no-index --find-links /opt/wheels wsecho"
    plugins = "/opt/wsecho/bin/twistd --help"
    run("chroot", root, "/bin/sh", "-c", f"python3 -m venv /opt/wsecho && {offline} && {plugins}")
    units = root / "etc" / "systemd" / "system"
    for unit in (CHECKOUT / "deploy" / "systemd").iterdir():
        shutil.copy(unit, units)
    (root / "etc" / "wsecho").mkdir()
    shutil.copy(CHECKOUT / "deploy" / "wsecho.toml", root / "etc" / "wsecho")
    (root / "etc" / "machine-id").write_text("")
    (root / "etc" / "hosts").write_text("127.0.0.1 localhost echo.example.com\n")
    for name, text in (("talk", TALK), ("silent", SILENT), ("ask", ASK)):
        (root / "opt" / name).write_text(text)


class Machine:
    """The container, booted."""

    def __init__(self, process_id: int) -> None:
        self._process_id = process_id
        self.failed = 0

    def sh(self, command: str) -> str:
        """Run a command inside; what it says, its status behind."""
        enter = ["nsenter", f"--target={self._process_id}", "--all", "/bin/sh", "-c", command]
        done = subprocess.run(
            enter, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=120
        )
        return f"{done.stdout}status {done.returncode}"

    def start_with(self, options: str) -> str:
        """Start the service anew with other options, a short watchdog, and a short time to stop."""
        place = "/etc/systemd/system/wsecho.service.d/try.conf"
        write = f"cat >{place} <<'END'{DROP_IN.format(options)}END"
        return self.sh(f"{write}\nsystemctl daemon-reload; systemctl restart wsecho")

    def holds(self, what: str, said: str, test: Callable[[str], bool]) -> None:
        """Print whether something holds."""
        if test(said):
            print("holds:", what)
        else:
            print("FAILS:", what, "\n ", said.replace("\n", "\n  "))
            self.failed += 1


@contextmanager
def booted(root: Path) -> Iterator[Machine]:
    """Boot it, and power it off."""
    arguments = ["--register=no", "--keep-unit", "--private-network", "--boot"]
    nspawn = subprocess.Popen(
        ["systemd-nspawn", f"--directory={root}", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.STDOUT,
    )
    try:
        children = Path(f"/proc/{nspawn.pid}/task/{nspawn.pid}/children")
        end = time.monotonic() + 60
        while time.monotonic() < end and nspawn.poll() is None:
            for child in children.read_text().split():
                machine = Machine(int(child))
                if "running" in machine.sh("systemctl is-system-running --wait"):
                    yield machine
                    # The signal that tells systemd to power off.
                    os.kill(int(child), signal.SIGRTMIN + 4)
                    nspawn.wait(60)
                    return
            time.sleep(0.2)
        sys.exit("the container does not boot")
    finally:
        nspawn.kill()
        nspawn.wait()


def seconds(said: str) -> float:
    """How long a command inside took."""
    return float(said.partition("seconds ")[2].split()[0]) if "seconds " in said else -1.0


def check(machine: Machine) -> None:
    """Try all that docs/how-to/deploy/systemd.md says."""
    sh, holds = machine.sh, machine.holds
    talk, ask = f"{PYTHON} /opt/talk", "python3 /opt/ask"
    show = "systemctl show wsecho --property"
    process = f"/proc/$({show}=MainPID --value)"
    sh("systemctl start wsecho.socket wsecho-admin.socket")
    holds("a client starts the service", sh(f"{ask} /health/ready"), lambda said: '"ready"' in said)
    holds(
        "systemctl status tells its state",
        sh(f"{show}=StatusText,ActiveState"),
        lambda said: "ready, connections: 0" in said and "ActiveState=active" in said,
    )
    restarting = sh(f"{talk} ws://echo.example.com:9000/ 'systemctl restart wsecho'")
    holds("a restart closes with 1001", restarting, lambda said: "closed with 1001" in said)
    again = sh("systemctl restart --no-block wsecho; python3 /opt/silent true")
    holds("who comes meanwhile waits", again, lambda said: said.endswith("status 0"))
    numbers = sh(f"{ask} /metrics")
    holds("metrics have the process", numbers, lambda said: "process_resident_memory_bytes " in said)
    status = sh(f"cat {process}/status {process}/limits")
    holds("it has no capabilities", status, lambda said: "CapEff:\t0000000000000000" in said)
    holds("it has a user of its own", status, lambda said: "Uid:\t0\t" not in said and "Uid:\t" in said)
    holds("it may open 11,100 files", status, lambda said: "11100" in said.partition("Max open files")[2])
    outside = sh(f"nsenter --target=$({show}=MainPID --value) --net cat /proc/net/dev")
    holds("it has no network", outside, lambda said: said.count(":") == 1 and "lo:" in said)

    sh("groupadd --system wsecho-tls; mkdir /etc/systemd/system/wsecho.service.d")
    sh("cp /etc/systemd/system/tls.conf /etc/systemd/system/wsecho.service.d/tls.conf")
    sh(KEYS)
    started = machine.start_with(SECURE)
    holds("it reads a key that its group may read", started, lambda said: said.endswith("status 0"))
    secure = sh(f"{talk} wss://127.0.0.1:9000/ 'systemctl stop wsecho'")
    holds("it ends TLS itself", secure, lambda said: "closed with 1001" in said)
    sh("systemctl start wsecho; echo >/etc/wsecho/certificate.pem; systemctl reload wsecho; sleep 1")
    holds(
        "a reload tells what is wrong", sh(f"{show}=StatusText"), lambda said: "old certificates stay" in said
    )
    sh(f"{KEYS}; systemctl reload wsecho; sleep 1")
    holds("or that all is well", sh(f"{show}=StatusText"), lambda said: "new connections get" in said)
    hanging = sh(
        f"{talk} wss://127.0.0.1:9000/ 'systemctl kill --signal=STOP wsecho'; sleep 4; {show}=NRestarts"
    )
    holds("a server that hangs is restarted", hanging, lambda said: "NRestarts=1\n" in said)
    machine.start_with(PLAIN)
    long = sh(f"python3 /opt/silent 'systemctl stop wsecho'; {show}=Result")
    holds("a drain may be longer than TimeoutStopSec", long, lambda said: 7 < seconds(said) < 11)
    holds("and is no failure", long, lambda said: "Result=success" in said)
    machine.start_with(f"{PLAIN} --workers=2")
    workers = sh(
        f"{show}=StatusText; {talk} ws://echo.example.com:9000/ 'systemctl restart wsecho'; {show}=Result"
    )
    holds("several workers serve", workers, lambda said: "closed with 1001" in said and "success" in said)
    exposure = sh("systemd-analyze security wsecho --no-pager | tail -1")
    holds("systemd measures an exposure below 1", exposure, lambda said: "service: 0." in said)
    print(exposure.partition("\n")[0])


def main() -> int:
    """Do it; the exit status."""
    if os.geteuid() != 0:
        sys.exit("this needs root")
    folder = Path(tempfile.mkdtemp(prefix="wsecho-systemd-"))
    try:
        install(folder / "root")
        with booted(folder / "root") as machine:
            check(machine)
            return min(machine.failed, 1)
    finally:
        run("rm", "-rf", "--one-file-system", folder)


if __name__ == "__main__":
    sys.exit(main())
