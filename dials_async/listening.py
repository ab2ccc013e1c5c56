"""Where our own small servers listen (/metrics, the dashboard): addresses as the command line takes them."""

import ipaddress
import socket
from dataclasses import dataclass

from dials_async.errors import UsageError

#: Where the dashboard is unless the user says otherwise.
DASHBOARD_ADDRESS = "127.0.0.1:8265"

#: Where /metrics is unless the user says otherwise: any free port, Prometheus finds it by its file.
METRICS_ADDRESS = "127.0.0.1:0"

#: Addresses that stand for all of a host's own.
_ALL = ("0.0.0.0", "::")


@dataclass(frozen=True)
class Address:
    """Where to listen; port 0 lets the system choose a free one."""

    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """Whether nobody on other machines can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def reached_at(self, port: int) -> str:
        """What clients connect to, host:port, when a server listens here on ``port``."""
        # Every interface: the machine's name leads to one of them.
        host = socket.gethostname() if self.host in _ALL else self.host
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def parse_address(text: str, option: str) -> Address:
    """'127.0.0.1:8265', ':8265' (on loopback), '[::1]:8265'. Raises UsageError, which names ``option``."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or not port.isascii() or int(port) > 65535:
        raise UsageError(
            f"{option} {text}: expected HOST:PORT, for example {DASHBOARD_ADDRESS} (port 0: any)"
        )
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if ":" in bare and bare == host:
        raise UsageError(f"{option} {text}: an IPv6 address stands in brackets, for example [::1]:8265")
    return Address(bare or "127.0.0.1", int(port))
