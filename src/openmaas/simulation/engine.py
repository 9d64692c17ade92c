"""One replica's engine, modelled: continuous batching with prefill in pieces, and a prefix cache of its own.

A step of an engine says one token of every answer under way and reads at most ``chunk_tokens`` of the prompts that are
not read yet, in the order they came (Sarathi-Serve, Agrawal et al., OSDI '24, https://arxiv.org/abs/2403.02310; vLLM's
default). It takes

    base + sequences · per sequence + tokens held by them · per token + what is read · (per token + per token before it)

seconds: the five measured figures of a ``Profile``. Steps that are alike are taken together, in closed form and without
error; the world is told at the end of such a burst. A request is taken in when a slot and memory for all its tokens are
free, one after the other as they came; so nothing is preempted. The prefix cache lies beside that memory, as one in the
host's does, and reading from it takes no time. Not modelled: drafts, prefill and decode on separate machines. The cache
is the truth of the simulation; what a router believes of it stands in its ``Server``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from math import inf

from openmaas.core.bounds import BLOCK_TOKENS, BURST_STEPS_MAX
from openmaas.scheduling.prefix import Prefixes
from openmaas.scheduling.turn import Turn
from openmaas.simulation.profile import Profile


@dataclass(slots=True, eq=False)
class Sequence:
    """A request inside an engine. ``turn`` is the relay's view of it; ``unread`` tokens of its prompt are still to be
    read, ``unsaid`` of its answer to be said."""

    turn: Turn
    output_tokens: int
    unsaid: int
    unread: int = 0
    cached_blocks: int = 0
    read_tokens: int = 0  # of its prompt that were really computed
    held: int = 0  # tokens of it in the engine's memory
    said: int = 0
    first_s: float = inf  # when its first token was said


class Engine:
    """``admitted`` is called when a request is taken in and it is known what of it has to be read; ``told`` at the end
    of a burst for each that said something, with the number of tokens and the time."""

    def __init__(
        self,
        profile: Profile,
        admitted: Callable[[Sequence], None],
        told: Callable[[Sequence, int, float], None],
    ) -> None:
        self.profile = profile
        self.cache = Prefixes(profile.cache_tokens // BLOCK_TOKENS)
        self.ends_s = inf  # when the burst that runs ends
        self.busy_s = 0.0
        self._admitted, self._told = admitted, told
        self._outside: deque[Sequence] = deque()
        self._free_slots, self._free_tokens = profile.slots, profile.memory_tokens
        self._reading: deque[Sequence] = deque()
        self._saying: list[Sequence] = []
        self._finishing = False
        self._began_s = 0.0
        self._steps = 0  # of that burst; 0 while none runs
        self._piece = 0  # tokens of the first unread prompt that each of them reads …
        self._packed: list[tuple[Sequence, int]] = []  # … or what the only step of a burst reads of several

    def join(self, sequence: Sequence, now_s: float) -> None:
        """Take it in with the next step, or when there is room."""
        self._outside.append(sequence)
        if self._finishing:
            return
        self._admit()
        if self._steps:
            self._steps = self._steps_until(now_s)
            self.ends_s = self._began_s + self._takes_s(self._steps)
        else:
            self._plan(now_s)

    def finish(self, now_s: float) -> None:
        """The burst is over: note what it did, tell of it, and begin the next with whoever joined meanwhile."""
        steps = self._steps
        self.busy_s += now_s - self._began_s
        said = [(each, steps) for each in self._saying]
        if self._piece:
            self._reading[0].unread -= steps * self._piece
            self._reading[0].held += steps * self._piece
        for each, tokens in self._packed:
            each.unread -= tokens
            each.held += tokens
        while self._reading and not self._reading[0].unread:
            each = self._reading.popleft()
            self.cache.read(each.turn.chain)
            each.first_s = now_s
            self._saying.append(each)
            said.append((each, 1))
        for each, tokens in said:
            each.unsaid -= tokens
            each.said += tokens
            each.held += tokens
        for each in self._saying:
            if not each.unsaid:
                self._free_slots += 1
                self._free_tokens += self._needs(each)
        self._saying = [each for each in self._saying if each.unsaid]
        self._finishing = True
        for each, tokens in said:
            self._told(each, tokens, now_s)
        self._finishing = False
        self._admit()
        self._plan(now_s)

    def _admit(self) -> None:
        while self._outside and self._free_slots:
            sequence = self._outside[0]
            turn, needs = sequence.turn, self._needs(sequence)
            if needs > self._free_tokens:
                return
            self._free_slots -= 1
            self._free_tokens -= needs
            self._reading.append(self._outside.popleft())
            if turn.chain:
                sequence.cached_blocks = self.cache.match(turn.chain)
                # The last token is always read: without it there is nothing to go on from.
                sequence.held = min(sequence.cached_blocks * BLOCK_TOKENS, turn.prompt_tokens - 1)
            sequence.unread = sequence.read_tokens = turn.prompt_tokens - sequence.held
            self._admitted(sequence)

    def _needs(self, sequence: Sequence) -> int:
        return min(sequence.turn.prompt_tokens + sequence.output_tokens, self.profile.memory_tokens)

    def _plan(self, now_s: float) -> None:
        self._began_s, self._piece, self._packed, self._steps, self.ends_s = now_s, 0, [], 0, inf
        steps = min((each.unsaid for each in self._saying), default=BURST_STEPS_MAX)
        steps = min(steps, BURST_STEPS_MAX)
        if self._reading:
            chunk = self.profile.chunk_tokens
            whole = (self._reading[0].unread - 1) // chunk  # steps that read of the first prompt only, and not its end
            if whole:
                self._piece = chunk
                steps = min(steps, whole)
            else:
                steps, room = 1, chunk
                for each in self._reading:
                    tokens = min(room, each.unread)
                    self._packed.append((each, tokens))
                    room -= tokens
                    if not room:
                        break
        elif not self._saying:
            return
        self._steps = steps
        self.ends_s = now_s + self._takes_s(steps)

    def _takes_s(self, steps: int) -> float:
        """The seconds of the first ``steps`` steps of the burst."""
        profile, sequences = self.profile, len(self._saying)
        held = sum(each.held for each in self._saying)
        seconds = steps * (profile.step_s + sequences * profile.sequence_s)
        seconds += profile.held_token_s * (steps * held + sequences * steps * (steps - 1) / 2)
        if self._piece:
            read = steps * self._piece
            before = self._reading[0].held + read / 2
            seconds += read * (profile.read_token_s + profile.read_held_token_s * before)
        for each, tokens in self._packed:
            seconds += tokens * (profile.read_token_s + profile.read_held_token_s * (each.held + tokens / 2))
        return seconds

    def _steps_until(self, now_s: float) -> int:
        """So many steps are over, or cannot be stopped any more."""
        low, high = 1, self._steps
        while low < high:
            middle = (low + high) // 2
            if self._began_s + self._takes_s(middle) >= now_s:
                high = middle
            else:
                low = middle + 1
        return low
