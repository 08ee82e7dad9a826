"""Which hosts of a lab are cut off, and what the hub drops for that: as a wire that is pulled.

Dropped is what the hub's bridge forwards, by nftables. Nobody is told: no RST, no FIN, no ICMP.
"""

from __future__ import annotations

from meshnet.lab.topology import Edge
from meshnet.values import Value

# In what nft draws a number of, so that a loss of 0.0001 % can be told from none.
_DRAWS = 1_000_000


class Cuts(Value):
    """Hosts cut off from all others, and pairs cut off from each other, by their numbers."""

    hosts: frozenset[int] = frozenset()
    pairs: frozenset[Edge] = frozenset()

    def with_cut(self, first: int, second: int | None = None) -> Cuts:
        """``first`` is cut off from all others too, or from ``second`` only."""
        if second is None:
            return Cuts(self.hosts | {first}, self.pairs)
        return Cuts(self.hosts, self.pairs | {_pair(first, second)})

    def healed(self, first: int, second: int | None = None) -> Cuts:
        """Without the cuts that name ``first``, or without that between the two."""
        if second is None:
            left = (pair for pair in self.pairs if first not in pair)
            return Cuts(self.hosts - {first}, frozenset(left))
        return Cuts(self.hosts, self.pairs - {_pair(first, second)})

    def partners(self, number: int) -> list[int]:
        """The hosts that are cut off from ``number`` pair by pair."""
        return sorted(b if a == number else a for a, b in self.pairs if number in (a, b))


def port_name(number: int) -> str:
    """The device of the hub that host ``number`` is plugged into."""
    return f"port{number}"


def hub_rules(cuts: Cuts, loss_percent: float) -> str:
    """Lines for ``nft -f``: the one table of the hub, in place of what was there."""
    hosts = [port_name(number) for number in sorted(cuts.hosts)]
    pairs = [
        f"{port_name(a)} . {port_name(b)}"
        for first, second in sorted(cuts.pairs)
        for a, b in ((first, second), (second, first))
    ]
    rules = ["type filter hook forward priority 0; policy accept;"]
    if hosts:
        rules += [f"{side} {{ {', '.join(hosts)} }} drop" for side in ("iifname", "oifname")]
    if pairs:
        rules.append(f"iifname . oifname {{ {', '.join(pairs)} }} drop")
    if loss_percent:
        lost = round(loss_percent / 100 * _DRAWS)
        # A number that is never reached cannot be compared with.
        rules.append(f"numgen random mod {_DRAWS} < {lost} drop" if lost < _DRAWS else "drop")
    return "\n".join(
        (
            # Named first, since to delete what is not there is an error.
            "table bridge lab",
            "delete table bridge lab",
            "table bridge lab {",
            "chain wire {",
            *rules,
            "}",
            "}",
        )
    )


def _pair(first: int, second: int) -> Edge:
    return min(first, second), max(first, second)
