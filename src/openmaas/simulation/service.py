"""What tenants were given, in weighted tokens (a prompt's that was read 1, an answer's ``OUTPUT_WEIGHT``), and how far
apart two were over any time in which both had requests waiting: what VTC bounds (Sheng et al., OSDI '24, §4.2,
https://arxiv.org/abs/2401.00588). Counted from what engines did, not from the counters of the queue."""

from __future__ import annotations

from collections import Counter

from openmaas.scheduling.turn import OUTPUT_WEIGHT


class Services:
    """``given`` is by tenant; ``gap`` the largest difference so far between two that both waited all the while."""

    def __init__(self) -> None:
        self.given: Counter[str] = Counter()
        self.gap = 0
        self.prompt_tokens_max = 0
        self.tokens_max = 0  # prompts and answers that lay in all engines at once
        self.own_max = 0  # the most, in weighted tokens, that one tenant had under way
        self._tokens = 0
        self._own: Counter[str] = Counter()
        self._waiting: Counter[str] = Counter()
        self._spans: dict[tuple[str, str], tuple[int, int]] = {}  # least and most of the difference since both wait
        self._changed: set[str] = set()

    @property
    def bound(self) -> int:
        """VTC's: 2 · max(w_p · L_input, w_q · M), with the longest prompt there was, and for M, the tokens that a batch
        can hold, the most that were ever held."""
        return 2 * max(self.prompt_tokens_max, OUTPUT_WEIGHT * self.tokens_max)

    def wait(self, tenant: str) -> None:
        """A request of its begins to wait."""
        self._waiting[tenant] += 1
        if self._waiting[tenant] == 1:
            for other in self._waiting:
                if other != tenant:
                    pair = _pair(tenant, other)
                    apart = self.given[pair[0]] - self.given[pair[1]]
                    self._spans[pair] = apart, apart

    def wait_no_longer(self, tenant: str) -> None:
        """One of its requests that waited is served, or refused."""
        self._waiting[tenant] -= 1
        if not self._waiting[tenant]:
            del self._waiting[tenant]
            for other in self._waiting:
                self._spans.pop(_pair(tenant, other), None)

    def begin(self, tenant: str, prompt_tokens: int, read_tokens: int, output_tokens: int) -> None:
        """A request joins an engine."""
        self.prompt_tokens_max = max(self.prompt_tokens_max, prompt_tokens)
        self._own[tenant] += read_tokens + OUTPUT_WEIGHT * output_tokens
        self.own_max = max(self.own_max, self._own[tenant])
        self.give(tenant, read_tokens, prompt_tokens)

    def give(self, tenant: str, weighted: int, tokens: int) -> None:
        """So much was done for it, and so many tokens more lie in an engine."""
        self.given[tenant] += weighted
        self._tokens += tokens
        self.tokens_max = max(self.tokens_max, self._tokens)
        self._changed.add(tenant)

    def end(self, tenant: str, prompt_tokens: int, read_tokens: int, output_tokens: int) -> None:
        """Its answer is over."""
        self._own[tenant] -= read_tokens + OUTPUT_WEIGHT * output_tokens
        self._tokens -= prompt_tokens + output_tokens

    def settle(self) -> None:
        """What happened at one moment is over: look at the differences."""
        for tenant in self._changed:
            if tenant in self._waiting:
                for other in self._waiting:
                    if other != tenant:
                        pair = _pair(tenant, other)
                        apart = self.given[pair[0]] - self.given[pair[1]]
                        low, high = self._spans[pair]
                        self._spans[pair] = low, high = min(low, apart), max(high, apart)
                        self.gap = max(self.gap, high - low)
        self._changed.clear()


def _pair(one: str, other: str) -> tuple[str, str]:
    return (one, other) if one < other else (other, one)
