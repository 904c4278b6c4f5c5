"""What an Envoy does between being told to end and ending. Pure: a script for bash."""

from __future__ import annotations

from typing import Final

from pointsman import install
from pointsman.contract import ENTRY_STAT_PREFIX

GRACE_S: Final = 15
"""What a pod has beyond its drain, for kubelet, the last log entries and Envoy's own end."""
_LAG_S: Final = 10
"""How long load balancers and nodes may still send new connections after the pod was told to end."""
_FLUSH_S: Final = 2
"""For the last access log entries and captures to leave: each request is counted."""

_SCRIPT: Final = """\
admin() {
  exec 3<>/dev/tcp/127.0.0.1/%(admin)d || return
  printf '%%s\\r\\n' "$1 $2 HTTP/1.1" 'host: drain' 'content-length: 0' 'connection: close' '' >&3
  while IFS= read -r line <&3; do printf '%%s\\n' "${line%%$'\\r'}"; done
  exec 3>&-
}
busy() {
  admin GET '/stats?filter=^http\\.%(entry)s\\.downstream_cx_active$' | while read -r name value; do
    [[ $name == http.* && $value != 0 ]] && echo busy
  done
}
admin POST '/drain_listeners?graceful&skip_exit' >/dev/null
for ((second = 0; second < %(drain)d; second++)); do
  ((second == %(lag)d)) && admin POST /healthcheck/fail >/dev/null
  ((second >= %(lag)d)) && [[ -z $(busy) ]] && break
  sleep 1
done
sleep %(flush)d
"""


def script(drain_s: int, admin_port: int = install.ENVOY_ADMIN) -> str:
    """Return the preStop script of an Envoy that may take `drain_s` seconds to let its requests finish.

    It asks clients to go (`connection: close`, GOAWAY) and takes new connections meanwhile, for those who
    have not heard. It stays ready for the first seconds: a node whose last ready Envoy this is would have
    nobody to send them to. It is over as soon as no client is connected.
    """
    lag = min(_LAG_S, drain_s - 1)
    return _SCRIPT % {
        "admin": admin_port,
        "entry": ENTRY_STAT_PREFIX,
        "drain": drain_s,
        "lag": lag,
        "flush": _FLUSH_S,
    }
