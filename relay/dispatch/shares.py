"""Which part of every limit this node takes, so that all parts together are never more than the limit.

A node that comes raises the number of the last change and takes nothing before all others have taken that
change, and so have made room in their counts; nor where one of them still has more under way than its part
is now. A node whose part grows, since another left, waits for the same. One whose part shrinks begins
nothing before it has less under way than that.

A limit that cannot be divided (a concurrency of 1, or one below the number of nodes) is kept by counting
what other nodes own, in the transaction that claims. That sees all but what is born owned without a
claim; so for such a destination deliveries are born owned only by a node that is alone, and what was born
before it heard of another is not begun but given back.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from relay.dispatch.gate import Gate
from relay.journal import Look, Peer
from relay.lease_times import Times
from relay.limits import Share


class Shares:
    """This node's share; there is none before it has come."""

    def __init__(self, node: str, times: Times) -> None:
        self._times = times
        self.share = Share(taken=False)
        self._node = node
        self._nodes: tuple[str, ...] = ()
        self._change = 0
        self._since = 0.0
        self._taken_at = math.inf
        self._is_settled = False

    @property
    def is_settled(self) -> bool:
        """Whether all gates have their whole part; else what others own must be looked at."""
        return self._is_settled

    def come(self, gates: Iterable[Gate]) -> None:
        """Begin anew: the others have not heard of this node, or may have taken it for gone."""
        self._nodes = ()
        self._is_settled = False
        for gate in gates:
            gate.give_up_share()

    def take(self, look: Look, gates: Iterable[Gate], now: float) -> None:
        """Go by the nodes that live."""
        nodes = tuple(peer.node for peer in look.peers)
        if nodes != self._nodes:
            self._nodes, self._change, self._since = nodes, look.change, now
            self._taken_at = math.inf
            self._is_settled = False
        others = [peer for peer in look.peers if peer.node != self._node]
        self.share = Share(
            rank=nodes.index(self._node),
            nodes=len(nodes),
            taken=all(self._has_taken(peer, now) for peer in others),
        )
        settled = self._is_settled
        self._is_settled = True
        self._taken_at = min(self._taken_at, now) if self.share.taken else math.inf
        for gate in gates:
            # What was under way when all had taken it has ended by then, written or not.
            has_ended = now - self._taken_at > gate.destination.timeout.total + self._times.clocks_drift
            is_settled = settled or has_ended or (self.share.taken and self._are_within(look, gate))
            gate.take_share(self.share, now, is_settled=is_settled)
            self._is_settled = self._is_settled and is_settled

    def _has_taken(self, peer: Peer, now: float) -> bool:
        """Whether another goes by these nodes, or begins nothing more before it does."""
        waited = now - self._since
        if not peer.answers:
            return waited >= self._times.older_look
        return peer.has_taken(self._change) or waited >= self._times.look_stale + self._times.clocks_drift

    def _are_within(self, look: Look, gate: Gate) -> bool:
        """Whether none of the others has more under way than its part."""
        name, limit, nodes = gate.destination.name, gate.destination.concurrency, len(self._nodes)
        if nodes == 1:
            return True
        if look.owned is None:
            return False
        return all(
            look.owned.get((name, node), 0) <= Share(rank=rank, nodes=nodes).of(limit)
            for rank, node in enumerate(self._nodes)
            if node != self._node
        )
