"""Which candidate is tried first: strict tiers of priority, weighted chance within a tier, every (channel, key) at most once. Pure."""

import random
from collections.abc import Iterator, Sequence
from itertools import groupby

from channels_app.provider import Credential, Upstream


def route(upstreams: Sequence[Upstream], chance: random.Random | None = None) -> Iterator[tuple[Upstream, Credential]]:
    """The candidates in the order of their trial.

    `upstreams` are sorted by priority, highest first. A channel of weight 0 comes after those of its tier that have a weight. After a channel's
    first key failed, the rest of the tier is tried before its other keys: a broken channel seldom has one good key.
    """
    draw = chance or random
    for _, tier in groupby(upstreams, key=lambda upstream: upstream.priority):
        waiting = [upstream for upstream in tier if upstream.keys]
        spare: list[tuple[Upstream, Credential]] = []
        while waiting:
            upstream = waiting.pop(_drawn(waiting, draw.random()))
            first, *others = draw.sample(upstream.keys, len(upstream.keys)) if len(upstream.keys) > 1 else upstream.keys
            yield upstream, first
            spare += ((upstream, key) for key in others)
        yield from spare


def _drawn(upstreams: list[Upstream], chance: float) -> int:
    if len(upstreams) == 1:
        return 0
    total = sum(upstream.weight for upstream in upstreams)
    if total == 0:
        return int(chance * len(upstreams))
    point = chance * total
    for index, upstream in enumerate(upstreams):
        point -= upstream.weight
        if point < 0:
            return index
    return max(index for index, upstream in enumerate(upstreams) if upstream.weight)
