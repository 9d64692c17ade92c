"""The desk of the crash test: sells and gives back while everything breaks, and asks again until it is answered.

Each command has its request key and stands in the books under a memo of its own, so that in the end both can be
compared: what was answered was done, once, and nothing else was.
"""

from __future__ import annotations

import asyncio
import http.client
import itertools
import json
import random
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import sqlalchemy as sa

from crash_traffic import Tenant
from installation import Installation
from openmaas.core.money import NANO, parse_amount
from openmaas.ledger.law import accounts, transfers
from openmaas.ledger.law_sold import subscriptions
from openmaas.store.database import Database

#: Plans of which each is so much dearer than the one before; a subscriber goes up one by one.
LEVELS, STEP = 60, "0.01"
#: Seconds between two commands at most, and between two attempts of one.
REST_S, AGAIN_S = 0.3, 0.2
#: How many of the commands that were answered are sent once more.
REPEATS = 0.3
#: How the memo of all that a desk does begins, and the name of its plans.
MARK, PLAN = "desk ", "desk plan "


class Line(NamedTuple):
    """One transfer that must be there: ``nanos`` is 0 for the part of a month that a change of plan costs."""

    organisation_id: str
    kind: str
    state: str
    memo: str
    nanos: int


class CrashDesk:
    """Sells to random tenants, one command after the other. ``wrong`` are answers that nobody should get."""

    def __init__(self, house: Installation, who: list[Tenant], seed: int) -> None:
        self._house, self._who, self._chance = house, who, random.Random(seed)
        self._numbers = itertools.count(1)
        self._plans = [self._plan(level) for level in range(LEVELS)]
        found = self._ask("GET", "/subscriptions?limit=100", None)[1]["data"]
        self._levels = {each["organisation_id"]: (each["id"], -1) for each in found}
        self._next: dict[str, tuple[str, str | None]] = {}  # by subscription: its plan, and the one that follows
        self.done: Counter[Line] = Counter()
        self.wrong: list[str] = []
        self.unanswered = 0  # attempts of which nobody knows whether they were done

    async def run(self, over: asyncio.Event) -> None:
        """Until the storm is over and the last command is answered."""
        sales = (self._top_up, self._give_back, self._refund, self._refund, self._sell_pack, self._change_plan)
        while not over.is_set():
            await asyncio.to_thread(self._chance.choice(sales), self._chance.choice(self._who).id)
            await asyncio.sleep(self._chance.random() * REST_S)

    def told(self) -> Counter[str]:
        """How many transfers of each kind it caused, and how many attempts were not answered."""
        plans = sum(line.memo.startswith(PLAN) for line in self.done.elements())
        kinds = Counter(line.kind for line in self.done.elements())
        return kinds + Counter({"of these plans": plans, "attempts without an answer": self.unanswered})

    def disagreements(self, database: Database) -> list[str]:
        """What the books have more or less than this desk did, and subscriptions that are not as they were changed."""
        book = Counter[Line]()
        customers = accounts.c.owner.in_([tenant.id for tenant in self._who])
        theirs = accounts.c.id.in_([transfers.c.debit, transfers.c.credit]) & customers
        query = sa.select(accounts.c.owner, transfers).where(theirs, transfers.c.memo.like(f"{MARK}%"))
        for row in database.look(lambda tx: tx.execute(query).all()):
            part = row.memo.startswith(PLAN) and 0 < row.amount_nanos <= parse_amount(STEP)
            book[Line(row.owner, row.kind, row.state, row.memo, 0 if part else row.amount_nanos)] += 1
        found = [f"the books have {count} × {line} too many" for line, count in (book - self.done).items()]
        found += [f"the books lack {count} × {line}" for line, count in (self.done - book).items()]
        rows = database.look(lambda tx: tx.execute(sa.select(subscriptions)).all())
        changed = {row.id: (row.plan_id, row.next_plan_id) for row in rows if row.id in self._next}
        return [*self.wrong, *found, *([] if changed == self._next else [f"{changed} is not {self._next}"])]

    def _plan(self, level: int) -> str:
        windows = [
            {"name": "5h", "kind": "rolling", "credits": str(300 + level), "hours": 5},
            {"name": "week", "kind": "cycle", "credits": str(5000 + level), "hours": 168},
        ]
        price = {"price": f"{1.01 + level / 100:.2f}"}
        return str(self._ask("POST", "/plans", {"name": f"{PLAN}{level}", "windows": windows, **price})[1]["id"])

    def _top_up(self, who: str) -> None:
        self._sell_for(who, "topups", "topup", "posted", cents_max=900)

    def _give_back(self, who: str) -> None:
        self._sell_for(who, "credit-notes", "credit_note", "posted", cents_max=90)

    def _refund(self, who: str) -> None:
        """Begun, and then paid out or not."""
        begun, line = self._sell_for(who, "refunds", "refund", "pending", cents_max=300)
        if begun is not None:
            end, state = self._chance.choice([("post", "posted"), ("void", "voided")])
            for _ in range(self._times()):
                status, ended = self._ask("POST", f"/refunds/{begun['id']}/{end}", None)
                if (status, ended.get("state")) != (200, state):
                    self.wrong.append(f"a refund did not end: {status} {ended}")
            self.done[line._replace(state=state)] += 1

    def _sell_pack(self, who: str) -> None:
        tokens, price, memo = self._chance.choice(["5000", "50000"]), self._amount(50), self._memo()
        until = (datetime.now(UTC) + timedelta(days=self._chance.randint(1, 30))).isoformat()
        pack = {"name": memo, "amount": tokens, "price": price, "until_time": until}
        if self._sell(who, "packs", pack, memo) is not None:
            self.done[Line(who, "purchase", "posted", memo, parse_amount(price))] += 1
            self.done[Line(who, "grant", "posted", memo, int(tokens) * NANO)] += 1

    def _change_plan(self, _who: str) -> None:
        """Of one who has a plan: one up, at once; or one down, with the next month."""
        who = self._chance.choice(sorted(self._levels))
        subscription_id, level = self._levels[who]
        up = level < 1 or self._chance.random() < 2 / 3
        wanted = min(level + 1, len(self._plans) - 1) if up else level - 1
        status, told = self._ask("PATCH", f"/subscriptions/{subscription_id}", {"plan_id": self._plans[wanted]})
        if status == 200:
            if wanted > level:
                self.done[Line(who, "purchase", "posted", f"{PLAN}{wanted}", 0)] += 1
                self._levels[who] = subscription_id, wanted
            later = None if up else self._plans[wanted]
            self._next[subscription_id] = self._plans[self._levels[who][1]], later
        elif told["error"]["code"] != "funds_missing":
            self.wrong.append(f"a plan was not changed: {status} {told}")

    def _sell_for(self, who: str, what: str, kind: str, state: str, *, cents_max: int) -> tuple[Any, Line]:
        """What is for an amount; what was made (None when funds are missing), and the transfer that it is."""
        amount, memo = self._amount(cents_max), self._memo()
        made = self._sell(who, what, {"amount": amount, "memo": memo}, memo)
        line = Line(who, kind, state, memo, parse_amount(amount))
        self.done[line] += made is not None
        return made, line

    def _sell(self, who: str, what: str, body: dict[str, str], key: str) -> Any:
        """A command with a key, sometimes twice; what was made, or None when funds are missing."""
        first = None
        for _ in range(self._times()):
            status, told = self._ask("POST", f"/organisations/{who}/{what}", {**body, "request_key": key})
            if status == 409 and first is None and told["error"]["code"] == "funds_missing":
                return None
            if status != 201 or first not in (None, told):
                self.wrong.append(f"{what} answered {status} {told}, before {first}")
            first = first or told
        return first

    def _times(self) -> int:
        return 2 if self._chance.random() < REPEATS else 1

    def _amount(self, cents_max: int) -> str:
        return f"{self._chance.randint(1, cents_max) / 100:.2f}"

    def _memo(self) -> str:
        return f"{MARK}{next(self._numbers)}"

    def _ask(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        """Until somebody answers: a program that is being killed and a database that is out do not."""
        key = (self._house.data / "admin.key").read_text().strip()
        while True:
            try:
                status, _, answer = self._house.ask(method, f"/manage/v1{path}", body, key=key)
                if status < 500:
                    return status, json.loads(answer)
            except (OSError, http.client.HTTPException, json.JSONDecodeError):
                pass
            self.unanswered += 1
            time.sleep(AGAIN_S)
